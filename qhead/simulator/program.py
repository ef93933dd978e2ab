"""From a Qiskit circuit to the rows of operations that the kernels run.

Compilation keeps only what the measured qubits can see: gates outside their light cone are dropped,
and so are qubits that no kept gate touches. Measured qubits become the top bits of the amplitude
index, so that a measured value is one contiguous run of amplitudes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from qiskit import transpile
from qiskit.circuit import AnnotatedOperation, Gate, ParameterExpression, QuantumCircuit
from qiskit.exceptions import QiskitError
from scipy import sparse

from hardware.circuits.definitions import opened
from hardware.errors import UnsupportedCircuitError
from qhead.errors import SimulationError
from qhead.simulator import kernels as k

_ROOT = np.sqrt(0.5)
_CONSTANT: dict[str, np.ndarray] = {
    "x": np.array([[0, 1], [1, 0]]),
    # Up to a global phase, which no observable sees (Y is controlled only after decomposition).
    "y": np.array([[0, -1], [1, 0]]),
    "z": np.array([[1, 0], [0, -1]]),
    "h": np.array([[_ROOT, _ROOT], [_ROOT, -_ROOT]]),
    "s": np.array([[1, 0], [0, 1j]]),
    "sdg": np.array([[1, 0], [0, -1j]]),
    "t": np.array([[1, 0], [0, np.exp(0.25j * np.pi)]]),
    "tdg": np.array([[1, 0], [0, np.exp(-0.25j * np.pi)]]),
    "sx": np.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2,
    "sxdg": np.array([[1 - 1j, 1 + 1j], [1 + 1j, 1 - 1j]]) / 2,
}
_CONTROLLED = {"cx": "x", "cz": "z", "ch": "h"}
_ROTATION = {"ry": k.RY, "rx": k.RX, "rz": k.RZ, "p": k.PHASE}
_CONTROLLED_ROTATION = {"cry": k.RY, "crx": k.RX, "crz": k.RZ, "cp": k.PHASE}
_SKIPPED = {"barrier", "id", "delay"}
#: Gates simulated as they are; any other is decomposed into these.
NATIVE_GATES = (*_CONSTANT, *_CONTROLLED, *_ROTATION, *_CONTROLLED_ROTATION, "swap", "id")


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation: a kind of `kernels`, its qubits, and an angle or a constant matrix."""

    kind: int
    target: int
    control: int | None = None
    angle: ParameterExpression | float | None = None
    matrix: np.ndarray | None = None  # (2, 2) complex

    @property
    def qubits(self) -> tuple[int, ...]:
        """The qubits it touches."""
        return (self.target,) if self.control is None else (self.control, self.target)


