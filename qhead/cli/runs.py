"""``qhead runs``, ``status``, ``resume`` and ``cancel``: what was sent, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qhead.cli.guard import complain, naming_the_run
from qhead.cli.options import DEVICE, AccountChoice, Budget, Json, RunId

if TYPE_CHECKING:
    from rich.table import Table

    from hardware.runs.progress import RunStatus


def runs(json: Json = False) -> None:
    """List all runs, newest first: estimated and charged QPU seconds side by side."""
    from dataclasses import asdict

    from hardware.ledger.database import default_path
    from hardware.runs.quote import charge_ratio
    from hardware.runs.run import list_runs
    from qhead.cli.show import show, table

    path, found = default_path(), list_runs()
    real = sorted({status.run.device for status in found if not status.run.local})
    ratios = {device: charge_ratio(device) for device in real}
    listed = table(
        f"runs in {path}",
        ["run", "state", "target", "jobs done"],
        ["estimated s", "charged s", "budget s"],
    )
    for status in found:
        run = status.run
        listed.add_row(
            run.id, run.state, run.target,
            f"{status.jobs.get('done', 0)} of {sum(status.jobs.values())}",
            f"{run.estimate_seconds:.1f}", _charged(status),
            "" if run.budget_seconds is None else f"{run.budget_seconds:g}",
        )  # fmt: skip
    unknown = "an unknown share of the estimate: no finished job"
    shares = [f"· {device} has charged {ratio or unknown}." for device, ratio in ratios.items()]
    record = {
        "ledger": str(path),
        "runs": [status.as_dict() for status in found],
        "charge_ratios": {device: ratio and asdict(ratio) for device, ratio in ratios.items()},
    }
    empty = f"No runs in {path}. qhead submit begins one."
    show(record, *([listed, *shares] if found else [empty]), json=json)


def status(run: RunId, json: Json = False) -> None:
    """Show where a run stands by the ledger alone; makes no network call."""
    from hardware.runs.run import StoredRun
    from qhead.cli.show import show

    opened = StoredRun.open(run)
    found, rows = opened.status(), opened.plan.num_rows
    missing = len(opened.expectations().missing)
    record = {
        **found.as_dict(),
        "rows": rows,
        "rows_missing": missing,
        "events": [{"at": each.at, "job": each.idx, "what": each.what} for each in opened.events()],
    }
    arrived = {"rows with results": f"{rows - missing} of {rows}"}
    show(record, *_status_parts(found, arrived), json=json)


def resume(
    run: RunId,
    account: AccountChoice,
    budget: Budget = None,
    resubmit_cancelled: Annotated[
        bool,
        typer.Option(
            "--resubmit-cancelled",
            help="Send cancelled jobs again, at your cost.",
            rich_help_panel=DEVICE,
        ),
    ] = False,
    resubmit_unknown: Annotated[
        bool,
        typer.Option(
            "--resubmit-unknown",
            help="Send jobs again that the platform accepted and does not know any more. You pay "
            "twice if it ran them after all.",
            rich_help_panel=DEVICE,
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Carry on with a run: find what was sent, send again what failed and nothing else."""
    from hardware.runs.permission import check_budget
    from hardware.runs.run import StoredRun
    from qhead.progress import waiting

    check_budget(budget)
    opened = StoredRun.open(run, account=account.open())
    if opened.record.local and budget is not None:
        device = opened.record.device
        complain("Note", f"{device} is simulated here: --budget {budget:g} is not used.")
    with naming_the_run(), waiting(f"resuming run {opened.id}"):
        found = opened.resume(
            budget, resubmit_cancelled=resubmit_cancelled, resubmit_unknown=resubmit_unknown
        )
    _show_status(found, json=json)


def cancel(run: RunId, account: AccountChoice, json: Json = False) -> None:
    """Send nothing more of a run and cancel its jobs that have not ended."""
    from hardware.runs.run import StoredRun
    from qhead.progress import waiting

    opened = StoredRun.open(run, account=account.open())
    with naming_the_run(), waiting(f"cancelling run {opened.id}"):
        found = opened.cancel()
    _show_status(found, json=json)


def _show_status(status: RunStatus, *, json: bool) -> None:
    from qhead.cli.show import show

    show(status.as_dict(), *_status_parts(status), json=json)
    if not status.finished and not json:
        complain("Next", f"qhead collect {status.run.id}")


def _status_parts(status: RunStatus, more: dict[str, str] | None = None) -> list[Table | str]:
    """Return a run's table and its problems, a line each."""
    from hardware.ledger.records import JOB_STATES
    from qhead.cli.show import table

    run, spent = status.run, status.spending
    fields = {
        "state": run.state,
        "target": run.target,
        "created": run.created_at,
        "jobs": ", ".join(f"{n} {state}" for state in JOB_STATES if (n := status.jobs.get(state))),
        **(more or {}),
        "QPU seconds estimated": f"{run.estimate_seconds:.1f}",
        "QPU seconds charged": _charged(status),
    }
    if not run.local:
        fields["QPU seconds reserved, under way or not known yet"] = f"{spent.in_flight:.1f}"
        fields["QPU seconds reserved, jobs to come"] = f"{spent.to_come:.1f}"
    if run.budget_seconds is not None:
        fields["budget"] = f"{run.budget_seconds:g}"
    made = table(f"run {run.id}", ["", ""], show_header=False)
    for name, value in fields.items():
        made.add_row(name, value)
    problems = sorted(status.problems.items())
    return [made, *(f"· {'run' if idx < 0 else f'job {idx}'}: {text}" for idx, text in problems)]


def _charged(status: RunStatus) -> str:
    if status.run.local:
        return "none, local"
    known = f"{status.spending.charged:.1f}"
    if status.charge_known:
        return known
    return f"{known} + unknown" if status.spending.charged else "unknown"
