"""What a plan costs, against the program that the client makes and the device's own schedule."""

from __future__ import annotations

import base64
import io
import zlib
from dataclasses import replace

import numpy as np
import pytest
from loopback.learned import learned
from qiskit import QuantumCircuit, qpy, transpile
from qiskit.circuit import Parameter
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp
from qiskit_ibm_runtime.executor_estimator import Estimator
from qiskit_ibm_runtime.executor_estimator.prepare import prepare as prepare_estimator
from qiskit_ibm_runtime.executor_sampler import Sampler
from qiskit_ibm_runtime.executor_sampler.prepare import prepare as prepare_sampler
from samplomatic import InjectNoise
from samplomatic.utils import get_annotation

from hardware.devices.backends import ExecutionLimits, fake_backend
from hardware.errors import PlanError
from hardware.planning.cost import (
    CostEstimate,
    JobCost,
    Program,
    ProgramItem,
    circuit_payload,
    values_payload,
)
from hardware.planning.mitigation import Mitigation
from hardware.planning.options import CostModel, JobLimits, PlanOptions
from hardware.planning.plan import JobPlan, Timing
from hardware.planning.plan_file import dump_plan, load_plan
from hardware.planning.planner import plan
from hardware.planning.program import circuit_seconds
from hardware.planning.pubs import job_request
from hardware.workload import Workload

PAULIS = ("IZ", "ZI", "XX")


def workload(rows: int, paulis: tuple[str, ...] = PAULIS) -> Workload:
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("x"), 0)
    circuit.cx(0, 1)
    values = np.linspace(-3, 3, rows)[:, np.newaxis]
    return Workload(circuit, ("x",), values, tuple(SparsePauliOp(pauli) for pauli in paulis))


def executed(made: JobPlan, idx: int, backend: object) -> tuple[int, int]:
    """Return items and executions of the program that the client's own `run` sends for a job."""
    request = job_request(made, idx)
    if request.primitive == "sampler":
        sampler = Sampler(mode=backend, options=dict(request.options))
        program, _ = prepare_sampler(
            list(request.pubs), sampler.options, request.shots, backend=backend
        )
    else:
        estimator = Estimator(mode=backend, options=dict(request.options))
        if noise := {each.layer: each.as_map() for each in request.layer_noise}:
            layers = estimator.find_unique_layers(request.pubs)
            names = [get_annotation(layer.operation, InjectNoise).ref for layer in layers]
            model = [(layer, noise[name]) for layer, name in zip(layers, names, strict=True)]
            estimator.options.resilience.layer_noise_model = model
        program, _ = prepare_estimator(
            list(request.pubs), estimator.options, request.precision, backend=backend
        )
    return len(program.items), sum(program.shots * item.size() for item in program.items)


MITIGATIONS = {
    "none": Mitigation(),
    "inversion": Mitigation(readout_inversion=True),
    "decoupling": Mitigation(dynamical_decoupling="XY4"),
    "twirling": Mitigation(twirl_gates=True, twirl_measure=True),
    "eight randomizations": Mitigation(twirl_measure=True, num_randomizations=8),
    "resilience": Mitigation(measure_mitigation=True),
    "resilience of eight": Mitigation(measure_mitigation=True, num_randomizations=8),
    "zne": Mitigation(zne_factors=(1, 3, 5)),
    "fractions": Mitigation(zne_factors=(1, 1.5, 2)),
    "twirled zne": Mitigation(zne_factors=(1, 3), twirl_gates=True),
    "both": Mitigation(zne_factors=(1, 3, 5), measure_mitigation=True),
    "folded back": Mitigation(zne_factors=(1, 1.5, 3), zne_amplifier="gate_folding_back"),
    "parabola": Mitigation(zne_factors=(1, 2, 3), zne_extrapolator="polynomial_degree_2"),
    "exponential": Mitigation(zne_factors=(1, 3), zne_extrapolator=("exponential", "linear")),
    "strategy": Mitigation(twirl_gates=True, twirling_strategy="all"),
    "pea": Mitigation(zne_factors=(1, 2, 4), zne_amplifier="pea"),
    "pea with TREX": Mitigation(
        zne_factors=(1, 3), zne_amplifier="pea", measure_mitigation=True, num_randomizations=8
    ),
    "pec": Mitigation(pec_mitigation=True, pec_max_overhead=4),
    "pec with TREX": Mitigation(
        pec_mitigation=True,
        pec_max_overhead=3,
        measure_mitigation=True,
        twirling_strategy="active",
    ),
    "pec in part": Mitigation(pec_mitigation=True, pec_max_overhead=1.1),
    "all": Mitigation(
        zne_factors=(1, 3), measure_mitigation=True, twirl_gates=True, dynamical_decoupling="XX"
    ),
}


