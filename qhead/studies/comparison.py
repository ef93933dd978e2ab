"""Heads on one data set over several seeds: same splits, same embeddings, paired differences.

Every head is trained on the same rows with its defaults, and nothing is chosen on them: no
validation set, no candidates. The intervals are Student's over the seeds. Draws from one data set
share sentences, so that an interval speaks of this data set and not of another one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from hardware.errors import did_you_mean
from qhead.data import duplicates_across, few_shot_split, holdout_split
from qhead.data.parts import Parts
from qhead.encoder.sentence_encoder import SentenceEncoder
from qhead.errors import DataError, HeadError
from qhead.heads import (
    InspiredHead,
    MLPHead,
    QuantumHead,
    ReducedMLPHead,
    logistic_regression,
    num_trainable_parameters,
    svc,
)
from qhead.progress import counting_bar
from qhead.training_options import TrainingOptions
from qhead.training_run import embedded

#: Returns an unfitted head from a seed, the shape (n, d) of the training embeddings and K classes.
HeadMaker = Callable[[int, tuple[int, int], int], Any]

#: All rows are trained on; the classical heads that torch trains take smaller steps.
_ALL_ROWS = TrainingOptions(validation_fraction=0.0)
_SMALL_STEPS = TrainingOptions(learning_rate=0.005, validation_fraction=0.0)


def _equal_parameters(seed: int, shape: tuple[int, int], num_classes: int) -> ReducedMLPHead:
    module = QuantumHead(seed=seed).build_module(shape[1], num_classes, None)
    return ReducedMLPHead(
        num_components=min(16, *shape),
        max_parameters=sum(each.numel() for each in module.parameters() if each.requires_grad),
        training=_SMALL_STEPS,
        seed=seed,
    )


#: Name → head: the quantum head with its defaults, and classical ones to compare it with.
HEAD_MAKERS: dict[str, HeadMaker] = {
    "quantum": lambda seed, shape, k: QuantumHead(training=_ALL_ROWS, seed=seed),
    "mlp": lambda seed, shape, k: MLPHead(hidden=48, training=_SMALL_STEPS, seed=seed),
    "reduced_mlp": _equal_parameters,
    "inspired": lambda seed, shape, k: InspiredHead(training=_SMALL_STEPS, seed=seed),
    "linear": lambda seed, shape, k: logistic_regression(),
    "svc": lambda seed, shape, k: svc(),
}


@dataclass(frozen=True)
class HeadScore:
    """One head, trained and tested once."""

    head: str
    seed: int
    accuracy: float  # on the test rows
    f1: float  # unweighted mean over the classes
    parameters: int
    training_seconds: float
    num_train: int
    num_test: int


@dataclass(frozen=True)
class HeadSummary:
    """One head over all seeds; intervals are ± half widths at 95 %."""

    head: str
    accuracy: float  # mean over the seeds
    accuracy_half_width: float
    f1: float
    f1_half_width: float
    difference: float | None  # mean accuracy minus the reference's; None for the reference
    difference_half_width: float | None
    parameters: int  # the largest
    training_seconds: float  # median


def head_makers(names: Iterable[str]) -> dict[str, HeadMaker]:
    """Return the makers of heads by name, in order.

    Raises:
        HeadError: An unknown name, or one that is named twice.
    """
    found = {}
    for name in names:
        key = name.strip().replace("-", "_")
        if key not in HEAD_MAKERS:
            known = ", ".join(HEAD_MAKERS)
            hint = did_you_mean(key, HEAD_MAKERS)
            raise HeadError(f"Expected heads among {known}, got {name!r}.{hint}")
        if key in found:
            raise HeadError(f"The head {key!r} is named twice.")
        found[key] = HEAD_MAKERS[key]
    return found


def compare_heads(
    features: ArrayLike,
    labels: ArrayLike,
    heads: Mapping[str, HeadMaker],
    *,
    seeds: Sequence[int],
    per_class: int | None = None,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    test_fraction: float = 0.25,
    shuffled: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[HeadScore]:
    """Train and test every head with every seed; each seed has one split for all heads.

    Args:
        features: Embeddings, shape (n, d).
        labels: Their labels, shape (n,).
        heads: Name → maker, e.g. of `HEAD_MAKERS`.
        seeds: Seeds of splits and heads.
        per_class: Rows of each class to draw for training; None: all but the test rows.
        test: Embeddings and labels to test on; None: the rows that are not drawn, or without
            `per_class` a stratified share of `test_fraction`.
        test_fraction: Fraction of the rows to test on without `test` and `per_class`.
        shuffled: Shuffle the training labels: a control, in which every head must score chance.
        progress: Called with (done, total) after every training.

    Raises:
        DataError: Too few rows or classes, fewer than two seeds, or a fraction out of range.
        HeadError: Options that do not fit the embeddings.
    """
    X, y = np.asarray(features), np.asarray(labels)
    if len(set(seeds)) < 2:
        raise DataError(f"Expected at least 2 seeds for an interval, got {len(set(seeds))}.")
    if test is None and per_class is None and test_fraction == 0:
        message = "Expected test_fraction above 0 without a test split, got 0."
        raise DataError(message, options=["test_fraction"])
    num_classes = len(np.unique(y))
    rows = []
    for seed in seeds:
        train, rest = _split(y, seed, per_class, 0.0 if test is not None else test_fraction)
        X_test, y_test = (X[rest], y[rest]) if test is None else map(np.asarray, test)
        if not len(y_test):
            message = "No rows are left to test on: lower per_class."
            raise DataError(message, options=["per_class"])
        y_train = np.random.default_rng([seed, 99]).permutation(y[train]) if shuffled else y[train]
        for name, make in heads.items():
            estimator = make(seed, X[train].shape, num_classes)
            start = time.perf_counter()
            estimator.fit(X[train], y_train)
            seconds = time.perf_counter() - start
            predicted = estimator.predict(X_test)
            rows.append(
                HeadScore(
                    head=name,
                    seed=seed,
                    accuracy=float(accuracy_score(y_test, predicted)),
                    f1=float(f1_score(y_test, predicted, average="macro", zero_division=0)),
                    parameters=num_trainable_parameters(estimator),
                    training_seconds=seconds,
                    num_train=len(train),
                    num_test=len(y_test),
                )
            )
            if progress is not None:
                progress(len(rows), len(seeds) * len(heads))
    return rows


def _split(
    labels: np.ndarray, seed: int, per_class: int | None, test_fraction: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to train on and the rows to test on."""
    if per_class is not None:
        split = few_shot_split(labels, per_class=per_class, validation_fraction=0.0, seed=seed)
    else:
        split = holdout_split(
            labels, validation_fraction=0.0, test_fraction=test_fraction, seed=seed
        )
    return split.train, split.test


