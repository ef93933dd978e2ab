"""Regions of chips on which (nearly) every qubit couples to every other, such as trapped ions.

Such a chip of 30 qubits has 30 million regions of 10, nearly all alike, so they are not enumerated:
good ones are grown from every qubit, and the chip is cut into disjoint ones, the best first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from hardware.devices.error_map import ErrorMap

#: Couplings a qubit on average, above which regions are grown: square lattices have four, and the
#: densest chips of superconducting qubits hardly more.
MAX_DEGREE = 6.0


def is_dense(errors: ErrorMap) -> bool:
    """Return whether the working qubits couple to more others than can be enumerated."""
    return bool(errors.qubits) and 2 * len(errors.edges) / len(errors.qubits) > MAX_DEGREE


def grown_regions(errors: ErrorMap, size: int) -> list[tuple[int, ...]]:
    """Return connected regions of `size` qubits, each sorted: some from every working qubit.

    Args:
        errors: The calibration.
        size: Qubits of a region, two or more.
    """
    linked = np.isfinite(errors.edge_loss)
    # A coupling that does not exist costs more than all that do.
    dear = 1.0 + float(errors.edge_loss[linked].sum()) if linked.any() else 1.0
    cost = np.where(linked, errors.edge_loss, dear)
    own = np.sum([errors.losses[name] for name in errors.losses], axis=0)
    alone = np.where(np.isfinite(own), own, dear)
    found = set(_from_each(errors.qubits, size, cost, alone, linked))
    left = set(errors.qubits)
    while len(left) >= size:  # the chip cut into disjoint regions
        regions = list(_from_each(sorted(left), size, cost, alone, linked))
        if not regions:
            break
        best = min(regions, key=lambda region: (_price(region, cost, alone), region))
        found.add(best)
        left -= set(best)
    return sorted(found)


def _from_each(
    qubits: Iterable[int], size: int, cost: np.ndarray, alone: np.ndarray, linked: np.ndarray
) -> Iterator[tuple[int, ...]]:
    """Grow a region from every qubit: the cheapest neighbour joins until it is large enough."""
    qubits = list(qubits)
    for root in qubits:
        region, rest = [root], [qubit for qubit in qubits if qubit != root]
        while len(region) < size:
            near = [qubit for qubit in rest if linked[region, qubit].any()]
            if not near:
                break
            joins = min(near, key=lambda qubit: (cost[region, qubit].sum() + alone[qubit], qubit))
            region.append(joins)
            rest.remove(joins)
        else:
            yield tuple(sorted(region))


def _price(region: tuple[int, ...], cost: np.ndarray, alone: np.ndarray) -> float:
    inside = list(region)
    return float(cost[np.ix_(inside, inside)][np.triu_indices(len(inside), 1)].sum()) + float(
        alone[inside].sum()
    )