@pytest.mark.parametrize("paulis", [PAULIS, ("ZI",)])
@pytest.mark.parametrize("name", MITIGATIONS)
def test_items_and_executions_are_those_of_the_clients_program(
    name: str, paulis: tuple[str, ...]
) -> None:
    backend = fake_backend("manila")
    limits = JobLimits(executions=12_000)
    options = PlanOptions(shots=1000, tiles=2, mitigation=MITIGATIONS[name], limits=limits)
    made = plan(workload(7, paulis), backend, options)
    if options.mitigation.samples_noise:
        made = plan(workload(7, paulis), backend, replace(options, mitigation=learned(made)))
    assert len(made.jobs) == 1 or {len(job.pubs[0].rows) for job in made.jobs} <= {1, 2, 3}
    for idx, job in enumerate(made.jobs):
        assert (job.items, job.executions) == executed(made, idx, backend)
        assert job.executions <= limits.executions
    assert load_plan(dump_plan(made)).cost == made.cost


def test_a_job_costs_its_items_and_its_executions() -> None:
    program = Program(
        (ProgramItem(fixed=0, per_set=100, seconds=1e-5), ProgramItem(50, 0, 3e-5)),
        shots=50,
        rep_delay=2e-4,
        sub_job=2.0,
    )
    cost = program.cost(3)
    assert (cost.items, cost.executions) == (2, 350)
    assert cost.qpu_seconds == pytest.approx(2 * 2.0 + 300 * 2.1e-4 + 50 * 2.3e-4, rel=1e-12)
    assert program.cost(0) == JobCost(2, 50, pytest.approx(4 + 50 * 2.3e-4))


def test_a_job_holds_as_many_sets_as_both_limits_allow_and_no_more() -> None:
    program = Program((ProgramItem(50, 100, 0.25),), shots=50, rep_delay=0.25, sub_job=2.0)
    assert program.cost(1) == JobCost(1, 150, 77.0)
    assert program.most_sets(250, 1e9) == 2
    assert program.most_sets(249, 1e9) == 1
    assert program.most_sets(350, 127.0) == 2
    assert program.most_sets(10**6, 126.9) == 1
    assert program.most_sets(150, 77.0) == 1
    assert program.most_sets(149, 77.0) == 0
    assert program.most_sets(150, 76.9) == 0
    assert program.most_sets(0, 1.0) == 0
    free = replace(program, rep_delay=0.0, items=(ProgramItem(0, 100, 0.0),))
    assert free.most_sets(1000, 2.0) == 10
    quick = replace(free, rep_delay=1e-3)  # a tenth of a second for each set
    assert quick.most_sets(10**6, 3.05) == 10
    fixed = replace(program, items=(ProgramItem(100, 0, 0.25),))
    assert fixed.most_sets(100, 52.0) == 1
    assert fixed.most_sets(99, 52.0) == 0
    assert fixed.most_sets(100, 51.9) == 0


