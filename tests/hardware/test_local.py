from __future__ import annotations

import numpy as np
import pytest
from contracts.sampling_bounds import assert_means, assert_shares, mean_slack, shifted
from qiskit.circuit import ClassicalRegister, Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from hardware.circuits.measurement import Measurement
from hardware.devices.backends import fake_backend
from hardware.devices.base import JobRequest
from hardware.devices.local import run_locally
from hardware.emulation.calibrated import CalibratedTarget
from hardware.emulation.fake import FakeTarget, local_device
from hardware.emulation.noise import readout_confusions
from hardware.emulation.sampling import Sampler
from hardware.emulation.tiled import ComponentSimulator, components
from hardware.errors import UnsupportedCircuitError
from hardware.planning.mitigation import Mitigation
from hardware.planning.options import PlanOptions
from hardware.planning.tiled_circuit import tile_parameter
from hardware.workload import Workload

SHOTS = 20_000


def two_parts() -> QuantumCircuit:
    """An entangled pair on qubits 0 and 1, and another on 3 and 4, in Manila's gates."""
    circuit = QuantumCircuit(5)
    for register, (a, b) in {"left": (0, 1), "right": (3, 4)}.items():
        circuit.sx(a)
        circuit.rz(Parameter(register), a)
        circuit.sx(a)
        circuit.cx(a, b)
        circuit.add_register(ClassicalRegister(2, register))
    circuit.measure([0, 1, 3, 4], [0, 1, 2, 3])
    return circuit


def test_a_circuit_falls_into_its_connected_parts() -> None:
    parts = components(two_parts(), FakeManilaV2())
    assert [part.clbits for part in parts] == [(0, 1), (2, 3)]
    assert [part.prepared.physical for part in parts] == [(0, 1), (3, 4)]
    assert all(part.prepared.report.num_errors == 5 for part in parts)  # type: ignore[union-attr]


@pytest.mark.sampled
def test_parts_together_equal_the_whole() -> None:
    circuit, backend = two_parts(), FakeManilaV2()
    values = {"left": 0.7, "right": -1.1}
    binds = [{p: [values[p.name]] for p in circuit.parameters}]
    simulator = ComponentSimulator.of(backend)
    memory = simulator.run(
        circuit, parameter_binds=binds, shots=SHOTS, seed_simulator=shifted(1)
    ).result().results[0].data.memory  # fmt: skip
    mine = np.bincount([int(text, 16) for text in memory], minlength=16) / SHOTS
    # Oracle: Aer with the whole device's model on all five qubits, exact probabilities.
    model = NoiseModel.from_backend(backend, readout_error=False)
    unitary = circuit.remove_final_measurements(inplace=False)
    unitary.save_probabilities([0, 1, 3, 4])
    whole = AerSimulator(method="density_matrix", noise_model=model, max_parallel_threads=1)
    expected = whole.run(unitary, parameter_binds=binds).result().data(0)["probabilities"]
    tensor = expected.reshape(2, 2, 2, 2)  # qubits 4, 3, 1, 0
    for axis, matrix in enumerate(readout_confusions(backend, [4, 3, 1, 0])):
        tensor = np.moveaxis(np.tensordot(tensor, matrix, axes=([axis], [0])), -1, axis)
    assert_shares(mine, tensor.ravel(), SHOTS)


