"""Disjoint good regions of one chip, each running another sample.

Connected regions of the circuit's size are enumerated and sorted into shapes; the circuit is
transpiled once for each shape; every region is priced by the calibration for the gates that the
circuit would run there; then disjoint ones are packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.transpiler import Target

from hardware.circuits.transforms import light_cone, restrict_to_active
from hardware.devices.error_map import ErrorMap
from hardware.errors import PlanError
from hardware.planning.dense_regions import grown_regions, is_dense
from hardware.planning.options import PlanOptions
from hardware.planning.packing import pack
from hardware.planning.placement import MAX_SHAPES, TranspiledShape, prices, promising, transpile_on
from hardware.planning.plan import Tile
from hardware.planning.regions import connected_regions, sort_into_shapes
from hardware.words import counted


@dataclass(frozen=True, eq=False)
class Tiling:
    """Tiles and what runs on each.

    Args:
        tiles: T tiles, best first.
        transpiled: The circuit on the shape of each tile.
        seconds: Time from the first gate to the read-out on each tile.
        device: The calibration that they were priced with.
        notes: Sentences on what was decided.
    """

    tiles: tuple[Tile, ...]
    transpiled: tuple[TranspiledShape, ...]
    seconds: tuple[float, ...]
    device: ErrorMap
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Candidates:
    """The best placement of every region.

    Args:
        placements: Physical qubits of each region in its shape's order.
        shapes: Shape of each region.
        prices: Expected errors of one run on each region, shape (R,).
        seconds: Time from the first gate to the read-out on each region, shape (R,).
        transpiled: The circuit on each shape, by shape.
    """

    placements: list[tuple[int, ...]]
    shapes: list[int]
    prices: np.ndarray
    seconds: np.ndarray
    transpiled: dict[int, TranspiledShape]


def candidates(
    circuit: QuantumCircuit,
    measured: Sequence[int],
    device: ErrorMap,
    options: PlanOptions,
    max_shapes: int = MAX_SHAPES,
) -> Candidates:
    """Price every region of the chip for a circuit, on the `max_shapes` most promising shapes.

    Raises:
        PlanError: No connected working region is large enough.
    """
    size = circuit.num_qubits + options.spare_qubits
    regions: list[tuple[int, ...]]
    if size == 1:
        regions = [(qubit,) for qubit in device.qubits]
    elif is_dense(device):
        regions = grown_regions(device, size)
    else:
        regions = connected_regions(device.num_qubits, device.edges, size)
    if not regions:
        raise PlanError(
            f"Expected a device with {size} connected working qubits, this one has "
            f"{len(device.qubits)} in all: choose a wider device or a narrower circuit."
        )
    shapes = sort_into_shapes(regions, device.edges)
    best: dict[tuple[int, ...], tuple[float, tuple[int, ...], int, float]] = {}
    transpiled = {}
    for index in promising(shapes, circuit, max_shapes):
        shape = shapes[index]
        transpiled[index] = transpile_on(circuit, shape, device.gates, options.optimization_level)
        found = prices(transpiled[index], shape, device, measured)
        for price, seconds, placement in zip(
            found.errors.tolist(), found.seconds.tolist(), shape.placements.tolist(), strict=True
        ):
            region = tuple(sorted(placement))
            if region not in best or price < best[region][0]:
                best[region] = (price, tuple(placement), index, seconds)
    ranked = sorted(best.values())
    return Candidates(
        placements=[placement for _, placement, _, _ in ranked],
        shapes=[shape for _, _, shape, _ in ranked],
        prices=np.array([price for price, _, _, _ in ranked]),
        seconds=np.array([seconds for _, _, _, seconds in ranked]),
        transpiled=transpiled,
    )


def place(
    circuit: QuantumCircuit,
    measured: Sequence[int],
    target: Target,
    num_rows: int,
    options: PlanOptions,
) -> Tiling:
    """Choose the tiles of the part of a circuit that can influence what is measured; see `tile`.

    The ends of the tiles are those of all the circuit's qubits, -1 for qubits outside that part.
    """
    cone, active = restrict_to_active(light_cone(circuit, measured), measured)
    tiling = tile(cone, [active.index(qubit) for qubit in measured], target, num_rows, options)
    tiles = []
    for each in tiling.tiles:
        ends = dict(zip(active, each.final_layout, strict=True))
        whole = tuple(ends.get(qubit, -1) for qubit in range(circuit.num_qubits))
        tiles.append(replace(each, final_layout=whole))
    return replace(tiling, tiles=tuple(tiles))


def tile(
    circuit: QuantumCircuit,
    measured: Sequence[int],
    target: Target,
    num_rows: int,
    options: PlanOptions,
) -> Tiling:
    """Choose the tiles of a circuit on a device.

    With ``options.tiles=None`` regions that expect more than `max_error_ratio` times the errors of
    the best are left out, as many of the rest as fit are packed, and only as many are kept as the
    rows need: with 20 rows, 10 good tiles take the same two rounds as 15.

    Args:
        circuit: Unitary circuit, parameters free.
        measured: Qubits of it that are read out in any setting.
        target: Working target of the device.
        num_rows: N.
        options: How many tiles, how far apart, and so on.

    Raises:
        PlanError: The circuit does not fit on the device, or fewer tiles than asked for do.
    """
    device = ErrorMap.of(target, fractional=options.fractional_gates)
    found = candidates(circuit, measured, device, options)
    notes = []
    usable = np.isfinite(found.prices)
    if options.tiles is None:
        usable &= found.prices <= options.max_error_ratio * found.prices[0]
    keep = np.nonzero(usable)[0]
    if not len(keep):
        wide = counted(circuit.num_qubits, "connected qubit")
        raise PlanError(
            f"No {wide} of the device have known errors for all gates of the circuit: choose "
            "another device"
            + (", or plan without fractional_gates." if options.fractional_gates else "."),
            options=("fractional_gates",),
        )
    wanted = options.tiles if options.tiles is not None else None
    if num_rows == 1 and options.tiles is None:
        wanted = 1
    placements = [found.placements[i] for i in keep]
    packing = pack(
        placements, found.prices[keep], device.edges,
        count=wanted, buffer=options.buffer, seconds=options.solver_seconds,
    )  # fmt: skip
    chosen = [int(keep[i]) for i in packing.chosen]
    exact = packing.exact
    if options.tiles is not None and len(chosen) < options.tiles:
        raise PlanError(
            f"Only {counted(len(chosen), 'tile')} of {len(placements[0])} qubits fit on the "
            f"device: ask for fewer than {options.tiles}{' or for no buffer' * options.buffer}."
        )
    if options.tiles is None:
        sets = -(-num_rows // len(chosen))
        needed = -(-num_rows // sets)
        within = f" with an error of at most {options.max_error_ratio:g} times the best one's"
        notes.append(
            f"{counted(len(chosen), 'tile')} fit on the device"
            f"{'' if device.unstated else within}; {needed} {'is' if needed == 1 else 'are'} used, "
            f"so that {counted(num_rows, 'row')} {'takes' if num_rows == 1 else 'take'} "
            f"{counted(sets, 'set')} of executions."
        )
        if needed < len(chosen):
            packing = pack(
                placements, found.prices[keep], device.edges,
                count=needed, buffer=options.buffer, seconds=options.solver_seconds,
            )  # fmt: skip
            chosen = [int(keep[i]) for i in packing.chosen]
            exact &= packing.exact
    if not exact:
        notes.append(
            f"The packing was stopped after {options.solver_seconds:g} s: more or better tiles "
            "may fit."
        )
    tiles = tuple(
        Tile(
            qubits=found.placements[i],
            expected_error=None if device.unstated else float(-np.expm1(-found.prices[i])),
            shape=found.shapes[i],
            final_layout=tuple(
                found.placements[i][q] for q in found.transpiled[found.shapes[i]].final
            ),
        )
        for i in chosen
    )
    transpiled = tuple(found.transpiled[found.shapes[i]] for i in chosen)
    seconds = tuple(found.seconds[chosen].tolist())
    return Tiling(tiles, transpiled, seconds, device, tuple(notes))
