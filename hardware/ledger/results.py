"""Results in the ledger: storing them, and noting those that are lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import numpy as np

from hardware.ledger import database
from hardware.ledger.records import JOB_MOVES, JobRecord, iso
from hardware.ledger.store import Store


class Results:
    """Results of jobs, each stored with the move of its job or not at all.

    Args:
        store: Runs and jobs.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def finish(self, job: JobRecord, arrays: Mapping[str, np.ndarray]) -> bool:
        """Store a job's result and let it be ``done``, both or neither.

        It counts whoever holds the job by now and whatever became of it meanwhile, as long as the
        same job on the platform counts for it.

        False if it was done already, where the first result stays, or if another job counts.
        """
        blob = database.pack_arrays(arrays)
        with self._store.writing() as db:
            now = self._store.job(job.run_id, job.idx)
            if now.remote_id != job.remote_id or "done" not in JOB_MOVES[now.state]:
                return False
            self._store.move_job(db, now, "done")
            self._insert(db, job, blob)
            run = self._store.run(job.run_id)
            if run.state == "failed" or run.state == now.state == "cancelled":
                self._store.move_run(db, run.id, "submitted")  # until it is finalized anew
            db.execute(
                "UPDATE remote_jobs SET status = 'DONE', updated_at = ? WHERE remote_id = ?",
                (iso(self._store.now()), job.remote_id),
            )
            return True

    def _insert(self, db: sqlite3.Connection, job: JobRecord, blob: bytes) -> None:
        db.execute(
            "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?, ?, ?)",
            (
                job.run_id,
                job.idx,
                job.remote_id,
                blob,
                database.digest(blob),
                iso(self._store.now()),
            ),
        )

    def store_again(self, job: JobRecord, arrays: Mapping[str, np.ndarray]) -> None:
        """Replace the damaged result of a job that is ``done``."""
        blob = database.pack_arrays(arrays)
        with self._store.writing() as db:
            self._insert(db, job, blob)
            self._store.note(db, job.run_id, job.idx, "damaged result replaced")

    def lose(self, job: JobRecord, reason: str) -> bool:
        """Note that a job ran and its result is lost: what is on the platform is of no use.

        A run that was done is failed then.
        """
        with self._store.writing() as db:
            moved = self._store.move_job(db, job, "failed", reason=reason)
            if moved:
                db.execute(
                    "UPDATE remote_jobs SET status = 'ERROR' WHERE remote_id = ?", (job.remote_id,)
                )
                if self._store.run(job.run_id).state == "done":
                    self._store.move_run(db, job.run_id, "failed")
            return moved

    def untold(self, run_id: str) -> dict[str, float]:
        """Return what is reserved for jobs that ended and whose charge is not known yet, seconds.

        By the platform's ids. Jobs under way are not among them.
        """
        rows = self._store.rows(
            "SELECT r.remote_id, coalesce(t.reserved_seconds, j.estimate_seconds) AS seconds "
            "FROM remote_jobs r JOIN tags t ON t.tag = r.tag "
            "JOIN jobs j ON j.run_id = t.run_id AND j.idx = t.idx "
            "WHERE t.run_id = ? AND r.charged_seconds IS NULL AND NOT (j.remote_id IS r.remote_id "
            "AND j.state IN ('submitting', 'submitted')) ORDER BY r.seen_at, r.remote_id",
            run_id,
        )
        return {row["remote_id"]: row["seconds"] for row in rows}
