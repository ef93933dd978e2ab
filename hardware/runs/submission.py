"""Send the planned jobs of a run, each exactly once as far as the platform lets that be known.

The platform has no idempotent submission: the client repeats a request whose answer was lost, and a
process may die between request and answer. So each job has a tag of its own, written in the ledger
before the request leaves, and jobs are looked up by it whenever there is doubt: one is adopted, any
other is cancelled. What is not found is sent again only when the platform has had time to list it,
counted from the moment at which the request cannot be on its way any more; and a job that was sent
before is looked for once more right before it is sent again.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from hardware.devices.base import STATES, UNSEEN, USELESS, Device, JobRequest, RemoteJob
from hardware.errors import (
    AccountError,
    BatchClosedError,
    BudgetError,
    BusyError,
    HardwareError,
    LedgerError,
    RefusedError,
    ServiceError,
    UnclearError,
    VanishedError,
)
from hardware.ledger.budget import cap_seconds
from hardware.ledger.ledger import Claim, Ledger
from hardware.ledger.records import JobRecord, new_claimant
from hardware.runs.policy import Clock, Policy
from hardware.runs.progress import OnProgress
from hardware.runs.search import Search
from hardware.runs.sessions import batch_for, close_sessions
from hardware.runs.waits import Waits


class Sender:
    """Sends the jobs of one run.

    Args:
        ledger: Where every step is written down first.
        device: Where the jobs go.
        run_id: The run.
        request: Gives what a job asks of the device, by its index.
        policy: Pace and patience.
        clock: Time.
        on_progress: Called before each wait of seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        device: Device,
        run_id: str,
        request: Callable[[int], JobRequest],
        policy: Policy,
        clock: Clock,
        on_progress: OnProgress | None = None,
    ) -> None:
        self.ledger = ledger
        self.device = device
        self.run_id = run_id
        self.request = request
        self.policy = policy
        self.clock = clock
        self.claimant = new_claimant()
        self.waits = Waits(ledger, run_id, policy, clock, on_progress)
        self.search = Search(ledger, device, run_id, policy, self.waits)
        self._failures: Counter[int] = Counter()
        self._answered = clock.monotonic()  # when the platform last failed a submission

    # --- sending --------------------------------------------------------------------------------

    def send_pending(self, patience: float = 0.0) -> Claim:
        """Send planned jobs until none is left or something holds the next one back.

        A busy platform is waited for, at most `patience` seconds, but not while a
        session is paid for. On every way out sessions are closed.

        Returns:
            What holds the next job back, if anything.

        Raises:
            BudgetError, AccountError, ServiceError: Nothing more can be sent now. The ledger says
                how far it went.
        """
        try:
            return self._send_planned(self.clock.monotonic() + patience)
        finally:
            with suppress(LedgerError):  # it must not hide what came before
                close_sessions(self.ledger, self.device, self.run_id, self.claimant)

    def _send_planned(self, until: float) -> Claim:
        refused = False
        while True:
            wait = self.waits.busy()
            if (wait or refused) and self.ledger.jobs(self.run_id, "planned"):
                if wait and self._pays_for_waiting():
                    until = -math.inf
                if self.clock.monotonic() + wait > until:
                    return Claim(blocked=self.waits.why, wait_seconds=wait)
                self.waits.wait(wait, self.waits.why)
            claim = self._claim()
            if claim.job is None:
                return claim
            try:
                self._send(claim.job)
            except BusyError as error:
                self.waits.refused(error, self._answered)
                refused = True

    def _pays_for_waiting(self) -> bool:
        """Whether a session is open that has begun with its first job."""
        return any(
            not one.closed and self.ledger.may_have_run(one.id)
            for one in self.ledger.sessions(self.run_id)
        )

    def _claim(self) -> Claim:
        """Claim the next job; where other runs hold it back, ask whether they still do."""
        policy = self.policy
        claim = self.ledger.leases.claim_next(self.run_id, self.claimant, policy.lease, policy.pace)
        if not claim.others or not self.device.abilities.searchable:
            return claim
        try:
            elsewhere = {
                run_id: len(self.device.pending(self.ledger.run(run_id).tag))
                for run_id in claim.others
            }
        except ServiceError:
            return claim  # the next try asks again
        return self.ledger.leases.claim_next(
            self.run_id, self.claimant, policy.lease, policy.pace, elsewhere
        )

    def _send(self, job: JobRecord) -> None:
        try:
            request = self.request(job.idx)
            batch = batch_for(self.ledger, self.device, self.run_id, request)
            cap = self._cap(job, request)
            tags = (self.ledger.run(self.run_id).tag, job.tag)
            if self._was_sent(job):
                return
        except HardwareError as error:
            self.ledger.release(job, str(error))
            raise
        if not self.ledger.leases.begin_send(job, self.policy.lease):
            return  # the lease lapsed, and another process decides on the job
        try:
            remote_id = self.device.send(request, tags, cap, batch)
            if not self.ledger.is_new(remote_id, job):
                raise UnclearError(
                    f"The platform answered to the submission of job {job.idx} with the id of "
                    f"another job, {remote_id}."
                )
        except HardwareError as error:
            # Whatever it says: the client repeats requests, and this may be the answer to a second
            # one, while the first was taken.
            self._answered = self.clock.monotonic()
            # Of a job that is new, the batch is all that the platform can fail to know.
            if isinstance(error, (BatchClosedError, VanishedError)):
                self.ledger.leases.set_batch(self.run_id, None, batch)
            self._resolve(job, error)
        else:
            self._accepted(job, RemoteJob(remote_id, tags, ""))

    def _was_sent(self, job: JobRecord) -> bool:
        """Adopt the job if an earlier request for it had its effect after all."""
        if not self.search.possible or (job.doubt_at is None and job.attempt == 1):
            return False
        found = [(self.search.seen(one), tag) for one, tag in self.search.listed(job)]
        for one, tag in found:
            if one.status in USELESS:
                self.ledger.note_duplicate(job, one.id, one.status, tag)
        useful = [(one, tag) for one, tag in found if one.status not in USELESS]
        if not useful:
            return False
        self._accepted(job, *min(useful, key=lambda pair: _rank(pair[0])))
        return True

    def _cap(self, job: JobRecord, request: JobRequest) -> int | None:
        if not self.policy.cap_execution or job.reserved_seconds is None or self.device.local:
            return None
        if request.mode == "session":  # its time limit allows for the margin and no more
            return cap_seconds(job.estimate_seconds)
        return cap_seconds(job.estimate_seconds, job.reserved_seconds)

    def _count_failure(self, job: JobRecord, error: HardwareError) -> None:
        self._failures[job.idx] += 1
        if self._failures[job.idx] >= self.policy.tries:
            raise error

    def _accepted(self, job: JobRecord, remote: RemoteJob, tag: str | None = None) -> None:
        if not self.ledger.accept(job, remote.id, remote.status, tag):
            # The lease lapsed and another process took over: it will find this job by its tag.
            self.ledger.mark_verified(job, False)
            now = self.ledger.job(self.run_id, job.idx)
            if not self.device.abilities.searchable and now.remote_id == UNSEEN + job.tag:
                self.ledger.adopt_stray(now, remote.id, remote.status, job.tag)  # it cannot
            return
        own, job = job.tag, self.ledger.job(self.run_id, job.idx)
        if self.ledger.run(self.run_id).state == "cancelled":
            self.withdraw(job)
            return
        if tag not in (None, own):
            self.ledger.mark_verified(job)  # nothing was sent under its present tag
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
            AccountError, ServiceError: The platform cannot be asked, or a request is still on its
                way; the jobs stay as they are.
        """
        taken = self.ledger.leases.take_over(
            self.run_id, self.claimant, self.policy.lease, self.device.leaving
        )
        for job in taken:
            if not self.device.leaving(job.tag):
                self.ledger.leases.doubt(job)  # the delays of all run at once
        for job in taken:
            self._resolve(job, None)
        for job in self.ledger.jobs(self.run_id, "submitted"):
            if not job.verified:
                try:
                    self.verify(job)
                except ServiceError:
                    continue  # nothing depends on it now; the next look tries again

    def _leave_unknown(self, job: JobRecord, error: HardwareError | None) -> None:
        """Note that nobody can tell whether a job was taken: it is not sent again by itself.

        Raises:
            UnclearError: Its request is still on its way, or has just failed.
        """
        if self.device.leaving(job.tag):
            raise UnclearError(
                f"{self.device.name} has not answered to the submission of job {job.idx}, which is "
                "still on its way: resume the run later."
            )
        why = str(error) if error is not None else "its sender ended before the answer was noted."
        reason = (
            f"{self.device.name} may have taken job {job.idx}: {why} Jobs cannot be found by their "
            "tags there, and a second one might be paid for twice. Look at the provider's own list "
            "of jobs; if it is not there, resume with --resubmit-unknown (in Python "
            "resubmit_unknown=True)."
        )
        if self.ledger.accept(job, UNSEEN + job.tag, "UNKNOWN"):
            self.ledger.end(self.ledger.job(self.run_id, job.idx), "unknown", reason)
        if error is not None:
            raise UnclearError(reason) from error

    def _resolve(self, job: JobRecord, error: HardwareError | None) -> None:
        """Adopt the job if the platform has it, else do what its refusal or failure asks for.

        Where the platform cannot be asked, the job stays ``submitting``: `recover` asks later.
        """
        in_doubt = error is None or not error.sure
        if in_doubt and not self.device.abilities.searchable:
            sent = self.device.find(job.tag)  # by this process
            if sent:
                self._adopt(job, sent)
            else:
                self._leave_unknown(job, error)
            return
        try:
            found = self.search.find(job, wait=in_doubt)
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

    def _adopt(self, job: JobRecord, found: list[RemoteJob]) -> None:
        if len(found) > 1:
            created = {one.id: one.created for one in found}
            seen = [replace(self.search.seen(one), created=created[one.id]) for one in found]
            found = sorted(seen, key=_rank)
        self._accepted(job, found[0])

    def verify(self, job: JobRecord) -> None:
        """Make sure that a submitted job stands alone under its tag; cancel any other.

        Raises:
            AccountError, ServiceError: The platform cannot be asked; the job stays unverified.
        """
        if not self.search.possible:
            self.ledger.mark_verified(job)
            return
        found = self.device.find(job.tag)
        others = [one for one in found if one.id != job.remote_id]
        foreign = found and len(others) == len(found) and self.search.is_foreign(job)
        if foreign and self.ledger.adopt_instead(job, found[0].id, found[0].status, foreign=True):
            return  # the next look verifies that one
        for other in others:
            self.ledger.note_duplicate(job, other.id, other.status)
        for other in others:
            self.drop_duplicate(self.ledger.job(self.run_id, job.idx), other.id)
        if len(others) < len(found):  # the list is up to date: it has the job itself
            self.ledger.mark_verified(job)
            self.ledger.leases.trust(job)

    def drop_duplicate(self, job: JobRecord, duplicate: str) -> None:
        """Cancel a second job under a job's tag, or let it count if it is done already."""
        if self.device.cancel(duplicate):
            return
        seen = self.device.job_status(duplicate)
        if seen.status != "DONE" or job.state != "submitted" or job.remote_id is None:
            return
        own = self.search.seen(RemoteJob(job.remote_id, (), ""))
        if own.status == "DONE" or not self.ledger.adopt_instead(job, duplicate, seen.status):
            return
        if not own.final:
            self._try_to_cancel(job.remote_id)

    def _try_to_cancel(self, remote_id: str) -> bool:
        try:
            return self.device.cancel(remote_id)
        except VanishedError:
            return False  # its charge stays unknown, and it is looked for again

    def adopt_stray(self, job: JobRecord, stray: RemoteJob, tag: str) -> bool:
        """Let a listed job count that a job which is to be sent, unknown or failed left there.

        Returns:
            Whether it counts now: it has ended well, or is under way in a run that is.
        """
        seen = self.search.seen(stray)
        closed = self.ledger.run(self.run_id).state == "cancelled" and job.state != "cancelled"
        if seen.status != "DONE" and (seen.final or closed):
            return False
        return self.ledger.adopt_stray(job, stray.id, seen.status, tag)

    # --- cancelling -----------------------------------------------------------------------------

    def withdraw(self, job: JobRecord) -> None:
        """Cancel a submitted or unknown job; one that has ended already stays to be collected."""
        if job.remote_id is None:
            return
        cancel = self._try_to_cancel if job.state == "unknown" else self.device.cancel
        if cancel(job.remote_id):
            self.ledger.end(job, "cancelled", "cancelled on request")


def _rank(job: RemoteJob) -> tuple[int, str]:
    """Which of several jobs under a tag is to count: the one furthest on, then the oldest."""
    return STATES.get(job.status, 4), job.created
