"""A fake device that runs where the ledger is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from qiskit.providers import BackendV2

from hardware.devices.backends import fractional_fake
from hardware.devices.base import Abilities, BatchMode, JobRequest, RemoteJob, result_arrays
from hardware.devices.ibm.primitives import make_primitive
from hardware.errors import BadResultError

Execute = Callable[[JobRequest], object]


class LocalDevice:
    """A fake device on this machine, sent to and collected from like a real one.

    The ledger is its queue: a sent job is executed when its result is fetched, so that nothing is
    lost with the process that sent it, and equal requests give equal results.

    Args:
        backend: The fake backend.
        execute: Runs a request and returns the primitive's result; the client's own primitives in
            local mode by default.
        abilities: What `execute` takes; all that the client does by default.
    """

    local = True
    instance = None

    def __init__(
        self,
        backend: BackendV2,
        execute: Execute | None = None,
        abilities: Abilities | None = None,
    ) -> None:
        self.backend = backend
        self.abilities = abilities or Abilities()
        self._execute = execute or (lambda request: run_locally(request, backend))

    @property
    def fractional_backend(self) -> BackendV2:
        """The fake backend with the gates of any angle that its calibration holds.

        Raises:
            PlanError: It holds none.
        """
        return fractional_fake(self.backend)

    @property
    def name(self) -> str:
        """Name of the fake backend."""
        return str(self.backend.name)

    def send(
        self, request: JobRequest, tags: Sequence[str], max_seconds: int | None, batch: str | None
    ) -> str:
        """Take a job: its id follows from its last tag."""
        return f"local:{tags[-1]}"

    def leaving(self, tag: str) -> bool:
        """Return False: a local job is taken at once."""
        return False

    def find(self, tag: str) -> list[RemoteJob]:
        """Return nothing: a job that was never noted as sent costs nothing to send again."""
        return []

    def pending(self, tag: str) -> set[str]:
        """Return nothing: each job is ready to be fetched."""
        return set()

    def job_status(self, job_id: str) -> RemoteJob:
        """Return the job, ready to be fetched."""
        return RemoteJob(job_id, (), "", "DONE")

    def fetch(self, job_id: str, request: JobRequest) -> dict[str, np.ndarray]:
        """Execute the job and return its arrays."""
        return result_arrays(self._execute(request), request)

    def decode(self, received: str, request: JobRequest) -> dict[str, np.ndarray]:
        """Refuse: a local job leaves no answer."""
        raise BadResultError("A local job leaves no answer to read: collect the run again.")

    def cancel(self, job_id: str) -> bool:
        """Cancel the job: it will not be executed."""
        return True

    def charged(self, job_id: str) -> float | None:
        """Return zero: local jobs cost nothing."""
        return 0.0

    def remaining(self) -> float | None:
        """Return None: there is no account."""
        return None

    def open_batch(self, mode: BatchMode = "batch", max_seconds: int | None = None) -> str:
        """Return the name of a batch, which means nothing here."""
        return "local"

    def close_batch(self, batch: str, mode: BatchMode = "batch") -> None:
        """Do nothing."""

    def session_charged(self, session: str) -> float | None:
        """Return zero: nothing is charged here."""
        return 0.0


def run_locally(request: JobRequest, backend: BackendV2) -> object:
    """Run a request with the client's primitives in local mode and return its result."""
    options = {**request.options}
    simulator = {**options.get("simulator", {})}
    if request.seed is not None:
        simulator["seed_simulator"] = request.seed
    if request.layer_noise:
        # The fake has noise of its own, and the client would add the learned noise to it.
        simulator["layer_noise_model"] = []
    if simulator:
        options["simulator"] = simulator
    return make_primitive(request, backend, options)().result()
