"""Circuits on their way to a target: translated, laid out, cut to the qubits they use.

What takes a caller's circuit opens it first (`hardware.circuits.definitions.opened`), so that from
then on names say what gates do.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from qiskit import transpile
from qiskit.circuit import Barrier, ClassicalRegister, ControlFlowOp, Measure, QuantumCircuit, Reset

from hardware.circuits.definitions import opened
from hardware.errors import UnsupportedCircuitError

#: Seed of every transpilation: the same circuit gets the same layout everywhere.
TRANSPILER_SEED = 2026
#: Name of the classical register that targets measure into.
OUTCOME = "outcome"


def translate(circuit: QuantumCircuit, basis: Sequence[str]) -> QuantumCircuit:
    """Rewrite a circuit gate by gate in a basis; nothing is merged or cancelled."""
    return transpile(opened(circuit), basis_gates=list(basis), optimization_level=0)


def translate_all_but(circuit: QuantumCircuit, kept: Collection[str]) -> QuantumCircuit:
    """Keep the named gates and write the others with RZ, SX, X and CX.

    One translation of the whole circuit would be free to write a Hadamard as an RY and an X where
    both are allowed: two noisy gates where a device needs one SX.
    """
    circuit = opened(circuit)
    result = QuantumCircuit(circuit.num_qubits, global_phase=circuit.global_phase)
    written: dict[object, QuantumCircuit] = {}
    for step in circuit.data:
        operation, qubits = step.operation, [circuit.find_bit(q).index for q in step.qubits]
        if operation.name in kept or isinstance(operation, Barrier):
            result.append(operation, qubits, copy=False)
            continue
        # Class, name (it has the control state) and parameters identify a standard gate. "mcx" is
        # the name of several, on different numbers of qubits; others hold more than parameters.
        origin = operation.base_class
        standard = origin.__module__.startswith("qiskit.circuit.library.standard_gates")
        key = (origin, operation.name, len(qubits), *operation.params) if standard else None
        if key is None or key not in written:
            alone = QuantumCircuit(len(qubits))
            alone.append(operation, range(len(qubits)))
            written[key] = translate(alone, ("rz", "sx", "x", "cx"))
        result.compose(written[key], qubits, inplace=True)
    return result


def measured_circuit(circuit: QuantumCircuit, measured: Sequence[int]) -> QuantumCircuit:
    """Return the circuit followed by measurements; classical bit k reads qubit ``measured[k]``."""
    closed = circuit.copy()
    closed.add_register(ClassicalRegister(len(measured), OUTCOME))
    closed.measure(list(measured), list(range(len(measured))))
    return closed


def light_cone(circuit: QuantumCircuit, measured: Collection[int]) -> QuantumCircuit:
    """Drop the gates that cannot influence the measured qubits.

    The result is exact under any noise that keeps the trace, and shorter. Parameters may go too.
    """
    circuit = opened(circuit)
    cone, kept = set(measured), []
    for step in reversed(circuit.data):
        qubits = [circuit.find_bit(q).index for q in step.qubits]
        if not isinstance(step.operation, Barrier) and cone.intersection(qubits):
            cone.update(qubits)
            kept.append((step.operation, qubits))
    result = QuantumCircuit(circuit.num_qubits)
    for operation, qubits in reversed(kept):
        result.append(operation, qubits, copy=False)
    return result


def split_measurements(circuit: QuantumCircuit) -> tuple[QuantumCircuit, dict[int, int]]:
    """Split a circuit that ends in measurements.

    Returns the unitary part, on the same qubits, and the measured qubit of each classical bit.

    Raises:
        UnsupportedCircuitError: A measurement before the end, a reset or control flow.
    """
    circuit = opened(circuit)
    unitary = QuantumCircuit(circuit.num_qubits, global_phase=circuit.global_phase)
    measured: dict[int, int] = {}
    for step in circuit.data:
        qubits = [circuit.find_bit(q).index for q in step.qubits]
        operation = step.operation
        if isinstance(operation, Measure):
            measured[circuit.find_bit(step.clbits[0]).index] = qubits[0]
        elif isinstance(operation, Barrier):
            continue
        elif (
            step.clbits
            or isinstance(operation, Reset | ControlFlowOp)
            or set(qubits) & set(measured.values())
        ):
            raise UnsupportedCircuitError(
                f"Expected gates followed by measurements, got {operation.name!r} on qubits "
                f"{qubits} after a measurement or with classical bits: split the circuit there."
            )
        else:
            unitary.append(operation, qubits, copy=False)
    return unitary, measured


def restrict_to_active(
    circuit: QuantumCircuit, keep: Sequence[int]
) -> tuple[QuantumCircuit, tuple[int, ...]]:
    """Renumber a circuit to the qubits that it uses.

    Args:
        circuit: Circuit of gates.
        keep: Qubits that stay even if no gate acts on them.

    Returns:
        The circuit on qubits 0 … n-1, and the original number of each.
    """
    steps = [
        (step.operation, [circuit.find_bit(q).index for q in step.qubits])
        for step in circuit.data
        if not isinstance(step.operation, Barrier)
    ]
    active = sorted({q for _, qubits in steps for q in qubits} | set(keep))
    position = {qubit: i for i, qubit in enumerate(active)}
    reduced = QuantumCircuit(len(active), global_phase=circuit.global_phase)
    for operation, qubits in steps:
        reduced.append(operation, [position[q] for q in qubits], copy=False)
    return reduced, tuple(active)
