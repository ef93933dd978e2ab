"""The lower half of the ledger: making runs, reading them, and single moves between states."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from platform import python_version
from types import TracebackType
from typing import Self

import numpy as np

from hardware.errors import (
    LedgerError,
    RunStateError,
    UnknownRunError,
    did_you_mean,
)
from hardware.ledger import database
from hardware.ledger.records import (
    JOB_MOVES,
    RUN_MOVES,
    Event,
    JobRecord,
    JobState,
    RunRecord,
    RunState,
    SessionRecord,
    Spending,
    iso,
    job_record,
    run_record,
)
from hardware.ledger.spending import check_round, may_have_run, session_records, spending
from hardware.words import scrub

_PACKAGES = ("qiskit", "qiskit-aer", "qiskit-ibm-runtime", "numpy", "qhead")
#: Rows for `job_record`.
SELECT_JOB = (
    "SELECT j.*, t.tag, t.sent_at, t.doubt_at FROM jobs j JOIN tags t "
    "ON t.run_id = j.run_id AND t.idx = j.idx AND t.attempt = j.attempt "
)


class Store:
    """Runs, jobs and results in one SQLite file, as seen by one thread of one process.

    Args:
        path: The file; `database.default_path` by default. Made if absent.
        now: Clock, seconds since the epoch.

    Raises:
        LedgerError: The file is from a newer version, damaged, read-only or no ledger.
    """

    def __init__(
        self, path: str | Path | None = None, *, now: Callable[[], float] = time.time
    ) -> None:
        self.path = Path(path).expanduser() if path is not None else database.default_path()
        self.now = now
        self._db = database.connect(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Run statements that all hold or none."""
        with database.guard(self.path), database.transaction(self._db):
            yield self._db

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """Return what a query finds, outside any transaction."""
        with database.guard(self.path):
            return self._db.execute(sql, values).fetchall()

    # --- making and reading runs ----------------------------------------------------------------

    def create_run(
        self,
        *,
        plan_hash: str,
        plan_body: bytes,
        job_seconds: Sequence[float],
        target: str,
        device: str,
        local: bool,
        budget_seconds: float | None,
        calibration: Mapping[str, object] | None = None,
        instance: str | None = None,
        later_seconds: float | None = None,
    ) -> RunRecord:
        """Write a run, its plan, its jobs and their tags, all ``planned``, and return it.

        Args:
            plan_hash: Content hash of the plan.
            plan_body: The plan, serialised.
            job_seconds: Estimated QPU seconds of each job.
            target: Target specification, e.g. ``"ibm:ibm_fez"``.
            device: Name of the device.
            local: Whether the device is simulated here and costs nothing.
            budget_seconds: QPU seconds that the run may use; None where nothing is charged.
            calibration: Snapshot of the device's calibration, JSON-able.
            instance: Which account and instance the device belongs to, see `Device.instance`.
            later_seconds: QPU seconds, at most, of rounds whose jobs follow from results; None
                where there are none.
        """
        at = iso(self.now())
        run_id = f"{at[:10].replace('-', '')}-{secrets.token_hex(4)}"
        tag = f"qhead-{run_id}"
        with self.writing() as db:
            self._store_plan(db, plan_hash, plan_body)
            db.execute(
                "INSERT INTO runs "
                "VALUES (?, 'planned', ?, ?, ?, ?, ?, NULL, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    run_id,
                    plan_hash,
                    target,
                    device,
                    int(local),
                    tag,
                    budget_seconds,
                    float(sum(job_seconds)),
                    json.dumps(_versions()),
                    json.dumps(calibration or {}),
                    at,
                    at,
                    instance,
                    later_seconds,
                ),
            )
            self._add_jobs(db, run_id, 0, job_seconds)
            self.note(db, run_id, None, f"planned with {len(job_seconds)} jobs")
        return self.run(run_id)

    def _store_plan(self, db: sqlite3.Connection, plan_hash: str, plan_body: bytes) -> None:
        db.execute(
            "INSERT INTO plans VALUES (?, ?, ?, ?) ON CONFLICT (hash) DO UPDATE "
            "SET body = excluded.body, checksum = excluded.checksum",
            (plan_hash, plan_body, database.digest(plan_body), iso(self.now())),
        )

    def _add_jobs(
        self, db: sqlite3.Connection, run_id: str, first: int, job_seconds: Sequence[float]
    ) -> None:
        """Write jobs and their tags, all ``planned``, from the index `first` on."""
        for idx, seconds in enumerate(job_seconds, start=first):
            db.execute(
                "INSERT INTO jobs (run_id, idx, state, estimate_seconds, updated_at) "
                "VALUES (?, ?, 'planned', ?, ?)",
                (run_id, idx, float(seconds), iso(self.now())),
            )
            self._new_tag(db, run_id, idx, 1)

    def add_round(
        self,
        run_id: str,
        *,
        plan_hash: str,
        plan_body: bytes,
        job_seconds: Sequence[float],
        later_seconds: float | None,
    ) -> bool:
        """Write a run's longer plan with the jobs and tags of its next round; all or nothing.

        Args:
            run_id: The run.
            plan_hash: Content hash of the longer plan.
            plan_body: The longer plan, serialised.
            job_seconds: Estimated QPU seconds of all of its jobs, those of earlier rounds first.
            later_seconds: As for `create_run`.

        Returns:
            False if the run is no longer open or another process has added this round.

        Raises:
            BudgetError: What the budget leaves does not cover the round. Nothing was written.
        """
        with self.writing() as db:
            first = len(self.jobs(run_id))
            if not self.run(run_id).awaits_round or first >= len(job_seconds):
                return False
            number = 1 + self.num_rounds(run_id)
            new = job_seconds[first:]
            check_round(db, self.run(run_id), number, float(sum(new)))
            self._store_plan(db, plan_hash, plan_body)
            db.execute(
                "INSERT INTO rounds VALUES (?, ?, ?, ?)",
                (run_id, number, plan_hash, iso(self.now())),
            )
            db.execute(
                "UPDATE runs SET later_seconds = ?, estimate_seconds = ? WHERE id = ?",
                (later_seconds, float(sum(job_seconds)), run_id),
            )
            self._add_jobs(db, run_id, first, new)
            self.note(db, run_id, None, f"round {number + 1} planned with {len(new)} jobs")
        return True

    def end_rounds(self, run_id: str) -> None:
        """Note that no further round follows."""
        with self.writing() as db:
            db.execute("UPDATE runs SET later_seconds = NULL WHERE id = ?", (run_id,))
            self.note(db, run_id, None, "no further round")

    def num_rounds(self, run_id: str) -> int:
        """Return how many rounds were added to a run after its first."""
        return int(self.rows("SELECT count(*) FROM rounds WHERE run_id = ?", run_id)[0][0])

    def _new_tag(self, db: sqlite3.Connection, run_id: str, idx: int, attempt: int) -> None:
        tag = f"qhead-{run_id}-{idx}-{attempt}"
        db.execute(
            "INSERT INTO tags (tag, run_id, idx, attempt, created_at) VALUES (?, ?, ?, ?, ?)",
            (tag, run_id, idx, attempt, iso(self.now())),
        )

    def run(self, run_id: str) -> RunRecord:
        """Return a run by its id or the unique beginning of one.

        Raises:
            UnknownRunError: There is none, or more than one.
        """
        known = [row["id"] for row in self.rows("SELECT id FROM runs")]
        found = [run_id] if run_id in known else [one for one in known if one.startswith(run_id)]
        if not run_id or len(found) != 1:
            kind = f"{len(found)} runs begin with it" if found and run_id else "no run is called so"
            raise UnknownRunError(
                f"Expected one of the {len(known)} runs in {self.path}, got {run_id!r}: {kind}."
                f"{did_you_mean(run_id, known)}"
            )
        return run_record(self.rows("SELECT * FROM runs WHERE id = ?", found[0])[0])

    def runs(self) -> list[RunRecord]:
        """Return all runs, newest first."""
        rows = self.rows("SELECT * FROM runs ORDER BY created_at DESC, id DESC")
        return [run_record(row) for row in rows]

    def plan_body(self, run_id: str) -> bytes:
        """Return a run's plan as it was stored, with all rounds so far.

        Raises:
            LedgerError: It has changed since.
        """
        row = self.rows(
            "SELECT p.* FROM plans p JOIN runs r ON p.hash = coalesce((SELECT o.plan_hash "
            "FROM rounds o WHERE o.run_id = r.id ORDER BY o.number DESC LIMIT 1), r.plan_hash) "
            "WHERE r.id = ?",
            run_id,
        )[0]
        if database.digest(row["body"]) != row["checksum"]:
            raise LedgerError(
                f"Expected the plan of run {run_id} as it was submitted, got another one: the "
                "ledger was edited or damaged; submit the workload as a new run."
            )
        return bytes(row["body"])

    def jobs(self, run_id: str, *states: JobState) -> list[JobRecord]:
        """Return a run's jobs in order, those in given states only where there are any."""
        rows = self.rows(f"{SELECT_JOB} WHERE j.run_id = ? ORDER BY j.idx", run_id)
        return [job_record(row) for row in rows if not states or row["state"] in states]

    def job(self, run_id: str, idx: int) -> JobRecord:
        """Return one job."""
        return job_record(
            self.rows(f"{SELECT_JOB} WHERE j.run_id = ? AND j.idx = ?", run_id, idx)[0]
        )

    def events(self, run_id: str) -> list[Event]:
        """Return a run's history, oldest first."""
        rows = self.rows("SELECT at, idx, what FROM events WHERE run_id = ? ORDER BY id", run_id)
        return [Event(**dict(row)) for row in rows]

    def spending(self, run_id: str) -> Spending:
        """Return what a run has cost and may still cost, in QPU seconds."""
        with database.guard(self.path):
            return spending(self._db, run_id)

    def sessions(self, run_id: str) -> list[SessionRecord]:
        """Return the sessions of a run, oldest first."""
        with database.guard(self.path):
            return session_records(self._db, run_id)

    def may_have_run(self, session_id: str) -> bool:
        """Whether a job may have run in a session; one without is charged nothing."""
        with database.guard(self.path):
            return may_have_run(self._db, session_id)

    # --- results --------------------------------------------------------------------------------

    def result(self, run_id: str, idx: int) -> dict[str, np.ndarray] | None:
        """Return a job's arrays by name, or None where there is no result yet.

        Raises:
            DamagedResultError: The stored bytes are not those that were stored.
        """
        rows = self.rows("SELECT * FROM results WHERE run_id = ? AND idx = ?", run_id, idx)
        if not rows:
            return None
        where = f"the result of job {idx} of run {run_id}"
        return database.unpack_arrays(rows[0]["arrays"], rows[0]["checksum"], where)

    # --- changes that the other parts of the ledger build on ------------------------------------

    def note(self, db: sqlite3.Connection, run_id: str, idx: int | None, what: str) -> None:
        """Add a line to a run's history, or to that of one of its jobs."""
        db.execute(
            "INSERT INTO events (at, run_id, idx, what) VALUES (?, ?, ?, ?)",
            (iso(self.now()), run_id, idx, scrub(what)),
        )

    def move_run(self, db: sqlite3.Connection, run_id: str, state: RunState) -> None:
        """Bring a run into another state, within a transaction.

        Raises:
            RunStateError: There is no such move from its present state.
        """
        row = db.execute("SELECT state FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row["state"] == state:
            return
        if state not in RUN_MOVES[row["state"]]:
            raise RunStateError(f"Run {run_id} is {row['state']} and cannot become {state}.")
        db.execute(
            "UPDATE runs SET state = ?, updated_at = ? WHERE id = ?",
            (state, iso(self.now()), run_id),
        )
        self.note(db, run_id, None, f"{row['state']} → {state}")

    def move_job(
        self,
        db: sqlite3.Connection,
        job: JobRecord,
        state: JobState,
        *,
        reason: str | None = None,
        remote_id: str | None = None,
        event: str | None = None,
    ) -> bool:
        """Bring a job into another state, within a transaction; False if it has moved meanwhile.

        The job must still be in the state, attempt and claim in which the caller saw it.

        Args:
            reason: Why, kept with the job.
            remote_id: The job on the platform that counts from now on.
            event: What the run's history says of it; the reason by default.
        """
        if state not in JOB_MOVES[job.state]:
            raise ValueError(f"A job cannot go from {job.state} to {state}.")
        reason = scrub(reason) if reason else None
        changed = db.execute(
            "UPDATE jobs SET state = ?, reason = ?, remote_id = coalesce(?, remote_id), "
            "claimant = NULL, lease_until = NULL, updated_at = ? "
            "WHERE run_id = ? AND idx = ? AND state = ? AND attempt = ? AND claimant IS ? "
            "AND remote_id IS ?",
            (
                state,
                reason,
                remote_id,
                iso(self.now()),
                job.run_id,
                job.idx,
                job.state,
                job.attempt,
                job.claimant,
                job.remote_id,
            ),
        ).rowcount
        if changed:
            self.note(
                db,
                job.run_id,
                job.idx,
                f"{job.state} → {state}" + (f": {event or reason}" if event or reason else ""),
            )
        return bool(changed)


def _versions() -> dict[str, str]:
    found = {"python": python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
