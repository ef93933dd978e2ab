"""Read runs from the ledger: where they stand and what they gave. Asks nobody and costs nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hardware.errors import DamagedResultError
from hardware.ledger import Ledger
from hardware.plan import load_submitted
from hardware.policy import Plan
from hardware.progress import RunStatus, run_status
from hardware.workload import Expectations


def status(run_id: str, *, ledger: Ledger) -> RunStatus:
    """Return where a run stands as far as the ledger knows; asks nobody."""
    return run_status(ledger, ledger.run(run_id).id, {})


def finished_run(plan: Plan, *, ledger: Ledger) -> str | None:
    """Return the latest run of exactly this plan that has all its results, if there is one.

    Its results can be read again with `results` instead of paying for them again. Plans are equal
    only where circuits, values, observables, options, device and calibration are.
    """
    for run in ledger.runs():
        if run.plan_hash == plan.key and run.state == "done":
            return run.id
    return None


def results(run_id: str, *, ledger: Ledger) -> dict[int, dict[str, np.ndarray]]:
    """Return the stored arrays of a run by job.

    Jobs without a result are missing, and so are those with a damaged one: `Ledger.damaged` lists
    them, and collecting the run fetches theirs again.
    """
    run = ledger.run(run_id)
    found = {}
    for job in ledger.jobs(run.id, "done"):
        try:
            arrays = ledger.result(run.id, job.idx)
        except DamagedResultError:
            continue
        if arrays is not None:
            found[job.idx] = arrays
    return found


def expectations(run_id: str, *, ledger: Ledger) -> Expectations:
    """Return the rows of a run's workload as far as there are results.

    Rows of jobs without a result are NaN; `Expectations.missing` lists them. Jobs whose stored
    result is damaged are in the notes.
    """
    run = ledger.run(run_id)
    found = load_submitted(ledger.plan_body(run.id)).unpack(results(run.id, ledger=ledger))
    damaged = tuple(
        f"The stored result of job {job.idx} is damaged: collect run {run.id} to fetch it again."
        for job in ledger.damaged(run.id)
    )
    return replace(found, notes=(*found.notes, *damaged)) if damaged else found
