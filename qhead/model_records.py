"""What a model folder tells of a training, checked before it is believed: history, scores, data.

Each function returns what it was given as the type that the rest of the package uses, and raises a
`ModelError` that names the file for anything that this version does not write.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, get_args

from qhead.errors import ModelError
from qhead.evaluation import Evaluation
from qhead.training import EpochRecord, Stop


@dataclass(frozen=True)
class History:
    """The course of a training, as history.json has it."""

    epochs: tuple[EpochRecord, ...] = ()
    best_epoch: int | None = None  # from 1
    stopped: str | None = None
    seconds: float | None = None


def read_history(record: Mapping[str, Any]) -> History:
    """Return the history of a training."""
    name, epochs = "history.json", record.get("epochs", [])
    if not isinstance(epochs, list) or not all(isinstance(epoch, dict) for epoch in epochs):
        _refuse(name, f"a list of epochs, got {epochs!r:.60}")
    try:
        history = History(
            tuple(EpochRecord(**epoch) for epoch in epochs),
            *(record.get(key) for key in ("best_epoch", "stopped", "seconds")),
        )
    except TypeError as error:
        _refuse(name, f"epochs of this version's fields, got: {error}")
    for index, epoch in enumerate(history.epochs, start=1):
        optional = (epoch.validation_loss, epoch.validation_accuracy)
        numbers = (epoch.train_loss, epoch.learning_rate, epoch.seconds)
        if epoch.epoch != index or not all(map(_number, numbers)):
            _refuse(name, f"epoch {index} with its losses as numbers, got {epoch}")
        if not all(value is None or _number(value) for value in optional):
            _refuse(name, f"epoch {index} with its scores as numbers, got {epoch}")
    best, stopped, seconds = history.best_epoch, history.stopped, history.seconds
    if best is not None and not (_count(best) and 1 <= best <= len(epochs)):
        _refuse(name, f"best_epoch to be one of the {len(epochs)} epochs, got {best!r:.60}")
    if stopped is not None and stopped not in get_args(Stop):
        _refuse(name, f"stopped to be one of {', '.join(get_args(Stop))}, got {stopped!r:.60}")
    if seconds is not None and not _number(seconds):
        _refuse(name, f"seconds to be a number, got {seconds!r:.60}")
    return history


def read_metrics(record: Mapping[str, Any]) -> dict[str, Evaluation]:
    """Return the scores that a model carries, by the part of the data that they are of."""
    return {part: _evaluation(part, scores) for part, scores in record.items()}


def check_data(record: Mapping[str, Any]) -> None:
    """Check what a model says of its training data."""
    counts = record.get("classes", {})
    numbers = [record.get(key, 0) for key in ("n", "held_back", "seed")]
    words = [record.get(key, "") for key in ("source", "fingerprint")]
    if not isinstance(counts, dict) or not all(map(_count, [*numbers, *counts.values()])):
        _refuse("data.json", f"counts of sentences and classes, got {record!r:.100}")
    if not all(isinstance(word, str) for word in words):
        _refuse("data.json", f"source and fingerprint as text, got {words!r:.100}")


def check_versions(record: Mapping[str, Any]) -> None:
    """Check the versions that made a model."""
    if not all(isinstance(version, str) for version in record.values()):
        _refuse("versions.json", f"versions as text, got {record!r:.100}")


def _evaluation(part: str, scores: Any) -> Evaluation:
    name, of = "metrics.json", f"the scores of the {part} set as this version writes them"
    if not isinstance(scores, dict):
        _refuse(name, f"{of}, got {scores!r:.60}")
    try:
        result = Evaluation(**scores)
    except TypeError as error:
        _refuse(name, f"{of}, got: {error}")
    interval, classes, matrix = result.accuracy_interval, result.classes, result.confusion
    if not all(isinstance(value, list | tuple) for value in (interval, classes, matrix)):
        _refuse(name, f"{of}, got an interval, classes or a confusion matrix of another form")
    rows = [row for row in matrix if isinstance(row, list | tuple) and len(row) == len(classes)]
    if not len(rows) == len(matrix) == len(classes):
        _refuse(name, f"{of}, got a confusion matrix that does not fit its classes")
    numbers = (result.accuracy, *interval, result.f1, result.calibration_error, result.brier)
    counts = (result.n, result.undecided, *(count for row in rows for count in row))
    seconds = () if result.seconds is None else (result.seconds,)
    if len(interval) != 2 or not all(map(_number, (*numbers, *seconds))):
        _refuse(name, f"{of}, got scores that are no numbers")
    if not all(map(_count, counts)) or not all(isinstance(k, int | str) for k in classes):
        _refuse(name, f"{of}, got counts or classes that are none")
    words = [result.target, *result.notes] if isinstance(result.notes, list | tuple) else [None]
    if not all(isinstance(word, str) for word in words):
        _refuse(name, f"{of}, got a target or notes that are no text")
    return result


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _refuse(name: str, expected: str) -> NoReturn:
    raise ModelError(f"{name}: expected {expected}. Train and save again.")
