"""Observables as weights on measured values.

Terms that commute qubit by qubit are read off one measured register, in a basis of its own: Z terms
as they are, X and Y terms after the gates that turn their basis into Z's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

# Each letter of Qiskit's observables: its basis and its value at a measured 0 and 1.
_LETTERS = {
    "Z": ("Z", 1.0, -1.0), "0": ("Z", 1.0, 0.0), "1": ("Z", 0.0, 1.0),
    "X": ("X", 1.0, -1.0), "+": ("X", 1.0, 0.0), "-": ("X", 0.0, 1.0),
    "Y": ("Y", 1.0, -1.0), "r": ("Y", 1.0, 0.0), "l": ("Y", 0.0, 1.0),
}  # fmt: skip

#: An observable as Qiskit's primitives hand it on: label, qubit 0 last, to real coefficient.
Terms = Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Setting:
    """One measured register: qubits, their bases, and each observable's weights on its values.

    Args:
        qubits: m measured qubits, the one of the lowest bit first.
        bases: Their bases, "X", "Y" or "Z".
        weights: (M, 2^m), the value of every observable's part at each measured value.
    """

    qubits: tuple[int, ...]
    bases: tuple[str, ...]
    weights: np.ndarray

    def rotated(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return the circuit followed by the gates that turn each basis into Z's."""
        if set(self.bases) <= {"Z"}:
            return circuit
        circuit = circuit.copy()
        for qubit, basis in zip(self.qubits, self.bases, strict=True):
            if basis == "Y":
                circuit.sdg(qubit)
            if basis != "Z":
                circuit.h(qubit)
        return circuit


def z_signs(num_measured: int) -> np.ndarray:
    """Return each Z's value at each measured value, (m, 2^m): 1 where its bit is 0, else -1."""
    values = np.arange(2**num_measured)
    return np.array([1.0 - 2.0 * ((values >> qubit) & 1) for qubit in range(num_measured)])


def as_terms(observable: SparsePauliOp) -> dict[str, float]:
    """Return an operator's labels and real coefficients."""
    terms: dict[str, float] = {}
    coefficients = np.real(observable.coeffs).tolist()
    for label, coefficient in zip(observable.paulis.to_labels(), coefficients, strict=True):
        terms[label] = terms.get(label, 0.0) + coefficient
    return terms


def settings(observables: Sequence[Terms]) -> tuple[list[Setting], np.ndarray]:
    """Group the terms of M observables into measured registers, greedily.

    Returns:
        The settings, and the M constants that identity terms add.
    """
    constants = np.zeros(len(observables))
    groups: list[dict[int, str]] = []  # qubit -> basis
    members: list[list[tuple[int, dict[int, str], float]]] = []
    for row, terms in enumerate(observables):
        for label, coefficient in terms.items():
            letters = {q: letter for q, letter in enumerate(reversed(label)) if letter != "I"}
            if not letters:
                constants[row] += coefficient
                continue
            basis = {qubit: _LETTERS[letter][0] for qubit, letter in letters.items()}
            place = _first_fit(groups, basis)
            if place == len(groups):
                groups.append({})
                members.append([])
            groups[place].update(basis)
            members[place].append((row, letters, coefficient))
    made = [
        _setting(group, parts, len(observables))
        for group, parts in zip(groups, members, strict=True)
    ]
    return made, constants


def _first_fit(groups: Sequence[Mapping[int, str]], basis: Mapping[int, str]) -> int:
    for place, group in enumerate(groups):
        if all(group.get(qubit, letter) == letter for qubit, letter in basis.items()):
            return place
    return len(groups)


def _setting(
    group: Mapping[int, str], parts: Iterable[tuple[int, dict[int, str], float]], rows: int
) -> Setting:
    qubits = tuple(sorted(group))
    values = np.arange(2 ** len(qubits))
    weights = np.zeros((rows, len(values)))
    for row, letters, coefficient in parts:
        product = np.full(len(values), coefficient)
        for qubit, letter in letters.items():
            _, at_zero, at_one = _LETTERS[letter]
            product *= np.where((values >> qubits.index(qubit)) & 1, at_one, at_zero)
        weights[row] += product
    return Setting(qubits, tuple(group[qubit] for qubit in qubits), weights)
