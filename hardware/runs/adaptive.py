"""The next round of a run with adaptive shots, decided on by what the ledger holds."""

from __future__ import annotations

from functools import partial

from hardware.ledger.ledger import Ledger
from hardware.planning.plan_file import dump_plan, load_submitted
from hardware.planning.pubs import job_request
from hardware.planning.rounds import next_round
from hardware.runs.outcome import results, unusable


def advance(ledger: Ledger, run_id: str) -> bool:
    """Add the next round to a run whose jobs are all done, or note that none follows.

    The round's rows follow from stored results alone, and its jobs and tags are written in one
    transaction with them, before anything is sent: a process that dies at any line leaves either
    the round before or the whole next one, and another process carries on from there.

    Returns:
        Whether jobs were added. False as well where a stored result cannot be used.

    Raises:
        BudgetError: What the budget leaves does not cover the round; the run stays open.
    """
    run = ledger.run(run_id)
    if not run.awaits_round or any(job.state != "done" for job in ledger.jobs(run.id)):
        return False
    plan = load_submitted(ledger.plan_body(run.id))
    if unusable(run.id, partial(job_request, plan), ledger=ledger):
        return False
    longer = next_round(plan, results(run.id, ledger=ledger))
    if longer is None:
        ledger.end_rounds(run.id)
        return False
    return ledger.add_round(
        run.id,
        plan_hash=longer.key,
        plan_body=dump_plan(longer),
        job_seconds=longer.job_seconds,
        later_seconds=longer.most_to_come,
    )
