"""A device of the IBM Quantum platform, reached through the unmodified client."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from qiskit_ibm_runtime import Batch, IBMBackend, QiskitRuntimeService, RuntimeJobV2
from qiskit_ibm_runtime.exceptions import RuntimeInvalidStateError

from hardware.account import ask, going_on, guarded
from hardware.decoding import RawDecoder, decoded
from hardware.devices import JobRequest, RemoteJob, make_primitive, result_arrays
from hardware.errors import (
    HardwareError,
    UnclearError,
    UnknownBackendError,
    VanishedError,
)
from hardware.records import MAX_REASON
from hardware.translation import plain

T = TypeVar("T")

#: Names under which the platform has reported what a job was charged, newest first.
USAGE_KEYS = ("qpu_charge_time_seconds", "quantum_seconds", "seconds")


@dataclass(frozen=True)
class Deadlines:
    """How long to wait for an answer, in seconds. The client itself waits for ever.

    Args:
        request: Small requests; the client's own retries take up to 15 s.
        send: Submission of a job, payload included.
        download: Download of a result.
    """

    request: float = 60.0
    send: float = 900.0
    download: float = 600.0


def load_calibration(backend: IBMBackend, seconds: float = Deadlines.request) -> None:
    """Fetch a device's calibration, which the client does when an attribute is first touched.

    Raises:
        AccountError, ServiceError: It could not be fetched, or is malformed.
    """
    with guarded():
        ask(lambda: backend.target, seconds, f"for the calibration of {backend.name}")


def seconds_left(usage: object) -> float | None:
    """Return the QPU seconds that an account's usage leaves, None where it does not say."""
    value = usage.get("usage_remaining_seconds") if isinstance(usage, dict) else None
    if isinstance(value, (int, float)) and math.isfinite(value):
        return float(value)
    return None


