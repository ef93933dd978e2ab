"""Pictures of a chip and the tiles of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import rustworkx as rx
from qiskit.providers import BackendV2

from hardware.backends import working_target
from hardware.layouts import Device
from hardware.plan import JobPlan

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def qubit_positions(edges: Sequence[tuple[int, int]], num_qubits: int) -> np.ndarray:
    """Return a position for every qubit of a chip, shape (n, 2), from its edges alone.

    IBM numbers qubits row by row: a run of consecutive, connected numbers is a row; qubits without
    such a neighbour are the bridges between rows. Other numberings get a spring layout.
    """
    linked = {frozenset(edge) for edge in edges}
    follows = [frozenset((q, q + 1)) in linked for q in range(num_qubits - 1)]
    neighbours: dict[int, list[int]] = {q: [] for q in range(num_qubits)}
    for a, b in edges:
        neighbours[a].append(b)
        neighbours[b].append(a)
    positions = np.full((num_qubits, 2), np.nan)
    rows: list[list[int]] = []
    for qubit in range(num_qubits):
        if qubit and follows[qubit - 1]:
            rows[-1].append(qubit)
        else:
            rows.append([qubit])
    long = [row for row in rows if len(row) >= 5]
    if sum(map(len, long)) < 0.6 * num_qubits:
        return _spring(edges, num_qubits)
    for height, row in enumerate(long):
        shift = _shift(row, long[height - 1] if height else [], neighbours, positions)
        for place, qubit in enumerate(row):
            positions[qubit] = (place + shift, -2.0 * height)
    for _ in range(3):  # bridges, and short ends that hang on them
        for qubit in np.nonzero(np.isnan(positions[:, 0]))[0].tolist():
            known = [q for q in neighbours[qubit] if not np.isnan(positions[q, 0])]
            if known:
                positions[qubit] = positions[known].mean(axis=0)
                if len(known) == 1:
                    positions[qubit] += (0.0, -1.0 if known[0] < qubit else 1.0)
    return _spring(edges, num_qubits) if np.isnan(positions).any() else positions


def _shift(
    row: list[int], above: list[int], neighbours: dict[int, list[int]], positions: np.ndarray
) -> float:
    """Return the horizontal offset that puts a row under the one above: links stand upright."""
    offsets = []
    for place, qubit in enumerate(row):
        for other in neighbours[qubit]:
            near = [other] if other in above else [q for q in neighbours[other] if q in above]
            offsets += [positions[q, 0] - place for q in near if other not in row]
    return float(np.median(offsets)) if offsets else 0.0


def _spring(edges: Sequence[tuple[int, int]], num_qubits: int) -> np.ndarray:
    graph = rx.PyGraph()
    graph.add_nodes_from(range(num_qubits))
    graph.add_edges_from_no_data(list(edges))
    laid = rx.spring_layout(graph, seed=1, num_iter=300)
    return np.array([laid[q] for q in range(num_qubits)]) * 10


def draw_plan(plan: JobPlan, backend: BackendV2) -> Figure:
    """Return a picture of the chip with the plan's tiles coloured by their expected error.

    Grey qubits are idle, red lines are edges that do not work, a ring marks measured qubits.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    every = sorted({tuple(sorted(pair)) for pair in backend.coupling_map.get_edges()})
    working = set(Device.of(working_target(backend)).edges)
    positions = qubit_positions(every, backend.num_qubits)
    errors = [tile.expected_error for tile in plan.tiles]
    scale = Normalize(min(errors), max(max(errors), min(errors) + 1e-3))
    shades = ScalarMappable(scale, "viridis")
    colour_of = {tile: tuple(shades.to_rgba(np.array(tile.expected_error))) for tile in plan.tiles}
    width = float(np.ptp(positions[:, 0]))
    height = float(np.ptp(positions[:, 1]))
    figure = Figure(figsize=(1.5 + 0.55 * width, 1.6 + 0.55 * height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.axis("off")
    owner = {qubit: tile for tile in plan.tiles for qubit in tile.qubits}
    for a, b in every:
        x, y = positions[[a, b]].T
        if (a, b) not in working:
            axes.plot(x, y, color="tab:red", linewidth=1.2, zorder=1)
        elif a in owner and owner[a] is owner.get(b):
            axes.plot(x, y, color=colour_of[owner[a]], linewidth=5.0, zorder=1)
        else:
            axes.plot(x, y, color="0.75", linewidth=1.2, zorder=1)
    for qubit, (x, y) in enumerate(positions):
        tile = owner.get(qubit)
        face = colour_of[tile] if tile else (0.85, 0.85, 0.85, 1.0)
        dark = sum(face[:3]) < 1.5
        axes.scatter([x], [y], s=260, color=[face], zorder=2)
        axes.text(x, y, str(qubit), ha="center", va="center", fontsize=7, zorder=4,
                  color="white" if dark else "black")  # fmt: skip
    used = sorted({qubit for observable in plan.observables for qubit in _support(observable)})
    ends = [tile.ends[qubit] for tile in plan.tiles for qubit in used]
    x, y = positions[ends].T
    axes.scatter(x, y, s=300, facecolors="none", edgecolors="black", linewidths=1.8, zorder=3)
    bar = figure.colorbar(shades, ax=axes, shrink=0.6, location="bottom", aspect=40, pad=0.02)
    bar.set_label("expected error of one run on the tile")
    axes.set_title(
        f"{len(plan.tiles)} tiles of {len(plan.tiles[0].qubits)} qubits on {plan.backend}; "
        "black rings: measured, red: edges that do not work"
    )
    return figure


def _support(observable: object) -> set[int]:
    terms = observable.to_sparse_list()  # type: ignore[attr-defined]
    return {qubit for _, qubits, _ in terms for qubit in qubits}