@pytest.mark.sampled
def test_shots_of_different_parts_are_independent() -> None:
    simulator = ComponentSimulator.of(FakeManilaV2())
    circuit = two_parts()
    binds = [{p: [np.pi / 2] for p in circuit.parameters}]
    memory = simulator.run(
        circuit, parameter_binds=binds, shots=SHOTS, seed_simulator=shifted(2)
    ).result()
    bits = np.array([int(text, 16) for text in memory.results[0].data.memory])
    left, right = 1 - 2 * (bits & 1), 1 - 2 * ((bits >> 2) & 1)
    # three means, each of any exact value
    difference = np.mean(left * right) - left.mean() * right.mean()
    assert abs(difference) < 3 * mean_slack(0.0, SHOTS)
    halves = left[: SHOTS // 2].mean() - left[SHOTS // 2 :].mean()
    assert abs(halves) < 2 * mean_slack(0.0, SHOTS // 2)  # in no order


def test_jobs_go_through_the_clients_primitives_and_repeat_with_their_seed() -> None:
    device = local_device("manila")
    circuit = two_parts()
    values = np.array([[0.1, 0.2], [1.0, 2.0], [3.0, -1.0]])
    request = JobRequest("sampler", ((circuit, values),), shots=50, seed=5)
    first, again = device.fetch("a", request), device.fetch("a", request)
    other = device.fetch("a", JobRequest("sampler", ((circuit, values),), shots=50, seed=6))
    assert first["0/left"].shape == (3, 50, 1)
    assert first.keys() == {"0/left", "0/left/bits", "0/right", "0/right/bits"}
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["0/left"], other["0/left"])


def test_pubs_of_one_job_get_shots_of_their_own() -> None:
    pub = (two_parts(), np.array([[0.1, 0.2]]))
    arrays = local_device("manila").fetch("a", JobRequest("sampler", (pub, pub), shots=200, seed=5))
    assert not np.array_equal(arrays["0/left"], arrays["1/left"])


def test_circuits_of_one_run_get_shots_of_their_own() -> None:
    circuit = two_parts().assign_parameters([0.1, 0.2])
    result = ComponentSimulator.of(FakeManilaV2()).run(
        [circuit, circuit], shots=200, seed_simulator=5
    ).result()  # fmt: skip
    assert result.results[0].data.memory != result.results[1].data.memory


@pytest.mark.sampled
def test_idle_time_decays_where_the_circuit_says_how_long_it_is() -> None:
    backend = FakeManilaV2()
    circuit = QuantumCircuit(5, 1)
    circuit.x(0)
    t1 = backend.target.qubit_properties[0].t1
    circuit.delay(t1, 0, unit="s")
    circuit.measure(0, 0)
    simulator = ComponentSimulator.of(backend)
    result = run_locally(JobRequest("sampler", (circuit,), shots=SHOTS, seed=shifted(1)), simulator)
    share = result[0].data.c.get_counts().get("1", 0) / SHOTS  # type: ignore[index]
    matrix = readout_confusions(backend, [0])[0]
    assert matrix is not None
    stays = np.exp(-1.0)
    expected = stays * matrix[1, 1] + (1 - stays) * matrix[0, 1]
    assert_means(1 - 2 * share, 1 - 2 * expected, SHOTS, bias=2e-3)  # X itself has an error


def test_what_cannot_be_split_is_refused() -> None:
    circuit = QuantumCircuit(5, 2)
    circuit.measure(0, 0)
    circuit.x(0)
    with pytest.raises(UnsupportedCircuitError, match="after"):
        components(circuit, FakeManilaV2())
    twice = QuantumCircuit(5, 2)
    twice.measure(0, 0)
    twice.measure(0, 1)
    with pytest.raises(UnsupportedCircuitError, match="once"):
        components(twice, FakeManilaV2())


def ring_work(num_rows: int = 24) -> Workload:
    circuit = QuantumCircuit(4)
    names = []
    for layer in range(2):
        for qubit in range(4):
            names.append(f"w[{layer},{qubit}]")
            circuit.ry(Parameter(names[-1]), qubit)
        for qubit in range(4):
            circuit.cx(qubit, (qubit + 1) % 4)
    values = np.random.default_rng(3).uniform(-3, 3, (num_rows, 8))
    observables = (SparsePauliOp("IIIZ"), SparsePauliOp("ZZII"), SparsePauliOp("IXIX"))
    return Workload(circuit, tuple(names), values, observables)


@pytest.mark.sampled
def test_tiled_untiled_and_fast_emulation_agree() -> None:
    # Between tiles calibrations differ: the best tile is the reference, with shots that leave it
    # no error of its own, and the tiled run is allowed the spread of the tiles' errors.
    work = ring_work()
    reference = CalibratedTarget("fez", shots=10**9, seed=shifted(1)).run(work)
    alone = FakeTarget("fez", PlanOptions(shots=2000, seed=shifted(2), tiles=1)).run(work)
    assert_means(alone.values, reference.values, 2000, bias=3e-4)
    target = FakeTarget("fez", PlanOptions(shots=2000, seed=shifted(2), tiles=8))
    tiled = target.run(work)
    errors = [tile.expected_error for tile in target.plan(work).tiles]
    assert_means(tiled.values, reference.values, 2000, bias=max(errors) + 3e-4)
    assert any("8 tiles" in note for note in tiled.notes)
    assert any("crosstalk" in note for note in tiled.notes)


def test_all_settings_run_where_a_plan_of_one_tile_puts_them() -> None:
    circuit = QuantumCircuit(4)
    for qubit in range(4):
        circuit.ry(Parameter(f"p{qubit}"), qubit)
    for qubit in range(3):
        circuit.cx(qubit, qubit + 1)
        circuit.rx(0.4, qubit)
    circuit.cx(3, 0)
    names = tuple(f"p{qubit}" for qubit in range(4))
    observables = (
        SparsePauliOp("IIIZ"),
        SparsePauliOp.from_list([("ZIIZ", 0.5), ("IIXI", 0.25), ("IIII", 2.0)]),
        SparsePauliOp("IZZY"),
    )
    values = np.random.default_rng(0).uniform(-3, 3, (3, 4))
    work = Workload(circuit, names, values, observables)
    made = FakeTarget("manila", PlanOptions(shots=10, tiles=1, seed=1)).plan(work)
    target = CalibratedTarget("manila", shots=10, seed=1)
    settings = Measurement.of(observables).settings
    assert len(settings) == 2
    prepared = target.prepare_settings(circuit, settings)
    backend = fake_backend("manila")
    for own, planned in zip(prepared, made.circuits, strict=True):
        (component,) = components(planned, backend)
        tile_names = [tile_parameter(0, name) for name in names]
        np.testing.assert_allclose(
            Sampler(own, names).probabilities(values),
            Sampler(component.prepared, tile_names).probabilities(values),
            atol=1e-12,
        )
        assert set(own.physical or ()) <= set(made.tiles[0].qubits)
    qubits = ", ".join(str(qubit) for qubit in sorted(made.tiles[0].qubits))
    assert f"Placed on physical qubits {qubits}." in target.run(work).notes


@pytest.mark.parametrize(
    "mitigation",
    [
        Mitigation(dynamical_decoupling="XY4"),
        Mitigation(twirl_gates=True, twirl_measure=True, num_randomizations=8),
        Mitigation(zne_factors=(1.0, 3.0)),
    ],
)
def test_the_clients_mitigation_runs_here_too(mitigation: Mitigation) -> None:
    work = Workload(
        ring_work().circuit, ring_work().parameters, ring_work().values[:4],
        ring_work().observables[:2],
    )  # fmt: skip
    options = PlanOptions(shots=400, seed=2, tiles=1, mitigation=mitigation)
    result = FakeTarget("manila", options).run(work)
    assert result.values.shape == (4, 2)
    assert not result.missing
    assert np.abs(result.values).max() < 1.5


@pytest.mark.sampled
def test_read_out_inversion_removes_the_bias_of_read_out() -> None:
    # One X gate: all that moves <Z> from -1 by more than a permille is the read-out.
    circuit = QuantumCircuit(1)
    circuit.x(0)
    work = Workload(circuit, (), np.zeros((1, 0)), (SparsePauliOp("Z"),))
    exact = CalibratedTarget("manila", shots=10**9, seed=1).run(work).values[0, 0]
    assert exact > -0.97
    plain = FakeTarget("manila", PlanOptions(shots=SHOTS, seed=shifted(1))).run(work)
    inversion = Mitigation(readout_inversion=True)
    corrected = FakeTarget(
        "manila", PlanOptions(shots=SHOTS, seed=shifted(1), mitigation=inversion)
    )
    value = corrected.run(work)
    assert_means(plain.values, [[exact]], SHOTS, bias=3e-4)
    # At ⟨Z⟩ = -1 it misses by what the data and the all-1 calibration miss, over the read-out's
    # scale, which is above 0.8.
    assert abs(value.values[0, 0] + 1) < 2 * mean_slack(exact, SHOTS) / 0.8 + 2e-3
    assert value.std_errors[0, 0] > 1.3 * plain.std_errors[0, 0]
