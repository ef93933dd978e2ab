"""Devices that can be named as targets: local fakes and those of the account."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from qiskit.providers import BackendV2

from hardware.devices.backends import fake_backend, fake_names
from hardware.devices.login import Account
from hardware.errors import AccountError, NoAccountError, ServiceError, UnknownBackendError
from hardware.planning.ranking import RankedBackend, rank
from hardware.runs.offline import cached_devices
from hardware.workload import Workload

#: Called as devices are ranked, with how many are done and how many there are.
OnRanked = Callable[[int, int], None]
#: Fields of a rank that the device's own record has under another name, or does not tell.
_NAMED = ("name", "notes")


@dataclass(frozen=True)
class ListedDevice:
    """One device of a list.

    Args:
        target: Its specification as a target, e.g. ``"ibm:ibm_fez"``.
        num_qubits: Qubits of the chip.
        rank: The error of a circuit there; None without a workload or a calibration.
        queue: Jobs that wait there; None for fakes, or where the account does not tell.
        calibrated_at: Date of a calibration that was kept on this machine, UTC; None: another's.
    """

    target: str
    num_qubits: int
    rank: RankedBackend | None = None
    queue: int | None = None
    calibrated_at: datetime | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the device, JSON-able."""
        record: dict[str, Any] = {
            "target": self.target,
            "num_qubits": self.num_qubits,
            "queue": self.queue,
        }
        if self.calibrated_at is not None:
            record["calibrated_at"] = self.calibrated_at.isoformat()
        if self.rank is not None:
            fields = asdict(self.rank)
            record |= {"calibration": fields.pop("calibration_id")}
            record |= {name: v for name, v in fields.items() if name not in {*record, *_NAMED}}
        return record


def list_account(
    workload: Workload | None = None,
    on_ranked: OnRanked | None = None,
    chosen: Account | None = None,
) -> tuple[list[ListedDevice], float | None]:
    """Return the devices of the account and the QPU seconds that it has left, if it tells.

    Args:
        workload: Rank by its circuit; devices that it does not fit on are left out.
        on_ranked: Called after each device.
        chosen: Which account and instance of the platform; None: the client's default.

    Raises:
        AccountError, ServiceError: The platform cannot be asked.
        UnknownBackendError: There is no working device of enough qubits.
    """
    # Imported here: the platform's client takes a second.
    from hardware.devices.ibm import account

    service = account.open_account(chosen)
    width = 1 if workload is None else workload.circuit.num_qubits
    backends = account.account_backends(service, width)
    queues = {str(backend.name): account.waiting_jobs(backend) for backend in backends}
    usable = backends if workload is None else account.calibrated(backends)
    ranked = [(str(backend.name), each) for backend, each in _ranked(usable, workload, on_ranked)]
    unknown = [(str(backend.name), None) for backend in backends if backend not in usable]
    qubits = {str(backend.name): backend.configuration().n_qubits for backend in backends}
    listed = [
        ListedDevice(f"ibm:{name}", qubits[name], each, queues[name])
        for name, each in (*ranked, *unknown)
    ]
    return listed, account.account_seconds(service)


def list_cached(
    workload: Workload | None = None,
    on_ranked: OnRanked | None = None,
    chosen: Account | None = None,
) -> tuple[list[ListedDevice], list[str]]:
    """Return the devices whose calibrations are kept here, and sentences on files of no use.

    Makes no network call; the arguments are those of `list_account`.

    Raises:
        AccountError: No account has this name.
        UnknownBackendError: No calibration is kept.
    """
    found, troubles = cached_devices(chosen or Account())
    dates = {each.name: each.calibrated_at for each in found}
    listed = [
        ListedDevice(
            f"ibm:{backend.name}", backend.num_qubits, each, None, dates[str(backend.name)]
        )
        for backend, each in _ranked([each.backend for each in found], workload, on_ranked)
    ]
    return listed, troubles


def list_fakes(
    workload: Workload | None = None, on_ranked: OnRanked | None = None
) -> list[ListedDevice]:
    """Return the fakes on this machine; the arguments are those of `list_account`."""
    with warnings.catch_warnings():
        # Said of a chip whose fake is there to try its shape: not for our users.
        warnings.filterwarnings("ignore", "Properties of .* are not intended", UserWarning)
        backends = [fake_backend(name) for name in fake_names()]
    return [
        ListedDevice(f"fake:{str(backend.name).removeprefix('fake_')}", backend.num_qubits, each)
        for backend, each in _ranked(backends, workload, on_ranked)
    ]


@dataclass(frozen=True)
class DeviceList:
    """Devices that can be named as targets.

    Args:
        devices: Ranked where there is a workload, the least error first.
        remaining: QPU seconds that the account has left; None where it does not tell.
        trouble: Why the account's devices are missing; None where they are not.
        notes: Sentences on calibrations that are kept and cannot be used.
    """

    devices: tuple[ListedDevice, ...]
    remaining: float | None = None
    trouble: AccountError | ServiceError | UnknownBackendError | None = None
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether an account that is there could not be asked: the list has a hole."""
        expected = (NoAccountError, UnknownBackendError)
        return self.trouble is not None and not isinstance(self.trouble, expected)


def list_devices(
    workload: Workload | None = None,
    on_ranked: OnRanked | None = None,
    *,
    account: Account | None = None,
    fakes_only: bool = False,
    offline: bool = False,
) -> DeviceList:
    """Return the account's devices and the fakes; without an account the fakes alone.

    Args:
        workload: Rank by its circuit; devices that it does not fit on are left out.
        on_ranked: Called after each device of the account, then after each fake.
        account: Which account and instance of the platform; None: the client's default.
        fakes_only: List no other devices; makes no network call.
        offline: Make no network call: list the account's devices whose calibrations are kept.

    Raises:
        InvalidInputError: An account for fakes alone.
    """
    listed: list[ListedDevice] = []
    notes: list[str] = []
    left, trouble = None, None
    if fakes_only and account is not None:
        account.check_needed("fake:NAME")
    if not fakes_only:
        try:
            if offline:
                listed, notes = list_cached(workload, on_ranked, account)
            else:
                listed, left = list_account(workload, on_ranked, account)
        except (AccountError, ServiceError, UnknownBackendError) as error:
            trouble = error
    listed += list_fakes(workload, on_ranked)
    if workload is not None:
        listed.sort(key=by_error)
    return DeviceList(tuple(listed), left, trouble, tuple(notes))


def by_error(listed: ListedDevice) -> tuple[float, str]:
    """Return what sorts devices: the least error first, those without a rank last."""
    return (math.inf if listed.rank is None else listed.rank.expected_error, listed.target)


def _ranked(
    backends: Sequence[BackendV2], workload: Workload | None, on_ranked: OnRanked | None
) -> Iterator[tuple[BackendV2, RankedBackend | None]]:
    """Yield backends with their ranks; those that the circuit does not fit on are left out."""
    if workload is None:
        yield from ((backend, None) for backend in backends)
        return
    for done, backend in enumerate(backends, start=1):
        for ranked in rank(workload, [backend]):
            yield backend, ranked
        if on_ranked is not None:
            on_ranked(done, len(backends))
