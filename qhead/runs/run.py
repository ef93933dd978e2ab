"""A model's predictions on a device, as an object that any process can open again.

run = model.submit(texts, target="ibm:best", budget=120)
Run.open("20261121-0123abcd").collect()     # without the model's folder, on any day
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from hardware.errors import RunError
from hardware.runs.progress import RunStatus
from hardware.runs.run import StoredRun
from qhead.errors import InputError, MissingRowsError
from qhead.progress import run_progress
from qhead.runs.metadata import Readout, RunMetadata
from qhead.runs.predictions import RowPredictions, explain_missing, missing_error, predict_rows
from qhead.runs.sentences import check_same

#: A callback for where a run stands; True: a bar on a terminal or in a notebook; False: nothing.
RunProgress = Callable[[RunStatus], None] | bool


class Run(StoredRun):
    """A run of a model's sentences: its rows come back as labels.

    The plan carries the model's read-out and classes, so the model itself is not needed. Sentences
    are in no ledger: give them to `collect` to have them beside their labels.
    """

    @cached_property
    def metadata(self) -> RunMetadata:
        """What the plan carries of the model and the sentences.

        Raises:
            PlanError: The run is not of a model's predictions.
        """
        return RunMetadata.of(self.plan, f"run {self.id}")

    def collect(
        self,
        wait: float | None = None,
        *,
        texts: Sequence[str] | None = None,
        refit: bool = True,
        readout: Readout | None = None,
        progress: RunProgress = True,
    ) -> RowPredictions:
        """Bring in what has ended, and predict the rows that have results.

        Args:
            wait: Seconds to wait for jobs; None for as long as it takes, 0 for one look.
            texts: The run's sentences, to have them in the records.
            refit: Recalibrate the read-out where the run has sentences for it.
            readout: The model's, for runs of an earlier version, whose plans carry none.
            progress: Called with a `RunStatus` after each job and look; True draws a bar.

        Returns:
            Predictions of the rows that have arrived; `RowPredictions.missing` lists the others
            and `explain_missing` says why.

        Raises:
            AccountError, ServiceError, BudgetError: As `StoredRun.update`.
            DataError: The sentences are others than the run's.
            InputError: The plan carries no read-out, and none is given.
        """
        self._readout(readout)  # before any network call
        self._checked(texts)
        with run_progress(progress, f"run {self.id}", len(self.plan.jobs)) as report:
            self.update(wait, on_progress=report)
        return self.predictions(texts=texts, refit=refit, readout=readout)

    def predictions(
        self,
        *,
        texts: Sequence[str] | None = None,
        refit: bool = True,
        readout: Readout | None = None,
    ) -> RowPredictions:
        """Predict the rows that the ledger has results of; makes no network call.

        The arguments and errors are those of `collect`.
        """
        return predict_rows(
            self._readout(readout),
            self.metadata,
            self.expectations(),
            refit=refit,
            texts=self._checked(texts),
        )

    def explain_missing(self, found: RowPredictions) -> str:
        """Return which rows are missing, why, and what to do about it."""
        return explain_missing(found.missing, found.num_rows, self.status())

    def missing_error(self, found: RowPredictions) -> RunError | MissingRowsError:
        """Return the error of missing rows: of a failed run, or of one that can be carried on."""
        status = self.status()
        return missing_error(status, explain_missing(found.missing, found.num_rows, status))

    def _readout(self, given: Readout | None) -> Readout:
        found = given or self.metadata.readout
        if found is None:
            raise InputError(
                f"Run {self.id} was planned by an earlier version of qhead, whose plans carry no "
                "read-out: give that of its model, readout=model.readout(), or the model's folder "
                "to qhead collect."
            )
        return found

    def _checked(self, texts: Sequence[str] | None) -> tuple[str, ...] | None:
        if texts is None:
            return None
        check_same(texts, self.metadata.data, "texts")
        return tuple(texts)
