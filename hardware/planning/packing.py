"""Choose disjoint regions of a chip: exact by integer programming, greedy where time runs out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_matrix

from hardware.planning.regions import Edge

#: The search stops this close to the best total price.
PRICE_GAP = 0.05
#: Numbers of regions that are tried, from the upper bound down.
TRIES = 3


@dataclass(frozen=True)
class Packing:
    """Chosen regions.

    Args:
        chosen: Indices of the regions, cheapest first.
        exact: Whether the search ended before its time limit: no more regions fit, and no choice of
            as many is cheaper by more than `PRICE_GAP`.
    """

    chosen: tuple[int, ...]
    exact: bool


def pack(
    regions: Sequence[tuple[int, ...]],
    prices: np.ndarray,
    edges: Sequence[Edge],
    *,
    count: int | None,
    buffer: bool,
    seconds: float,
) -> Packing:
    """Choose disjoint regions: as many as fit, or `count`, at the lowest total price.

    Args:
        regions: Physical qubits of each region.
        prices: Price of each region, shape (R,), positive.
        edges: Edges of the chip.
        count: How many at most; None for as many as fit.
        buffer: Keep regions apart: no edge joins two of them.
        seconds: Time limit of each search.

    Returns:
        The regions; fewer than `count` if no more fit.
    """
    if count == 1 or len(regions) == 1:
        return Packing((int(np.argmin(prices)),), True)
    conflicts = _conflicts(regions, edges, buffer)
    best = _greedy(conflicts, prices)
    exact = True
    bound = _bound(conflicts)
    most = bound if count is None else min(count, bound)
    # On real chips the bound is reached; a try or two more below it, then greedy.
    for number in range(most, max(len(best), most - TRIES), -1):
        chosen, finished = _cheapest(conflicts, prices, number, seconds)
        exact &= finished
        if chosen is None and not finished:
            chosen = _most(conflicts, seconds)
            chosen = chosen if chosen is not None and len(chosen) > len(best) else best
        if chosen is not None:
            best = chosen[:most]
            break
    else:
        exact = exact and len(best) >= most
        if len(best) >= most:
            chosen, finished = _cheapest(conflicts, prices, most, seconds)
            best = best[:most] if chosen is None else chosen
            exact &= finished
    ordered = sorted((int(index) for index in best), key=lambda index: (prices[index], index))
    return Packing(tuple(ordered), exact)


def _bound(conflicts: csr_matrix) -> int:
    """Return how many regions fit at most, by the linear relaxation."""
    size = conflicts.shape[1]
    relaxed = linprog(
        -np.ones(size), A_ub=conflicts, b_ub=np.ones(conflicts.shape[0]), bounds=(0, 1)
    )
    return int(np.floor(-relaxed.fun + 1e-6))


def _conflicts(
    regions: Sequence[tuple[int, ...]], edges: Sequence[Edge], buffer: bool
) -> csr_matrix:
    """Return one row for each qubit, or with a buffer each edge, and a column for each region.

    At most one chosen region may touch a row.
    """
    num_qubits = 1 + max(max(region) for region in regions)
    touching: list[list[int]] = [[] for _ in range(num_qubits)]
    for index, region in enumerate(regions):
        for qubit in region:
            touching[qubit].append(index)
    spots: list[tuple[int, ...]] = [(qubit,) for qubit in range(num_qubits)]
    if buffer:
        spots += [edge for edge in edges if max(edge) < num_qubits]
    rows, columns = [], []
    for row, spot in enumerate(spots):
        found = sorted({index for qubit in spot for index in touching[qubit]})
        rows += [row] * len(found)
        columns += found
    return csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(spots), len(regions)))


def _cheapest(
    conflicts: csr_matrix, prices: np.ndarray, number: int, seconds: float
) -> tuple[np.ndarray | None, bool]:
    """Return the cheapest choice of `number` regions, if any, and whether the search was ended."""
    size = conflicts.shape[1]
    result = milp(
        prices,
        constraints=[
            LinearConstraint(conflicts, -np.inf, 1),
            LinearConstraint(np.ones((1, size)), number, number),
        ],
        integrality=np.ones(size),
        bounds=Bounds(0, 1),
        options={"time_limit": seconds, "mip_rel_gap": PRICE_GAP},
    )
    chosen = None if result.x is None else np.nonzero(result.x > 0.5)[0]
    return chosen, result.status in (_OPTIMAL, _INFEASIBLE)


_OPTIMAL, _INFEASIBLE = 0, 2


def _most(conflicts: csr_matrix, seconds: float) -> np.ndarray | None:
    """Return a choice of many regions whatever their price: an easier search than the cheapest."""
    size = conflicts.shape[1]
    result = milp(
        -np.ones(size),
        constraints=[LinearConstraint(conflicts, -np.inf, 1)],
        integrality=np.ones(size),
        bounds=Bounds(0, 1),
        options={"time_limit": seconds},
    )
    return None if result.x is None else np.nonzero(result.x > 0.5)[0]


def _greedy(conflicts: csr_matrix, prices: np.ndarray) -> np.ndarray:
    """Take the cheapest region that still fits, again and again."""
    columns = conflicts.tocsc()
    taken = np.zeros(conflicts.shape[0], dtype=bool)
    chosen = []
    for index in np.argsort(prices, kind="stable"):
        spots = columns.indices[columns.indptr[index] : columns.indptr[index + 1]]
        if not taken[spots].any():
            taken[spots] = True
            chosen.append(index)
    return np.array(chosen, dtype=np.int64)
