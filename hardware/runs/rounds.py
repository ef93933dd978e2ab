"""Collect a run in rounds: look, send, wait, until it is finished or only trouble is left."""

from __future__ import annotations

import math

from hardware.errors import BudgetError, ServiceError
from hardware.runs.adaptive import advance
from hardware.runs.collection import Collector
from hardware.runs.progress import OnProgress, RunStatus, run_status
from hardware.runs.sessions import learn_charges
from hardware.runs.submission import Sender


class Rounds:
    """The loop of collecting: look, send, wait."""

    def __init__(
        self,
        sender: Sender,
        collector: Collector,
        timeout: float | None,
        on_progress: OnProgress | None,
    ) -> None:
        self._sender, self._collector, self._on_progress = sender, collector, on_progress
        self._until = math.inf if timeout is None else sender.clock.monotonic() + timeout
        self._failures = 0
        self._blocked = False
        self._searched = False  # for jobs that another process or ledger sent
        self._budget: BudgetError | None = None
        self._charge_until: float | None = None  # how long to wait for a session's charge
        self.problems: dict[int, str] = {}

    def run(self) -> RunStatus:
        """Go round until the run is finished, the time is up or only trouble is left."""
        sender = self._sender
        shortest, longest = sender.policy.poll
        pause = shortest
        while True:
            wait, progressed = self._round()
            sender.ledger.finalize(sender.run_id)
            problems = self.problems | self._collector.problems
            status = run_status(sender.ledger, sender.run_id, problems)
            if self._on_progress:
                self._on_progress(status)
            if status.finished or sender.clock.monotonic() >= self._until:
                return status
            if self._hopeless(status):
                if self._budget is not None and not self._has_labels(status):
                    raise self._budget
                return status
            pause = shortest if progressed else min(pause * 1.5, longest)
            nap = pause
            if wait is not None:
                # Nothing may be sent before that; what is under way is looked at meanwhile.
                nap = min(pause, wait) if status.jobs.get("submitted") else wait
            sender.clock.sleep(max(0.0, min(nap, self._until - sender.clock.monotonic())))

    def _has_labels(self, status: RunStatus) -> bool:
        """Whether all rows have results, and rounds of adaptive shots are all that is left."""
        ledger = self._sender.ledger
        first_ended = status.run.awaits_round and not status.jobs.get("planned")
        return first_ended or ledger.num_rounds(status.run.id) > 0

    def _hopeless(self, status: RunStatus) -> bool:
        """Whether waiting longer brings nothing: what is under way makes trouble, or none is."""
        under_way = self._sender.ledger.jobs(self._sender.run_id, "submitting", "submitted")
        if not all(self._collector.troubled(job.idx) for job in under_way):
            return False
        if self._budget is not None:
            return not self._awaits_charge(status)
        if not status.jobs.get("planned"):
            return True
        return self._blocked and bool(under_way)

    def _awaits_charge(self, status: RunStatus) -> bool:
        """Whether the charge of a session that has just ended may be told soon and leave room."""
        if not status.open_charges:
            return False
        now = self._sender.clock.monotonic()
        if self._charge_until is None:
            self._charge_until = now + self._sender.policy.settle
        return now < self._charge_until

    def _search(self) -> None:
        """Look once for jobs that this ledger does not know of before more are sent.

        A copy of the ledger, a restored one say, does not know what was sent after it was made.
        """
        if not self._searched and self._sender.ledger.jobs(self._sender.run_id, "planned"):
            self._collector.adopt_orphans()
            self._searched = True

    def _learn_charges(self) -> bool:
        sender = self._sender
        if learned := learn_charges(sender.ledger, sender.device, sender.run_id):
            self._charge_until = None
        return learned

    def _round(self) -> tuple[float | None, bool]:
        """Recover, collect and send once; a failing platform is tried again a few times."""
        wait, progressed = None, False
        try:
            self._sender.recover()
            progressed = self._collector.look_once()
            self._search()
            if self._budget is not None and self._learn_charges():
                progressed = True
            if self._budget is None or progressed:
                # What has ended may have used less than its share of the budget.
                self._budget = None
                self.problems.pop(-1, None)
                if advance(self._sender.ledger, self._sender.run_id):
                    self._searched, progressed = False, True
                    self._search()
                claim = self._sender.send_pending()
                wait = claim.wait_seconds
                self._blocked = claim.blocked is not None and wait is None
                if claim.blocked is not None and (claim.others or wait is not None):
                    self.problems[-1] = claim.blocked
            self._failures = 0
        except BudgetError as error:
            self._budget = error  # what has been sent is still worth waiting for
            self.problems[-1] = str(error)
        except ServiceError:
            self._failures += 1
            if self._failures >= self._sender.policy.tries:
                raise
        return wait, progressed
