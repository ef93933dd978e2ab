"""``qhead collect``: predictions of the rows whose results have arrived."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import typer

from hardware.devices.base import Device
from hardware.errors import InvalidInputError, RunError
from hardware.ledger.ledger import Ledger
from hardware.planning.plan import JobPlan
from hardware.planning.plan_file import load_submitted
from hardware.planning.pubs import job_request, unpack
from hardware.runs import runner
from hardware.runs.progress import RunStatus
from qhead.commands import devices
from qhead.commands.arguments import EncoderChoice
from qhead.commands.common import open_model, output, print_json
from qhead.commands.devices import device_of, existing_ledger, naming_the_run
from qhead.commands.guard import FAILED, MISSING_ROWS, complain
from qhead.commands.notes import About
from qhead.commands.planned import texts_of
from qhead.commands.results import FIELDS, explain_missing, predict_rows
from qhead.commands.rows import check_format, write_rows
from qhead.commands.run_bar import count_running, run_bar, watched
from qhead.commands.runs import status_dict
from qhead.files import check_new


def run(
    run_id: str,
    folder: Path | None,
    *,
    data: str | None,
    wait: float,
    offline: bool,
    refit: bool,
    out: Path | None,
    force: bool,
    format: str,
    raw: bool,
    json: bool,
    encoder: EncoderChoice,
) -> None:
    """Bring in what has arrived, predict it, and say what is missing."""
    check_format(format)
    check_new(out, force=force)
    if not wait >= 0:
        raise InvalidInputError(f"Expected --wait with zero or more seconds, or inf, got {wait}.")
    with existing_ledger(run_id) as ledger:
        record = ledger.run(run_id)
        made = load_submitted(ledger.plan_body(record.id))
        about = About.of(made, f"run {record.id}")
        where = folder or Path(about.model.path)
        about.model.check(where)
        model = open_model(where, encoder)
        texts = texts_of(about, data)
        status = bring_in(ledger, record.id, made, wait=None if wait == float("inf") else wait,
                          offline=offline)  # fmt: skip
        found = unpack(made, runner.results(record.id, ledger=ledger))
    rows = predict_rows(model, about, found, refit=refit)
    records = rows.records(texts, numbered=True, whole=False)
    fields = ("row", *(("text",) if texts is not None else ()), *FIELDS)
    if json:
        told = status_dict(status) | {
            "rows": rows.num_rows,
            "missing": [row + 1 for row in rows.missing],
            "predictions": list(records),
            "notes": list(rows.prediction.notes),
        }
        with output(out) as file:
            print_json(told, file)
    else:
        with output(out) as file:
            write_rows(file, records, fields=fields, format=format, raw=raw)
        for note in rows.prediction.notes:
            complain("Note", note)
    if rows.missing:
        complain("Note", explain_missing(rows.missing, rows.num_rows, status))
    if status.state == "failed":
        raise typer.Exit(FAILED)
    if rows.missing:
        raise typer.Exit(MISSING_ROWS)


def bring_in(
    ledger: Ledger, run_id: str, made: JobPlan, *, wait: float | None, offline: bool = False
) -> RunStatus:
    """Collect a run for so many seconds and return where it stands.

    A run of which everything is known already asks nobody. Where the platform fails and all jobs
    have ended, what the ledger holds is given all the same.

    Raises:
        HardwareError: As `hardware.runs.runner.collect`, for a run with jobs to come.
    """
    ledger.settle(run_id)
    status = runner.status(run_id, ledger=ledger, plan=made)
    stored = not runner.unusable(run_id, partial(job_request, made), ledger=ledger)
    charged = status.run.local or not ledger.uncharged(run_id)
    # Looked for again, as a second job is that a request may have left.
    lost = status.jobs.get("unknown", 0) > 0 or bool(ledger.unverified(run_id))
    if offline or (status.finished and stored and charged and not lost):
        return status
    try:
        if not status.finished:
            with naming_the_run():
                return wait_for(ledger, run_id, made, device_of(status.run), wait=wait)
        return wait_for(ledger, run_id, made, device_of(status.run), wait=wait)
    except KeyboardInterrupt:
        complain("Note", f"run {status.run.id} goes on: qhead collect {status.run.id}")
        raise
    except RunError as error:
        if not status.finished:
            raise
        missing = "" if stored else " The stored results that cannot be used stay missing."
        complain("Note", f"the platform could not be asked.{missing} {error}")
        return status


def wait_for(
    ledger: Ledger, run_id: str, made: JobPlan, device: Device, *, wait: float | None
) -> RunStatus:
    """Collect a run on its device for so many seconds, under a bar, and return where it stands."""
    with run_bar(run_id, len(made.jobs)) as bar:

        def show(status: RunStatus) -> None:
            remote = bar.drawn and not status.run.local and not status.finished
            bar.update(status, count_running(ledger, run_id, device) if remote else 0)

        return runner.collect(
            run_id,
            ledger=ledger,
            device=watched(device, bar),
            timeout=wait,
            policy=devices.POLICY,
            on_progress=show,
        )
