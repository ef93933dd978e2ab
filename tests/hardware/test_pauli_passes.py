"""Passes of the exact noisy engine: blocks, order, digits used again, real states, precision."""

from __future__ import annotations

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import PTM, SuperOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, depolarizing_error, pauli_error, thermal_relaxation_error

from hardware.emulation import pauli_passes, pauli_simulator
from hardware.emulation.error_channels import InstructionErrors
from hardware.emulation.pauli_simulator import PauliProgram, transfer_matrix
from hardware.emulation.rates import NoisyTarget
from hardware.emulation.sampling import Sampler

RELAX = thermal_relaxation_error(50, 30, 8)
ERRORS = {
    "ry": depolarizing_error(0.02, 1).compose(RELAX),  # keeps states real
    "h": RELAX,
    "rx": depolarizing_error(0.02, 1),
    "cx": depolarizing_error(0.05, 2).compose(RELAX.expand(RELAX)),
    "cz": depolarizing_error(0.05, 2),
    "swap": pauli_error([("XX", 0.1), ("II", 0.9)]).compose(RELAX.expand(RELAX)),  # dense
}
REAL = ("ry", "h", "cx", "cz")


def random_circuit(seed: int, gates: tuple[str, ...], num_qubits: int = 6) -> QuantumCircuit:
    """Thirty gates; every rotation has a parameter of its own."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(num_qubits)
    for step in range(30):
        name = gates[int(rng.integers(len(gates)))]
        a, b = (int(q) for q in rng.choice(num_qubits, 2, replace=False))
        if name in ("rx", "ry"):
            getattr(circuit, name)(Parameter(f"p{step}"), a)
        elif name == "h":
            circuit.h(a)
        else:
            getattr(circuit, name)(a, b)
    return circuit


def compiled(circuit: QuantumCircuit, measured: tuple[int, ...]) -> PauliProgram:
    gates = {}
    for step in circuit.data:
        where = tuple(circuit.find_bit(q).index for q in step.qubits)
        error = ERRORS[step.operation.name]
        gates[step.operation.name, where] = transfer_matrix(PTM(SuperOp(error)))
    names = [parameter.name for parameter in circuit.parameters]
    return PauliProgram.compile(circuit, measured, names, InstructionErrors(gates, {}))


def aer_probabilities(
    circuit: QuantumCircuit, measured: tuple[int, ...], values: np.ndarray
) -> np.ndarray:
    model = NoiseModel(basis_gates=list(ERRORS))
    for name, error in ERRORS.items():
        model.add_all_qubit_quantum_error(error, name)
    saved = circuit.copy()
    saved.save_probabilities(list(measured))
    binds = {p: values[:, i].tolist() for i, p in enumerate(circuit.parameters)}
    simulator = AerSimulator(
        method="density_matrix", noise_model=model, max_parallel_threads=1, fusion_enable=False
    )
    result = simulator.run(saved, parameter_binds=[binds], shots=1).result()
    return np.array([result.data(row)["probabilities"] for row in range(len(values))])


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill the vector with NaN: a component that is read before it is written shows."""
    real = pauli_simulator.kernel.evolve

    def evolve(start: int, stop: int, vector: np.ndarray, *arguments: object) -> None:
        vector.fill(np.nan)
        real(start, stop, vector, *arguments)

    monkeypatch.setattr(pauli_simulator.kernel, "evolve", evolve)


@pytest.mark.parametrize("block", [2, 3, 4, 7])
@pytest.mark.parametrize(
    ("gates", "even"), [(REAL, True), ((*REAL, "rx"), False), ((*REAL, "swap"), False)]
)
@pytest.mark.parametrize("measured", [(3,), (5, 0, 2), (0, 1, 2, 3, 4, 5)])
def test_blocks_of_any_size_equal_aers_density_matrix(
    block: int,
    gates: tuple[str, ...],
    even: bool,
    measured: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pauli_passes, "BLOCK_DIGITS", block)
    for seed in range(2):
        circuit = random_circuit(seed, gates)
        program = compiled(circuit, measured)
        assert program.even == even
        assert (len(program.passes.passes) > 1) == (block < 5)
        values = np.random.default_rng(seed).uniform(-3, 3, (17, circuit.num_parameters))
        checked = [0, 15, 16]  # the ends of the first lanes, and the second lanes
        np.testing.assert_allclose(
            program.probabilities(values)[checked],
            aer_probabilities(circuit, measured, values[checked]),
            atol=1e-12,
        )


@pytest.mark.parametrize("seed", range(4))
def test_single_precision_errs_by_little(seed: int) -> None:
    for gates in (REAL, tuple(ERRORS)):
        circuit = random_circuit(seed, gates, num_qubits=8)
        program = compiled(circuit, (0, 3, 7))
        values = np.random.default_rng(seed).uniform(-3, 3, (40, circuit.num_parameters))
        exact, single = program.probabilities(values), program.probabilities(values, np.float32)
        assert 0 < np.abs(single - exact).max() < 2e-6  # what `sampling` says


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    circuit = random_circuit(1, REAL)
    program = compiled(circuit, (0, 1, 2, 3))
    values = np.random.default_rng(1).uniform(-3, 3, (37, circuit.num_parameters))
    for dtype in (np.float32, np.float64):
        whole = program.probabilities(values, dtype)
        alone = np.concatenate([program.probabilities(row[np.newaxis], dtype) for row in values])
        np.testing.assert_array_equal(whole, alone)


def test_digits_are_used_again() -> None:
    """⟨Z⟩ at the end of a chain of CX is the product of all cosines, once for each error."""
    circuit, num_qubits = QuantumCircuit(20), 20
    names = tuple(f"x{q}" for q in range(num_qubits))
    for qubit, name in enumerate(names):
        circuit.ry(Parameter(name), qubit)
    for qubit in range(num_qubits - 1):
        circuit.cx(qubit, qubit + 1)
    values = np.random.default_rng(1).uniform(-0.5, 0.5, (5, num_qubits))
    sampler = Sampler(NoisyTarget(0.01, 0.02).prepare(circuit, [19]), names)
    assert sampler._program is not None
    assert sampler._program.passes.width <= pauli_passes.BLOCK_DIGITS
    expected = 0.99**20 * 0.98**19 * np.cos(values).prod(axis=1)
    found = sampler.probabilities(values)
    np.testing.assert_allclose(found[:, 0] - found[:, 1], expected, atol=1e-12)


def test_every_gate_runs_once_and_in_order() -> None:
    circuit = random_circuit(3, ("cx", "ry", "cz"), num_qubits=9)
    gates = [
        pauli_passes.Gate(0, *(circuit.find_bit(q).index for q in step.qubits), 0, 0, index)
        for index, step in enumerate(circuit.data)
        if len(step.qubits) == 2
    ]
    passes = pauli_passes.plan_passes(gates, 9, [0])
    ran = [int(op[5]) for op in passes.ops if op[0] == 0]
    assert sorted(ran) == [gate.table for gate in gates]
    for qubit in range(9):
        own = [gate.table for gate in gates if qubit in (gate.a, gate.b)]
        assert [table for table in ran if table in own] == own
    assert (passes.slots >= 0).tolist() == [True, *[False] * 8]
