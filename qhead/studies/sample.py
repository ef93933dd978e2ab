"""Sentences that a study scores again and again, and what its trials say of them.

All settings of a study see the same sentences, so that every difference is paired by sentence.
Intervals are 95 % ones over the sentences: of each sentence's mean over the trials, by
`hardware.circuits.intervals`, which does not vanish where no label changed. Errors that all
sentences of a trial share (the calibration of a mitigation) show between trials only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import ConfigDict

from hardware.circuits.intervals import Z_95, std_error_of_mean
from hardware.circuits.readout import ROUNDING
from hardware.emulation.sampling import OutcomeTables
from hardware.workload import Workload
from qhead.classifier import TextClassifier
from qhead.data import LabelledTexts
from qhead.errors import DataError, HeadError
from qhead.evaluation import check_labels
from qhead.heads import QuantumHead
from qhead.studies.comparison import half_width
from qhead.training_run import embedded

#: How records are read again: no unknown field, and only finite numbers.
RECORDED = ConfigDict(extra="forbid", allow_inf_nan=False)
#: Fewest sentences of a data set that a study can say anything about.
_ENOUGH = 12


@dataclass(frozen=True, eq=False)
class Sample:
    """Sentences on a head's circuit.

    Args:
        head: The trained head.
        workload: Rows of the N sentences, then of R others to recalibrate a read-out on.
        labels: True labels of the N sentences, shape (N,).
        exact: Expectation values of all rows without noise, shape (N + R, M).
        drawn_from: Sentences of the data set.
    """

    head: QuantumHead
    workload: Workload
    labels: np.ndarray
    exact: np.ndarray
    drawn_from: int

    @property
    def num_scored(self) -> int:
        """N, the sentences that are scored."""
        return len(self.labels)

    @property
    def scored(self) -> Workload:
        """The rows of the N sentences that are scored."""
        return self.workload.rows(slice(self.num_scored))

    def predicted(self, values: np.ndarray) -> np.ndarray:
        """Return the label (N,) of each sentence from expectation values (N, M)."""
        labels: np.ndarray = self.head.classes_[self.head.logits_from(values).argmax(axis=1)]
        return labels


def draw_sample(
    model: TextClassifier, data: LabelledTexts, *, sentences: int, others: int, seed: int
) -> Sample:
    """Draw sentences of a data set without replacement, embed them and run the head exactly.

    Args:
        model: A classifier with a quantum head.
        data: Labelled sentences.
        sentences: Most to score; all that are left where the data set has fewer.
        others: Most to recalibrate on, and at most a quarter of the data set.
        seed: Seed of the draw.

    Raises:
        HeadError: The head has no circuit.
        DataError: Too few sentences, or a label that the head does not know.
    """
    head = model.head_
    if not isinstance(head, QuantumHead):
        kind = getattr(head, "kind", type(head).__name__)
        raise HeadError(f"The head {kind!r} has no circuit to study. Take a quantum head.")
    if len(data) < _ENOUGH:
        raise DataError(
            f"{data.source} has {len(data)} sentences, too few for a study: give at least "
            f"{_ENOUGH}."
        )
    check_labels(data.labels, model.classes_)
    others = min(others, len(data) // 4)
    sentences = min(sentences, len(data) - others)
    drawn = np.random.default_rng(seed).permutation(len(data))[: sentences + others]
    embeddings = embedded(model.encoder_, "", data.rows(drawn).texts)
    return Sample(
        head=head,
        workload=head.workload(embeddings),
        labels=data.labels[drawn[:sentences]],
        exact=head.expectations(embeddings, "exact").values,
        drawn_from=len(data),
    )


@dataclass(frozen=True)
class Row:
    """One setting of a study over all sentences and trials; half widths are those of 95 %.

    `shift` and `spread` are mean and standard deviation of the error of ⟨Z⟩, its difference to the
    exact value, over sentences and observables; the spread holds the shots' noise. `systematic` is
    the spread without shots, where it is computed; the shift is then exact as well. `slope` is that
    of the line through ⟨Z⟩ over its exact values: 1 for none, 0 where the signal is gone.
    """

    __pydantic_config__ = RECORDED

    name: str
    shift: float
    shift_half_width: float | None  # None of a single sentence
    spread: float
    systematic: float | None
    slope: float | None  # None where the exact values do not vary
    changed: float  # share of labels that differ from the exact ones
    changed_half_width: float
    accuracy: float
    accuracy_half_width: float
    difference: float  # accuracy minus the exact one, paired by sentence
    difference_half_width: float
    step: float | None = None  # accuracy minus that of the setting before, paired by sentence
    step_half_width: float | None = None
    setting: float | None = None  # shots, or an error rate
    target: str | None = None  # specification that runs the setting again
    shots: int | None = None
    qpu_seconds: float | None = None  # of 1,000 sentences on all good tiles
    one_tile_seconds: float | None = None  # of 1,000 sentences on one tile


@dataclass(frozen=True)
class Trial:
    """One setting with the shots of one seed."""

    __pydantic_config__ = RECORDED

    row: str
    seed: int
    shift: float
    spread: float
    changed: float
    accuracy: float


@dataclass(frozen=True, eq=False)
class Measured:
    """Expectation values of one setting.

    Args:
        name: The setting's name.
        values: Values of each of T trials, shape (T, N, M).
        seeds: Their seeds.
        without_shots: Values under the noise alone, shape (N, M), where they are computed.
    """

    name: str
    values: np.ndarray
    seeds: Sequence[int]
    without_shots: np.ndarray | None = None

    @classmethod
    def drawn(
        cls, name: str, outcomes: OutcomeTables, shots: int, seeds: Sequence[int]
    ) -> Measured:
        """Draw the shots of every seed from exact outcome probabilities."""
        values = np.stack([outcomes.estimate(shots, seed) for seed in seeds])
        return cls(name, values, seeds, outcomes.values())


def summarise_trials(
    sample: Sample, measured: Measured, before: np.ndarray | None = None
) -> tuple[Row, list[Trial], np.ndarray]:
    """Return the row of a setting, its trials and each sentence's share of right labels (N,).

    Args:
        sample: The sentences.
        measured: Their expectation values.
        before: Shares of right labels of the setting before.
    """
    exact = sample.exact[: sample.num_scored]
    reference = sample.predicted(exact)
    labels = np.stack([sample.predicted(values) for values in measured.values])  # (T, N)
    right, changed = labels == sample.labels, labels != reference
    errors = measured.values - exact  # (T, N, M)
    known = measured.without_shots
    bias = errors.mean(axis=0) if known is None else known - exact  # (N, M)
    share = right.mean(axis=0)  # (N,)
    gap = share - (reference == sample.labels)
    accuracy, accuracy_half = bounded_mean(share, 0.0)
    row = Row(
        name=measured.name,
        shift=float(bias.mean()),
        shift_half_width=half_width(bias.mean(axis=1).tolist()) if len(exact) > 1 else None,
        spread=float(errors.std()),
        systematic=None if known is None else float(bias.std()),
        slope=slope(exact, exact + bias),
        changed=float(changed.mean()),
        changed_half_width=bounded_mean(changed.mean(axis=0), 0.0)[1],
        accuracy=accuracy,
        accuracy_half_width=accuracy_half,
        difference=float(gap.mean()),
        difference_half_width=bounded_mean(gap, -1.0)[1],
        step=None if before is None else float((share - before).mean()),
        step_half_width=None if before is None else bounded_mean(share - before, -1.0)[1],
    )
    trials = [
        Trial(
            row=measured.name,
            seed=seed,
            shift=float(errors[index].mean()),
            spread=float(errors[index].std()),
            changed=float(changed[index].mean()),
            accuracy=float(right[index].mean()),
        )
        for index, seed in enumerate(measured.seeds)
    ]
    return row, trials, share


def bounded_mean(values: np.ndarray, low: float) -> tuple[float, float]:
    """Return mean and half width at 95 % of numbers (N,) within [low, 1]."""
    mean, variance = float(values.mean()), float(values.var())
    return mean, Z_95 * float(std_error_of_mean(mean, variance, len(values), low, 1.0))


def slope(exact: np.ndarray, values: np.ndarray) -> float | None:
    """Return the slope of the line through values over exact ones (N, M), observables pooled."""
    x, y = exact - exact.mean(axis=0), values - values.mean(axis=0)
    spread = float((x**2).sum())
    # Centring equal numbers leaves their rounding.
    return float((x * y).sum()) / spread if spread > x.size * ROUNDING**2 else None
