"""``qhead collect``: predictions of the rows whose results have arrived."""

from __future__ import annotations

from pathlib import Path

import typer

from hardware.errors import InvalidInputError
from hardware.runs.progress import RunStatus
from qhead.commands.arguments import EncoderChoice
from qhead.commands.common import open_model, output, print_json
from qhead.commands.guard import FAILED, MISSING_ROWS, complain, naming_the_run
from qhead.commands.rows import check_format, write_rows
from qhead.commands.runs import status_dict
from qhead.files import check_new
from qhead.progress import run_progress
from qhead.runs.metadata import Readout
from qhead.runs.predictions import FIELDS, explain_missing
from qhead.runs.run import Run
from qhead.runs.sentences import find_again


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
    sent = Run.open(run_id)
    readout = _readout(sent, folder, encoder)
    texts = find_again(sent.metadata.data, data)
    status = bring_in(sent, wait, offline=offline)
    found = sent.predictions(texts=texts, refit=refit, readout=readout)
    fields = ("row", *(("text",) if texts is not None else ()), *FIELDS)
    with output(out) as file:
        if json:
            results = {
                "rows": found.num_rows,
                "missing": [row + 1 for row in found.missing],
                "predictions": list(found.records()),
                "notes": list(found.prediction.notes),
            }
            print_json(status_dict(status) | results, file)
        else:
            write_rows(file, found.records(), fields=fields, format=format, raw=raw)
    if not json:
        for note in found.prediction.notes:
            complain("Note", note)
    if found.missing:
        complain("Note", explain_missing(found.missing, found.num_rows, status))
    if status.state == "failed":
        raise typer.Exit(FAILED)
    if found.missing:
        raise typer.Exit(MISSING_ROWS)


def _readout(sent: Run, folder: Path | None, encoder: EncoderChoice) -> Readout | None:
    """Return the read-out of the run's model where its plan carries none, else None.

    Raises:
        ModelError: The folder holds another model than the run's, or none.
    """
    metadata = sent.metadata
    if folder is not None:
        metadata.check_model(folder)
    if metadata.readout is not None:
        return None
    assert metadata.model is not None  # plans without a read-out are of saved models
    place = folder or Path(metadata.model.path)
    metadata.model.check(place)
    return open_model(place, encoder).readout()


def bring_in(sent: Run, wait: float | None, *, offline: bool = False) -> RunStatus:
    """Collect a run for `wait` seconds at most, under a bar, and return where it stands.

    Raises:
        HardwareError: As `hardware.runs.run.StoredRun.update`.
    """
    try:
        with (
            naming_the_run(),
            run_progress(True, f"run {sent.id}", len(sent.plan.jobs)) as report,
        ):
            return sent.update(wait, offline=offline, on_progress=report)
    except KeyboardInterrupt:
        complain(
            "Note", f"run {sent.id} goes on: qhead collect {sent.id}, or qhead cancel {sent.id}."
        )
        raise