class PlatformDevice:
    """One device of the platform; see `hardware.devices.Device`.

    Args:
        service: The client, see `hardware.account.open_service`.
        name: Name of the device, e.g. ``"ibm_fez"``.
        deadlines: How long to wait for answers.

    Raises:
        UnknownBackendError: The account has no such device.
        AccountError, UnclearError: The platform could not be asked.
    """

    local = False

    def __init__(
        self, service: QiskitRuntimeService, name: str, deadlines: Deadlines | None = None
    ) -> None:
        self._service = service
        self._deadlines = deadlines or Deadlines()
        self._jobs: dict[str, RuntimeJobV2] = {}
        self._batches: dict[str, Batch] = {}
        # Listed, not asked for by name: an unknown name and a failed request would look the same.
        unheard: list[HardwareError] = []
        found = self._ask(
            lambda: [each for each in service.backends(name) if each.name == name],
            f"for the device {name}",
            unheard=unheard,
        )
        if not found:
            if unheard:
                raise unheard[0]
            raise UnknownBackendError(
                f"Expected a device of your account, got {name!r}, which it does not have."
            )
        self._backend = found[0]

    @property
    def name(self) -> str:
        """Name of the device."""
        return str(self._backend.name)

    @property
    def instance(self) -> str:
        """SHA-256 of the instance's resource name (CRN), in hexadecimal."""
        return hashlib.sha256(self._crn.encode()).hexdigest()

    @property
    def _crn(self) -> str:
        # An account may have several instances; the client's "active" one changes under way.
        return str(self._backend._instance or self._service.active_instance())

    @property
    def backend(self) -> IBMBackend:
        """The device with its calibration, which is fetched when first needed.

        Raises:
            AccountError, ServiceError: The calibration could not be fetched.
        """
        load_calibration(self._backend, self._deadlines.request)
        return self._backend

    def _ask(
        self,
        request: Callable[[], T],
        what: str,
        seconds: float | None = None,
        *,
        label: str | None = None,
        sending: bool = False,
        unheard: list[HardwareError] | None = None,
    ) -> T:
        limit = seconds if seconds is not None else self._deadlines.request
        with guarded():
            return ask(request, limit, what, label=label, sending=sending, unheard=unheard)

    # --- jobs -----------------------------------------------------------------------------------

    def send(
        self, request: JobRequest, tags: Sequence[str], max_seconds: int | None, batch: str | None
    ) -> str:
        """Send a job under tags and return the platform's id of it; see `Device.send`."""
        mode = self._batch(batch) if batch else self._backend
        options: dict[str, Any] = {**request.options}
        environment = options.get("environment", {})
        options["environment"] = {
            **environment,
            "job_tags": [*environment.get("job_tags", []), *tags],
        }
        if max_seconds is not None:
            options["max_execution_time"] = max_seconds
        job = self._ask(
            lambda: make_primitive(request, mode, options)(),
            "to run a job",
            self._deadlines.send,
            label=tags[-1],
            sending=True,
        )
        self._jobs[job.job_id()] = job
        return str(job.job_id())

    def leaving(self, tag: str) -> bool:
        """Whether a request that `send` gave up waiting for is still on its way."""
        return going_on(tag)

    def find(self, tag: str) -> list[RemoteJob]:
        """Return all jobs that carry a tag, oldest first."""
        return self._list(tag, pending=None)

    def pending(self, tag: str) -> set[str]:
        """Return the ids of the jobs under a tag that wait or run."""
        return {job.id for job in self._list(tag, pending=True)}

    def _list(self, tag: str, pending: bool | None) -> list[RemoteJob]:
        def listed() -> list[RemoteJob]:
            jobs = self._service.jobs(
                limit=None,
                job_tags=[tag],
                pending=pending,
                descending=False,
                instance=self._crn,
            )
            found = [
                RemoteJob(
                    job.job_id(),
                    tuple(job.tags or ()),
                    created.isoformat() if (created := job.creation_date) else "",
                )
                for job in jobs
            ]
            self._jobs.update({job.job_id(): job for job in jobs})
            return found

        # The server might overlook the filter: only jobs that do carry the tag are ours.
        return [job for job in self._ask(listed, "for the list of jobs") if tag in job.tags]

    def _job(self, job_id: str) -> RuntimeJobV2:
        if job_id not in self._jobs:
            self._jobs[job_id] = self._ask(lambda: self._service.job(job_id), f"for job {job_id}")
        return self._jobs[job_id]

    def look(self, job_id: str) -> RemoteJob:
        """Return a job in its present state.

        Raises:
            VanishedError: The platform does not know it.
        """
        job = self._job(job_id)
        status = str(self._ask(job.status, f"for the state of job {job_id}"))
        reason = None
        if status.startswith("CANCELLED") and "TOO LONG" in status:
            status = "ERROR"
        elif status.startswith("CANCELLED"):
            status = "CANCELLED"
        if status == "ERROR":
            told = self._ask(job.error_message, f"why job {job_id} failed")
            reason = plain(str(told), MAX_REASON) or None
        return RemoteJob(job_id, tuple(job.tags or ()), "", status, reason)

    def fetch(self, job_id: str, request: JobRequest) -> dict[str, np.ndarray]:
        """Return the result of a finished job as arrays by name.

        Raises:
            BadResultError: What came is no result of this request.
            UnclearError: It did not come in time.
        """
        job = self._job(job_id)
        # In two steps: what fails in the second was received and cannot be read.
        raw = self._ask(
            lambda: job.result(decoder=RawDecoder),
            f"for the result of job {job_id}",
            self._deadlines.download,
        )
        return result_arrays(decoded(raw, request), request)

    def cancel(self, job_id: str) -> bool:
        """Cancel a job; False where it has ended already."""
        job = self._job(job_id)

        def cancelled() -> bool:
            try:
                job.cancel()
            except RuntimeInvalidStateError:
                return False
            return True

        done = self._ask(cancelled, f"to cancel job {job_id}")
        self._jobs.pop(job_id, None)  # the client now takes its state for granted
        return done

    def charged(self, job_id: str) -> float | None:
        """Return the QPU seconds that a job was charged, None where not known yet."""
        try:
            metrics = self._ask(self._job(job_id).metrics, f"for the charge of job {job_id}")
        except VanishedError:
            return None
        usage = metrics.get("usage") if isinstance(metrics, dict) else None
        if not isinstance(usage, dict) or usage.get("status", "complete") == "pending":
            return None
        for key in USAGE_KEYS:
            value = usage.get(key)
            if isinstance(value, (int, float)) and math.isfinite(value) and value >= 0:
                return float(value)
        return None

    # --- the account ----------------------------------------------------------------------------

    def remaining(self) -> float | None:
        """Return the QPU seconds that the account has left, None where it does not tell."""
        usage = self._ask(self._service.usage, "for the account's usage")
        return seconds_left(usage)

    # --- batches --------------------------------------------------------------------------------

    def open_batch(self) -> str:
        """Open a batch and return its id."""
        batch = self._ask(lambda: Batch(backend=self._backend), "to open a batch", sending=True)
        if not batch.session_id:
            raise UnclearError("Expected the id of a new batch, got none. Resume the run.")
        self._batches[batch.session_id] = batch
        return str(batch.session_id)

    def _batch(self, batch: str) -> Batch:
        if batch not in self._batches:
            self._batches[batch] = self._ask(
                lambda: Batch.from_id(batch, service=self._service), "for the batch of the run"
            )
        return self._batches[batch]

    def close_batch(self, batch: str) -> None:
        """Let a batch end once its jobs have."""
        self._ask(self._batch(batch).close, "to close a batch")
        self._batches.pop(batch, None)
