"""Train a classifier's head where its circuit runs.

    tuning = Finetuning(model, texts, labels, target="ibm:best", validation=(held, truth))
    print(tuning.price())                                # runs nothing
    tuning.run(budget=600, checkpoint="tuning.ckpt")     # the same call carries on after any end

The loop is that of `qhead.training`; only the quantum step is another one, which measures its
values and derivatives. The read-out, and the encoders if asked for, are trained by the chain rule
through them. A step on a device is a run in the ledger; the validation set runs there as well.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hardware.devices.base import Device
from hardware.devices.login import Account
from hardware.devices.named import BEST, LEAST_BUSY, NamedDevice, is_device, parse_device
from hardware.errors import BudgetError, ServiceError
from hardware.planning.options import PlanOptions
from hardware.planning.plan import JobPlan
from hardware.runs.opening import open_device
from hardware.runs.permission import check_budget
from hardware.runs.planned import plan_on, planning_device, with_shots
from hardware.runs.quote import charge_ratio
from hardware.targets import ExecutionTarget
from hardware.workload import Workload
from qhead.checkpoints import read_checkpoint
from qhead.classifier import TextClassifier
from qhead.errors import InputError, TrainingError, TrainingInterrupted
from qhead.finetuning.journal import Journal
from qhead.finetuning.options import FinetuningOptions
from qhead.finetuning.prepared import Module, Pair, Prepared, copied
from qhead.finetuning.price import Price, step_seconds
from qhead.finetuning.rows import DeviceRows, EmulatedRows, RowRunner
from qhead.heads.quantum import QuantumHead
from qhead.simulator import ExactTarget
from qhead.targets import resolve_target
from qhead.training import class_weights, evaluate, train
from qhead.training_options import EpochRecord, ProgressCallback, Stop


@dataclass(frozen=True)
class FinetuningResult:
    """The course of a training on a target; the weights themselves are in the model.

    Args:
        target: Where it ran.
        history: One record an epoch.
        best_epoch: The epoch whose weights were kept, from 1; 0 for the weights that it started
            from, where no epoch had a lower validation loss.
        stopped: Why it ended.
        start_loss: Validation loss (nats) of the weights to start from; None without a validation
            set.
        start_accuracy: Their accuracy there.
        runs: Runs in the ledger, one a step; empty for emulations.
        used_seconds: QPU seconds charged, or of a local device estimated; None for emulations.
    """

    target: str
    history: tuple[EpochRecord, ...]
    best_epoch: int
    stopped: Stop
    start_loss: float | None
    start_accuracy: float | None
    runs: tuple[str, ...]
    used_seconds: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return it JSON-able."""
        return asdict(self)


