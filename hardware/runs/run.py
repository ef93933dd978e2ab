"""Runs from Python: plan a workload, submit the plan, and come back to it on any day.

    plan = hardware.plan(workload, "ibm:best", PlanOptions(shots=2000))
    run = hardware.submit(plan, budget=120)          # spends, within the budget
    run = Run.open("20261121-0123abcd")              # or from any process, on any day
    expectations = run.collect()

The ledger holds every run before anything is sent. A device is opened when a run first needs it;
`Run.status` and `Run.expectations` read the ledger alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self

from hardware.devices.base import Device
from hardware.devices.login import Account
from hardware.errors import InvalidInputError, RunError, UnknownRunError
from hardware.ledger.database import default_path
from hardware.ledger.ledger import Ledger
from hardware.ledger.records import Event, RunRecord
from hardware.planning.plan import JobPlan
from hardware.planning.plan_file import load_submitted
from hardware.planning.pubs import job_request
from hardware.runs import runner
from hardware.runs.opening import named_device, open_device
from hardware.runs.permission import checked_budget
from hardware.runs.planned import check_calibration, planned_device
from hardware.runs.policy import Policy
from hardware.runs.progress import OnProgress, RunStatus, run_status
from hardware.workload import Expectations

#: Pace and patience where the caller gives none.
POLICY = Policy()
_logger = logging.getLogger(__name__)


class StoredRun:
    """A run in the ledger; its device is opened when it is first needed.

    Args:
        run_id: The run, or the unique beginning of its id.
        ledger: The ledger's file; None: the default one.
        device: The run's device; None opens it by its name in the ledger.
        policy: Pace and patience.
        account: Which saved account of the platform; None: the client's default. Of its instances
            the one that the run was sent through is used, whichever the account names.

    Attributes:
        id: The run's whole id.

    Raises:
        UnknownRunError: The ledger has no such run, or there is no ledger.
        LedgerError: The ledger cannot be read.
        InvalidInputError: An account for a run of a device that is reached without one.
    """

    def __init__(
        self,
        run_id: str,
        *,
        ledger: str | Path | None = None,
        device: Device | None = None,
        policy: Policy | None = None,
        account: Account | None = None,
    ) -> None:
        if not isinstance(run_id, str):
            raise InvalidInputError(f"Expected the id of a run as a string, got {run_id!r}.")
        self._path = _path(ledger)
        if not self._path.exists():
            raise UnknownRunError(
                f"Expected a run of the ledger {self._path}, got {run_id!r}: there is no ledger "
                "yet. Runs begin with qhead submit; QHEAD_LEDGER names another ledger."
            )
        self._device, self._policy, self._account = device, policy, account
        self._plan: tuple[int, JobPlan] | None = None  # and how many rounds were added to it
        with self._ledger() as opened:
            run = opened.run(run_id)
        self.id = run.id
        if account is not None:
            account.check_needed(run.target)

    @classmethod
    def open(
        cls,
        run_id: str,
        *,
        ledger: str | Path | None = None,
        device: Device | None = None,
        policy: Policy | None = None,
        account: Account | None = None,
    ) -> Self:
        """Return a run of the ledger, from any process and on any day; see the class."""
        return cls(run_id, ledger=ledger, device=device, policy=policy, account=account)

    @classmethod
    def submit(
        cls,
        plan: JobPlan,
        *,
        budget: float | None = None,
        device: Device | None = None,
        ledger: str | Path | None = None,
        policy: Policy | None = None,
        on_progress: OnProgress | None = None,
        account: Account | None = None,
    ) -> Self:
        """Write a plan to the ledger, send what the account takes now, and return the run.

        Args:
            plan: What to run.
            budget: QPU seconds that the whole run, resumes included, may use. Required on a real
                device; a local one charges nothing and only compares it with the estimate.
            device: Where it runs; None opens the plan's own device.
            ledger: The ledger's file; None: the default one.
            policy: Pace and patience.
            on_progress: Called before each wait of seconds.
            account: Which account and instance of the platform; None: the client's default.

        Raises:
            BudgetError: No budget for a real device, or one below the estimate. Nothing was
                written.
            PlanError: The device has changed since the plan was made.
            InvalidInputError: An account for a device that is reached without one.
            AccountError, ServiceError: The platform failed. If the error has a `run_id`, that run
                is in the ledger: ``Run.open(error.run_id).resume()`` carries on.
        """
        if account is not None:
            account.check_needed(plan.target)
        if device is None:
            device = planned_device(plan, account)
        elif plan.num_remarks and not device.local:  # made offline
            check_calibration(plan, device)
        checked_budget(plan, budget, local=device.local)  # before a ledger is created
        if budget is not None and plan.rounds and budget < plan.cost.qpu_seconds:
            _logger.info(
                "Note: the budget of %g s does not cover all rounds with all rows, %.1f s: the run "
                "stops before a round that does not fit, and keeps the labels that it has.",
                budget, plan.cost.qpu_seconds,
            )  # fmt: skip
        path = _path(ledger)
        with Ledger(path) as opened:
            run_id = runner.submit(
                plan,
                ledger=opened,
                device=device,
                budget_seconds=budget,
                policy=policy or POLICY,
                on_progress=on_progress,
            )
        if device.local and budget is not None:
            _logger.info(
                "Note: %s is simulated here and charges nothing: the budget of %g s was only "
                "compared with the estimate, %.1f s.",
                plan.backend, budget, plan.cost.qpu_seconds,
            )  # fmt: skip
        return cls(run_id, ledger=path, device=device, policy=policy, account=account)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"

    @contextmanager
    def _ledger(self) -> Iterator[Ledger]:
        with Ledger(self._path) as opened:  # for one call: a connection belongs to one thread
            yield opened

    @property
    def record(self) -> RunRecord:
        """The run's row in the ledger, as it is now."""
        with self._ledger() as ledger:
            return ledger.run(self.id)

    @property
    def plan(self) -> JobPlan:
        """The plan that was submitted, with the rounds of adaptive shots that were added since."""
        with self._ledger() as ledger:
            rounds = ledger.num_rounds(self.id)
            if self._plan is None or self._plan[0] != rounds:
                self._plan = rounds, load_submitted(ledger.plan_body(self.id))
        return self._plan[1]

    @property
    def device(self) -> Device:
        """The run's device; opening a real one makes network calls.

        Raises:
            AccountError, UnknownBackendError, ServiceError: It cannot be opened.
            RunStateError: The run went through another account.
        """
        if self._device is None:
            run = self.record
            named = named_device(run.target, run.device, local=run.local)
            self._device = open_device(
                replace(named, account=self._account or named.account, instance=run.instance)
            )
        return self._device

    def events(self) -> list[Event]:
        """Return the run's history, oldest first."""
        with self._ledger() as ledger:
            return ledger.events(self.id)

    def unverified(self) -> int:
        """Return how many sent jobs the platform's list does not show yet."""
        with self._ledger() as ledger:
            return sum(not job.verified for job in ledger.jobs(self.id, "submitted"))

    def status(self) -> RunStatus:
        """Return where the run stands by the ledger; makes no network call."""
        with self._ledger() as ledger:
            return runner.status(self.id, ledger=ledger, plan=self.plan)

    def expectations(self) -> Expectations:
        """Return the rows as far as the ledger has results; makes no network call.

        Rows without a result are NaN, and `Expectations.missing` lists them.
        """
        with self._ledger() as ledger:
            return runner.expectations(self.id, ledger=ledger, plan=self.plan)

    def update(
        self,
        wait: float | None = None,
        *,
        offline: bool = False,
        on_progress: OnProgress | None = None,
    ) -> RunStatus:
        """Send what is left, wait for the jobs, store their results; return where the run stands.

        Where nothing is left to learn, the device is not asked. Where the platform fails after all
        jobs have ended, the failure is logged, for the ledger has what there is.

        Args:
            wait: Seconds to wait for jobs; None for as long as it takes, 0 for one look.
            offline: Make no network call.
            on_progress: Called after each job that ends and after each look at all of them.

        Raises:
            AccountError, ServiceError: The platform failed; what came is stored.
            BudgetError: The budget does not cover what is left to send; what was sent is stored.
            RunStateError: The run went through another account.
        """
        if wait is not None and not wait >= 0:
            raise InvalidInputError(f"Expected to wait zero or more seconds, got {wait}.")
        with self._ledger() as ledger:
            ledger.finalize(self.id)
            damaged = runner.unusable(self.id, partial(job_request, self.plan), ledger=ledger)
            status = run_status(ledger, self.id, damaged)
            charged = (
                status.run.local
                or status.run.never_charged
                or not (
                    ledger.uncharged(self.id)
                    or any(one.charged_seconds is None for one in ledger.sessions(self.id))
                )
            )
            # Looked for again, as a second job is that a request may have left.
            lost = status.jobs.get("unknown", 0) > 0 or bool(ledger.unverified(self.id))
            if offline or (status.finished and not damaged and charged and not lost):
                return status
            try:
                found = runner.collect(
                    self.id,
                    ledger=ledger,
                    device=self.device,
                    timeout=None if wait == float("inf") else wait,
                    policy=self._policy or POLICY,
                    on_progress=on_progress,
                )
            except RunError as error:
                if not status.finished:
                    raise
                missing = " The stored results that cannot be used stay missing." if damaged else ""
                _logger.warning("The platform could not be asked.%s %s", missing, error)
                return status
        if found.run.awaits_round and -1 in found.problems:
            _logger.warning("%s", found.problems[-1])
        return found

    def resume(
        self,
        budget: float | None = None,
        *,
        resubmit_cancelled: bool = False,
        resubmit_unknown: bool = False,
        on_progress: OnProgress | None = None,
    ) -> RunStatus:
        """Find what was sent, plan again what failed, and send what the account takes now.

        Args:
            budget: New QPU seconds for the whole run, what was charged so far included.
            resubmit_cancelled: Send cancelled jobs again as well.
            resubmit_unknown: Send jobs again that the platform took and does not know any more;
                both are paid for if it ran them after all.
            on_progress: Called before each wait of seconds.

        Raises:
            RunStateError: The run was cancelled, or went through another account.
            BudgetError: The budget does not cover what is left.
            AccountError, ServiceError: The platform failed; resume again later.
        """
        with self._ledger() as ledger:
            ledger.check_resumable(self.id, resubmit_cancelled)
            return runner.resume(
                self.id,
                ledger=ledger,
                device=self.device,
                budget_seconds=budget,
                resubmit_cancelled=resubmit_cancelled,
                resubmit_unknown=resubmit_unknown,
                policy=self._policy or POLICY,
                on_progress=on_progress,
            )

    def cancel(self) -> RunStatus:
        """Send nothing more and cancel the jobs that have not ended; results so far stay.

        Raises:
            RunStateError: The run has ended already.
            AccountError, ServiceError: The platform failed: cancel again to reach the rest.
        """
        with self._ledger() as ledger:
            return runner.cancel(
                self.id, ledger=ledger, device=self.device, policy=self._policy or POLICY
            )


