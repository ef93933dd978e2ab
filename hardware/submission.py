"""Send the planned jobs of a run, each exactly once as far as the platform lets that be known.

The platform has no idempotent submission: the client repeats a request whose answer was lost, and a
process may die between request and answer. So each job has a tag of its own, written in the ledger
before the request leaves, and jobs are looked up by it whenever there is doubt: one is adopted, any
other is cancelled.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from hardware.devices import Device, JobRequest, RemoteJob
from hardware.errors import (
    AccountError,
    BatchClosedError,
    BudgetError,
    BusyError,
    HardwareError,
    RefusedError,
    ServiceError,
    VanishedError,
)
from hardware.ledger import Claim, Ledger
from hardware.policy import Clock, Policy
from hardware.records import JobRecord, new_claimant

_PREFERENCE = {"DONE": 0, "RUNNING": 1, "QUEUED": 2, "INITIALIZING": 2}


class Sender:
    """Sends the jobs of one run.

    Args:
        ledger: Where every step is written down first.
        device: Where the jobs go.
        run_id: The run.
        request: Gives what a job asks of the device, by its index.
        policy: Pace and patience.
        clock: Time.
    """

    def __init__(
        self,
        ledger: Ledger,
        device: Device,
        run_id: str,
        request: Callable[[int], JobRequest],
        policy: Policy,
        clock: Clock,
    ) -> None:
        self.ledger = ledger
        self.device = device
        self.run_id = run_id
        self.request = request
        self.policy = policy
        self.clock = clock
        self.claimant = new_claimant()
        self._failures: Counter[int] = Counter()
        self._answered = 0.0  # when the platform last refused or failed a submission

    # --- sending --------------------------------------------------------------------------------

    def advance(self, patience: float = 0.0) -> Claim:
        """Send planned jobs until none is left or something holds the next one back.

        A busy platform is waited for, at most `patience` seconds.

        Returns:
            What holds the next job back, if anything.

        Raises:
            BudgetError, AccountError, ServiceError: Nothing more can be sent now. The ledger says
                how far it went.
        """
        until = self.clock.now() + patience
        while True:
            claim = self._claim()
            if claim.job is None:
                return claim
            try:
                self._send(claim.job)
            except BusyError as error:
                wait = self.policy.busy if error.retry_after is None else error.retry_after
                wait = max(0.0, self._answered + wait - self.clock.now())
                if self.clock.now() + wait > until:
                    return Claim(blocked=str(error), wait_seconds=wait)
                self.clock.sleep(wait)

    def _claim(self) -> Claim:
        """Claim the next job; where other runs hold it back, ask whether they still do."""
        policy = self.policy
        claim = self.ledger.claim_next(self.run_id, self.claimant, policy.lease, policy.pace)
        if not claim.others:
            return claim
        try:
            elsewhere = {
                run_id: len(self.device.pending(self.ledger.run(run_id).tag))
                for run_id in claim.others
            }
        except ServiceError:
            return claim  # the next try asks again
        return self.ledger.claim_next(
            self.run_id, self.claimant, policy.lease, policy.pace, elsewhere
        )

    def _send(self, job: JobRecord) -> None:
        try:
            batch = self._batch()
            cap = self._cap(job)
            tags = (self.ledger.run(self.run_id).tag, job.tag)
            request = self.request(job.idx)
        except HardwareError as error:
            self.ledger.release(job, str(error))
            raise
        try:
            remote_id = self.device.send(request, tags, cap, batch)
        except HardwareError as error:
            # Whatever it says: the client repeats requests, and this may be the answer to a second
            # one, while the first was taken.
            self._answered = self.clock.now()
            if isinstance(error, BatchClosedError):
                self.ledger.set_batch(self.run_id, None, batch)
            self._resolve(job, error)
        else:
            self._accepted(job, remote_id)

    def _cap(self, job: JobRecord) -> int | None:
        if not self.policy.cap_execution or job.reserved_seconds is None or self.device.local:
            return None
        return max(math.ceil(job.estimate_seconds), math.floor(job.reserved_seconds), 1)

    def _count_failure(self, job: JobRecord, error: HardwareError) -> None:
        self._failures[job.idx] += 1
        if self._failures[job.idx] >= self.policy.tries:
            raise error

    def _batch(self) -> str | None:
        """Return the batch for this run's jobs; None for a single one and for local devices."""
        run = self.ledger.run(self.run_id)
        if self.device.local or len(self.ledger.jobs(self.run_id)) < 2:
            return None
        if run.batch_id is not None:
            return run.batch_id
        batch = self.device.open_batch()
        if self.ledger.set_batch(self.run_id, batch, None):
            return batch
        self.device.close_batch(batch)  # another process was quicker
        return self.ledger.run(self.run_id).batch_id

    def _accepted(self, job: JobRecord, remote_id: str) -> None:
        if not self.ledger.accept(job, remote_id):
            # The lease lapsed and another process took over: it will find this job by its tag.
            self.ledger.mark_verified(job, False)
            return
        job = self.ledger.job(self.run_id, job.idx)
        if self.ledger.run(self.run_id).state == "cancelled":
            self.withdraw(job)
            return
        try:
            self.verify(job)
        except ServiceError:
            return  # it is under way; a later look at the run verifies it
        self._failures.pop(job.idx, None)

    # --- doubt ----------------------------------------------------------------------------------

    def recover(self) -> None:
        """Decide on jobs whose request may have left a process that has ended.

        Those known to be sent are looked for under their tags where that has not been done yet.

        Raises:
            AccountError, ServiceError: The platform cannot be asked; the jobs stay as they are.
        """
        for job in self.ledger.take_over(self.run_id, self.claimant, self.policy.lease):
            self._resolve(job, None)
        for job in self.ledger.jobs(self.run_id, "submitted"):
            if not job.verified:
                try:
                    self.verify(job)
                except ServiceError:
                    continue  # nothing depends on it now; the next look tries again

    def _resolve(self, job: JobRecord, error: HardwareError | None) -> None:
        """Adopt the job if the platform has it, else do what its refusal or failure asks for.

        Where the platform cannot be asked, the job stays ``submitting``: `recover` asks later.
        """
        try:
            found = self._listed(job)
        except (AccountError, ServiceError) as failure:
            if isinstance(error, (AccountError, BudgetError)):
                raise error from failure  # the reason for both
            raise
        if found:
            self._adopt(job, found)
        elif self.ledger.run(self.run_id).state == "cancelled":
            self.ledger.drop(job, "cancelled before the platform took it")
        elif error is None:
            self.ledger.release(job, "its sender ended")
        elif isinstance(error, RefusedError):
            self.ledger.refuse(job, str(error))
        else:
            self.ledger.release(job, f"not taken: {error}")
            if isinstance(error, BusyError) or not isinstance(error, ServiceError):
                raise error
            self._count_failure(job, error)

    def _listed(self, job: JobRecord) -> list[RemoteJob]:
        """Return what the platform has under a job's tag, once it has had time to list it."""
        if not self.device.local and job.sent_at is not None:
            sent = datetime.fromisoformat(job.sent_at).timestamp()
            rest = sent + self.policy.settle - self.clock.now()
            if rest > 0:
                self.clock.sleep(rest)
        return self.device.find(job.tag)

    def _adopt(self, job: JobRecord, found: list[RemoteJob]) -> None:
        best = found[0]
        if len(found) > 1:
            seen = [(self.device.look(one.id), one) for one in found]
            ranked = sorted(
                seen, key=lambda pair: (_PREFERENCE.get(pair[0].status, 3), pair[1].created)
            )
            best = ranked[0][1]
        self._accepted(job, best.id)

    def verify(self, job: JobRecord) -> None:
        """Make sure that a submitted job stands alone under its tag; cancel any other.

        Raises:
            AccountError, ServiceError: The platform cannot be asked; the job stays unverified.
        """
        if self.device.local:
            self.ledger.mark_verified(job)
            return
        found = self.device.find(job.tag)
        others = [one for one in found if one.id != job.remote_id]
        for other in others:
            self.ledger.note_duplicate(job, other.id, other.status)
        for other in others:
            self.drop_duplicate(self.ledger.job(self.run_id, job.idx), other.id)
        if len(others) < len(found):  # the list is up to date: it has the job itself
            self.ledger.mark_verified(job)

    def drop_duplicate(self, job: JobRecord, duplicate: str) -> None:
        """Cancel a second job under a job's tag, or let it count if it is done already."""
        if self.device.cancel(duplicate):
            return
        seen = self.device.look(duplicate)
        if seen.status != "DONE" or job.state != "submitted" or job.remote_id is None:
            return
        try:
            own = self.device.look(job.remote_id)
        except VanishedError:
            own = RemoteJob(job.remote_id, (), "", "ERROR")
        if own.status == "DONE" or not self.ledger.adopt_instead(job, duplicate, seen.status):
            return
        if not own.final:
            self.device.cancel(job.remote_id)

    def adopt_stray(self, job: JobRecord, stray: str, tag: str) -> bool:
        """Let a job on the platform count that a job which is to be sent, or failed, left there.

        Returns:
            Whether it counts now: it has ended well, or is under way in a run that is.
        """
        seen = self.device.look(stray)
        closed = self.ledger.run(self.run_id).state == "cancelled" and job.state != "cancelled"
        if seen.status != "DONE" and (seen.final or closed):
            return False
        return self.ledger.adopt_stray(job, stray, seen.status, tag)

    # --- cancelling -----------------------------------------------------------------------------

    def withdraw(self, job: JobRecord) -> None:
        """Cancel a submitted job; one that has ended already stays to be collected."""
        if job.remote_id is not None and self.device.cancel(job.remote_id):
            self.ledger.end(job, "cancelled", "cancelled on request")
