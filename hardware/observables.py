"""From observables to measurements, and from counted outcomes to values with standard errors.

Observables are sums of Pauli strings. Strings that commute qubit by qubit share one measurement
setting: a basis change on each qubit, then counts. Diagonal observables all share one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from hardware.mitigation import ReadoutFlips


@dataclass(frozen=True, eq=False)
class Counts:
    """Outcomes of N parameter sets, as a sparse table of K entries sorted by row.

    Bit k of an outcome is the read-out of the k-th measured qubit.
    """

    num_rows: int  # N
    shots: int  # of every row
    row: np.ndarray  # (K,) int64
    outcome: np.ndarray  # (K,) int64
    count: np.ndarray  # (K,) int64

    @classmethod
    def from_dense(cls, table: np.ndarray) -> Counts:
        """Make counts from a table of shape (N, 2^m)."""
        row, outcome = np.nonzero(table)
        return cls(len(table), int(table[0].sum()), row, outcome, table[row, outcome])

    @classmethod
    def from_outcomes(cls, outcomes: np.ndarray) -> Counts:
        """Make counts from outcomes of every shot, shape (N, shots), integers."""
        num_rows, shots = outcomes.shape
        ordered = np.sort(outcomes, axis=1)
        first = np.ones(ordered.shape, dtype=bool)
        first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        row, start = np.nonzero(first)
        flat = row * shots + start
        count = np.diff(np.append(flat, num_rows * shots))
        return cls(num_rows, shots, row, ordered[row, start].astype(np.int64), count)

    @classmethod
    def concatenate(cls, parts: Sequence[Counts]) -> Counts:
        """Stack the rows of several counts of equal shots."""
        starts = np.cumsum([0] + [part.num_rows for part in parts])
        return cls(
            num_rows=int(starts[-1]),
            shots=parts[0].shots,
            row=np.concatenate([p.row + s for p, s in zip(parts, starts[:-1], strict=True)]),
            outcome=np.concatenate([part.outcome for part in parts]),
            count=np.concatenate([part.count for part in parts]),
        )


@dataclass(frozen=True, eq=False)
class Setting:
    """One measurement setting: a Pauli basis for each measured qubit, and the terms it serves.

    Args:
        qubits: Measured qubits; bit k of an outcome belongs to ``qubits[k]``.
        bases: 'X', 'Y' or 'Z' for each measured qubit.
        masks: For each of T terms, the outcome bits whose parity is its value.
        coefficients: Coefficient of each term in each observable, shape (T, M).
    """

    qubits: tuple[int, ...]
    bases: str
    masks: np.ndarray  # (T,) int64
    coefficients: np.ndarray  # (T, M)

    @property
    def diagonal(self) -> bool:
        """Whether no basis change is needed."""
        return set(self.bases) <= {"Z"}

    def append_basis_change(self, circuit: QuantumCircuit) -> QuantumCircuit:
        """Return the circuit followed by the rotation of each measured qubit to its basis.

        X is RZ(π/2) then SX, Y is SX: SX†·Z·SX = Y and RZ(π/2)†·Y·RZ(π/2) = X. Both gates belong
        to every IBM device's set.
        """
        rotated = circuit.copy()
        for qubit, basis in zip(self.qubits, self.bases, strict=True):
            if basis == "X":
                rotated.rz(np.pi / 2, qubit)
            if basis in "XY":
                rotated.sx(qubit)
        return rotated

    def moments(
        self, counts: Counts, flips: ReadoutFlips | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and squared standard error of the terms' weighted sums, each (N, M).

        The sums are evaluated shot by shot, so correlations between terms are accounted for. The
        sample variance (Bessel) is floored at that of the add-half estimate: half a shot of n + 1
        at the other end of the spectrum. Without it eight equal outcomes would claim certainty.

        Args:
            counts: Outcomes of the measured qubits.
            flips: Read-out errors to invert; the values' uncertainty does not contain theirs.
        """
        shot_values = self._term_values(counts.outcome, flips) @ self.coefficients  # (K, M)
        shape = (counts.num_rows, self.coefficients.shape[1])
        mean, square = np.zeros(shape), np.zeros(shape)
        for m in range(shape[1]):
            weighted = counts.count * shot_values[:, m]
            mean[:, m] = np.bincount(counts.row, weighted, counts.num_rows) / counts.shots
            deviation = shot_values[:, m] - mean[counts.row, m]
            square[:, m] = np.bincount(counts.row, counts.count * deviation**2, counts.num_rows)
        variance = square / max(counts.shots - 1, 1)
        scale = self._largest(flips)
        half_range = (np.abs(self.coefficients) * scale[:, np.newaxis]).sum(axis=0)  # (M,)
        share = 0.5 / (counts.shots + 1)
        floor = 4.0 * share * (1.0 - share) * half_range**2
        return mean, np.maximum(variance, floor) / counts.shots

    def _term_values(self, outcomes: np.ndarray, flips: ReadoutFlips | None) -> np.ndarray:
        """Return the value of every term for every outcome, shape (K, T)."""
        if flips is None:
            parity = np.bitwise_count(outcomes[:, np.newaxis] & self.masks) & 1
            return 1.0 - 2.0 * parity
        bits = flips.corrected(outcomes)  # (K, qubits)
        values = np.ones((len(outcomes), len(self.masks)))
        for term, mask in enumerate(self.masks):
            chosen = [bit for bit in range(len(self.qubits)) if mask >> bit & 1]
            values[:, term] = bits[:, chosen].prod(axis=1)
        return values

    def _largest(self, flips: ReadoutFlips | None) -> np.ndarray:
        """Return the scale of each term's values: 1, or what the inversion makes of it; (T,)."""
        if flips is None:
            return np.ones(len(self.masks))
        bits = 1.0 / (1.0 - flips.up - flips.down)
        return np.array(
            [
                np.prod([bits[bit] for bit in range(len(bits)) if mask >> bit & 1])
                for mask in self.masks
            ]
        )


