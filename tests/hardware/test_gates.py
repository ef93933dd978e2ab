"""Gates of a caller that have the names of library gates, or their classes', or neither."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from contracts.sampling_bounds import assert_means, shifted
from qiskit.circuit import Gate, Instruction, Parameter, QuantumCircuit
from qiskit.circuit.library import (
    MCMTGate,
    PauliEvolutionGate,
    QFTGate,
    RXGate,
    SXGate,
    XGate,
    get_standard_gate_name_mapping,
)
from qiskit.quantum_info import Operator, SparsePauliOp, Statevector
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

from hardware.circuits.definitions import is_library, opened
from hardware.circuits.hashing import circuit_digest
from hardware.circuits.transforms import light_cone, split_measurements, translate_all_but
from hardware.emulation.calibrated import CalibratedTarget
from hardware.emulation.emulated import EmulatedTarget
from hardware.emulation.error_channels import InstructionErrors
from hardware.emulation.fake import FakeTarget
from hardware.emulation.noise import calibrated_noise, depolarizing_noise
from hardware.emulation.pauli_simulator import PauliProgram
from hardware.emulation.rates import NoisyTarget, ShotsTarget
from hardware.emulation.sampling import Sampler
from hardware.errors import InvalidInputError, UnsupportedCircuitError
from hardware.workload import Workload

THETA = Parameter("theta")


def named(name: str, part: QuantumCircuit, params: list[Any] | None = None) -> Gate:
    """A caller's gate of any name."""
    gate = Gate(name, part.num_qubits, params or [])
    gate.definition = part
    return gate


def rotation(angle: Any = 0.7) -> QuantumCircuit:
    part = QuantumCircuit(1, global_phase=0.3)
    part.rx(angle, 0)
    return part


def backwards() -> QuantumCircuit:
    part = QuantumCircuit(2)
    part.cx(1, 0)
    return part


class HGate(Gate):
    """Has the class's name and the name of the library's Hadamard, and is none."""

    def __init__(self) -> None:
        super().__init__("h", 1, [])

    def _define(self) -> None:
        self.definition = rotation(1.9)


class Matrix(Gate):
    """Has a matrix only."""

    def __init__(self) -> None:
        super().__init__("z", 1, [])

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return Operator(rotation(2.2)).data


def renamed() -> Gate:
    gate = SXGate().to_mutable()
    gate.name = "s"
    return gate


def nested() -> Gate:
    part = QuantumCircuit(2)
    part.append(named("x", rotation(0.4)), [1])
    part.append(named("cx", backwards()), [0, 1])
    return named("mine", part)


IMPOSTORS: dict[str, Gate] = {
    **{
        name: named(name, rotation())
        for name in ("x", "h", "id", "rz", "sx", "barrier", "delay", "measure", "reset", "if_else")
    },
    "rz of theta": named("rz", rotation(THETA), [THETA]),
    "cx": named("cx", backwards()),
    "cz": named("cz", backwards()),
    "barrier on two": named("barrier", backwards()),
    "a class of the same name": HGate(),
    "a matrix": Matrix(),
    "a renamed gate": renamed(),
    "nested": nested(),
    "controlled": named("x", rotation()).control(1, annotated=False),
    "spread": MCMTGate(named("x", rotation()), 1, 1),
}


def around(gate: Gate) -> QuantumCircuit:
    """A circuit in which the gate counts for <Z> of both qubits."""
    circuit = QuantumCircuit(2)
    circuit.ry(1.1, 0)
    circuit.ry(0.5, 1)
    circuit.append(gate, list(range(gate.num_qubits)))
    circuit.cx(0, 1)
    circuit.rx(0.8, 0)
    circuit.x(1)
    return circuit


def expected(circuit: QuantumCircuit, angle: float = 0.9) -> np.ndarray:
    """Oracle: probabilities of both qubits, by Qiskit's matrices and definitions."""
    bound = circuit.assign_parameters({THETA: angle}) if circuit.parameters else circuit
    return np.asarray(Statevector(bound).probabilities())


