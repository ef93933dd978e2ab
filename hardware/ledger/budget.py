"""What a budget in QPU seconds means for each job, and what past charges say of an estimate.

A run is refused where its estimate exceeds its budget, and a job where what the run has used
leaves no room for the job's estimate. The platform stops a job at its cap, which lies above the
estimate by `CAP_MARGIN`: an estimate is not exact, and a job that is stopped is paid for and gives
nothing. What a finished job used between its estimate and that cap does not count against the
jobs to come; a charge that is not known counts with what was reserved for the job. So a run may be
charged at most its jobs' margins more than its budget: a quarter of it, rounded up to a second a
job.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardware.errors import BudgetError
from hardware.words import counted

#: Longest session that the platform opens, seconds.
MAX_SESSION = 8 * 3600
#: Cap of a job's time on the device, as a multiple of its estimate.
CAP_MARGIN = 1.25
#: Seconds after which the next job of a session has been sent and listed, at most: an assumption.
SENDING = 2
#: Floating-point slack of a sum of seconds against a budget.
SLACK = 1e-6


def cap_seconds(estimate: float, share: float | None = None) -> int:
    """Return the whole seconds after which the platform is to stop a job.

    Args:
        estimate: Its estimated QPU seconds.
        share: Its share of the run's budget, where the budget leaves more than the estimate.
    """
    cap = max(1, math.ceil(estimate * CAP_MARGIN))
    return cap if share is None else max(cap, math.floor(share))


def session_budget(estimates: Sequence[float]) -> int:
    """Return the least budget with which jobs fit into one or several sessions, whole seconds.

    Each may take its cap, or as long as it takes to send the next one.
    """
    return _session_start(estimates) + max(cap_seconds(estimate) for estimate in estimates)


def _session_start(estimates: Sequence[float]) -> int:
    """Return the seconds of a session within which its last job must be able to start."""
    turns = [max(cap_seconds(estimate), SENDING) for estimate in estimates]
    return max(1, sum(turns) - min(turns))


def session_seconds(
    left: float, estimates: Sequence[float], max_time: int | None = None
) -> tuple[int, float]:
    """Return the time limit of a session and the most that it can be charged then, seconds.

    A session is charged from the start of its first job to its end. At its limit the platform lets
    a running job end and cancels the others, so the limit lies below the budget by the longest
    job's cap. All jobs must be able to start before it, each as late as caps and sending
    allow.

    Args:
        left: Seconds of the budget that are not used yet.
        estimates: Estimated QPU seconds of the jobs to send.
        max_time: The user's own limit, if any.

    Raises:
        BudgetError: The limit leaves no time for all the jobs.
    """
    longest = max(cap_seconds(estimate) for estimate in estimates)
    needed = _session_start(estimates)
    if left + SLACK < session_budget(estimates):
        raise BudgetError(
            f"A session is charged from its first job to its end. {counted(len(estimates), 'job')} "
            f"of about {sum(estimates):.2f} s need {session_budget(estimates)} s of it at least, "
            "because each may take a quarter longer than its estimate or wait until the next one "
            f"is sent, and the budget leaves {left:g} s: give more, or plan in batch mode, which "
            "is charged without pauses.",
            options=["budget"],
        )
    limit = min(math.floor(left + SLACK) - longest, MAX_SESSION)
    if max_time is not None:
        limit = min(limit, max_time)
    if limit < needed:
        raise BudgetError(
            f"The jobs need a session of at least {needed} s, and its time limit is {limit} s: "
            "give a longer one, or plan fewer shots or rows.",
            options=["max_time"],
        )
    return limit, float(limit + longest)


def overrun(charged: float, estimate: float) -> float:
    """Return the part of a finished job's charge that its margin covers, seconds."""
    return min(max(charged - estimate, 0.0), cap_seconds(estimate) - estimate)


@dataclass(frozen=True)
class ChargeRatio:
    """What a device charged for finished jobs, divided by their estimates.

    Args:
        jobs: How many jobs it is known from.
        mean: Mean of the ratio.
        low, high: Interval that holds the ratio of one more job with 95 % confidence, where the
            ratios are normally distributed; None where one job alone is known.
    """

    jobs: int
    mean: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, ratios: Sequence[float]) -> ChargeRatio | None:
        """Return the ratio of several jobs; None without any: it is not known."""
        if not ratios:
            return None
        mean, count = float(np.mean(ratios)), len(ratios)
        if count == 1:
            return cls(1, mean)
        from scipy.stats import t  # imported here: it takes most of a second

        spread = float(np.std(ratios, ddof=1) * math.sqrt(1 + 1 / count))
        reach = float(t.ppf(0.975, count - 1)) * spread
        return cls(count, mean, max(0.0, mean - reach), mean + reach)

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.mean:.2f} times the estimate, known from 1 job"
        return (
            f"{self.mean:.2f} times the estimate ({self.low:.2f} to {self.high:.2f} for one more "
            f"job, 95 % confidence), known from {self.jobs} jobs"
        )


def advised_budget(estimate: float, ratio: ChargeRatio | None) -> int:
    """Return a budget in whole seconds that covers a plan, rounded up.

    Args:
        estimate: The plan's QPU seconds.
        ratio: What the device has charged; it raises the budget and never lowers it, since a budget
            below the estimate is refused.
    """
    factor = 1.0
    if ratio is not None:
        factor = max(1.0, ratio.mean if ratio.high is None else ratio.high)
    return math.ceil(estimate * factor)
