"""Any Qiskit `BackendV2` as a device: IonQ's, AQT's, IQM's and others, and simulators.

`device_of` is the way in. Qiskit's interface for providers is small: it runs bound circuits, tells
the state of a job by its id and returns counts. It knows no tags, no charges and no account. What
that means for a run is in `BackendDevice.abilities` and is said when the run is submitted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from qiskit.providers import BackendV2

from hardware.devices.asking import LATER, going_on, plain, within
from hardware.devices.backend_jobs import bound_circuits, counted, run_options
from hardware.devices.backends import no_fractional_gates
from hardware.devices.base import (
    PROVIDER,
    UNSEEN,
    Abilities,
    BatchMode,
    Device,
    JobRequest,
    RemoteJob,
    result_arrays,
)
from hardware.devices.local import LocalDevice
from hardware.errors import (
    BadResultError,
    EmulationError,
    HardwareError,
    InvalidInputError,
    RefusedError,
    UnclearError,
    VanishedError,
)

T = TypeVar("T")

#: Packages whose backends run in this process and cost nothing.
_SIMULATORS = (
    "qiskit_aer.",
    "qiskit.providers.basic_provider.",
    "qiskit.providers.fake_provider.",
)
#: Seconds to wait for a small answer, a submission and a result.
_ANSWER, _SENDING, _RESULT = 60.0, 900.0, 600.0


def device_of(backend: BackendV2, *, local: bool | None = None) -> Device:
    """Return a device for `hardware.plan` and `hardware.submit`.

    Args:
        backend: The backend, opened with its provider's own package.
        local: Whether it runs in this process and costs nothing. Its jobs then need no budget, and
            run when they are collected. None: Qiskit's own backends and Aer's are local, any other
            is taken for one that costs.

    Raises:
        InvalidInputError: It is no `BackendV2`, or one of the IBM platform.
    """
    if not isinstance(backend, BackendV2):
        raise InvalidInputError(f"Expected a BackendV2, got {type(backend).__name__}.")
    module = type(backend).__module__
    if module.startswith("qiskit_ibm_runtime.fake_provider"):
        return LocalDevice(backend)
    if module.startswith("qiskit_ibm_runtime"):
        raise InvalidInputError(
            f"{backend.name} belongs to the IBM platform, which has a target of its own: name "
            f"ibm:{backend.name}."
        )
    if local is None:
        local = any(each.__module__.startswith(_SIMULATORS) for each in type(backend).__mro__)
    if local:
        abilities = Abilities(client_options=False)
        return LocalDevice(backend, lambda request: _run_here(backend, request), abilities)
    return BackendDevice(backend)


def _run_here(backend: BackendV2, request: JobRequest) -> object:
    try:
        circuits = bound_circuits(backend, request)
        result = backend.run(circuits, **run_options(backend, request)).result()
        return counted(result, request)
    except HardwareError:
        raise
    except Exception as error:  # a simulator of anybody's may raise anything
        raise EmulationError(f"{backend.name} failed: {plain(str(error))}") from error


class BackendDevice:
    """A backend of a provider that charges; see `hardware.devices.base.Device`.

    A job is one call of ``backend.run``, with a circuit for each set of values. This process
    remembers what it sent; any other asks ``backend.retrieve_job`` by the job's id.

    Args:
        backend: The backend.
    """

    local = False

    def __init__(self, backend: BackendV2) -> None:
        self.backend = backend
        self._jobs: dict[str, Any] = {}  # jobs of this process, by the provider's id
        self._sent: dict[str, list[str]] = {}  # ids of jobs of this process, by tag

    @property
    def fractional_backend(self) -> BackendV2:
        """Refuse: such gates are an option of the platform's; here all gates are as they are.

        Raises:
            PlanError: Always.
        """
        raise no_fractional_gates(self.name)

    @property
    def name(self) -> str:
        """Name of the backend."""
        return str(self.backend.name)

    @property
    def instance(self) -> str:
        """Which provider's backend it is; the account behind it cannot be told."""
        kind = f"{type(self.backend).__module__}.{type(self.backend).__qualname__}:{self.name}"
        return PROVIDER + hashlib.sha256(kind.encode()).hexdigest()

    @property
    def abilities(self) -> Abilities:
        """What the provider lets a run do."""
        name = self.name
        warnings = [
            f"Jobs on {name} cannot be found by a tag. If it stays unclear whether one was taken, "
            "the job becomes unknown and is never sent again by itself, since it might be paid for "
            "twice; resume with resubmit_unknown once you have looked at the provider's own list.",
            f"{name} tells neither what a job was charged nor what the account has left. The "
            "budget limits estimates only: prices are the provider's.",
        ]
        if self._retrieve() is None:
            warnings.append(
                f"{name} does not give jobs back by their id: collect the run in this process, or "
                "its results are lost and its jobs become unknown."
            )
        return Abilities(
            searchable=False,
            batches=False,
            sessions=False,
            client_options=False,
            warnings=tuple(warnings),
        )

    # --- sending --------------------------------------------------------------------------------

    def send(
        self, request: JobRequest, tags: Sequence[str], max_seconds: int | None, batch: str | None
    ) -> str:
        """Send a job and return the provider's id of it; see `Device.send`.

        Neither tags nor the time limit reach the provider.

        Raises:
            RefusedError: The request cannot be put to it. Nothing was sent.
            UnclearError: It failed; whether it took the job is not known.
        """
        circuits = bound_circuits(self.backend, request)

        def run() -> str:
            job = self.backend.run(circuits, **run_options(self.backend, request))
            job_id = str(job.job_id() or "")
            if job_id:
                self._jobs[job_id] = job
                for tag in tags:
                    self._sent.setdefault(tag, []).append(job_id)
            return job_id

        job_id = self._ask(run, "to run a job", _SENDING, tags[-1])
        if not job_id:
            raise UnclearError(f"{self.name} took a job and gave no id of it.")
        return job_id

    def _ask(
        self,
        request: Callable[[], T],
        what: str,
        seconds: float = _ANSWER,
        label: str | None = None,
    ) -> T:
        try:
            return within(request, seconds, what, label)
        except HardwareError:
            raise
        except Exception as error:  # each provider's package raises classes of its own
            said = plain(str(error))
            raise UnclearError(
                f"{self.name} was asked {what} and failed ({type(error).__name__}"
                f"{f': {said}' if said else ''}). {LATER}"
            ) from error

    def leaving(self, tag: str) -> bool:
        """Whether a request that `send` gave up waiting for is still on its way."""
        return going_on(tag)

    def find(self, tag: str) -> list[RemoteJob]:
        """Return the jobs that this process sent under a tag; the provider cannot search."""
        return [RemoteJob(job_id, (tag,), "") for job_id in self._sent.get(tag, ())]

    def pending(self, tag: str) -> set[str]:
        """Return nothing: the provider cannot list jobs by tag."""
        return set()

    # --- jobs that were sent --------------------------------------------------------------------

    def _retrieve(self) -> Callable[[str], Any] | None:
        """Return what gives a job back by its id, None where the provider's package has nothing."""
        for owner in (self.backend, getattr(self.backend, "provider", None)):
            if callable(found := getattr(owner, "retrieve_job", None)):
                return found
        return None

    def _job(self, job_id: str) -> Any:
        if job_id not in self._jobs:
            retrieve = self._retrieve()
            if job_id.startswith(UNSEEN) or retrieve is None:
                raise VanishedError(
                    f"{self.name} cannot be asked for job {job_id}: another process sent it."
                )
            self._jobs[job_id] = self._ask(lambda: retrieve(job_id), f"for job {job_id}")
        return self._jobs[job_id]

    def job_status(self, job_id: str) -> RemoteJob:
        """Return a job in its present state.

        Raises:
            VanishedError: Another process sent it, and the provider gives no jobs back.
            UnclearError: The provider failed.
        """
        try:
            job = self._job(job_id)
        except UnclearError as error:
            if _is_failure(error):
                return RemoteJob(job_id, (), "", "ERROR", str(error))
            raise
        what, said = f"for the state of job {job_id}", None
        try:
            state = self._ask(job.status, what)
        except UnclearError as error:
            # Some packages raise a job's failure, and tell its state when they are asked again.
            state, said = self._ask(job.status, what), str(error)
        status = str(getattr(state, "name", state)).upper()
        status = "QUEUED" if status == "VALIDATING" else status
        reason = (said or self._why(job, job_id)) if status == "ERROR" else None
        return RemoteJob(job_id, (), "", status, reason)

    def _why(self, job: Any, job_id: str) -> str | None:
        """Return why a job failed, None where the provider does not say."""
        tell = getattr(job, "error_message", None)
        if not callable(tell):
            return None
        try:
            return plain(str(self._ask(tell, f"why job {job_id} failed") or "")) or None
        except UnclearError:
            return None

    def fetch(self, job_id: str, request: JobRequest) -> dict[str, np.ndarray]:
        """Return the result of a finished job as arrays by name.

        Raises:
            BadResultError: What came is no result of this request.
            UnclearError: It did not come.
        """
        job = self._job(job_id)
        result = self._ask(job.result, f"for the result of job {job_id}", _RESULT)
        return result_arrays(counted(result, request), request)

    def decode(self, received: str, request: JobRequest) -> dict[str, np.ndarray]:
        """Refuse: the provider's own package reads its answers."""
        raise BadResultError("The provider's package reads its answers: collect the run again.")

    def cancel(self, job_id: str) -> bool:
        """Cancel a job; False where it has ended already.

        Raises:
            RefusedError: The provider cannot.
        """
        job = self._job(job_id)
        if self.job_status(job_id).final:
            return False
        if not callable(getattr(job, "cancel", None)):
            raise RefusedError(f"{self.name} cannot cancel jobs: {job_id} runs to its end.")
        return self._ask(job.cancel, f"to cancel job {job_id}") is not False

    def charged(self, job_id: str) -> float | None:
        """Return None: the provider's interface does not tell."""
        return None

    def remaining(self) -> float | None:
        """Return None: the provider's interface does not tell."""
        return None

    def open_batch(self, mode: BatchMode = "batch", max_seconds: int | None = None) -> str:
        """Refuse: there are no batches and no sessions.

        Raises:
            RefusedError: Always.
        """
        raise RefusedError(f"{self.name} has no batches and no sessions.")

    def close_batch(self, batch: str, mode: BatchMode = "batch") -> None:
        """Do nothing: there are none."""

    def session_charged(self, session: str) -> float | None:
        """Return None: there are none."""
        return None


def _is_failure(error: UnclearError) -> bool:
    """Whether a package gave the failure of a job in place of the job, as IonQ's does."""
    return type(error.__cause__).__name__.endswith("JobFailureError")
