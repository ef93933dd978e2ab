"""The ledger: what was planned, sent, charged and returned, written before anything is sent.

A run is ``planned → submitted → done | failed | cancelled``; a job likewise, with ``submitting``
between ``planned`` and ``submitted`` for a request that may or may not have left, and ``unknown``
for one that was sent and that the platform says it does not know. Each change is
one transaction that states what it expects to find, so that several processes may work on one run
and a process that dies between two lines leaves a ledger from which another carries on.

No secret is stored: no token, no key, no account name.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from hardware.devices.base import UNSEEN
from hardware.errors import BudgetError, RunStateError
from hardware.ledger.budget import SLACK
from hardware.ledger.leases import Claim, Leases, Pace
from hardware.ledger.records import (
    JOB_MOVES,
    JobRecord,
    JobState,
    RunRecord,
    RunState,
    iso,
    run_record,
)
from hardware.ledger.results import Results
from hardware.ledger.spending import check_next_session, covered_overruns, told_later
from hardware.ledger.store import Store

__all__ = ["Claim", "Ledger", "Pace"]


class Ledger(Store):
    """The ledger in one SQLite file, as seen by one thread of one process.

    Args:
        path: The file; `database.default_path` by default. Made if absent.
        now: Clock, seconds since the epoch.

    Raises:
        LedgerError: The file is from a newer version, damaged, read-only or no ledger.
    """

    def __init__(
        self, path: str | Path | None = None, *, now: Callable[[], float] = time.time
    ) -> None:
        super().__init__(path, now=now)
        self.leases = Leases(self)
        self.results = Results(self)

    # --- after a request ------------------------------------------------------------------------

    def accept(
        self, job: JobRecord, remote_id: str, status: str = "QUEUED", tag: str | None = None
    ) -> bool:
        """Note that the platform took a job; False if this process no longer holds it.

        Args:
            tag: The tag that it carries, where that is one of an earlier attempt.
        """
        with self.writing() as db:
            if not self.move_job(db, job, "submitted", remote_id=remote_id):
                return False
            self._remote(db, remote_id, tag or job.tag, "adopted", status)
            db.execute("UPDATE tags SET doubt_at = NULL WHERE tag = ?", (job.tag,))
            return True

    def release(self, job: JobRecord, reason: str) -> bool:
        """Note that the platform did not take a job: it is to be sent again."""
        with self.writing() as db:
            db.execute(
                "UPDATE jobs SET reserved_seconds = NULL WHERE run_id = ? AND idx = ? "
                "AND claimant IS ?",
                (job.run_id, job.idx, job.claimant),
            )
            return self.move_job(db, job, "planned", reason=reason)

    def refuse(self, job: JobRecord, reason: str) -> bool:
        """Note that the platform will not take a job."""
        with self.writing() as db:
            return self.move_job(db, job, "failed", reason=reason)

    def drop(self, job: JobRecord, reason: str) -> bool:
        """Note that a job of a cancelled run was never taken."""
        with self.writing() as db:
            return self.move_job(db, job, "cancelled", reason=reason)

    def _remote(
        self, db: sqlite3.Connection, remote_id: str, tag: str, role: str, status: str
    ) -> None:
        at = iso(self.now())
        db.execute(
            "INSERT INTO remote_jobs VALUES (?, ?, ?, ?, NULL, ?, ?) "
            "ON CONFLICT (remote_id) DO UPDATE SET role = excluded.role, "
            "status = iif(status = 'ERROR', status, excluded.status), "
            "updated_at = excluded.updated_at",
            (remote_id, tag, role, status, at, at),
        )

    def is_lost(self, remote_id: str) -> bool:
        """Whether a job on the platform is known to give no result, whatever the platform says."""
        rows = self.rows("SELECT status FROM remote_jobs WHERE remote_id = ?", remote_id)
        return bool(rows) and rows[0]["status"] == "ERROR"

    def note_duplicate(
        self, job: JobRecord, remote_id: str, status: str, tag: str | None = None
    ) -> None:
        """Note a second job on the platform under a tag of a job, its present one by default."""
        with self.writing() as db:
            self._remote(db, remote_id, tag or job.tag, "duplicate", status)
            self.note(db, job.run_id, job.idx, f"duplicate {remote_id} ({status})")

    def adopt_instead(
        self, job: JobRecord, remote_id: str, status: str, *, foreign: bool = False
    ) -> bool:
        """Let another of the jobs under a submitted job's tag count.

        False if that has changed, or if the other one is known to give no result.

        Args:
            job: The job.
            remote_id: What counts for it from now on.
            status: That one's state.
            foreign: Whether what counted so far was somebody else's, and is forgotten.
        """
        with self.writing() as db:
            if self.is_lost(remote_id):
                return False
            event = f"adopted {remote_id} for {job.remote_id}"
            changed = self.move_job(db, job, "submitted", remote_id=remote_id, event=event)
            if changed:
                self._remote(db, remote_id, job.tag, "adopted", status)
                if foreign:
                    db.execute("DELETE FROM remote_jobs WHERE remote_id = ?", (job.remote_id,))
                elif job.remote_id is not None:
                    self._remote(db, job.remote_id, job.tag, "duplicate", "QUEUED")
                db.execute("UPDATE tags SET doubt_at = NULL WHERE tag = ?", (job.tag,))
            return changed

    def adopt_stray(self, job: JobRecord, remote_id: str, status: str, tag: str) -> bool:
        """Let a job on the platform count for one that is planned, unknown, failed or cancelled.

        Args:
            tag: The tag that it carries, that of the job's present attempt or of an earlier one.

        Returns:
            False if the job has moved meanwhile, or if the other one is known to give no result.
        """
        if "submitted" not in JOB_MOVES[job.state] or self.is_lost(remote_id):
            return False
        with self.writing() as db:
            event = f"found {remote_id}"
            changed = self.move_job(db, job, "submitted", remote_id=remote_id, event=event)
            if changed:
                db.execute(
                    "UPDATE jobs SET verified = 1, reserved_seconds = NULL "
                    "WHERE run_id = ? AND idx = ?",
                    (job.run_id, job.idx),
                )
                db.execute("UPDATE tags SET doubt_at = NULL WHERE tag = ?", (job.tag,))
                if job.remote_id == UNSEEN + tag:  # this is the one that was not seen
                    db.execute("DELETE FROM remote_jobs WHERE remote_id = ?", (job.remote_id,))
                self._remote(db, remote_id, tag, "adopted", status)
                run = self.run(job.run_id)
                if run.state in ("planned", "failed") or run.state == job.state == "cancelled":
                    self.move_run(db, run.id, "submitted")
            return changed

    def is_new(self, remote_id: str, job: JobRecord) -> bool:
        """Whether a job on the platform is not known yet as that of another job."""
        rows = self.rows("SELECT tag FROM remote_jobs WHERE remote_id = ?", remote_id)
        return not rows or rows[0]["tag"] == job.tag

    def unverified(self, run_id: str) -> list[JobRecord]:
        """Return the jobs that were sent and may have a second one under their tag, not seen yet.

        Jobs that are under way are not among them.
        """
        return [
            job
            for job in self.jobs(run_id, "done", "failed", "cancelled")
            if job.remote_id is not None and not job.verified
        ]

    def listed_before(self, run_id: str) -> list[tuple[str, str]]:
        """Return id and tag of the newest jobs that a run's platform has listed, three at most.

        They are of any run through the same account and instance, and not known to have vanished.
        """
        rows = self.rows(
            "SELECT j.remote_id, t.tag FROM jobs j JOIN runs u ON u.id = j.run_id "
            "JOIN remote_jobs r ON r.remote_id = j.remote_id JOIN tags t ON t.tag = r.tag "
            "WHERE NOT u.local AND j.verified AND j.state IN ('submitted', 'done') "
            "AND u.instance IS (SELECT instance FROM runs WHERE id = ?) "
            "ORDER BY t.sent_at DESC LIMIT 3",
            run_id,
        )
        return [(row["remote_id"], row["tag"]) for row in rows]

    def mark_verified(self, job: JobRecord, verified: bool = True) -> None:
        """Note whether a job was looked for under its tag and stands alone there."""
        with self.writing() as db:
            db.execute(
                "UPDATE jobs SET verified = ? WHERE run_id = ? AND idx = ? AND attempt = ?",
                (int(verified), job.run_id, job.idx, job.attempt),
            )

    def charge(self, remote_id: str, seconds: float, status: str) -> None:
        """Note what the platform charged for a job; one without a use stays so."""
        with self.writing() as db:
            db.execute(
                "UPDATE remote_jobs SET charged_seconds = ?, "
                "status = iif(status = 'ERROR', status, ?), updated_at = ? WHERE remote_id = ?",
                (float(seconds), status, iso(self.now()), remote_id),
            )

    def owners(self, run_id: str) -> dict[str, int]:
        """Return the job that each tag of a run belongs to, those of earlier attempts included."""
        rows = self.rows("SELECT tag, idx FROM tags WHERE run_id = ?", run_id)
        return {row["tag"]: row["idx"] for row in rows}

    def remote_states(self, run_id: str) -> dict[str, str]:
        """Return the jobs on the platform that are known to belong to a run, as last seen."""
        rows = self.rows(
            "SELECT r.remote_id, r.status FROM remote_jobs r JOIN tags t ON t.tag = r.tag "
            "WHERE t.run_id = ?",
            run_id,
        )
        return {row["remote_id"]: row["status"] for row in rows}

    def uncharged(self, run_id: str) -> list[tuple[str, str, str]]:
        """Return (remote id, tag, role) of the run's jobs of which no charge is known yet."""
        rows = self.rows(
            "SELECT r.remote_id, r.tag, r.role FROM remote_jobs r JOIN tags t ON t.tag = r.tag "
            "WHERE t.run_id = ? AND r.charged_seconds IS NULL ORDER BY r.seen_at, r.remote_id",
            run_id,
        )
        return [(row["remote_id"], row["tag"], row["role"]) for row in rows]

    # --- ends and new beginnings ----------------------------------------------------------------

    def end(self, job: JobRecord, state: JobState, reason: str) -> bool:
        """Note that a job ended ``failed`` or ``cancelled``, or that it is ``unknown``."""
        with self.writing() as db:
            return self.move_job(db, job, state, reason=reason)

    def reopen(
        self,
        run_id: str,
        *,
        cancelled_too: bool = False,
        unknown_too: bool = False,
        budget_seconds: float | None = None,
    ) -> int:
        """Plan the failed jobs of a run again, each under a new tag; return how many.

        Args:
            cancelled_too: Whether to plan cancelled jobs again as well.
            unknown_too: Whether to plan jobs again that the platform does not know any more. If it
                has them after all, both are paid for; the budget counts both.
            budget_seconds: A new budget; without meaning for a local run.

        Raises:
            RunStateError: The run was cancelled and `cancelled_too` is not given.
            BudgetError: The budget does not cover what was charged, what is under way and the next
                job. One that is not new need not where jobs are under way, which may use less than
                their share. Nothing was written.
        """
        with self.writing() as db:
            run = self.check_resumable(run_id, cancelled_too)
            if budget_seconds is not None and not run.local:
                db.execute(
                    "UPDATE runs SET budget_seconds = ? WHERE id = ?", (budget_seconds, run_id)
                )
                self.note(db, run_id, None, f"budget {budget_seconds:g} s")
            states: list[JobState] = ["failed"]
            states += ["cancelled"] if cancelled_too else []
            states += ["unknown"] if unknown_too else []
            again = self.jobs(run_id, *states)
            for job in again:
                self.move_job(db, job, "planned", reason=job.reason)
                db.execute(
                    "UPDATE remote_jobs SET role = 'duplicate' WHERE remote_id = ?",
                    (job.remote_id,),
                )
                db.execute(
                    "UPDATE jobs SET attempt = attempt + 1, remote_id = NULL, verified = 0, "
                    "reserved_seconds = NULL "
                    "WHERE run_id = ? AND idx = ?",
                    (run_id, job.idx),
                )
                self._new_tag(db, run_id, job.idx, job.attempt + 1)
            between = cancelled_too and run.later_seconds is not None  # rounds, without a job left
            if run.state in ("failed", "cancelled") and (again or between):
                self.move_run(db, run_id, "submitted")
            if budget_seconds is not None or not self.jobs(run_id, "submitting", "submitted"):
                self._check_budget(db, run_id, budget_seconds is not None)
        return len(again)

    def _check_budget(self, db: sqlite3.Connection, run_id: str, new: bool) -> None:
        run = self.run(run_id)
        planned = self.jobs(run_id, "planned")
        if planned:
            self.leases.share(db, run, planned[0].idx, planned[0].estimate_seconds)
            if new:
                check_next_session(db, run, [job.estimate_seconds for job in planned])
        elif new and run.budget_seconds is not None:
            spent = self.spending(run_id)
            used = spent.charged + spent.in_flight - covered_overruns(db, run_id)
            if used > run.budget_seconds + SLACK:
                raise BudgetError(
                    f"Expected a budget of run {run_id} of at least what it uses, got "
                    f"{run.budget_seconds:g} s: {spent.charged:g} s are charged and "
                    f"{spent.in_flight:g} s under way or not known yet."
                    f"{told_later(self.sessions(run_id))}"
                )

    def check_resumable(self, run_id: str, cancelled_too: bool) -> RunRecord:
        """Return a run that may be carried on.

        Raises:
            RunStateError: It was cancelled and `cancelled_too` is not given.
        """
        run = self.run(run_id)
        if run.state == "cancelled" and not cancelled_too:
            raise RunStateError(
                f"Run {run_id} was cancelled: its results so far can be collected. To send its "
                f"cancelled jobs after all{'' if run.local else ', at your cost'}, use "
                "resubmit_cancelled=True.",
                options=["resubmit_cancelled"],
            )
        return run

    def cancel(self, run_id: str) -> list[JobRecord]:
        """Let nothing more of a run be sent; return the jobs that are or may be on the platform.

        Raises:
            RunStateError: The run has ended already.
        """
        with self.writing() as db:
            self.move_run(db, run_id, "cancelled")
            for job in self.jobs(run_id, "planned"):
                self.move_job(db, job, "cancelled", reason="cancelled before it was sent")
        return self.jobs(run_id, "submitting", "submitted")

    def finalize(self, run_id: str) -> RunState:
        """Give a run its final state once all its jobs have one; return its state."""
        with self.writing() as db:
            states = {job.state for job in self.jobs(run_id)}
            run = run_record(db.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone())
            if run.state == "submitted" and not states & {"planned", "submitting", "submitted"}:
                if states == {"done"} and run.awaits_round:
                    return run.state
                final: RunState = "done"
                if states & {"failed", "unknown"}:
                    final = "failed"
                elif "cancelled" in states:
                    final = "cancelled"
                self.move_run(db, run_id, final)
        return self.run(run_id).state
