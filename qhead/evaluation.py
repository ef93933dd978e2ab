"""What a classifier is worth on labelled sentences: every number with what it rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import NonNegativeInt

from hardware.circuits.intervals import Z_95
from hardware.words import counted
from qhead.errors import DataError
from qhead.prediction import Prediction

NUM_CALIBRATION_BINS = 10


@dataclass(frozen=True)
class ClassScores:
    """Scores of one class; None where nothing defines one: no label predicted, no true one."""

    label: int | str
    precision: float | None  # of the predicted labels, the share that is right
    recall: float | None  # of the true labels, the share that is found
    f1: float | None  # harmonic mean of the two
    support: NonNegativeInt  # true labels


@dataclass(frozen=True)
class Evaluation:
    """Scores of one classifier on n labelled sentences, on one target.

    `accuracy_interval` is Wilson's 95 % interval of a proportion. `f1` is the unweighted mean over
    the classes. `brier` is the mean squared distance of the probabilities from the one-hot truth,
    summed over the classes (0 … 2); `calibration_error` is the expected calibration error over ten
    equal bins of the winning probability. `confusion[i][j]` counts true class i labelled j.
    `undecided` counts the labels that are too close to call at this shot count. `per_class` has the
    scores of each class, in the order of `classes`; it is empty in records of version 0.1.
    """

    accuracy: float
    accuracy_interval: tuple[float, float]
    n: NonNegativeInt
    target: str
    f1: float
    classes: tuple[int | str, ...]  # K
    confusion: tuple[tuple[NonNegativeInt, ...], ...]  # (K, K)
    calibration_error: float
    brier: float
    undecided: NonNegativeInt = 0
    seconds: float | None = None
    notes: tuple[str, ...] = ()
    per_class: tuple[ClassScores, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-able dictionary."""
        return asdict(self)


def wilson_interval(successes: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion (Wilson 1927), within [0, 1]."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"Expected 0 <= successes <= n and n > 0, got {successes} of {n}.")
    p = successes / n
    denominator = 1 + z**2 / n
    centre = (p + z**2 / (2 * n)) / denominator
    half = z / denominator * float(np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)))
    # The closed form is exactly 0 and 1 at the ends; rounding must not push it past them.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return low, high


def evaluate_prediction(
    prediction: Prediction,
    labels: np.ndarray,
    classes: np.ndarray,
    *,
    seconds: float | None = None,
) -> Evaluation:
    """Compare predictions with true labels.

    Args:
        prediction: Predictions of n sentences over K classes.
        labels: True labels, shape (n,).
        classes: The K classes in the order of the probabilities' columns.

    Raises:
        DataError: No labels, another number of them, or a label that the classifier never saw.
    """
    # A second; the records of scores, which every model carries, do without.
    from sklearn.metrics import confusion_matrix, f1_score

    n = len(labels)
    if n == 0 or n != len(prediction):
        raise DataError(f"Expected one label for each of {len(prediction)} sentences, got {n}.")
    check_labels(labels, classes)
    correct = prediction.labels == labels
    truth = (labels[:, None] == classes[None, :]).astype(np.float64)  # (n, K)
    matrix = confusion_matrix(labels, prediction.labels, labels=classes)
    return Evaluation(
        accuracy=float(correct.mean()),
        accuracy_interval=wilson_interval(int(correct.sum()), n),
        n=n,
        target=prediction.target,
        f1=float(
            f1_score(labels, prediction.labels, labels=classes, average="macro", zero_division=0)
        ),
        classes=tuple(classes.tolist()),
        confusion=tuple(tuple(int(count) for count in row) for row in matrix),
        calibration_error=calibration_error(prediction.winning, correct),
        brier=float(((prediction.probabilities - truth) ** 2).sum(axis=1).mean()),
        undecided=int((~prediction.decided).sum()),
        seconds=seconds,
        notes=prediction.notes,
        per_class=class_scores(labels, prediction.labels, classes),
    )


def class_scores(
    labels: np.ndarray, predicted: np.ndarray, classes: np.ndarray
) -> tuple[ClassScores, ...]:
    """Return precision, recall, F1 and support of each class.

    Args:
        labels: True labels, shape (n,).
        predicted: Predicted labels, shape (n,).
        classes: The K classes.
    """
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=np.nan
    )  # (K,) each
    columns = (classes.tolist(), _known(precision), _known(recall), _known(f1), support.tolist())
    return tuple(ClassScores(*row) for row in zip(*columns, strict=True))


def _known(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def calibration_error(
    confidence: np.ndarray, correct: np.ndarray, bins: int = NUM_CALIBRATION_BINS
) -> float:
    """Return the expected calibration error over equal-width bins (Naeini et al. 2015).

    Args:
        confidence: The winning probabilities, shape (n,), in [0, 1].
        correct: Whether each label was right, shape (n,).
    """
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(index, weights=confidence - correct, minlength=bins)  # summed per bin
    return float(np.abs(gaps).sum() / len(confidence))


def check_labels(labels: np.ndarray, classes: np.ndarray) -> None:
    """Raise a `DataError` that lists every label the classifier was not trained on."""
    unseen = sorted(set(labels.tolist()) - set(classes.tolist()), key=str)
    if not unseen:
        return
    first = int(np.flatnonzero(np.isin(labels, unseen))[0])
    shown = ", ".join(repr(label) for label in unseen[:5]) + (" …" if len(unseen) > 5 else "")
    raise DataError(
        f"Expected labels among {classes.tolist()}, the classes of the training data, got "
        f"{counted(len(unseen), 'other')}: {shown} (first in row {first + 1}). Remove or rename "
        "these rows, or train on data that has them."
    )
