"""A head's circuit as OpenQASM 3, and whether such a text still says the same circuit."""

from __future__ import annotations

import numpy as np
from qiskit import qasm3
from qiskit.circuit import QuantumCircuit
from qiskit.exceptions import QiskitError


def to_openqasm(circuit: QuantumCircuit) -> str:
    """Return a circuit as OpenQASM 3; each free parameter is an ``input`` with its name."""
    return qasm3.dumps(circuit)


def says_the_same(text: str, circuit: QuantumCircuit) -> bool:
    """Return whether a text, perhaps of another version of Qiskit, holds this very circuit.

    The same gates on the same qubits in the same order, with the same angles at two random
    settings of the parameters. Text that is no OpenQASM 3 does not say the same.
    """
    own = to_openqasm(circuit)
    if text == own:
        return True
    from openqasm3.parser import QASM3ParsingError  # slow to import and hardly ever needed

    try:
        # Both go through the importer, so that both have its parameter names and registers.
        read, reference = qasm3.loads(text), qasm3.loads(own)
    except (QiskitError, QASM3ParsingError, AttributeError, ValueError, RecursionError):
        return False  # AttributeError: the parser's answer to an empty program
    names = sorted(parameter.name for parameter in reference.parameters)
    if sorted(parameter.name for parameter in read.parameters) != names:
        return False
    rng = np.random.default_rng(0)
    settings = (dict(zip(names, rng.uniform(-1, 1, len(names)), strict=True)) for _ in range(2))
    return read.num_qubits == reference.num_qubits and all(
        _instructions(read, values) == _instructions(reference, values) for values in settings
    )


def _instructions(
    circuit: QuantumCircuit, values: dict[str, float]
) -> list[tuple[str, tuple[int, ...], tuple[float, ...]]]:
    """Return name, qubits and angles (to 12 digits) of every instruction, parameters bound."""
    bound = circuit.assign_parameters(values)
    return [
        (
            instruction.operation.name,
            tuple(bound.find_bit(qubit).index for qubit in instruction.qubits),
            tuple(round(float(angle), 12) for angle in instruction.operation.params),
        )
        for instruction in bound.data
    ]