def test_seconds_are_those_of_the_devices_own_schedule() -> None:
    backend = fake_backend("manila")
    made = plan(workload(4), backend, PlanOptions(shots=100, tiles=1, optimization_level=1))
    (circuit, *_), target = made.circuits, backend.target
    bound = circuit.assign_parameters([0.3] * circuit.num_parameters)
    scheduled = transpile(
        bound, backend, optimization_level=0, scheduling_method="asap", layout_method="trivial"
    )
    exact = scheduled.estimate_duration(target, "s")
    found = circuit_seconds(circuit, made.timing)
    # Typical durations stand for those of each qubit; on this chip they differ by a third.
    assert found == pytest.approx(exact, rel=0.35)
    assert found > made.timing.durations["measure"] + made.timing.durations["cx"]


def test_instructions_wait_for_their_qubits_and_delays_count() -> None:
    timing = Timing(2.5e-4, {"x": 1.0, "cz": 10.0, "rz": 0.0, "measure": 100.0}, dt=0.5)
    circuit = QuantumCircuit(3, 1)
    circuit.x(0)
    circuit.x(0)
    circuit.cz(0, 1)
    circuit.x(2)
    circuit.rz(0.1, 1)
    assert circuit_seconds(circuit, timing) == 12.0
    circuit.barrier()
    circuit.x(2)
    assert circuit_seconds(circuit, timing) == 13.0
    circuit.delay(8, 2, unit="dt")
    assert circuit_seconds(circuit, timing) == 17.0
    for duration, unit in ((1, "s"), (1e3, "ms"), (5e5, "us"), (3e8, "ns"), (2e11, "ps")):
        circuit.delay(duration, 2, unit=unit)
    assert circuit_seconds(circuit, timing) == pytest.approx(20.0)
    circuit.measure(0, 0)
    assert circuit_seconds(circuit, timing) == pytest.approx(112.0)
    assert circuit_seconds(QuantumCircuit(2), timing) == 0.0
    with pytest.raises(PlanError, match="no duration of 'delay'"):
        circuit_seconds(circuit, replace(timing, dt=None))
    circuit.h(0)
    with pytest.raises(PlanError, match="no duration of 'h'"):
        circuit_seconds(circuit, timing)


def test_costs_of_jobs_add_up() -> None:
    options = PlanOptions(
        shots=100, tiles=2, mitigation=Mitigation(readout_inversion=True),
        limits=JobLimits(executions=800), cost=CostModel(sub_job=3.0),
    )  # fmt: skip
    made = plan(workload(9, ("ZI",)), fake_backend("manila"), options)
    cost, jobs = made.cost, made.jobs
    assert (cost.tiles, cost.jobs, cost.pubs, cost.items) == (2, len(jobs), 3, 3)
    assert cost.executions == 5 * 100 + 2 * 100
    assert cost.payload_bytes == sum(job.payload_bytes for job in jobs)
    assert cost.qpu_seconds == pytest.approx(sum(made.job_seconds))
    assert 9 + 700 * 250e-6 < cost.qpu_seconds < 9 + 700 * 270e-6


def test_the_share_of_an_allocation() -> None:
    cost = CostEstimate(1, 1, 1, 1, 1, 1, 30.0)
    assert cost.share_of(600.0) == pytest.approx(0.05)
    assert cost.share_of(1.0) == pytest.approx(30.0)
    assert cost.share_of(0.0) == np.inf


def test_the_payload_is_that_of_compressed_circuits_and_eight_bytes_a_value() -> None:
    assert values_payload(np.zeros((3, 2))) == 64
    assert values_payload(np.zeros((1, 1))) == 11
    for gates in (0, 200):
        circuit, buffer = QuantumCircuit(2), io.BytesIO()
        for step in range(gates):
            circuit.rx(0.1 * step, 0)
        qpy.dump(circuit, buffer, version=15)
        text = base64.b64encode(zlib.compress(buffer.getvalue()))
        assert 0 <= len(text) - circuit_payload(circuit) <= 2  # but for base64's padding


# --- what the device says of shots and of the wait between them ---------------------------------


