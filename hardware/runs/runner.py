"""Submit, collect, resume and cancel runs. The only module that spends.

A run is written to the ledger before anything is sent. `submit` sends what the account takes now
and returns; `collect` sends the rest as room appears and brings in results; `resume` carries on
after any failure and plans again what failed; `cancel` stops everything that has not ended. Each
may be interrupted at any line and called again, from any process.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

from hardware.devices.base import Device, JobRequest
from hardware.errors import (
    BudgetError,
    HardwareError,
    InvalidInputError,
    PlanError,
    RunStateError,
    ServiceError,
)
from hardware.ledger.ledger import Ledger
from hardware.ledger.records import JobRecord, RunRecord
from hardware.planning.plan import JobPlan
from hardware.planning.plan_file import dump_plan, load_submitted
from hardware.planning.pubs import job_request
from hardware.runs.adaptive import advance
from hardware.runs.collection import Collector
from hardware.runs.outcome import expectations, finished_run, results, status, unusable
from hardware.runs.permission import (
    check_abilities,
    check_allowance,
    check_budget,
    check_instance,
    checked_budget,
    session_advice,
)
from hardware.runs.policy import Clock, Policy
from hardware.runs.progress import OnProgress, RunStatus, run_status
from hardware.runs.rounds import Rounds
from hardware.runs.sessions import close_batch, learn_charges, leave_sessions
from hardware.runs.submission import Sender
from hardware.workload import Expectations

__all__ = [
    "cancel",
    "collect",
    "execute",
    "expectations",
    "finished_run",
    "results",
    "resume",
    "status",
    "submit",
    "unusable",
]
_logger = logging.getLogger(__name__)


def submit(
    plan: JobPlan,
    *,
    ledger: Ledger,
    device: Device,
    budget_seconds: float | None = None,
    policy: Policy | None = None,
    clock: Clock | None = None,
    on_progress: OnProgress | None = None,
) -> str:
    """Write a plan to the ledger, send what the account takes now and return the run's id.

    Args:
        plan: What to run.
        ledger: Where it is written down first.
        device: Where it runs; the plan's own device.
        budget_seconds: QPU seconds that the whole run, resumes included, may use. Required on a
            real device; a local one only compares it with the estimate.
        policy: Pace and patience.
        clock: Time.
        on_progress: Called before each wait of seconds.

    Raises:
        InvalidInputError: The plan is for another device.
        PlanError: It has options that the device does not take, or more than the first round.
        BudgetError: No budget, a negative one, or one below the plan's estimate; or the account has
            less time left than that. Nothing was written.
        AccountError, ServiceError: The platform failed. If the error has a `run_id`, the run is in
            the ledger and `resume` carries on; if not, nothing was written.
        LedgerError: The ledger could not be written; nothing was sent.
    """
    if plan.backend != device.name:
        raise InvalidInputError(
            f"Expected the plan's device, {plan.backend}, got {device.name}: plan for that one."
        )
    if plan.num_rounds > 1:
        raise PlanError("The plan holds rounds of a run that was sent: plan again to run it anew.")
    budget = checked_budget(plan, budget_seconds, local=device.local)
    check_abilities(plan, device)
    if not device.local:
        check_allowance(plan, device)
        if advice := session_advice(plan, (policy or Policy()).pace):
            _logger.warning(advice)
    run = ledger.create_run(
        plan_hash=plan.key,
        plan_body=dump_plan(plan),
        job_seconds=plan.job_seconds,
        target=plan.target,
        device=device.name,
        local=device.local,
        budget_seconds=budget,
        calibration=plan.calibration,
        instance=device.instance,
        later_seconds=plan.most_to_come,
    )
    with _sender(
        ledger, device, run.id, partial(job_request, plan), policy, clock, on_progress
    ) as sender:
        sender.send_pending(sender.policy.patience)
        ledger.finalize(run.id)
    return run.id


@contextmanager
def _sender(
    ledger: Ledger,
    device: Device,
    run_id: str,
    request: Callable[[int], JobRequest],
    policy: Policy | None,
    clock: Clock | None,
    on_progress: OnProgress | None,
) -> Iterator[Sender]:
    sender = Sender(
        ledger, device, run_id, request, policy or Policy(), clock or Clock(), on_progress
    )
    try:
        yield sender
    except HardwareError as error:
        error.run_id = run_id  # type: ignore[attr-defined]
        error.add_note(f"Run {run_id} is in the ledger as far as it went.")
        raise
    finally:
        try:
            leave_sessions(ledger, device, run_id, sender.claimant)
        finally:
            ledger.leases.let_go(sender.claimant, device.leaving)


def _open(
    run_id: str, ledger: Ledger, device: Device
) -> tuple[RunRecord, Callable[[int], JobRequest]]:
    """Return a run and what gives its requests, made from the stored plan when first needed."""
    run = ledger.run(run_id)
    if run.device != device.name or run.local != device.local:
        raise RunStateError(
            f"Expected the device of run {run.id}, {run.device}, got {device.name}: open that one."
        )
    check_instance(run, device)
    plans: list[JobPlan] = []

    def request(idx: int) -> JobRequest:
        if not plans or idx >= len(plans[-1].jobs):  # another round was added
            plans.append(load_submitted(ledger.plan_body(run.id)))
        return job_request(plans[-1], idx)

    return run, request


def collect(
    run_id: str,
    *,
    ledger: Ledger,
    device: Device,
    timeout: float | None = None,
    policy: Policy | None = None,
    clock: Clock | None = None,
    on_progress: OnProgress | None = None,
) -> RunStatus:
    """Send what is left of a run, wait for its jobs and store their results.

    Failed jobs stay failed until `resume`; of a cancelled run, what has ended is brought in.
    Results that were stored and cannot be used any more are fetched again.

    Args:
        run_id: The run, or the unique beginning of its id.
        timeout: Seconds to wait for jobs at most; None for as long as it takes, 0 for one look. One
            that may or may not have been sent is decided on first, see `Policy.settle`.
        on_progress: Called after each job that ends and after each look at all of them.

    Returns:
        Where the run stands; not finished where the time was too short or a result would not come.

    Raises:
        UnknownRunError, RunStateError: There is no such run, or it ran elsewhere or through another
            account.
        AccountError, ServiceError: The platform failed; what came is stored, collect again later.
        BudgetError: The budget does not cover what is left to send; what was sent is stored. Not
            where a round of adaptive shots is left: all rows have results, and the problems say so.
    """
    run, request = _open(run_id, ledger, device)
    with _sender(ledger, device, run.id, request, policy, clock, on_progress) as sender:
        collector = Collector(sender, on_progress)
        collector.take_kept()
        with suppress(ServiceError):  # the rounds meet the same trouble
            collector.reconsider()
        if run.awaits_round:
            collector.refetch_damaged()  # the next round follows from them
        rounds = Rounds(sender, collector, timeout, on_progress)
        status = rounds.run()
        if collector.reconcile() and status.finished:
            status = rounds.run()
        collector.refetch_damaged()
        if status.finished:
            close_batch(ledger, device, run.id)
        learn_charges(ledger, device, run.id)
    return run_status(ledger, run.id, {**rounds.problems, **collector.problems})


def resume(
    run_id: str,
    *,
    ledger: Ledger,
    device: Device,
    budget_seconds: float | None = None,
    resubmit_cancelled: bool = False,
    resubmit_unknown: bool = False,
    policy: Policy | None = None,
    clock: Clock | None = None,
    on_progress: OnProgress | None = None,
) -> RunStatus:
    """Carry on with a run: find what was sent, plan again what failed, send what the pace allows.

    Of a run that is done, stored results that cannot be used are fetched again, and nothing is
    sent. A private job has failed if its result does not come again; the next resume sends it.

    Returns at once, like `submit`.

    Args:
        budget_seconds: A new budget for the whole run, what was charged so far included.
        resubmit_cancelled: Send cancelled jobs again as well.
        resubmit_unknown: Send jobs again that the platform took, or may have taken, and does not
            know any more. If it ran them after all, they are paid for twice; the budget counts
            those that it took with what they may have used.
        on_progress: Called before each wait of seconds.

    Raises:
        RunStateError: The run was cancelled, or it ran elsewhere or through another account.
        BudgetError: The budget is negative, or it does not cover what is left and nothing is under
            way that may use less than its share of it.
        AccountError, ServiceError: The platform failed; resume again later.
    """
    check_budget(budget_seconds)
    run, request = _open(run_id, ledger, device)
    with _sender(ledger, device, run.id, request, policy, clock, on_progress) as sender:
        ledger.check_resumable(run.id, resubmit_cancelled)
        sender.search.trusts_lists = resubmit_unknown
        sender.recover()
        collector = Collector(sender)
        collector.take_kept()
        collector.reconsider()
        collector.adopt_orphans(resubmit_cancelled)  # nothing is sent again that the platform has
        collector.learn_charges()
        learn_charges(ledger, device, run.id)
        try:
            ledger.reopen(
                run.id,
                cancelled_too=resubmit_cancelled,
                unknown_too=resubmit_unknown,
                budget_seconds=budget_seconds,
            )
        except BudgetError as error:
            raise _with_reserved(error, ledger, run) from error
        problems = {}
        try:
            advance(ledger, run.id)
            claim = sender.send_pending(sender.policy.patience)
            if claim.blocked is not None and claim.others:
                problems[-1] = claim.blocked
        except BudgetError as error:
            if not ledger.jobs(run.id, "submitted"):
                raise
            problems[-1] = str(error)  # what is under way may use less than its share
        if ledger.finalize(run.id) == "done":
            collector.refetch_damaged()
    return run_status(ledger, run.id, {**problems, **collector.problems})


def _with_reserved(error: BudgetError, ledger: Ledger, run: RunRecord) -> BudgetError:
    """Return a refusal that also names what is kept for jobs whose charge is not known yet."""
    untold = ledger.results.untold(run.id)
    if not untold or run.never_charged or ledger.sessions(run.id):
        return error
    return BudgetError(
        f"{error} Of these, {sum(untold.values()):g} s are reserved for what has ended without a "
        f"known charge (job {', '.join(list(untold)[:3])} on the platform): collect the run until "
        "the charge is known and resume it then, or give a larger budget.",
        options=error.options,
    )


def cancel(
    run_id: str,
    *,
    ledger: Ledger,
    device: Device,
    policy: Policy | None = None,
    clock: Clock | None = None,
    on_progress: OnProgress | None = None,
) -> RunStatus:
    """Send nothing more of a run and cancel its jobs that have not ended.

    Results that are stored stay; jobs that ended meanwhile can be collected.

    Raises:
        RunStateError: The run has ended already, or it ran elsewhere or through another account.
        AccountError, ServiceError: The platform failed for some job: nothing more will be sent,
            cancel again to reach the rest.
    """
    run, request = _open(run_id, ledger, device)
    ledger.cancel(run.id)
    with _sender(ledger, device, run.id, request, policy, clock, on_progress) as sender:
        sender.recover()
        tried = [_try(sender, job) for job in ledger.jobs(run.id, "submitted", "unknown")]
        Collector(sender).reconcile()
        if run_status(ledger, run.id, {}).finished:
            close_batch(ledger, device, run.id)
        troubles = [error for error in tried if error is not None]
        if troubles:
            raise troubles[0]
    return run_status(ledger, run.id, {})


def _try(sender: Sender, job: JobRecord) -> ServiceError | None:
    try:
        sender.withdraw(job)
    except ServiceError as error:
        return error
    return None


def execute(
    plan: JobPlan,
    *,
    ledger: Ledger,
    device: Device,
    budget_seconds: float | None = None,
    reuse: bool = False,
    timeout: float | None = None,
    policy: Policy | None = None,
    clock: Clock | None = None,
    on_progress: OnProgress | None = None,
) -> Expectations:
    """Submit a plan, wait for it and return the rows of its workload.

    Args:
        reuse: Return the results of an earlier run of exactly this plan where there is one.
        timeout: Seconds to wait at most.

    Returns:
        The rows; those of jobs that failed or did not end in time are missing. The run stays in the
        ledger, and its id is in the notes.

    Raises:
        HardwareError: As `submit` and `collect`.
    """
    run_id = finished_run(plan, ledger=ledger) if reuse else None
    if run_id is None:
        run_id = submit(
            plan,
            ledger=ledger,
            device=device,
            budget_seconds=budget_seconds,
            policy=policy,
            clock=clock,
            on_progress=on_progress,
        )
        collect(
            run_id,
            ledger=ledger,
            device=device,
            timeout=timeout,
            policy=policy,
            clock=clock,
            on_progress=on_progress,
        )
    found = expectations(run_id, ledger=ledger)
    return replace(found, notes=(*found.notes, f"Run {run_id}."))
