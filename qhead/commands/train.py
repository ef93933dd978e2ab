"""``qhead train``: data in, model folder out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import typer

from hardware.words import counted
from qhead.classifier import TextClassifier
from qhead.commands.common import interval, percent, show
from qhead.commands.guard import INTERRUPTED, complain
from qhead.data import (
    LabelledTexts,
    Split,
    contradictions,
    duplicates_across,
    few_shot_split,
    holdout_split,
    imbalance,
    load_splits,
    missing_values,
)
from qhead.data.texts import shown
from qhead.embeddings import DEFAULT_MODEL, SentenceEncoder
from qhead.errors import DataError, ModelError, TrainingInterrupted
from qhead.evaluation import Evaluation, evaluate_prediction
from qhead.files import free_name, is_occupied
from qhead.heads import HeadSummary, make_head
from qhead.model_folder import check_destination
from qhead.prediction import predict_head
from qhead.progress import counting_bar, training_bar, waiting
from qhead.training_options import TrainingOptions


@dataclass(frozen=True)
class TrainRequest:
    """All options of ``qhead train``."""

    data: str
    out: Path
    force: bool = False
    text_column: str | None = None
    label_column: str | None = None
    skip_empty: bool = False
    validation_fraction: float = 0.15
    test_fraction: float = 0.0
    per_class: int | None = None
    encoder: str | None = None
    revision: str | None = None
    cache: bool = True
    head: str = "quantum"
    head_options: dict[str, Any] = field(default_factory=dict)
    training_options: dict[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Parts:
    """Training data and what is held out of it."""

    train: LabelledTexts
    validation: LabelledTexts | None
    test: LabelledTexts | None
    remarks: Sequence[str] = ()  # on the data set before it was split

    def by_name(self) -> dict[str, LabelledTexts]:
        """Return the parts that are not empty, by name."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}


def run(request: TrainRequest, *, json: bool) -> None:
    """Train, save the model and show its size and scores."""
    # Everything that can be refused is refused before the first second of work.
    check_destination(request.out, overwrite=request.force)
    # The share is the head's option too: 0 is 0 there as well, and nothing is held back twice.
    training = {**request.training_options, "validation_fraction": request.validation_fraction}
    head = make_head(
        request.head.replace("-", "_"),
        training=TrainingOptions.from_dict(training),
        seed=request.seed,
        **request.head_options,
    )
    parts = split(request)
    unbalanced = imbalance(parts.train)
    if training.get("class_weight") != "balanced":
        unbalanced = [
            f"{it} --class-weight balanced gives rare classes more weight." for it in unbalanced
        ]
    notes = [*parts.remarks, *unbalanced, *duplicate_notes(parts)]
    for note in notes:
        complain("Note", note)
    encoder = SentenceEncoder(
        request.encoder or DEFAULT_MODEL, revision=request.revision, cache=request.cache
    )
    head.check_size(encoder.dimension, len(parts.train.classes))
    start = time.perf_counter()
    embeddings = {name: _embed(encoder, name, part) for name, part in parts.by_name().items()}
    model = TextClassifier(encoder, head)
    pair = None
    if parts.validation is not None:
        pair = (embeddings["validation"], parts.validation.labels)
    # What was reached before Ctrl-C is saved below, and said.
    with (
        training_bar(f"training {request.head}") as progress,
        contextlib.suppress(TrainingInterrupted),
    ):
        model.fit_embedded(
            encoder,
            parts.train,
            embeddings["train"],
            validation=pair,
            progress=progress,
            checkpoint=request.checkpoint,
        )
    with waiting("scoring"):
        evaluations = {
            name: evaluate_prediction(
                predict_head(model.head_, embeddings[name]), part.labels, model.classes_
            )
            for name, part in parts.by_name().items()
            if name != "train"
        }
    model.data_["seed"] = request.seed
    model.metrics_ = {name: result.as_dict() for name, result in evaluations.items()}
    place = _save(request, model)
    _tell(model, place, evaluations, time.perf_counter() - start, notes, json=json)
    if model.head_.stopped_ == "interrupted":
        kept = "" if place == request.out else f" {request.out} is unchanged."
        complain(
            "Interrupted",
            f"training stopped after epoch {len(model.head_.history_)}. The model with the best "
            f"weights so far is saved in {place}.{kept}",
        )
        raise typer.Exit(INTERRUPTED)
    if place != request.out:
        raise ModelError(
            f"Another program changed {request.out} during the training, so it is left alone. The "
            f"new model is saved in {place}."
        )


def _save(request: TrainRequest, model: TextClassifier) -> Path:
    """Save the model and return where: beside OUT where it must not replace what is there."""
    interrupted = model.head_.stopped_ == "interrupted"
    if not (interrupted and is_occupied(request.out)):
        try:
            model.save(request.out, overwrite=request.force)
        except ModelError:
            if not is_occupied(request.out):
                raise
        else:
            return request.out
    place = free_name(request.out, "interrupted" if interrupted else "new")
    model.save(place)
    return place


