"""Bring in what the jobs of a run gave, in whatever order they end."""

from __future__ import annotations

import math
from collections import Counter

from hardware.devices import RemoteJob
from hardware.errors import BudgetError, ServiceError, VanishedError
from hardware.progress import OnProgress, RunStatus, run_status
from hardware.records import JobRecord
from hardware.submission import Sender

#: States in which a job on the platform gives nothing any more.
_USELESS = ("ERROR", "CANCELLED", "VANISHED")


class Collector:
    """Collects the jobs of one run, beside the sender that sends them."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._ledger = sender.ledger
        self._device = sender.device
        self._run = sender.run_id
        self._failures: Counter[int] = Counter()
        #: Jobs with a result that could not be fetched, and why.
        self.problems: dict[int, str] = {}

    def look_once(self) -> bool:
        """Ask after all jobs under way and bring in those that have ended.

        Jobs that make trouble are left for later and do not keep the others.

        Returns:
            Whether any job came to its end.

        Raises:
            AccountError: The login is no longer accepted.
            ServiceError: The platform cannot be asked at all.
        """
        under_way = self._ledger.jobs(self._run, "submitted")
        if not under_way:
            return False
        pending = self._device.pending(self._ledger.run(self._run).tag)
        ended = 0
        for job in under_way:
            if job.remote_id is None or job.remote_id in pending:
                continue
            try:
                ended += self._look(job)
            except ServiceError as error:
                self._failures[job.idx] += 1
                self.problems[job.idx] = str(error)
            else:
                self.problems.pop(job.idx, None)
        return bool(ended)

    def troubled(self, idx: int) -> bool:
        """Whether a job failed so often to be looked at or fetched that it is given up for now."""
        return self._failures[idx] >= self._sender.policy.tries

    def _look(self, job: JobRecord) -> bool:
        if not job.verified:
            self._sender.verify(job)
            job = self._ledger.job(self._run, job.idx)
        remote_id = job.remote_id
        assert remote_id is not None
        try:
            seen = self._device.look(remote_id)
        except VanishedError:
            seen = RemoteJob(remote_id, (), "", "ERROR", "the platform no longer knows the job")
        if not seen.final:
            return False
        if seen.status == "DONE":
            arrays = self._device.fetch(remote_id, self._sender.request(job.idx))
            ended = self._ledger.finish(job, arrays)
        elif seen.status == "CANCELLED":
            ended = self._ledger.end(job, "cancelled", "cancelled on the platform")
        else:
            ended = self._ledger.end(job, "failed", seen.reason or "failed without a reason")
        self._learn(remote_id, seen.status)
        return ended

    def _learn(self, remote_id: str, status: str) -> None:
        try:
            seconds = self._device.charged(remote_id)
        except ServiceError:
            return  # asked again by `tidy`
        if seconds is not None:
            self._ledger.charge(remote_id, seconds, status)

    def sweep(self, cancelled_too: bool = False) -> int:
        """Find jobs that the platform took without anybody learning of it in time.

        One counts for a job that is planned or failed. Any other is noted, so that its charge
        counts, and cancelled if that is still possible.

        Args:
            cancelled_too: Whether cancelled jobs are to have their results too.

        Returns:
            How many count now.

        Raises:
            AccountError, ServiceError: The platform cannot be asked.
        """
        if self._device.local:
            return 0
        without = ("planned", "failed", *(("cancelled",) if cancelled_too else ()))
        found = self._device.find(self._ledger.run(self._run).tag)
        known, owners = self._ledger.remote_states(self._run), self._ledger.owners(self._run)
        adopted = 0
        for stray in found:
            tag = next((tag for tag in stray.tags if tag in owners), None)
            if tag is None or known.get(stray.id) in _USELESS:
                continue
            job = self._ledger.job(self._run, owners[tag])
            if job.remote_id == stray.id or job.state == "submitting":
                continue  # it is no stray, or its sender looks for it itself
            if job.state in without and self._sender.adopt_stray(job, stray.id, tag):
                adopted += 1
            elif stray.id not in known:
                self._ledger.note_duplicate(job, stray.id, stray.status, tag)
                self._sender.drop_duplicate(job, stray.id)
        return adopted

    def tidy(self) -> int:
        """Look for jobs that nobody knew of and learn charges that are not known yet.

        Returns:
            How many jobs were found on the platform that nobody knew of and that count now.
        """
        try:
            adopted = self.sweep()
        except ServiceError:
            adopted = 0  # the next look at the run sweeps again
        self.learn_charges()
        return adopted

    def mend(self) -> None:
        """Fetch results again that were stored and cannot be read any more.

        Raises:
            AccountError: The login is no longer accepted.
        """
        for job in self._ledger.damaged(self._run):
            if job.remote_id is None:
                continue
            try:
                arrays = self._device.fetch(job.remote_id, self._sender.request(job.idx))
            except ServiceError as error:
                self.problems[job.idx] = (
                    f"its stored result is damaged and cannot be fetched again: {error}"
                )
            else:
                self._ledger.store_again(job, arrays)

    def learn_charges(self) -> None:
        """Ask for charges that are not known yet; cancel duplicates that still are under way."""
        under_way = {
            job.remote_id: job for job in self._ledger.jobs(self._run, "submitting", "submitted")
        }
        by_tag = {job.tag: job for job in self._ledger.jobs(self._run)}
        for remote_id, tag, role in self._ledger.uncharged(self._run):
            if remote_id in under_way:
                continue
            try:
                seen = self._device.look(remote_id)
                if not seen.final and role == "duplicate" and tag in by_tag:
                    self._sender.drop_duplicate(by_tag[tag], remote_id)
                    seen = self._device.look(remote_id)
            except VanishedError:
                self._ledger.charge(remote_id, 0.0, "VANISHED")
                continue
            except ServiceError:
                continue
            if seen.final:
                self._learn(remote_id, seen.status)


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
        self._until = math.inf if timeout is None else sender.clock.now() + timeout
        self._failures = 0
        self._blocked = False
        self._budget: BudgetError | None = None
        self.problems: dict[int, str] = {}

    def run(self) -> RunStatus:
        """Go round until the run is finished, the time is up or only trouble is left."""
        sender = self._sender
        shortest, longest = sender.policy.poll
        pause = shortest
        while True:
            wait, progressed = self._round()
            sender.ledger.settle(sender.run_id)
            problems = self.problems | self._collector.problems
            status = run_status(sender.ledger, sender.run_id, problems)
            if self._on_progress:
                self._on_progress(status)
            if status.finished or sender.clock.now() >= self._until:
                return status
            if self._hopeless(status):
                if self._budget is not None:
                    raise self._budget
                return status
            pause = shortest if progressed else min(pause * 1.5, longest)
            nap = pause if wait is None else min(pause, wait)
            sender.clock.sleep(max(0.0, min(nap, self._until - sender.clock.now())))

    def _hopeless(self, status: RunStatus) -> bool:
        """Whether waiting longer brings nothing: what is under way makes trouble, or none is."""
        under_way = self._sender.ledger.jobs(self._sender.run_id, "submitting", "submitted")
        if not all(self._collector.troubled(job.idx) for job in under_way):
            return False
        if self._budget is not None or not status.jobs.get("planned"):
            return True
        return self._blocked and bool(under_way)

    def _round(self) -> tuple[float | None, bool]:
        """Recover, collect and send once; a failing platform is tried again a few times."""
        wait, progressed = None, False
        try:
            self._sender.recover()
            progressed = self._collector.look_once()
            if self._budget is None or progressed:
                # What has ended may have used less than its share of the budget.
                self._budget = None
                self.problems.pop(-1, None)
                claim = self._sender.advance()
                wait = claim.wait_seconds
                self._blocked = claim.blocked is not None and wait is None
                if claim.blocked is not None and claim.others:
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