@dataclass(frozen=True, eq=False)
class AngleMap:
    """Angles of all parametrised operations as functions of a circuit's parameters.

    Affine ones, nearly all in practice, are one sparse product. Others are bound and
    differentiated by Qiskit, sample by sample: correct, and slow.
    """

    linear: sparse.csr_array  # (S, P), d angle / d parameter
    offset: np.ndarray  # (S,), radians
    curved: tuple[tuple[int, ParameterExpression], ...]  # (slot, expression)
    names: tuple[str, ...]  # P parameter names, the columns of the values

    @cached_property
    def _transposed(self) -> sparse.csr_array:  # making it takes as long as the product
        return sparse.csr_array(self.linear.T)

    def angles(self, values: np.ndarray) -> np.ndarray:
        """Return angles (S, B), radians, for parameter values (B, P)."""
        angles = self.linear @ values.T + self.offset[:, None]
        for slot, expression in self.curved:
            angles[slot] = [float(expression.bind(b)) for b in self._bindings(expression, values)]
        return angles

    def pull_back(self, values: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        """Return d/d parameter (B, R, P) from d/d angle (S, B, R)."""
        slots, batch, rows = gradient.shape
        flat = self._transposed @ gradient.reshape(slots, batch * rows)  # (P, B R)
        result = flat.reshape(len(self.names), batch, rows)
        if not self.curved:
            return np.moveaxis(result, 0, 2)
        column = {name: i for i, name in enumerate(self.names)}
        for slot, expression in self.curved:
            for parameter in expression.parameters:
                slope = expression.gradient(parameter)
                for b, binding in enumerate(self._bindings(expression, values)):
                    value = slope
                    if isinstance(slope, ParameterExpression):
                        own = {p: binding[p] for p in slope.parameters}
                        value = slope.bind(own)
                    result[column[parameter.name], b] += float(value) * gradient[slot, b]
        return np.moveaxis(result, 0, 2)

    def _bindings(self, expression: ParameterExpression, values: np.ndarray) -> Iterator[dict]:
        column = {name: i for i, name in enumerate(self.names)}
        for row in values:
            yield {p: float(row[column[p.name]]) for p in expression.parameters}


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled circuit: what the kernels run to get the probabilities of measured values.

    `measured` lists the measured qubits, first the one of the lowest bit of a measured value.
    `index` maps amplitudes of the circuit's own order to the simulator's; None where qubits may
    have been dropped, and the circuit starts in |0…0>.
    """

    num_qubits: int  # simulated
    num_circuit_qubits: int
    measured: tuple[int, ...]
    operations: np.ndarray  # (G, 4) int64: kind, target, control or -1, slot
    matrices: np.ndarray  # (G, 8) float64
    angle_map: AngleMap
    half: np.ndarray  # (S,), 0.5 for rotations, 1 for phases
    real: bool
    index: np.ndarray | None  # (2^n,)


def light_cone(operations: Sequence[Operation], measured: Sequence[int]) -> list[Operation]:
    """Return the operations that can change the statistics of the measured qubits, in order."""
    live = set(measured)
    kept = []
    for operation in reversed(operations):
        if not live.isdisjoint(operation.qubits):
            live.update(operation.qubits)
            kept.append(operation)
    return kept[::-1]


def fuse(operations: Sequence[Operation]) -> list[Operation]:
    """Merge each CX with an RY that comes next on its target into one operation."""
    result: list[Operation | None] = []
    open_cx: dict[int, int] = {}  # target -> place of a CX that nothing followed there yet
    for operation in operations:
        place = open_cx.get(operation.target)
        if operation.kind == k.RY and operation.control is None and place is not None:
            cx = result[place]
            assert cx is not None
            result[place] = replace(cx, kind=k.CX_RY, angle=operation.angle, matrix=None)
            del open_cx[operation.target]
            continue
        for qubit in operation.qubits:
            open_cx.pop(qubit, None)
        if operation.matrix is _CONSTANT["x"] and operation.control is not None:
            open_cx[operation.target] = len(result)
        result.append(operation)
    return [operation for operation in result if operation is not None]


def compile_circuit(
    circuit: QuantumCircuit, measured: Sequence[int], *, keep_qubits: bool = False
) -> Program:
    """Compile a unitary circuit for the statistics of some of its qubits.

    Args:
        circuit: Circuit without measurements; parameters may be free.
        measured: Qubits whose values are asked for, lowest bit first, each once.
        keep_qubits: Keep all qubits, as initial states given by the caller need.

    Raises:
        SimulationError: The circuit holds something that is not a unitary gate.
    """
    kept = light_cone(list(read_operations(circuit)), measured)
    if keep_qubits:
        used = set(range(circuit.num_qubits))
    else:
        used = set(measured).union(*(operation.qubits for operation in kept))
    rest = sorted(used - set(measured))
    place = {qubit: i for i, qubit in enumerate([*rest, *measured])}
    operations = fuse(kept)
    slots = [operation.angle for operation in operations if operation.angle is not None]
    rows, matrices = [], []
    half: list[float] = []
    for operation in operations:
        control = -1 if operation.control is None else place[operation.control]
        parametrised = operation.angle is not None
        slot = len(half) if parametrised else 0
        if parametrised:
            half.append(1.0 if operation.kind == k.PHASE else 0.5)
        rows.append((operation.kind, place[operation.target], control, slot))
        flat = np.zeros(4, complex) if operation.matrix is None else operation.matrix.ravel()
        matrices.append(np.stack([flat.real, flat.imag], axis=1).ravel())
    return Program(
        num_qubits=len(place),
        num_circuit_qubits=circuit.num_qubits,
        measured=tuple(measured),
        operations=np.array(rows, np.int64).reshape(-1, 4),
        matrices=np.array(matrices, np.float64).reshape(-1, 8),
        angle_map=_angle_map(slots, tuple(p.name for p in circuit.parameters)),
        half=np.array(half),
        real=all(operation.kind < k.FIXED_COMPLEX for operation in operations),
        index=_amplitude_index(place) if keep_qubits else None,
    )


def _amplitude_index(place: dict[int, int]) -> np.ndarray:
    old = np.arange(2 ** len(place))
    new = np.zeros_like(old)
    for qubit, bit in place.items():
        new |= ((old >> qubit) & 1) << bit
    return new


def _angle_map(slots: Sequence[ParameterExpression | float], names: tuple[str, ...]) -> AngleMap:
    column = {name: i for i, name in enumerate(names)}
    linear = sparse.lil_array((len(slots), len(names)))
    offset = np.zeros(len(slots))
    curved = []
    for slot, angle in enumerate(slots):
        if not isinstance(angle, ParameterExpression):
            offset[slot] = float(angle)
            continue
        slopes = {p: angle.gradient(p) for p in angle.parameters}
        if any(isinstance(slope, ParameterExpression) for slope in slopes.values()):
            curved.append((slot, angle))
            continue
        for parameter, slope in slopes.items():
            linear[slot, column[parameter.name]] = float(np.real(slope))
        offset[slot] = float(angle.bind(dict.fromkeys(angle.parameters, 0.0)))
    return AngleMap(sparse.csr_array(linear), offset, tuple(curved), names)


def read_operations(circuit: QuantumCircuit) -> Iterator[Operation]:
    """Yield a circuit's gates as operations, decomposing those that are not native.

    Raises:
        SimulationError: Something in the circuit is not a unitary gate.
    """
    try:
        circuit = opened(circuit)
    except UnsupportedCircuitError as error:
        raise SimulationError(str(error)) from error
    for instruction in circuit.data:
        operation = instruction.operation
        if not isinstance(operation, Gate | AnnotatedOperation) and operation.name not in _SKIPPED:
            raise SimulationError(
                f"Expected a circuit of unitary gates, got {operation.name!r}: remove resets, "
                "mid-circuit measurements and control flow."
            )
    # From here on a name says what a gate is.
    if not {instruction.name for instruction in circuit.data} <= {*NATIVE_GATES, *_SKIPPED}:
        try:
            circuit = transpile(circuit, basis_gates=list(NATIVE_GATES), optimization_level=0)
        except QiskitError as error:
            raise SimulationError(
                f"Expected gates with a definition or a matrix, but Qiskit says: {error.message}"
            ) from error
    wire = {bit: i for i, bit in enumerate(circuit.qubits)}
    for instruction in circuit.data:
        name = instruction.name
        if name in _SKIPPED:
            continue
        qubits = tuple(wire[bit] for bit in instruction.qubits)
        if name == "swap":
            a, b = qubits
            for control, target in ((a, b), (b, a), (a, b)):
                yield Operation(k.FIXED_REAL, target, control, matrix=_CONSTANT["x"])
        elif name in _CONSTANT or name in _CONTROLLED:
            matrix = _CONSTANT[_CONTROLLED.get(name, name)]
            kind = k.FIXED_COMPLEX if np.iscomplex(matrix).any() else k.FIXED_REAL
            yield Operation(kind, qubits[-1], None if len(qubits) == 1 else qubits[0], None, matrix)
        elif name in _ROTATION:
            yield Operation(_ROTATION[name], qubits[0], angle=instruction.params[0])
        else:
            kind = _CONTROLLED_ROTATION[name]
            yield Operation(kind, qubits[1], qubits[0], angle=instruction.params[0])