def test_more_shots_than_the_device_takes_are_refused_when_planning() -> None:
    backend = fake_backend("fez")
    for mitigation in (Mitigation(), Mitigation(zne_factors=(1, 3))):
        made = plan(workload(1, ("ZI",)), backend, PlanOptions(100_000, mitigation=mitigation))
        assert made.shots == 100_000
        with pytest.raises(
            PlanError, match="100,000 shots of one circuit on fake_fez, got 100,001"
        ):
            plan(workload(1, ("ZI",)), backend, PlanOptions(100_001, mitigation=mitigation))
    with pytest.raises(PlanError, match="got 2,000,000"):
        plan(workload(1), backend, PlanOptions(shots=2_000_000))
    # Twirling divides them over circuits: 32 of 62,500 each.
    twirled = PlanOptions(shots=2_000_000, mitigation=Mitigation(twirl_gates=True))
    assert plan(workload(1, ("ZI",)), backend, twirled).cost.executions == 2_000_000


def test_the_devices_own_repetition_delay_is_in_the_estimate() -> None:
    circuit = QuantumCircuit(2)
    circuit.h(0)
    work = Workload(circuit, (), np.zeros((1, 0)), (SparsePauliOp("IZ"),))
    options = PlanOptions(shots=1000)
    slow, quick = (plan(work, fake_backend(name), options) for name in ("berlin", "fez"))
    assert (slow.timing.rep_delay, quick.timing.rep_delay) == (0.004, 0.00025)
    assert 2 + 1000 * 0.004 < slow.cost.qpu_seconds < 2 + 1000 * 0.00401
    assert 2 + 1000 * 0.00025 < quick.cost.qpu_seconds < 2 + 1000 * 0.00026
    assert "execution" not in job_request(quick, 0).options
    assert not any("repetition delay" in note for note in quick.notes)


@pytest.mark.parametrize("mitigation", [Mitigation(), Mitigation(measure_mitigation=True)])
def test_a_chosen_repetition_delay_is_sent_and_in_the_estimate(mitigation: Mitigation) -> None:
    options = PlanOptions(shots=1000, rep_delay=4e-4, mitigation=mitigation)
    made = plan(workload(4), fake_backend("fez"), options)
    usual = plan(workload(4), fake_backend("fez"), replace(options, rep_delay=None))
    assert job_request(made, 0).options["execution"] == {"rep_delay": 4e-4}
    more = made.cost.executions * 1.5e-4
    assert made.cost.qpu_seconds == pytest.approx(usual.cost.qpu_seconds + more)
    assert load_plan(dump_plan(made)).options.rep_delay == 4e-4
    assert made.key != usual.key


def test_a_repetition_delay_that_the_device_does_not_take_is_refused() -> None:
    for name, good, bad in (("fez", (0.0, 5e-4), (5.1e-4,)), ("berlin", (1e-3, 4e-3), (9e-4,))):
        limits = ExecutionLimits.of(fake_backend(name))
        for delay in good:
            assert limits.chosen_rep_delay(delay) == delay
        for delay in bad:
            with pytest.raises(PlanError, match=f"repetition delay from .* µs on fake_{name}"):
                limits.chosen_rep_delay(delay)
    with pytest.raises(PlanError, match="from 0 to 500 µs"):
        plan(workload(1), fake_backend("fez"), PlanOptions(shots=10, rep_delay=1.0))
    with pytest.raises(PlanError, match="does not let a job choose"):
        plan(workload(1), fake_backend("prague"), PlanOptions(shots=10, rep_delay=1e-4))


def test_a_device_that_states_nothing_gets_the_usual_delay_and_a_note() -> None:
    backend = GenericBackendV2(5, seed=1)
    limits = ExecutionLimits.of(backend)
    assert (limits.max_shots, limits.rep_delay, limits.rep_delay_range) == (None, None, None)
    made = plan(workload(3), backend, PlanOptions(shots=200_000, tiles=1))
    assert made.timing.rep_delay == 250e-6
    assert any("states no repetition delay; 250 µs are assumed" in note for note in made.notes)
    chosen = plan(workload(3), backend, PlanOptions(shots=10, tiles=1, rep_delay=1.0))
    assert chosen.timing.rep_delay == 1.0
    assert not any("repetition delay" in note for note in chosen.notes)
