"""Connected regions of a chip, sorted into shapes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import rustworkx as rx

#: Regions looked at. A 156-qubit heavy-hex chip has 9,286 connected regions of 10 qubits and 32,617
#: of 12; square lattices have millions, of which as many are taken around every qubit.
MAX_REGIONS = 40_000

Edge = tuple[int, int]


#: Placements of a shape on a region that are looked at; a region has more only if it is a star
#: or a full graph.
MAX_PLACEMENTS = 48


@dataclass(frozen=True, eq=False)
class Shape:
    """A class of isomorphic regions.

    Args:
        num_qubits: n.
        edges: Edges between the shape's own qubits 0 … n-1.
        placements: Placements of the shape on the chip, shape (L, n): the physical qubit of each of
            the shape's qubits. A symmetric region has several.
    """

    num_qubits: int
    edges: tuple[Edge, ...]
    placements: np.ndarray  # (L, n) int64


def connected_regions(
    num_qubits: int, edges: Iterable[Edge], size: int, limit: int = MAX_REGIONS
) -> list[tuple[int, ...]]:
    """Return the connected sets of `size` qubits, each sorted.

    All of them where there are no more than `limit`; else an equal share from every root. (By hand:
    `rustworkx.connected_subgraphs` gives the same sets in about the same time, but it always lists
    all of them, which on lattices and all-to-all devices takes all memory.)
    """
    edges = list(edges)
    found = list(itertools.islice(_enumerate(num_qubits, edges, size, limit), limit + 1))
    if len(found) <= limit:
        return found
    return list(_enumerate(num_qubits, edges, size, max(1, limit // num_qubits)))


def _enumerate(
    num_qubits: int, edges: list[Edge], size: int, max_per_root: int
) -> Iterator[tuple[int, ...]]:
    """Yield connected sets of qubits once each (Wernicke's ESU), some from every root."""
    neighbours: list[set[int]] = [set() for _ in range(num_qubits)]
    for a, b in edges:
        neighbours[a].add(b)
        neighbours[b].add(a)

    def extend(
        chosen: tuple[int, ...], frontier: list[int], seen: set[int]
    ) -> Iterator[tuple[int, ...]]:
        if len(chosen) == size:
            yield tuple(sorted(chosen))
            return
        frontier = list(frontier)
        while frontier:
            qubit = frontier.pop()
            fresh = sorted(q for q in neighbours[qubit] - seen if q > chosen[0])
            yield from extend((*chosen, qubit), frontier + fresh, seen | set(fresh))

    for root in range(num_qubits):
        start = sorted(q for q in neighbours[root] if q > root)
        found = extend((root,), start, {root, *start, *range(root)})
        yield from itertools.islice(found, max_per_root)


def sort_into_shapes(regions: Iterable[tuple[int, ...]], edges: Iterable[Edge]) -> list[Shape]:
    """Group regions by isomorphism; the most frequent shapes come first."""
    linked = {frozenset(edge) for edge in edges}
    near: dict[int, set[int]] = {}
    for a, b in linked:
        near.setdefault(a, set()).add(b)
        near.setdefault(b, set()).add(a)
    groups: dict[object, list[tuple[rx.PyGraph, list[tuple[int, ...]]]]] = {}
    for region in regions:
        graph = _graph(region, near)
        known = groups.setdefault(_invariant(graph), [])
        for representative, placements in known:
            found = _placements(representative, graph, region)
            if found:
                placements.extend(found)
                break
        else:
            known.append((graph, _placements(graph, graph, region)))
    shapes = [
        Shape(graph.num_nodes(), tuple(sorted(graph.edge_list())), np.array(placements))
        for known in groups.values()
        for graph, placements in known
    ]
    return sorted(shapes, key=lambda shape: (-len(shape.placements), shape.edges))


def _graph(region: tuple[int, ...], near: dict[int, set[int]]) -> rx.PyGraph:
    graph = rx.PyGraph(multigraph=False)
    graph.add_nodes_from(list(region))
    place = {qubit: i for i, qubit in enumerate(region)}
    for qubit, i in place.items():
        for other in sorted(near.get(qubit, ())):
            if other in place and place[other] > i:
                graph.add_edge(i, place[other], None)
    return graph


def _invariant(graph: rx.PyGraph) -> object:
    """Return something equal for isomorphic graphs: degrees refined by those around, thrice."""
    colours: list[object] = [graph.degree(i) for i in range(graph.num_nodes())]
    for _ in range(3):
        colours = [
            hash((colours[i], *sorted(hash(colours[j]) for j in graph.neighbors(i))))
            for i in range(graph.num_nodes())
        ]
    return tuple(sorted(hash(colour) for colour in colours))


def _placements(
    shape: rx.PyGraph, graph: rx.PyGraph, region: tuple[int, ...]
) -> list[tuple[int, ...]]:
    mappings = rx.vf2_mapping(graph, shape, subgraph=False, id_order=True)
    placements = []
    for mapping in itertools.islice(mappings, MAX_PLACEMENTS):
        place = {own: region[i] for i, own in mapping.items()}
        placements.append(tuple(place[own] for own in range(len(region))))
    return placements
