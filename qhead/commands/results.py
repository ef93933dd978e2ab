"""From the results of a run to labels: of the rows that have arrived, and which have not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardware.circuits.readout import AffineReadout, recalibrate
from hardware.errors import InvalidInputError
from hardware.runs.progress import RunStatus
from hardware.workload import Expectations
from qhead.classifier import TextClassifier
from qhead.commands.notes import About, Recalibration
from qhead.commands.rows import row_numbers
from qhead.prediction import Prediction, sampled_prediction

FIELDS = ("label", "probability", "std_error", "decided")


@dataclass(frozen=True, eq=False)
class RowPredictions:
    """Predictions of the rows that have arrived.

    Args:
        prediction: Predictions of n rows.
        rows: Which rows of the data they are, counted from 0, shape (n,).
        num_rows: N, rows of the data.
    """

    prediction: Prediction
    rows: np.ndarray
    num_rows: int

    @property
    def missing(self) -> tuple[int, ...]:
        """Rows without a result, counted from 0."""
        return tuple(np.setdiff1d(np.arange(self.num_rows), self.rows).tolist())

    def records(
        self, texts: Sequence[str] | None, *, numbered: bool, whole: bool
    ) -> Iterator[dict[str, Any]]:
        """Yield one mapping a row.

        Args:
            texts: The N sentences, where they are known.
            numbered: Give each row its number, counted from 1.
            whole: Give missing rows too, with None in place of each value.
        """
        columns = zip(
            self.prediction.labels.tolist(),
            self.prediction.winning.tolist(),
            # An extrapolation may know a value and not its error: unknown, not infinite.
            [e if np.isfinite(e) else None for e in self.prediction.std_errors.tolist()],
            self.prediction.decided.tolist(),
            strict=True,
        )
        found = dict(zip(self.rows.tolist(), columns, strict=True))
        for row in range(self.num_rows) if whole else self.rows.tolist():
            values = found.get(row, (None,) * len(FIELDS))
            yield (
                ({"row": row + 1} if numbered else {})
                | ({"text": texts[row]} if texts is not None else {})
                | dict(zip(FIELDS, values, strict=True))
            )


def predict_rows(
    model: TextClassifier, about: About, found: Expectations, *, refit: bool = True
) -> RowPredictions:
    """Predict the rows of a run that have arrived.

    Args:
        model: The model that the run was planned for.
        about: What the run remembers.
        found: Its expectation values, NaN in rows without a result, shape (N + R, M).
        refit: Recalibrate the read-out where the run has sentences for it.

    Raises:
        InvalidInputError: The read-out cannot be recalibrated: too few of those sentences arrived,
            or the noise has erased an observable.
    """
    num_rows = about.data.num_rows
    weight, bias = model.head_.readout_weights()  # (K, M), (K,)
    notes = found.notes
    if about.recalibration is not None and refit:
        readout, note = _refitted(AffineReadout(weight, bias), about.recalibration, found, num_rows)
        weight, bias, notes = readout.weight, readout.bias, (*notes, note)
    there = np.flatnonzero(~np.isnan(found.values[:num_rows]).any(axis=1))
    values, errors = found.values[there], found.std_errors[there]
    unknown = int((~np.isfinite(errors)).any(axis=1).sum())
    if unknown:
        notes = (*notes, f"{unknown} rows have no standard error and count as undecided.")
    prediction = sampled_prediction(
        values @ weight.T + bias,
        errors,
        weight,
        model.classes_,
        target=found.target,
        notes=notes,
    )
    return RowPredictions(prediction, there, num_rows)


def _refitted(
    readout: AffineReadout, again: Recalibration, found: Expectations, num_rows: int
) -> tuple[AffineReadout, str]:
    values, errors = found.values[num_rows:], found.std_errors[num_rows:]
    there = ~np.isnan(values).any(axis=1)
    try:
        fitted = recalibrate(readout, values[there], np.array(again.exact)[there], errors[there])
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{error} --no-recalibration takes the read-out as it was trained."
        ) from error
    part = "" if there.all() else f" (of {len(there)}, the others have not arrived)"
    return fitted, f"Read-out refitted on {int(there.sum())} sentences{part}."


def explain_missing(missing: Sequence[int], num_rows: int, status: RunStatus) -> str:
    """Return which rows are missing, why, and what to do about it."""
    run, free = status.run.id, status.run.local
    told = f"{len(missing)} of {num_rows} rows are missing: {row_numbers(missing)}."
    reasons = [
        f"job {idx}: {reason.removesuffix('.')}" for idx, reason in sorted(status.problems.items())
    ]
    if reasons:
        told += f" {'; '.join(reasons[:3])}."
    if status.state == "cancelled":
        return (
            f"{told} The run was cancelled; qhead resume {run} --resubmit-cancelled sends them "
            f"after all{'' if free else ', at your cost'}."
        )
    if not status.finished:
        return f"{told} Jobs are still to come: qhead collect {run} --wait SECONDS."
    if status.jobs.get("unknown"):
        return (
            f"{told} The platform took jobs that it does not know any more: qhead collect {run} "
            f"looks for them again. qhead resume {run} --resubmit-unknown sends them again"
            + ("." if free else ", and they are paid for twice if it ran them after all.")
        )
    if status.jobs.get("failed"):
        return (
            f"{told} qhead resume {run} sends failed jobs again"
            + ("" if free else ", which the account pays for again where they ran")
            + f"; then qhead collect {run}."
        )
    if not reasons:  # all results are there: the client's estimator has no value for these rows
        return (
            f"{told} The results have arrived, but no finite value for these rows: plan them again "
            "without --zne."
        )
    return f"{told} qhead collect {run} asks the platform for them again, which costs nothing."
