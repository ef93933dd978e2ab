"""Look for a run's jobs on its platform, by their tags; decides and changes nothing."""

from __future__ import annotations

from dataclasses import replace

from hardware.devices.base import USELESS, Device, RemoteJob
from hardware.errors import UnclearError, VanishedError
from hardware.ledger.ledger import Ledger
from hardware.ledger.records import JobRecord
from hardware.runs.policy import Policy
from hardware.runs.waits import Waits

#: How often a job is looked for while the platform has time to list it.
_LOOKS = 4
_SHORTEST = 0.01  # seconds between them


class Search:
    """Looks for the jobs of one run.

    Args:
        ledger: Which tags and jobs the run has.
        device: Who is asked.
        run_id: The run.
        policy: How long the platform may take to list a job.
        waits: Waits for that, and tells of it.

    Attributes:
        trusts_lists: Whether what is not listed is not there, on the user's word.
    """

    def __init__(
        self, ledger: Ledger, device: Device, run_id: str, policy: Policy, waits: Waits
    ) -> None:
        self._ledger = ledger
        self._device = device
        self._run_id = run_id
        self._policy = policy
        self._waits = waits
        self.trusts_lists = False

    @property
    def possible(self) -> bool:
        """Whether there is anything to search for by tag, and a device that can."""
        return self._device.abilities.searchable and not self._device.local

    def listed(self, job: JobRecord) -> list[tuple[RemoteJob, str]]:
        """Return what the platform lists of all attempts at a job, with the tag of each.

        Those that are known to have ended without a result are left out.
        """
        owners = self._ledger.owners(self._run_id)
        known = self._ledger.remote_states(self._run_id)
        return [
            (one, tag)
            for one in self._device.find(self._ledger.run(self._run_id).tag)
            for tag in one.tags
            if owners.get(tag) == job.idx and known.get(one.id) not in USELESS
        ]

    def seen(self, listed: RemoteJob) -> RemoteJob:
        """Return a listed job in its present state; ``UNKNOWN`` where only the list knows it."""
        try:
            return self._device.job_status(listed.id)
        except VanishedError:
            return replace(listed, status="UNKNOWN")

    def find(self, job: JobRecord, *, wait: bool) -> list[RemoteJob]:
        """Return what the platform has under a job's tag.

        Args:
            wait: Whether to give the platform time to list it where it lists nothing.

        Raises:
            UnclearError: The request is still on its way.
        """
        if self._device.local:
            return self._device.find(job.tag)
        leaving = self._device.leaving(job.tag)
        if not leaving:  # what still leaves is not in doubt yet: the delay begins when it has ended
            self._waits.unlisted(job)
        found = self._device.find(job.tag)
        if leaving and not found:
            raise UnclearError(
                f"The platform has not answered to the submission of job {job.idx}, which is still "
                "on its way: resume the run later."
            )
        while wait and not found and (rest := self._waits.unlisted(job)) > 0:
            nap = min(rest, max(self._policy.settle / _LOOKS, _SHORTEST))
            self._waits.wait(nap, f"job {job.idx} may have been taken and not be listed yet")
            found = self._device.find(job.tag)
        if wait and not found and not self.trusts_lists:
            self._check_lists(job)
        return found

    def _check_lists(self, job: JobRecord) -> None:
        """Refuse to take a job for absent by lists that lack every job that was in them before.

        Raises:
            UnclearError: They do, as in an outage. Sent again, the job might be paid for twice.
        """
        known = self._ledger.listed_before(self._run_id)
        if known and not any(
            one.id == remote_id for remote_id, tag in known for one in self._device.find(tag)
        ):
            raise UnclearError(
                f"The platform lists neither job {job.idx}, which may have been sent, nor job "
                f"{known[0][0]}, which it has had. Job {job.idx} is not sent again, since it might "
                "be paid for twice. Resume the run later, or, if the platform's jobs were deleted, "
                "with --resubmit-unknown (in Python resubmit_unknown=True)."
            )

    def is_foreign(self, job: JobRecord) -> bool:
        """Whether the job on the platform that counts for a job carries tags of another."""
        assert job.remote_id is not None
        try:
            tags = self._device.job_status(job.remote_id).tags
        except VanishedError:
            return False
        owners = self._ledger.owners(self._run_id)
        return bool(tags) and all(owners.get(tag) != job.idx for tag in tags)
