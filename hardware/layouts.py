"""One circuit on the shapes of a chip: transpiled once a shape, priced by the calibration.

The price of a laying is the expected number of errors of one run there: minus the logarithm of the
probability that every gate, every read-out and every idle period succeeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import rustworkx as rx
from qiskit import transpile
from qiskit.circuit import Gate, QuantumCircuit
from qiskit.transpiler import InstructionProperties, Target

from hardware.backends import DEAD_ERROR
from hardware.errors import PlanError
from hardware.gates import opened
from hardware.hashing import circuit_digest
from hardware.regions import Edge, Shape
from hardware.transpile import TRANSPILER_SEED

#: Shapes that are transpiled; on heavy-hex chips all of them.
MAX_SHAPES = 40
#: Transpilations of each shape, of which the one with the fewest two-qubit gates is kept.
TRIALS = 3


@dataclass(frozen=True, eq=False)
class Device:
    """What pricing needs of a calibration, as arrays.

    Args:
        one: Name of each one-qubit gate, as in the target.
        two: Name of the two-qubit gate.
        edges: Working edges, smaller qubit first.
        gate_loss: -log(1 - error) of SX by qubit, shape (n,).
        readout_loss: The same of the read-out, shape (n,).
        edge_loss: The same of the two-qubit gate, shape (n, n), symmetric; infinite elsewhere.
        decay: Expected loss of an idle qubit, per second, shape (n,).
        durations: Typical duration of each gate, seconds.
    """

    num_qubits: int
    one: tuple[str, ...]
    two: str
    edges: tuple[Edge, ...]
    gate_loss: np.ndarray
    readout_loss: np.ndarray
    edge_loss: np.ndarray
    decay: np.ndarray
    durations: dict[str, float]

    @classmethod
    def of(cls, target: Target) -> Device:
        """Read a working target.

        Raises:
            PlanError: It has no calibrated two-qubit gate.
        """
        one, pairs = [], {}
        for name in sorted(target.operation_names):
            operation = target.operation_from_name(name)
            if not isinstance(operation, Gate) or (operation.params and operation.num_qubits == 2):
                continue
            if operation.num_qubits == 1:
                one.append(name)
            elif operation.num_qubits == 2 and None not in (target[name] or {None: None}):
                pairs[name] = target[name]
        if not pairs:
            raise PlanError("Expected a device with a calibrated two-qubit gate, got none.")
        two = max(pairs, key=lambda name: len(pairs[name]))
        num_qubits = target.num_qubits
        edge_loss = np.full((num_qubits, num_qubits), np.inf)
        for (a, b), properties in pairs[two].items():
            loss = _loss(properties)
            edge_loss[a, b] = edge_loss[b, a] = min(loss, edge_loss[a, b])
        gate_loss = _losses(target, "sx", num_qubits)
        readout_loss = _losses(target, "measure", num_qubits)
        alive = np.isfinite(gate_loss) & np.isfinite(readout_loss)
        edges = [
            (a, b)
            for a, b in zip(*np.nonzero(np.isfinite(edge_loss)), strict=True)
            if a < b and alive[a] and alive[b]
        ]
        return cls(
            num_qubits=num_qubits,
            one=tuple(one),
            two=two,
            edges=tuple((int(a), int(b)) for a, b in edges),
            gate_loss=gate_loss,
            readout_loss=readout_loss,
            edge_loss=edge_loss,
            decay=_decay(target),
            durations={name: _duration(target, name) for name in (*one, two, "measure")},
        )


@dataclass(frozen=True, eq=False)
class ShapeCircuit:
    """A circuit transpiled for a shape.

    Args:
        circuit: Unitary circuit of the device's gates on the shape's qubits, parameters kept.
        final: Qubit of the shape that holds each qubit of the original circuit at the end.
        duration: Time from the first gate to the last, seconds.
        edge_uses: Two-qubit gates on each of the shape's edges.
        gate_uses: One-qubit gates with an error on each qubit.
        idle: Idle time of each qubit while others work, seconds.
    """

    circuit: QuantumCircuit
    final: tuple[int, ...]
    duration: float
    edge_uses: np.ndarray
    gate_uses: np.ndarray
    idle: np.ndarray

    @property
    def num_two_qubit_gates(self) -> int:
        """Two-qubit gates of one run."""
        return int(self.edge_uses.sum())


def promising(
    shapes: Sequence[Shape], circuit: QuantumCircuit, limit: int = MAX_SHAPES
) -> list[int]:
    """Return the shapes worth transpiling for: those the circuit fits, then the best connected."""
    interaction = rx.PyGraph(multigraph=False)
    interaction.add_nodes_from(range(circuit.num_qubits))
    for step in circuit.data:
        if len(step.qubits) == 2:
            a, b = (circuit.find_bit(q).index for q in step.qubits)
            interaction.add_edge(a, b, None)

    def rank(index: int) -> tuple[bool, int, int]:
        graph = rx.PyGraph(multigraph=False)
        graph.add_nodes_from(range(shapes[index].num_qubits))
        graph.add_edges_from_no_data(list(shapes[index].edges))
        fits = rx.is_subgraph_isomorphic(graph, interaction, induced=False, call_limit=20_000)
        return (not fits, -len(shapes[index].edges), -len(shapes[index].layings))

    if len(shapes) <= limit:
        return list(range(len(shapes)))
    return sorted(range(len(shapes)), key=rank)[:limit]


def fit(circuit: QuantumCircuit, shape: Shape, device: Device, level: int) -> ShapeCircuit:
    """Transpile a circuit for a shape; remembered, since plans of one head ask again and again."""
    circuit = opened(circuit)  # the transpiler knows gates by name
    key = (circuit_digest(circuit), shape.edges, device.one, device.two, level)
    if key not in _fitted:
        if len(_fitted) >= _MAX_FITTED:
            _fitted.clear()
        _fitted[key] = _fit(circuit, shape, device, level)
    return _fitted[key]


_MAX_FITTED = 512
_fitted: dict[tuple[object, ...], ShapeCircuit] = {}


def _fit(circuit: QuantumCircuit, shape: Shape, device: Device, level: int) -> ShapeCircuit:
    target = shape_target(shape, device)
    trials = [
        transpile(
            circuit,
            target=target,
            optimization_level=level,
            seed_transpiler=TRANSPILER_SEED + trial,
        )
        for trial in range(TRIALS)
    ]
    best = min(trials, key=lambda isa: (isa.num_nonlocal_gates(), isa.depth()))
    final = (
        tuple(best.layout.final_index_layout()) if best.layout else tuple(range(circuit.num_qubits))
    )
    return _measure_uses(best, final, shape, device)


def shape_target(shape: Shape, device: Device) -> Target:
    """Return a target of a shape: the device's gates, all equally good, edges both ways."""
    from qiskit.circuit.library import get_standard_gate_name_mapping

    gates = get_standard_gate_name_mapping()
    target = Target(num_qubits=shape.num_qubits)
    for name in device.one:
        properties = InstructionProperties(error=1e-4, duration=device.durations[name])
        target.add_instruction(
            gates[name], dict.fromkeys([(q,) for q in range(shape.num_qubits)], properties)
        )
    if not shape.edges:
        return target
    properties = InstructionProperties(error=1e-3, duration=device.durations[device.two])
    both = [edge for a, b in shape.edges for edge in ((a, b), (b, a))]
    target.add_instruction(gates[device.two], dict.fromkeys(both, properties))
    return target


