"""Which gates are the library's own, and what the others are made of.

A gate is known by its name nearly everywhere: to the transpiler, to Aer, to a device's target and
to the noise models here. A caller's gate may have any name and any definition, though; one called
"x" that is a Hadamard would be run as an X, one called "barrier" not at all. So circuits from
outside are opened first: every gate that a caller has defined is replaced by its definition.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from qiskit.circuit import (
    AnnotatedOperation,
    Barrier,
    ControlledGate,
    Gate,
    Instruction,
    QuantumCircuit,
)
from qiskit.circuit.library import (
    MCMTGate,
    PauliEvolutionGate,
    UnitaryGate,
    get_standard_gate_name_mapping,
)

from hardware.errors import UnsupportedCircuitError

#: Classes of Qiskit that say nothing about what a gate does, or hold a caller's gate.
_EMPTY = (Instruction, Gate, ControlledGate, MCMTGate, PauliEvolutionGate)


@cache
def _classes() -> dict[str, type]:
    """Return the class of every instruction whose name stands for it."""
    named = {name: gate.base_class for name, gate in get_standard_gate_name_mapping().items()}
    return {**named, "barrier": Barrier}


def is_library(operation: Any) -> bool:
    """Return whether an operation is what its name says: Qiskit's own, by class."""
    own = getattr(operation, "base_class", type(operation))
    if (named := _classes().get(operation.name)) is not None:
        return own is named
    return own not in _EMPTY and own.__module__.startswith("qiskit.circuit.")


def opened(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return a circuit with every gate that a caller has defined written out, at any depth.

    What is not a gate and has no definition stays as it is. Returns the circuit itself if there is
    nothing to open.

    Raises:
        UnsupportedCircuitError: A gate without a definition and a matrix, or one inside an
            annotated operation.
    """
    if all(
        is_library(step.operation) and not isinstance(step.operation, AnnotatedOperation)
        for step in circuit.data
    ):
        return circuit
    result = circuit.copy_empty_like()
    for step in circuit.data:
        _append(result, step.operation, step.qubits, step.clbits)
    return result


def _append(result: QuantumCircuit, operation: Any, qubits: Any, clbits: Any) -> None:
    if isinstance(operation, AnnotatedOperation):
        if not is_library(operation.base_op):
            raise UnsupportedCircuitError(
                f"Expected annotated gates of the library, got {operation.base_op.name!r} in one: "
                "write it out, e.g. with annotated=False."
            )
    elif not is_library(operation):
        if (definition := getattr(operation, "definition", None)) is not None:
            place = dict(zip(definition.qubits, qubits, strict=True))
            place |= dict(zip(definition.clbits, clbits, strict=True))
            result.global_phase += definition.global_phase
            for step in definition.data:
                inner = [place[q] for q in step.qubits], [place[c] for c in step.clbits]
                _append(result, step.operation, *inner)
            return
        if hasattr(operation, "__array__"):
            operation = UnitaryGate(operation.__array__())
        elif isinstance(operation, Gate):
            raise UnsupportedCircuitError(
                f"Expected gates of the library or with a definition, got {operation.name!r} "
                "without one: define it."
            )
    result.append(operation, qubits, clbits, copy=False)


def storable(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return a circuit whose gates QPY can store: a provider's own become plain ones of their name.

    QPY knows gates by the name of their class, and takes a provider's for Qiskit's of that name.
    """
    if all(is_library(step.operation) for step in circuit.data):
        return circuit
    result = circuit.copy_empty_like()
    for step in circuit.data:
        operation = step.operation
        if isinstance(operation, Gate) and not is_library(operation):
            own = operation
            operation = Gate(own.name, own.num_qubits, list(own.params))
            if (definition := own.definition) is not None:
                operation.definition = QuantumCircuit(own.num_qubits, name=own.name)
                operation.definition.compose(definition, inplace=True)
        result.append(operation, step.qubits, step.clbits, copy=False)
    return result
