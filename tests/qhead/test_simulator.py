"""The simulator against Qiskit's `Statevector` and finite differences."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
import types
from typing import Any

import numpy as np
import psutil
import pytest
from qiskit.circuit import (
    AnnotatedOperation,
    ClassicalRegister,
    ControlModifier,
    Gate,
    InverseModifier,
    Parameter,
    ParameterVector,
    QuantumCircuit,
    QuantumRegister,
)
from qiskit.circuit.library import RYGate, UnitaryGate, XGate
from qiskit.quantum_info import SparsePauliOp, Statevector, random_unitary

from hardware.workload import Workload
from qhead.errors import SimulationError
from qhead.simulator import ExactTarget, Simulator, engine
from qhead.simulator import simulator as simulator_module
from qhead.simulator.observables import as_terms
from qhead.simulator.program import NATIVE_GATES, compile_circuit, light_cone, read_operations
from qhead.simulator.shared import SharedTape, run_shared
from qhead.simulator.simulator import same_circuit

Draw = np.random.Generator

FIXED_1 = ("x", "y", "z", "h", "s", "sdg", "t", "tdg", "sx", "sxdg", "id")
FIXED_2 = ("cx", "cy", "cz", "ch", "cs", "csdg", "csx", "swap", "iswap", "dcx", "ecr")
TURNS_1 = ("rx", "ry", "rz", "p")
TURNS_2 = ("crx", "cry", "crz", "cp", "rxx", "ryy", "rzz", "rzx")


def random_circuit(rng: Draw, num_qubits: int, num_gates: int, names: list[str]) -> QuantumCircuit:
    """Every name at least once, in random order; every angle an affine function of parameters."""
    circuit = QuantumCircuit(num_qubits)
    parameters = ParameterVector("a", 6)
    order = [*names, *rng.choice(names, max(0, num_gates - len(names)))]
    for name in rng.permutation(order):
        qubits = [int(q) for q in rng.permutation(num_qubits)]
        angle = float(rng.normal()) * parameters[rng.integers(6)] + float(rng.normal())
        if name in FIXED_1:
            getattr(circuit, name)(qubits[0])
        elif name in FIXED_2:
            getattr(circuit, name)(qubits[0], qubits[1])
        elif name in TURNS_1:
            getattr(circuit, name)(angle, qubits[0])
        elif name in TURNS_2:
            getattr(circuit, name)(angle, qubits[0], qubits[1])
        elif name == "u":
            circuit.u(angle, parameters[0] + parameters[1], float(rng.normal()), qubits[0])
        elif name == "cu":
            circuit.cu(angle, parameters[2], 0.3, 0.4, qubits[0], qubits[1])
        elif name == "ccx":
            circuit.ccx(*qubits[:3])
        elif name == "open":
            circuit.append(XGate().control(1, ctrl_state=0), qubits[:2])
        else:
            circuit.append(UnitaryGate(random_unitary(4, seed=int(rng.integers(99)))), qubits[:2])
    for parameter in set(parameters) - set(circuit.parameters):
        circuit.ry(parameter, 0)
    return circuit


EVERYTHING = [*FIXED_1, *FIXED_2, *TURNS_1, *TURNS_2, "u", "cu", "ccx", "open", "unitary"]
REAL = ["ry", "cx", "x", "z", "h", "cz", "ch", "cry", "swap", "y"]

OBSERVABLES = [
    SparsePauliOp("IIIZ"),
    SparsePauliOp("ZIZI"),
    SparsePauliOp(["IIII", "XXII", "IYIY", "ZZZZ", "IIII"], [0.3, -1.2, 0.7, 0.5, 0.1]),
    SparsePauliOp("XYZX"),
]


def statevectors(circuit: QuantumCircuit, values: np.ndarray) -> list[Statevector]:
    names = circuit.parameters
    return [
        Statevector(circuit.assign_parameters(dict(zip(names, v, strict=True)))) for v in values
    ]


def expected_values(circuit: QuantumCircuit, values: np.ndarray) -> np.ndarray:
    states = statevectors(circuit, values)
    return np.array([[state.expectation_value(o).real for o in OBSERVABLES] for state in states])


def differences(function: Any, values: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences of a function (B, P) -> (B, M), shape (B, M, P)."""
    columns = []
    for p in range(values.shape[1]):
        shift = np.zeros_like(values)
        shift[:, p] = step
        columns.append((function(values + shift) - function(values - shift)) / (2 * step))
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("names", [EVERYTHING, REAL], ids=["everything", "real"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("batch", [1, 11])
def test_random_circuits_agree_with_statevector(names: list[str], seed: int, batch: int) -> None:
    rng = np.random.default_rng([seed, batch])
    circuit = random_circuit(rng, 4, 45, names)
    values = rng.uniform(-4, 4, (batch, circuit.num_parameters))
    terms = [as_terms(observable) for observable in OBSERVABLES]
    simulator = Simulator()
    result = simulator.expectations(circuit, terms, values)
    np.testing.assert_allclose(result, expected_values(circuit, values), atol=1e-12)
    measured = [3, 0, 2]
    probabilities = simulator.probabilities(circuit, measured, values)
    oracle = [state.probabilities(measured) for state in statevectors(circuit, values)]
    np.testing.assert_allclose(probabilities, oracle, atol=1e-12)


@pytest.mark.parametrize("names", [EVERYTHING, REAL], ids=["everything", "real"])
def test_gradients_agree_with_finite_differences(names: list[str]) -> None:
    rng = np.random.default_rng(7)
    circuit = random_circuit(rng, 4, 40, names)
    values = rng.uniform(-3, 3, (9, circuit.num_parameters))
    terms = [as_terms(observable) for observable in OBSERVABLES]
    simulator = Simulator()
    gradient = simulator.expectation_gradients(circuit, terms, values)
    numeric = differences(lambda v: simulator.expectations(circuit, terms, v), values)
    np.testing.assert_allclose(gradient, numeric, atol=1e-8)
    by_value = simulator.probability_gradients(circuit, [1, 2], values)
    numeric = differences(lambda v: simulator.probabilities(circuit, [1, 2], v), values)
    np.testing.assert_allclose(by_value, numeric, atol=1e-8)


def test_real_circuits_take_the_real_path_and_others_do_not() -> None:
    rng = np.random.default_rng(0)
    assert compile_circuit(random_circuit(rng, 4, 20, REAL), [0, 1, 2, 3]).real
    assert not compile_circuit(random_circuit(rng, 4, 20, [*REAL, "rx"]), [0, 1, 2, 3]).real


def test_angles_that_are_not_affine_are_differentiated_too() -> None:
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(2)
    circuit.ry(a * b, 0)
    circuit.cx(0, 1)
    circuit.rx(a.sin() + b**2, 1)
    circuit.ry(a, 0)
    values = np.random.default_rng(1).normal(size=(5, 2))
    terms = [{"ZI": 1.0}, {"XY": 1.0}]
    simulator = Simulator()
    numeric = differences(lambda v: simulator.expectations(circuit, terms, v), values)
    gradient = simulator.expectation_gradients(circuit, terms, values)
    np.testing.assert_allclose(gradient, numeric, atol=1e-8)


def test_single_precision_is_close_to_double() -> None:
    rng = np.random.default_rng(3)
    circuit = random_circuit(rng, 5, 120, REAL)
    values = rng.uniform(-3, 3, (16, circuit.num_parameters))
    terms = [{"IIIIZ": 1.0}]
    single, double = Simulator(np.float32), Simulator()
    gap = single.expectations(circuit, terms, values) - double.expectations(circuit, terms, values)
    assert 0 < np.abs(gap).max() < 1e-5
    gap = single.expectation_gradients(circuit, terms, values)
    gap = gap - double.expectation_gradients(circuit, terms, values)
    assert np.abs(gap).max() < 1e-4


def test_initial_states_and_their_gradient() -> None:
    rng = np.random.default_rng(5)
    circuit = random_circuit(rng, 3, 15, ["ry", "cx", "h"])
    program = compile_circuit(circuit, [2, 0], keep_qubits=True)
    values = rng.normal(size=(4, circuit.num_parameters))
    initial = rng.normal(size=(4, 8))
    tape = engine.run(program, values, initial=initial)
    for row in range(4):
        norm = np.linalg.norm(initial[row])
        bound = circuit.assign_parameters(dict(zip(circuit.parameters, values[row], strict=True)))
        state = Statevector(initial[row] / norm).evolve(bound)
        np.testing.assert_allclose(
            tape.probabilities[row], state.probabilities([2, 0]) * norm**2, atol=1e-12
        )
    weights = rng.normal(size=(4, 1, 4))
    _, gradient = tape.pull_back(weights, initial=True)
    assert gradient is not None
    numeric = differences(
        lambda start: np.einsum(
            "bc,brc->br", engine.run(program, values, initial=start).probabilities, weights
        ),
        initial,
    )
    np.testing.assert_allclose(gradient, numeric, atol=1e-8)


def test_only_the_light_cone_is_simulated() -> None:
    circuit = QuantumCircuit(20)
    for layer in range(2):
        for qubit in range(19):
            circuit.cx(qubit + 1, qubit)
        for qubit in range(20):
            circuit.ry(0.1 + layer, qubit)
    program = compile_circuit(circuit, [0])
    assert program.num_qubits == 3
    assert len(program.operations) < 10
    kept = light_cone(list(read_operations(circuit)), [0])
    assert max(q for operation in kept for q in operation.qubits) == 2
    small = circuit.copy_empty_like()
    for instruction in circuit.data:
        if all(circuit.find_bit(q).index < 8 for q in instruction.qubits):
            small.append(instruction)
    values = Simulator().expectations(circuit, [{"I" * 19 + "Z": 1.0}], np.zeros((1, 0)))
    reduced = QuantumCircuit(8)
    for instruction in small.data:
        reduced.append(
            instruction.operation, [circuit.find_bit(q).index for q in instruction.qubits]
        )
    oracle = Statevector(reduced).expectation_value(SparsePauliOp("I" * 7 + "Z"))
    assert values[0, 0] == pytest.approx(oracle.real, abs=1e-12)


def test_an_edited_circuit_is_compiled_again() -> None:
    simulator = Simulator()
    circuit = QuantumCircuit(1)
    circuit.ry(0.5, 0)
    first = simulator.expectations(circuit, [{"Z": 1.0}], np.zeros((1, 0)))
    circuit.data[0] = circuit.data[0].replace(operation=circuit.data[0].operation.__class__(1.0))
    second = simulator.expectations(circuit, [{"Z": 1.0}], np.zeros((1, 0)))
    assert first[0, 0] == pytest.approx(np.cos(0.5))
    assert second[0, 0] == pytest.approx(np.cos(1.0))


def test_large_batches_are_chunked_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    circuit = random_circuit(rng, 3, 20, REAL)
    program = compile_circuit(circuit, [0, 1])
    values = rng.normal(size=(70, circuit.num_parameters))
    whole = engine.probabilities(program, values)
    monkeypatch.setattr(engine, "CHUNK_BYTES", 1024)
    np.testing.assert_array_equal(engine.probabilities(program, values), whole)


@pytest.mark.parametrize("threads", ["1", "3"])
def test_threads_do_not_change_a_bit(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    circuit = random_circuit(rng, 8, 60, REAL)
    program = compile_circuit(circuit, [0])
    values = rng.normal(size=(50, circuit.num_parameters))
    whole = engine.run(program, values)
    monkeypatch.setenv("QHEAD_NUM_THREADS", threads)
    monkeypatch.setattr(engine, "_WORTH_A_THREAD", 0)
    split = engine.run(program, values)
    np.testing.assert_array_equal(split.probabilities, whole.probabilities)
    weights = rng.normal(size=(50, 2, 2))
    np.testing.assert_array_equal(split.pull_back(weights)[0], whole.pull_back(weights)[0])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_simulates_too() -> None:
    """In a process of its own, so that pytest's threads are not forked along."""
    code = """
import os, numpy as np
from qiskit.circuit import QuantumCircuit
from qhead.simulator import engine
from qhead.simulator.program import compile_circuit
engine._WORTH_A_THREAD = 0
circuit = QuantumCircuit(2); circuit.h(0)
program = compile_circuit(circuit, [0])
run = lambda: engine.run(program, np.zeros((64, 0))).probabilities[:, 0]
run()
child = os.fork()
if child == 0:
    os._exit(0 if np.allclose(run(), 0.5) else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    environment = {**os.environ, "QHEAD_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=120, check=False)
    assert done.returncode == 0


def test_exact_target_binds_by_name() -> None:
    w, x = Parameter("w"), Parameter("x")
    circuit = QuantumCircuit(1)
    circuit.ry(x, 0)
    circuit.rx(w, 0)
    observables = (SparsePauliOp("Z"), SparsePauliOp("X"))
    result = ExactTarget().run(Workload(circuit, ("x", "w"), np.array([[0.3, 1.1]]), observables))
    np.testing.assert_allclose(result.values, [[np.cos(0.3) * np.cos(1.1), np.sin(0.3)]])
    assert not result.std_errors.any()


def reset(circuit: QuantumCircuit) -> None:
    circuit.reset(0)


def measure(circuit: QuantumCircuit) -> None:
    circuit.add_register(ClassicalRegister(1))
    circuit.measure(0, 0)


def branch(circuit: QuantumCircuit) -> None:
    circuit.add_register(ClassicalRegister(1))
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(0)


@pytest.mark.parametrize("spoil", [reset, measure, branch])
def test_what_is_not_a_gate_is_refused(spoil: Any) -> None:
    circuit = QuantumCircuit(1)
    spoil(circuit)
    with pytest.raises(SimulationError, match="circuit of unitary gates"):
        compile_circuit(circuit, [0])


def test_composite_instructions_are_opened() -> None:
    inner = QuantumCircuit(2, name="inner")
    inner.h(0)
    inner.cx(0, 1)
    circuit = QuantumCircuit(2)
    circuit.append(inner.to_instruction(), [0, 1])
    result = Simulator().probabilities(circuit, [0, 1], np.zeros((1, 0)))
    np.testing.assert_allclose(result, [[0.5, 0, 0, 0.5]], atol=1e-15)


@pytest.mark.parametrize("name", ["h", "x", "id", "ry", "barrier", "swap", "measure", "inner"])
@pytest.mark.parametrize("as_gate", [True, False])
def test_a_gate_is_what_it_does_not_what_it_is_called(name: str, as_gate: bool) -> None:
    angle = Parameter("a")
    inner = QuantumCircuit(2, name=name)
    inner.ry(angle, 0)
    inner.cx(0, 1)
    circuit = QuantumCircuit(2)
    circuit.append(inner.to_gate() if as_gate else inner.to_instruction(), [1, 0])
    circuit.h(0)
    values = np.array([[0.3], [1.2]])
    result = Simulator().probabilities(circuit, [0, 1], values)
    plain = QuantumCircuit(2)
    plain.ry(angle, 1)
    plain.cx(1, 0)
    plain.h(0)
    oracle = [state.probabilities() for state in statevectors(plain, values)]
    np.testing.assert_allclose(result, oracle, atol=1e-12)


def test_annotated_operations_are_opened() -> None:
    gate = AnnotatedOperation(RYGate(0.7), [ControlModifier(1), InverseModifier()])
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.append(gate, [0, 1])
    plain = QuantumCircuit(2)
    plain.h(0)
    plain.cry(-0.7, 0, 1)
    result = Simulator().probabilities(circuit, [0, 1], np.zeros((1, 0)))
    np.testing.assert_allclose(result[0], Statevector(plain).probabilities(), atol=1e-12)


def test_circuits_that_differ_in_the_order_of_registers_only_are_kept_apart() -> None:
    a, b = QuantumRegister(1, "a"), QuantumRegister(1, "b")
    one, two = QuantumCircuit(a, b), QuantumCircuit(b, a)
    one.x(a[0])
    two.x(a[0])
    assert not same_circuit(one, two)
    assert same_circuit(one, one.copy())


def test_a_gate_without_a_definition_is_refused() -> None:
    circuit = QuantumCircuit(1)
    circuit.append(Gate("secret", 1, []), [0])
    with pytest.raises(SimulationError, match="secret"):
        compile_circuit(circuit, [0])


def test_wrong_shapes_are_refused() -> None:
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("a"), 0)
    program = compile_circuit(circuit, [0])
    with pytest.raises(SimulationError, match=r"values of shape \(B, 1\)"):
        engine.run(program, np.zeros((3, 2)))
    with pytest.raises(SimulationError, match="keep_qubits"):
        engine.run(program, np.zeros((3, 1)), initial=np.zeros((3, 4)))
    wide = QuantumCircuit(40)
    wide.h(0)
    for qubit in range(39):
        wide.cx(qubit, qubit + 1)
    with pytest.raises(SimulationError, match="at most 26 qubits"):
        engine.run(compile_circuit(wide, [39]), np.zeros((1, 0)))


def test_every_native_gate_is_covered_by_these_tests() -> None:
    assert set(NATIVE_GATES) <= {*FIXED_1, *FIXED_2, *TURNS_1, *TURNS_2}


@pytest.mark.parametrize("width", [2, 10, 16, 20, 24, 26])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_chunks_hold_a_bounded_number_of_bytes(width: int, dtype: type[np.floating]) -> None:
    circuit = QuantumCircuit(width)
    for qubit in range(width):
        circuit.rx(Parameter(f"x[{qubit}]"), qubit)  # complex: two planes
    circuit.cx(range(width - 1), range(1, width))
    for measured in ((0,), tuple(range(width))):
        program = compile_circuit(circuit, measured)
        parts = engine.chunks(program, 1000, dtype)
        assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
        assert parts[-1].stop == 1000
        size = np.dtype(dtype).itemsize
        planes = 1 if program.real else 2
        each = size * (planes * 2**program.num_qubits + 2 ** len(measured))
        rows = max(part.stop - part.start for part in parts)
        assert rows * each <= engine.CHUNK_BYTES or rows == 8
        assert rows == 1000 or (rows + 8) * each > engine.CHUNK_BYTES


def test_parts_of_a_batch_change_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit = QuantumCircuit(3)
    for qubit in range(3):
        circuit.ry(Parameter(f"x[{qubit}]"), qubit)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    values = np.random.default_rng(1).uniform(-3, 3, (21, 3))
    observables = [{"ZII": 1.0, "XXI": 0.5}, {"IZZ": -1.0}]
    whole = Simulator()
    expected = whole.expectations(circuit, observables, values)
    gradients = whole.expectation_gradients(circuit, observables, values)
    monkeypatch.setattr(engine, "CHUNK_BYTES", 1)
    monkeypatch.setattr(simulator_module, "_REMEMBERED_BYTES", 1)
    parts = Simulator()
    np.testing.assert_allclose(parts.expectations(circuit, observables, values), expected)
    found = parts.expectation_gradients(circuit, observables, values)
    np.testing.assert_allclose(found, gradients, atol=1e-14)


@pytest.mark.parametrize("batch", [1, 5, 8, 11, 40])
@pytest.mark.parametrize("names", [["ry", "cx", "h"], ["ry", "cx", "rx"]], ids=["real", "complex"])
def test_shared_parameters_give_what_each_samples_own_would(batch: int, names: list[str]) -> None:
    rng = np.random.default_rng(6)
    circuit = random_circuit(rng, 3, 25, names)
    program = compile_circuit(circuit, [2, 0], keep_qubits=True)
    values, initial = rng.normal(size=circuit.num_parameters), rng.normal(size=(batch, 8))
    weights = rng.normal(size=(batch, 1, 4))
    shared = run_shared(program, values, initial, np.float64)
    assert isinstance(shared, SharedTape) == (batch > 8 and names[-1] == "h")
    own = engine.run(program, np.tile(values, (batch, 1)), initial=initial)
    np.testing.assert_allclose(shared.probabilities, own.probabilities, atol=1e-12)
    by_parameter, by_amplitude = shared.pull_back(weights, initial=True)
    expected, by_own_amplitude = own.pull_back(weights, initial=True)
    np.testing.assert_allclose(by_parameter[0], expected.sum(axis=0), atol=1e-12)
    np.testing.assert_allclose(by_amplitude, by_own_amplitude, atol=1e-12)
    assert shared.pull_back(weights)[1] is None


def test_shared_parameters_agree_with_statevector_and_differences() -> None:
    rng = np.random.default_rng(8)
    circuit = random_circuit(rng, 2, 12, ["ry", "cx", "z"])
    program = compile_circuit(circuit, [1], keep_qubits=True)
    values, initial = rng.normal(size=circuit.num_parameters), rng.normal(size=(9, 4))
    weights = rng.normal(size=(9, 1, 2))
    bound = circuit.assign_parameters(dict(zip(circuit.parameters, values, strict=True)))
    for row, found in zip(
        initial, run_shared(program, values, initial, np.float64).probabilities, strict=True
    ):
        norm = np.linalg.norm(row)
        oracle = Statevector(row / norm).evolve(bound).probabilities([1]) * norm**2
        np.testing.assert_allclose(found, oracle, atol=1e-12)

    def total(rows: np.ndarray) -> np.ndarray:
        tapes = [run_shared(program, row, initial, np.float64) for row in rows]
        return np.array([[np.sum(tape.probabilities * weights[:, 0])] for tape in tapes])

    gradient, _ = run_shared(program, values, initial, np.float64).pull_back(weights)
    np.testing.assert_allclose(gradient[0], differences(total, values[None])[0], atol=1e-8)


@pytest.mark.parametrize("rows", [1, 3])
def test_spending_the_states_changes_no_derivative(rows: int) -> None:
    rng = np.random.default_rng(9)
    circuit = random_circuit(rng, 3, 20, EVERYTHING)
    program = compile_circuit(circuit, [0, 2])
    values = rng.normal(size=(19, circuit.num_parameters))
    weights = rng.normal(size=(19, rows, 4))
    tape = engine.run(program, values)
    kept = tape.pull_back(weights)[0]
    np.testing.assert_array_equal(tape.pull_back(weights)[0], kept)
    np.testing.assert_array_equal(tape.pull_back(weights, spend=True)[0], kept)


def line(num_qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(num_qubits)
    for qubit in range(num_qubits):
        circuit.ry(Parameter(f"x[{qubit}]"), qubit)
    circuit.cx(range(num_qubits - 1), range(1, num_qubits))
    return circuit


@pytest.mark.parametrize("batch", [8, 16, 40])
def test_a_step_takes_twice_the_memory_of_its_states(
    batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QHEAD_NUM_THREADS", "2")
    circuit, simulator = line(14), Simulator(np.float32)
    observables = [{"Z" + 13 * "I": 1.0}]

    def step(seed: int) -> None:
        values = np.random.default_rng(seed).normal(size=(batch, 14))
        simulator.expectations(circuit, observables, values)
        simulator.expectation_gradients(circuit, observables, values)

    step(0)
    tracemalloc.start()
    try:
        for seed in (1, 2):  # the first one's states are not kept beside the second's
            step(seed)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    states = batch * 4 * 2**14
    assert states < peak < 2.1 * states


def test_states_that_do_not_fit_are_refused_before_they_are_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    circuit = line(20)
    values = np.zeros((9, 20))
    free = types.SimpleNamespace(available=60 << 20)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    tracemalloc.start()
    try:
        with pytest.raises(SimulationError, match=r"9 samples of 20 qubits take 0.1 GiB more"):
            Simulator().expectations(circuit, [{"Z" + 19 * "I": 1.0}], values)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    simulator, circuit, observables = Simulator(np.float32), line(16), [{"Z" + 15 * "I": 1.0}]
    simulator.expectations(circuit, observables, values[:8, :16])
    free.available = 0
    monkeypatch.setattr(engine, "_CERTAIN_BYTES", 1 << 20)
    with pytest.raises(SimulationError, match="use fewer qubits, smaller batches"):
        simulator.expectation_gradients(circuit, observables, values[:8, :16])
