"""``qhead runs``, ``status``, ``resume`` and ``cancel``: what was sent, and what becomes of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Table

from hardware.ledger.budget import ChargeRatio
from hardware.ledger.database import default_path
from hardware.ledger.ledger import Ledger
from hardware.ledger.records import JOB_STATES
from hardware.planning.plan_file import load_submitted
from hardware.planning.pubs import unpack
from hardware.runs import runner
from hardware.runs.progress import RunStatus, run_status
from qhead.commands import devices
from qhead.commands.common import console, print_json
from qhead.commands.devices import device_of, existing_ledger, naming_the_run
from qhead.commands.guard import complain
from qhead.commands.specs import check_seconds
from qhead.commands.tables import show_table
from qhead.progress import waiting


def run_runs(*, json: bool) -> None:
    """List all runs, newest first, estimate and truth side by side."""
    path = default_path()
    found: list[RunStatus] = []
    ratios: dict[str, ChargeRatio | None] = {}
    if path.exists():
        with Ledger(path) as ledger:
            found = [run_status(ledger, run.id, {}) for run in ledger.runs()]
            real = sorted({status.run.device for status in found if not status.run.local})
            ratios = {device: ledger.charge_ratio(device) for device in real}
    if json:
        listed = [status_dict(status) for status in found]
        known = {device: ratio and asdict(ratio) for device, ratio in ratios.items()}
        print_json({"ledger": str(path), "runs": listed, "charge_ratios": known})
        return
    screen = console()
    if not found:
        screen.print(f"No runs in {path}. qhead submit begins one.")
        return
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
    show_table(screen, table)
    for device, ratio in ratios.items():
        known_from = "an unknown share of the estimate: no finished job" if ratio is None else ratio
        screen.print(f"· {device} has charged {known_from}.")


def run_status_of(run_id: str, *, json: bool) -> None:
    """Say where a run stands as far as the ledger knows; nobody is asked."""
    with existing_ledger(run_id) as ledger:
        made = load_submitted(ledger.plan_body(ledger.run(run_id).id))
        status = runner.status(run_id, ledger=ledger, plan=made)
        run = status.run
        missing = len(unpack(made, runner.results(run.id, ledger=ledger)).missing)
        events = ledger.events(run.id)
    told = status_dict(status) | {"rows": made.num_rows, "rows_missing": missing}
    if json:
        history = [{"at": e.at, "job": e.idx, "what": e.what} for e in events]
        print_json(told | {"created": run.created_at, "events": history})
        return
    _show(status, missing=missing, rows=made.num_rows)


def run_resume(
    run_id: str,
    *,
    budget: float | None,
    resubmit_cancelled: bool,
    resubmit_unknown: bool,
    json: bool,
) -> None:
    """Find what was sent, plan again what failed and send what the pace allows."""
    check_seconds(budget)
    with existing_ledger(run_id) as ledger, naming_the_run():
        run = ledger.run(run_id)
        ledger.check_resumable(run.id, resubmit_cancelled)
        if run.local and budget is not None:
            complain("Note", f"{run.device} is simulated here: --budget {budget:g} is not used.")
        with waiting(f"resuming run {run.id}"):
            status = runner.resume(
                run.id,
                ledger=ledger,
                device=device_of(run),
                budget_seconds=budget,
                resubmit_cancelled=resubmit_cancelled,
                resubmit_unknown=resubmit_unknown,
                policy=devices.POLICY,
            )
    _tell(status, json=json)


def run_cancel(run_id: str, *, json: bool) -> None:
    """Send nothing more of a run and cancel its jobs that have not ended."""
    with existing_ledger(run_id) as ledger, naming_the_run():
        run = ledger.run(run_id)
        with waiting(f"cancelling run {run.id}"):
            status = runner.cancel(
                run.id, ledger=ledger, device=device_of(run), policy=devices.POLICY
            )
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
    if json:
        print_json(status_dict(status))
        return
    _show(status)
    if not status.finished:
        complain("Next", f"qhead collect {status.run.id}")


def _show(status: RunStatus, *, missing: int | None = None, rows: int | None = None) -> None:
    run, spent = status.run, status.spending
    table = Table(title=f"run {run.id}", title_justify="left", show_header=False)
    table.add_column("")
    table.add_column("", overflow="fold")
    told = {
        "state": run.state,
        "target": run.target,
        "created": run.created_at,
        "jobs": ", ".join(f"{n} {state}" for state in JOB_STATES if (n := status.jobs.get(state))),
    }
    if rows is not None and missing is not None:
        told["rows with results"] = f"{rows - missing} of {rows}"
    told |= {
        "QPU seconds estimated": f"{run.estimate_seconds:.1f}",
        "QPU seconds charged": _charged(status),
    }
    if not run.local:
        told["QPU seconds reserved, under way or not known yet"] = f"{spent.in_flight:.1f}"
        told["QPU seconds reserved, jobs to come"] = f"{spent.to_come:.1f}"
    if run.budget_seconds is not None:
        told["budget"] = f"{run.budget_seconds:g}"
    for name, value in told.items():
        table.add_row(name, value)
    screen = console()
    show_table(screen, table)
    for idx, text in sorted(status.problems.items()):
        screen.print(f"· {'run' if idx < 0 else f'job {idx}'}: {text}")


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
