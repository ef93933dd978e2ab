"""From the results of a run to labels: of the rows that have arrived, and which have not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hardware.circuits.readout import AffineReadout, recalibrate
from hardware.errors import InvalidInputError, RunError
from hardware.runs.progress import RunStatus
from hardware.workload import Expectations
from qhead.data.texts import ranges
from qhead.errors import MissingRowsError
from qhead.prediction import FIELDS, Prediction, sampled_prediction
from qhead.runs.metadata import Readout, Recalibration, RunMetadata


@dataclass(frozen=True, eq=False)
class RowPredictions:
    """Predictions of the rows that have arrived.

    Args:
        prediction: Predictions of n rows.
        rows: Which rows of the data they are, counted from 0, shape (n,).
        num_rows: N, rows of the data.
        status: Where the run stands.
        texts: The N sentences, where they are known.
    """

    prediction: Prediction
    rows: np.ndarray
    num_rows: int
    status: RunStatus
    texts: tuple[str, ...] | None = None

    @property
    def missing(self) -> tuple[int, ...]:
        """Rows without a result, counted from 0."""
        return tuple(np.setdiff1d(np.arange(self.num_rows), self.rows).tolist())

    @property
    def rounds_under_way(self) -> bool:
        """Whether labels may still change: rounds of adaptive shots are left that may be sent."""
        return not self.missing and not self.status.finished and -1 not in self.status.problems

    def records(self, *, numbered: bool = True, whole: bool = False) -> Iterator[dict[str, Any]]:
        """Yield one mapping a row: row, text, label, probability, std_error, decided.

        Args:
            numbered: Give each row its number, counted from 1.
            whole: Give missing rows too, with None in place of each value.
        """
        found = dict(zip(self.rows.tolist(), self.prediction.records(), strict=True))
        for row in range(self.num_rows) if whole else self.rows.tolist():
            yield (
                ({"row": row + 1} if numbered else {})
                | ({"text": self.texts[row]} if self.texts is not None else {})
                | found.get(row, dict.fromkeys(FIELDS))
            )

    def run_record(self) -> dict[str, Any]:
        """Return the run in numbers, JSON-able; rows are counted from 1."""
        return {
            "run": self.status.run.id,
            "missing": [row + 1 for row in self.missing],
            "estimated_seconds": self.status.run.estimate_seconds,
            **self.status.charge_record(),
        }

    def explain_missing(self) -> str:
        """Return which rows are missing, why, and what to do about it."""
        return explain_missing(self.missing, self.num_rows, self.status)

    def missing_error(self, message: str | None = None) -> RunError | MissingRowsError:
        """Return the error of missing rows: of a failed run, or of one that can be carried on."""
        kind = RunError if self.status.state == "failed" else MissingRowsError
        return kind(message or self.explain_missing())


def predict_rows(
    readout: Readout,
    metadata: RunMetadata,
    found: Expectations,
    status: RunStatus,
    *,
    refit: bool = True,
    texts: tuple[str, ...] | None = None,
) -> RowPredictions:
    """Predict the rows of a run that have arrived.

    Args:
        readout: The read-out of the model that the run was planned for.
        metadata: What the run's plan carries.
        found: Its expectation values, NaN in rows without a result, shape (N + R, M).
        status: Where the run stands.
        refit: Recalibrate the read-out where the run has sentences for it.
        texts: The N sentences, where they are known.

    Raises:
        InvalidInputError: The read-out cannot be recalibrated: too few of those sentences arrived,
            or the noise has erased an observable.
    """
    num_rows = metadata.data.num_rows
    weight, bias, notes = readout.weight, readout.bias, found.notes
    if metadata.recalibration is not None and refit:
        affine = AffineReadout(weight, bias)
        fitted, note = _refitted(affine, metadata.recalibration, found, num_rows)
        weight, bias, notes = fitted.weight, fitted.bias, (*notes, note)
    there = np.flatnonzero(~np.isnan(found.values[:num_rows]).any(axis=1))
    values, errors = found.values[there], found.std_errors[there]
    unknown = int((~np.isfinite(errors)).any(axis=1).sum())
    if unknown:
        notes = (*notes, f"{unknown} rows have no standard error and count as undecided.")
    prediction = sampled_prediction(
        values @ weight.T + bias,
        errors,
        weight,
        readout.classes,
        target=found.target,
        notes=notes,
    )
    if found.decisions is not None:
        prediction = prediction.decided_by(found.decisions, there)
    return RowPredictions(prediction, there, num_rows, status, texts)


def _refitted(
    readout: AffineReadout, again: Recalibration, found: Expectations, num_rows: int
) -> tuple[AffineReadout, str]:
    values, errors = found.values[num_rows:], found.std_errors[num_rows:]
    there = ~np.isnan(values).any(axis=1)
    try:
        known = bool(np.isfinite(errors[there]).all())  # else all rows weigh the same
        weights = errors[there] if known else None
        fitted = recalibrate(readout, values[there], np.array(again.exact)[there], weights)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{error} --no-recalibration (in Python, refit=False) takes the read-out as it was "
            "trained."
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


def row_numbers(indices: Sequence[int]) -> str:
    """Return row numbers, counted from 1, for a message: ``3, 7–12``."""
    return ranges([index + 1 for index in indices])
