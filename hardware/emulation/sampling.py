"""Draw the shots of one prepared circuit for many parameter sets.

Ways, chosen by `prepare_sampler`:

* no noise: Aer's statevector gives the exact outcome probabilities of a chunk of parameter sets in
  one call with bound parameters (1.4 ms a set at 10 qubits); NumPy draws the shots from them. Aer's
  own counts cost 25 ms a set, most of it formatting, and the statistics are the same.
* noise with up to 12 qubits entangled at a time: exact probabilities from
  `hardware.emulation.pauli_simulator`, in single precision for up to `SINGLE_PRECISION_SHOTS`, then
  as above.
* noise on more qubits, up to 22: a random run of the circuit a shot, from
  `hardware.emulation.trajectories`; Aer's where that does not know a gate or an angle.

Every row, setting and call has a stream of its own, spawned from the target's seed: equal rows get
independent shots and the chunk size changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from qiskit.circuit import QuantumCircuit

from hardware.circuits.measurement import Counts, Measurement
from hardware.circuits.transforms import measured_circuit
from hardware.emulation.noise import CircuitNoise, NoiseReport, without_delays
from hardware.emulation.pauli_passes import MAX_DIGITS
from hardware.emulation.pauli_simulator import PauliProgram
from hardware.emulation.trajectories import TrajectoryProgram
from hardware.errors import EmulationError, UnsupportedCircuitError

#: Working memory of one chunk of rows, bytes; a single row may take more.
CHUNK_BYTES = 128 << 20
#: Copies of a row's probabilities: Aer's, ours, the normalised ones and the drawn shots.
_COPIES = 4
#: An outcome of a trajectory with its count, as text in Aer's dictionaries, bytes.
_ENTRY_BYTES = 256
#: Rows of one Aer call; bounds its per-experiment bookkeeping.
MAX_CHUNK_ROWS = 512
#: Most shots for which a noisy state has single precision. Its probabilities then err by about
#: 1e-7, at most 2e-6 in the tests; the shots themselves by 1e-3 or more.
SINGLE_PRECISION_SHOTS = 10**6
#: Widest noiseless statevector: 2^28 amplitudes are 4 GiB.
MAX_STATEVECTOR_QUBITS = 28
#: Aer gives experiment i of a call the seed plus i times this.
_AER_SEED_STRIDE = 2113

_NOISELESS = "No noise: ideal gates and read-out."


class Method(Enum):
    """How noise is simulated."""

    AUTO = "auto"  # PAULI where it fits, else TRAJECTORIES
    PAULI = "pauli"  # exact noisy state, then shots from its probabilities
    TRAJECTORIES = "trajectories"  # one random run of the circuit a shot


@dataclass(frozen=True, eq=False)
class PreparedCircuit:
    """A circuit as a target runs it: its gates, its qubits, its noise.

    Args:
        circuit: Unitary circuit on the active qubits only.
        measured: The circuit's qubit behind each outcome bit.
        noise: Errors of this circuit's instructions, None for a noiseless target.
        report: What the noise touched, None for a noiseless target.
        physical: The device's qubit behind each of the circuit's, None where there is no device.
    """

    circuit: QuantumCircuit
    measured: tuple[int, ...]
    noise: CircuitNoise | None = None
    report: NoiseReport | None = None
    physical: tuple[int, ...] | None = None


class ShotStreams:
    """Independent random streams by setting and row, from one seed.

    Args:
        sequence: The seed.
        first_row: Number of row 0 among all rows that share the seed.
    """

    def __init__(self, sequence: np.random.SeedSequence, first_row: int = 0) -> None:
        self._sequence, self._first_row = sequence, first_row

    @classmethod
    def of(cls, seed: int | None, first_row: int = 0) -> ShotStreams:
        """Return the streams of a seed; fresh ones from the operating system for None."""
        return cls(np.random.SeedSequence(seed), first_row)

    def child(self, *key: int) -> ShotStreams:
        """Return the streams of a part of the work."""
        sequence = self._sequence
        spawned = np.random.SeedSequence(sequence.entropy, spawn_key=(*sequence.spawn_key, *key))
        return ShotStreams(spawned, self._first_row)

    def rng(self, row: int) -> np.random.Generator:
        """Return the generator of one row."""
        return np.random.default_rng(self.child(self._first_row + row)._sequence)

    def aer_seed(self, first_row: int) -> int:
        """Return the seed of an Aer call that starts at a row."""
        base = int(self._sequence.generate_state(1, np.uint32)[0]) >> 1
        return base + _AER_SEED_STRIDE * (self._first_row + first_row)


class Sampler:
    """Draws shots of one prepared circuit; make one a circuit and use it for many rows."""

    def __init__(
        self,
        prepared: PreparedCircuit,
        parameters: Sequence[str],
        method: Method = Method.AUTO,
    ) -> None:
        self._prepared = prepared
        self._parameters = tuple(parameters)
        self._program: PauliProgram | None = None
        self._own: TrajectoryProgram | None = None  # where there is no exact program
        noise = prepared.noise
        if noise is None:
            _check_width(prepared.circuit)
        elif method is not Method.TRAJECTORIES:
            try:
                self._program = PauliProgram.compile(
                    prepared.circuit, prepared.measured, parameters, noise.transfer_matrices()
                )
            except UnsupportedCircuitError:
                if method is Method.PAULI:
                    raise
        if noise is not None and self._program is None:
            with suppress(UnsupportedCircuitError):
                self._own = TrajectoryProgram.compile(
                    prepared.circuit, prepared.measured, parameters, noise
                )

    @property
    def description(self) -> str:
        """One sentence on how the shots are made."""
        if self._prepared.noise is None:
            return "Shots drawn from the exact probabilities of Aer's statevector."
        if self._program is not None:
            return "Shots drawn from the exact probabilities of the noisy state."
        whose = "Aer " if self._own is None else ""
        return f"Shots drawn as {whose}trajectories, one random run of the circuit each."

    def sample(
        self, values: np.ndarray, shots: int, streams: ShotStreams, first_row: int = 0
    ) -> Counts:
        """Return the counts of every row of values, shape (N, P), radians.

        Args:
            values: Parameter values.
            shots: Shots of each row.
            streams: Where each row's random numbers come from.
            first_row: Number of the first row among all rows of the streams.
        """
        if self._own is not None:
            found = [
                self._own.sample(row, shots, streams.rng(first_row + index))
                for index, row in enumerate(values)
            ]
            return Counts.concatenate([Counts.from_outcomes(each[np.newaxis]) for each in found])
        if self._prepared.noise is not None and self._program is None:
            parts = [
                self._trajectories(values[rows], shots, streams.aer_seed(first_row + rows.start))
                for rows in self._chunks(len(values), shots)
            ]
            return Counts.concatenate(parts)
        single = shots <= SINGLE_PRECISION_SHOTS
        drawn = [
            draw(self.probabilities(values[rows], single=single), shots, streams,
                 first_row + rows.start)
            for rows in self._chunks(len(values), shots)
        ]  # fmt: skip
        return Counts.concatenate(drawn)

    def probabilities(self, values: np.ndarray, *, single: bool = False) -> np.ndarray:
        """Return exact outcome probabilities, shape (N, 2^m); not for trajectories.

        Args:
            values: Parameter values, shape (N, P), radians.
            single: Whether a noisy state has single precision instead of double.

        Raises:
            UnsupportedCircuitError: The noise is simulated by trajectories.
        """
        if self._program is not None:
            return self._program.probabilities(values, np.float32 if single else np.float64)
        if self._prepared.noise is not None:
            raise UnsupportedCircuitError(
                f"The exact noisy state is computed for at most {MAX_DIGITS} entangled qubits at a "
                f"time and the usual gates; this circuit has {self._prepared.circuit.num_qubits} "
                "qubits."
            )
        return self._statevector(values)

    def _chunks(self, num_rows: int, shots: int) -> Iterator[slice]:
        """Yield the rows in parts that take `CHUNK_BYTES`, or one row where that takes more."""
        outcomes = 1 << len(self._prepared.measured)
        trajectories = self._prepared.noise is not None and self._program is None
        each = _ENTRY_BYTES * min(shots, outcomes) if trajectories else 8 * _COPIES * outcomes
        size = max(1, min(MAX_CHUNK_ROWS, CHUNK_BYTES // each))
        for start in range(0, num_rows, size):
            yield slice(start, min(start + size, num_rows))

    def _binds(self, values: np.ndarray) -> list[dict[Any, list[float]]]:
        column = {name: i for i, name in enumerate(self._parameters)}
        own = self._prepared.circuit.parameters
        return [{p: values[:, column[p.name]].tolist() for p in own}] if own else []

    def _statevector(self, values: np.ndarray) -> np.ndarray:
        from qiskit_aer import AerSimulator

        circuit = self._prepared.circuit.copy()
        circuit.save_probabilities(list(self._prepared.measured))  # added by importing Aer
        simulator = AerSimulator(method="statevector", runtime_parameter_bind_enable=True)
        binds = self._binds(values)
        results = _finished(simulator.run(circuit, parameter_binds=binds or None, shots=1).result())
        table = np.array([entry.data.probabilities for entry in results])
        if not binds:  # nothing to bind: one experiment stands for all rows
            table = np.repeat(table, len(values), axis=0)
        return table / table.sum(axis=1, keepdims=True)

    def _trajectories(self, values: np.ndarray, shots: int, seed: int) -> Counts:
        from qiskit_aer import AerSimulator

        assert self._prepared.noise is not None
        plain = without_delays(self._prepared.circuit)
        circuit = measured_circuit(plain, self._prepared.measured)
        simulator = AerSimulator(method="statevector", noise_model=self._prepared.noise.aer_model())
        binds = self._binds(values)
        circuits = circuit if binds else [circuit] * len(values)
        job = simulator.run(
            circuits, parameter_binds=binds or None, shots=shots, seed_simulator=seed
        )
        rows, outcomes, counts = [], [], []
        for row, entry in enumerate(_finished(job.result())):
            for key, count in entry.data.counts.items():
                rows.append(row)
                outcomes.append(int(key, 16))
                counts.append(count)
        return Counts(
            len(values), shots, np.array(rows), np.array(outcomes, dtype=np.int64), np.array(counts)
        )


def draw(table: np.ndarray, shots: int, streams: ShotStreams, first_row: int = 0) -> Counts:
    """Return the counts of shots drawn from outcome probabilities, shape (N, 2^m)."""
    drawn = [
        Counts.from_dense(streams.rng(first_row + row).multinomial(shots, shares)[np.newaxis])
        for row, shares in enumerate(table)
    ]
    return Counts.concatenate(drawn)


@dataclass(frozen=True, eq=False)
class OutcomeTables:
    """Exact outcome probabilities of N parameter sets: shots can be drawn again and again.

    Args:
        measurement: The settings, and what is made of their outcomes.
        tables: Probabilities of each setting, shape (N, 2^m).
    """

    measurement: Measurement
    tables: tuple[np.ndarray, ...]

    def values(self) -> np.ndarray:
        """Return expectation values (N, M) under the noise, without shots."""
        exact = []
        for table in self.tables:
            row, outcome = np.nonzero(table)
            # Probabilities in place of counts: their sum over a row, the "shots", is 1.
            exact.append(Counts(len(table), 1, row, outcome, table[row, outcome]))
        return self.measurement.combine(exact, len(self.tables[0]))[0]

    def estimate(self, shots: int, seed: int | None) -> np.ndarray:
        """Return expectation values (N, M) of shots: those of a target's `run` with this seed.

        A noisy `run` has single precision: one shot in about 10^7 may fall the other way.
        """
        streams = ShotStreams.of(seed)
        counts = [draw(table, shots, streams.child(k)) for k, table in enumerate(self.tables)]
        return self.measurement.combine(counts, len(self.tables[0]))[0]


class SettingsEngine:
    """One circuit in all measurement settings of some observables, ready for many rows."""

    def __init__(
        self,
        prepared: Sequence[PreparedCircuit],
        parameters: Sequence[str],
        measurement: Measurement,
        method: Method,
    ) -> None:
        self.measurement = measurement
        self.prepared = prepared  # the circuit in each setting
        self.samplers = [Sampler(each, parameters, method) for each in prepared]

    def estimate(
        self, values: np.ndarray, shots: int, streams: ShotStreams
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return values and standard errors, each (N, M), of parameter values (N, P), radians."""
        shape = (len(values), len(self.measurement.constants))
        means, errors = np.empty(shape), np.empty(shape)
        for rows, counts in self.counts(values, shots, streams):
            means[rows], errors[rows] = self.measurement.combine(counts, rows.stop - rows.start)
        return means, errors

    def counts(
        self, values: np.ndarray, shots: int, streams: ShotStreams
    ) -> Iterator[tuple[slice, list[Counts]]]:
        """Yield rows of parameter values (N, P), radians, with their counts in each setting."""
        for rows in self.measurement.chunks(len(values), shots):
            yield (
                rows,
                [
                    sampler.sample(values[rows], shots, streams.child(index), rows.start)
                    for index, sampler in enumerate(self.samplers)
                ],
            )

    def outcomes(self, values: np.ndarray) -> OutcomeTables:
        """Return the exact outcome probabilities of parameter values (N, P), radians.

        Raises:
            UnsupportedCircuitError: The noise is simulated by trajectories.
        """
        starts = range(0, len(values), MAX_CHUNK_ROWS)
        parts = [values[start : start + MAX_CHUNK_ROWS] for start in starts]
        tables = (
            np.concatenate([sampler.probabilities(part) for part in parts])
            for sampler in self.samplers
        )
        return OutcomeTables(self.measurement, tuple(tables))

    def notes(self) -> tuple[str, ...]:
        """Return sentences on what acted and what is left out."""
        notes = []
        if len(self.samplers) > 1:
            notes.append(f"Measured in {len(self.samplers)} settings, each with all the shots.")
        if self.samplers:
            notes.append(self.samplers[0].description)
            physical = sorted({qubit for each in self.prepared for qubit in each.physical or ()})
            if physical:
                notes.append(f"Placed on physical qubits {', '.join(map(str, physical))}.")
            for each in self.prepared:
                notes.extend(each.report.sentences() if each.report else (_NOISELESS,))
        return tuple(dict.fromkeys(notes))  # settings share sentences


def shot_by_shot(counts: Counts, streams: ShotStreams) -> np.ndarray:
    """Return outcomes of every shot in random order, shape (N, shots)."""
    table = np.repeat(counts.outcome, counts.count).reshape(counts.num_rows, counts.shots)
    return streams.rng(0).permuted(table, axis=1)


def _check_width(circuit: QuantumCircuit) -> None:
    if circuit.num_qubits > MAX_STATEVECTOR_QUBITS:
        raise UnsupportedCircuitError(
            f"Expected at most {MAX_STATEVECTOR_QUBITS} qubits for a local statevector, got "
            f"{circuit.num_qubits}."
        )


def _finished(result: Any) -> list[Any]:
    if not result.success:
        raise EmulationError(f"Expected Aer to finish, it reports: {result.status}.")
    return list(result.results)
