"""From observables to measurements, and from counted outcomes to values with standard errors.

Observables are sums of Pauli strings. Strings that commute qubit by qubit share one measurement
setting: a basis change on each qubit, then counts. Diagonal observables all share one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from hardware.circuits.intervals import Z_95, std_error_of_groups, std_error_of_mean
from hardware.circuits.readout import ReadoutFlips

#: Working memory of the estimates of one part of the rows, bytes; a single row may take more.
CHUNK_BYTES = 64 << 20
#: Measured bits up to which the extremes of an observable are found by trying all outcomes.
MAX_ENUMERATED_BITS = 8


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
class Estimate:
    """What one setting adds to N rows of M observables.

    Args:
        values: Means over the shots, unbiased where the read-out errors are known.
        squares: Squared standard errors from the shots (`hardware.circuits.intervals`).
        calibration: Standard errors from the read-out errors' own calibration.
    """

    values: np.ndarray  # (N, M)
    squares: np.ndarray  # (N, M)
    calibration: np.ndarray  # (N, M)


def basis_rotation(basis: str) -> QuantumCircuit:
    """Return the rotation of one qubit that lets Z read another Pauli matrix, ``"X"`` or ``"Y"``.

    X is RZ(π/2) then SX, Y is SX: SX†·Z·SX = Y and RZ(π/2)†·Y·RZ(π/2) = X.
    """
    rotation = QuantumCircuit(1)
    if basis == "X":
        rotation.rz(np.pi / 2, 0)
    rotation.sx(0)
    return rotation


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

    def append_basis_change(
        self, circuit: QuantumCircuit, rotation: Callable[[str], QuantumCircuit] = basis_rotation
    ) -> QuantumCircuit:
        """Return the circuit followed by the rotation of each measured qubit to its basis.

        Args:
            circuit: The circuit.
            rotation: The rotation of one qubit to each basis; a device's own gates for a device.
        """
        rotated = circuit.copy()
        for qubit, basis in zip(self.qubits, self.bases, strict=True):
            if basis != "Z":
                rotated.compose(rotation(basis), [qubit], inplace=True)
        return rotated

    def estimate(
        self,
        counts: Counts,
        flips: ReadoutFlips | None = None,
        randomizations: int = 1,
        *,
        z: float = Z_95,
    ) -> Estimate:
        """Return the terms' weighted sums with their errors.

        The sums are evaluated shot by shot, so correlations between terms are accounted for.

        Args:
            counts: Outcomes of the measured qubits; of each randomization in a row of its own,
                those of one parameter set one after the other.
            flips: Read-out errors to invert.
            randomizations: R, random circuits that the shots are divided among.
            z: Level of the errors, see `hardware.circuits.intervals.std_error_of_mean`.
        """
        terms = self._term_values(counts.outcome, flips)  # (K, T)
        shot_values = terms @ self.coefficients  # (K, M)
        mean = _row_means(counts, shot_values)  # (N·R, M)
        deviations = shot_values - mean[counts.row]
        groups = mean.reshape(-1, randomizations, mean.shape[1])  # (N, R, M)
        values = groups.mean(axis=1)
        within = _row_means(counts, deviations**2).reshape(groups.shape).mean(axis=1)
        low, high = self._extremes(flips)
        error = std_error_of_mean(
            values, within + groups.var(axis=1), counts.shots * randomizations, low, high, z=z
        )
        error = np.maximum(error, std_error_of_groups(groups.transpose(0, 2, 1), z=z))
        calibration = np.zeros_like(values)
        if flips is not None and flips.up_errors is not None and flips.down_errors is not None:
            bits = flips.corrected(counts.outcome)
            for bit, (up, down) in enumerate(zip(flips.up_errors, flips.down_errors, strict=True)):
                x = bits[:, bit : bit + 1]  # (K, 1), never zero
                holds = (self.masks >> bit & 1).astype(bool)
                slope = terms[:, holds] @ self.coefficients[holds] / x  # of the value over x
                slope /= 1.0 - flips.up[bit] - flips.down[bit]
                for error_of_flip, change in ((up, 1.0 + x), (down, x - 1.0)):
                    part = _row_means(counts, slope * change).reshape(groups.shape).mean(axis=1)
                    calibration += (part * error_of_flip) ** 2
        return Estimate(values, error**2, np.sqrt(calibration))

    def _extremes(self, flips: ReadoutFlips | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the largest sum that a shot can have, or bounds of it; (M,)."""
        if len(self.qubits) <= MAX_ENUMERATED_BITS:
            sums = self._term_values(np.arange(2 ** len(self.qubits)), flips) @ self.coefficients
            return sums.min(axis=0), sums.max(axis=0)
        corners = np.array([0, 2 ** len(self.qubits) - 1])
        bits = np.ones((2, len(self.qubits))) if flips is None else flips.corrected(corners)
        largest = np.abs(bits).max(axis=0)
        chosen = (self.masks[:, np.newaxis] >> np.arange(len(largest)) & 1).astype(bool)
        scale = np.where(chosen, largest, 1.0).prod(axis=1)  # (T,)
        bound = (np.abs(self.coefficients) * scale[:, np.newaxis]).sum(axis=0)
        return -bound, bound

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


