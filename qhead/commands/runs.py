"""``qhead runs``, ``status``, ``resume`` and ``cancel``: what was sent, and what becomes of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Table

from hardware.ledger.database import default_path
from hardware.ledger.records import JOB_STATES
from hardware.runs.permission import check_budget
from hardware.runs.progress import RunStatus
from hardware.runs.quote import charge_ratio
from hardware.runs.run import StoredRun, list_runs
from qhead.commands.common import show
from qhead.commands.guard import complain, naming_the_run
from qhead.progress import waiting


def run_runs(*, json: bool) -> None:
    """List all runs, newest first, estimate and truth side by side."""
    path, found = default_path(), list_runs()
    real = sorted({status.run.device for status in found if not status.run.local})
    ratios = {device: charge_ratio(device) for device in real}
    table = Table(title=f"runs in {path}", title_justify="left")
    for name in ("run", "state", "target", "jobs done"):
        table.add_column(name, overflow="fold")
    for name in ("estimated s", "charged s", "budget s"):
        table.add_column(name, justify="right")
    for status in found:
        run = status.run
        table.add_row(
            run.id, run.state, run.target,
            f"{status.jobs.get('done', 0)} of {sum(status.jobs.values())}",
            f"{run.estimate_seconds:.1f}", _charged(status),
            "" if run.budget_seconds is None else f"{run.budget_seconds:g}",
        )  # fmt: skip
    unknown = "an unknown share of the estimate: no finished job"
    shares = [f"· {device} has charged {ratio or unknown}." for device, ratio in ratios.items()]
    record = {
        "ledger": str(path),
        "runs": [status_dict(status) for status in found],
        "charge_ratios": {device: ratio and asdict(ratio) for device, ratio in ratios.items()},
    }
    empty = f"No runs in {path}. qhead submit begins one."
    show(record, *([table, *shares] if found else [empty]), json=json)


def run_status_of(run_id: str, *, json: bool) -> None:
    """Say where a run stands as far as the ledger knows; makes no network call."""
    run = StoredRun.open(run_id)
    status, rows = run.status(), run.plan.num_rows
    missing = len(run.expectations().missing)
    history = [{"at": e.at, "job": e.idx, "what": e.what} for e in run.events()]
    record = status_dict(status) | {"rows": rows, "rows_missing": missing}
    record |= {"created": status.run.created_at, "events": history}
    show(record, *_status_parts(status, missing=missing, rows=rows), json=json)


def run_resume(
    run_id: str,
    *,
    budget: float | None,
    resubmit_cancelled: bool,
    resubmit_unknown: bool,
    json: bool,
) -> None:
    """Find what was sent, plan again what failed and send what the pace allows."""
    check_budget(budget)
    run = StoredRun.open(run_id)
    if run.record.local and budget is not None:
        complain("Note", f"{run.record.device} is simulated here: --budget {budget:g} is not used.")
    with naming_the_run(), waiting(f"resuming run {run.id}"):
        status = run.resume(
            budget, resubmit_cancelled=resubmit_cancelled, resubmit_unknown=resubmit_unknown
        )
    _tell(status, json=json)


def run_cancel(run_id: str, *, json: bool) -> None:
    """Send nothing more of a run and cancel its jobs that have not ended."""
    run = StoredRun.open(run_id)
    with naming_the_run(), waiting(f"cancelling run {run.id}"):
        status = run.cancel()
    _tell(status, json=json)


def status_dict(status: RunStatus) -> dict[str, Any]:
    """Return where a run stands, JSON-able; seconds are those of the QPU."""
    run, spent = status.run, status.spending
    return {
        "run": run.id,
        "state": run.state,
        "target": run.target,
        "device": run.device,
        "local": run.local,
        "created": run.created_at,
        "updated": run.updated_at,
        "jobs": {state: status.jobs.get(state, 0) for state in JOB_STATES},
        "estimated_seconds": run.estimate_seconds,
        **charged_dict(status),
        "in_flight_seconds": spent.in_flight,
        "to_come_seconds": spent.to_come,
        "budget_seconds": run.budget_seconds,
        "problems": {str(idx): text for idx, text in sorted(status.problems.items())},
    }


def _tell(status: RunStatus, *, json: bool) -> None:
    show(status_dict(status), *_status_parts(status), json=json)
    if not status.finished and not json:
        complain("Next", f"qhead collect {status.run.id}")


def _status_parts(
    status: RunStatus, *, missing: int | None = None, rows: int | None = None
) -> list[Table | str]:
    run, spent = status.run, status.spending
    table = Table(title=f"run {run.id}", title_justify="left", show_header=False)
    table.add_column("")
    table.add_column("", overflow="fold")
    fields = {
        "state": run.state,
        "target": run.target,
        "created": run.created_at,
        "jobs": ", ".join(f"{n} {state}" for state in JOB_STATES if (n := status.jobs.get(state))),
    }
    if rows is not None and missing is not None:
        fields["rows with results"] = f"{rows - missing} of {rows}"
    fields |= {
        "QPU seconds estimated": f"{run.estimate_seconds:.1f}",
        "QPU seconds charged": _charged(status),
    }
    if not run.local:
        fields["QPU seconds reserved, under way or not known yet"] = f"{spent.in_flight:.1f}"
        fields["QPU seconds reserved, jobs to come"] = f"{spent.to_come:.1f}"
    if run.budget_seconds is not None:
        fields["budget"] = f"{run.budget_seconds:g}"
    for name, value in fields.items():
        table.add_row(name, value)
    problems = sorted(status.problems.items())
    return [table, *(f"· {'run' if idx < 0 else f'job {idx}'}: {text}" for idx, text in problems)]


def charged_dict(status: RunStatus) -> dict[str, Any]:
    """Return what a run was charged, JSON-able; null where the charge of a job is not known."""
    charged = status.spending.charged
    return {
        "charged_seconds": None if status.uncharged else charged,
        "known_charged_seconds": charged,
        "jobs_with_unknown_charge": status.uncharged,
    }


def _charged(status: RunStatus) -> str:
    if status.run.local:
        return "none, local"
    known = f"{status.spending.charged:.1f}"
    if not status.uncharged:
        return known
    return f"{known} + unknown" if status.spending.charged else "unknown"
