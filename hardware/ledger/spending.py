"""What a run has cost and may still cost, by its jobs and sessions in the ledger."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence

from hardware.errors import BudgetError
from hardware.ledger.budget import SLACK, overrun, session_seconds
from hardware.ledger.records import RunRecord, SessionRecord, Spending


def spending(db: sqlite3.Connection, run_id: str) -> Spending:
    """Return what a run has cost and may still cost, in QPU seconds.

    A job on the platform counts with what was reserved for it until the platform has said what it
    charged, whether it is under way, has ended or is not known any more; so do earlier attempts and
    duplicates.

    A run's sessions count in place of its jobs: each with its charge, or as long as that is not
    known with the most that it may be, of which what its jobs were charged is charged already.
    """
    charged = db.execute(
        "SELECT coalesce(sum(r.charged_seconds), 0) FROM remote_jobs r "
        "JOIN tags t ON t.tag = r.tag WHERE t.run_id = ?",
        (run_id,),
    ).fetchone()[0]
    uncharged = db.execute(
        "SELECT coalesce(sum(coalesce(t.reserved_seconds, j.estimate_seconds)), 0) "
        "FROM remote_jobs r "
        "JOIN tags t ON t.tag = r.tag JOIN jobs j ON j.run_id = t.run_id AND j.idx = t.idx "
        "WHERE t.run_id = ? AND r.charged_seconds IS NULL",
        (run_id,),
    ).fetchone()[0]
    by_state = {
        row["state"]: row["seconds"]
        for row in db.execute(
            "SELECT state, sum(coalesce(reserved_seconds, estimate_seconds)) AS seconds "
            "FROM jobs WHERE run_id = ? GROUP BY state",
            (run_id,),
        )
    }
    in_flight = uncharged + by_state.get("submitting", 0.0)
    sessions = session_records(db, run_id)
    if sessions:
        known = sum(one.charged_seconds or 0.0 for one in sessions)
        most = sum(one.reserved_seconds for one in sessions if one.charged_seconds is None)
        charged = max(known, charged)
        in_flight = max(known + most - charged, 0.0)
    to_come = by_state.get("planned", 0.0)
    return Spending(float(charged), float(in_flight), float(to_come))


def session_records(db: sqlite3.Connection, run_id: str) -> list[SessionRecord]:
    """Return the sessions of a run, oldest first."""
    rows = db.execute("SELECT * FROM sessions WHERE run_id = ? ORDER BY rowid", (run_id,))
    return [
        SessionRecord(
            row["id"], row["reserved_seconds"], row["charged_seconds"], bool(row["closed"])
        )
        for row in rows
    ]


def may_have_run(db: sqlite3.Connection, session_id: str) -> bool:
    """Whether a job may have run in a session: one sent while it was the run's last one.

    A job that is known to be charged nothing and gave no result has not run.
    """
    return bool(
        db.execute(
            "SELECT count(*) FROM sessions s JOIN tags t ON t.run_id = s.run_id "
            "LEFT JOIN remote_jobs r ON r.tag = t.tag "
            "JOIN jobs j ON j.run_id = t.run_id AND j.idx = t.idx "
            "WHERE s.id = ? AND t.sent_at >= s.opened_at AND t.sent_at < coalesce((SELECT "
            "min(n.opened_at) FROM sessions n WHERE n.run_id = s.run_id AND n.rowid > s.rowid), "
            "'a') AND iif(r.remote_id IS NULL, j.state = 'submitting' AND j.attempt = t.attempt, "
            "r.status = 'DONE' OR coalesce(r.charged_seconds, 1) > 0)",
            (session_id,),
        ).fetchone()[0]
    )


def told_later(sessions: Sequence[SessionRecord]) -> str:
    """Return a sentence on the first session of which no charge is known yet; "" without any."""
    unknown = [one for one in sessions if one.charged_seconds is None]
    if not unknown:
        return ""
    return (
        f" Session {unknown[0].id} counts with {unknown[0].reserved_seconds:g} s until the "
        "platform tells its charge: resume the run later, or with a larger budget."
    )


def check_next_session(db: sqlite3.Connection, run: RunRecord, estimates: Sequence[float]) -> None:
    """Refuse a budget that leaves a run whose sessions have ended too little for one more.

    Args:
        estimates: QPU seconds of the jobs to send.

    Raises:
        BudgetError: It does.
    """
    sessions = session_records(db, run.id)
    if not sessions or run.batch_id is not None or run.budget_seconds is None:
        return
    spent = spending(db, run.id)
    try:
        session_seconds(run.budget_seconds - spent.charged - spent.in_flight, estimates)
    except BudgetError as error:
        raise BudgetError(f"{error}{told_later(sessions)}", options=error.options) from error


def check_round(db: sqlite3.Connection, run: RunRecord, number: int, seconds: float) -> None:
    """Refuse a round of adaptive shots that the budget does not cover as a whole.

    Args:
        number: The round, counted from 0.
        seconds: Its estimated QPU seconds.

    Raises:
        BudgetError: The budget does not cover it.
    """
    if run.budget_seconds is None:
        return
    spent = spending(db, run.id)
    needed = spent.charged + spent.in_flight + seconds - covered_overruns(db, run.id)
    if needed > run.budget_seconds + SLACK:
        raise BudgetError(
            f"Round {number + 1} of run {run.id} was not sent: it needs about {seconds:.1f} s, and "
            f"of the budget of {run.budget_seconds:g} s, {spent.charged:g} s are charged and "
            f"{spent.in_flight:g} s not known yet. All rows have the labels of the rounds before; "
            f"resume the run with a budget of {math.ceil(needed)} s to go on with those that are "
            "undecided.",
            options=["budget"],
        )


def covered_overruns(db: sqlite3.Connection, run_id: str) -> float:
    """Return what a run's finished jobs used between their estimates and their caps, seconds.

    Nothing where the run has sessions: their time limits allow for it.
    """
    if session_records(db, run_id):
        return 0.0
    rows = db.execute(
        "SELECT r.charged_seconds, j.estimate_seconds FROM remote_jobs r "
        "JOIN tags t ON t.tag = r.tag JOIN jobs j ON j.run_id = t.run_id AND j.idx = t.idx "
        "WHERE t.run_id = ? AND r.role = 'adopted' AND r.status = 'DONE' "
        "AND r.charged_seconds IS NOT NULL",
        (run_id,),
    ).fetchall()
    return sum(overrun(row["charged_seconds"], row["estimate_seconds"]) for row in rows)