@dataclass(frozen=True, eq=False)
class Measurement:
    """All settings that M observables need, and their constant parts."""

    settings: tuple[Setting, ...]
    constants: np.ndarray  # (M,), coefficients of the identity

    @property
    def qubits(self) -> tuple[int, ...]:
        """Qubits that are measured in any setting, sorted."""
        return tuple(sorted({qubit for setting in self.settings for qubit in setting.qubits}))

    @classmethod
    def of(cls, observables: Sequence[SparsePauliOp]) -> Measurement:
        """Group the Pauli strings of M observables, greedily, into commuting settings.

        By hand, though Qiskit has `PauliList.group_commuting`: a run's results are assigned to a
        grouping that is derived again when they arrive, and a later Qiskit may group differently.
        """
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

    def combined(self, weights: np.ndarray, offsets: np.ndarray) -> Measurement:
        """Return the measurement of P sums of these observables, in the same settings.

        Errors of a sum then know how its observables are correlated within a shot.

        Args:
            weights: Weight of each observable in each sum, shape (P, M).
            offsets: Constant part of each sum, shape (P,).
        """
        settings = tuple(
            replace(setting, coefficients=setting.coefficients @ weights.T)
            for setting in self.settings
        )
        return Measurement(settings, weights @ self.constants + offsets)

    def chunks(self, num_rows: int, shots: int, shot_bytes: int = 0) -> Iterator[slice]:
        """Yield the rows in parts whose estimates take `CHUNK_BYTES`, or one row that takes more.

        Args:
            num_rows: N.
            shots: Shots of a row and setting.
            shot_bytes: What each shot takes until it is counted, bytes.
        """
        each = 1 + shot_bytes * shots
        for setting in self.settings:
            entries = min(shots, 2 ** len(setting.qubits))
            num_terms, num_observables = setting.coefficients.shape
            # Arrays of `Setting.estimate` that live at the same time, and the counts.
            columns = 3 * num_terms + 5 * num_observables + len(setting.qubits) + 6
            each = max(each, shot_bytes * shots + 8 * entries * columns)
        size = max(1, CHUNK_BYTES // each)
        for start in range(0, num_rows, size):
            yield slice(start, min(start + size, num_rows))

    def combine(
        self,
        counts: Sequence[Counts],
        num_rows: int,
        flips: Sequence[ReadoutFlips | None] | None = None,
        randomizations: int = 1,
        *,
        z: float = Z_95,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return values and standard errors, each (N, M), from the counts of every setting.

        Args:
            counts: Counts of each setting; see `Setting.estimate`.
            num_rows: N.
            flips: Read-out errors to invert, of each setting.
            randomizations: R, random circuits that the shots are divided among.
            z: Level of the errors; see `Setting.estimate`.
        """
        values = np.tile(self.constants, (num_rows, 1))
        squares, calibration = np.zeros_like(values), np.zeros_like(values)
        read = flips if flips is not None else [None] * len(self.settings)
        for setting, counted, own in zip(self.settings, counts, read, strict=True):
            found = setting.estimate(counted, own, randomizations, z=z)
            values += found.values
            # Settings are measured in separate shots, but may share one read-out calibration.
            squares += found.squares
            calibration += found.calibration
        return values, np.sqrt(squares + calibration**2)


def _row_means(counts: Counts, values: np.ndarray) -> np.ndarray:
    """Return the mean over each row's shots of values (K, M); shape (N, M)."""
    weighted = counts.count[:, np.newaxis] * values
    columns = [np.bincount(counts.row, column, counts.num_rows) for column in weighted.T]
    return np.stack(columns, axis=1) / counts.shots


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
