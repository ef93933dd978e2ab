"""Whether a plan that was read from bytes is one that the planner could have made.

A hash refuses edits by hand, but anybody can compute it anew: what a plan says is checked too.
The cost that a budget is compared with is computed from the circuits themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from hardware.circuits.measurement import Measurement
from hardware.errors import PlanError
from hardware.planning.cost import Program
from hardware.planning.mitigation import READOUT
from hardware.planning.plan import JobPlan, PlannedJob, PlannedPub, PubKind, Timing
from hardware.planning.program import program_of
from hardware.planning.tiled_circuit import tile_register


def check_plan(plan: JobPlan) -> None:
    """Refuse a plan whose parts do not belong together.

    Raises:
        PlanError: An index, a shape or a time is not what the options and observables ask for.
    """
    texts = (plan.target, plan.backend, plan.calibration_id, plan.workload_hash, *plan.notes)
    _expect(all(isinstance(text, str) for text in texts), "names and notes as text", texts[:4])
    good = isinstance(plan.about, Mapping) and isinstance(plan.calibration, Mapping)
    _expect(good, "objects for calibration and the caller's notes", "others")
    widths = {observable.num_qubits for observable in plan.observables}
    _expect(len(widths) == 1, "observables of one width", sorted(widths))
    _expect(bool(plan.tiles) and bool(plan.jobs), "tiles and jobs", "none")
    _expect(_whole(plan.num_rows) and plan.num_rows >= 1, "rows", plan.num_rows)
    measurement = Measurement.of(plan.observables)
    settings = measurement.settings
    _expect(bool(settings), "observables to measure", "the identity only")
    _check_circuits(plan, measurement)
    _check_tiles(plan, widths.pop(), measurement)
    good = _number(plan.sampling_overhead) and plan.sampling_overhead > 0
    _expect(good, "a sampling overhead above zero", plan.sampling_overhead)
    for job in plan.jobs:
        _check_job(plan, job, len(settings))
    _check_rounds(plan)
    _check_rows(plan)
    _check_timing(plan.timing)


def _check_circuits(plan: JobPlan, measurement: Measurement) -> None:
    """Check the number of circuits, their width and the registers that results are read from."""
    settings = measurement.settings
    layout = _layout(plan, len(settings))
    _expect(len(plan.circuits) == len(layout), f"{len(layout)} circuits", len(plan.circuits))
    widths = {circuit.num_qubits for circuit in plan.circuits}
    _expect(len(widths) == 1, "circuits of one width", sorted(widths))
    for (kind, setting, number), circuit in zip(layout, plan.circuits, strict=True):
        size = len(settings[setting].qubits if kind == "samples" else measurement.qubits)
        expected = {}
        if not plan.options.mitigation.estimator:
            expected = {tile_register(tile): size for tile in range(len(plan.tiles))}
        found = {register.name: register.size for register in circuit.cregs}
        _expect(found == expected, f"registers {expected} in circuit {number}", found)


def _check_tiles(plan: JobPlan, width: int, measurement: Measurement) -> None:
    """Check that tiles are disjoint regions of the chip that hold every measured qubit."""
    size = plan.circuits[0].num_qubits
    seen: set[int] = set()
    for number, tile in enumerate(plan.tiles):
        inside = set(tile.qubits)
        good = all(_whole(q) and 0 <= q < size for q in tile.qubits)
        _expect(good, f"qubits of a chip of {size} in tile {number}", tile.qubits)
        _expect(len(inside) == len(tile.qubits), "a qubit once in each tile", tile.qubits)
        _expect(not seen & inside, "disjoint tiles", sorted(seen & inside))
        seen |= inside
        good = (
            len(tile.final_layout) == width
            and all(_whole(end) and (end == -1 or end in inside) for end in tile.final_layout)
            and all(tile.final_layout[qubit] != -1 for qubit in measurement.qubits)
            and len(held := [end for end in tile.final_layout if end != -1]) == len(set(held))
        )
        _expect(good, f"ends of {width} qubits inside tile {number}", tile.final_layout)
        error = tile.expected_error
        good = error is None or (_number(error) and 0 <= error <= 1)
        _expect(good, "an expected error from 0 to 1, or an unknown one", error)


def _layout(plan: JobPlan, num_settings: int) -> list[tuple[PubKind, int, int]]:
    """Return kind, setting and circuit of the PUBs of every job."""
    mitigation = plan.options.mitigation
    count = 1 if mitigation.estimator else num_settings
    layout: list[tuple[PubKind, int, int]] = [("samples", index, index) for index in range(count)]
    if mitigation.readout_inversion:
        layout += [(kind, 0, num_settings + bit) for bit, kind in enumerate(READOUT)]
    return layout


def _check_job(plan: JobPlan, job: PlannedJob, num_settings: int) -> None:
    layout = _layout(plan, num_settings)
    found = [(pub.kind, pub.setting, pub.circuit) for pub in job.pubs]
    _expect(found == layout, f"PUBs {layout}", found)
    _expect(_whole(job.payload_bytes) and job.payload_bytes > 0, "a payload", job.payload_bytes)
    for name, count in (("items", job.items), ("executions", job.executions)):
        _expect(_whole(count) and count >= 1, f"{name}, a whole number", count)
    good = _number(job.qpu_seconds) and job.qpu_seconds >= 0
    _expect(good, "a finite number of QPU seconds", job.qpu_seconds)
    for pub in job.pubs:
        good = _whole(pub.setting) and _whole(pub.circuit)
        _expect(good, "whole numbers of a setting and a circuit", (pub.setting, pub.circuit))
        _check_pub(plan, pub)
        if pub.kind == "samples":
            same = np.array_equal(pub.rows, job.pubs[0].rows)
            same = same and np.array_equal(pub.padded, job.pubs[0].padded)
            _expect(same, "the same rows in all settings of a job", "others")


def _check_pub(plan: JobPlan, pub: PlannedPub) -> None:
    names = sorted(parameter.name for parameter in plan.circuits[pub.circuit].parameters)
    _expect(sorted(pub.parameters) == names, f"parameters {names[:4]}…", pub.parameters[:4])
    sets = len(pub.rows) if pub.kind == "samples" and pub.rows.ndim else 1
    slots = (sets, len(plan.tiles) if pub.kind == "samples" else 0)
    for name, shape, kinds in (
        ("values", (sets, len(names)), "f"),
        ("rows", slots, "iu"),
        ("padded", slots, "b"),
    ):
        array: np.ndarray = getattr(pub, name)
        good = array.shape == shape and array.dtype.kind in kinds and sets >= 1
        _expect(good, f"{name} of shape {shape}", f"{array.shape} of {array.dtype}")
    _expect(bool(np.isfinite(pub.values).all()), "finite values", "others")


def _check_rounds(plan: JobPlan) -> None:
    """Check that rounds and rule are those that the options ask for, and that rounds follow."""
    shots = plan.options.rounds if plan.options.adaptive is not None else ()
    found = tuple(each.shots for each in plan.rounds)
    _expect(found == shots, f"rounds of {shots} shots", found)
    _expect((plan.rule is None) == (not shots), "a rule with adaptive shots only", plan.rule)
    if plan.rule is not None:
        width = plan.rule.weight.shape[1]
        good = width == len(plan.observables)
        _expect(good, f"a rule for {len(plan.observables)} observables", width)
    numbers = [job.round for job in plan.jobs]
    good = all(_whole(number) for number in numbers) and numbers == sorted(numbers)
    good = good and set(numbers) == set(range(min(len(shots), max(numbers) + 1) or 1))
    _expect(good, "jobs in the order of their rounds", numbers)
    for each in plan.rounds:
        good = _number(each.most.qpu_seconds) and each.most.qpu_seconds >= 0
        _expect(good, "a finite cost of every round", each.most.qpu_seconds)


def _check_rows(plan: JobPlan) -> None:
    """Check that every row runs once, that later rounds run some of them, and what padding repeats.

    Padding repeats rows that there are.
    """
    before = np.arange(plan.num_rows)
    for number in range(plan.num_rounds):
        first = [job.pubs[0] for job in plan.jobs if job.round == number]
        every = np.concatenate([pub.rows.ravel() for pub in first])
        good = bool((every >= 0).all() and (every < plan.num_rows).all())
        _expect(good, f"rows from 0 to {plan.num_rows - 1}", f"{every.min()} to {every.max()}")
        kept = np.sort(np.concatenate([pub.rows[~pub.padded] for pub in first]))
        if number == 0:
            _expect(np.array_equal(kept, before), f"each of {plan.num_rows} rows once", len(kept))
        good = bool(np.isin(kept, before).all()) and len(set(kept.tolist())) == len(kept)
        _expect(good, "rows of the round before, each once", len(kept))
        before = kept


def _check_timing(timing: Timing) -> None:
    good = isinstance(timing.durations, Mapping)
    _expect(good, "durations by the name of a gate", timing.durations)
    wrong = timing.wrong_times()
    _expect(not wrong, "times of zero or more seconds", ", ".join(wrong))


def check_cost(plan: JobPlan) -> None:
    """Compute the cost of every job from the circuits and options, and compare.

    The program of a job is the one that this version of the client makes of it.

    Raises:
        PlanError: A job costs something else than the plan says.
    """
    programs: dict[tuple[int, ...], Program] = {}
    for number, job in enumerate(plan.jobs):
        circuits = (job.round, *(pub.circuit for pub in job.pubs))
        if circuits not in programs:
            programs[circuits] = program_of(plan.of_job(number), job)
        overhead = programs[circuits].sampling_overhead
        good = math.isclose(plan.sampling_overhead, overhead, rel_tol=1e-9)
        _expect(good, f"a sampling overhead of {overhead:g}", plan.sampling_overhead)
        cost = programs[circuits].cost(len(job.pubs[0].rows))
        _expect(job.items == cost.items, f"{cost.items} items in job {number}", job.items)
        good = job.executions == cost.executions
        _expect(good, f"{cost.executions} executions in job {number}", job.executions)
        good = math.isclose(job.qpu_seconds, cost.qpu_seconds, rel_tol=1e-9)
        _expect(good, f"{cost.qpu_seconds:g} QPU seconds in job {number}", job.qpu_seconds)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _expect(good: bool, expected: str, found: object) -> None:
    if not good:
        raise PlanError(f"Expected a plan with {expected}, got {found}: plan again.")
