"""Read runs from the ledger: where they stand and what they gave. Makes no network call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from hardware.devices.base import JobRequest, check_arrays
from hardware.errors import BadResultError, DamagedResultError
from hardware.ledger.ledger import Ledger
from hardware.planning.plan import JobPlan
from hardware.planning.plan_file import load_submitted
from hardware.planning.pubs import job_request, unpack
from hardware.runs.progress import RunStatus, run_status
from hardware.workload import Expectations

Arrays = dict[str, np.ndarray]


def status(run_id: str, *, ledger: Ledger, plan: JobPlan | None = None) -> RunStatus:
    """Return where a run stands as far as the ledger knows; makes no network call.

    Args:
        run_id: The run.
        ledger: Where it is written.
        plan: The run's plan: with it the problems name stored results that cannot be used.
    """
    run = ledger.run(run_id)
    problems = {} if plan is None else unusable(run.id, partial(job_request, plan), ledger=ledger)
    return run_status(ledger, run.id, problems)


def finished_run(plan: JobPlan, *, ledger: Ledger) -> str | None:
    """Return the latest run of exactly this plan that has all its results, if there is one.

    Its results can be read again with `results` instead of paying for them again. Plans are equal
    only where circuits, values, observables, options, device and calibration are.
    """
    for run in ledger.runs():
        if run.plan_hash != plan.key or run.state != "done":
            continue
        whole = load_submitted(ledger.plan_body(run.id)) if plan.rounds else plan
        if not unusable(run.id, partial(job_request, whole), ledger=ledger):
            return run.id
    return None


def unusable(
    run_id: str, request: Callable[[int], JobRequest], *, ledger: Ledger
) -> dict[int, str]:
    """Return why the stored results of jobs that are ``done`` cannot be used, by job.

    They are missing from the ledger, damaged, or do not fit what the job asked for.

    Args:
        run_id: The run.
        request: What each job asked for, by its index.
        ledger: Where the results are stored.
    """
    return {idx: why for idx, _, why in _stored(run_id, ledger, request) if why is not None}


def results(run_id: str, *, ledger: Ledger) -> dict[int, Arrays]:
    """Return the stored arrays of a run by job.

    Jobs without a result are missing, and so are those with a damaged one: `unusable` says why, and
    collecting the run fetches theirs again.
    """
    return {idx: arrays for idx, arrays, _ in _stored(run_id, ledger) if arrays is not None}


def _stored(
    run_id: str, ledger: Ledger, request: Callable[[int], JobRequest] | None = None
) -> Iterator[tuple[int, Arrays | None, str | None]]:
    """Yield each job that is ``done``, its arrays if they can be read, and what is wrong with them.

    Args:
        run_id: The run.
        ledger: Where the results are stored.
        request: What each job asked for, by its index; None leaves unsaid what does not fit it.
    """
    for job in ledger.jobs(ledger.run(run_id).id, "done"):
        try:
            arrays = ledger.result(job.run_id, job.idx)
        except DamagedResultError:
            yield job.idx, None, "its stored result is damaged."
            continue
        why = None
        if arrays is None:
            why = "its stored result is missing from the ledger."
        elif request is not None:
            try:
                check_arrays(arrays, request(job.idx))
            except BadResultError as error:
                why = f"its stored result does not fit the request: {error}"
        yield job.idx, arrays, why


def expectations(run_id: str, *, ledger: Ledger, plan: JobPlan | None = None) -> Expectations:
    """Return the rows of a run's workload as far as there are results.

    Rows of jobs without a result are NaN; `Expectations.missing` lists them. Jobs whose stored
    result cannot be used are in the notes.

    Args:
        run_id: The run.
        ledger: Where it is written.
        plan: The run's plan, where it has been read already.
    """
    run = ledger.run(run_id)
    plan = plan or load_submitted(ledger.plan_body(run.id))
    stored, damaged = {}, []
    for idx, arrays, why in _stored(run.id, ledger, partial(job_request, plan)):
        if arrays is not None:
            stored[idx] = arrays
        if why is not None:
            damaged.append(f"Job {idx}: {why} Collect run {run.id} to fetch it again.")
    found = unpack(plan, stored)
    return replace(found, notes=(*found.notes, *damaged)) if damaged else found
