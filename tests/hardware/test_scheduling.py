"""Idle time decays alike in prices and emulations; the oracles are Qiskit, Aer and closed forms."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from qiskit.circuit import ClassicalRegister, QuantumCircuit
from qiskit.providers import BackendV2, QubitProperties
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import InstructionProperties, PassManager
from qiskit.transpiler.passes import ALAPScheduleAnalysis, PadDelay
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel
from qiskit_ibm_runtime.executor.dynamical_decoupling import generate_dd_pass_manager
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from hardware.devices.calibration import LEFT_OUT
from hardware.devices.scheduling import scheduled, waits
from hardware.emulation.calibrated import CalibratedTarget
from hardware.emulation.noise import calibrated_noise
from hardware.emulation.sampling import Method, PreparedCircuit, Sampler, ShotStreams
from hardware.emulation.tiled import components
from hardware.errors import InvalidInputError
from hardware.planning.options import PlanOptions
from hardware.planning.planner import plan
from hardware.targets import parse_target
from hardware.workload import Workload

T1, T2, ONE, TWO = 100e-6, 70e-6, 50e-9, 400e-9


def quiet_line(num_qubits: int = 4) -> BackendV2:
    """A line of qubits that do nothing but relax."""
    edges = [(q, q + 1) for q in range(num_qubits - 1)]
    backend = GenericBackendV2(
        num_qubits, ["rz", "sx", "x", "cx"], coupling_map=[*edges, *((b, a) for a, b in edges)]
    )
    target = backend.target
    for name, time in {"rz": 0.0, "sx": ONE, "x": ONE, "cx": TWO, "measure": 1e-6}.items():
        for qubits in target[name]:
            target.update_instruction_properties(
                name, qubits, InstructionProperties(duration=time, error=0.0)
            )
    target.qubit_properties = [QubitProperties(t1=T1, t2=T2) for _ in range(num_qubits)]
    return backend


def measured(circuit: QuantumCircuit, qubits: list[int], barrier: bool = True) -> QuantumCircuit:
    closed = circuit.copy()
    if barrier:
        closed.barrier()
    closed.add_register(ClassicalRegister(len(qubits), "c"))
    closed.measure(qubits, range(len(qubits)))
    return closed


def exactly(circuit: QuantumCircuit, backend: BackendV2) -> np.ndarray:
    """Outcome probabilities of a circuit with measurements whose qubits form one part."""
    (part,) = components(circuit, backend)
    sampler = Sampler(part.prepared, [p.name for p in circuit.parameters])
    return sampler.probabilities(np.zeros((1, circuit.num_parameters)))[0]


def test_waits_by_hand() -> None:
    # q0: x, then cx with q1, which is late, since it works with q2 first; q3 idles in between.
    steps = [([0], 1.0), ([1, 2], 10.0), ([0, 1], 5.0), ([1], 1.0), ([3], 2.0), ([2], 0.0)]
    found, total = waits(steps, 4, measured=[0, 1, 3])
    assert [pause[:, 0].tolist() for pause in found] == [[0], [0, 6], [1, 0], [0], [0], [0]]
    assert total.tolist() == [16.0]
    # Nobody reads qubit 2 and nothing follows there: its wait costs nothing; a barrier that it
    # stands behind before its first step costs nothing either.
    found, _ = waits([([0, 3], None), ([0], 1.0), ([0, 3], None), ([3], 4.0)], 4, [0, 3])
    assert [pause[:, 0].tolist() for pause in found] == [[0, 0], [0], [4.0, 0.0], [0]]
    # Two places of the chip with durations of their own.
    found, total = waits(
        [([0, 1], np.array([1.0, 2.0])), ([1], np.array([3.0, 5.0]))], 2, [0, 1], 2
    )
    assert found[0].tolist() == [[3.0, 5.0], [0.0, 0.0]]
    assert total.tolist() == [4.0, 7.0]


def test_a_waiting_qubit_decays_by_t1_and_t2() -> None:
    backend = quiet_line()
    for method in (Method.PAULI, Method.TRAJECTORIES):
        circuit = QuantumCircuit(4)
        circuit.x(0)
        circuit.cx(0, 1)
        for _ in range(40):
            circuit.cx(1, 2)
        timed = scheduled(circuit, [0, 1], backend.target, range(4))
        noise = calibrated_noise(backend, timed, range(4), [0, 1])
        sampler = Sampler(PreparedCircuit(timed, (0,), noise), (), method)
        # From the end of its X until the read-out, qubit 0 is excited and relaxes all the time.
        expected = math.exp(-(ONE + 41 * TWO) / T1)
        if method is Method.PAULI:
            assert sampler.probabilities(np.zeros((1, 0)))[0, 1] == pytest.approx(expected)
        else:
            shots = 20_000
            counts = sampler.sample(np.zeros((1, 0)), shots, ShotStreams.of(3))
            one = counts.count[counts.outcome == 1].sum() / shots
            assert abs(one - expected) < 6 * math.sqrt(expected * (1 - expected) / shots)
    # SX, a wait, SX: the coherence that the second one turns back has decayed by T2.
    wait = 20e-6
    circuit = QuantumCircuit(1)
    circuit.sx(0)
    circuit.delay(wait, 0, unit="s")
    circuit.sx(0)
    one = exactly(measured(circuit, [0]), quiet_line())[1]
    left = math.exp(-(wait + ONE) / T2)
    assert 2 * one - 1 == pytest.approx(left * math.exp(-ONE / T1) - (1 - math.exp(-ONE / T1)))


def random_circuit(seed: int) -> QuantumCircuit:
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(5)
    for _ in range(30):
        kind, a = rng.integers(4), int(rng.integers(4))
        if kind == 0:
            circuit.sx(a)
            circuit.rz(float(rng.normal()), a)
            circuit.sx(a)
        elif kind == 1:
            circuit.x(a)
        else:
            circuit.cx(*((a, a + 1) if rng.integers(2) else (a + 1, a)))
    for a in range(4):  # one part
        circuit.cx(a, a + 1)
    return circuit


def by_client(circuit: QuantumCircuit, backend: BackendV2) -> QuantumCircuit:
    passes = [ALAPScheduleAnalysis(target=backend.target), PadDelay(target=backend.target)]
    return PassManager(passes).run(circuit)


@pytest.mark.parametrize("seed", range(3))
def test_emulated_idle_time_is_that_of_aer_on_circuits_that_qiskit_scheduled(seed: int) -> None:
    backend, circuit = FakeManilaV2(), measured(random_circuit(seed), [0, 2, 4])
    padded = by_client(circuit, backend)
    assert padded.count_ops()["delay"] > 3
    saved = padded.remove_final_measurements(inplace=False)
    saved.save_probabilities([0, 2, 4])
    model = NoiseModel.from_backend(backend, readout_error=False)
    simulator = AerSimulator(
        method="density_matrix", noise_model=model, max_parallel_threads=1, fusion_enable=False
    )
    expected = simulator.run(saved).result().data(0)["probabilities"]
    (part,) = components(circuit, backend)
    prepared = part.prepared
    assert prepared.noise is not None
    prepared.noise.readout.clear()  # type: ignore[attr-defined]
    mine = Sampler(prepared, ()).probabilities(np.zeros((1, 0)))[0]
    np.testing.assert_allclose(mine, expected, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_circuits_that_are_scheduled_already_suffer_no_more(seed: int) -> None:
    backend, circuit = FakeManilaV2(), measured(random_circuit(seed), [0, 1, 4])
    plain = exactly(circuit, backend)
    np.testing.assert_allclose(exactly(by_client(circuit, backend), backend), plain, atol=1e-9)
    without = exactly(measured(random_circuit(seed), [0, 1, 4], barrier=False), backend)
    np.testing.assert_allclose(without, plain, atol=1e-12)  # all are read at the same time


def test_a_price_covers_what_waiting_costs() -> None:
    # Gates and read-out are perfect: the expected error is that of the waits alone.
    backend = quiet_line(3)
    circuit = QuantumCircuit(3)
    circuit.x(0)
    circuit.cx(0, 1)
    for _ in range(20):
        circuit.cx(1, 2)
        circuit.sx(2)
        circuit.sx(2)
    work = Workload(circuit, (), np.zeros((1, 0)), (SparsePauliOp("IIZ"), SparsePauliOp("ZII")))
    made = plan(work, backend, PlanOptions(shots=10, tiles=1, optimization_level=0))
    success = 1.0
    for wait in (20 * TWO + 40 * ONE, 19 * 2 * ONE):  # of qubits 0 and 1; nobody reads qubit 1
        success *= (3 + math.exp(-wait / T1) + 2 * math.exp(-wait / T2)) / 6
    assert made.tiles[0].expected_error == pytest.approx(1 - success, rel=1e-9)


@pytest.mark.parametrize("sequence", ["XX", "XpXm", "XY4"])
def test_decoupling_costs_its_pulses_and_no_idle_time(sequence: str) -> None:
    backend = FakeManilaV2()
    circuit = QuantumCircuit(5)
    circuit.x(0)
    circuit.cx(0, 1)
    for _ in range(30):
        circuit.cx(1, 2)
        circuit.cx(2, 3)
    circuit.cx(0, 1)
    closed = measured(circuit, [0])
    options = SimpleNamespace(
        sequence_type=sequence, scheduling_method="alap", skip_reset_qubits=True,
        extra_slack_distribution="middle",
    )  # fmt: skip
    decoupled = generate_dd_pass_manager(backend, options).run(closed)
    pulses = decoupled.count_ops()["x"] + decoupled.count_ops().get("rx", 0) - 1
    assert pulses >= 2
    plain, pulsed = exactly(closed, backend)[1], exactly(decoupled, backend)[1]
    undecayed = 1 - plain
    assert undecayed > 0.05  # idle time counts without decoupling too
    # X pulses also swap |1⟩, which decays, with |0⟩, which does not: never worse than their errors.
    worst = max(p.error for p in backend.target["x"].values())
    assert pulsed > plain - 4 * pulses * worst


def test_what_is_left_out_is_said_in_the_same_words() -> None:
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.cx(0, 1)
    work = Workload(circuit, (), np.zeros((1, 0)), (SparsePauliOp("ZI"),))
    made = plan(work, FakeManilaV2(), PlanOptions(shots=10))
    fake = parse_target("fake:manila:10", seed=1).run(work).notes
    aer = parse_target("aer:manila:10", seed=1).run(work).notes
    for notes in (made.notes, fake, aer):
        assert notes.count(LEFT_OUT) == 1
    assert all(word in LEFT_OUT for word in ("idle time", "crosstalk", "drift", "decoupling"))


def test_a_duration_that_nobody_knows_is_not_zero() -> None:
    backend = FakeManilaV2()
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    for duration in (None, math.nan, -1e-9, math.inf):
        backend.target.update_instruction_properties(
            "cx", (0, 1), InstructionProperties(error=0.01, duration=duration)
        )
        with pytest.raises(InvalidInputError, match=r"how long 'cx' takes on qubits \(0, 1\)"):
            scheduled(circuit, [1], backend.target, range(2))
    prepared = CalibratedTarget("manila").prepare(circuit, [1])
    assert prepared.physical is not None
