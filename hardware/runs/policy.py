"""How patiently and how fast jobs are sent and collected."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from hardware.ledger.ledger import Pace


@dataclass(frozen=True)
class Clock:
    """Where time comes from: tests bring their own."""

    now: Callable[[], float] = time.time  # seconds since the epoch; may be set under way
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic  # seconds; never set


@dataclass(frozen=True)
class Policy:
    """Options of sending and collecting. Times are in seconds.

    Args:
        pace: Caps on pending jobs and on submissions a minute; the defaults fit the open plan.
        lease: How long a process may hold a job that it is sending before another may look into it;
            longer than the deadline of a submission.
        settle: How long a job may take to be listed by the platform after it was accepted. Where
            it is in doubt whether the platform has a job, it is sent again only this long after the
            doubt began, which is after the last byte was sent.
        busy: Wait after "too many requests" where the platform names none.
        patience: How long `submit` and `resume` wait for a busy platform before they return.
        tries: How often a job is sent, a result fetched or a round of questions asked before a
            failing platform is given up for now.
        poll: First and longest wait between two looks at the jobs under way.
        cap_execution: Let the platform stop a job at `hardware.ledger.budget.cap_seconds`.
    """

    pace: Pace = field(default_factory=lambda: Pace(max_pending=3, per_minute=5))
    lease: float = 1200.0
    settle: float = 30.0
    busy: float = 15.0
    patience: float = 60.0
    tries: int = 3
    poll: tuple[float, float] = (2.0, 30.0)
    cap_execution: bool = True
