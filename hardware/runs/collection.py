"""Bring in what the jobs of a run gave, in whatever order they end."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

from hardware.devices.asking import plain
from hardware.devices.base import STATES, USELESS, RemoteJob
from hardware.errors import (
    ServiceError,
    UnclearError,
    VanishedError,
)
from hardware.ledger.records import JobRecord
from hardware.runs.outcome import unusable
from hardware.runs.private import PrivateResults
from hardware.runs.progress import OnProgress, run_status
from hardware.runs.submission import Sender
from hardware.runs.time_limits import NotToldError, reached_limit

#: For how many listing delays a job may be in another state before it counts as unknown.
_STRANGE = 20


class Collector:
    """Collects the jobs of one run, beside the sender that sends them."""

    def __init__(self, sender: Sender, on_progress: OnProgress | None = None) -> None:
        self._sender = sender
        self._on_progress = on_progress
        self._ledger = sender.ledger
        self._device = sender.device
        self._run = sender.run_id
        self._private = PrivateResults(sender)
        self._failures: Counter[int] = Counter()
        self._rounds = 0
        self._filtered = True  # whether the platform's list of pending jobs leaves out the others
        self._strange: dict[str, float] = {}  # remote jobs in strange states, by monotonic seconds
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
        ended = False
        for job in self._worth_a_look(under_way):
            try:
                if self._look(job):
                    ended = True
                    self._tell()
            except _NotKnownError as error:
                self.problems[job.idx] = str(error)  # time will tell
            except ServiceError as error:
                self._failures[job.idx] += 1
                self.problems[job.idx] = str(error)
            else:
                self.problems.pop(job.idx, None)
        return ended

    def _tell(self) -> None:
        """Report a job that has ended: a local one is executed when it is looked at."""
        if self._on_progress is not None:
            self._on_progress(run_status(self._ledger, self._run, self.problems))

    def _worth_a_look(self, under_way: list[JobRecord]) -> list[JobRecord]:
        """Return the jobs that the platform does not list as pending, and one that it does.

        That one, another each time, shows whether the list can be believed: a platform that ignores
        the filter lists all jobs as pending, for ever.
        """
        sent = [job for job in under_way if job.remote_id is not None]
        if not self._filtered or not self._device.abilities.searchable:
            return sent
        pending = self._device.pending(self._ledger.run(self._run).tag)
        listed = [job for job in sent if job.remote_id in pending]
        if listed:
            probe = listed[self._rounds % len(listed)]
            self._rounds += 1
            assert probe.remote_id is not None
            with suppress(ServiceError):  # the next round tries another
                self._filtered = not self._device.job_status(probe.remote_id).final
        return sent if not self._filtered else [job for job in sent if job not in listed]

    def troubled(self, idx: int) -> bool:
        """Whether a job failed so often to be looked at or fetched that it is given up for now."""
        return self._failures[idx] >= self._sender.policy.tries

    def _is_last_try(self, idx: int) -> bool:
        return self._failures[idx] + 1 >= self._sender.policy.tries

    def take_kept(self) -> None:
        """Store the results of private jobs that were received and not stored.

        Raises:
            LedgerError: The ledger cannot be written.
        """
        if not self._device.local:
            self._private.take_kept()

    def _look(self, job: JobRecord) -> bool:
        if not job.verified:
            self._sender.verify(job)
            job = self._ledger.job(self._run, job.idx)
        remote_id = job.remote_id
        assert remote_id is not None
        try:
            seen = self._device.job_status(remote_id)
        except VanishedError:
            return self._miss(job, remote_id)
        if job.doubt_at is not None:
            self._ledger.leases.trust(job)
        if seen.status not in STATES:
            return self._puzzle(job, seen)
        if not seen.final:
            return False
        if seen.status == "DONE":
            ended = self._bring_in(job, remote_id)
        elif seen.status == "CANCELLED":
            ended = self._note_cancelled(job, seen)
        else:
            ended = self._ledger.end(job, "failed", seen.reason or "failed without a reason")
        self._learn(remote_id, seen.status)
        return ended

    def _note_cancelled(self, job: JobRecord, seen: RemoteJob) -> bool:
        """End a job that the platform cancelled: at a time limit, nobody asked for that."""
        limit = None
        if self._ledger.run(self._run).state != "cancelled":
            try:
                limit = reached_limit(self._ledger, self._device, self._run)
            except NotToldError as error:
                if self._age(seen) < self._sender.policy.settle:
                    raise _NotKnownError(f"{error} Job {seen.id} is cancelled.") from error
        if limit is None:
            return self._ledger.end(job, "cancelled", "cancelled on the platform")
        reason = (
            f"{limit} before this job had run: resume the run to send the job again, with a larger "
            "budget if it is refused"
        )
        return self._ledger.end(job, "failed", reason)

    def _age(self, seen: RemoteJob) -> float:
        """Return for how many seconds a remote job is in a state that needs an explanation."""
        now = self._sender.clock.monotonic()
        return now - self._strange.setdefault(seen.id, now)

    def _puzzle(self, job: JobRecord, seen: RemoteJob) -> bool:
        """Decide on a job in a state that this version does not know: is there a result?"""
        age, settle = self._age(seen), self._sender.policy.settle
        reason = (
            f"the platform calls the state of job {seen.id} {plain(seen.status, 40)!r}, which this "
            "version does not know"
        )
        if age < settle:
            raise _NotKnownError(f"{reason}: its result is asked for soon.")
        try:
            ended = self._bring_in(job, seen.id)
        except ServiceError as error:
            if age < _STRANGE * settle:
                raise _NotKnownError(f"{reason}. It has no result yet: {error}") from error
            return self._ledger.end(job, "unknown", f"{reason}, and gives no result")
        self._learn(seen.id, "DONE")
        return ended

    def _bring_in(self, job: JobRecord, remote_id: str) -> bool:
        """Fetch the result of a job and store it; return whether the job has ended by that.

        Raises:
            ServiceError: It did not come, and may come at the next try.
        """
        request = self._sender.request(job.idx)
        if not request.private or self._device.local:
            return self._ledger.results.finish(job, self._device.fetch(remote_id, request))
        ended = self._private.bring_in(job, last=self._is_last_try(job.idx))
        if ended is None:
            raise _NotKnownError(f"Another process is fetching the result of job {remote_id}.")
        return ended

    def _miss(self, job: JobRecord, remote_id: str) -> bool:
        """Decide on a job that the platform does not know when it is looked at.

        One such answer says little. The list is asked as well, and the job is given up as unknown
        only if both agree again once the platform has had time to list it.
        """
        found = self._sender.search.listed(job)
        if any(one.id == remote_id for one, _ in found):
            self._ledger.leases.trust(job)
            raise UnclearError(
                f"The platform lists job {remote_id}, but does not say how it stands: collect the "
                "run again later."
            )
        for other, tag in found:
            seen = self._sender.search.seen(other)
            useful = seen.status not in USELESS
            if useful and self._ledger.adopt_instead(job, other.id, seen.status):
                return False  # the next look is at that one
            self._ledger.note_duplicate(job, other.id, seen.status, tag)
        if self._sender.waits.unlisted(job):
            raise _NotKnownError(
                f"The platform says that it does not know job {remote_id}, which it took: it is "
                "asked again."
            )
        reason = (
            f"the platform took job {remote_id} and does not know it any more; it may still be "
            "charged, and is looked for whenever the run is collected or resumed"
        )
        return self._ledger.end(job, "unknown", reason)

    def reconsider(self) -> None:
        """Look again at jobs of unknown whereabouts; those that are seen count again.

        Raises:
            AccountError, ServiceError: The platform cannot be asked.
        """
        for job in self._ledger.jobs(self._run, "unknown"):
            if job.remote_id is None:
                continue
            seen = self._sender.search.seen(RemoteJob(job.remote_id, (), ""))
            if seen.status == "UNKNOWN":
                continue
            self._ledger.adopt_stray(job, job.remote_id, seen.status, job.tag)
            if self._ledger.run(self._run).state == "cancelled" and not seen.final:
                self._sender.withdraw(self._ledger.job(self._run, job.idx))

    def _learn(self, remote_id: str, status: str) -> None:
        try:
            seconds = self._device.charged(remote_id)
        except ServiceError:
            return  # asked again by `reconcile`
        if seconds is not None:
            self._ledger.charge(remote_id, seconds, status)

    def adopt_orphans(self, cancelled_too: bool = False) -> int:
        """Find jobs that the platform took without anybody learning of it in time.

        One counts for a job that is planned, unknown or failed. Any other is noted, so that its
        charge counts, and cancelled if that is still possible.

        Args:
            cancelled_too: Whether cancelled jobs are to have their results too.

        Returns:
            How many count now.

        Raises:
            AccountError, ServiceError: The platform cannot be asked.
        """
        if not self._sender.search.possible:
            return 0
        without = ("planned", "unknown", "failed", *(("cancelled",) if cancelled_too else ()))
        found = self._device.find(self._ledger.run(self._run).tag)
        known, owners = self._ledger.remote_states(self._run), self._ledger.owners(self._run)
        adopted = 0
        for stray in found:
            tag = next((tag for tag in stray.tags if tag in owners), None)
            if tag is None or known.get(stray.id) in USELESS:
                continue
            job = self._ledger.job(self._run, owners[tag])
            its_own = job.remote_id == stray.id and job.state != "unknown"
            if its_own or job.state == "submitting":
                continue  # it is no stray, or its sender looks for it itself
            if job.state in without and self._sender.adopt_stray(job, stray, tag):
                adopted += 1
            elif stray.id not in known:
                self._ledger.note_duplicate(job, stray.id, stray.status, tag)
                self._sender.drop_duplicate(job, stray.id)
        listed = {one.id for one in found}
        for job in self._ledger.unverified(self._run):
            if job.remote_id in listed or not self._sender.waits.unverified(job):
                self._ledger.mark_verified(job)
        return adopted

    def reconcile(self) -> int:
        """Look for jobs that nobody knew of and learn charges that are not known yet.

        Returns:
            How many jobs were found on the platform that nobody knew of and that count now.
        """
        try:
            adopted = self.adopt_orphans()
        except ServiceError:
            adopted = 0  # the next look at the run sweeps again
        return adopted + self.learn_charges()

    def refetch_damaged(self) -> None:
        """Fetch results again that were stored and cannot be used; see `outcome.unusable`.

        A private job whose result the platform does not give again has failed.

        Raises:
            AccountError: The login is no longer accepted.
        """
        damaged = unusable(self._run, self._sender.request, ledger=self._ledger)
        for idx, why in damaged.items():
            job = self._ledger.job(self._run, idx)
            if job.remote_id is None:
                continue
            request = self._sender.request(idx)
            try:
                if request.private and not self._device.local:
                    self._private.replace(job, why)
                    continue
                arrays = self._device.fetch(job.remote_id, request)
            except ServiceError as error:
                gone = isinstance(error, VanishedError)
                self.problems[idx] = f"{why} It cannot be fetched again: {error}" + (
                    " If the platform has deleted it, submit the plan as a new run." if gone else ""
                )
            else:
                self._ledger.results.store_again(job, arrays)

    def learn_charges(self) -> int:
        """Ask for charges that are not known yet.

        Duplicates that are still under way are cancelled; one that is done while the job that
        counts is not takes its place. A job that was cancelled and ran nevertheless counts.

        Returns:
            How many such jobs there are.
        """
        adopted = 0
        under_way = {
            job.remote_id: job for job in self._ledger.jobs(self._run, "submitting", "submitted")
        }
        owners = self._ledger.owners(self._run)
        for remote_id, tag, role in self._ledger.uncharged(self._run):
            if remote_id in under_way:
                continue
            try:
                seen = self._device.job_status(remote_id)
                job = self._ledger.job(self._run, owners[tag])
                lost = self._ledger.is_lost(remote_id)  # needs only its charge
                ahead = seen.status == "DONE" and job.state == "submitted" and not lost
                if role == "duplicate" and (ahead or not seen.final):
                    self._sender.drop_duplicate(job, remote_id)
                    seen = self._device.job_status(remote_id)
            except ServiceError:
                continue  # unknown, and counted with what it may use
            if seen.final:
                self._learn(remote_id, seen.status)
            ran = seen.status == "DONE" and job.remote_id == remote_id and not self._device.local
            if ran and job.state == "cancelled":
                adopted += self._ledger.adopt_stray(job, remote_id, seen.status, job.tag)
        return adopted


class _NotKnownError(VanishedError):
    """The platform does not know a job that it took, and it is too early to believe that."""
