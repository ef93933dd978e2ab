"""The middle of the ledger: who may send which job when, and what it may cost."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from hardware.errors import BudgetError, LedgerError
from hardware.ledger.budget import SLACK, ChargeRatio
from hardware.ledger.records import JobRecord, RunRecord, given_up_by, is_gone, iso, run_record
from hardware.ledger.spending import (
    covered_overruns,
    may_have_run,
    session_records,
    spending,
    told_later,
)
from hardware.ledger.store import SELECT_JOB, Store

_MINUTE = 60.0
#: Leases end within this many seconds: a later end was set before the clock went back.
MAX_LEASE = 3600.0
#: Owners of leases in this process that have ended and could not write so.
_given_up: set[str] = set()


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
    others: tuple[str, ...] = ()  # runs whose pending jobs hold it back


class Leases:
    """What a sender needs: leases on jobs, under the account's pace and the run's budget.

    Args:
        store: Runs and jobs.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def claim_next(
        self,
        run_id: str,
        claimant: str,
        lease_seconds: float,
        pace: Pace,
        elsewhere: Mapping[str, int] | None = None,
    ) -> Claim:
        """Take the run's next planned job for sending, if pace and budget allow one.

        The job becomes ``submitting`` and its tag is stamped before this returns; no other process
        can take it until the lease ends or this process does.

        Args:
            elsewhere: How many jobs of other runs are pending, where the platform was asked: the
                ledger takes them for pending until somebody collects them.

        Raises:
            BudgetError: The job's estimate exceeds what the budget leaves.
        """
        now = self._store.now()
        with self._store.writing() as db:
            # The clock went back: as if sent now, or the pace would wait for the stamps' time.
            db.execute("UPDATE tags SET sent_at = ? WHERE sent_at > ?", (iso(now), iso(now)))
            db.execute("UPDATE sessions SET opened_at = ? WHERE opened_at > ?", (iso(now),) * 2)
            run = self._open_run(db, run_id)
            if run is None:
                return Claim(blocked="the run is no longer open")
            planned = self._store.jobs(run_id, "planned")
            if not planned:
                return Claim()
            job = planned[0]
            if not run.local and (held := self._held_back(db, run_id, pace, now, elsewhere or {})):
                return held
            reserved = self.share(db, run, job.idx, job.estimate_seconds)
            self._store.move_run(db, run_id, "submitted")
            self._store.move_job(db, job, "submitting")
            db.execute(
                "UPDATE jobs SET claimant = ?, lease_until = ?, reserved_seconds = ?, "
                "remote_id = NULL, verified = 0 WHERE run_id = ? AND idx = ?",
                (claimant, iso(now + lease_seconds), reserved, run_id, job.idx),
            )
            db.execute(
                "UPDATE tags SET sent_at = ?, reserved_seconds = ? WHERE tag = ?",
                (iso(now), reserved, job.tag),
            )
        return Claim(self._store.job(run_id, job.idx))

    def begin_send(self, job: JobRecord, lease_seconds: float) -> bool:
        """Note that a job's request leaves now; False if this process no longer holds the claim.

        The lease begins anew: what came before, building the request say, may have taken long.
        """
        now = self._store.now()
        with self._store.writing() as db:
            changed = db.execute(
                "UPDATE jobs SET lease_until = ? WHERE run_id = ? AND idx = ? AND attempt = ? "
                "AND state = 'submitting' AND claimant IS ? AND lease_until > ?",
                (
                    iso(now + lease_seconds),
                    job.run_id,
                    job.idx,
                    job.attempt,
                    job.claimant,
                    iso(now),
                ),
            ).rowcount
            if changed:
                db.execute(
                    "UPDATE tags SET sent_at = ?, doubt_at = NULL WHERE tag = ?",
                    (iso(now), job.tag),
                )
            return bool(changed)

    def doubt(self, job: JobRecord) -> float:
        """Note that it is in doubt whether the platform has a job; return since when (epoch, s).

        A doubt ends when the job is seen there or its request leaves again. One of the future,
        because the clock went back, begins now.
        """
        at = iso(self._store.now())
        with self._store.writing() as db:
            db.execute(
                "UPDATE tags SET doubt_at = min(coalesce(doubt_at, ?), ?) WHERE tag = ?",
                (at, at, job.tag),
            )
            row = db.execute("SELECT doubt_at FROM tags WHERE tag = ?", (job.tag,)).fetchone()
        return datetime.fromisoformat(row["doubt_at"]).timestamp()

    def trust(self, job: JobRecord) -> None:
        """Note that the platform has been seen to have a job."""
        with self._store.writing() as db:
            db.execute("UPDATE tags SET doubt_at = NULL WHERE tag = ?", (job.tag,))

    def _open_run(self, db: sqlite3.Connection, run_id: str) -> RunRecord | None:
        run = run_record(db.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone())
        return run if run.state in ("planned", "submitted") else None

    def _held_back(
        self,
        db: sqlite3.Connection,
        run_id: str,
        pace: Pace,
        now: float,
        elsewhere: Mapping[str, int],
    ) -> Claim | None:
        if pace.max_pending is not None:
            pending = _pending(db, now, elsewhere)
            total = sum(pending.values())
            if total >= pace.max_pending:
                others = tuple(one for one in pending if one != run_id)
                named = "".join(
                    f"; run {one} has {pending[one]} jobs not collected: qhead collect {one}"
                    for one in others
                )
                blocked = f"{total} jobs are pending, {pace.max_pending} may be{named}"
                return Claim(blocked=blocked, others=others)
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

    def share(
        self, db: sqlite3.Connection, run: RunRecord, idx: int, seconds: float
    ) -> float | None:
        """Return the part of what the budget leaves that a job may use up, by its estimate."""
        if run.budget_seconds is None:
            return None
        sessions = session_records(db, run.id)
        spent = spending(db, run.id)
        used = spent.charged + spent.in_flight
        # A session counts with its time limit, which has room for the jobs that go there.
        needed = 0.0 if sessions else seconds - covered_overruns(db, run.id)
        if used + needed > run.budget_seconds + SLACK:
            raise BudgetError(
                f"Expected job {idx} of run {run.id} to fit in its budget of "
                f"{run.budget_seconds:g} s: {spent.charged:g} s are charged, {spent.in_flight:g} s "
                f"under way or not known yet and the job needs about {seconds:g} s. What has been "
                "sent can be collected; resume the run with a larger budget to send the rest."
                f"{told_later(sessions)}"
            )
        if sessions or run.never_charged:
            return seconds  # a larger share means nothing there
        left, to_come = run.budget_seconds - used, spent.to_come + (run.later_seconds or 0.0)
        return max(seconds, seconds * left / to_come) if to_come else seconds

    def charge_ratio(self, device: str) -> ChargeRatio | None:
        """Return what a device charged for its finished jobs, by estimate; None: not known."""
        rows = self._store.rows(
            "SELECT r.charged_seconds / j.estimate_seconds AS ratio FROM remote_jobs r "
            "JOIN tags t ON t.tag = r.tag JOIN jobs j ON j.run_id = t.run_id AND j.idx = t.idx "
            "JOIN runs u ON u.id = t.run_id "
            "WHERE u.device = ? AND NOT u.local AND r.role = 'adopted' AND r.status = 'DONE' "
            "AND r.charged_seconds IS NOT NULL AND j.estimate_seconds > 0",
            device,
        )
        return ChargeRatio.of([row["ratio"] for row in rows])

    def take_over(
        self,
        run_id: str,
        claimant: str,
        lease_seconds: float,
        still_leaving: Callable[[str], bool] = lambda tag: True,
    ) -> list[JobRecord]:
        """Take the jobs whose request may have left a process that ended or let its lease lapse.

        Args:
            run_id: The run.
            claimant: Who takes them.
            lease_seconds: For how long.
            still_leaving: Whether a request that this process gave up waiting for is still on its
                way, by its tag: once it is not, its job is taken as well.
        """
        now = self._store.now()
        taken = []
        with self._store.writing() as db:
            rows = db.execute(
                f"{SELECT_JOB} WHERE j.run_id = ? AND j.state = 'submitting'", (run_id,)
            ).fetchall()
            for row in rows:
                lapsed = _lapsed(row["lease_until"], now, lease_seconds)
                given_up = row["claimant"] == given_up_by(claimant)
                own = row["claimant"] == claimant or (given_up and not still_leaving(row["tag"]))
                if lapsed or own or is_gone(row["claimant"]):
                    db.execute(
                        "UPDATE jobs SET claimant = ?, lease_until = ? "
                        "WHERE run_id = ? AND idx = ?",
                        (claimant, iso(now + lease_seconds), run_id, row["idx"]),
                    )
                    taken.append(row["idx"])
        return [self._store.job(run_id, idx) for idx in taken]

    def let_go(self, claimant: str, still_leaving: Callable[[str], bool]) -> None:
        """Give up a process's claims, so that another need not wait for them to lapse.

        A ledger that cannot be written keeps them: to this process they are given up, to others
        once their lease has lapsed.

        Args:
            claimant: Who held them.
            still_leaving: Whether the request of the job with this tag is still on its way: the
                process keeps its claim, for whoever in it takes over once the request has ended.
        """
        try:
            self._let_go(claimant, still_leaving)
        except LedgerError:
            _given_up.add(claimant)

    def _let_go(self, claimant: str, still_leaving: Callable[[str], bool]) -> None:
        rows = self._store.rows(f"{SELECT_JOB} WHERE j.claimant = ?", claimant)
        with self._store.writing() as db:
            for row in rows:
                leaves = still_leaving(row["tag"])
                db.execute(
                    "UPDATE jobs SET claimant = ?, lease_until = ? "
                    "WHERE run_id = ? AND idx = ? AND claimant = ?",
                    (
                        given_up_by(claimant) if leaves else None,
                        row["lease_until"] if leaves else None,
                        row["run_id"],
                        row["idx"],
                        claimant,
                    ),
                )

    def set_batch(
        self,
        run_id: str,
        batch_id: str | None,
        instead_of: str | None,
        session_seconds: float | None = None,
    ) -> bool:
        """Note the batch that a run's jobs go to; False if another process noted one meanwhile.

        Args:
            session_seconds: Of a session, what it may be charged at most.
        """
        at = iso(self._store.now())
        with self._store.writing() as db:
            changed = db.execute(
                "UPDATE runs SET batch_id = ?, updated_at = ? WHERE id = ? AND batch_id IS ?",
                (batch_id, at, run_id, instead_of),
            ).rowcount
            if changed and session_seconds is not None:
                db.execute(
                    "INSERT INTO sessions VALUES (?, ?, ?, NULL, 0, ?)",
                    (batch_id, run_id, float(session_seconds), at),
                )
                self._store.note(
                    db, run_id, None, f"session {batch_id}, {session_seconds:g} s at most"
                )
            return bool(changed)

    def note_session(self, session_id: str, charged: float | None = None) -> bool:
        """Note that a session takes no more jobs, and what it was charged in all once known.

        A charge of zero where a job may have run is not known yet: it is told before it is counted.

        Returns:
            Whether `charged` is its charge.
        """
        with self._store.writing() as db:
            if charged is not None and charged <= 0 and may_have_run(db, session_id):
                charged = None
            db.execute(
                "UPDATE sessions SET closed = 1, "
                "charged_seconds = coalesce(?, charged_seconds) WHERE id = ?",
                (charged, session_id),
            )
        return charged is not None

    def begin_fetch(self, job: JobRecord, claimant: str, lease_seconds: float) -> JobRecord | None:
        """Claim a submitted job for the one fetch of its result; None while another process has it.

        What is written here shows that the ledger can be written when the result comes.
        """
        now = self._store.now()
        ours = job.claimant in (None, claimant, *_given_up) or is_gone(job.claimant)
        if not ours and not _lapsed(job.lease_until, now, lease_seconds):
            return None
        held = (job.run_id, job.idx, job.attempt, job.claimant, job.remote_id)
        with self._store.writing() as db:
            changed = db.execute(
                "UPDATE jobs SET claimant = ?, lease_until = ? WHERE run_id = ? AND idx = ? "
                "AND attempt = ? AND state = 'submitted' AND claimant IS ? AND remote_id IS ?",
                (claimant, iso(now + lease_seconds), *held),
            ).rowcount
            if changed:
                self._store.note(
                    db, job.run_id, job.idx, f"private result of {job.remote_id} asked for"
                )
        return self._store.job(job.run_id, job.idx) if changed else None


def _lapsed(until: str | None, now: float, lease_seconds: float) -> bool:
    """Whether a lease has ended, or was made while the clock was ahead."""
    longest = max(lease_seconds, MAX_LEASE)
    return until is None or not iso(now) < until <= iso(now + longest)


def _pending(db: sqlite3.Connection, now: float, elsewhere: Mapping[str, int]) -> dict[str, int]:
    """Return how many jobs of each run wait, run or are being sent, runs without any left out."""
    rows = db.execute(
        "SELECT j.run_id, count(*) AS jobs, "
        "sum(j.state = 'submitting' AND coalesce(j.lease_until, '') > ?) AS sending "
        "FROM jobs j JOIN runs r ON r.id = j.run_id "
        "WHERE NOT r.local AND j.state IN ('submitting', 'submitted') "
        "GROUP BY j.run_id ORDER BY r.created_at, j.run_id",
        (iso(now),),
    ).fetchall()
    found = {}
    for row in rows:
        known = elsewhere.get(row["run_id"])
        found[row["run_id"]] = row["jobs"] if known is None else known + row["sending"]
    return {run_id: jobs for run_id, jobs in found.items() if jobs}
