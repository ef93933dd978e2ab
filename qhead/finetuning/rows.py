"""Where the rows of a training run: an emulation here, or a device through the ledger."""

from __future__ import annotations

import dataclasses
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hardware.devices.base import Device
from hardware.devices.login import Account
from hardware.devices.named import NamedDevice
from hardware.errors import BudgetError, RunError, RunStateError
from hardware.ledger.budget import SLACK
from hardware.ledger.database import default_path
from hardware.ledger.ledger import Ledger
from hardware.planning.options import PlanOptions
from hardware.runs.planned import plan_on
from hardware.runs.run import Run
from hardware.targets import ExecutionTarget
from hardware.workload import Workload
from qhead.checkpoints import check_same, flatten
from qhead.errors import CheckpointError
from qhead.finetuning.journal import Journal

_logger = logging.getLogger(__name__)
# Purposes that draw random numbers of a step, each a stream of its own.
_SIGNS, _SHOTS, _ORDER = range(3)


class RowRunner(ABC):
    """Runs the workloads of a training one after the other; each is a step, known by its number.

    What is random in a step follows from seed and number alone, so that a training that is carried
    on goes the way that it would have gone.

    Args:
        seed: Seed of signs, shots and order.
    """

    def __init__(self, seed: int) -> None:
        self.seed = int(seed)
        #: Number of the next step, from 0.
        self.step = 0

    def generator(self, purpose: int = _SIGNS) -> np.random.Generator:
        """Return the random numbers of the next step."""
        return np.random.default_rng([self.seed, self.step, purpose])

    def run(self, workload: Workload) -> np.ndarray:
        """Run the next step; return its expectation values (rows, M).

        Raises:
            HardwareError: The target failed. The step is not done: it can be run again.
        """
        found = self._run(workload)
        self.step += 1
        return found

    @abstractmethod
    def _run(self, workload: Workload) -> np.ndarray: ...


class EmulatedRows(RowRunner):
    """Runs rows on a target of this machine, with shots of their own in each step."""

    def __init__(self, target: ExecutionTarget, seed: int) -> None:
        super().__init__(seed)
        self.target = target

    def _run(self, workload: Workload) -> np.ndarray:
        target: Any = self.target
        seed = int(self.generator(_SHOTS).integers(2**31))
        if isinstance(getattr(target, "options", None), PlanOptions):
            target = dataclasses.replace(target, options=_seeded(target.options, seed))
        elif hasattr(target, "seed"):
            target = dataclasses.replace(target, seed=seed)
        values: np.ndarray = target.run(workload).values
        return values


