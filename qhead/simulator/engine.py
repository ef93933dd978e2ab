"""Runs compiled circuits over batches of samples, and differentiates what they return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hardware.threads import num_threads, share
from hardware.vectors import LANES
from qhead.errors import SimulationError
from qhead.simulator import kernels
from qhead.simulator.program import Program

#: States and probabilities held at once by a forward pass, bytes; eight samples may take more.
CHUNK_BYTES = 256 << 20
#: So much is taken without asking how much is free.
_CERTAIN_BYTES = 64 << 20
#: Below this many amplitude updates, about 70 µs, a second thread costs more than it saves.
_WORTH_A_THREAD = 2**21
#: Updates of the backward pass, which carries two states and reads their overlap, in forward ones.
_BACKWARD = 3
#: Largest register: a state of 2^26 amplitudes in eight lanes is 2 GiB of float32.
MAX_QUBITS = 26


@dataclass(frozen=True, eq=False)
class Tape:
    """The final states of a batch, from which gradients are pulled back.

    Args:
        probabilities: Probabilities of the measured values, shape (B, C).
    """

    probabilities: np.ndarray  # (B, C)
    _program: Program
    _values: np.ndarray  # (B, P), or (1, P) where all samples share them
    _finals: np.ndarray  # (blocks, planes, 2^n LANES)
    _cosines: np.ndarray  # (blocks, S LANES), or (1, S LANES)
    _sines: np.ndarray

    def pull_back(
        self, weights: np.ndarray, *, initial: bool = False, spend: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return derivatives of weighted sums of the probabilities (adjoint method).

        Args:
            weights: (B, R, C); row r of sample b is the function sum_c weights[b, r, c] p[b, c].
            initial: Also differentiate by the initial amplitudes, taken as free real numbers.
            spend: Work on the final states themselves, not on copies of eight samples' at a time:
                the tape is of no use afterwards.

        Returns:
            Derivatives by the circuit's parameters (B, R, P), in the order of
            ``circuit.parameters``, or (1, R, P), summed over the samples, where these share the
            parameters' values; and by the initial amplitudes (B, R, 2^n) or None.
        """
        program, dtype = self._program, self._finals.dtype
        batch, rows, classes = weights.shape
        blocks = self._finals.shape[0]
        buffers = min(blocks, num_threads()) * (1 if spend and rows == 1 else 2)
        buffers += blocks * rows if initial else 0
        check_room(buffers * self._finals[0].nbytes, program.num_qubits, batch)
        lanes = np.zeros((blocks * LANES, rows, classes), dtype)
        lanes[:batch] = weights
        lanes = lanes.reshape(blocks, LANES, rows, classes).transpose(0, 2, 3, 1)
        lanes = lanes.reshape(blocks, rows, classes * LANES)
        grads = np.zeros((blocks, rows, self._cosines.shape[1]), dtype)
        starts = np.empty(
            (blocks, rows, *self._finals.shape[1:]) if initial else (blocks, rows, 0, 0), dtype
        )

        def work(part: slice) -> None:
            kernels.pull_back(
                self._finals[part], lanes[part], program.operations, program.matrices.astype(dtype),
                _own(self._cosines, part), _own(self._sines, part), grads[part], starts[part],
                spend,
            )  # fmt: skip

        _share(work, blocks, _BACKWARD * rows * self._finals.size * (1 + len(program.operations)))
        by_slot = grads.reshape(blocks, rows, -1, LANES).transpose(2, 0, 3, 1)
        flat = by_slot.reshape(-1, blocks * LANES, rows)
        by_angle = flat[: len(program.half), :batch].astype(np.float64)
        if len(self._values) < batch:
            by_angle = by_angle.sum(axis=1, keepdims=True)
        by_parameter = program.angle_map.pull_back(self._values, by_angle)
        if not initial:
            return by_parameter, None
        assert program.index is not None
        real = starts[:, :, 0].reshape(blocks, rows, -1, LANES).transpose(0, 3, 1, 2)
        by_amplitude = real.reshape(blocks * LANES, rows, -1)[:batch]
        return by_parameter, by_amplitude[:, :, program.index]

    def states(self) -> np.ndarray:
        """Return the final states (B, 2^n) of a real circuit, in the program's order."""
        by_lane = self._finals[:, 0].reshape(len(self._finals), -1, LANES).transpose(0, 2, 1)
        return by_lane.reshape(-1, by_lane.shape[2])[: len(self.probabilities)]

    def carry_back(self, cotangents: np.ndarray) -> np.ndarray:
        """Return the derivatives by shared parameters (1, 1, P) of a real circuit's final states.

        Args:
            cotangents: (B, 2^n), half the derivatives by the final states, in the program's order.
        """
        program, dtype = self._program, self._finals.dtype
        blocks, _, size = self._finals.shape
        lanes = np.zeros((blocks * LANES, size // LANES), dtype)
        lanes[: len(cotangents)] = cotangents
        lanes = lanes.reshape(blocks, LANES, -1).transpose(0, 2, 1).reshape(blocks, 1, size)
        grads = np.zeros((blocks, self._cosines.shape[1]), dtype)
        matrices = program.matrices.astype(dtype)

        def work(part: slice) -> None:
            kernels.carry_back(
                self._finals[part], lanes[part], program.operations, matrices,
                self._cosines, self._sines, grads[part],
            )  # fmt: skip

        _share(work, blocks, _BACKWARD * self._finals.size * (1 + len(program.operations)))
        by_slot = grads.reshape(blocks, -1, LANES).astype(np.float64).sum(axis=(0, 2))
        return program.angle_map.pull_back(self._values, by_slot[: len(program.half), None, None])


def run(
    program: Program,
    values: np.ndarray,
    *,
    initial: np.ndarray | None = None,
    dtype: type[np.floating] = np.float64,
) -> Tape:
    """Run a batch and keep what its gradient needs.

    Args:
        program: A compiled circuit.
        values: Parameter values (B, P), radians, in the order of ``circuit.parameters``; or (1, P)
            for all samples of `initial` alike.
        initial: Real amplitudes of the initial states (B, 2^n), qubit 0 the lowest bit of the
            index; None for |0…0>. They are used as they are, not normalised.
        dtype: float32 or float64.

    Raises:
        SimulationError: Too many qubits, or shapes that do not fit.
    """
    _check(program, values, initial)
    batch = len(values) if initial is None else len(initial)
    blocks = -(-batch // LANES)
    cosines, sines = _trigonometry(program, values, blocks, dtype)
    states = _initial_states(program, initial, batch, blocks, dtype)
    out = np.empty((blocks, 2 ** len(program.measured) * LANES), dtype)
    matrices = program.matrices.astype(dtype)

    def work(part: slice) -> None:
        kernels.probabilities(
            states[part], program.operations, matrices, _own(cosines, part), _own(sines, part),
            out[part],
        )  # fmt: skip

    _share(work, blocks, states.size * (1 + len(program.operations)))
    by_sample = out.reshape(blocks, -1, LANES).transpose(0, 2, 1).reshape(blocks * LANES, -1)
    return Tape(by_sample[:batch], program, values, states, cosines, sines)


def probabilities(
    program: Program, values: np.ndarray, *, dtype: type[np.floating] = np.float64
) -> np.ndarray:
    """Return the probabilities of the measured values, shape (B, C), in bounded memory.

    Arguments are those of `run`.
    """
    _check(program, values, None)
    parts = chunks(program, len(values), dtype)
    return np.concatenate([run(program, values[p], dtype=dtype).probabilities for p in parts])


def chunks(program: Program, batch: int, dtype: type[np.floating]) -> list[slice]:
    """Return the samples in parts that take `CHUNK_BYTES`, or eight samples where those do."""
    step = max(LANES, CHUNK_BYTES // sample_bytes(program, dtype) // LANES * LANES)
    return [slice(start, min(start + step, batch)) for start in range(0, batch, step)]


def sample_bytes(program: Program, dtype: type[np.floating]) -> int:
    """Return the memory of one sample's state and probabilities, bytes."""
    planes = 1 if program.real else 2
    numbers = planes * 2**program.num_qubits + 2 ** len(program.measured)
    return numbers * np.dtype(dtype).itemsize


def check_room(need: int, num_qubits: int, batch: int) -> None:
    """Check that the states of some samples fit into memory before they are begun.

    Args:
        need: Bytes.
        num_qubits: Qubits of a sample's state.
        batch: Number of samples.

    Raises:
        SimulationError: Less memory is free.
    """
    if need <= _CERTAIN_BYTES:
        return
    import psutil

    free = psutil.virtual_memory().available
    if need > free:
        samples = "one sample" if batch == 1 else f"{batch} samples"
        raise SimulationError(
            f"The states of {samples} of {num_qubits} qubits take {need / 2**30:.1f} GiB more, but "
            f"only {free / 2**30:.1f} GiB of memory are free: use fewer qubits, smaller batches or "
            "single precision."
        )


def _check(program: Program, values: np.ndarray, initial: np.ndarray | None) -> None:
    if program.num_qubits > MAX_QUBITS:
        raise SimulationError(
            f"Expected at most {MAX_QUBITS} qubits that the observables depend on, got "
            f"{program.num_qubits}: use fewer qubits or a target that is not exact."
        )
    columns = len(program.angle_map.names)
    if values.ndim != 2 or values.shape[1] != columns or not len(values):
        raise SimulationError(f"Expected values of shape (B, {columns}), got {values.shape}.")
    if initial is None:
        return
    size = 2**program.num_circuit_qubits
    if (
        program.index is None
        or initial.shape[1:] != (size,)
        or (len(values) not in (1, len(initial)))
    ):
        raise SimulationError(
            f"Expected initial states of shape ({len(values)}, {size}) and a circuit compiled "
            f"with keep_qubits=True, got {initial.shape}."
        )


def _trigonometry(
    program: Program, values: np.ndarray, blocks: int, dtype: type[np.floating]
) -> tuple[np.ndarray, np.ndarray]:
    """Return cosines and sines (blocks, S LANES), lanes innermost; (1, S LANES) for one sample."""
    slots = len(program.half)
    if len(values) == 1:  # in all lanes of one block
        values, blocks = np.repeat(values, LANES, axis=0), 1
    # At least one slot, so that operations without an angle may name slot 0.
    angles = np.zeros((max(slots, 1), blocks * LANES))
    angles[:slots, : len(values)] = program.angle_map.angles(values) * program.half[:, None]
    by_slot = angles.astype(dtype).reshape(-1, blocks, LANES)
    by_block = by_slot.transpose(1, 0, 2).reshape(blocks, -1)
    return np.cos(by_block), np.sin(by_block)


def _initial_states(
    program: Program,
    initial: np.ndarray | None,
    batch: int,
    blocks: int,
    dtype: type[np.floating],
) -> np.ndarray:
    planes, size = (1 if program.real else 2), 2**program.num_qubits
    check_room(blocks * planes * size * LANES * np.dtype(dtype).itemsize, program.num_qubits, batch)
    states = np.zeros((blocks, planes, size, LANES), dtype)
    if initial is None:
        states[:, 0, 0] = 1.0
    else:
        assert program.index is not None
        ordered = np.zeros((blocks * LANES, size), dtype)
        ordered[:batch, program.index] = initial
        states[:, 0] = ordered.reshape(blocks, LANES, size).transpose(0, 2, 1)
    return states.reshape(blocks, planes, size * LANES)


def _own(table: np.ndarray, part: slice) -> np.ndarray:
    """Return the rows of some blocks, or the one row that all blocks share."""
    return table if len(table) == 1 else table[part]


def _share(work: Callable[[slice], None], blocks: int, updates: int) -> None:
    """Run `work` over all blocks, shared among threads where that pays."""
    share(work, blocks, num_threads() if updates > _WORTH_A_THREAD else 1)
