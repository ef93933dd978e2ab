"""Gates of any angle: their range, their price, and that plans with them compute the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from contracts.sampling_bounds import assert_means, shifted
from loopback import Cloud, Garble
from loopback.bench import QUICK
from loopback.server import Loopback
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_aer import AerSimulator

import hardware
from hardware import Mitigation, PlanOptions, Workload
from hardware.circuits.measurement import Measurement
from hardware.circuits.transforms import restrict_to_active, split_measurements
from hardware.devices.backend import BackendDevice
from hardware.devices.backends import fake_backend, fractional_fake
from hardware.devices.cached import CachedDevice
from hardware.devices.ibm.client import open_service
from hardware.devices.ibm.device import PlatformDevice
from hardware.emulation.fake import local_device
from hardware.emulation.noise import without_delays
from hardware.emulation.pauli_simulator import PauliProgram
from hardware.emulation.tiled import components
from hardware.errors import PlanError, ServiceError
from hardware.ledger.ledger import Ledger
from hardware.planning.plan import JobPlan
from hardware.planning.plan_file import dump_plan, finished, load_plan
from hardware.planning.planner import plan
from hardware.planning.pubs import job_request, unpack
from hardware.runs import runner

SHOTS = 4000
FRACTIONAL = PlanOptions(shots=SHOTS, tiles=1, fractional_gates=True)


def ansatz() -> QuantumCircuit:
    """Return three qubits with rotations about two qubits, some of fixed and of weighted angles."""
    x, w = ParameterVector("x", 3), ParameterVector("w", 2)
    circuit = QuantumCircuit(3)
    for qubit in range(3):
        circuit.ry(x[qubit], qubit)
    circuit.rzz(x[0], 0, 1)
    circuit.crx(w[0], 1, 2)
    circuit.cp(2 * x[1] + 0.3, 0, 1)
    circuit.rxx(w[1], 1, 2)
    circuit.rzz(-0.8, 0, 1)
    circuit.rx(x[2], 1)
    return circuit


def work(num_rows: int = 5, *, weights=(-2.5, 4.0), scale: float = 7.0) -> Workload:
    circuit = ansatz()
    values = np.random.default_rng(3).uniform(-scale, scale, (num_rows, 5))
    values[:, :2] = weights  # parameters in the order of their names: w[0], w[1], x[0], …
    observables = tuple(SparsePauliOp(label) for label in ("IIZ", "ZZI", "XXI"))
    names = [p.name for p in circuit.parameters]
    return Workload(circuit, tuple(names), values, observables)


def exact(workload: Workload) -> np.ndarray:
    """Return the exact expectation values, shape (N, M)."""
    rows = []
    for row in workload.values:
        state = Statevector(workload.circuit.assign_parameters(row))
        rows.append([state.expectation_value(o).real for o in workload.observables])
    return np.array(rows)


def planned(workload: Workload, options: PlanOptions = FRACTIONAL, name: str = "fez") -> JobPlan:
    return hardware.plan(workload, f"fake:{name}", options)


def computed(plan: JobPlan, distribution=None) -> np.ndarray:
    """Return what the circuits of a plan of one tile compute without shots, shape (N, M).

    Args:
        plan: The plan.
        distribution: Gives the probabilities of a bound circuit's outcomes; None: without noise.
    """
    settings = Measurement.of(plan.observables).settings
    found = np.zeros((plan.num_rows, len(plan.observables)))
    for idx, job in enumerate(plan.jobs):
        for pub, (circuit, values) in zip(job.pubs, job_request(plan, idx).pubs, strict=True):
            setting = settings[pub.setting]
            for row, bound in zip(pub.rows[:, 0], values, strict=True):
                chances = (distribution or noiseless)(circuit.assign_parameters(bound))
                outcomes = np.arange(len(chances))
                for mask, coefficients in zip(setting.masks, setting.coefficients, strict=True):
                    parity = 1.0 - 2.0 * (np.bitwise_count(outcomes & mask) % 2)
                    found[row] += (parity * chances).sum() * coefficients
    return found


def noiseless(circuit: QuantumCircuit) -> np.ndarray:
    whole, measured = split_measurements(circuit)
    ends = [measured[bit] for bit in sorted(measured)]
    part, active = restrict_to_active(whole, ends)
    return Statevector(part).probabilities([active.index(end) for end in ends])


def noisy(circuit: QuantumCircuit) -> np.ndarray:
    """Return the exact outcomes under the calibration of fez with its gates of any angle."""
    (part,) = components(circuit, fractional_fake(fake_backend("fez")))
    prepared = part.prepared
    model = prepared.noise.aer_model()
    assert {"rzz", "rx"} & set(model.noise_instructions)
    unitary = without_delays(prepared.circuit)
    unitary.save_probabilities(list(prepared.measured))
    simulator = AerSimulator(
        method="density_matrix", noise_model=model, max_parallel_threads=1, fusion_enable=False
    )
    chances = simulator.run(unitary).result().data(0)["probabilities"]
    num_bits = len(prepared.measured)
    tensor = chances.reshape((2,) * num_bits)
    for bit, qubit in enumerate(prepared.measured):
        if qubit in prepared.noise.readout:
            axis = num_bits - 1 - bit
            matrix = prepared.noise.readout[qubit]
            tensor = np.moveaxis(np.tensordot(tensor, matrix, axes=([axis], [0])), -1, axis)
    return tensor.ravel()


def pairs(plan: JobPlan) -> int:
    return sum(
        count for name, count in plan.circuits[0].count_ops().items() if name in ("cz", "cx", "rzz")
    )


@pytest.mark.parametrize("name", ["fez", "fractional"])
def test_plans_with_gates_of_any_angle_compute_the_same(name):
    workload = work()
    plan = planned(workload, name=name)
    assert "rzz" in plan.circuits[0].count_ops()
    np.testing.assert_allclose(computed(plan), exact(workload), atol=1e-9)


def test_a_rotation_about_two_qubits_takes_one_gate_in_place_of_two():
    with_them, without = planned(work()), planned(work(), PlanOptions(shots=SHOTS, tiles=1))
    assert "rzz" not in without.circuits[0].count_ops()
    assert pairs(with_them) < pairs(without)
    assert with_them.tiles[0].expected_error < without.tiles[0].expected_error
    assert with_them.jobs[0].qpu_seconds < without.jobs[0].qpu_seconds  # shorter circuits


def test_angles_of_rows_are_folded_only_where_one_needs_it():
    inside = Workload(
        _rotation(QuantumCircuit(2)),
        ("x",),
        np.linspace(0.1, 1.5, 4)[:, None],
        (SparsePauliOp("ZX"),),
    )
    plan = planned(inside)
    assert plan.jobs[0].pubs[0].parameters == ("t0/x",)
    outside = Workload(inside.circuit, ("x",), inside.values - 1.0, inside.observables)
    plan = planned(outside)
    assert plan.jobs[0].pubs[0].parameters == ("fold1/rx", "fold1/rz", "fold1/rzz")
    np.testing.assert_allclose(computed(plan), exact(outside), atol=1e-9)


def _rotation(circuit: QuantumCircuit) -> QuantumCircuit:
    circuit.h([0, 1])
    circuit.rzz(Parameter("x"), 0, 1)
    return circuit


@pytest.mark.parametrize("angle", [0.0, np.pi / 2, np.pi, -np.pi / 2, 3 * np.pi / 2, -4 * np.pi])
def test_angles_at_the_ends_of_the_range(angle):
    values = np.array([[angle], [angle + 0.1]])
    one = Workload(_rotation(QuantumCircuit(2)), ("x",), values, (SparsePauliOp("ZY"),))
    np.testing.assert_allclose(computed(planned(one)), exact(one), atol=1e-9)


def test_plans_are_pure_survive_being_bytes_and_tell_their_kinds_apart():
    plan = planned(work())
    assert planned(work()).key == plan.key
    assert planned(work(), PlanOptions(shots=SHOTS, tiles=1)).key != plan.key
    again = load_plan(dump_plan(plan))
    assert again.key == plan.key
    assert again.options.fractional_gates
    np.testing.assert_allclose(computed(again), exact(work()), atol=1e-9)


def test_a_plan_with_an_angle_that_the_device_does_not_take_is_refused_when_read():
    plan = planned(work())
    (pub,) = [each for each in plan.jobs[0].pubs if each.setting == 0]
    column = next(i for i, name in enumerate(pub.parameters) if name.endswith("/rzz"))
    values = pub.values.copy()
    values[2, column] = -0.2
    pubs = (replace(pub, values=values), *plan.jobs[0].pubs[1:])
    forged = finished(replace(plan, jobs=(replace(plan.jobs[0], pubs=pubs),)))
    with pytest.raises(PlanError, match=r"only for angles in the range \[0, pi/2\]"):
        load_plan(dump_plan(forged))


@pytest.mark.sampled
def test_a_fake_gives_the_expectations_of_its_gates_of_any_angle():
    plan = planned(work(3), replace(FRACTIONAL, seed=shifted(5)))
    results = {0: local_device("fez").fetch("local:0", job_request(plan, 0))}
    exactly = computed(plan, noisy)
    assert np.abs(exactly - exact(work(3))).max() > 0.005  # there is noise
    assert_means(unpack(plan, results).values, exactly, SHOTS)


def test_the_exact_engine_runs_free_angles_of_two_qubits():
    plan = planned(work(3))
    circuit, values = job_request(plan, 0).pubs[0]
    (part,) = components(circuit, fractional_fake(fake_backend("fez")))
    prepared = part.prepared
    names = [parameter.name for parameter in circuit.parameters]
    program = PauliProgram.compile(
        prepared.circuit, prepared.measured, names, prepared.noise.transfer_matrices()
    )
    expected = [noisy(circuit.assign_parameters(row)) for row in values]
    np.testing.assert_allclose(program.probabilities(values), expected, atol=1e-9)


@pytest.mark.parametrize(
    "mitigation",
    [{"twirl_gates": True}, {"zne_factors": (1.0, 3.0)}, {"pec_mitigation": True}],
)
def test_what_does_not_work_with_them_is_refused_at_the_door(mitigation):
    with pytest.raises(PlanError, match="do not work with fractional gates"):
        PlanOptions(fractional_gates=True, mitigation=Mitigation(**mitigation))


@pytest.mark.sampled
@pytest.mark.parametrize(
    "mitigation",
    [
        {"readout_inversion": True},
        {"twirl_measure": True},
        {"measure_mitigation": True},
        {"dynamical_decoupling": "XY4"},
    ],
)
def test_what_works_with_them(mitigation):
    options = replace(FRACTIONAL, seed=shifted(6), mitigation=Mitigation(**mitigation))
    plan = planned(work(2), options, "fractional")  # small: the estimator measures every qubit
    results = {0: local_device("fractional").fetch("local:0", job_request(plan, 0))}
    # An error moves a mean by 2 at most; an average infidelity is two thirds of its probability
    # or more. Read-out is part of the expected error, and decoupling adds a few pulses.
    bias = 2 * 1.5 * plan.tiles[0].expected_error
    largest = 1 / (1 - 2 * 0.1)  # of an inverted read-out with errors of 0.1 at most
    assert_means(unpack(plan, results).values, exact(work(2)), SHOTS, largest**2, bias=bias)


def test_devices_without_such_gates_say_so():
    with pytest.raises(PlanError, match="fake_guadalupe has no gates of any angle"):
        planned(work(), name="guadalupe")
    with pytest.raises(PlanError, match="shows them where it is opened with use_fractional_gates"):
        plan(work(), fake_backend("fez"), FRACTIONAL)
    generic = GenericBackendV2(4, seed=1)
    with pytest.raises(PlanError, match="fractional gates belong"):
        hardware.plan(work(), BackendDevice(generic), FRACTIONAL)
    with pytest.raises(PlanError, match="has no gates of any angle"):
        _ = BackendDevice(generic).fractional_backend
    kept = CachedDevice(fake_backend("fez"), "", ())
    with pytest.raises(PlanError, match="plan once online"):
        hardware.plan(work(), kept, FRACTIONAL)


def test_the_platform_is_asked_for_them(tmp_path):
    cloud = Cloud(("ibm_fractional",))
    with Loopback(cloud) as double, Ledger(tmp_path / "ledger.sqlite") as ledger:
        with double.addresses():
            service = open_service(**double.account())
        device = PlatformDevice(service, "ibm_fractional")
        assert "rzz" not in device.backend.target.operation_names
        assert "rzz" in device.fractional_backend.target.operation_names
        assert "rzz" not in device.backend.target.operation_names
        for mode in ("job", "batch", "session"):
            options = replace(
                FRACTIONAL, mode=mode, mitigation=Mitigation(dynamical_decoupling="XX")
            )
            made = hardware.plan(work(2), device, options)
            assert "rzz" in made.circuits[0].count_ops()
            means = {"ledger": ledger, "device": device, "policy": QUICK}
            run = runner.submit(made, budget_seconds=200.0, **means)
            assert runner.collect(run, timeout=30.0, **means).state == "done"
        plain = PlatformDevice(service, "ibm_fractional")  # another process
        assert plain.fractional_backend is plain.fractional_backend


def test_a_platform_that_fails_is_not_a_device_without_them():
    with Loopback(Cloud(("ibm_fractional",))) as double:
        with double.addresses():
            service = open_service(**double.account())
        device = PlatformDevice(service, "ibm_fractional")
        double.faults.always["properties"] = Garble()
        with pytest.raises(ServiceError):
            _ = device.fractional_backend
        del double.faults.always["properties"]
        assert "rzz" in device.fractional_backend.target.operation_names


def test_edges_without_gates_of_any_angle_are_no_places():
    """On fake_fez half of the edges have no known RZZ: their prices are infinite and not NaN."""
    circuit = QuantumCircuit(4)
    for step, (a, b) in enumerate([(0, 1), (2, 3), (1, 2)] * 2):
        circuit.ry(Parameter(f"x{step}"), a)
        circuit.cx(a, b)
    values = np.linspace(-1, 1, 2 * circuit.num_parameters).reshape(2, -1)
    names = tuple(p.name for p in circuit.parameters)
    many = Workload(circuit, names, values, (SparsePauliOp("IIIZ"),))
    found = hardware.plan(many, "fake:fez:64", PlanOptions(shots=64, fractional_gates=True))
    assert all(np.isfinite(tile.expected_error) for tile in found.tiles)