def summarise(rows: Sequence[HeadScore], reference: str | None = None) -> tuple[HeadSummary, ...]:
    """Return mean and interval of each head, and of its difference to one, paired by seed.

    Args:
        rows: Scores of `compare_heads`.
        reference: The head that the others are compared with; None: that of the first row.
    """
    by_head: dict[str, dict[int, HeadScore]] = {}
    for row in rows:
        by_head.setdefault(row.head, {})[row.seed] = row
    reference = reference or rows[0].head
    summaries = []
    for name, scores in by_head.items():
        accuracies = [row.accuracy for row in scores.values()]
        f1 = [row.f1 for row in scores.values()]
        gaps = [row.accuracy - by_head[reference][seed].accuracy for seed, row in scores.items()]
        summaries.append(
            HeadSummary(
                head=name,
                accuracy=float(np.mean(accuracies)),
                accuracy_half_width=half_width(accuracies),
                f1=float(np.mean(f1)),
                f1_half_width=half_width(f1),
                difference=None if name == reference else float(np.mean(gaps)),
                difference_half_width=None if name == reference else half_width(gaps),
                parameters=max(row.parameters for row in scores.values()),
                training_seconds=float(np.median([r.training_seconds for r in scores.values()])),
            )
        )
    return tuple(summaries)


def half_width(values: Sequence[float]) -> float:
    """Return the half width of Student's 95 % interval of the mean; NaN for one value."""
    if len(values) < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Heads on one data set.

    Args:
        rows: Every head with every seed; the first head is the reference of all differences.
        control: The same with shuffled training labels; empty where that was not asked for.
        chance: Share of the most frequent label.
        data: Name and fingerprint of the data set, and the encoder of its embeddings.
        notes: What the intervals do not tell.
    """

    rows: Sequence[HeadScore]
    control: Sequence[HeadScore]
    chance: float
    data: Mapping[str, Any]
    notes: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it and the summaries, JSON-able."""
        parts = {"heads": self.rows} | ({"control": self.control} if self.control else {})
        first = self.rows[0]
        return {
            **self.data,
            "train": first.num_train,
            "test": first.num_test,
            "chance": self.chance,
            "reference": first.head,
            **{name: [asdict(each) for each in summarise(rows)] for name, rows in parts.items()},
            "rows": {name: [asdict(row) for row in rows] for name, rows in parts.items()},
            "notes": list(self.notes),
        }


def compare_on(
    parts: Parts,
    heads: Iterable[str],
    encoder: SentenceEncoder,
    *,
    seeds: Sequence[int],
    per_class: int | None = None,
    test_fraction: float = 0.25,
    control: bool = False,
) -> Comparison:
    """Embed a data set once and compare heads on it, under progress bars.

    Args:
        parts: The data set's own splits, see `qhead.data.parts.load_training_splits`.
        heads: Names of `HEAD_MAKERS`.
        encoder: What embeds the sentences.
        seeds, per_class, test_fraction: As for `compare_heads`.
        control: Repeat all of it with shuffled training labels.

    Raises:
        DataError, HeadError, EncoderError: As `compare_heads` and the encoder.
    """
    makers, train, test = head_makers(heads), parts.train, parts.test
    embeddings = embedded(encoder, "", train.texts)  # (n, d)
    held = None if test is None else (embedded(encoder, "", test.texts), test.labels)

    def scores(*, shuffled: bool) -> list[HeadScore]:
        with counting_bar("training on shuffled labels" if shuffled else "training") as bar:
            return compare_heads(
                embeddings,
                train.labels,
                makers,
                seeds=seeds,
                per_class=per_class,
                test=held,
                test_fraction=test_fraction,
                shuffled=shuffled,
                progress=lambda done, total: bar(done, total),
            )

    labels = train.labels if test is None else test.labels
    return Comparison(
        scores(shuffled=False),
        scores(shuffled=True) if control else (),
        float(np.unique(labels, return_counts=True)[1].max() / len(labels)),
        {
            "data": train.source,
            "data_fingerprint": train.fingerprint,
            "encoder": encoder.config()["model"],
            "seeds": list(seeds),
            "per_class": per_class,
        },
        comparison_notes(parts, per_class),
    )


def comparison_notes(parts: Parts, per_class: int | None) -> list[str]:
    """Return what the intervals of a comparison do not tell."""
    notes: list[str] = [*parts.imbalance]
    if parts.test is None:
        return notes
    if per_class is None:
        notes.append(
            "All seeds share the data set's own splits: the intervals are those of initial weights "
            "and batches alone. per_class draws other sentences for each seed."
        )
    if pairs := duplicates_across(parts.train.texts, parts.test.texts):
        notes.append(
            f"{len(pairs)} of {len(parts.test)} test sentences are training sentences too."
        )
    return notes
