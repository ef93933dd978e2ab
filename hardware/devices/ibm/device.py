"""A device of the IBM Quantum platform, reached through the unmodified client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from qiskit_ibm_runtime import Batch, IBMBackend, QiskitRuntimeService, Session
from qiskit_ibm_runtime.api.exceptions import RequestsApiError

from hardware.devices.asking import LATER, going_on, plain
from hardware.devices.backends import no_fractional_gates
from hardware.devices.base import Abilities, BatchMode, JobRequest, RemoteJob
from hardware.devices.calibration import has_fractional_gates
from hardware.devices.ibm.answers import (
    all_pages,
    final_charge,
    job_created,
    job_state,
    job_tags,
    seconds_left,
    session_charge,
)
from hardware.devices.ibm.calibration_cache import instance_digest
from hardware.devices.ibm.client import ask, guarded
from hardware.devices.ibm.decoding import decoded_arrays
from hardware.devices.ibm.loading import Deadlines, check_device_list, load_calibration
from hardware.devices.ibm.primitives import make_primitive
from hardware.errors import (
    BatchClosedError,
    HardwareError,
    RefusedError,
    UnclearError,
    UnknownBackendError,
    VanishedError,
)
from hardware.words import MAX_REASON

T = TypeVar("T")

_KINDS: dict[BatchMode, type[Session]] = {"batch": Batch, "session": Session}
#: Answer to the cancellation of a job that has ended.
_ENDED = 409


class PlatformDevice:
    """One device of the platform; see `hardware.devices.base.Device`.

    Args:
        service: The client, see `hardware.devices.ibm.client.open_service`.
        name: Name of the device, e.g. ``"ibm_fez"``.
        deadlines: How long to wait for answers.
        instance: CRN of the instance to reach it through; None: the client's choice.

    Raises:
        UnknownBackendError: The account has no such device.
        AccountError, UnclearError: The platform could not be asked.
    """

    local = False
    abilities = Abilities()

    def __init__(
        self,
        service: QiskitRuntimeService,
        name: str,
        deadlines: Deadlines | None = None,
        *,
        instance: str | None = None,
    ) -> None:
        self._service = service
        self._deadlines = deadlines or Deadlines()
        self._tags: dict[str, tuple[str, ...]] = {}  # of jobs that lists do not tell them of
        self._batches: dict[tuple[str, bool], Session] = {}  # by id and kind of backend
        self._with_fractional: IBMBackend | None = None
        # Listed, not asked for by name: an unknown name and a failed request would look the same.
        unheard: list[HardwareError] = []
        found = self._ask(
            lambda: [
                each for each in service.backends(name, instance=instance) if each.name == name
            ],
            f"for the device {name}",
            unheard=unheard,
        )
        if not found:
            if unheard:
                raise unheard[0]
            check_device_list(service, self._deadlines.request)
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
        return instance_digest(self._crn)

    @property
    def _crn(self) -> str:
        # An account may have several instances; the client's "active" one changes under way.
        return str(self._backend._instance or self._service.active_instance())

    @property
    def _client(self) -> Any:
        """The client's own requests in this device's instance, one for each of the interface."""
        return self._backend._api_client

    @property
    def backend(self) -> IBMBackend:
        """The device with its calibration, which is fetched when first needed.

        Raises:
            AccountError, ServiceError: The calibration could not be fetched.
        """
        load_calibration(self._backend, self._deadlines.request)
        return self._backend

    @property
    def fractional_backend(self) -> IBMBackend:
        """The device opened with its fractional gates; its calibration has their errors.

        Raises:
            PlanError: It has none.
            AccountError, ServiceError: The platform could not be asked.
        """
        backend = self._fractional()
        load_calibration(backend, self._deadlines.request)
        if not has_fractional_gates(backend.target):
            raise no_fractional_gates(self.name)
        return backend

    def _fractional(self) -> IBMBackend:
        if self._with_fractional is None:
            unheard: list[HardwareError] = []
            options = {"instance": self._crn, "use_fractional_gates": True}
            found = self._ask(
                lambda: self._service.backends(self.name, **options),
                f"for the fractional gates of {self.name}",
                unheard=unheard,
            )
            if not found:
                raise unheard[0] if unheard else no_fractional_gates(self.name)
            self._with_fractional = found[0]
        return self._with_fractional

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
        kind: BatchMode = "session" if request.mode == "session" else "batch"
        own = self._fractional() if request.fractional_gates else self._backend
        mode = self._batch(batch, kind, request.fractional_gates) if batch else own
        options: dict[str, Any] = {**request.options}
        environment = options.get("environment", {})
        job_tags = [*environment.get("job_tags", []), *tags]
        options["environment"] = {**environment, "job_tags": job_tags}
        if max_seconds is not None:
            options["max_execution_time"] = max_seconds
        job = self._ask(
            lambda: make_primitive(request, mode, options)(),
            "to run a job",
            self._deadlines.send,
            label=tags[-1],
            sending=True,
        )
        return str(job.job_id())

    def leaving(self, tag: str) -> bool:
        """Whether a request that `send` gave up waiting for is still on its way."""
        return going_on(tag)

    def find(self, tag: str) -> list[RemoteJob]:
        """Return all jobs that carry a tag, oldest first."""
        listed = self._list(tag, pending=None)
        sure = any(job.tags for job in listed)
        found = [job if job.tags else self._with_tags(job, sure=sure) for job in listed]
        # The server might overlook the filter: only jobs that do carry the tag are ours.
        return [job for job in found if tag in job.tags]

    def pending(self, tag: str) -> set[str]:
        """Return the ids of the jobs under a tag that wait or run."""
        listed = self._list(tag, pending=True)
        return {job.id for job in listed if not job.tags or tag in job.tags}

    def _list(self, tag: str, pending: bool | None) -> list[RemoteJob]:
        """Return what the platform lists under a tag; what has no id cannot be told from nothing.

        Raises:
            UnclearError: It lists a job under this tag without its id.
        """
        entries = self._ask(
            lambda: all_pages(
                lambda limit, skip: self._client.jobs_get(
                    limit=limit, skip=skip, job_tags=[tag], pending=pending, descending=False
                )
            ),
            "for the list of jobs",
        )
        found = []
        for entry in entries:
            job_id = entry.get("id") if isinstance(entry, dict) else None
            tags = job_tags(entry) or ()
            if isinstance(job_id, str) and job_id:
                found.append(RemoteJob(job_id, tags, job_created(entry)))
            elif tag in tags:
                raise UnclearError(f"The platform lists a job under {tag} without its id. {LATER}")
        return found

    def _with_tags(self, job: RemoteJob, *, sure: bool) -> RemoteJob:
        """Return a job that is listed without tags with those that it says itself.

        Args:
            job: The job.
            sure: Whether the list has the tags of others: one of ours would have its own there.

        Raises:
            UnclearError: Nobody tells them, so that the job may be ours.
        """
        if job.id not in self._tags:
            try:
                tags = job_tags(self._raw(job.id))
            except VanishedError:
                tags = None
            if tags is None:
                if sure:
                    return job
                raise UnclearError(
                    f"The platform lists job {job.id} and does not tell its tags, so that it is "
                    f"unclear whose it is. {LATER}"
                )
            self._tags[job.id] = tags
        return replace(job, tags=self._tags[job.id])

    def _raw(self, job_id: str) -> dict[str, Any]:
        return self._ask(
            lambda: self._client.job_get(job_id=job_id), f"for the state of job {job_id}"
        )

    def job_status(self, job_id: str) -> RemoteJob:
        """Return a job in its present state.

        Raises:
            VanishedError: The platform does not know it.
            UnclearError: It tells no state.
        """
        # Not by the client's own `status`: it downloads the result of a failed job, and where that
        # fails the state, which it has already, is lost.
        job = self._raw(job_id)
        status, reason = job_state(job)
        if status == "ERROR" and reason is None:
            reason = self._last_words(job_id)
        return RemoteJob(
            job_id, job_tags(job) or (), "", status, reason if status == "ERROR" else None
        )

    def _last_words(self, job_id: str) -> str | None:
        """Return what a failed job left in place of a result, None where that cannot be had."""
        try:
            text = self._ask(
                lambda: self._client.job_results(job_id=job_id), f"why job {job_id} failed"
            )
        except HardwareError:
            return None
        return plain(text, MAX_REASON) or None if isinstance(text, str) else None

    def fetch(self, job_id: str, request: JobRequest) -> dict[str, np.ndarray]:
        """Return the result of a finished job as arrays by name.

        Raises:
            BadResultError: What came is no result of this request.
            UnclearError: It did not come in time.
        """
        # In two steps: what fails in the second was received and cannot be read.
        raw = self._ask(
            lambda: self._client.job_results(job_id=job_id),
            f"for the result of job {job_id}",
            self._deadlines.download,
        )
        return decoded_arrays(raw, request)

    def decode(self, received: str, request: JobRequest) -> dict[str, np.ndarray]:
        """Return the arrays of an answer to the request for a result; see `Device.decode`."""
        return decoded_arrays(received, request)

    def cancel(self, job_id: str) -> bool:
        """Cancel a job; False where it has ended already."""

        def cancelled() -> bool:
            try:
                self._client.job_cancel(job_id=job_id)
            except RequestsApiError as error:
                if error.status_code != _ENDED:
                    raise
                return False
            return True

        return self._ask(cancelled, f"to cancel job {job_id}")

    def charged(self, job_id: str) -> float | None:
        """Return the QPU seconds that a job was charged, None where not known yet."""
        try:
            metrics = self._ask(
                lambda: self._client.job_metadata(job_id=job_id), f"for the charge of job {job_id}"
            )
            charge = final_charge(metrics)
            if charge == 0 and job_state(self._raw(job_id))[0] == "DONE":
                return None  # what ran took time: this is not the last word
        except VanishedError:
            return None
        return charge

    # --- the account ----------------------------------------------------------------------------

    def remaining(self) -> float | None:
        """Return the QPU seconds that the account has left, None where it does not tell."""
        usage = self._ask(self._service.usage, "for the account's usage")
        return seconds_left(usage)

    # --- batches and sessions -------------------------------------------------------------------

    def open_batch(self, mode: BatchMode = "batch", max_seconds: int | None = None) -> str:
        """Open a batch or a session and return its id; see `Device.open_batch`.

        Raises:
            RefusedError: The account's plan has no sessions. Nothing was sent.
        """
        try:
            opened = self._ask(
                lambda: _KINDS[mode](backend=self._backend, max_time=max_seconds),
                f"to open a {mode}",
                sending=True,
            )
        except RefusedError as error:
            if mode != "session":
                raise
            raise RefusedError(
                f"{error} No job was sent. Some plans of the platform, as the open one, have no "
                "sessions: use another account and resume the run, or plan again in batch mode."
            ) from error
        if not opened.session_id:
            raise UnclearError(f"The platform opened a {mode} and gave no id. Resume the run.")
        self._batches[opened.session_id, False] = opened
        return str(opened.session_id)

    def _batch(self, batch: str, mode: BatchMode, fractional: bool = False) -> Session:
        """Return a batch or a session as the client knows it.

        Raises:
            BatchClosedError: The platform does not know it, or not any more. Nothing was sent.
        """
        key = batch, fractional
        if key not in self._batches:
            try:
                self._batches[key] = self._ask(
                    lambda: _KINDS[mode].from_id(
                        batch, service=self._service, use_fractional_gates=fractional
                    ),
                    f"for the {mode} of the run",
                )
            except (BatchClosedError, RefusedError, VanishedError) as error:
                closed = BatchClosedError(f"The {mode} of the run cannot be used any more: {error}")
                closed.sure = True
                raise closed from error
        return self._batches[key]

    def close_batch(self, batch: str, mode: BatchMode = "batch") -> None:
        """Let a batch or a session end once its jobs have."""
        self._ask(self._batch(batch, mode).close, f"to close a {mode}")
        for key in [key for key in self._batches if key[0] == batch]:
            del self._batches[key]

    def session_charged(self, session: str) -> float | None:
        """Return the seconds that a session was charged in all, None where not known yet."""
        what = f"for the charge of {session}"
        try:
            details = self._ask(lambda: self._client.session_details(session), what)
        except VanishedError:
            return None
        return session_charge(details)
