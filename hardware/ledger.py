"""The ledger: what was planned, sent, charged and returned, written before anything is sent.

A run is ``planned → submitted → done | failed | cancelled``; a job likewise, with ``submitting``
between ``planned`` and ``submitted`` for a request that may or may not have left. Each change is
one transaction that states what it expects to find, so that several processes may work on one run
and a process that dies between two lines leaves a ledger from which another carries on.

No secret is stored: no token, no key, no account name.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hardware import storage
from hardware.books import Books, spending
from hardware.errors import BudgetError, RunStateError
from hardware.records import JobRecord, JobState, RunRecord, RunState, is_gone, iso, run_record

_MINUTE = 60.0
#: Floating-point slack of a sum of seconds against a budget.
_SLACK = 1e-6


@dataclass(frozen=True)
class Pace:
    """How fast an account takes jobs. None: without limit.

    Args:
        max_pending: Most jobs that may wait or run at a time.
        per_minute: Most submissions within a minute.
    """

    max_pending: int | None = None
    per_minute: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_pending", "per_minute"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"Expected {name} of 1 or more, or None, got {value}.")


@dataclass(frozen=True)
class Claim:
    """A job that this process alone may now send, or why there is none.

    `wait_seconds` is the time until the pace allows the next one, where time alone brings it.
    """

    job: JobRecord | None = None
    blocked: str | None = None  # None: nothing is left to send
    wait_seconds: float | None = None


class Ledger(Books):
    """The ledger in one SQLite file, as seen by one thread of one process.

    Args:
        path: The file; `storage.default_path` by default. Made if absent.
        now: Clock, seconds since the epoch.

    Raises:
        LedgerError: The file is from a newer version, damaged, read-only or no ledger.
    """

    # --- before a request -----------------------------------------------------------------------

    def claim_next(self, run_id: str, claimant: str, lease_seconds: float, pace: Pace) -> Claim:
        """Take the run's next planned job for sending, if pace and budget allow one.

        The job becomes ``submitting`` and its tag is stamped before this returns; no other process
        can take it until the lease ends or this process does.

        Raises:
            BudgetError: The job's estimate exceeds what the budget leaves.
        """
        now = self._now()
        with self.writing() as db:
            run = self._open_run(db, run_id)
            if run is None:
                return Claim(blocked="the run is no longer open")
            row = db.execute(
                "SELECT * FROM jobs WHERE run_id = ? AND state = 'planned' ORDER BY idx LIMIT 1",
                (run_id,),
            ).fetchone()
            if row is None:
                return Claim()
            if not run.local and (held := self._held_back(db, pace, now)):
                return held
            reserved = self._share(db, run, row["idx"], row["estimate_seconds"])
            db.execute(
                "UPDATE jobs SET state = 'submitting', claimant = ?, lease_until = ?, "
                "reserved_seconds = ?, reason = NULL, remote_id = NULL, verified = 0, "
                "updated_at = ? WHERE run_id = ? AND idx = ?",
                (claimant, iso(now + lease_seconds), reserved, iso(now), run_id, row["idx"]),
            )
            db.execute(
                "UPDATE tags SET sent_at = ? WHERE run_id = ? AND idx = ? AND attempt = ?",
                (iso(now), run_id, row["idx"], row["attempt"]),
            )
            self.move_run(db, run_id, "submitted")
            self._note(db, run_id, row["idx"], "planned → submitting")
        return Claim(self.job(run_id, row["idx"]))

    def _open_run(self, db: sqlite3.Connection, run_id: str) -> RunRecord | None:
        run = run_record(db.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone())
        return run if run.state in ("planned", "submitted") else None

    def _held_back(self, db: sqlite3.Connection, pace: Pace, now: float) -> Claim | None:
        if pace.max_pending is not None:
            pending = db.execute(
                "SELECT count(*) FROM jobs j JOIN runs r ON r.id = j.run_id "
                "WHERE NOT r.local AND j.state IN ('submitting', 'submitted')"
            ).fetchone()[0]
            if pending >= pace.max_pending:
                return Claim(blocked=f"{pending} jobs are pending, {pace.max_pending} may be")
        if pace.per_minute is not None:
            recent = db.execute(
                "SELECT t.sent_at FROM tags t JOIN runs r ON r.id = t.run_id "
                "WHERE NOT r.local AND t.sent_at > ? ORDER BY t.sent_at",
                (iso(now - _MINUTE),),
            ).fetchall()
            if len(recent) >= pace.per_minute:
                first = db.execute(
                    "SELECT (julianday(?) - julianday(?)) * 86400",
                    (iso(now), recent[-pace.per_minute]["sent_at"]),
                ).fetchone()[0]
                return Claim(
                    blocked=f"{len(recent)} jobs were sent within a minute, "
                    f"{pace.per_minute} may be",
                    wait_seconds=max(_MINUTE - first, 0.05),
                )
        return None

    def _share(
        self, db: sqlite3.Connection, run: RunRecord, idx: int, seconds: float
    ) -> float | None:
        """Return the part of what the budget leaves that a job may use up, by its estimate."""
        if run.budget_seconds is None:
            return None
        spent = spending(db, run.id)
        used = spent.charged + spent.in_flight
        if used + seconds > run.budget_seconds + _SLACK:
            raise BudgetError(
                f"Expected job {idx} of run {run.id} to fit in its budget of "
                f"{run.budget_seconds:g} s: {spent.charged:g} s are charged, {spent.in_flight:g} s "
                f"under way and the job needs about {seconds:g} s. What has been sent can be "
                "collected; resume the run with a larger budget to send the rest."
            )
        left = run.budget_seconds - used
        return max(seconds, seconds * left / spent.to_come) if spent.to_come else seconds

    def take_over(self, run_id: str, claimant: str, lease_seconds: float) -> list[JobRecord]:
        """Take the jobs whose request may have left a process that ended or let its lease lapse."""
        now = self._now()
        taken = []
        with self.writing() as db:
            rows = db.execute(
                "SELECT idx, claimant, lease_until FROM jobs "
                "WHERE run_id = ? AND state = 'submitting'",
                (run_id,),
            ).fetchall()
            for row in rows:
                lapsed = row["lease_until"] is None or row["lease_until"] <= iso(now)
                if lapsed or row["claimant"] == claimant or is_gone(row["claimant"]):
                    db.execute(
                        "UPDATE jobs SET claimant = ?, lease_until = ? "
                        "WHERE run_id = ? AND idx = ?",
                        (claimant, iso(now + lease_seconds), run_id, row["idx"]),
                    )
                    taken.append(row["idx"])
        return [self.job(run_id, idx) for idx in taken]

    def let_go(self, claimant: str) -> None:
        """Give up a process's claims, so that another need not wait for them to lapse."""
        with self.writing() as db:
            db.execute(
                "UPDATE jobs SET claimant = NULL, lease_until = NULL WHERE claimant = ?",
                (claimant,),
            )

    def set_batch(self, run_id: str, batch_id: str | None, instead_of: str | None) -> bool:
        """Note the batch that a run's jobs go to; False if another process noted one meanwhile."""
        with self.writing() as db:
            return bool(
                db.execute(
                    "UPDATE runs SET batch_id = ?, updated_at = ? WHERE id = ? AND batch_id IS ?",
                    (batch_id, iso(self._now()), run_id, instead_of),
                ).rowcount
            )

    # --- after a request ------------------------------------------------------------------------

    def accept(self, job: JobRecord, remote_id: str, status: str = "QUEUED") -> bool:
        """Note that the platform took a job; False if this process no longer holds it."""
        with self.writing() as db:
            if not self.move_job(db, job, "submitted", remote_id=remote_id):
                return False
            self._remote(db, remote_id, job.tag, "adopted", status)
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
        at = iso(self._now())
        db.execute(
            "INSERT INTO remote_jobs VALUES (?, ?, ?, ?, NULL, ?, ?) "
            "ON CONFLICT (remote_id) DO UPDATE SET role = excluded.role, status = excluded.status, "
            "updated_at = excluded.updated_at",
            (remote_id, tag, role, status, at, at),
        )

    def note_duplicate(self, job: JobRecord, remote_id: str, status: str) -> None:
        """Note a second job on the platform under a job's tag."""
        with self.writing() as db:
            self._remote(db, remote_id, job.tag, "duplicate", status)
            self._note(db, job.run_id, job.idx, f"duplicate {remote_id} ({status})")

    def adopt_instead(self, job: JobRecord, remote_id: str, status: str) -> bool:
        """Let another of the jobs under a submitted job's tag count; False if that has changed."""
        with self.writing() as db:
            changed = db.execute(
                "UPDATE jobs SET remote_id = ?, updated_at = ? WHERE run_id = ? AND idx = ? "
                "AND state = 'submitted' AND remote_id IS ?",
                (remote_id, iso(self._now()), job.run_id, job.idx, job.remote_id),
            ).rowcount
            if changed:
                self._remote(db, remote_id, job.tag, "adopted", status)
                if job.remote_id is not None:
                    self._remote(db, job.remote_id, job.tag, "duplicate", "QUEUED")
                self._note(db, job.run_id, job.idx, f"adopted {remote_id} for {job.remote_id}")
            return bool(changed)

    def mark_verified(self, job: JobRecord, verified: bool = True) -> None:
        """Note whether a job was looked for under its tag and stands alone there."""
        with self.writing() as db:
            db.execute(
                "UPDATE jobs SET verified = ? WHERE run_id = ? AND idx = ? AND attempt = ?",
                (int(verified), job.run_id, job.idx, job.attempt),
            )

    def charge(self, remote_id: str, seconds: float, status: str) -> None:
        """Note what the platform charged for a job."""
        with self.writing() as db:
            db.execute(
                "UPDATE remote_jobs SET charged_seconds = ?, status = ?, updated_at = ? "
                "WHERE remote_id = ?",
                (float(seconds), status, iso(self._now()), remote_id),
            )

    def uncharged(self, run_id: str) -> list[tuple[str, str, str]]:
        """Return (remote id, tag, role) of the run's jobs of which no charge is known yet."""
        rows = self._rows(
            "SELECT r.remote_id, r.tag, r.role FROM remote_jobs r JOIN tags t ON t.tag = r.tag "
            "WHERE t.run_id = ? AND r.charged_seconds IS NULL ORDER BY r.seen_at, r.remote_id",
            run_id,
        )
        return [(row["remote_id"], row["tag"], row["role"]) for row in rows]

    # --- ends and new beginnings ----------------------------------------------------------------

    def finish(self, job: JobRecord, arrays: Mapping[str, np.ndarray]) -> bool:
        """Store a job's result and let it be ``done``, both or neither.

        False if it was done already: the first result stays.
        """
        blob = storage.pack_arrays(arrays)
        with self.writing() as db:
            if not self.move_job(db, job, "done"):
                return False
            db.execute(
                "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?)",
                (
                    job.run_id,
                    job.idx,
                    job.remote_id,
                    blob,
                    storage.digest(blob),
                    iso(self._now()),
                ),
            )
            db.execute(
                "UPDATE remote_jobs SET status = 'DONE', updated_at = ? WHERE remote_id = ?",
                (iso(self._now()), job.remote_id),
            )
            return True

    def end(self, job: JobRecord, state: JobState, reason: str) -> bool:
        """Note that a job ended ``failed`` or ``cancelled``."""
        with self.writing() as db:
            return self.move_job(db, job, state, reason=reason)

    def reopen(
        self, run_id: str, *, cancelled_too: bool = False, budget_seconds: float | None = None
    ) -> int:
        """Plan the failed jobs of a run again, each under a new tag; return how many.

        Cancelled ones stay cancelled unless `cancelled_too` asks for them.

        Raises:
            RunStateError: The run was cancelled and `cancelled_too` is not given.
        """
        with self.writing() as db:
            run = self.check_resumable(run_id, cancelled_too)
            if budget_seconds is not None and not run.local:
                db.execute(
                    "UPDATE runs SET budget_seconds = ? WHERE id = ?", (budget_seconds, run_id)
                )
                self._note(db, run_id, None, f"budget {budget_seconds:g} s")
            states = ("failed", "cancelled") if cancelled_too else ("failed",)
            again = [job for job in self.jobs(run_id) if job.state in states]
            for job in again:
                self.move_job(db, job, "planned", reason=job.reason)
                db.execute(
                    "UPDATE jobs SET attempt = attempt + 1, remote_id = NULL, verified = 0, "
                    "reserved_seconds = NULL "
                    "WHERE run_id = ? AND idx = ?",
                    (run_id, job.idx),
                )
                self._new_tag(db, run_id, job.idx, job.attempt + 1)
            if run.state in ("failed", "cancelled") and again:
                self.move_run(db, run_id, "submitted")
        return len(again)

    def check_resumable(self, run_id: str, cancelled_too: bool) -> RunRecord:
        """Return a run that may be carried on.

        Raises:
            RunStateError: It was cancelled and `cancelled_too` is not given.
        """
        run = self.run(run_id)
        if run.state == "cancelled" and not cancelled_too:
            raise RunStateError(
                f"Expected a run that was not cancelled, got {run_id}: its results so far can be "
                "collected; to pay for its cancelled jobs after all, ask for them expressly."
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

    def settle(self, run_id: str) -> RunState:
        """Give a run its final state once all its jobs have one; return its state."""
        with self.writing() as db:
            states = {
                row["state"]
                for row in db.execute("SELECT state FROM jobs WHERE run_id = ?", (run_id,))
            }
            run = run_record(db.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone())
            if run.state == "submitted" and not states & {"planned", "submitting", "submitted"}:
                final: tuple[RunState, ...] = ("failed", "cancelled", "done")
                self.move_run(db, run_id, next(s for s in final if s in states))
        return self.run(run_id).state
