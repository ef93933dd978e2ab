"""What a classifier does on devices: plan, submit, and the blocking form of a prediction."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hardware.devices.base import Device
from hardware.devices.login import Account
from hardware.devices.named import NamedDevice, parse_device
from hardware.planning.options import PlanOptions
from hardware.planning.plan import JobPlan
from hardware.runs.permission import check_budget
from hardware.runs.planned import with_shots
from hardware.runs.quote import Quote
from hardware.workload import Workload
from qhead.errors import HeadError
from qhead.prediction import Prediction
from qhead.progress import counting_bar
from qhead.runs.metadata import Readout, SavedModel
from qhead.runs.planning import DeviceRows, check_recalibration, plan_rows, rows_of
from qhead.runs.predictions import RowPredictions
from qhead.runs.run import Run, RunProgress
from qhead.runs.sentences import Sentences, check_same


class DeviceMethods:
    """The part of `qhead.TextClassifier` that plans and runs its circuit on devices."""

    head_: Any
    classes_: np.ndarray
    saved_: SavedModel | None
    embed: Callable[..., np.ndarray]

    def plan(
        self,
        texts: Sequence[str] | Sentences,
        target: str,
        options: PlanOptions | None = None,
        *,
        recalibrate: Sequence[str] | Sentences | None = None,
        account: Account | None = None,
        offline: bool = False,
    ) -> JobPlan:
        """Plan predictions on a device and print the cost; nothing is sent and nothing is spent.

        Where the platform cannot be reached, the plan is made from the calibration that was kept
        when the device was last asked; its first note then says how old that is.

        Args:
            texts: n sentences.
            target: ``"fake:fez"``, ``"ibm:ibm_fez:2000"``, ``"ibm:best"``, ``"ibm:least_busy"``.
            options: Shots, tiles, mitigation, limits; the seed is that of fakes, and the head's
                own by default.
            recalibrate: Sentences of validation, run along, on which the read-out is refitted.
            account: Which account and instance of the platform; None: the client's default.
            offline: Make no network call, and plan by the calibration that was kept.

        Returns:
            The plan; `hardware.dump_plan` makes bytes of it, `Run.submit` sends it.

        Raises:
            HeadError: The head runs no circuit.
            UnknownTargetError, UnknownBackendError: There is no such device.
            AccountError, ServiceError: The platform cannot be asked for its calibration.
            PlanError: The circuit does not fit on the device.
        """
        named = parse_device(target, account, offline=offline)
        plan, device = self._planned(texts, named, options, recalibrate, fallback=True)
        print(f"Cost: {Quote.of(plan, device)}", file=sys.stderr)
        return plan

    def submit(
        self,
        texts: Sequence[str] | Sentences,
        target: str,
        options: PlanOptions | None = None,
        *,
        budget: float | None = None,
        recalibrate: Sequence[str] | Sentences | None = None,
        account: Account | None = None,
    ) -> Run:
        """Plan predictions, print their cost, send them within a budget and return at once.

        Args:
            texts, target, options, recalibrate, account: As for `plan`.
            budget: QPU seconds that the whole run, resumes included, may use. Required on a real
                device; a fake charges nothing and only compares it with the estimate.

        Returns:
            The run, which is in the ledger: `Run.open` finds it by its id from any process.

        Raises:
            BudgetError: No budget for a real device, or one below the estimate. Nothing was sent.
            HardwareError: As `plan`, or the platform failed; if the error has a `run_id`, that run
                is in the ledger and can be resumed.
        """
        return self._submit(texts, parse_device(target, account), options, budget, recalibrate)

    def run_on_device(
        self,
        texts: Sequence[str] | Sentences,
        target: str,
        options: PlanOptions | None = None,
        *,
        budget: float | None = None,
        recalibrate: Sequence[str] | Sentences | None = None,
        account: Account | None = None,
        progress: RunProgress = True,
    ) -> RowPredictions:
        """Submit sentences, wait, and predict the rows that have results.

        Args:
            texts, target, options, budget, recalibrate, account: As for `submit`.
            progress: Called with a `RunStatus` after each job and look; True draws a bar.

        Raises:
            HardwareError: As `submit` and `Run.collect`. The run stays in the ledger.
        """
        named, sentences = parse_device(target, account), Sentences.of(texts)
        run = self._submit(sentences, named, options, budget, recalibrate, blocking=True)
        if not run.record.local:
            print(f"Run: {run.id}", file=sys.stderr)  # so that it can be found after an interrupt
        return run.collect(texts=sentences.texts, progress=progress)

    def predict_on_device(
        self,
        texts: Sequence[str],
        target: str,
        options: PlanOptions | None = None,
        *,
        budget: float | None = None,
        progress: RunProgress = True,
        account: Account | None = None,
    ) -> Prediction:
        """Submit sentences, wait for all of them and return their predictions.

        The arguments are those of `run_on_device`.

        Raises:
            HardwareError: As `submit` and `Run.collect`.
            RunError, MissingRowsError: Rows have no result; the run stays in the ledger.
        """
        found = self.run_on_device(
            texts, target, options, budget=budget, account=account, progress=progress
        )
        if found.missing:
            raise found.missing_error()
        named = f"Run {found.status.run.id}."
        return replace(found.prediction, notes=(*found.prediction.notes, named))

    def predictions_of(self, run_id: str, texts: Sequence[str]) -> RowPredictions:
        """Predict the rows of a run in the ledger with this model; makes no network call.

        Args:
            run_id: The run, or the beginning of its id.
            texts: Its sentences.

        Raises:
            ModelError: It is a run of another model.
            DataError: It is a run of other sentences.
        """
        run = Run.open(run_id)
        run.metadata.check_model(self.saved_, self.readout())
        check_same(texts, run.metadata.data, f"DATA for run {run.id}")
        return run.predictions(texts=texts, readout=self.readout())

    def device_circuit(self) -> Workload:
        """Return the circuit that a device runs, as a workload of one row, to rank devices by.

        Raises:
            HeadError: The head runs no circuit.
        """
        head = self._circuit_head()
        workload: Workload = head.workload(np.ones((1, head.n_features_in_), np.float32))
        return workload

    def readout(self) -> Readout:
        """Return the linear layer behind the circuit, with the classes.

        Raises:
            HeadError: The head runs no circuit.
        """
        weight, bias = self._circuit_head().readout_weights()
        return Readout(weight, bias, self.classes_)

    def device_rows(
        self,
        texts: Sequence[str] | Sentences,
        recalibrate: Sequence[str] | Sentences | None = None,
    ) -> DeviceRows:
        """Return the circuit rows of sentences, with what makes labels of their results.

        Raises:
            HeadError: The head runs no circuit.
            DataError: Sentences that cannot be used.
        """
        head = self._circuit_head()
        sentences = Sentences.of(texts)
        again = None if recalibrate is None else Sentences.of(recalibrate)
        every = sentences.texts
        if again is not None:
            check_recalibration(again)
            every = (*every, *again.texts)
        with counting_bar("embedding") as bar:
            embeddings = self.embed(every, progress=lambda done, total: bar(done, total))
        workload = head.workload(embeddings)
        return rows_of(workload, sentences, again, self.readout(), self.saved_)

    def _submit(
        self,
        texts: Sequence[str] | Sentences,
        named: NamedDevice,
        options: PlanOptions | None,
        budget: float | None,
        recalibrate: Sequence[str] | Sentences | None,
        *,
        blocking: bool = False,
    ) -> Run:
        # Before any sentence is embedded.
        check_budget(budget, local=not named.charges)
        plan, device = self._planned(texts, named, options, recalibrate)
        if not (blocking and device.local):
            print(f"Cost: {Quote.of(plan, device)}", file=sys.stderr)
        return Run.submit(plan, budget=budget, device=device, account=named.account)

    def _planned(
        self,
        texts: Sequence[str] | Sentences,
        named: NamedDevice,
        options: PlanOptions | None,
        recalibrate: Sequence[str] | Sentences | None,
        *,
        fallback: bool = False,
    ) -> tuple[JobPlan, Device]:
        if options is None:
            options = PlanOptions(seed=getattr(self.head_, "seed", 0))
        options = with_shots(options, named)  # before any sentence is embedded
        rows = self.device_rows(texts, recalibrate)
        return plan_rows(rows, named, options, fallback=fallback)

    def _circuit_head(self) -> Any:
        if not hasattr(self.head_, "workload"):
            raise HeadError(
                f"The head {getattr(self.head_, 'kind', type(self.head_).__name__)!r} has no "
                "circuit to run on a device. Train a model with a quantum head."
            )
        return self.head_
