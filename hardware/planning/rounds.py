"""Rounds of adaptive shots: what they may cost, which rows are undecided, and their jobs.

A plan begins with the jobs of the first round. When all of its jobs have results, `next_round` adds
the jobs of the rows that are undecided; they run the same circuits on the same tiles with the next
round's shots. Everything follows from the plan and the stored results, in any process: the rule for
labels is a part of the plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import ndtr

from hardware.circuits.adaptive import LinearRule
from hardware.errors import PlanError
from hardware.planning.cost import CostEstimate, Program, values_payload
from hardware.planning.plan import JobPlan, PlannedJob, PlannedPub, PlannedRound
from hardware.planning.plan_file import finished
from hardware.planning.program import program_of
from hardware.planning.pubs import Arrays, unpack


def with_rounds(
    plan: JobPlan, programs: Sequence[Program], likely: np.ndarray | None = None
) -> JobPlan:
    """Return a plan of a first round with what all rounds may cost.

    Args:
        plan: The plan, with a rule.
        programs: The client's program of a job in each round.
        likely: Values (N, M) without noise, to say how many rows are expected in each round.

    Raises:
        PlanError: There is no rule, or it does not fit the observables; a set of rows does not fit
            into a job of a later round.
    """
    rule, shots = plan.rule, plan.options.rounds
    if rule is None:
        raise PlanError(
            "Adaptive shots need a rule that says which label values stand for: give rule=….",
            options=("adaptive",),
        )
    rule.check_width(len(plan.observables))
    expected = None if likely is None else _expected_rows(plan, rule, likely)
    rows, rounds = np.arange(plan.num_rows), []
    for number, program in enumerate(programs):
        jobs = plan.jobs if number == 0 else _jobs(plan, rows, number, program)
        most = replace(replace(plan, jobs=tuple(jobs), rounds=()).cost, upper_bound=False)
        count = None if expected is None else expected[number]
        seconds = None if count is None else _expected_seconds(plan, program, most, count)
        rounds.append(PlannedRound(shots[number], most, count, seconds))
    return replace(plan, rounds=tuple(rounds))


def undecided(plan: JobPlan, results: Mapping[int, Arrays]) -> np.ndarray | None:
    """Return the rows whose label the results leave undecided, in order.

    None as long as rows of planned jobs have no result.
    """
    found = unpack(plan, results).decisions
    assert found is not None, "the plan has a rule"
    planned = sum(each.shots for each in plan.rounds[: plan.num_rounds])
    last = _rows(plan, plan.num_rounds - 1)
    if set(results) < set(range(len(plan.jobs))) or (found.shots[last] < planned).any():
        return None
    return np.asarray(last[~found.decided[last]])


def next_round(plan: JobPlan, results: Mapping[int, Arrays]) -> JobPlan | None:
    """Return a plan with the jobs of the next round behind its own; None where none is needed.

    Args:
        plan: The plan with the rounds so far.
        results: The arrays of all of its jobs.

    Raises:
        PlanError: A job has no result that can be used.
    """
    rows = undecided(plan, results)
    if rows is None:
        raise PlanError("The next round follows from the results of all jobs: some are missing.")
    if not rows.size or not plan.to_come:
        return None
    number = plan.num_rounds
    program = program_of(plan.of_round(number), plan.jobs[0])
    return finished(replace(plan, jobs=(*plan.jobs, *_jobs(plan, rows, number, program))))


def _rows(plan: JobPlan, number: int) -> np.ndarray:
    """Return the rows of a round, in order."""
    first = [job.pubs[0] for job in plan.jobs if job.round == number]
    return np.sort(np.concatenate([pub.rows[~pub.padded] for pub in first]))


def _jobs(plan: JobPlan, rows: np.ndarray, number: int, program: Program) -> list[PlannedJob]:
    """Return the jobs of some rows in a later round, of equal size and as few as limits allow.

    Raises:
        PlanError: One set of rows does not fit into a job.
    """
    num_tiles = len(plan.tiles)
    num_sets = -(-len(rows) // num_tiles)
    places = np.arange(num_sets * num_tiles).reshape(num_sets, num_tiles)
    slots, padded = rows[np.minimum(places, len(rows) - 1)], places >= len(rows)
    limits, first = plan.options.limits, [job for job in plan.jobs if job.round == 0]
    # What a job of the first round holds fits the device's limits of bytes and circuits.
    fits = max(len(job.pubs[0].rows) for job in first)
    fits = min(fits, program.most_sets(limits.executions, limits.seconds))
    if fits < 1:
        raise PlanError(
            f"One set of rows with {plan.rounds[number].shots if plan.rounds else program.shots} "
            "shots does not fit into a job: use fewer shots, or more rounds."
        )
    values = _row_values(plan)
    fixed = first[0].payload_bytes - sum(values_payload(pub.values) for pub in first[0].pubs)
    made = []
    for part in np.array_split(np.arange(num_sets), -(-num_sets // fits)):
        pubs = []
        for pub, own in zip(first[0].pubs, values, strict=True):
            if own is not None:
                taken = own[slots[part]].reshape(len(part), len(pub.parameters))
                pub = replace(pub, values=taken, rows=slots[part], padded=padded[part])
            pubs.append(pub)
        cost = program.cost(len(part))
        payload = fixed + sum(values_payload(pub.values) for pub in pubs)
        job = PlannedJob(
            tuple(pubs), cost.executions, payload, cost.qpu_seconds, cost.items, number
        )
        made.append(job)
    return made


def _row_values(plan: JobPlan) -> list[np.ndarray | None]:
    """Return the values of all rows in each PUB of a job, (N, parameters of a tile); None: fixed.

    All tiles have the same parameters in the same order, one tile after the other.
    """
    found: list[np.ndarray | None] = []
    for index, pub in enumerate(plan.jobs[0].pubs):
        if pub.kind != "samples":
            found.append(None)
            continue
        values = np.empty((plan.num_rows, len(pub.parameters) // len(plan.tiles)))
        for job in plan.jobs:
            if job.round == 0:
                each: PlannedPub = job.pubs[index]
                values[each.rows] = each.values.reshape(*each.rows.shape, -1)
        found.append(values)
    return found


def _expected_rows(plan: JobPlan, rule: LinearRule, likely: np.ndarray) -> list[float]:
    """Return how many rows are expected in each round, from values without noise.

    The tiles' expected errors shrink the values, and leads are normally distributed with the
    variance of observables that are measured independently of each other.
    """
    adaptive = plan.options.adaptive
    assert adaptive is not None
    errors = [tile.expected_error for tile in plan.tiles if tile.expected_error is not None]
    values = likely * (1 - float(np.mean(errors))) if errors else likely
    largest = np.array([np.abs(each.coeffs).sum() for each in plan.observables])
    variance = np.maximum(largest**2 - values**2, 0.0)  # (N, M)
    weights, offsets = rule.leads()
    leads = values @ weights.T + offsets
    spread = np.sqrt(variance @ (weights**2).T) + 1e-12  # of one shot
    winners, _ = rule.decide(leads, spread)
    first, second = np.triu_indices(rule.num_classes, 1)
    own = (first == winners[:, np.newaxis]) | (second == winners[:, np.newaxis])
    score = np.where(own, np.abs(leads) / spread, np.inf).min(axis=1)  # (N,)
    shots = plan.options.rounds
    open_rows = [
        ndtr(adaptive.z(total, len(shots), rule.num_classes) - score * np.sqrt(total)).sum()
        for total in np.cumsum(shots)[:-1].tolist()
    ]
    return [float(plan.num_rows), *(float(each) for each in open_rows)]


def _expected_seconds(plan: JobPlan, program: Program, most: CostEstimate, rows: float) -> float:
    """Return the QPU seconds of some rows of a round; of less than one, a share of a job's."""
    sets = int(np.ceil(rows / len(plan.tiles)))
    jobs = max(1.0, most.jobs * rows / plan.num_rows)
    fixed = program.cost(0).qpu_seconds
    return float(min(rows, 1.0) * (jobs * fixed + program.cost(sets).qpu_seconds - fixed))
