from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import rustworkx as rx
from qiskit.circuit import ClassicalRegister, Measure, Parameter, QuantumCircuit
from qiskit.providers import BackendV2
from qiskit.quantum_info import Operator
from qiskit.transpiler import PassManager
from qiskit.transpiler.passes import ALAPScheduleAnalysis, PadDelay

from hardware.devices.backends import fake_backend, working_target
from hardware.devices.error_map import ErrorMap
from hardware.errors import PlanError
from hardware.planning.options import PlanOptions
from hardware.planning.packing import pack
from hardware.planning.placement import prices, transpile_on
from hardware.planning.plan import Tile
from hardware.planning.regions import connected_regions, sort_into_shapes
from hardware.planning.tiled_circuit import on_tile
from hardware.planning.tiling import candidates, tile

GRID = [(3 * r + c, 3 * r + c + 1) for r in range(4) for c in range(2)]
GRID += [(3 * r + c, 3 * r + c + 3) for r in range(3) for c in range(3)]


def chain(num_qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(num_qubits)
    for qubit in range(num_qubits):
        circuit.ry(Parameter(f"x[{qubit}]"), qubit)
    for qubit in range(num_qubits - 1):
        circuit.cx(qubit, qubit + 1)
    return circuit


def ring(num_qubits: int) -> QuantumCircuit:
    circuit = chain(num_qubits)
    circuit.cx(num_qubits - 1, 0)
    return circuit


@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_every_connected_region_is_found_once(size: int) -> None:
    graph = rx.PyGraph()
    graph.add_nodes_from(range(12))
    graph.add_edges_from_no_data(GRID)
    expected = {
        region
        for region in combinations(range(12), size)
        if rx.is_connected(graph.subgraph(list(region)))
    }
    found = connected_regions(12, GRID, size)
    assert len(found) == len(expected)
    assert set(found) == expected


def test_an_enumeration_over_its_limit_takes_some_from_everywhere() -> None:
    found = connected_regions(12, GRID, 4, limit=24)
    assert len(found) == len(set(found)) <= 24
    assert len({region[0] for region in found}) > 6


def test_shapes_are_classes_of_isomorphic_regions() -> None:
    regions = connected_regions(12, GRID, 4)
    shapes = sort_into_shapes(regions, GRID)
    # Of the five tetrominoes as graphs, I, L and S are one path: path, star and square remain.
    assert sorted(len(shape.edges) for shape in shapes) == [3, 3, 4]
    linked = {frozenset(edge) for edge in GRID}
    for shape in shapes:
        for placement in shape.placements:
            placed = {frozenset((int(placement[a]), int(placement[b]))) for a, b in shape.edges}
            inside = {e for e in linked if e <= set(placement.tolist())}
            assert placed == inside
    covered = {
        tuple(sorted(placement)) for shape in shapes for placement in shape.placements.tolist()
    }
    assert covered == set(regions)


def test_the_price_is_that_of_the_placed_circuit() -> None:
    backend = fake_backend("guadalupe")
    target = working_target(backend)
    device, circuit = ErrorMap.of(target), ring(5)
    shapes = sort_into_shapes(connected_regions(16, device.edges, 5), device.edges)
    shape = shapes[0]
    transpiled = transpile_on(circuit, shape, device.gates, 3)
    found = prices(transpiled, shape, device, [0, 3])
    for index in (0, len(shape.placements) - 1):
        placement = [int(q) for q in shape.placements[index]]
        placed = on_tile(Tile(tuple(placement), 0.0, 0, ()), transpiled, None, target)
        measured = [placement[transpiled.final[qubit]] for qubit in (0, 3)]
        success = 1.0
        for step in placed.data:
            where = tuple(placed.find_bit(q).index for q in step.qubits)
            success *= 1 - (target[step.operation.name][where].error or 0.0)
        for qubit in measured:
            success *= 1 - target["measure"][qubit,].error
        placed.barrier(placement)
        placed.add_register(ClassicalRegister(2))
        placed.measure(measured, [0, 1])
        idle, seconds = idle_by_qiskit(placed, backend)
        for qubit, time in idle.items():
            about = target.qubit_properties[qubit]
            slow, fast = np.exp(-time / about.t1), np.exp(-time / min(about.t2, 2 * about.t1))
            success *= (3 + slow + 2 * fast) / 6  # average fidelity of relaxation
        assert sum(idle.values()) > 1e-6
        assert np.exp(-found.errors[index]) == pytest.approx(success, rel=1e-9)
        assert found.seconds[index] == pytest.approx(seconds, rel=1e-9)


def idle_by_qiskit(circuit: QuantumCircuit, backend: BackendV2) -> tuple[dict[int, float], float]:
    """Idle seconds of each qubit that count, by Qiskit's own scheduling, and the time before
    read-out."""
    manager = PassManager(
        [ALAPScheduleAnalysis(target=backend.target), PadDelay(target=backend.target)]
    )
    padded, dt = manager.run(circuit), backend.target.dt
    measured = {
        padded.find_bit(step.qubits[0]).index
        for step in padded.data
        if isinstance(step.operation, Measure)
    }
    rows: dict[int, list[tuple[str, float]]] = {}
    for step in padded.data:
        name = step.operation.name
        where = tuple(padded.find_bit(q).index for q in step.qubits)
        for qubit in where:
            if name == "delay":
                rows.setdefault(qubit, []).append((name, step.operation.duration * dt))
            elif name != "barrier":
                rows.setdefault(qubit, []).append((name, backend.target[name][where].duration))
    idle, longest = {}, 0.0
    for qubit, row in rows.items():
        times = [time for name, time in row if name != "measure"]
        names = [name for name, _ in row if name != "measure"]
        gates = [i for i, name in enumerate(names) if name != "delay"]
        if not gates:
            continue
        last = len(names) if qubit in measured else gates[-1]
        inner = range(gates[0], last)
        idle[qubit] = sum(times[i] for i in inner if names[i] == "delay")
        if qubit in measured:  # others wait while these are read
            longest = max(longest, sum(times[gates[0] :]))
    return idle, longest


def test_the_transpiled_circuit_does_what_the_original_does() -> None:
    device, circuit = ErrorMap.of(working_target(fake_backend("guadalupe"))), ring(4)
    values = {f"x[{i}]": 0.3 * i + 0.1 for i in range(4)}
    for shape in sort_into_shapes(connected_regions(16, device.edges, 4), device.edges):
        transpiled = transpile_on(circuit, shape, device.gates, 3)
        bound = transpiled.circuit.assign_parameters(values)
        ends = transpiled.circuit.layout.initial_index_layout(), transpiled.final
        logical = QuantumCircuit(4)
        logical.compose(circuit.assign_parameters(values), ends[0], inplace=True)
        # The final permutation takes the qubit laid out at i to where it ends.
        order = [0] * 4
        for start, end in zip(*ends, strict=True):
            order[start] = end
        permuted = Operator(logical).apply_permutation(order, front=False)
        assert Operator(bound).equiv(permuted)


@pytest.mark.parametrize("buffer", [False, True])
def test_tiles_share_no_qubit_and_with_a_buffer_no_edge(buffer: bool) -> None:
    target = working_target(fake_backend("fez"))
    tiling = tile(chain(6), [5], target, 1000, PlanOptions(buffer=buffer))
    used = [qubit for each in tiling.tiles for qubit in each.qubits]
    assert len(used) == len(set(used))
    assert len(tiling.tiles) >= (12 if buffer else 16)
    owner = {q: i for i, each in enumerate(tiling.tiles) for q in each.qubits}
    joined = [
        (a, b) for a, b in tiling.device.edges
        if a in owner and b in owner and owner[a] != owner[b]
    ]  # fmt: skip
    assert bool(joined) != buffer
    errors = [each.expected_error for each in tiling.tiles]
    assert errors == sorted(errors)


def test_edges_and_qubits_that_do_not_work_are_never_used() -> None:
    backend = fake_backend("fez")
    dead = {q for q, p in backend.target["cz"].items() if p.error and p.error >= 0.5}
    assert dead  # the calibration has some
    tiling = tile(ring(6), list(range(6)), working_target(backend), 1000, PlanOptions(tiles=12))
    for each, transpiled in zip(tiling.tiles, tiling.transpiled, strict=True):
        for step in transpiled.circuit.data:
            pair = tuple(each.qubits[transpiled.circuit.find_bit(q).index] for q in step.qubits)
            assert pair not in dead
            assert pair[::-1] not in dead


def test_automatic_tiles_are_good_enough_and_no_more_than_needed() -> None:
    target = working_target(fake_backend("fez"))
    many = tile(chain(8), [7], target, 1000, PlanOptions())
    best = min(each.expected_error for each in tile(chain(8), [7], target, 1, PlanOptions()).tiles)
    bound = 1 - (1 - best) ** 2  # twice the expected errors of the best
    assert max(each.expected_error for each in many.tiles) <= bound + 1e-9
    few = tile(chain(8), [7], target, 20, PlanOptions())
    rounds = -(-20 // len(many.tiles))
    assert len(few.tiles) == -(-20 // rounds)
    assert len(tile(chain(8), [7], target, 1, PlanOptions()).tiles) == 1


def test_nineteen_tiles_of_eight_qubits_fit_on_a_heavy_hex_chip() -> None:
    tiling = tile(
        chain(8), [7], working_target(fake_backend("fez")), 10**6, PlanOptions(max_error_ratio=1e9)
    )
    assert len(tiling.tiles) == 19


@pytest.mark.slow
@pytest.mark.parametrize(("buffer", "expected"), [(False, 15), (True, 13)])
def test_fifteen_tiles_of_ten_qubits_fit(buffer: bool, expected: int) -> None:
    options = PlanOptions(max_error_ratio=1e9, buffer=buffer, solver_seconds=100)
    tiling = tile(chain(10), [9], working_target(fake_backend("fez")), 10**6, options)
    assert len(tiling.tiles) == expected


def test_a_packing_out_of_time_falls_back_to_a_valid_one() -> None:
    device = ErrorMap.of(working_target(fake_backend("fez")))
    found = candidates(chain(8), [7], device, PlanOptions())
    packing = pack(
        found.placements, found.prices, device.edges, count=None, buffer=False, seconds=1e-6
    )
    used = [qubit for index in packing.chosen for qubit in found.placements[index]]
    assert not packing.exact
    assert len(packing.chosen) >= 10
    assert len(used) == len(set(used))


def test_packing_finds_what_greedy_misses() -> None:
    # A path of six: the cheapest pair, in the middle, blocks the two others that fit together.
    regions = [(2, 3), (0, 1, 2), (3, 4, 5)]
    edges = [(i, i + 1) for i in range(5)]
    price = np.array([0.1, 0.2, 0.2])
    packing = pack(regions, price, edges, count=None, buffer=False, seconds=5)
    assert (packing.chosen, packing.exact) == ((1, 2), True)
    assert pack(regions, price, edges, count=1, buffer=False, seconds=5).chosen == (0,)
    assert pack(regions, price, edges, count=None, buffer=True, seconds=5).chosen == (0,)


@pytest.mark.slow
def test_spare_qubits_help_a_ring() -> None:
    target, circuit = working_target(fake_backend("fez")), ring(10)
    for _ in range(2):
        for reach in (1, 2):
            for qubit in range(10):
                circuit.cx(qubit, (qubit + reach) % 10)
    tight = tile(circuit, [0], target, 1, PlanOptions(tiles=1))
    loose = tile(circuit, [0], target, 1, PlanOptions(tiles=1, spare_qubits=2))
    assert loose.transpiled[0].num_two_qubit_gates < tight.transpiled[0].num_two_qubit_gates
    assert loose.tiles[0].expected_error < tight.tiles[0].expected_error


def test_what_does_not_fit_is_refused() -> None:
    target = working_target(fake_backend("manila"))
    with pytest.raises(PlanError, match="6 connected working qubits"):
        tile(chain(6), [5], target, 10, PlanOptions())
    with pytest.raises(PlanError, match="Only 1 tile of 3 qubits"):
        tile(chain(3), [2], target, 10, PlanOptions(tiles=2))
