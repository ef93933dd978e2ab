"""Random runs of noisy circuits: their outcomes are distributed as Aer's density matrix says."""

from __future__ import annotations

import numpy as np
import pytest
from contracts.sampling_bounds import assert_means, assert_shares, shifted
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit_aer import AerSimulator

from hardware.emulation import trajectories
from hardware.emulation.error_channels import ErrorChannel, Relaxation
from hardware.emulation.noise import CircuitNoise, error_key, without_delays
from hardware.emulation.rates import NoisyTarget
from hardware.emulation.sampling import Method, Sampler, ShotStreams
from hardware.emulation.trajectories import TrajectoryProgram
from hardware.errors import UnsupportedCircuitError

SHORT, LONG = Relaxation(50e-6, 30e-6, 40e-6), Relaxation(30e-6, 60e-6, 30e-6)  # T2 = 2 T1
ONE = {
    "ry": ErrorChannel(1, 0.1),
    "rx": ErrorChannel(1, 0.1, (SHORT,)),
    "sx": ErrorChannel(1, 0.0, (LONG,)),
    "x": ErrorChannel(1, 0.0, (SHORT,)),
    "delay 20.0 us": ErrorChannel(1, 0.0, (LONG,)),
}
TWO = {
    "cx": ErrorChannel(2, 0.2, (LONG, SHORT)),
    "cz": ErrorChannel(2, 0.3),
    "ecr": ErrorChannel(2, 0.1, (SHORT, LONG)),
    "rzz": ErrorChannel(2, 0.1),
}
READOUT = np.array([[0.95, 0.05], [0.2, 0.8]])


def noisy(circuit: QuantumCircuit) -> CircuitNoise:
    errors = {}
    for step in circuit.data:
        key, qubits = error_key(step.operation), [circuit.find_bit(q).index for q in step.qubits]
        if (error := (ONE | TWO).get(key)) is not None:
            errors[key, tuple(qubits)] = error
    return CircuitNoise("a test", True, errors, {1: READOUT})


def circuit_of(kind: str) -> QuantumCircuit:
    """Three qubits; qubit 0 is excited and waits, so that many shots jump."""
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(3)
    circuit.ry(a, 0)
    circuit.ry(2 * b + 0.3, 1)
    circuit.cx(0, 1)
    if kind == "real":
        circuit.x(2)
        circuit.cz(1, 2)
        circuit.ry(b, 2)
        circuit.cx(2, 0)
        circuit.ry(a, 0)
        return circuit
    circuit.sx(2)
    circuit.ecr(1, 2)
    circuit.delay(20.0, 0, unit="us")
    circuit.rx(b, 2)
    circuit.cz(0, 2)
    circuit.rzz(a, 0, 1)
    circuit.delay(20.0, 1, unit="us")
    circuit.rx(a, 1)
    circuit.rz(b, 1)
    circuit.sx(1)
    circuit.cx(1, 0)
    circuit.x(0)
    return circuit


def exact_shares(
    circuit: QuantumCircuit, noise: CircuitNoise, measured: list[int], values: np.ndarray
) -> np.ndarray:
    """Aer's probabilities (2^m,) without read-out errors."""
    saved = without_delays(circuit)
    saved.save_probabilities(measured)
    bound = saved.assign_parameters(dict(zip(saved.parameters, values, strict=True)))
    simulator = AerSimulator(method="density_matrix", noise_model=noise.aer_model())
    return np.asarray(simulator.run(bound, shots=1).result().data(0)["probabilities"])


@pytest.mark.sampled
@pytest.mark.parametrize("kind", ["real", "complex"])
@pytest.mark.parametrize("measured", [[0, 1, 2], [2, 0], [1]])
def test_outcomes_are_distributed_as_aers_density_matrix_says(
    kind: str, measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    circuit = circuit_of(kind)
    noise = noisy(circuit)
    program = TrajectoryProgram.compile(circuit, measured, ["a", "b"], noise)
    assert program.real == (kind == "real")
    monkeypatch.setattr(trajectories, "_DRAWN", 200_000)  # several parts of the shots
    values, shots = np.array([2.5, 0.7]), 40_000
    outcomes = program.sample(values, shots, np.random.default_rng(shifted(5)))
    expected = exact_shares(circuit, noise, measured, values)
    for bit, qubit in enumerate(measured):
        if qubit == 1:
            axes = expected.reshape(2 ** (len(measured) - 1 - bit), 2, 2**bit)
            expected = np.einsum("aib,ij->ajb", axes, READOUT).ravel()
    found = np.bincount(outcomes, minlength=2 ** len(measured)) / shots
    assert_shares(found, expected, shots)


@pytest.mark.parametrize("kind", ["real", "complex"])
def test_threads_do_not_change_a_shot(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = circuit_of(kind)
    program = TrajectoryProgram.compile(circuit, [0, 1, 2], ["a", "b"], noisy(circuit))
    drawn = []
    for count in ("1", "3"):
        monkeypatch.setenv("QHEAD_NUM_THREADS", count)
        rng = np.random.default_rng(1)
        drawn.append(program.sample(np.array([1.0, 2.0]), 1000, rng))
    np.testing.assert_array_equal(*drawn)


@pytest.mark.sampled
def test_wide_states_run_as_trajectories() -> None:
    """⟨Z⟩ at the end of a chain of CX is the product of all cosines, once for each error."""
    num_qubits = 14
    circuit = QuantumCircuit(num_qubits)
    names = [f"x{q}" for q in range(num_qubits)]
    for qubit, name in enumerate(names):
        circuit.ry(Parameter(name), qubit)
    for qubit in range(num_qubits - 1):
        circuit.cx(qubit, qubit + 1)
    values = np.random.default_rng(1).uniform(-0.4, 0.4, (3, num_qubits))
    prepared = NoisyTarget(0.01, 0.02).prepare(circuit, range(num_qubits))
    sampler = Sampler(prepared, names)
    assert "as trajectories" in sampler.description
    counts = sampler.sample(values, 2000, ShotStreams.of(shifted(1)))
    sign = 1.0 - 2.0 * (counts.outcome >> (num_qubits - 1) & 1)
    means = np.bincount(counts.row, sign * counts.count) / 2000
    assert_means(means, 0.99**14 * 0.98**13 * np.cos(values).prod(axis=1), 2000)


def test_without_errors_all_shots_share_one_run() -> None:
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.cx(0, 1)
    sampler = Sampler(NoisyTarget(0.0, 0.0).prepare(circuit, [0, 1]), (), Method.TRAJECTORIES)
    counts = sampler.sample(np.zeros((2, 0)), 100, ShotStreams.of(1))
    assert (counts.outcome == 3).all()
    assert counts.count.tolist() == [100, 100]


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda c: c.rxx(Parameter("w"), 0, 1), "parametrised 'rxx'"),
        (lambda c: c.rx(Parameter("w") ** 2, 0), "affine"),
        (lambda c: c.ccx(0, 1, 2), "one or two qubits"),
        (lambda c: c.add_bits(QuantumCircuit(20).qubits), "at most 22 qubits"),
    ],
)
def test_what_is_left_to_aer_is_named(build: object, text: str) -> None:
    circuit = QuantumCircuit(3)
    build(circuit)  # type: ignore[operator]
    with pytest.raises(UnsupportedCircuitError, match=text):
        TrajectoryProgram.compile(circuit, [0], ["w"], noisy(circuit))
