"""``qhead collect``: predictions of the rows whose results have arrived."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qhead.cli.guard import FAILED, MISSING_ROWS, complain, naming_the_run
from qhead.cli.options import AccountChoice, Json, RowsOut, RunId, SavedEncoder, choice

if TYPE_CHECKING:
    from qhead.runs.metadata import Readout
    from qhead.runs.run import Run


def collect(
    run: RunId,
    encoder: SavedEncoder,
    rows_out: RowsOut,
    account: AccountChoice,
    model: Annotated[
        Path | None,
        typer.Argument(metavar="MODEL", help="Where the run's model is now.", show_default=False),
    ] = None,
    data: Annotated[str | None, choice("--data", "Where the run's sentences are now.")] = None,
    wait: Annotated[
        float, typer.Option("--wait", help="Seconds to wait for jobs that have not ended, or inf.")
    ] = 0.0,
    offline: Annotated[
        bool, typer.Option("--offline", help="Make no network call: use what the ledger holds.")
    ] = False,
    no_recalibration: Annotated[
        bool, typer.Option("--no-recalibration", help="Use the read-out as it was trained.")
    ] = False,
    json: Json = False,
) -> None:
    """Fetch results and predict the rows that have arrived; says which are missing.

    Exit code 3: rows are missing, or rounds of adaptive shots are under way. Stored results that
    are damaged are fetched again.
    """
    from hardware.errors import InvalidInputError
    from qhead.cli.rows import write_rows
    from qhead.runs.predictions import FIELDS
    from qhead.runs.run import Run
    from qhead.runs.sentences import find_again

    rows_out.check()
    if not wait >= 0:
        raise InvalidInputError(f"Expected --wait with zero or more seconds, or inf, got {wait}.")
    if offline and account.open() is not None:
        raise InvalidInputError(
            "--offline asks no platform, so an account, instance or channel is not used: leave "
            "them out, or leave out --offline."
        )
    sent = Run.open(run, account=account.open())
    readout = _readout(sent, model, encoder)
    texts = find_again(sent.metadata.data, data)
    with naming_the_run():
        found = sent.collect(
            wait, texts=texts, refit=not no_recalibration, readout=readout, offline=offline
        )
    status = found.status
    write_rows(
        found.records(),
        rows_out,
        {**status.as_dict(), "rows": found.num_rows, "missing": [row + 1 for row in found.missing]},
        fields=("row", *(("text",) if texts is not None else ()), *FIELDS),
        notes=found.prediction.notes,
        json=json,
    )
    if found.missing:
        complain("Note", found.explain_missing())
    if found.rounds_under_way:
        complain("Note", f"Rounds are still to come: qhead collect {sent.id} --wait SECONDS.")
    if status.state == "failed":
        raise typer.Exit(FAILED)
    if found.missing or found.rounds_under_way:
        raise typer.Exit(MISSING_ROWS)


def _readout(sent: Run, folder: Path | None, encoder: SavedEncoder) -> Readout | None:
    """Return the read-out of the run's model where its plan carries none, else None.

    Raises:
        ModelError: The folder holds another model than the run's, or none.
    """
    from qhead.runs.metadata import SavedModel

    metadata = sent.metadata
    if folder is not None:
        metadata.check_model(SavedModel.of(folder))
    if metadata.readout is not None:
        return None
    assert metadata.model is not None  # plans without a read-out are of saved models
    place = folder or Path(metadata.model.path)
    metadata.model.check(SavedModel.of(place))
    return encoder.model(place).readout()
