"""``evaluate`` and ``predict`` on a device: planned, submitted and waited for in one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardware.runs.progress import RunStatus
from hardware.runs.quote import Quote
from qhead.classifier import TextClassifier
from qhead.commands.collect import bring_in
from qhead.commands.guard import complain
from qhead.commands.plan import DeviceOptions, make_plan
from qhead.commands.runs import charged_dict
from qhead.commands.short_form import ShortForm
from qhead.commands.submit import send
from qhead.runs.predictions import RowPredictions, explain_missing, missing_error
from qhead.runs.run import Run
from qhead.runs.sentences import check_same


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
    plan, device = make_plan(folder, source, asked, texts=texts, model=model)
    if not device.local:
        complain("Cost", str(Quote.of(plan, device)))
    sent = send(plan, device, short.budget)
    if not device.local:
        complain("Run", sent.id)  # whatever happens to this process, the run can be found
    status = bring_in(sent, None)
    return RunOutcome(sent.predictions(texts=texts), status)


def from_ledger(
    folder: Path, texts: Sequence[str], run_id: str, model: TextClassifier
) -> RunOutcome:
    """Predict the rows of a run that is in the ledger; makes no network call.

    Raises:
        ModelError: It is a run of another model.
        DataError: It is a run of other sentences.
    """
    sent = Run.open(run_id)
    sent.metadata.check_model(folder, model.readout())
    check_same(texts, sent.metadata.data, f"DATA for run {sent.id}")
    return RunOutcome(sent.predictions(readout=model.readout()), sent.status())


def all_rows(outcome: RunOutcome) -> Iterator[dict[str, Any]]:
    """Yield one record a sentence; a missing one has None in place of each value."""
    return outcome.rows.records(numbered=False, whole=True)


def check_whole(outcome: RunOutcome, *, partial: bool) -> None:
    """Refuse to score a part without ``--partial``.

    Raises:
        RunError, MissingRowsError: Rows are missing and `partial` is not given, or none has
            arrived.
    """
    missing = outcome.rows.missing
    if not missing:
        return
    if not partial:
        raise missing_error(
            outcome.status,
            f"Cannot score: {outcome.explain_missing()} --partial scores the rest: qhead evaluate "
            f"… --run {outcome.status.run.id} --partial.",
        )
    if len(missing) == outcome.rows.num_rows:
        raise missing_error(outcome.status, f"Cannot score: {outcome.explain_missing()}")
    complain("Note", outcome.explain_missing())
