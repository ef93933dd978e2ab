"""Where a run stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hardware.ledger.ledger import Ledger
from hardware.ledger.records import JOB_STATES, RunRecord, RunState, Spending


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands.

    Args:
        run: The run's row in the ledger.
        jobs: How many of its jobs are in each state.
        spending: QPU seconds charged, under way and to come.
        problems: What keeps jobs from being sent or collected, by job; below zero for the
            whole run.
        waiting: What is waited for now, where that takes seconds.
        uncharged: How many jobs have ended on the platform, or are not known there any more,
            without it saying what it charged.
        open_charges: Of how many sessions no charge is known yet.
    """

    run: RunRecord
    jobs: Mapping[str, int]
    spending: Spending
    problems: Mapping[int, str] = field(default_factory=dict)
    waiting: str | None = None
    uncharged: int = 0
    open_charges: int = 0

    @property
    def state(self) -> RunState:
        """State of the run."""
        return self.run.state

    @property
    def finished(self) -> bool:
        """Whether no job is left to send or to wait for, and no round to decide on."""
        under_way = any(self.jobs.get(s) for s in ("planned", "submitting", "submitted"))
        return not under_way and not self.run.awaits_round

    @property
    def charge_known(self) -> bool:
        """Whether all that was charged so far is known."""
        return not self.uncharged and not self.open_charges

    def charge_record(self) -> dict[str, Any]:
        """Return what was charged, JSON-able; null where a job's or session's is not known."""
        charged = self.spending.charged
        return {
            "charged_seconds": charged if self.charge_known else None,
            "known_charged_seconds": charged,
            "jobs_with_unknown_charge": self.uncharged,
            "sessions_with_unknown_charge": self.open_charges,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return where the run stands, JSON-able; seconds are those of the QPU."""
        run, spent = self.run, self.spending
        return {
            "run": run.id,
            "state": run.state,
            "target": run.target,
            "device": run.device,
            "local": run.local,
            "created": run.created_at,
            "updated": run.updated_at,
            "jobs": {state: self.jobs.get(state, 0) for state in JOB_STATES},
            "estimated_seconds": run.estimate_seconds,
            **self.charge_record(),
            "in_flight_seconds": spent.in_flight,
            "to_come_seconds": spent.to_come,
            "later_rounds_seconds": run.later_seconds,
            "budget_seconds": run.budget_seconds,
            "problems": {str(idx): text for idx, text in sorted(self.problems.items())},
        }


OnProgress = Callable[[RunStatus], None]


def run_status(ledger: Ledger, run_id: str, problems: Mapping[int, str]) -> RunStatus:
    """Return where a run stands by the ledger, with problems that only the caller knows."""
    jobs = ledger.jobs(run_id)
    run = ledger.run(run_id)
    unverified = {}
    if not run.local and run.state != "submitted" and (some := ledger.unverified(run.id)):
        unverified[-2] = (
            f"{len(some)} jobs ended before the platform's list could show whether a request was "
            "taken twice, which costs twice: collect the run again in a minute to check."
        )
    sessions = ledger.sessions(run_id)
    if unpaid := [one for one in sessions if one.charged_seconds is None]:
        unverified[-3] = (
            f"The charge of session {unpaid[0].id} is not known yet: it counts with "
            f"{unpaid[0].reserved_seconds:g} s, the most that it can be."
        )
    if waiting := [one for one in sessions if not one.closed]:
        unverified[-4] = (
            f"Session {waiting[0].id} is open and charged while it waits, until its time limit or "
            "until it is closed: collecting, resuming or cancelling the run closes it."
        )
    reasons = {job.idx: job.reason for job in jobs if job.reason and job.state != "done"}
    under_way = {job.remote_id for job in jobs if job.state in ("submitting", "submitted")}
    # Where there are sessions, their charges are all that counts.
    unknown = [] if run.local or sessions else [one for one, *_ in ledger.uncharged(run.id)]
    return RunStatus(
        run,
        Counter(job.state for job in jobs),
        ledger.spending(run_id),
        {**reasons, **unverified, **problems},
        uncharged=sum(one not in under_way for one in unknown),
        open_charges=len(unpaid),
    )
