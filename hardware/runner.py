"""Submit, collect, resume and cancel runs. The only module that spends.

A run is written to the ledger before anything is sent. `submit` sends what the account takes now
and returns; `collect` sends the rest as room appears and brings in results; `resume` carries on
after any failure and plans again what failed; `cancel` stops everything that has not ended. Each
may be interrupted at any line and called again, from any process.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from hardware.collection import Collector
from hardware.devices import Device, JobRequest
from hardware.errors import BudgetError, HardwareError, RunStateError, ServiceError
from hardware.ledger import Ledger
from hardware.policy import Clock, Plan, Policy
from hardware.records import JobRecord, RunRecord, RunState, Spending
from hardware.submission import Sender

#: Makes a plan from what `Plan.to_bytes` gave.
LoadPlan = Callable[[bytes], Plan]


@dataclass(frozen=True)
class RunStatus:
    """Where a run stands.

    Args:
        run: The run's row in the ledger.
        jobs: How many of its jobs are in each state.
        spending: QPU seconds charged, under way and to come.
        problems: What keeps jobs from being sent or collected, by job; -1 for the whole run.
    """

    run: RunRecord
    jobs: Mapping[str, int]
    spending: Spending
    problems: Mapping[int, str] = field(default_factory=dict)

    @property
    def state(self) -> RunState:
        """State of the run."""
        return self.run.state

    @property
    def finished(self) -> bool:
        """Whether no job is left to send or to wait for."""
        return not any(self.jobs.get(s) for s in ("planned", "submitting", "submitted"))


OnProgress = Callable[[RunStatus], None]


def submit(
    plan: Plan,
    *,
    ledger: Ledger,
    device: Device,
    budget_seconds: float | None = None,
    policy: Policy | None = None,
    clock: Clock | None = None,
) -> str:
    """Write a plan to the ledger, send what the account takes now and return the run's id.

    Args:
        plan: What to run.
        ledger: Where it is written down first.
        device: Where it runs; the plan's own device.
        budget_seconds: QPU seconds that the whole run, resumes included, may use. Required on a
            real device, without meaning on a local one.
        policy: Pace and patience.
        clock: Time.

    Raises:
        BudgetError: No budget, a negative one, or one below the plan's estimate: nothing was
            written. Also when the account has no time left.
        AccountError, ServiceError: The platform failed; the run is in the ledger (its id is in the
            error's note and its `run_id`), `resume` carries on.
        LedgerError: The ledger could not be written; nothing was sent.
    """
    budget = None if device.local else _checked_budget(plan, budget_seconds)
    run = ledger.create_run(
        plan_hash=plan.key,
        plan_body=plan.to_bytes(),
        job_seconds=plan.job_seconds,
        target=plan.target,
        device=device.name,
        local=device.local,
        budget_seconds=budget,
        calibration=plan.calibration,
    )
    with _sender(ledger, device, run.id, plan.request, policy, clock) as sender:
        sender.advance(sender.policy.patience)
    return run.id


def _checked_budget(plan: Plan, budget: float | None) -> float:
    estimate = float(sum(plan.job_seconds))
    if budget is None:
        raise BudgetError(
            "Expected a budget in QPU seconds for a real device, got none. The plan needs about "
            f"{estimate:.1f} s: give a budget of at least that."
        )
    if not math.isfinite(budget) or budget < 0:
        raise BudgetError(f"Expected a budget of zero or more QPU seconds, got {budget}.")
    if estimate > budget:
        raise BudgetError(
            f"Expected a plan within the budget of {budget:g} s, got one of about {estimate:.1f} s:"
            " raise the budget, or plan fewer shots, more tiles or fewer samples."
        )
    return float(budget)


@contextmanager
def _sender(
    ledger: Ledger,
    device: Device,
    run_id: str,
    request: Callable[[int], JobRequest],
    policy: Policy | None,
    clock: Clock | None,
) -> Iterator[Sender]:
    sender = Sender(ledger, device, run_id, request, policy or Policy(), clock or Clock())
    try:
        yield sender
    except HardwareError as error:
        error.run_id = run_id  # type: ignore[attr-defined]
        error.add_note(f"Run {run_id} is in the ledger as far as it went.")
        raise
    finally:
        ledger.let_go(sender.claimant)


def _open(
    run_id: str, ledger: Ledger, device: Device, load: LoadPlan
) -> tuple[RunRecord, Callable[[int], JobRequest]]:
    """Return a run and what gives its requests, made from the stored plan when first needed."""
    run = ledger.run(run_id)
    if run.device != device.name or run.local != device.local:
        raise RunStateError(
            f"Expected the device of run {run.id}, {run.device}, got {device.name}: open that one."
        )
    plans: list[Plan] = []

    def request(idx: int) -> JobRequest:
        if not plans:
            plans.append(load(ledger.plan_body(run.id)))
        return plans[0].request(idx)

    return run, request


def collect(
    run_id: str,
    *,
    ledger: Ledger,
    device: Device,
    load: LoadPlan,
    timeout: float | None = None,
    policy: Policy | None = None,
    clock: Clock | None = None,
    on_progress: OnProgress | None = None,
) -> RunStatus:
    """Send what is left of a run, wait for its jobs and store their results.

    Failed jobs stay failed until `resume`; of a cancelled run, what has ended is brought in.

    Args:
        run_id: The run, or the unique beginning of its id.
        timeout: Seconds to wait at most; None for as long as it takes, 0 for one look.
        on_progress: Called after each look.

    Returns:
        Where the run stands; not finished where the time was too short or a result would not come.

    Raises:
        UnknownRunError, RunStateError: There is no such run, or it ran elsewhere.
        AccountError, ServiceError: The platform failed; what came is stored, collect again later.
        BudgetError: The budget does not cover what is left to send; what was sent is stored.
    """
    run, request = _open(run_id, ledger, device, load)
    with _sender(ledger, device, run.id, request, policy, clock) as sender:
        collector = Collector(sender)
        rounds = _Rounds(sender, collector, timeout, on_progress)
        status = rounds.run()
        collector.tidy()
        _close_batch(sender, status)
    return _status(ledger, run.id, {**rounds.problems, **collector.problems})


class _Rounds:
    """The loop of `collect`: look, send, wait."""

    def __init__(
        self,
        sender: Sender,
        collector: Collector,
        timeout: float | None,
        on_progress: OnProgress | None,
    ) -> None:
        self._sender, self._collector, self._on_progress = sender, collector, on_progress
        self._until = math.inf if timeout is None else sender.clock.now() + timeout
        self._failures = 0
        self._budget: BudgetError | None = None
        self.problems: dict[int, str] = {}

    def run(self) -> RunStatus:
        """Go round until the run is finished, the time is up or only trouble is left."""
        sender, tries = self._sender, self._sender.policy.tries
        shortest, longest = sender.policy.poll
        pause = shortest
        while True:
            wait, progressed = self._round()
            sender.ledger.settle(sender.run_id)
            status = _status(sender.ledger, sender.run_id, self.problems | self._collector.problems)
            if self._on_progress:
                self._on_progress(status)
            if status.finished or sender.clock.now() >= self._until:
                return status
            if self._collector.stuck(tries):
                return status
            if self._budget and not (status.jobs.get("submitted") or status.jobs.get("submitting")):
                raise self._budget
            pause = shortest if progressed else min(pause * 1.5, longest)
            nap = pause if wait is None else min(pause, wait)
            sender.clock.sleep(max(0.0, min(nap, self._until - sender.clock.now())))

    def _round(self) -> tuple[float | None, bool]:
        """Recover, collect and send once; a failing platform is tried again a few times."""
        wait, progressed = None, False
        try:
            self._sender.recover()
            progressed = self._collector.look_once()
            if self._budget is None:
                claim = self._sender.advance()
                wait = claim.wait_seconds
            self._failures = 0
        except BudgetError as error:
            self._budget = error  # what has been sent is still worth waiting for
            self.problems[-1] = str(error)
        except ServiceError:
            self._failures += 1
            if self._failures >= self._sender.policy.tries:
                raise
        return wait, progressed


def _close_batch(sender: Sender, status: RunStatus) -> None:
    batch = status.run.batch_id
    if batch is None or not status.finished or sender.device.local:
        return
    if sender.ledger.set_batch(sender.run_id, None, batch):
        try:
            sender.device.close_batch(batch)
        except ServiceError:
            return  # it ends by itself after some hours and costs nothing until then


def resume(
    run_id: str,
    *,
    ledger: Ledger,
    device: Device,
    load: LoadPlan,
    budget_seconds: float | None = None,
    resubmit_cancelled: bool = False,
    policy: Policy | None = None,
    clock: Clock | None = None,
) -> RunStatus:
    """Carry on with a run: find what was sent, plan again what failed, send what the pace allows.

    What was cancelled is not sent again unless `resubmit_cancelled` asks for it. Returns at once,
    like `submit`.

    Args:
        budget_seconds: A new budget for the whole run, what was charged so far included.

    Raises:
        RunStateError: The run was cancelled, or it ran elsewhere.
        BudgetError: The budget is negative or does not cover what is left.
        AccountError, ServiceError: The platform failed; resume again later.
    """
    if budget_seconds is not None and (not math.isfinite(budget_seconds) or budget_seconds < 0):
        raise BudgetError(f"Expected a budget of zero or more QPU seconds, got {budget_seconds}.")
    run, request = _open(run_id, ledger, device, load)
    with _sender(ledger, device, run.id, request, policy, clock) as sender:
        ledger.check_resumable(run.id, resubmit_cancelled)
        sender.recover()
        collector = Collector(sender)
        collector.tidy()
        ledger.reopen(run.id, cancelled_too=resubmit_cancelled, budget_seconds=budget_seconds)
        sender.advance(sender.policy.patience)
        ledger.settle(run.id)
    return _status(ledger, run.id, {})


def cancel(
    run_id: str,
    *,
    ledger: Ledger,
    device: Device,
    load: LoadPlan,
    policy: Policy | None = None,
    clock: Clock | None = None,
) -> RunStatus:
    """Send nothing more of a run and cancel its jobs that have not ended.

    Results that are stored stay; jobs that ended meanwhile can be collected.

    Raises:
        RunStateError: The run has ended already.
        AccountError, ServiceError: The platform failed for some job: nothing more will be sent,
            cancel again to reach the rest.
    """
    run, request = _open(run_id, ledger, device, load)
    ledger.cancel(run.id)
    with _sender(ledger, device, run.id, request, policy, clock) as sender:
        sender.recover()
        tried = [_try(sender, job) for job in ledger.jobs(run.id, "submitted")]
        Collector(sender).tidy()
        _close_batch(sender, _status(ledger, run.id, {}))
        troubles = [error for error in tried if error is not None]
        if troubles:
            raise troubles[0]
    return _status(ledger, run.id, {})


def _try(sender: Sender, job: JobRecord) -> ServiceError | None:
    try:
        sender.withdraw(job)
    except ServiceError as error:
        return error
    return None


def status(run_id: str, *, ledger: Ledger) -> RunStatus:
    """Return where a run stands as far as the ledger knows; asks nobody."""
    return _status(ledger, ledger.run(run_id).id, {})


def _status(ledger: Ledger, run_id: str, problems: Mapping[int, str]) -> RunStatus:
    jobs = ledger.jobs(run_id)
    reasons = {job.idx: job.reason for job in jobs if job.reason and job.state != "done"}
    return RunStatus(
        ledger.run(run_id),
        Counter(job.state for job in jobs),
        ledger.spending(run_id),
        {**reasons, **problems},
    )


def results(run_id: str, *, ledger: Ledger) -> dict[int, dict[str, np.ndarray]]:
    """Return the stored arrays of a run by job; jobs without a result are missing."""
    run = ledger.run(run_id)
    found = {}
    for job in ledger.jobs(run.id, "done"):
        arrays = ledger.result(run.id, job.idx)
        if arrays is not None:
            found[job.idx] = arrays
    return found
