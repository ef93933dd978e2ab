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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

from hardware.checks import check_shots
from hardware.devices.backends import ExecutionLimits, calibration_id, working_target
from hardware.devices.base import Device
from hardware.devices.named import NamedDevice, parse_device
from hardware.errors import (
    InvalidInputError,
    PlanError,
    RunError,
    UnknownRunError,
    UnknownTargetError,
)
from hardware.ledger.database import default_path
from hardware.ledger.ledger import Ledger
from hardware.ledger.records import Event, RunRecord
from hardware.planning import planner
from hardware.planning.options import PlanOptions
from hardware.planning.plan import JobPlan
from hardware.planning.plan_file import load_submitted
from hardware.planning.pubs import job_request
from hardware.planning.tiled_circuit import check_isa
from hardware.runs import runner
from hardware.runs.opening import named_device, open_device
from hardware.runs.permission import checked_budget
from hardware.runs.policy import Policy
from hardware.runs.progress import OnProgress, RunStatus
from hardware.workload import Expectations, Workload

#: Pace and patience where the caller gives none.
POLICY = Policy()
#: Devices that the caller named in this process. A plan from a file may name any Python function.
_named_here: set[str] = set()
_logger = logging.getLogger(__name__)


def plan(workload: Workload, target: str | Device, options: PlanOptions | None = None) -> JobPlan:
    """Spread a workload over a device; nothing is sent and nothing is spent.

    Args:
        workload: N rows of one circuit.
        target: ``"fake:fez"``, ``"ibm:ibm_fez:2000"``, ``"ibm:best"``, an open device, or
            ``"backend:my.module:make"``, which imports that module and calls ``make()`` for a
            `BackendV2`.
        options: Shots, tiles, mitigation, limits; shots may stand in the target instead.

    Returns:
        The plan, with its cost as `JobPlan.cost`. `print` shows it in one line.

    Raises:
        UnknownTargetError, UnknownBackendError: There is no such device.
        AccountError, ServiceError: The platform cannot be asked for its calibration.
        PlanError: The workload does not fit on the device.
    """
    if not isinstance(target, str):
        return planner.plan(workload, target.backend, options)
    named = parse_device(target)
    _named_here.add(named.name)
    return plan_on(open_device(named, workload), named, workload, options)


def plan_on(
    device: Device,
    named: NamedDevice,
    workload: Workload,
    options: PlanOptions | None = None,
    about: Mapping[str, Any] | None = None,
) -> JobPlan:
    """Plan for a device that has been opened under a name.

    Args:
        about: What the caller wants to find again with the plan, JSON-able.

    Raises:
        PlanError: The workload does not fit on the device.
    """
    options = with_shots(options, named)
    spec = named.spec(device.name, options.shots)
    return planner.plan(workload, device.backend, options, target=spec, about=about)


def with_shots(options: PlanOptions | None, named: NamedDevice) -> PlanOptions:
    """Return plan options with the shots of a device's specification, if it has any.

    Raises:
        InvalidInputError: The options have shots of their own, and others.
    """
    options = options or PlanOptions()
    if named.shots is None:
        return options
    check_shots(named.shots, where=" in the target")
    if options.shots not in (PlanOptions.shots, named.shots):
        raise InvalidInputError(
            f"Expected shots once, got {named.shots} in the target and {options.shots} in the "
            "options."
        )
    return replace(options, shots=named.shots)


def submit(
    plan: JobPlan,
    *,
    budget: float | None = None,
    device: Device | None = None,
    ledger: str | Path | None = None,
    policy: Policy | None = None,
    on_progress: OnProgress | None = None,
) -> Run:
    """Write a plan to the ledger, send what the account takes now, and return the run.

    Args:
        plan: What to run.
        budget: QPU seconds that the whole run, resumes included, may use. Required on a real
            device; a local one charges nothing and only compares it with the estimate.
        device: Where it runs; None opens the plan's own device.
        ledger: The ledger's file; None: the default one.
        policy: Pace and patience.
        on_progress: Called before each wait of seconds.

    Raises:
        BudgetError: No budget for a real device, or one below the estimate. Nothing was written.
        PlanError: The device has changed since the plan was made.
        AccountError, ServiceError: The platform failed. If the error has a `run_id`, that run is
            in the ledger: ``Run.open(error.run_id).resume()`` carries on.
    """
    if device is None:
        device = planned_device(plan)
    checked_budget(plan, budget, local=device.local)  # before a ledger is created
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
    return Run(run_id, ledger=path, device=device, policy=policy)