class Finetuning:
    """A training of a classifier's quantum head with its circuit on a target.

    Args:
        model: A classifier with a quantum head; `run` leaves the best weights in it.
        texts: n sentences.
        labels: n labels, of the model's classes.
        target: Where the circuit runs: a target, its specification (``"noisy:0.001,0.01:1024"``),
            or a device (``"fake:fez"``, ``"ibm:best"``). None: exactly, here.
        validation: Sentences and labels, run on the target before the first epoch and after each.
            The weights of the lowest loss there are kept, those at the start among them. None: the
            last epoch's are.
        options: See `FinetuningOptions`.
        plan_options: Shots, tiles and mitigation on a device.
        account: Which account and instance of the platform; None: the client's default.
        seed: Seed of batches, shots, signs, and of weights from scratch that of the head.

    Raises:
        HeadError: The model has no quantum head, or is not trained and ``start`` is "trained".
        DataError: Sentences or labels that cannot be used.
        InputError: Plan options that a training has no use for, such as adaptive shots.
        UnknownTargetError, UnknownBackendError: There is no such target.
    """

    def __init__(
        self,
        model: TextClassifier,
        texts: Sequence[str],
        labels: ArrayLike,
        *,
        target: ExecutionTarget | str | None = None,
        validation: Pair | None = None,
        options: FinetuningOptions | None = None,
        plan_options: PlanOptions | None = None,
        account: Account | None = None,
        seed: int = 0,
    ) -> None:
        self.model, self.options, self.seed = model, options or FinetuningOptions(), int(seed)
        self._named = None
        if plan_options is not None and plan_options.adaptive is not None:
            raise InputError(
                "Adaptive shots decide on labels, and a training needs the values of all rows: "
                "leave out adaptive, rounds and error_rate.",
                options=["rounds", "error_rate"],
            )
        if isinstance(target, str) and is_device(target):
            self._named = parse_device(target, account)
            self._plan_options = with_shots(plan_options, self._named)
        elif plan_options is not None or account is not None:
            raise InputError(
                "Plans and accounts are for devices, such as fake:NAME or ibm:NAME: leave out "
                "plan_options and account."
            )
        self._target = None if self._named else resolve_target(target) or ExactTarget()
        self._work = Prepared.of(model, texts, labels, validation, self.options)
        #: The course of the training so far; None before `run`.
        self.result: FinetuningResult | None = None

    def price(self, *, offline: bool = False) -> Price:
        """Return what the training runs and costs; runs nothing and sends nothing.

        Where the platform cannot be reached, a device's calibration is the one that was kept.

        Args:
            offline: Make no network call.

        Raises:
            HardwareError: As `hardware.plan`.
        """
        module = self._work.module(EmulatedRows(ExactTarget(), self.seed))
        if self._named is None:
            return self._price(module, None, None)
        named = replace(self._named, offline=offline)
        return self._price(module, planning_device(named, self._one_row(module)), named)

    def run(
        self,
        *,
        budget: float | None = None,
        checkpoint: str | Path | None = None,
        progress: ProgressCallback | None = None,
    ) -> FinetuningResult:
        """Train; the model then holds the best weights, also after Ctrl-C or a failure.

        Args:
            budget: QPU seconds that the whole training may use; required where a device charges. A
                fake charges nothing; its estimates count, to rehearse a budget.
            checkpoint: File written after every epoch, beside one with the steps on a device.
                Where they exist, the training goes on from them: what was paid for is read from
                the ledger. Required where a device charges.
            progress: Called after every epoch with its record and the number planned.

        Raises:
            BudgetError: The budget is missing or below the estimate, and nothing was sent; or it
                is used up. The same call with a larger one carries on.
            CheckpointError: The checkpoint is of another training.
            HardwareError: The device or the platform failed; the same call carries on.
            TrainingError: The training diverged.
            TrainingInterrupted: Ctrl-C after at least one epoch; before, KeyboardInterrupt.
        """
        place = None if checkpoint is None else Path(checkpoint)
        if self._named is None:
            if budget is not None:
                raise InputError(
                    "Expected a budget with a device, such as fake:NAME or ibm:NAME: emulations "
                    "charge nothing. Leave it out."
                )
            assert self._target is not None
            runner = EmulatedRows(self._target, self.seed)
            module = self._work.module(runner)
            return self._train(module, runner, place, progress, self._target.spec)
        check_budget(budget, local=not self._named.charges)
        steps = None if place is None else place.with_name(f"{place.name}.steps")
        with closing(Journal(steps)) as journal:
            return self._train_on_device(journal, budget, place, progress)

    def _train_on_device(
        self,
        journal: Journal,
        budget: float | None,
        checkpoint: Path | None,
        progress: ProgressCallback | None,
    ) -> FinetuningResult:
        named = self._named
        assert named is not None
        if named.name in (BEST, LEAST_BUSY) and journal.device is not None:
            named = replace(named, name=journal.device)  # all steps on one device
        module = self._work.module(EmulatedRows(ExactTarget(), self.seed))
        device = open_device(named, self._one_row(module))
        check_budget(budget, local=device.local)
        if checkpoint is None and not device.local:
            raise InputError(
                "Give a checkpoint, a file that the training can be carried on from: on "
                f"{device.name} its steps are paid for."
            )
        price = self._price(module, device, named)
        assert price.seconds is not None
        begun = self._work.begun_with(module, price.target, self.seed)
        runner = DeviceRows(
            device, named, self._plan_options, self.seed, price.seconds, budget, journal, begun
        )
        runner.check_budget()
        left = price.seconds_left(runner.runs)
        if price.remaining is not None and left > price.remaining:
            raise BudgetError(
                f"Expected a training within the account's {price.remaining:.1f} s of QPU time "
                f"left, got one of about {left:.1f} s: train on fewer sentences, epochs or shots."
            )
        if not device.local:
            print(f"Cost: {price}", file=sys.stderr)
        module.step.runner = runner
        return self._train(module, runner, checkpoint, progress, price.target)

    def _train(
        self,
        module: Module,
        runner: RowRunner,
        checkpoint: Path | None,
        progress: ProgressCallback | None,
        target: str,
    ) -> FinetuningResult:
        work, options = self._work, self._work.training
        history: list[EpochRecord] = []
        if checkpoint is not None and checkpoint.exists():
            history = [EpochRecord(**entry) for entry in read_checkpoint(checkpoint)[1]["history"]]
        start: tuple[float, float] | None = None
        if work.validation is not None:
            weights = class_weights(work.targets, work.num_classes, options.class_weight).float()
            start = evaluate(module, *work.validation, weights)
        runner.step = work.schedule(module).first_of(len(history))

        def note(record: EpochRecord, planned: int) -> None:
            history.append(record)
            if progress is not None:
                progress(record, planned)

        stopped: Stop = "interrupted"
        try:
            stopped = train(
                module, work.features, work.targets, work.validation, options,
                seed=self.seed,
                num_classes=work.num_classes,
                progress=note,
                checkpoint=checkpoint,
                identity=work.identity(target),
            ).stopped  # fmt: skip
        finally:  # whatever ended it, the module holds the best weights of the epochs
            self.result = self._keep(module, runner, history, start, stopped, target)
        if stopped == "diverged":
            raise TrainingError(
                f"Training diverged in epoch {len(history) + 1}: a loss or a weight is NaN or "
                f"infinite. Lower the learning rate ({options.learning_rate})."
            )
        if stopped == "interrupted":
            raise TrainingInterrupted
        return self.result

    def _keep(
        self,
        module: Module,
        runner: RowRunner,
        history: list[EpochRecord],
        start: tuple[float, float] | None,
        stopped: Stop,
        target: str,
    ) -> FinetuningResult:
        """Put the best weights into the model; it stays as it is where those are its own."""
        best = len(history)
        if history and start is not None:
            losses = [start[0], *(record.validation_loss or 0.0 for record in history)]
            best = int(np.argmin(losses))
        result = FinetuningResult(
            target=target,
            history=tuple(history),
            best_epoch=best,
            stopped=stopped,
            start_loss=None if start is None else start[0],
            start_accuracy=None if start is None else start[1],
            runs=tuple(runner.runs.values()) if isinstance(runner, DeviceRows) else (),
            used_seconds=runner.used() if isinstance(runner, DeviceRows) else None,
        )
        if history and (best or self.options.start == "scratch"):
            self._adopt(self._work.tuned(module) if best else copied(self._work.head), result)
        return result

    def _adopt(self, head: QuantumHead, result: FinetuningResult) -> None:
        head.history_, head.best_epoch_ = result.history, result.best_epoch or None
        head.stopped_ = result.stopped
        head.training_seconds_ = sum(record.seconds for record in result.history)
        model, before = self.model, getattr(self.model, "data_", {})
        model._adopt(self._work.encoder, head, self._work.data, None)
        told = {
            **model.data_,
            "target": result.target,
            "options": self.options.to_dict(),
            "runs": list(result.runs),
        }
        own = model.data_ if self.options.start == "scratch" else before
        model.data_ = {**own, "finetuned": told}

    def _one_row(self, module: Module) -> Workload:
        return self._work.validation_workload(module, 1)

    def _price(self, module: Module, device: Device | None, named: NamedDevice | None) -> Price:
        work = self._work
        price = Price(
            target="" if self._target is None else self._target.spec,
            sentences=len(work.targets),
            validation=0 if work.validation is None else len(work.validation[1]),
            rows_per_sentence=module.step.shifts.rows_per_sample,
            schedule=work.schedule(module),
            shots=getattr(self._target, "shots", None),
        )
        if device is None or named is None:
            return price

        def planned(workload: Workload) -> JobPlan:
            return plan_on(device, named, workload, self._plan_options)

        def batch(rows: int) -> JobPlan:
            return planned(work.batch_workload(module, rows // price.rows_per_sentence))

        def seconds_of(plan: JobPlan) -> float:
            return float(sum(plan.job_seconds))

        full = batch(price.schedule.batches[0])
        try:
            remaining = device.remaining()
        except ServiceError:
            remaining = None
        return replace(
            price,
            target=full.target,
            shots=full.shots,
            seconds=step_seconds(
                price.schedule,
                lambda rows: seconds_of(batch(rows)),
                lambda rows: seconds_of(planned(work.validation_workload(module, rows))),
            ),
            tiles=len(full.tiles),
            local=device.local,
            remaining=remaining,
            ratio=None if device.local else charge_ratio(device.name),
        )