def _measure_uses(
    circuit: QuantumCircuit, final: tuple[int, ...], shape: Shape, device: Device
) -> ShapeCircuit:
    edge_index = {frozenset(edge): i for i, edge in enumerate(shape.edges)}
    edge_uses = np.zeros(len(shape.edges), dtype=np.int64)
    gate_uses = np.zeros(shape.num_qubits, dtype=np.int64)
    clock, busy = np.zeros(shape.num_qubits), np.zeros(shape.num_qubits)
    first = np.full(shape.num_qubits, np.inf)
    for step in circuit.data:
        name = step.operation.name
        if name == "barrier":
            continue
        qubits = [circuit.find_bit(q).index for q in step.qubits]
        if len(qubits) == 2:
            edge_uses[edge_index[frozenset(qubits)]] += 1
        elif device.durations[name] > 0:  # RZ takes no time and has no error
            gate_uses[qubits[0]] += 1
        start = clock[qubits].max()
        first[qubits] = np.minimum(first[qubits], start)
        clock[qubits] = start + device.durations[name]
        busy[qubits] += device.durations[name]
    duration = float(clock.max())
    # A qubit that has not been touched is in its ground state and does not decay.
    idle = np.where(np.isfinite(first), duration - first - busy, 0.0)
    return ShapeCircuit(circuit, final, duration, edge_uses, gate_uses, idle)


def prices(
    fitted: ShapeCircuit, shape: Shape, device: Device, measured: Sequence[int]
) -> np.ndarray:
    """Return the expected number of errors of every laying of a shape, shape (L,)."""
    lay = shape.layings
    ends = np.array(shape.edges, dtype=np.int64).reshape(-1, 2)
    loss = device.edge_loss[lay[:, ends[:, 0]], lay[:, ends[:, 1]]] @ fitted.edge_uses
    loss = loss + device.gate_loss[lay] @ fitted.gate_uses + device.decay[lay] @ fitted.idle
    read = [fitted.final[qubit] for qubit in measured]
    return loss + device.readout_loss[lay[:, read]].sum(axis=1)


def _loss(properties: InstructionProperties | None) -> float:
    error = properties.error if properties is not None else None
    if error is None:
        return 0.0
    return float("inf") if error >= DEAD_ERROR else -float(np.log1p(-error))


def _losses(target: Target, name: str, num_qubits: int) -> np.ndarray:
    instances = target.get(name, {})
    return np.array(
        [
            _loss(instances[q,]) if (q,) in instances else np.inf
            for q in range(num_qubits)
        ]
    )  # fmt: skip


def _decay(target: Target) -> np.ndarray:
    """Loss of an idle qubit per second: relaxation has infidelity t/6T₁ + t/3T₂ for small t."""
    rates = np.zeros(target.num_qubits)
    for qubit, properties in enumerate(target.qubit_properties or ()):
        if properties is not None and properties.t1 and properties.t2:
            t2 = min(properties.t2, 2 * properties.t1)
            rates[qubit] = 1 / (6 * properties.t1) + 1 / (3 * t2)
    return rates


def _duration(target: Target, name: str) -> float:
    known = [p.duration for p in (target[name] or {}).values() if p is not None and p.duration]
    return float(median(known)) if known else 0.0