def split(request: TrainRequest) -> Parts:
    """Return the data set's own splits, or hold some rows of its only one out."""
    splits = load_splits(
        request.data,
        text_column=request.text_column,
        label_column=request.label_column,
        skip_empty=request.skip_empty,
    )
    if "train" not in splits:
        raise DataError(
            f"{request.data} has no split 'train', only {', '.join(splits)}. Give the file to "
            "train on."
        )
    train = splits["train"]
    train.check_trainable()
    validation, test = splits.get("validation"), splits.get("test")
    for part in (validation, test):
        if part is not None:
            part.check_labels(train.classes.tolist())
    try:
        rows = _held_out_rows(request, train, validation, test)
    except DataError as error:
        raise DataError(f"{train.source}: {error}", options=error.options) from error
    parts = Parts(
        train.rows(rows.train),
        validation if validation is not None else _rows(train, rows.validation),
        test if test is not None else _rows(train, rows.test),
    )
    remarks = [*contradictions(train), *missing_values(train), *_unscored(parts)]
    if parts.validation is None and request.validation_fraction > 0:
        remarks.append(
            "No validation set: every class has a single sentence, which is kept for training."
        )
    return replace(parts, remarks=remarks)


def _held_out_rows(
    request: TrainRequest,
    train: LabelledTexts,
    validation: LabelledTexts | None,
    test: LabelledTexts | None,
) -> Split:
    """Choose the rows to hold out, where the data has no such splits of its own."""
    if request.per_class is not None:
        if request.test_fraction:
            raise DataError(
                "Use either --test-fraction or --per-class, which tests on the data set's own test "
                "split or on all rows that are not sampled."
            )
        return few_shot_split(
            train.labels,
            per_class=request.per_class,
            validation_fraction=0.0 if validation is not None else request.validation_fraction,
            seed=request.seed,
        )
    if test is not None and request.test_fraction:
        raise DataError("The data set already has a test split. Leave --test-fraction out.")
    return holdout_split(
        train.labels,
        validation_fraction=0.0 if validation is not None else request.validation_fraction,
        test_fraction=request.test_fraction,
        seed=request.seed,
    )


def _rows(data: LabelledTexts, rows: Any) -> LabelledTexts | None:
    return data.rows(rows) if len(rows) else None


def _unscored(parts: Parts) -> list[str]:
    """Return a remark for each part that lacks a class of the training data."""
    notes = []
    classes, counts = np.unique(parts.train.labels, return_counts=True)
    for name, part in parts.by_name().items():
        missing = ~np.isin(classes, part.classes)
        if missing.any():
            note = (
                f"The {name} set has no sentence of {shown(classes[missing].tolist())}: its score "
                f"says nothing about {'that class' if missing.sum() == 1 else 'those classes'}."
            )
            if (counts[missing] == 1).any():
                note += " The only sentence of a class is kept for training."
            notes.append(note)
    return notes


def duplicate_notes(parts: Parts) -> list[str]:
    """Return a note on sentences that occur in two parts, which make a score too high."""
    notes = []
    for (left, one), (right, other) in combinations(parts.by_name().items(), 2):
        if pairs := duplicates_across(one.texts, other.texts):
            i, j = pairs[0]
            notes.append(
                f"{len(pairs)} of {len(other)} {right} sentences also occur in the {left} set "
                f"(first: {other.place(j)} and {one.place(i)}), so the {right} score will be too "
                "high. Remove them from one of the two."
            )
    return notes


def _embed(encoder: SentenceEncoder, name: str, part: LabelledTexts) -> np.ndarray:
    with counting_bar(f"embedding {name}") as bar:
        return encoder.encode(part.texts, progress=lambda done, total: bar(done, total))


def _tell(
    model: TextClassifier,
    place: Path,
    evaluations: dict[str, Evaluation],
    seconds: float,
    notes: list[str],
    *,
    json: bool,
) -> None:
    """Print what was trained and how it scores, as lines or as one JSON object."""
    head = model.head_
    record = {
        "model": str(place),
        "head": asdict(head.summary()),
        "encoder": model.encoder_.config()["model"],
        "data": model.data_,
        "best_epoch": head.best_epoch_,
        "epochs": len(head.history_),
        "stopped": head.stopped_,
        "training_seconds": head.training_seconds_,
        "seconds": seconds,
        "notes": notes,
        **{name: result.as_dict() for name, result in evaluations.items()},
    }
    scores = (
        f"{name}: {percent(result.accuracy)} ({interval(result.accuracy_interval)}), "
        f"n = {result.n}, F1 {result.f1:.3f}"
        for name, result in evaluations.items()
    )
    show(
        record,
        f"{head.kind}: {_size(head.summary())}",
        f"trained on {counted(model.data_['n'], 'sentence')}, "
        f"{counted(len(head.history_), 'epoch')} in {head.training_seconds_:.1f} s; kept the "
        f"weights after epoch {head.best_epoch_}",
        *scores,
        f"model: {place}",
        json=json,
    )


def _size(summary: HeadSummary) -> str:
    """Return the size of a head in words."""
    words = counted(summary.num_parameters, "parameter")
    if idle := summary.num_parameters - summary.num_effective_parameters:
        words += f" ({idle} of them cannot influence the output)"
    if summary.num_qubits is not None:
        words += (
            f", {counted(summary.num_qubits, 'qubit')}, depth {summary.depth}, "
            f"{summary.two_qubit_gates}"
        )
    return words
