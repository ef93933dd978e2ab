"""A model's predictions on a device, as an object that any process can open again.

run = model.submit(texts, target="ibm:best", budget=120)
Run.open("20261121-0123abcd").collect()     # without the model's folder, on any day
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cached_property

from hardware.runs.progress import RunStatus
from hardware.runs.run import StoredRun
from qhead.errors import InputError
from qhead.progress import run_progress
from qhead.runs.metadata import Readout, RunMetadata
from qhead.runs.predictions import RowPredictions, predict_rows
from qhead.runs.sentences import check_same

#: A callback for where a run stands; True: a bar on a terminal or in a notebook; False: nothing.
RunProgress = Callable[[RunStatus], None] | bool
_logger = logging.getLogger(__name__)


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
        offline: bool = False,
        progress: RunProgress = True,
    ) -> RowPredictions:
        """Bring in what has ended, and predict the rows that have results.

        Args:
            wait: Seconds to wait for jobs; None for as long as it takes, 0 for one look.
            texts: The run's sentences, to have them in the records.
            refit: Recalibrate the read-out where the run has sentences for it.
            readout: The model's, for runs of an earlier version, whose plans carry none.
            offline: Make no network call: predict what the ledger holds.
            progress: Called with a `RunStatus` after each job and look; True draws a bar.

        Returns:
            Predictions of the rows that have arrived; `RowPredictions.missing` lists the others
            and `explain_missing` says why.

        Raises:
            AccountError, ServiceError, BudgetError: As `StoredRun.update`.
            DataError: The sentences are others than the run's.
            InputError: The plan carries no read-out, and none is given.
        """
        readout, checked = self._readout(readout), self._checked(texts)  # before any network call
        try:
            with run_progress(progress, f"run {self.id}", len(self.plan.jobs)) as report:
                status = self.update(wait, offline=offline, on_progress=report)
        except KeyboardInterrupt:
            _logger.info(
                "Note: run %s goes on: qhead collect %s, or qhead cancel %s.", *[self.id] * 3
            )
            raise
        return self._predicted(status, checked, refit, readout)

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
        readout, checked = self._readout(readout), self._checked(texts)
        return self._predicted(self.status(), checked, refit, readout)

    def _predicted(
        self,
        status: RunStatus,
        texts: tuple[str, ...] | None,
        refit: bool,
        readout: Readout,
    ) -> RowPredictions:
        return predict_rows(
            readout, self.metadata, self.expectations(), status, refit=refit, texts=texts
        )

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
