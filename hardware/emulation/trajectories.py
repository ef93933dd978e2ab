"""Random runs of a noisy circuit, one a shot, for states too wide to be computed exactly.

Every error of `hardware.emulation.error_channels` is a choice between a few matrices. For Pauli
errors the choice does not depend on the state. Damping by γ lets a qubit that is 1 with probability
p jump to 0 with probability γ p: a shot is a candidate with probability γ, and only for candidates
is p computed. So nearly all choices are made before anything is simulated, and

* shots without any event share one run, and draw from its outcomes together;
* each other shot shares that run up to its first event: shots are sorted by it;
* sixteen shots run side by side in the lanes of a vector, their errors folded into the one-qubit
  matrices before each two-qubit gate.

Each shot is an independent sample of the outcomes that the noisy state has, as the exact engine's
shots are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from qiskit.circuit import Barrier, Delay, Gate, ParameterExpression, QuantumCircuit
from qiskit.circuit.library import CXGate, IGate
from qiskit.quantum_info import Operator

from hardware.circuits.definitions import opened
from hardware.circuits.transforms import translate
from hardware.emulation import _trajectory_kernel as kernel
from hardware.emulation.error_channels import ErrorChannel, Relaxation
from hardware.emulation.noise import CircuitNoise, error_key
from hardware.emulation.pauli_simulator import affine_angle
from hardware.errors import UnsupportedCircuitError
from hardware.threads import num_threads, share

#: Widest state: 2^22 amplitudes × 16 lanes × 8 bytes, twice, are 1 GiB a thread.
MAX_QUBITS = 22
#: Memory of the states of all threads together, bytes.
MAX_SCRATCH = 2 << 30
#: Numbers drawn at once.
_DRAWN = 1 << 22

_ROTATIONS = {"rx": kernel.ROT_X, "ry": kernel.ROT_Y, "rz": kernel.ROT_Z}


@dataclass(frozen=True, eq=False)
class TrajectoryProgram:
    """A compiled noisy circuit: arrays that the kernel interprets."""

    measured: np.ndarray  # (m,) outcome bit k is the circuit's qubit measured[k]
    readout: tuple[np.ndarray | None, ...]  # confusion [prepared, observed] of each measured qubit
    gates: np.ndarray  # (G, 5) kind, qubit a, qubit b, segment a, segment b
    steps: np.ndarray  # (E, 2) one-qubit steps: kind, index of angle, matrix or place of an error
    segments: np.ndarray  # (S, 2) first and last step of each segment
    matrices: np.ndarray  # (K, 2, 2) constant gates
    pauli_chance: np.ndarray  # (R,) chance of each Pauli error
    pauli_places: np.ndarray  # (R, 2) places that it acts on, -1 for none
    pauli_letters: np.ndarray  # (R,) 3 or 15 errors of equal chance, 1 for Z alone
    gammas: np.ndarray  # (D,) damping of each place
    pauli_gate: np.ndarray  # (places,) gate that each place comes before; G the end, G + 1 none
    damping_gate: np.ndarray  # (D,) likewise
    angle_matrix: np.ndarray  # (A, P), radians per radian
    angle_offset: np.ndarray  # (A,), radians
    final: np.ndarray  # (n,) segment after the last two-qubit gate of each qubit
    real: bool  # whether all matrices are

    @classmethod
    def compile(
        cls,
        circuit: QuantumCircuit,
        measured: Sequence[int],
        parameters: Sequence[str],
        noise: CircuitNoise,
    ) -> TrajectoryProgram:
        """Compile a unitary circuit of one- and two-qubit gates.

        Raises:
            UnsupportedCircuitError: Too many qubits, gates on three qubits or more, parameters
                outside rx, ry, rz and rzz, or angles that are not affine in them.
        """
        if circuit.num_qubits > MAX_QUBITS:
            raise UnsupportedCircuitError(
                f"Expected at most {MAX_QUBITS} qubits, got {circuit.num_qubits}."
            )
        return _Compiler(circuit, tuple(measured), tuple(parameters), noise).compile()

    def sample(self, values: np.ndarray, shots: int, rng: np.random.Generator) -> np.ndarray:
        """Return the outcomes (shots,) of one row of values (P,), radians, in no random order."""
        angles = self.angle_matrix @ values + self.angle_offset
        size = max(1, _DRAWN // (1 + len(self.pauli_chance) + len(self.gammas)))
        parts = [
            self._run(angles, min(size, shots - start), rng) for start in range(0, shots, size)
        ]
        return self._read(np.concatenate(parts), rng)

    def _run(self, angles: np.ndarray, shots: int, rng: np.random.Generator) -> np.ndarray:
        codes, chances, first = self._events(shots, rng)
        draws = rng.random(shots)
        affected = np.flatnonzero(first <= len(self.gates))
        order = affected[np.argsort(first[affected], kind="stable")]
        batches = 1 + -(-len(order) // kernel.LANES)
        shape = (1 if self.real else 2, kernel.LANES * 2 ** len(self.final))
        outcomes = np.zeros(shots, dtype=np.int64)
        shares = np.zeros(2 ** len(self.measured))

        def work(part: slice) -> None:
            clean, own = np.empty(shape, np.float32), np.empty(shape, np.float32)
            kernel.run(
                part.start, part.stop, clean, own, order, first, codes, chances, draws, angles,
                self.gates, self.steps, self.segments, self.matrices, self.gammas, self.final,
                self.measured, outcomes, shares,
            )  # fmt: skip

        most = max(1, MAX_SCRATCH // (2 * 4 * math.prod(shape)))
        share(work, batches, min(num_threads(), most))
        clean = np.flatnonzero(first > len(self.gates))
        counts = rng.multinomial(len(clean), shares / shares.sum())
        outcomes[clean] = np.repeat(np.arange(len(counts)), counts)
        return outcomes

    def _events(
        self, shots: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw what may happen in each shot.

        Returns:
            The Pauli matrix at each place, (shots, places), 0 for none; for a candidate of damping
            the probability of 1 above which it jumps, (shots, D), else 1; and the gate that the
            first event comes before, (shots,), G + 1 where there is none.
        """
        codes = np.zeros((shots, len(self.pauli_gate)), dtype=np.uint8)
        chances = np.ones((shots, len(self.gammas)))
        first = np.full(shots, len(self.gates) + 1)
        hits = np.argwhere(rng.random((shots, len(self.pauli_chance))) < self.pauli_chance)
        letters = self.pauli_letters[hits[:, 1]]
        pauli = np.where(letters == 1, 3, rng.integers(1, letters + 1))
        for side in (0, 1):
            place = self.pauli_places[hits[:, 1], side]
            code = (pauli >> (2 * side)) & 3
            acts = (place >= 0) & (code > 0)
            shot, place = hits[acts, 0], place[acts]
            codes[shot, place] = code[acts]
            np.minimum.at(first, shot, self.pauli_gate[place])
        shot, place = np.nonzero(rng.random(chances.shape) < self.gammas)
        chances[shot, place] = rng.random(len(shot))
        np.minimum.at(first, shot, self.damping_gate[place])
        return codes, chances, first

    def _read(self, outcomes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return outcomes (shots,) as they are read out."""
        for bit, confusion in enumerate(self.readout):
            if confusion is not None:
                flip = np.array([confusion[0, 1], confusion[1, 0]])[(outcomes >> bit) & 1]
                outcomes = outcomes ^ ((rng.random(len(outcomes)) < flip).astype(np.int64) << bit)
        return outcomes


class _Compiler:
    """Walks a circuit once; holds the growing arrays of a `TrajectoryProgram`."""

    def __init__(
        self,
        circuit: QuantumCircuit,
        measured: tuple[int, ...],
        parameters: tuple[str, ...],
        noise: CircuitNoise,
    ) -> None:
        self.circuit, self.measured, self.noise = opened(circuit), measured, noise
        self.column = {name: i for i, name in enumerate(parameters)}
        self.pending: list[list[tuple[int, int]]] = [[] for _ in range(circuit.num_qubits)]
        self.gates: list[tuple[int, ...]] = []
        self.steps: list[tuple[int, int]] = []
        self.segments: list[tuple[int, int]] = []
        self.segment_gate: list[int] = []
        self.matrices: list[np.ndarray] = []
        self.angles: list[tuple[np.ndarray, float]] = []
        self.errors: list[tuple[float, tuple[int, int], int]] = []
        self.gammas: list[float] = []
        self.num_places = 0

    def compile(self) -> TrajectoryProgram:
        for instruction in self.circuit.data:
            operation = instruction.operation
            qubits = tuple(self.circuit.find_bit(q).index for q in instruction.qubits)
            if isinstance(operation, Barrier):
                continue
            if len(qubits) > 2:
                raise UnsupportedCircuitError(
                    f"Expected gates on one or two qubits, got {operation.name!r} on {len(qubits)}."
                )
            self._gate(operation, qubits)
            error = self.noise.gate_errors.get((error_key(operation), qubits))
            if error is not None:
                self._error(error, qubits)
        num_gates, measured = len(self.gates), set(self.measured)
        final = [
            self._close(q, num_gates + (q not in measured)) for q in range(self.circuit.num_qubits)
        ]
        where = {kernel.PAULI: [0] * self.num_places, kernel.DAMPING: [0] * len(self.gammas)}
        for (start, stop), gate in zip(self.segments, self.segment_gate, strict=True):
            for kind, index in self.steps[start:stop]:
                if kind in where:
                    where[kind][index] = gate
        return TrajectoryProgram(
            measured=np.array(self.measured, dtype=np.int64),
            readout=tuple(self.noise.readout.get(q) for q in self.measured),
            gates=np.array(self.gates, dtype=np.int64).reshape(-1, 5),
            steps=np.array(self.steps, dtype=np.int64).reshape(-1, 2),
            segments=np.array(self.segments, dtype=np.int64).reshape(-1, 2),
            matrices=np.array(self.matrices, dtype=np.complex128).reshape(-1, 2, 2),
            pauli_chance=np.array([chance for chance, _, _ in self.errors], dtype=np.float64),
            pauli_places=np.array([p for _, p, _ in self.errors], dtype=np.int64).reshape(-1, 2),
            pauli_letters=np.array([letters for _, _, letters in self.errors], dtype=np.int64),
            gammas=np.array(self.gammas, dtype=np.float64),
            pauli_gate=np.array(where[kernel.PAULI], dtype=np.int64),
            damping_gate=np.array(where[kernel.DAMPING], dtype=np.int64),
            angle_matrix=np.array([a for a, _ in self.angles]).reshape(
                len(self.angles), len(self.column)
            ),
            angle_offset=np.array([offset for _, offset in self.angles], dtype=np.float64),
            final=np.array(final, dtype=np.int64),
            real=all(kind not in (kernel.ROT_X, kernel.ROT_Z) for kind, _ in self.steps)
            and not any(np.abs(matrix.imag).max() > 0 for matrix in self.matrices),
        )

    def _gate(self, operation: Gate, qubits: tuple[int, ...]) -> None:
        if isinstance(operation, Delay | IGate):
            return
        name, params = operation.name, operation.params
        free = any(isinstance(p, ParameterExpression) and p.parameters for p in params)
        if name in _ROTATIONS and free:
            self.angles.append(affine_angle(params[0], self.column))
            self.pending[qubits[0]].append((_ROTATIONS[name], len(self.angles) - 1))
        elif name == "rzz" and free:  # RZ between two CX
            self._gate(CXGate(), qubits)
            self.angles.append(affine_angle(params[0], self.column))
            self.pending[qubits[1]].append((kernel.ROT_Z, len(self.angles) - 1))
            self._gate(CXGate(), qubits)
        elif free:
            raise UnsupportedCircuitError(
                f"Expected parameters in rx, ry, rz and rzz only, got a parametrised {name!r}."
            )
        elif len(qubits) == 1:
            self.matrices.append(np.asarray(Operator(operation).data))
            self.pending[qubits[0]].append((kernel.MATRIX, len(self.matrices) - 1))
        elif name in ("cx", "cz"):
            a, b = qubits
            gate = len(self.gates)
            kind = kernel.CX if name == "cx" else kernel.CZ
            self.gates.append((kind, a, b, self._close(a, gate), self._close(b, gate)))
        else:
            alone = QuantumCircuit(2)
            alone.append(operation, [0, 1])
            for step in translate(alone, ("rz", "sx", "x", "cx")).data:
                places = [alone.find_bit(q).index for q in step.qubits]
                self._gate(step.operation, tuple(qubits[place] for place in places))

    def _error(self, error: ErrorChannel, qubits: tuple[int, ...]) -> None:
        if error.depolarizing > 0:
            letters = 4**error.num_qubits - 1
            places = [self._pauli_place(qubit) for qubit in qubits]
            chance = error.depolarizing * letters / (letters + 1)
            self.errors.append((chance, (places[0], places[1] if places[1:] else -1), letters))
        for qubit, relaxation in zip(qubits, error.relaxations, strict=bool(error.relaxations)):
            gamma, flip = damping_and_dephasing(relaxation)
            if gamma > 0:
                self.gammas.append(gamma)
                self.pending[qubit].append((kernel.DAMPING, len(self.gammas) - 1))
            if flip > 0:
                self.errors.append((flip, (self._pauli_place(qubit), -1), 1))

    def _pauli_place(self, qubit: int) -> int:
        self.pending[qubit].append((kernel.PAULI, self.num_places))
        self.num_places += 1
        return self.num_places - 1

    def _close(self, qubit: int, gate: int) -> int:
        start = len(self.steps)
        self.steps.extend(self.pending[qubit])
        self.pending[qubit] = []
        self.segments.append((start, len(self.steps)))
        self.segment_gate.append(gate)
        return len(self.segments) - 1


def damping_and_dephasing(relaxation: Relaxation) -> tuple[float, float]:
    """Return the chances γ of damping and of a phase flip that make up a relaxation."""
    gamma = -math.expm1(-relaxation.time / relaxation.t1)
    coherence = math.exp(0.5 * relaxation.time / relaxation.t1 - relaxation.time / relaxation.t2)
    return gamma, max(0.0, 0.5 * (1.0 - coherence))  # T2 = 2 T1 has none