@pytest.mark.parametrize("target", [ShotsTarget(), NoisyTarget(0, 0)], ids=["shots", "noisy"])
@pytest.mark.parametrize("kind", IMPOSTORS)
def test_targets_run_what_a_gate_is_and_not_what_it_is_called(
    kind: str, target: EmulatedTarget
) -> None:
    circuit = around(IMPOSTORS[kind])
    names = [p.name for p in circuit.parameters]
    prepared = target.prepare(circuit, [0, 1])
    found = Sampler(prepared, names).probabilities(np.full((1, len(names)), 0.9))[0]
    np.testing.assert_allclose(found, expected(circuit), atol=1e-9)


@pytest.mark.parametrize("kind", IMPOSTORS)
def test_opened_circuits_are_the_same_unitary_of_library_gates(kind: str) -> None:
    circuit = around(IMPOSTORS[kind])
    flat = opened(circuit)
    assert all(is_library(step.operation) for step in flat.data)
    assert opened(flat) is flat
    if circuit.parameters:
        circuit, flat = (c.assign_parameters({THETA: 0.9}) for c in (circuit, flat))
    assert Operator(flat) == Operator(circuit)  # the global phase counts


@pytest.mark.parametrize("kind", IMPOSTORS)
def test_the_exact_engine_knows_them_too(kind: str) -> None:
    circuit = around(IMPOSTORS[kind])
    names = [p.name for p in circuit.parameters]
    program = PauliProgram.compile(circuit, [0, 1], names, InstructionErrors({}, {}))
    found = program.probabilities(np.full((1, len(names)), 0.9))[0]
    np.testing.assert_allclose(found, expected(circuit), atol=1e-9)


@pytest.mark.parametrize("kind", ["x", "barrier", "cx", "rz of theta", "nested"])
def test_the_transpiler_gets_them_opened(kind: str) -> None:
    circuit = around(IMPOSTORS[kind])
    prepared = CalibratedTarget("manila").prepare(circuit, [0, 1])
    ideal = prepared.circuit
    if ideal.parameters:
        ideal = ideal.assign_parameters(dict.fromkeys(ideal.parameters, 0.9))
    found = Statevector(ideal).probabilities(list(prepared.measured))
    np.testing.assert_allclose(found, expected(circuit), atol=1e-9)


@pytest.mark.sampled
def test_plans_run_what_a_gate_is() -> None:
    circuit = around(IMPOSTORS["x"])
    work = Workload(circuit, (), np.zeros((1, 0)), (SparsePauliOp("IZ"), SparsePauliOp("ZI")))
    exact = [Statevector(circuit).expectation_value(each).real for each in work.observables]
    found = FakeTarget.of("manila", 4000, seed=shifted(1)).run(work).values[0]
    # Manila's errors are a few percent; an X instead is off by more than 0.5.
    assert_means(found, exact, 4000, bias=0.1)


def test_noise_is_that_of_the_gates_inside() -> None:
    part = QuantumCircuit(1)
    part.ry(0.0, 0)
    part.ry(0.0, 0)
    circuit = QuantumCircuit(1)
    circuit.append(named("rz", part), [0])  # a frame change would be free
    prepared = NoisyTarget(0.1, 0.0).prepare(circuit, [0])
    found = Sampler(prepared, ()).probabilities(np.zeros((1, 0)))[0]
    np.testing.assert_allclose(found, [(1 + 0.81) / 2, (1 - 0.81) / 2], atol=1e-12)
    assert prepared.report is not None
    assert prepared.report.num_errors == 2


def test_noise_refuses_gates_that_only_have_the_name() -> None:
    circuit = QuantumCircuit(1)
    circuit.append(IMPOSTORS["x"], [0])
    with pytest.raises(InvalidInputError, match="decompose"):
        depolarizing_noise(circuit, 0.1, 0.1)
    with pytest.raises(InvalidInputError, match="transpile"):
        calibrated_noise(FakeManilaV2(), circuit, [0], [0])
    other = QuantumCircuit(1)
    other.h(0)
    with pytest.raises(InvalidInputError, match="transpile"):
        calibrated_noise(FakeManilaV2(), other, [0], [0])


