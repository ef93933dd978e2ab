"""The waits of one process for one run, on a clock that nobody sets.

Stamps in the ledger are times of day, because other processes read them. From a stamp follows how
long to wait at most; the waiting itself is measured by the monotonic clock, so that a step of the
time of day neither stretches nor skips it.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from datetime import datetime

from hardware.errors import BusyError
from hardware.ledger.ledger import Ledger
from hardware.ledger.records import JobRecord
from hardware.runs.policy import Clock, Policy
from hardware.runs.progress import OnProgress, run_status

#: Seconds from which on a wait is shown.
_LONG = 1.0
#: Longest wait that a platform may ask for, in seconds.
_LONGEST = 3600.0
_logger = logging.getLogger(__name__)


class Waits:
    """How long a run still waits for what.

    Args:
        ledger: Has the stamps.
        run_id: The run.
        policy: Patience.
        clock: Time.
        on_progress: Called before each wait of seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        run_id: str,
        policy: Policy,
        clock: Clock,
        on_progress: OnProgress | None,
    ) -> None:
        self._ledger = ledger
        self._run = run_id
        self._policy = policy
        self._clock = clock
        self._on_progress = on_progress
        self._settled: dict[tuple[str, float], float] = {}  # by tag and stamp, monotonic seconds
        self._quiet_until = -math.inf  # monotonic seconds
        #: Why the platform is left alone for a while.
        self.why = "the platform is busy"

    def wait(self, seconds: float, why: str) -> None:
        """Sleep, and show it where that takes long."""
        if seconds >= _LONG:
            _logger.info("Run %s waits %.0f s: %s", self._run, seconds, why)
            if self._on_progress is not None:
                status = run_status(self._ledger, self._run, {})
                self._on_progress(replace(status, waiting=f"{seconds:.0f} s: {why}"))
        if seconds > 0:
            self._clock.sleep(seconds)

    def unlisted(self, job: JobRecord) -> float:
        """Note that a job is in doubt; return for how many seconds more it may not be listed."""
        return self._rest(job.tag, self._ledger.leases.doubt(job))

    def unverified(self, job: JobRecord) -> float:
        """Return for how many seconds more a second job under a sent job's tag may not be listed.

        A request is on its way after its stamp, so one more delay is left for that.
        """
        if job.sent_at is None:
            return 0.0
        return self._rest(job.tag, datetime.fromisoformat(job.sent_at).timestamp())

    def _rest(self, tag: str, since: float) -> float:
        now = self._clock.monotonic()
        if (tag, since) not in self._settled:
            age = max(0.0, self._clock.now() - since)  # a stamp of the future was made just now
            self._settled[tag, since] = now + max(0.0, self._policy.settle - age)
        return max(0.0, self._settled[tag, since] - now)

    def refused(self, error: BusyError, since: float) -> None:
        """Note that the platform was too busy at a time (monotonic), and for how long."""
        asked = error.retry_after
        seconds = asked if asked is not None and math.isfinite(asked) else self._policy.busy
        self._quiet_until = since + min(max(0.0, seconds), _LONGEST)
        self.why = f"the platform is busy: {error}"

    def busy(self) -> float:
        """Return for how many seconds more the platform wants to be left alone."""
        return max(0.0, self._quiet_until - self._clock.monotonic())
