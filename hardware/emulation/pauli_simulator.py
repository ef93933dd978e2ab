"""Exact evolution of a noisy circuit, batched over parameter sets, in the Pauli basis.

A density matrix on n qubits is the real vector r_P = Tr(P ρ) over the 4^n Pauli strings P. In that
basis a gate of the devices' sets and its error are cheap: a two-qubit Clifford gate permutes and
signs the components, depolarising noise scales them, one-qubit gates and relaxation are 4 × 4 real
maps of one digit. A circuit therefore becomes one update of the vector for each two-qubit gate,
with all one-qubit maps in between folded in, and several updates share a pass over memory
(`hardware.emulation.pauli_passes`). Sixteen parameter sets lie side by side in memory, so that all
arithmetic is vectorised whatever the qubits. A real density matrix has no components with an odd
number of Y: where all gates and errors keep it real, such as RY and CX with depolarising noise or
relaxation, the others alone are computed.

`python scripts/noisy_benchmark.py` compares it with Aer.

`PauliProgram.compile` turns a circuit and its errors into arrays; `probabilities` runs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from qiskit.circuit import Barrier, Delay, ParameterExpression, QuantumCircuit
from qiskit.circuit.library import CXGate, IGate
from qiskit.quantum_info import PTM, Operator

from hardware.circuits.definitions import opened
from hardware.emulation import _pauli_kernel as kernel
from hardware.emulation.error_channels import InstructionErrors
from hardware.emulation.noise import error_key
from hardware.emulation.pauli_passes import Gate, Passes, plan_passes
from hardware.errors import UnsupportedCircuitError
from hardware.threads import num_threads, share

#: Scratch memory of all threads together, bytes.
MAX_SCRATCH = 2 << 30
#: Below this many updates of components, about 0.2 ms, a second thread costs more than it saves.
_WORTH_A_THREAD = 2**18

_ROTATIONS = {"rx": kernel.ROT_X, "ry": kernel.ROT_Y, "rz": kernel.ROT_Z}


@dataclass(frozen=True, eq=False)
class PauliProgram:
    """A compiled noisy circuit: arrays that the kernel interprets."""

    parameters: tuple[str, ...]  # P names, the order of the columns of values
    measured: tuple[int, ...]  # outcome bit k is the circuit's qubit measured[k]
    readout: tuple[np.ndarray | None, ...]  # confusion [prepared, observed] of each measured qubit
    passes: Passes  # the two-qubit gates
    steps: np.ndarray  # (E, 2) elementary one-qubit steps: kind, index of angle or of matrix
    segments: np.ndarray  # (S, 2) first and last step of each segment; the first has none
    matrices: np.ndarray  # (K, 4, 4) constant one-qubit maps
    dense: np.ndarray  # (D, 16, 16) constant two-qubit maps outside the structured ones
    destinations: np.ndarray  # (T, 16) where a Clifford gate sends each two-qubit Pauli
    factors: np.ndarray  # (T, 16) its sign times the depolarising factor; the first does nothing
    angle_matrix: np.ndarray  # (A, P), radians per radian
    angle_offset: np.ndarray  # (A,), radians
    final: np.ndarray  # (n,) segment after the last two-qubit gate of each qubit
    even: bool  # whether components with an odd number of Y vanish

    @classmethod
    def compile(
        cls,
        circuit: QuantumCircuit,
        measured: Sequence[int],
        parameters: Sequence[str],
        errors: InstructionErrors,
    ) -> PauliProgram:
        """Compile a unitary circuit of one- and two-qubit gates.

        Raises:
            UnsupportedCircuitError: Too many qubits, or a gate or an angle outside the engine's:
                parametrised gates other than rx, ry, rz and rzz, angles that are not affine in the
                parameters, gates on three qubits or more.
        """
        return _Compiler(circuit, tuple(measured), tuple(parameters), errors).compile()

    def probabilities(
        self, values: np.ndarray, dtype: type[np.floating] = np.float64
    ) -> np.ndarray:
        """Return outcome probabilities, shape (N, 2^m), for values of shape (N, P), radians.

        Outcome b has bit k equal to the read-out of ``measured[k]``. The state has the precision
        `dtype`; what is returned is always double.
        """
        num_rows, num_bits = len(values), len(self.measured)
        angles = values @ self.angle_matrix.T + self.angle_offset  # (N, A)
        slots = self.passes.slots
        size = kernel.LANES * 4**self.passes.width  # components of one group of rows
        groups = -(-num_rows // kernel.LANES)
        worth_it = groups * kernel.LANES * (1 + self.passes.updates) > _WORTH_A_THREAD
        most = max(1, MAX_SCRATCH // (np.dtype(dtype).itemsize * size))
        inside = [q for q in self.measured if slots[q] >= 0]
        moments = np.empty((num_rows, 2 ** len(inside)))  # <Z-strings>, top digit slowest
        single = np.empty((num_rows, len(slots)))  # <Z> of qubits never entangled
        dense, factors = self.dense.astype(dtype), self.factors.astype(dtype)

        def work(part: slice) -> None:
            vector = np.empty((4**self.passes.width, kernel.LANES), dtype)
            kernel.evolve(
                part.start, part.stop, vector, angles, self.passes.ops, self.passes.passes,
                self.passes.digits, self.passes.leaving, self.steps, self.segments, self.matrices,
                dense, self.destinations, factors, self.even, self.final, slots, moments, single,
            )  # fmt: skip

        share(work, groups, min(num_threads(), most) if worth_it else 1)
        tensor = moments.reshape((num_rows, *(2 for _ in inside)))
        axes = sorted(inside, key=lambda q: -int(slots[q]))  # axis 1 is the top digit
        for qubit in self.measured:
            if slots[qubit] < 0:
                pair = np.stack([np.ones(num_rows), single[:, qubit]], axis=-1)
                shape = (num_rows, *(1 for _ in axes), 2)
                tensor = tensor[..., np.newaxis] * pair.reshape(shape)
                axes.append(qubit)
        # The last axis becomes bit 0.
        order = [1 + axes.index(qubit) for qubit in reversed(self.measured)]
        tensor = tensor.transpose([0, *order])
        for bit, confusion in enumerate(self.readout):
            # (I, Z) moments -> probabilities of 0 and 1 -> read-out
            step = np.array([[0.5, 0.5], [0.5, -0.5]])
            step = step if confusion is None else confusion.T @ step
            axis = num_bits - bit
            tensor = np.moveaxis(np.tensordot(tensor, step, axes=([axis], [1])), -1, axis)
        result = np.clip(np.ascontiguousarray(tensor).reshape(num_rows, -1), 0.0, None)
        return result / result.sum(axis=1, keepdims=True)


class _Compiler:
    """Walks a circuit once; holds the growing arrays of a `PauliProgram`."""

    def __init__(
        self,
        circuit: QuantumCircuit,
        measured: tuple[int, ...],
        parameters: tuple[str, ...],
        errors: InstructionErrors,
    ) -> None:
        # Errors and rotations are looked up by name: it must be what the gate is.
        self.circuit, self.measured, self.parameters = opened(circuit), measured, parameters
        self.errors = errors
        self.column = {name: i for i, name in enumerate(parameters)}
        self.pending: list[list[tuple[int, int]]] = [[] for _ in range(circuit.num_qubits)]
        self.gates: list[Gate] = []
        self.steps: list[tuple[int, int]] = []
        self.segments: list[tuple[int, int]] = [(0, 0)]  # `kernel.NO_SEGMENT`
        self.matrices: list[np.ndarray] = []
        self.dense: list[np.ndarray] = []
        self.tables = [(np.arange(16), np.ones(16))]
        self.angles: list[tuple[np.ndarray, float]] = []

    def compile(self) -> PauliProgram:
        for instruction in self.circuit.data:
            operation = instruction.operation
            qubits = tuple(self.circuit.find_bit(q).index for q in instruction.qubits)
            if isinstance(operation, Barrier):
                continue
            error = self.errors.gates.get((error_key(operation), qubits))
            if isinstance(operation, Delay | IGate):
                self._one_qubit_matrix(qubits[0], error)
            elif len(qubits) == 1:
                self._one_qubit(operation, qubits[0], error)
            elif len(qubits) == 2:
                self._two_qubit(operation, qubits, error)
            else:
                raise UnsupportedCircuitError(
                    f"Expected gates on one or two qubits, got {operation.name!r} on {len(qubits)}."
                )
        final = [self._close(q) for q in range(self.circuit.num_qubits)]
        passes = plan_passes(self.gates, self.circuit.num_qubits, self.measured)
        num_parameters = len(self.parameters)
        return PauliProgram(
            parameters=self.parameters,
            measured=self.measured,
            readout=tuple(self.errors.readout.get(q) for q in self.measured),
            passes=passes,
            steps=np.array(self.steps, dtype=np.int64).reshape(-1, 2),
            segments=np.array(self.segments, dtype=np.int64).reshape(-1, 2),
            matrices=np.array(self.matrices).reshape(-1, 4, 4),
            dense=np.array(self.dense).reshape(-1, 16, 16),
            destinations=np.array([t[0] for t in self.tables], dtype=np.int64).reshape(-1, 16),
            factors=np.array([t[1] for t in self.tables], dtype=np.float64).reshape(-1, 16),
            angle_matrix=np.array([a[0] for a in self.angles]).reshape(
                len(self.angles), num_parameters
            ),
            angle_offset=np.array([a[1] for a in self.angles], dtype=np.float64),
            final=np.array(final, dtype=np.int64),
            even=self._even(),
        )

    def _one_qubit(self, operation: object, qubit: int, error: np.ndarray | None) -> None:
        name, params = operation.name, operation.params  # type: ignore[attr-defined]
        if any(isinstance(p, ParameterExpression) and p.parameters for p in params):
            if name not in _ROTATIONS:
                raise UnsupportedCircuitError(
                    f"Expected parameters in rx, ry and rz only, got a parametrised {name!r}."
                )
            self.angles.append(affine_angle(params[0], self.column))
            self.pending[qubit].append((_ROTATIONS[name], len(self.angles) - 1))
        else:
            self._one_qubit_matrix(qubit, transfer_matrix(operation))
        self._one_qubit_matrix(qubit, error)

    def _one_qubit_matrix(self, qubit: int, matrix: np.ndarray | None) -> None:
        if matrix is None:
            return
        pending = self.pending[qubit]
        if pending and pending[-1][0] == kernel.MATRIX:  # constant maps in a row become one
            self.matrices[pending[-1][1]] = matrix @ self.matrices[pending[-1][1]]
            return
        self.matrices.append(matrix)
        pending.append((kernel.MATRIX, len(self.matrices) - 1))

    def _two_qubit(
        self, operation: object, qubits: tuple[int, ...], error: np.ndarray | None
    ) -> None:
        a, b = qubits
        if any(isinstance(p, ParameterExpression) and p.parameters for p in operation.params):  # type: ignore[attr-defined]
            if operation.name != "rzz":  # type: ignore[attr-defined]
                raise UnsupportedCircuitError(
                    "Expected no free parameters in two-qubit gates other than rzz, got a "
                    f"parametrised {operation.name!r}."  # type: ignore[attr-defined]
                )
            self._two_qubit(CXGate(), qubits, None)  # RZZ is RZ between two CX
            self.angles.append(affine_angle(operation.params[0], self.column))  # type: ignore[attr-defined]
            self.pending[b].append((_ROTATIONS["rz"], len(self.angles) - 1))
            self._two_qubit(CXGate(), qubits, error)
            return
        gate = transfer_matrix(operation)  # index 4·(Pauli of b) + (Pauli of a)
        clifford, parts = _signed_permutation(gate), _factor_error(error)
        where = (a, b, self._close(a), self._close(b))
        if clifford is None or parts is None:
            self.dense.append(gate if error is None else error @ gate)
            self.gates.append(Gate(kernel.DENSE, *where, len(self.dense) - 1))
            return
        destination, sign = clifford
        scale, map_a, map_b = parts
        self.tables.append((destination, sign * scale[destination]))
        self.gates.append(Gate(kernel.TABLE, *where, len(self.tables) - 1))
        self._one_qubit_matrix(a, map_a)
        self._one_qubit_matrix(b, map_b)

    def _close(self, qubit: int) -> int:
        start = len(self.steps)
        self.steps.extend(self.pending[qubit])
        self.pending[qubit] = []
        self.segments.append((start, len(self.steps)))
        return len(self.segments) - 1

    def _even(self) -> bool:
        """Return whether no gate and no error turns a component with even Y into one with odd."""
        odd = np.arange(4) == 2
        kept = [np.zeros((4, 4)), np.zeros((16, 16))]
        odd_pair = odd[:, np.newaxis] ^ odd  # of the index 4·(Pauli of b) + (Pauli of a)
        for mask, mixed in zip(kept, (odd, odd_pair.ravel()), strict=True):
            mask[...] = mixed[:, np.newaxis] != mixed
        return (
            all(kind in (kernel.MATRIX, kernel.ROT_Y) for kind, _ in self.steps)
            and not any((np.abs(matrix) * kept[0]).any() for matrix in self.matrices)
            and not self.dense
            and not any(kept[1][destination, np.arange(16)].any() for destination, _ in self.tables)
        )


def affine_angle(angle: ParameterExpression, column: Mapping[str, int]) -> tuple[np.ndarray, float]:
    """Return slopes (P,) and offset of an angle, radians, by the columns of parameters.

    Raises:
        UnsupportedCircuitError: It is not affine in its parameters.
    """
    row = np.zeros(len(column))
    for parameter in angle.parameters:
        slope = angle.gradient(parameter)
        if isinstance(slope, ParameterExpression) and slope.parameters:
            raise UnsupportedCircuitError(f"Expected angles affine in the parameters, got {angle}.")
        row[column[parameter.name]] = float(slope)
    return row, float(angle.bind(dict.fromkeys(angle.parameters, 0.0)))


def transfer_matrix(operation: object) -> np.ndarray:
    """Return the real Pauli transfer matrix (4^k, 4^k) of a gate or a channel.

    Index 4·(Pauli of the second qubit) + (Pauli of the first), in the order I, X, Y, Z.
    """
    channel = operation if isinstance(operation, PTM) else PTM(Operator(operation))
    return np.ascontiguousarray(np.real(channel.data))


def _signed_permutation(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return where a Clifford gate sends each Pauli, and with which sign; None for others."""
    destination = np.abs(matrix).argmax(axis=0)
    sign = matrix[destination, np.arange(16)].round()
    rebuilt = np.zeros((16, 16))
    rebuilt[destination, np.arange(16)] = sign
    if np.allclose(rebuilt, matrix, atol=1e-12):
        return destination, sign
    return None


def _factor_error(
    error: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None] | None:
    """Split a two-qubit error into a Pauli channel followed by a map on each qubit.

    Returns the factors (16,) of the first and the two (4, 4) maps, or None where it does not split.
    Depolarising errors and their composition with relaxation, which is what calibrations give, do.
    """
    if error is None:
        return np.ones(16), None, None
    if np.allclose(error, np.diag(np.diag(error)), atol=1e-13):
        return np.diag(error).copy(), None, None
    if abs(error[15, 15]) < 1e-9:
        return None
    factor = error[3, 3] * error[12, 12] / error[15, 15]
    if abs(factor) < 1e-9:
        return None
    map_a, map_b = error[:4, :4] / factor, error[::4, ::4] / factor
    map_a[:, 0], map_b[:, 0] = error[:4, 0], error[::4, 0]
    scale = np.full(16, factor)
    scale[0] = 1.0
    if np.allclose(np.kron(map_b, map_a) @ np.diag(scale), error, atol=1e-12):
        return scale, map_a, map_b
    return None
