"""Pictures of a chip and the tiles of a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import rustworkx as rx
from qiskit.providers import BackendV2

from hardware.devices.backends import working_target
from hardware.devices.error_map import ErrorMap
from hardware.planning.plan import JobPlan, Tile
from hardware.words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure


#: Longest edge of rows of qubits, in distances of neighbours; a longer one crosses others.
MAX_EDGE = 2.5
#: Qubits from which on rows are kept all the same: springs fold a large lattice.
MANY = 40


def qubit_positions(edges: Sequence[tuple[int, int]], num_qubits: int) -> np.ndarray:
    """Return a position for every qubit of a chip, shape (n, 2), from its edges alone.

    IBM numbers qubits row by row: a run of consecutive, connected numbers is a row; qubits without
    such a neighbour are the bridges between rows. Other numberings, among them those that would
    leave an edge long or hidden, get a spring layout.
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
    if np.isnan(positions).any():
        return _spring(edges, num_qubits)
    ends = positions[np.array(edges, dtype=int).reshape(-1, 2)]
    across, down = np.abs(ends[:, 0] - ends[:, 1]).T
    hidden = (down == 0) & (across > 1)  # behind the qubits of its row
    unreadable = (hidden | (across + down > MAX_EDGE)).any() and num_qubits < MANY
    return _spring(edges, num_qubits) if unreadable else positions


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
    """Return positions by springs, connected parts beside each other."""
    graph = rx.PyGraph()
    graph.add_nodes_from(range(num_qubits))
    graph.add_edges_from_no_data(list(edges))
    positions = np.zeros((num_qubits, 2))
    right = 0.0
    for part in sorted(map(sorted, rx.connected_components(graph)), key=len, reverse=True):
        laid = _spring_part(graph.subgraph(part))
        positions[part] = laid - laid.min(axis=0) + (right, 0)
        right = positions[part, 0].max() + 1.5
    return positions


def _spring_part(graph: rx.PyGraph) -> np.ndarray:
    """Return positions of a connected graph, begun where distances are best kept in the plane."""
    n = graph.num_nodes()
    if n == 1:
        return np.zeros((1, 2))
    squares = rx.distance_matrix(graph) ** 2
    middle = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(-0.5 * middle @ squares @ middle)  # classical scaling
    start = vectors[:, -2:] * np.sqrt(np.maximum(values[-2:], 0))
    laid = rx.spring_layout(graph, pos=dict(enumerate(start)), seed=1, num_iter=200)
    positions = np.array([laid[q] for q in range(n)])
    return positions / _spacing(positions, graph.edge_list())


def _spacing(positions: np.ndarray, edges: Sequence[tuple[int, int]]) -> float:
    """Return the distance to make one: short enough an edge, and qubits that do not touch."""
    ends = positions[np.array(edges, dtype=int).reshape(-1, 2)]
    lengths = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    nearest = float(apart[np.triu_indices(len(positions), 1)].min())
    return max(min(float(np.median(lengths)) if len(lengths) else np.inf, nearest / 0.8), 1e-9)


# Inches of the picture.
_UNIT = 0.55  # between neighbours
_SIDE, _HEAD, _FOOT = 0.5, 0.95, 1.0
_LEAST_WIDTH = 6.4  # of the words


def draw_plan(plan: JobPlan, backend: BackendV2) -> Figure:
    """Return a picture of the chip with the plan's tiles coloured by their expected error.

    Grey qubits are idle, red lines are edges that do not work, a ring marks measured qubits.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    working = set(ErrorMap.of(working_target(backend)).edges)
    coupled = working if backend.coupling_map is None else backend.coupling_map.get_edges()
    every = sorted({tuple(sorted(pair)) for pair in coupled})
    positions = qubit_positions(every, backend.num_qubits)
    errors = [_shade(tile) for tile in plan.tiles]
    scale = Normalize(min(errors), max(max(errors), min(errors) + 1e-3))
    shades = ScalarMappable(scale, "viridis")
    low, high = positions.min(axis=0), positions.max(axis=0)
    chip = _UNIT * (high - low)  # width and height, inches
    width = max(_LEAST_WIDTH, chip[0] + 2 * _SIDE)
    height = chip[1] + 2 * _SIDE + _HEAD + _FOOT
    figure = Figure(figsize=(width, height))
    # The axes' inches are those of the chip, so that circles and words have one size on all chips.
    axes = figure.add_axes((0, _FOOT / height, 1, (chip[1] + 2 * _SIDE) / height))
    axes.axis("off")
    centre = (low + high) / 2
    half = np.array([width, chip[1] + 2 * _SIDE]) / (2 * _UNIT)
    axes.set_xlim(centre[0] - half[0], centre[0] + half[0])
    axes.set_ylim(centre[1] - half[1], centre[1] + half[1])
    _draw_chip(axes, plan, every, working, positions, shades)
    many, size = len(plan.tiles), len(plan.tiles[0].qubits)
    figure.text(
        0.5, 1 - 0.25 / height, f"{counted(many, 'tile')} of {counted(size, 'qubit')} on "
        f"{plan.backend}", ha="center", va="top", fontsize=13,
    )  # fmt: skip
    figure.text(
        0.5, 1 - 0.58 / height, "rings: measured qubits; grey: idle; red: edges that do not work",
        ha="center", va="top", fontsize=9, color="0.3",
    )  # fmt: skip
    label = "expected error of one run on the tile"
    unknown = plan.tiles[0].expected_error is None
    if unknown or max(errors) - min(errors) < 1e-4:
        value = "unknown" if unknown else f"{errors[0]:.2%}"
        figure.text(0.5, 0.5 / height, f"{label}: {value}", ha="center", fontsize=10)
        return figure
    bar = min(5.0, width - 1.4)
    place = ((width - bar) / 2 / width, 0.65 / height, bar / width, 0.13 / height)
    scale_bar = figure.colorbar(
        shades, cax=figure.add_axes(place), orientation="horizontal",
        ticks=np.linspace(scale.vmin or 0.0, scale.vmax or 0.0, 4), format="{x:.2%}",
    )  # fmt: skip
    scale_bar.set_label(label)
    return figure


def _draw_chip(
    axes: Axes,
    plan: JobPlan,
    every: Sequence[tuple[int, ...]],
    working: set[tuple[int, int]],
    positions: np.ndarray,
    shades: ScalarMappable,
) -> None:
    """Draw edges, qubits with their numbers, and rings around the measured ones."""
    colour_of = {tile: tuple(shades.to_rgba(np.array(_shade(tile)))) for tile in plan.tiles}
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
    ends = [tile.final_layout[qubit] for tile in plan.tiles for qubit in used]
    x, y = positions[ends].T
    axes.scatter(x, y, s=300, facecolors="none", edgecolors="black", linewidths=1.8, zorder=3)


def _shade(tile: Tile) -> float:
    """Return what a tile is coloured by: its expected error, all alike where that is unknown."""
    return 0.0 if tile.expected_error is None else tile.expected_error


def _support(observable: object) -> set[int]:
    terms = observable.to_sparse_list()  # type: ignore[attr-defined]
    return {qubit for _, qubits, _ in terms for qubit in qubits}
