"""``evaluate`` and ``predict`` on a device: planned, submitted and waited for in one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardware.errors import RunError
from hardware.ledger.ledger import Ledger
from hardware.planning.plan_file import load_submitted
from hardware.planning.pubs import unpack
from hardware.runs import runner
from hardware.runs.progress import RunStatus
from qhead.classifier import TextClassifier
from qhead.commands.collect import wait_for
from qhead.commands.devices import existing_ledger, naming_the_run
from qhead.commands.guard import complain
from qhead.commands.notes import About, fingerprint
from qhead.commands.plan import DeviceOptions, request_of
from qhead.commands.planned import make_plan
from qhead.commands.results import RowPredictions, explain_missing, predict_rows
from qhead.commands.runs import charged_dict
from qhead.commands.short_form import ShortForm
from qhead.commands.submit import send
from qhead.errors import DataError, MissingRowsError


@dataclass(frozen=True, eq=False)
class RunOutcome:
    """A run on a device and what it predicts."""

    rows: RowPredictions
    status: RunStatus

    def told(self) -> dict[str, Any]:
        """Return the run in numbers, JSON-able."""
        return {
            "run": self.status.run.id,
            "missing": [row + 1 for row in self.rows.missing],
            "estimated_seconds": self.status.run.estimate_seconds,
            **charged_dict(self.status),
        }

    def explain_missing(self) -> str:
        """Return which rows are missing and what to do about it."""
        return explain_missing(self.rows.missing, self.rows.num_rows, self.status)


def run_now(
    folder: Path,
    source: str,
    texts: Sequence[str],
    short: ShortForm,
    *,
    target: str,
    split: str | None = None,
    columns: tuple[str | None, str | None] = (None, None),
    seed: int,
    model: TextClassifier,
) -> RunOutcome:
    """Plan sentences, submit them, wait for the results and predict the rows that came.

    The run stays in the ledger: interrupted, it is carried on with ``qhead collect``.

    Raises:
        HardwareError: As planning, submitting and collecting.
    """
    asked = DeviceOptions(
        target=target,
        tiles=short.tiles or "auto",
        split=split,
        columns=columns,
        recalibrate=short.recalibrate,
        seed=seed,
        skip_empty=short.skip_empty,
    )
    made, device, _ = make_plan(request_of(folder, source, asked, texts=texts), model)
    run_id = send(made, device, short.budget, quiet=device.local)
    if not device.local:
        complain("Run", run_id)  # whatever happens to this process, the run can be found
    try:
        with Ledger() as ledger, naming_the_run():
            status = wait_for(ledger, run_id, made, device, wait=None)
            found = unpack(made, runner.results(run_id, ledger=ledger))
    except KeyboardInterrupt:
        complain("Note", f"run {run_id} goes on: qhead collect {run_id}, or qhead cancel {run_id}.")
        raise
    rows = predict_rows(model, About.of(made, f"run {run_id}"), found)
    return RunOutcome(rows, status)


def from_ledger(
    folder: Path, texts: Sequence[str], run_id: str, model: TextClassifier
) -> RunOutcome:
    """Predict the rows of a run that is in the ledger, as far as their results are; asks nobody.

    Raises:
        ModelError: It is a run of another model.
        DataError: It is a run of other sentences.
    """
    with existing_ledger(run_id) as ledger:
        made = load_submitted(ledger.plan_body(ledger.run(run_id).id))
        status = runner.status(run_id, ledger=ledger, plan=made)
        found = unpack(made, runner.results(status.run.id, ledger=ledger))
    about = About.of(made, f"run {status.run.id}")
    about.model.check(folder)
    if fingerprint(texts) != about.data.fingerprint:
        raise DataError(
            f"Expected the {about.data.num_rows} sentences of run {status.run.id} (from "
            f"{about.data.source}), got {len(texts)} that are others or in another order."
        )
    return RunOutcome(predict_rows(model, about, found), status)


def all_rows(outcome: RunOutcome, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield one record a sentence; a missing one has None in place of each value."""
    return outcome.rows.records(texts, numbered=False, whole=True)


def missing_rows(outcome: RunOutcome, message: str) -> RunError | MissingRowsError:
    """Return the error of an outcome with rows missing: of a failed run, or of one to carry on."""
    failed = outcome.status.state == "failed"
    return RunError(message) if failed else MissingRowsError(message)


def check_whole(outcome: RunOutcome, *, partial: bool) -> None:
    """Refuse to score a part, unless told to.

    Raises:
        RunError, MissingRowsError: Rows are missing and `partial` is not given, or none has
            arrived.
    """
    missing = outcome.rows.missing
    if not missing:
        return
    if not partial:
        raise missing_rows(
            outcome,
            f"Cannot score: {outcome.explain_missing()} --partial scores the rest: qhead evaluate "
            f"… --run {outcome.status.run.id} --partial.",
        )
    if len(missing) == outcome.rows.num_rows:
        raise missing_rows(outcome, f"Cannot score: {outcome.explain_missing()}")
    complain("Note", outcome.explain_missing())