class DeviceRows(RowRunner):
    """Runs rows on a device: each step is a run in the ledger, within one budget for all.

    Rows are spread over the tiles in random order: the shifts of one angle then meet the errors of
    different tiles without a preference, which leave noise in a derivative and no bias.

    Args:
        device: The device, opened.
        named: Its name, as plans note it.
        options: Shots, tiles, mitigation.
        seed: As for `RowRunner`.
        seconds: Estimated QPU seconds of each step.
        budget: QPU seconds that all steps together may use; None where nothing is charged.
        journal: Which plan each step ran.
        begun: All that decides what the steps run, by name; see `qhead.checkpoints`.

    Raises:
        CheckpointError: The journal is of another training, plan, device, account or ledger, or
            the ledger lacks one of its runs.
    """

    def __init__(
        self,
        device: Device,
        named: NamedDevice,
        options: PlanOptions,
        seed: int,
        seconds: Sequence[float],
        budget: float | None,
        journal: Journal,
        begun: Mapping[str, Any],
    ) -> None:
        super().__init__(seed)
        self.device, self.named, self.options = device, named, options
        self.seconds, self.budget, self.journal = tuple(seconds), budget, journal
        place = str(default_path().absolute())
        plan = json.loads(_seeded(options, 0).canonical_json())
        now = {
            **begun, **flatten({"plan": plan}), "device": device.name,
            "instance_sha256": device.instance, "ledger": place,
        }  # fmt: skip
        then = journal.begin(now)
        if journal.path is not None:
            check_same(journal.path, then, now)
        #: Ids of the runs, by step.
        self.runs: dict[int, str] = {}
        self._find_runs()

    @property
    def account(self) -> Account | None:
        """The account, where the device is reached through one."""
        return None if self.device.local or self.named.kind != "ibm" else self.named.account

    def used(self, step: int | None = None) -> float:
        """Return the QPU seconds that a step, or all of them, were charged or may be charged.

        A local device charges nothing; to rehearse a budget, its estimates count.
        """
        with Ledger(default_path()) as ledger:
            total = 0.0
            for run_id in self.runs.values() if step is None else [self.runs[step]]:
                run, spent = ledger.run(run_id), ledger.spending(run_id)
                total += run.estimate_seconds if run.local else spent.charged + spent.in_flight
        return total

    def check_budget(self) -> None:
        """Refuse to go on where the estimate of all that is left exceeds the budget.

        Raises:
            BudgetError: It does. Nothing was sent.
        """
        left = sum(seconds for step, seconds in enumerate(self.seconds) if step not in self.runs)
        used = self.used() if self.runs else 0.0
        if self.budget is not None and left and used + left > self.budget + SLACK:
            begun = f" It has used {used:.1f} s so far." if used else ""
            raise BudgetError(
                f"Expected a training within the budget of {self.budget:g} s, got one of about "
                f"{used + left:.1f} s on {self.device.name}.{begun} Give a larger budget, fewer "
                "epochs, sentences or shots, or method='spsa'.",
                options=["budget"],
            )

    def _run(self, workload: Workload) -> np.ndarray:
        order = self.generator(_ORDER).permutation(workload.num_samples)
        if self.step in self.runs:
            run = Run.open(self.runs[self.step], device=self.device, account=self.account)
            self._carry_on(run)
        else:
            run = self._submit(workload.rows(order))
        status = run.update()
        found = run.expectations()
        if found.missing or len(found.values) != len(order):
            told = sorted({each.removesuffix(".") for each in status.problems.values()})
            reasons, again = "; ".join(told) or "rows have no result", ""
            if status.jobs.get("unknown"):
                again = (
                    f" and looks for that job again. `qhead resume {run.id} --resubmit-unknown` "
                    "sends it a second time, which is paid for too if it ran"
                )
            raise RunError(
                f"Step {self.step} of the training is incomplete: run {run.id}: {reasons}. The "
                f"same call carries on, with the steps so far from the ledger{again}."
            )
        values = np.empty_like(found.values)
        values[order] = found.values
        return values

    def _submit(self, workload: Workload) -> Run:
        seed = int(self.generator(_SHOTS).integers(2**31))
        about = {"format": "qhead-finetuning", "training": self.journal.id, "step": self.step}
        plan = plan_on(self.device, self.named, workload, _seeded(self.options, seed), about)
        share = self._share(plan.cost.qpu_seconds)
        self.journal.note(self.step, plan.key)
        try:
            run = Run.submit(
                plan,
                budget=None if self.device.local else share,
                device=self.device,
                account=self.account,
            )
        finally:  # where the platform failed, the run is in the ledger all the same
            self._find_runs()
        log = logging.DEBUG if self.device.local else logging.INFO
        _logger.log(log, "Step %d: run %s, %.1f s", self.step, run.id, plan.cost.qpu_seconds)
        return run

    def _carry_on(self, run: Run) -> None:
        """Send what failed of a step's run again, within what is left of the budget.

        Raises:
            RunStateError: Somebody cancelled it.
        """
        state = run.record.state
        if state == "cancelled":
            raise RunStateError(
                f"Run {run.id}, step {self.step} of the training, was cancelled. `qhead resume "
                f"{run.id} --resubmit-cancelled` sends it after all; then call again."
            )
        if state in ("planned", "failed"):
            with Ledger(default_path()) as ledger:
                again = ledger.jobs(run.id, "planned", "failed")
            # What failed may have been charged as well: it needs its whole estimate once more.
            share = self._share(sum(job.estimate_seconds for job in again))
            spent = self.used(self.step)
            run.resume(None if self.device.local or share is None else spent + share)

    def _share(self, seconds: float) -> float | None:
        """Return the budget of a step that needs about `seconds` more: its share of what is left.

        At least that, where earlier steps were charged more than their estimates.

        Raises:
            BudgetError: Less than that is left.
        """
        if self.budget is None:
            return None
        left = self.budget - (self.used() if self.runs else 0.0)
        if seconds > left + SLACK:
            raise BudgetError(
                f"The training has used {self.budget - left:.1f} of {self.budget:g} s, and step "
                f"{self.step} needs about {seconds:.1f} s. The best weights so far are kept; the "
                "same call with a larger budget carries on.",
                options=["budget"],
            )
        to_come = seconds + sum(self.seconds[self.step + 1 :])
        return float(max(seconds, left * seconds / to_come)) if seconds else 0.0

    def _find_runs(self) -> None:
        """Look the journal's plans up in the ledger.

        Raises:
            CheckpointError: The ledger does not have a step that another one followed.
        """
        if not self.journal.plans:
            return
        with Ledger(default_path()) as ledger:
            known = {run.plan_hash: run.id for run in ledger.runs()}
        for step, keys in self.journal.plans.items():
            self.runs.update((step, known[key]) for key in keys if key in known)
        lost = [step for step in self.journal.plans if step not in self.runs]
        if any(step < max(self.journal.plans) for step in lost):
            raise CheckpointError(
                f"The ledger does not hold the run of step {lost[0]} of {self.journal.path}, which "
                "was paid for. Bring the ledger back, or name another checkpoint to start anew."
            )


def _seeded(options: PlanOptions, seed: int) -> PlanOptions:
    return dataclasses.replace(options, seed=seed)