def test_measurements_inside_of_an_instruction_are_found() -> None:
    part = QuantumCircuit(1, 1)
    part.append(named("measure", rotation()), [0])
    part.measure(0, 0)
    circuit = QuantumCircuit(2, 2)
    circuit.append(part.to_instruction(), [1], [0])
    unitary, measured = split_measurements(circuit)
    assert measured == {0: 1}
    assert dict(unitary.count_ops()) == {"rx": 1}


def test_loops_and_resets_are_refused() -> None:
    loop = QuantumCircuit(1, 1)
    with loop.for_loop(range(2)):
        loop.x(0)
    reset = QuantumCircuit(1, 1)
    reset.reset(0)
    for circuit in (loop, reset):
        with pytest.raises(UnsupportedCircuitError, match="split the circuit"):
            split_measurements(circuit)


def test_gates_that_share_a_name_are_translated_each_as_it_is() -> None:
    circuit = QuantumCircuit(5)
    circuit.h(range(5))
    circuit.mcx([0, 1, 2], 3)  # both are called "mcx"
    circuit.mcx([0, 1, 2, 3], 4)
    circuit.cx(0, 1, ctrl_state=0)
    circuit.cx(0, 1)
    circuit.p(THETA, 0)
    circuit.p(0.25, 0)
    found = translate_all_but(circuit, ("rz", "cx")).assign_parameters({THETA: 0.2})
    assert Operator(found).equiv(circuit.assign_parameters({THETA: 0.2}))


def test_hashes_tell_gates_of_one_name_apart_and_repeat() -> None:
    plain = QuantumCircuit(1)
    plain.h(0)
    circuits = [plain]
    for gate in (HGate(), named("h", rotation()), named("h", rotation(0.8)), Matrix()):
        circuit = QuantumCircuit(1)
        circuit.append(gate, [0])
        circuits.append(circuit)
    digests = [circuit_digest(circuit) for circuit in circuits]
    assert len(set(digests)) == len(digests)
    assert digests == [circuit_digest(circuit.copy()) for circuit in circuits]
    flat = rotation()
    assert circuit_digest(circuits[2]) == circuit_digest(flat)
    for gate in (*IMPOSTORS.values(), PauliEvolutionGate(SparsePauliOp("XX"), THETA)):
        assert circuit_digest(around(gate)) == circuit_digest(around(gate))


def test_another_process_hashes_a_callers_gate_alike() -> None:
    code = (
        "from qiskit.circuit import Gate, QuantumCircuit\n"
        "from hardware.circuits.hashing import circuit_digest\n"
        "part = QuantumCircuit(1); part.rx(0.7, 0)\n"
        "gate = Gate('mine', 1, []); gate.definition = part\n"
        "c = QuantumCircuit(1); c.append(gate, [0]); print(circuit_digest(c))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout


def test_library_gates_stay_closed() -> None:
    circuit = QuantumCircuit(3, 1)
    circuit.append(QFTGate(3), range(3))
    circuit.mcx([0, 1], 2, ctrl_state=1)
    circuit.append(RXGate(THETA, label="mine"), [0])
    circuit.unitary(np.eye(2), 0)
    circuit.delay(10, 0)
    circuit.barrier()
    circuit.measure(0, 0)
    assert opened(circuit) is circuit
    for name, gate in get_standard_gate_name_mapping().items():
        assert is_library(gate), name


@pytest.mark.parametrize("gate", [Gate("x", 1, []), Gate("mine", 1, [])])
def test_gates_that_say_nothing_are_refused(gate: Gate) -> None:
    circuit = QuantumCircuit(1)
    circuit.append(gate, [0])
    with pytest.raises(UnsupportedCircuitError, match="define it"):
        light_cone(circuit, [0])


def test_annotations_around_a_callers_gate_are_refused() -> None:
    circuit = QuantumCircuit(2)
    circuit.append(named("x", rotation()).control(1, annotated=True), [0, 1])
    with pytest.raises(UnsupportedCircuitError, match="annotated=False"):
        opened(circuit)
    library = QuantumCircuit(2)
    library.append(XGate().control(1, annotated=True), [0, 1])
    assert Operator(opened(library)) == Operator(library)
    opaque = QuantumCircuit(1)
    opaque.append(Instruction("mark", 1, 0, []), [0])
    assert opened(opaque).data[0].operation.name == "mark"
