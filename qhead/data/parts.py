"""The parts of a data set: what to train on, what to choose the weights on, what to score on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from hardware.errors import did_you_mean
from hardware.words import counted
from qhead.data.labels import canonical
from qhead.data.loading import load_splits
from qhead.data.splits import Split, duplicates_across, few_shot_split, holdout_split
from qhead.data.texts import LabelledTexts, contradictions, imbalance, missing_values, shown
from qhead.errors import DataError


@dataclass(frozen=True, eq=False)
class Parts:
    """Training data and what is held out of it.

    Args:
        train: Sentences to train on.
        validation: Sentences on which the best weights are chosen; None: none are held out.
        test: Sentences to score on; None: none are held out.
        remarks: What a score may suffer from: contradictory labels, sentences in two parts, classes
            that a part lacks.
        imbalance: A remark where one class is much rarer than another.
    """

    train: LabelledTexts
    validation: LabelledTexts | None = None
    test: LabelledTexts | None = None
    remarks: tuple[str, ...] = ()
    imbalance: tuple[str, ...] = ()

    def by_name(self) -> dict[str, LabelledTexts]:
        """Return the parts that are not empty, by name."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}


def load_training_splits(
    source: str,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    skip_empty: bool = False,
) -> Parts:
    """Load the splits of a data set that has one to train on; nothing is held out of it.

    Raises:
        DataError: As `load_splits`, or there is no split ``train``, or the others have labels that
            it has not.
    """
    splits = load_splits(
        source, text_column=text_column, label_column=label_column, skip_empty=skip_empty
    )
    if "train" not in splits:
        raise DataError(
            f"{source} has no split 'train', only {', '.join(splits)}. Give the file to train on."
        )
    train = splits["train"]
    train.check_trainable()
    validation, test = splits.get("validation"), splits.get("test")
    for part in (validation, test):
        if part is not None:
            part.check_labels(train.classes.tolist())
    return Parts(train, validation, test, imbalance=tuple(imbalance(train)))


def load_parts(
    source: str,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    skip_empty: bool = False,
    per_class: int | None = None,
    validation_fraction: float = 0.15,
    test_fraction: float = 0.0,
    seed: int = 0,
) -> Parts:
    """Load a data set's own splits, and hold out of the one to train on what it has none of.

    Args:
        source: As for `load_splits`.
        text_column, label_column, skip_empty: As for `load_splits`.
        per_class: Rows of each class to draw for training; the test set is then the data's own, or
            all rows that are not drawn.
        validation_fraction: Fraction of the rows to hold out for validation.
        test_fraction: Fraction of the rows to hold out for testing.
        seed: Seed of the draw.

    Raises:
        DataError: As `load_training_splits`, or fractions that cannot be held out.
    """
    whole = load_training_splits(
        source, text_column=text_column, label_column=label_column, skip_empty=skip_empty
    )
    train, validation, test = whole.train, whole.validation, whole.test
    fraction = 0.0 if validation is not None else validation_fraction
    try:
        if per_class is None:
            rows = _hold_out(train, test, fraction, test_fraction, seed)
        elif test_fraction:
            raise DataError(
                "Use either test_fraction or per_class, which tests on the data set's own test "
                "split or on all rows that are not sampled.",
                options=["test_fraction", "per_class"],
            )
        else:
            rows = few_shot_split(
                train.labels, per_class=per_class, validation_fraction=fraction, seed=seed
            )
    except DataError as error:
        raise DataError(f"{train.source}: {error}", options=error.options) from error
    parts = Parts(
        train.rows(rows.train),
        validation if validation is not None else _rows(train, rows.validation),
        test if test is not None else _rows(train, rows.test),
    )
    remarks = [*contradictions(train), *missing_values(train), *_unscored(parts)]
    if parts.validation is None and validation_fraction > 0:
        remarks.append(
            "No validation set: every class has a single sentence, which is kept for training."
        )
    return Parts(
        parts.train,
        parts.validation,
        parts.test,
        remarks=(*remarks, *_duplicates(parts)),
        imbalance=tuple(imbalance(parts.train)),
    )


def _hold_out(
    train: LabelledTexts,
    test: LabelledTexts | None,
    validation_fraction: float,
    test_fraction: float,
    seed: int,
) -> Split:
    if test is not None and test_fraction:
        raise DataError(
            "The data set already has a test split. Leave test_fraction out.",
            options=["test_fraction"],
        )
    return holdout_split(
        train.labels,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        seed=seed,
    )


def _rows(data: LabelledTexts, rows: np.ndarray) -> LabelledTexts | None:
    return data.rows(rows) if len(rows) else None


def _unscored(parts: Parts) -> Iterator[str]:
    """Yield a remark for each part that lacks a class of the training data."""
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
            yield note


def _duplicates(parts: Parts) -> Iterator[str]:
    """Yield a remark on sentences that occur in two parts, which make a score too high."""
    for (left, one), (right, other) in combinations(parts.by_name().items(), 2):
        if pairs := duplicates_across(one.texts, other.texts):
            i, j = pairs[0]
            yield (
                f"{len(pairs)} of {len(other)} {right} sentences also occur in the {left} set "
                f"(first: {other.place(j)} and {one.place(i)}), so the {right} score will be too "
                "high. Remove them from one of the two."
            )


def align_labels(data: LabelledTexts, classes: np.ndarray) -> LabelledTexts:
    """Return the data with its labels in the type of a model's classes.

    A file that happens to hold only some of the labels may read as integers what the training data
    had as strings ("1.0", "2.0", "other"); spelling decides, as `qhead.data.labels` reads it where
    a label is not among the classes as it stands.

    Args:
        data: Labelled sentences.
        classes: The K labels of the model.

    Raises:
        DataError: Labels that the model was not trained on, all of them listed.
    """
    known = {str(label): label for label in classes.tolist()}
    alike = {canonical(name): name for name in known}
    given = [str(label) for label in data.labels.tolist()]
    spelled = [name if name in known else alike.get(canonical(name), name) for name in given]
    pairs = zip(data.labels.tolist(), spelled, strict=True)
    unseen = sorted({label for label, name in pairs if name not in known})
    if unseen:
        first = next(index for index, label in enumerate(spelled) if label not in known)
        raise DataError(
            f"{data.place(first)}: expected one of the labels seen in training "
            f"({shown(known.values())}), got {counted(len(unseen), 'other')}: {shown(unseen)}."
            f"{did_you_mean(spelled[first], known)} Remove or rename these rows, or train on data "
            "that has them."
        )
    labels = np.array([known[label] for label in spelled], dtype=classes.dtype)
    return replace(data, labels=labels)
