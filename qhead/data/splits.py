"""Seeded, stratified choices of rows, and sentences that stand on both sides of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qhead.data.texts import normal_form
from qhead.errors import DataError


@dataclass(frozen=True, eq=False)
class Split:
    """Rows for training, validation and test: disjoint, each sorted."""

    train: np.ndarray  # (n_train,) intp
    validation: np.ndarray  # (n_validation,) intp
    test: np.ndarray  # (n_test,) intp


def few_shot_split(
    labels: Sequence[Any] | np.ndarray,
    *,
    per_class: int = 256,
    validation_fraction: float = 0.15,
    seed: int | np.random.Generator,
) -> Split:
    """Sample `per_class` rows of each class for training and validation; the rest is test.

    With the defaults and two classes this is the protocol of arXiv 2504.08732: 256 + 256 rows,
    435 of them for training and 77 for validation. Renaming the classes changes nothing.

    Args:
        labels: Label of each row, shape (n,).
        per_class: Rows sampled from each class.
        validation_fraction: Share of the sampled rows kept for validation, stratified.
        seed: Seed or generator of the choice.

    Raises:
        DataError: A class has too few rows, there is one class only, or an option is out of range.
    """
    if isinstance(per_class, bool) or not isinstance(per_class, int | np.integer) or per_class < 1:
        raise DataError(
            f"Expected per_class to be a positive integer, got {per_class!r}.",
            options=["per_class"],
        )
    _check_fraction("validation_fraction", validation_fraction)
    groups = _rows_by_class(labels)
    for label, rows in groups:
        if len(rows) < per_class:
            raise DataError(
                f"Expected at least {per_class} rows of each class, got {len(rows)} of {label!r}. "
                "Lower per_class, or bring more rows of that class.",
                options=["per_class"],
            )
    rng = np.random.default_rng(seed)
    sampled = [rng.choice(rows, per_class, replace=False) for _, rows in groups]
    counts = allocate([per_class] * len(groups), validation_fraction, rng)
    train = [rows[count:] for rows, count in zip(sampled, counts, strict=True)]
    validation = [rows[:count] for rows, count in zip(sampled, counts, strict=True)]
    test = np.setdiff1d(np.arange(len(labels)), np.concatenate(sampled))
    return Split(_sorted(train), _sorted(validation), test.astype(np.intp))


def holdout_split(
    labels: Sequence[Any] | np.ndarray,
    *,
    validation_fraction: float,
    test_fraction: float,
    seed: int | np.random.Generator,
) -> Split:
    """Split all rows into three stratified parts.

    Every class has at least one row for training, then one in each part whose fraction is not
    zero, as far as its rows go: test before validation.

    Raises:
        DataError: There is one class only, or a fraction is out of range.
    """
    _check_fraction("validation_fraction", validation_fraction)
    _check_fraction("test_fraction", test_fraction)
    if validation_fraction + test_fraction >= 1:
        raise DataError(
            "Expected validation_fraction + test_fraction below 1, got "
            f"{validation_fraction} + {test_fraction}: nothing is left to train on.",
            options=("validation_fraction", "test_fraction"),
        )
    groups = _rows_by_class(labels)
    sizes = [len(rows) for _, rows in groups]
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(rows) for _, rows in groups]
    for_test = allocate(sizes, test_fraction, rng)
    for_validation = allocate(sizes, validation_fraction, rng)
    ends = [
        min(a + b, size - 1) for a, b, size in zip(for_test, for_validation, sizes, strict=True)
    ]
    return Split(
        _sorted([rows[end:] for rows, end in zip(shuffled, ends, strict=True)]),
        _sorted([rows[a:end] for rows, a, end in zip(shuffled, for_test, ends, strict=True)]),
        _sorted([rows[:a] for rows, a in zip(shuffled, for_test, strict=True)]),
    )


def duplicates_across(
    train_texts: Sequence[str], other_texts: Sequence[str]
) -> list[tuple[int, int]]:
    """Return ``(i, j)`` for each other text j that is also training text i.

    Case, white space and the Unicode form of a character do not count. Where several training texts
    are the same, i is the first of them, so that each j is named once.
    """
    first: dict[str, int] = {}
    for i, text in enumerate(train_texts):
        first.setdefault(normal_form(text), i)
    normal = ((j, normal_form(text)) for j, text in enumerate(other_texts))
    return [(first[text], j) for j, text in normal if text in first]


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise DataError(
            f"Expected {name} to be at least 0 and below 1, got {value!r}.", options=[name]
        )


def _rows_by_class(labels: Sequence[Any] | np.ndarray) -> list[tuple[Any, np.ndarray]]:
    """Return label and rows of each class, in the order in which the classes first appear.

    That order, unlike the sorted one, does not change when the classes are renamed.
    """
    array = np.asarray(labels)
    if array.ndim != 1 or not len(array):
        raise DataError(f"Expected labels of shape (n,) with n > 0, got shape {array.shape}.")
    classes, first = np.unique(array, return_index=True)
    if len(classes) < 2:
        raise DataError(f"Expected at least two classes to split, got only {classes[0].item()!r}.")
    return [(classes[k].item(), np.flatnonzero(array == classes[k])) for k in np.argsort(first)]


def allocate(sizes: list[int], fraction: float, rng: np.random.Generator) -> list[int]:
    """Share round(fraction · n) rows among the classes by the method of largest remainders.

    Equal remainders are decided by `rng`. A class that would get none gets one, but at least one
    row of each class is left: a single one is not shared. This is the one rule of every
    stratified split.
    """
    if fraction == 0:
        return [0] * len(sizes)
    quotas = np.array(sizes) * fraction
    counts = np.floor(quotas).astype(int)
    missing = round(sum(sizes) * fraction) - int(counts.sum())
    # The rounding keeps 0.4 and 0.4 + 1e-15 equal, so that the draw decides and not the last bit.
    order = np.lexsort((rng.permutation(len(sizes)), -np.round(quotas - counts, 9)))
    counts[order[: max(missing, 0)]] += 1
    return [min(max(int(n), 1), size - 1) for n, size in zip(counts, sizes, strict=True)]


def _sorted(parts: list[np.ndarray]) -> np.ndarray:
    return np.sort(np.concatenate(parts)).astype(np.intp)
