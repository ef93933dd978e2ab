"""Content hashes that say whether two pieces of work are the same."""

from __future__ import annotations

import hashlib
import io
import re
import uuid
from collections.abc import Sequence

import numpy as np
from qiskit import qpy
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from hardware.circuits.definitions import opened

#: Format of the circuit bytes; a fixed one, so that an upgrade of Qiskit keeps the hashes.
QPY_VERSION = 15
_PARAMETER_NAMESPACE = uuid.UUID("5d1f2a54-6f3e-5c6b-9f0a-3a4d6f1b7c10")


#: What QPY appends to the names of gates that are not Qiskit's own: another number each time.
_RANDOM_NAME = re.compile(rb"_[0-9a-f]{32}")


def without_random_names(data: bytes) -> bytes:
    """Return QPY with fixed numbers in the names of gates that are not Qiskit's own."""
    return _RANDOM_NAME.sub(b"_" + b"0" * 32, data)


def canonical_circuit(circuit: QuantumCircuit) -> QuantumCircuit:
    """Return the circuit without what differs between two builds of the same one.

    Names, metadata, registers and layout go; parameters keep their names and get identifiers
    derived from them; gates that a caller has defined are written out, since QPY numbers them at
    random and takes one of a library class's name for the library's.
    """
    circuit = opened(circuit)
    renamed = circuit.assign_parameters(
        {p: Parameter(p.name, uuid=uuid.uuid5(_PARAMETER_NAMESPACE, p.name))
         for p in circuit.parameters}
    )  # fmt: skip
    plain = QuantumCircuit(
        circuit.num_qubits, circuit.num_clbits, name="canonical", global_phase=renamed.global_phase
    )
    for step in renamed.data:
        qubits = [renamed.find_bit(q).index for q in step.qubits]
        clbits = [renamed.find_bit(c).index for c in step.clbits]
        plain.append(step.operation, qubits, clbits)
    return plain


def circuit_bytes(circuit: QuantumCircuit) -> bytes:
    """Return bytes that are equal exactly for equal circuits, whoever built them and when."""
    buffer = io.BytesIO()
    qpy.dump(canonical_circuit(circuit), buffer, version=QPY_VERSION)
    data = buffer.getvalue()
    # Bytes 7 to 9 of the header are the version of the Qiskit that wrote it.
    return data[:7] + data[10:]


def circuit_digest(circuit: QuantumCircuit) -> str:
    """Return the SHA-256 of a circuit's canonical bytes, as hexadecimal text."""
    return hashlib.sha256(circuit_bytes(circuit)).hexdigest()


def digest(*parts: bytes) -> str:
    """Return the SHA-256 of several byte strings; their borders count."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "little"))
        total.update(part)
    return total.hexdigest()


def array_bytes(array: np.ndarray) -> bytes:
    """Return shape and content of a float array; 0.0 and -0.0 are the same value."""
    plain = np.ascontiguousarray(array, dtype="<f8") + 0.0
    return repr(plain.shape).encode() + plain.tobytes()


def observable_bytes(observables: Sequence[SparsePauliOp]) -> bytes:
    """Return the terms of observables; the order of terms within one does not count."""
    texts = []
    for observable in observables:
        terms = sorted((label, value.real) for label, value in observable.to_list())
        texts.append(";".join(f"{label}:{float(value).hex()}" for label, value in terms))
    return "\n".join(texts).encode()
