"""One circuit on the shapes of a chip: transpiled once a shape, priced by the calibration.

The price of a placement is the expected number of errors of one run there: minus the logarithm of
the probability that every gate, every read-out and every idle period succeeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import rustworkx as rx
from qiskit import transpile
from qiskit.circuit import QuantumCircuit
from qiskit.transpiler.exceptions import TranspilerError

from hardware.circuits.hashing import canonical_circuit, circuit_digest
from hardware.circuits.transforms import TRANSPILER_SEED
from hardware.devices.error_map import ErrorMap, GateSet
from hardware.devices.scheduling import Step, waits
from hardware.errors import PlanError
from hardware.planning.regions import Edge, Shape

#: Shapes that are transpiled; on heavy-hex chips all of them.
MAX_SHAPES = 40
#: Transpilations of each shape, of which the one with the fewest two-qubit gates is kept.
TRIALS = 3


@dataclass(frozen=True, eq=False)
class TranspiledShape:
    """A circuit transpiled for a shape.

    Args:
        circuit: Unitary circuit of the device's gates on the shape's qubits, parameters kept.
        final: Qubit of the shape that holds each qubit of the original circuit at the end.
    """

    circuit: QuantumCircuit
    final: tuple[int, ...]

    @property
    def num_two_qubit_gates(self) -> int:
        """Two-qubit gates of one run."""
        return int(self.circuit.num_nonlocal_gates())


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
        return (not fits, -len(shapes[index].edges), -len(shapes[index].placements))

    if len(shapes) <= limit:
        return list(range(len(shapes)))
    return sorted(range(len(shapes)), key=rank)[:limit]


def transpile_on(
    circuit: QuantumCircuit, shape: Shape, gates: GateSet, level: int
) -> TranspiledShape:
    """Transpile a circuit for a shape; remembered, since plans of one head ask again and again.

    Nothing but what the key holds takes part: not the device's errors and durations, and of the
    circuit not its registers or the identity of its parameters.
    """
    key = (circuit_digest(circuit), shape.num_qubits, shape.edges, gates, level)
    if key not in _transpiled:
        if len(_transpiled) >= _MAX_TRANSPILED:
            _transpiled.clear()
        _transpiled[key] = _transpile_on(
            canonical_circuit(circuit), shape.num_qubits, shape.edges, gates, level
        )
    return _transpiled[key]


_MAX_TRANSPILED = 512
_transpiled: dict[tuple[object, ...], TranspiledShape] = {}


def _transpile_on(
    circuit: QuantumCircuit, num_qubits: int, edges: Sequence[Edge], gates: GateSet, level: int
) -> TranspiledShape:
    target = gates.on(num_qubits, edges)
    try:
        trials = [
            transpile(
                circuit,
                target=target,
                optimization_level=level,
                seed_transpiler=TRANSPILER_SEED + trial,
            )
            for trial in range(TRIALS)
        ]
    except TranspilerError as error:
        raise PlanError(
            f"The device's working gates ({', '.join(target.operation_names)}) cannot express the "
            f"circuit: choose another device. Qiskit says: {error}"
        ) from error
    best = min(trials, key=lambda isa: (isa.num_nonlocal_gates(), isa.depth()))
    final = best.layout.final_index_layout() if best.layout else range(circuit.num_qubits)
    return TranspiledShape(best, tuple(final))


@dataclass(frozen=True, eq=False)
class Prices:
    """What one run of a circuit costs on each placement of a shape.

    Args:
        errors: Expected number of errors, shape (L,).
        seconds: Time from the first gate to the read-out, shape (L,).
    """

    errors: np.ndarray
    seconds: np.ndarray


def prices(
    transpiled: TranspiledShape, shape: Shape, device: ErrorMap, measured: Sequence[int]
) -> Prices:
    """Return the price of every placement of a shape: gates, read-out and idle time.

    Idle time is that of `hardware.devices.scheduling`. A qubit's waits are priced together, by the
    average fidelity of relaxation for as long.
    """
    lay = shape.placements
    places = len(lay)
    loss = np.zeros(places)
    steps: list[Step] = []
    for step in transpiled.circuit.data:
        name = step.operation.name
        if name == "barrier":
            continue
        qubits = [transpiled.circuit.find_bit(q).index for q in step.qubits]
        if len(qubits) == 2:
            edge = lay[:, qubits[0]], lay[:, qubits[1]]
            loss += device.edge_losses[name][edge]
            steps.append((qubits, device.edge_times[name][edge]))
        else:
            loss += device.losses[name][lay[:, qubits[0]]]
            steps.append((qubits, device.times[name][lay[:, qubits[0]]]))
    read = [transpiled.final[qubit] for qubit in measured]
    loss += device.losses["measure"][lay[:, read]].sum(axis=1)
    pauses, seconds = waits(steps, shape.num_qubits, read, places)
    idle = np.zeros((shape.num_qubits, places))
    for (where, _), pause in zip(steps, pauses, strict=True):
        idle[list(where)] += pause
    slow, fast = np.exp(-device.relaxation[:, lay.T] * idle)  # exp(-t/T₁), exp(-t/T₂)
    loss -= np.log((3.0 + slow + 2.0 * fast) / 6.0).sum(axis=0)
    unknown = ~np.isfinite(loss)  # a gate that is not known to work there has no time either
    return Prices(np.where(unknown, np.inf, loss), np.where(unknown, np.inf, seconds))