@dataclass(frozen=True, eq=False)
class Measurement:
    """All settings that M observables need, and their constant parts."""

    settings: tuple[Setting, ...]
    constants: np.ndarray  # (M,), coefficients of the identity

    @classmethod
    def of(cls, observables: Sequence[SparsePauliOp]) -> Measurement:
        """Group the Pauli strings of M observables, greedily, into commuting settings."""
        terms: dict[str, np.ndarray] = {}
        constants = np.zeros(len(observables))
        for index, observable in enumerate(observables):
            for label, coefficient in observable.to_list():
                if set(label) == {"I"}:
                    constants[index] += coefficient.real
                else:
                    terms.setdefault(label, np.zeros(len(observables)))[index] += coefficient.real
        groups: list[tuple[list[str], list[str]]] = []  # basis of each qubit, labels
        # Heavy strings first, so that light ones find a setting to join.
        for label in sorted(terms, key=lambda text: text.count("I")):
            for basis, members in groups:
                if all("I" in (p, b) or p == b for p, b in zip(label, basis, strict=True)):
                    basis[:] = [b if p == "I" else p for p, b in zip(label, basis, strict=True)]
                    members.append(label)
                    break
            else:
                groups.append((list(label), [label]))
        settings = tuple(_setting("".join(basis), members, terms) for basis, members in groups)
        return cls(settings, constants)

    def combine(self, counts: Sequence[Counts], num_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Return values and standard errors, each (N, M), from the counts of every setting."""
        values = np.tile(self.constants, (num_rows, 1))
        squares = np.zeros_like(values)
        for setting, counted in zip(self.settings, counts, strict=True):
            mean, square = setting.moments(counted)
            values += mean
            # Settings are measured in separate shots: their errors are independent.
            squares += square
        return values, np.sqrt(squares)


def _setting(basis: str, labels: Sequence[str], terms: dict[str, np.ndarray]) -> Setting:
    letters = basis[::-1]  # Qiskit writes qubit 0 last
    qubits = tuple(q for q, letter in enumerate(letters) if letter != "I")
    bit = {qubit: k for k, qubit in enumerate(qubits)}
    masks = [
        sum(1 << bit[q] for q, letter in enumerate(label[::-1]) if letter != "I")
        for label in labels
    ]
    return Setting(
        qubits=qubits,
        bases="".join(letters[q] for q in qubits),
        masks=np.array(masks, dtype=np.int64),
        coefficients=np.array([terms[label] for label in labels]),
    )