def planned_device(plan: JobPlan) -> Device:
    """Open the device that a plan was made for, and check that the plan still holds there.

    Raises:
        UnknownTargetError: Nothing here can open it: give the device itself.
        PlanError: It has lost an instruction that the plan needs, or waits between two shots for
            another time than the plan's cost was computed with.
        AccountError, UnknownBackendError, ServiceError: It cannot be opened.
    """
    local = plan.backend.startswith("fake_")
    named = named_device(plan.target, plan.backend, local=local)
    if named.kind == "backend" and named.name not in _named_here:
        raise UnknownTargetError(
            f"The plan would import and run {named.name}, and plans may come from others: open the "
            "device yourself and give it as device=…."
        )
    device = open_device(named)
    if plan.backend != device.name:
        raise PlanError(
            f"The plan is for {plan.backend}, and the device is {device.name}: plan again."
        )
    if not device.local:
        _check_calibration(plan, device)
    return device


def _check_calibration(plan: JobPlan, device: Device) -> None:
    backend = device.backend
    wait = ExecutionLimits.of(backend).chosen_rep_delay(plan.options.rep_delay)
    if wait != plan.timing.rep_delay:
        raise PlanError(
            f"{plan.backend} waits {wait * 1e6:g} µs between two shots; the plan's cost was "
            f"computed with {plan.timing.rep_delay * 1e6:g} µs: plan again."
        )
    today = working_target(backend)
    for circuit in plan.circuits:
        check_isa(circuit, today)
    if calibration_id(backend) != plan.calibration_id:
        _logger.warning(
            "%s was calibrated again since the plan was made: the tiles' expected errors are those "
            "of then. Plan again to choose by today's.",
            plan.backend,
        )


class StoredRun:
    """A run in the ledger; its device is opened when it is first needed.

    Args:
        run_id: The run, or the unique beginning of its id.
        ledger: The ledger's file; None: the default one.
        device: The run's device; None opens it by its name in the ledger.
        policy: Pace and patience.

    Attributes:
        id: The run's whole id.

    Raises:
        UnknownRunError: The ledger has no such run, or there is no ledger.
        LedgerError: The ledger cannot be read.
    """

    def __init__(
        self,
        run_id: str,
        *,
        ledger: str | Path | None = None,
        device: Device | None = None,
        policy: Policy | None = None,
    ) -> None:
        self._path = _path(ledger)
        if not self._path.exists():
            raise UnknownRunError(
                f"Expected a run of the ledger {self._path}, got {run_id!r}: there is no ledger "
                "yet. Runs begin with qhead submit; QHEAD_LEDGER names another ledger."
            )
        self._device, self._policy = device, policy
        with self._ledger() as opened:
            self.id = opened.run(run_id).id

    @classmethod
    def open(
        cls,
        run_id: str,
        *,
        ledger: str | Path | None = None,
        device: Device | None = None,
        policy: Policy | None = None,
    ) -> Self:
        """Return a run of the ledger, from any process and on any day; see the class."""
        return cls(run_id, ledger=ledger, device=device, policy=policy)

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

    @cached_property
    def plan(self) -> JobPlan:
        """The plan that was submitted."""
        with self._ledger() as ledger:
            return load_submitted(ledger.plan_body(self.id))

    @property
    def device(self) -> Device:
        """The run's device; opening a real one makes network calls.

        Raises:
            AccountError, UnknownBackendError, ServiceError: It cannot be opened.
        """
        if self._device is None:
            run = self.record
            self._device = open_device(named_device(run.target, run.device, local=run.local))
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
        self, wait: float | None = None, *, on_progress: OnProgress | None = None
    ) -> RunStatus:
        """Send what is left, wait for the jobs, store their results; return where the run stands.

        Where nothing is left to learn, the device is not asked. Where the platform fails after all
        jobs have ended, the failure is logged, for the ledger has what there is.

        Args:
            wait: Seconds to wait for jobs; None for as long as it takes, 0 for one look.
            on_progress: Called after each job that ends and after each look at all of them.

        Raises:
            AccountError, ServiceError: The platform failed; what came is stored.
            BudgetError: The budget does not cover what is left to send; what was sent is stored.
            RunStateError: The run went through another account.
        """
        if wait is not None and not wait >= 0:
            raise InvalidInputError(f"Expected to wait zero or more seconds, got {wait}.")
        with self._ledger() as ledger:
            ledger.settle(self.id)
            status = runner.status(self.id, ledger=ledger, plan=self.plan)
            request = partial(job_request, self.plan)
            stored = not runner.unusable(self.id, request, ledger=ledger)
            charged = status.run.local or status.run.never_charged or not ledger.uncharged(self.id)
            # Looked for again, as a second job is that a request may have left.
            lost = status.jobs.get("unknown", 0) > 0 or bool(ledger.unverified(self.id))
            if status.finished and stored and charged and not lost:
                return status
            try:
                return runner.collect(
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
                missing = "" if stored else " The stored results that cannot be used stay missing."
                _logger.warning("The platform could not be asked.%s %s", missing, error)
                return status

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


def _path(ledger: str | Path | None) -> Path:
    return default_path() if ledger is None else Path(ledger).expanduser()