class Run(StoredRun):
    """A run of any workload: its rows come back as `Expectations`."""

    def collect(
        self, wait: float | None = None, *, on_progress: OnProgress | None = None
    ) -> Expectations:
        """Bring in what has ended, as `update`, and return the rows as far as there are results.

        Rows without a result are NaN, and `Expectations.missing` lists them; `status` says why.

        Raises:
            HardwareError: As `update`.
        """
        self.update(wait, on_progress=on_progress)
        return self.expectations()


def submit(
    plan: JobPlan,
    *,
    budget: float | None = None,
    device: Device | None = None,
    ledger: str | Path | None = None,
    policy: Policy | None = None,
    on_progress: OnProgress | None = None,
    account: Account | None = None,
) -> Run:
    """Write a plan to the ledger, send what the account takes now, and return the run.

    The arguments and errors are those of `StoredRun.submit`; `budget` is in QPU seconds.
    """
    return Run.submit(
        plan,
        budget=budget,
        device=device,
        ledger=ledger,
        policy=policy,
        on_progress=on_progress,
        account=account,
    )


def list_runs(ledger: str | Path | None = None) -> list[RunStatus]:
    """Return where all runs of a ledger stand, newest first; none where there is no ledger.

    Raises:
        LedgerError: The ledger cannot be read.
    """
    path = _path(ledger)
    if not path.exists():
        return []
    with Ledger(path) as opened:
        return [run_status(opened, run.id, {}) for run in opened.runs()]


def _path(ledger: str | Path | None) -> Path:
    return default_path() if ledger is None else Path(ledger).expanduser()
