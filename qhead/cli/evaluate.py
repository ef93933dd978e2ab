"""``qhead evaluate``: what a model is worth on labelled sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qhead.cli.guard import complain
from qhead.cli.options import (
    DEVICE,
    Columns,
    Data,
    Json,
    Model,
    SavedEncoder,
    Seed,
    Split,
    Target,
    choice,
)
from qhead.cli.short_run import ShortRun, run_now, sentences_of

if TYPE_CHECKING:
    from rich.table import Table

    from qhead.evaluation import Evaluation
    from qhead.runs.predictions import RowPredictions


def evaluate(
    model: Model,
    data: Data,
    columns: Columns,
    encoder: SavedEncoder,
    device: ShortRun,
    target: Target = "exact",
    split: Split = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial",
            help="Score the rows that have results even if others have none yet.",
            rich_help_panel=DEVICE,
        ),
    ] = False,
    of_run: Annotated[
        str | None, choice("--run", "Id of a recorded run to score; nothing is sent.", DEVICE)
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Score a model: accuracy with its interval, scores by class, confusion, calibration."""
    import dataclasses
    import time

    from hardware.circuits.adaptive import AdaptiveShots
    from hardware.devices.named import is_device
    from hardware.errors import InvalidInputError
    from qhead.cli.show import show
    from qhead.data import contradictions, imbalance
    from qhead.data.loading import load_split
    from qhead.data.parts import align_labels
    from qhead.evaluation import evaluate_prediction
    from qhead.prediction import predict_head
    from qhead.progress import waiting
    from qhead.targets import resolve_target
    from qhead.training_run import embedded

    if of_run is not None and target != "exact":
        raise InvalidInputError(
            f"Expected --run without a target, got {target!r}: the run had its own."
        )
    device.check(target, partial=partial and of_run is None)
    on_device = of_run is not None or is_device(target)
    where = None if on_device else resolve_target(target, seed=seed)
    labelled = load_split(data, split, columns.names, skip_empty=columns.skip_empty)
    classifier = encoder.model(model)
    labelled = align_labels(labelled, classifier.classes_)  # before anything is paid for
    start, found = time.perf_counter(), None
    if of_run is not None:
        found = classifier.predictions_of(of_run, labelled.texts)
    elif on_device:
        sentences = sentences_of(data, labelled.texts, columns, split)
        found = run_now(classifier, sentences, target, device, columns, seed)
    if found is not None:
        _check_whole(found, partial=partial)
        prediction, truth = found.prediction, labelled.labels[found.rows]
    else:
        embeddings = embedded(classifier.encoder_, "", labelled.texts)
        start = time.perf_counter()
        with waiting(f"predicting {len(labelled):,} sentences on {target}"):
            rounds = AdaptiveShots.of(device.adaptive)
            prediction = predict_head(classifier.head_, embeddings, where, adaptive=rounds)
        truth = labelled.labels
    seconds = time.perf_counter() - start
    result = evaluate_prediction(prediction, truth, classifier.classes_, seconds=seconds)
    if found is not None:
        result = dataclasses.replace(result, notes=(*result.notes, f"Run {found.status.run.id}."))
    for remark in (remarks := (*contradictions(labelled), *imbalance(labelled))):
        complain("Note", remark)
    named = {
        "model": str(model),
        "data": labelled.source,
        "data_fingerprint": labelled.fingerprint,
        "seed": seed,
    }
    record = dataclasses.replace(result, notes=(*result.notes, *remarks)).as_dict()
    show(
        named | record | ({} if found is None else found.run_record()),
        evaluation_table(result, title=f"{model} on {labelled.source}"),
        class_table(result),
        confusion_table(result),
        *(f"· {note}" for note in result.notes),
        json=json,
    )


def _check_whole(found: RowPredictions, *, partial: bool) -> None:
    """Refuse to score a part without ``--partial``.

    Raises:
        RunError, MissingRowsError: Rows are missing and `partial` is not given, or none has
            arrived.
    """
    if not found.missing:
        return
    why = found.explain_missing()
    if not partial:
        raise found.missing_error(
            f"Cannot score: {why} --partial scores the rest: qhead evaluate … --run "
            f"{found.status.run.id} --partial."
        )
    if len(found.missing) == found.num_rows:
        raise found.missing_error(f"Cannot score: {why}")
    complain("Note", why)


def evaluation_table(row: Evaluation, *, title: str) -> Table:
    """Return the scores as a table of one row."""
    from qhead.cli.show import interval, percent, table

    names = ["n", "accuracy", "95 % interval", "F1", "calibration error", "Brier", "undecided"]
    made = table(title, ["target"], names)
    made.add_row(
        row.target, str(row.n), percent(row.accuracy), interval(row.accuracy_interval),
        f"{row.f1:.3f}", f"{row.calibration_error:.3f}", f"{row.brier:.3f}", str(row.undecided),
    )  # fmt: skip
    return made


def class_table(evaluation: Evaluation) -> Table:
    """Return precision, recall and F1 of each class as a table."""
    from qhead.cli.show import table

    made = table("by class", ["class"], ["precision", "recall", "F1", "support"])
    for row in evaluation.per_class:
        shares = ("–" if v is None else f"{v:.3f}" for v in (row.precision, row.recall, row.f1))
        made.add_row(str(row.label), *shares, str(row.support))
    return made


def confusion_table(evaluation: Evaluation) -> Table:
    """Return the confusion matrix as a table: rows are true labels."""
    from qhead.cli.show import table

    title = "true label ↓, predicted label →"
    made = table(title, ["true"], map(str, evaluation.classes))
    for label, row in zip(evaluation.classes, evaluation.confusion, strict=True):
        made.add_row(str(label), *map(str, row))
    return made
