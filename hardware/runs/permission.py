"""What is asked before a run may spend: a budget, time left in the account, the right account."""

from __future__ import annotations

import logging
import math

from hardware.devices.base import Device
from hardware.devices.cached import CachedDevice
from hardware.errors import BudgetError, InvalidInputError, PlanError, RunStateError, ServiceError
from hardware.ledger.budget import (
    ChargeRatio,
    advised_budget,
    session_budget,
    session_seconds,
)
from hardware.ledger.leases import Pace
from hardware.ledger.records import RunRecord
from hardware.planning.options import PlanOptions
from hardware.planning.plan import JobPlan

#: What a run meets in another account than its own.
OTHER_INSTANCE = (
    "was sent through another account or instance than the one you are logged in with, which does "
    "not know its jobs. Log in with the run's own, e.g. "
    "QiskitRuntimeService.save_account(token=…, instance=…, overwrite=True), and try again."
)
_logger = logging.getLogger(__name__)


def check_budget(budget: float | None, *, local: bool = True) -> None:
    """Refuse a budget that no plan could keep, before any work is done for it.

    Raises:
        BudgetError: It is negative or no number, or None for a real device.
    """
    if budget is None and not local:
        raise BudgetError(
            "A run on a real device needs a budget in QPU seconds. A plan tells what the "
            "run needs: give a budget of at least that."
        )
    if budget is not None and (not math.isfinite(budget) or budget < 0):
        raise BudgetError(f"Expected a budget of zero or more QPU seconds, got {budget}.")


def plan_budget(plan: JobPlan, ratio: ChargeRatio | None = None) -> int:
    """Return a budget in whole seconds that covers a plan; `ratio` is what its device charged.

    With adaptive shots it covers all rounds with all rows.
    """
    advised = advised_budget(plan.cost.qpu_seconds, ratio)
    if plan.options.mode == "session":
        return max(advised, session_budget(plan.job_seconds))
    return advised


def session_advice(plan: JobPlan, pace: Pace) -> str | None:
    """Return why a plan had better not use sessions; None where nothing speaks against them.

    Args:
        plan: The plan.
        pace: How fast its account takes jobs.
    """
    at_once = min(pace.max_pending or math.inf, pace.per_minute or math.inf)
    jobs = len(plan.job_seconds)
    if plan.options.mode != "session" or jobs <= at_once:
        return None
    return (
        f"A session is of little use for {jobs} jobs of which {at_once} may be sent at once: it is "
        "closed whenever the next job has to wait, and the rest gets another once the charge of "
        "this one is known. Use mode batch."
    )


def checked_budget(plan: JobPlan, budget: float | None, *, local: bool = False) -> float | None:
    """Return the budget of a plan, QPU seconds; None where nothing is charged.

    A local fake rehearses a budget: it charges nothing, and refuses what its device would refuse.

    Raises:
        BudgetError: It is negative, below the plan's estimate, or None for a real device; or it
            leaves a session no time for all the jobs.
    """
    estimate = float(sum(plan.job_seconds))
    rounds = " for its first round" if plan.rounds else ""
    if budget is None and not local:
        raise BudgetError(
            "A run on a real device needs a budget in QPU seconds. The plan needs about "
            f"{estimate:.2f} s{rounds}: give a budget of {plan_budget(plan)} s or more."
        )
    check_budget(budget)
    if budget is not None and estimate > budget:
        raise BudgetError(
            f"Expected a plan within the budget of {budget:g} s, got one of about {estimate:.2f} s"
            f"{rounds}{' on the real device' if local else ''}: "
            f"give budget={plan_budget(plan)} or more, or plan fewer shots, more "
            "tiles or fewer rows.",
            options=["budget"],
        )
    if budget is not None and plan.options.mode == "session":
        session_seconds(budget, plan.job_seconds, plan.options.max_time)
    return None if local or budget is None else float(budget)


def check_options(options: PlanOptions, device: Device) -> None:
    """Refuse options of a plan that its device does not take.

    Raises:
        PlanError: They ask for the estimator or for options of the IBM client, or for batches or
            sessions where there are none.
    """
    if not device.abilities.client_options and (
        options.mitigation.estimator or options.primitive_options() or options.fractional_gates
    ):
        raise PlanError(
            f"{device.name} takes circuits and shots. Zero-noise extrapolation, measurement "
            "mitigation, twirling, decoupling, repetition delays, private jobs, tags and "
            "fractional gates belong to the IBM client: plan without them. Read-out inversion "
            "works on any device."
        )
    offered = {"batch": device.abilities.batches, "session": device.abilities.sessions}
    if not device.local and options.mode is not None and not offered.get(options.mode, True):
        raise PlanError(
            f"{device.name} has no {'batches' if options.mode == 'batch' else 'sessions'}: plan "
            "for job mode.",
            options=("mode",),
        )


def check_abilities(plan: JobPlan, device: Device) -> None:
    """Refuse a plan with options that its device does not take, and say what it does not do.

    Raises:
        InvalidInputError: The device is one that was opened offline.
        PlanError: As `check_options`; or PEC and PEA without learned noise.
    """
    if isinstance(device, CachedDevice):
        raise InvalidInputError(
            f"{device.name} was opened offline, to plan only. Open it online to submit the plan."
        )
    options = plan.options
    check_options(options, device)
    options.mitigation.check_learned()
    unused = [name for name in ("mode", "max_time", "private", "tags") if getattr(options, name)]
    if device.local and unused:
        _logger.warning(
            "%s runs on this machine, where these options of the plan have no effect: %s.",
            device.name,
            ", ".join(unused),
        )
    for warning in device.abilities.warnings:
        _logger.warning(warning)


def check_allowance(plan: JobPlan, device: Device) -> None:
    """Refuse a plan beyond what the account has left.

    Raises:
        BudgetError: It is.
    """
    try:
        left = device.remaining()
    except ServiceError:
        return  # sending will meet the same trouble, with the run in the ledger
    estimate = float(sum(plan.job_seconds))
    if left is not None and estimate > left:
        raise BudgetError(
            f"Expected a plan within the account's {left:.1f} s of QPU time left, got one of about "
            f"{estimate:.1f} s: plan fewer shots, more tiles or fewer samples, or wait for more."
        )


def check_instance(run: RunRecord, device: Device) -> None:
    """Refuse another account than the run's: it knows none of its jobs, and would pay again."""
    if run.local:
        return
    if run.instance is None:
        _logger.warning(
            "The ledger does not say which account run %s belongs to, because an older version "
            "wrote it: make sure that it is the one you are logged in with.",
            run.id,
        )
    elif run.instance != device.instance:
        raise RunStateError(f"Run {run.id} {OTHER_INSTANCE}")
