"""What the runner asks of a device, and what a device's result must hold."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from qiskit.primitives import BitArray, PrimitiveResult
from qiskit.primitives.containers.estimator_pub import EstimatorPub
from qiskit.primitives.containers.sampler_pub import SamplerPub
from qiskit.providers import BackendV2

from hardware.circuits.layer_noise import LayerNoise
from hardware.errors import BadResultError

#: States of a job on a device, each with a rank: of several jobs under one tag the lowest counts.
#: Any other state needs an explanation; the job counts as still under way.
STATES = {
    "DONE": 0, "RUNNING": 1, "QUEUED": 2, "INITIALIZING": 2, "UNKNOWN": 3,
    "ERROR": 4, "CANCELLED": 4,
}  # fmt: skip
#: States in which a job will give no result any more, and those that it never leaves.
USELESS = ("ERROR", "CANCELLED")
FINAL = ("DONE", *USELESS)

#: What several jobs are sent in.
BatchMode = Literal["batch", "session"]

#: Begins the id of a job whose request may have been taken by a device that cannot search for it.
UNSEEN = "unseen:"
#: Begins `RunRecord.instance` where a provider tells neither charges nor accounts.
PROVIDER = "provider:"

#: What the estimator measured at each of F noise factors, before it extrapolates.
BY_FACTOR = ("evs_noise_factors", "stds_noise_factors")

_FETCH = "The result was cut, changed or swapped: collect the run again to fetch it anew."


@dataclass(frozen=True, eq=False)
class JobRequest:
    """What one job asks of a device.

    Args:
        primitive: Which primitive runs it.
        pubs: ISA PUBs, as the primitive takes them.
        shots: Shots of every parameter set, for the sampler.
        precision: Target precision, for the estimator.
        options: Options of the primitive, nested as the client nests them.
        seed: Seed of local simulators; devices ignore it.
        mode: How the run's jobs are sent; None: in a batch where there are several.
        max_time: Time limit of their batch or session, seconds; None: the device's own.
        layer_noise: Learned noise of the PUBs' layers, for the estimator's PEC and PEA.
        fractional_gates: Whether the circuits have gates of any angle.
    """

    primitive: Literal["sampler", "estimator"]
    pubs: tuple[Any, ...]
    shots: int | None = None
    precision: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    mode: Literal["job", "batch", "session"] | None = None
    max_time: int | None = None
    layer_noise: tuple[LayerNoise, ...] = ()
    fractional_gates: bool = False

    @property
    def private(self) -> bool:
        """Whether the platform gives the result once and then deletes it."""
        return bool(self.options.get("environment", {}).get("private"))


@dataclass(frozen=True)
class RemoteJob:
    """A job on the platform, with the state that it was seen in."""

    id: str
    tags: tuple[str, ...]
    created: str  # sorts like time
    status: str = "QUEUED"
    reason: str | None = None

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in FINAL


@dataclass(frozen=True)
class Abilities:
    """What a device lets a run do. The platform and local devices do all of it.

    Args:
        searchable: Whether its jobs can be found by their tags, from any process. Where they
            cannot, a job that may have been taken is never sent again without the user's word.
        batches: Whether it takes batches of jobs.
        sessions: Whether it takes sessions; an account's own plan may still have none.
        client_options: Whether it takes the options and the estimator of the IBM client.
        warnings: Sentences on what it does not do, said when a run is submitted.
    """

    searchable: bool = True
    batches: bool = True
    sessions: bool = True
    client_options: bool = True
    warnings: tuple[str, ...] = ()


class Device(Protocol):
    """Where jobs are sent. All methods raise errors of `hardware.errors` only."""

    @property
    def name(self) -> str:
        """Name of the device, e.g. ``"ibm_fez"``."""

    @property
    def local(self) -> bool:
        """Whether it is simulated here and costs nothing."""

    @property
    def instance(self) -> str | None:
        """Hash of the account's instance that jobs go to, None for a local device.

        The same device through another account knows none of these jobs.
        """

    @property
    def abilities(self) -> Abilities:
        """What the device lets a run do."""

    @property
    def backend(self) -> BackendV2:
        """The backend whose calibration plans are made from."""

    @property
    def fractional_backend(self) -> BackendV2:
        """The same with the device's gates of any angle in its target.

        Raises:
            PlanError: The device has none.
        """

    def send(
        self, request: JobRequest, tags: Sequence[str], max_seconds: int | None, batch: str | None
    ) -> str:
        """Send a job under tags and return the platform's id of it.

        Raises:
            BusyError, RefusedError, BatchClosedError, AccountError: It was not accepted.
            UnclearError: It may have been accepted.
        """

    def leaving(self, tag: str) -> bool:
        """Whether a request that `send` gave up waiting for is still on its way, in this process.

        Args:
            tag: Its last tag.
        """

    def find(self, tag: str) -> list[RemoteJob]:
        """Return all jobs that carry a tag, oldest first; their states are not looked up."""

    def pending(self, tag: str) -> set[str]:
        """Return the ids of the jobs under a tag that wait or run."""

    def job_status(self, job_id: str) -> RemoteJob:
        """Return a job in its present state."""

    def fetch(self, job_id: str, request: JobRequest) -> dict[str, np.ndarray]:
        """Return the result of a finished job as arrays by name, see `result_arrays`.

        Raises:
            BadResultError: What came does not fit the request; see `BadResultError.received`.
        """

    def decode(self, received: str, request: JobRequest) -> dict[str, np.ndarray]:
        """Return the arrays of an answer that `fetch` received and could not read.

        Raises:
            BadResultError: It cannot be read now either.
        """

    def cancel(self, job_id: str) -> bool:
        """Cancel a job; False where it has ended already."""

    def charged(self, job_id: str) -> float | None:
        """Return the QPU seconds that a finished job was charged, None where not known yet."""

    def remaining(self) -> float | None:
        """Return the QPU seconds that the account has left, None where that is not known."""

    def open_batch(self, mode: BatchMode = "batch", max_seconds: int | None = None) -> str:
        """Open a batch or a session and return its id.

        Args:
            mode: Which of them.
            max_seconds: Its time limit; None: the device's own.
        """

    def close_batch(self, batch: str, mode: BatchMode = "batch") -> None:
        """Let a batch or a session end once its jobs have."""

    def session_charged(self, session: str) -> float | None:
        """Return the seconds that a session was charged in all, None where not known yet."""


def result_arrays(result: object, request: JobRequest) -> dict[str, np.ndarray]:
    """Return the arrays of a primitive's result by name.

    PUB i of a sampler gives ``"i/REGISTER"`` (uint8, shape (\\*sets, shots, bytes), as in Qiskit's
    `BitArray`) and ``"i/REGISTER/bits"``; of an estimator ``"i/evs"`` and ``"i/stds"``, and with
    ZNE ``"i/evs_noise_factors"`` and ``"i/stds_noise_factors"`` of shape (\\*shape, F).

    Raises:
        BadResultError: It does not fit the request; see `check_arrays`.
    """
    if not isinstance(result, PrimitiveResult) or len(result) != len(request.pubs):
        raise BadResultError(
            f"Expected the results of {len(request.pubs)} PUBs, got {_size(result)}. {_FETCH}"
        )
    arrays: dict[str, np.ndarray] = {}
    for index, pub in enumerate(result):
        for name, value in pub.data.items():
            if isinstance(value, BitArray):
                arrays[f"{index}/{name}"] = value.array
                arrays[f"{index}/{name}/bits"] = np.array(value.num_bits)
            elif name in ("evs", "stds", *BY_FACTOR):
                arrays[f"{index}/{name}"] = np.asarray(value, dtype=np.float64)
    check_arrays(arrays, request)
    return arrays


def _size(result: object) -> str:
    return f"{len(result)}" if isinstance(result, PrimitiveResult) else "something else"


def check_arrays(arrays: Mapping[str, np.ndarray], request: JobRequest) -> None:
    """Check registers, bits, parameter sets, shots and types of a result against its request.

    Twirling may run a few shots more than the request asks for: every random circuit gets the same
    number. Otherwise shots must be equal.

    Args:
        arrays: As `result_arrays` returns them.
        request: What was asked for.

    Raises:
        BadResultError: They do not fit: the answer was cut, changed or belongs to another job.
    """
    check = _check_counts if request.primitive == "sampler" else _check_estimates
    for index in range(len(request.pubs)):
        prefix = f"{index}/"
        check(
            {
                name.removeprefix(prefix): array
                for name, array in arrays.items()
                if name.startswith(prefix)
            },
            request,
            index,
        )


def _check_counts(arrays: Mapping[str, np.ndarray], request: JobRequest, index: int) -> None:
    pub = SamplerPub.coerce(request.pubs[index], request.shots)
    twirling = request.options.get("twirling", {})
    more = bool(twirling.get("enable_gates") or twirling.get("enable_measure"))
    names = {register.name for register in pub.circuit.cregs}
    found = {name for name in arrays if not name.endswith("/bits")}
    if found != names:
        raise _unfit(f"registers {_listed(names)}", _listed(found), index)
    for register in pub.circuit.cregs:
        array, name = arrays[register.name], f"register {register.name!r}"
        bits = arrays.get(f"{register.name}/bits")
        if bits is None or bits.size != 1 or int(bits) != register.size:
            raise _unfit(f"{register.size} bits in {name}", str(bits), index)
        if array.dtype != np.uint8 or array.ndim < 2:
            raise _unfit(f"packed bits in {name}", f"{array.dtype} of shape {array.shape}", index)
        if array.shape[:-2] != pub.shape:
            raise _unfit(f"parameter sets {pub.shape} in {name}", f"{array.shape[:-2]}", index)
        shots = array.shape[-2]
        if shots < pub.shots or (shots > pub.shots and not more):
            raise _unfit(f"{pub.shots} shots in {name}", f"{shots}", index)
        surplus = 8 * array.shape[-1] - register.size
        if not 0 <= surplus < 8 or (surplus and (array[..., 0] >> (8 - surplus)).any()):
            raise _unfit(f"outcomes of {register.size} bits in {name}", "longer ones", index)


def _check_estimates(arrays: Mapping[str, np.ndarray], request: JobRequest, index: int) -> None:
    shape = EstimatorPub.coerce(request.pubs[index], request.precision).shape
    for name in ("evs", "stds"):
        array = arrays.get(name)
        if array is None or array.dtype != np.float64 or array.shape != shape:
            got = "none" if array is None else f"{array.dtype} of shape {array.shape}"
            raise _unfit(f"{name} of shape {shape}", got, index)
    for name in BY_FACTOR:
        array = arrays.get(name)
        if array is not None and (array.dtype != np.float64 or array.shape[:-1] != shape):
            raise _unfit(f"{name} of shape {shape} and factors", f"{array.shape}", index)
    if any((arrays[name] < 0).any() for name in ("stds", BY_FACTOR[1]) if name in arrays):
        raise _unfit("standard errors of zero or more", "negative ones", index)


def _listed(names: Collection[str]) -> str:
    return ", ".join(sorted(names)[:4]) + (", …" if len(names) > 4 else "") or "none"


def _unfit(expected: str, got: str, index: int) -> BadResultError:
    return BadResultError(f"PUB {index}: expected {expected}, got {got[:80]}. {_FETCH}")


def bit_arrays(arrays: Mapping[str, np.ndarray], pub: int) -> dict[str, BitArray]:
    """Return the registers of a sampler's PUB from the arrays of `result_arrays`."""
    prefix = f"{pub}/"
    return {
        name.removeprefix(prefix): BitArray(array, int(arrays[f"{name}/bits"]))
        for name, array in arrays.items()
        if name.startswith(prefix) and f"{name}/bits" in arrays
    }
