"""Where a run goes: devices by specification, and the ledger that knows them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from hardware.devices.base import Device
from hardware.devices.ibm.answers import seconds_left
from hardware.devices.ibm.client import ask, guarded, open_service
from hardware.devices.ibm.device import PlatformDevice, check_device_list, load_calibration
from hardware.devices.local import LocalDevice
from hardware.emulation.fake import local_device
from hardware.errors import (
    AccountError,
    HardwareError,
    LoginServiceError,
    ServiceError,
    UnknownBackendError,
    UnknownRunError,
    did_you_mean,
)
from hardware.ledger.database import default_path
from hardware.ledger.ledger import Ledger
from hardware.ledger.records import RunRecord
from hardware.planning.ranking import rank
from hardware.runs.policy import Policy
from hardware.workload import Workload
from qhead.commands.guard import complain
from qhead.commands.specs import DeviceSpec

if TYPE_CHECKING:
    from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService

T = TypeVar("T")

#: Names that stand for a choice among the account's devices.
LEAST_BUSY, BEST = "least_busy", "best"
#: Pace and patience of the commands.
POLICY = Policy()
#: Seconds to wait for a list of devices: the client asks for each one's configuration.
_LISTING = 300.0


def open_device(spec: DeviceSpec, workload: Workload) -> LocalDevice | PlatformDevice:
    """Open the device of a specification.

    Args:
        spec: Which one.
        workload: What is to run there, for ``ibm:least_busy`` and ``ibm:best``.

    Raises:
        AccountError: No account is saved, or the platform does not accept it.
        UnknownBackendError: The account has no such device, or none that the circuit fits on.
        ServiceError: The platform cannot be asked.
    """
    if spec.local:
        return local_device(spec.name)
    service = open_account()
    name = spec.name
    if name == LEAST_BUSY:
        name = least_busy(account_backends(service, workload.circuit.num_qubits))
    elif name == BEST:
        name = best(account_backends(service, workload.circuit.num_qubits), workload)
    return platform_device(service, name)


def device_of(run: RunRecord) -> LocalDevice | PlatformDevice:
    """Open the device that a run was planned for.

    Raises:
        AccountError, UnknownBackendError, ServiceError: As `open_device`.
    """
    if run.local:
        return local_device(run.device)
    return platform_device(open_account(), run.device)


def open_account() -> QiskitRuntimeService:
    """Open the client on the saved account.

    Raises:
        NoAccountError: There is none.
        LoginServiceError: The login service failed.
        AccountError: The platform does not accept it.
    """
    # It logs account names and has nothing to say that is not said here.
    logging.getLogger("qiskit_ibm_runtime").setLevel(logging.ERROR)
    try:
        return open_service()
    except LoginServiceError:
        raise
    except AccountError as error:
        raise type(error)(
            f"{error} Accounts are saved once, in Python: "
            "QiskitRuntimeService.save_account(token=…, instance=…)."
        ) from error


def platform_device(service: QiskitRuntimeService, name: str) -> PlatformDevice:
    """Open a device of the account; a wrong name is answered with the nearest right one.

    Raises:
        UnknownBackendError: The account has no such device.
    """
    try:
        return PlatformDevice(service, name)
    except UnknownBackendError as error:
        try:
            known = [backend.name for backend in _listed(service)]
        except HardwareError:
            raise error from None
        raise UnknownBackendError(
            f"Expected a device of your account ({', '.join(sorted(known)) or 'it has none'}), "
            f"ibm:{LEAST_BUSY} or ibm:{BEST}, got {name!r}."
            f"{did_you_mean(name, [*known, LEAST_BUSY, BEST])}"
        ) from error


def _listed(service: QiskitRuntimeService, **filters: Any) -> list[IBMBackend]:
    """Return devices of the account; say which could not be read.

    Raises:
        AccountError, ServiceError: The platform cannot be asked, or no device can be read.
    """
    unheard: list[HardwareError] = []
    found: list[IBMBackend] = _asked(
        lambda: service.backends(**filters), "for the list of devices", unheard
    )
    if unheard and not found:
        raise unheard[0]
    if not found:
        check_device_list(service)
    for error in unheard:
        complain("Note", f"a device is left out. {error}")
    return found


def account_backends(service: QiskitRuntimeService, width: int) -> list[IBMBackend]:
    """Return the account's working devices of at least `width` qubits.

    Raises:
        UnknownBackendError: There is none.
        AccountError, ServiceError: The platform cannot be asked.
    """
    found = _listed(service, min_num_qubits=width, simulator=False, operational=True)
    if not found:
        raise UnknownBackendError(
            f"Expected a working device of {width} qubits or more in your account, found none: "
            "try later, or a narrower circuit."
        )
    return found


def calibrated(backends: Sequence[IBMBackend]) -> list[IBMBackend]:
    """Fetch the calibrations of devices and return those that have come; say which have not.

    Raises:
        AccountError: The login is not accepted.
        ServiceError: None has come.
    """
    found: list[IBMBackend] = []
    failures: list[ServiceError] = []
    for backend in backends:
        try:
            load_calibration(backend)
        except ServiceError as error:
            failures.append(error)
        else:
            found.append(backend)
    if failures and not found:
        raise failures[0]
    for failure in failures:
        complain("Note", f"a device is not ranked. {failure}")
    return found


def waiting_jobs(backend: IBMBackend) -> int | None:
    """Return how many jobs wait at a device, None where the platform does not tell."""
    try:
        return _asked(lambda: int(backend.status().pending_jobs), f"how busy {backend.name} is")
    except ServiceError:
        return None


def least_busy(backends: Sequence[IBMBackend]) -> str:
    """Return the name of the device with the fewest waiting jobs, the first by name of equals."""
    waiting = {str(backend.name): waiting_jobs(backend) for backend in backends}

    def queue(name: str) -> float:
        number = waiting[name]
        return math.inf if number is None else number

    return min(sorted(waiting), key=queue)


def best(backends: Sequence[IBMBackend], workload: Workload) -> str:
    """Return the name of the device on whose best region the circuit errs least.

    Raises:
        UnknownBackendError: It fits on none.
        AccountError, ServiceError: No calibration could be fetched.
    """
    ranked = rank(workload, calibrated(backends))
    if not ranked:
        raise UnknownBackendError(
            f"Expected a device with {workload.circuit.num_qubits} connected working qubits in "
            "your account, found none: try later, or a narrower circuit."
        )
    return ranked[0].name


def remaining_seconds(device: Device) -> float | None:
    """Return the QPU seconds that the account has left, None where it does not tell."""
    try:
        return device.remaining()
    except ServiceError:
        return None


def account_seconds(service: QiskitRuntimeService) -> float | None:
    """Return the QPU seconds that the account has left, None where it does not tell."""
    try:
        return seconds_left(_asked(service.usage, "for the account's usage"))
    except ServiceError:
        return None


def _asked(request: Callable[[], T], what: str, unheard: list[HardwareError] | None = None) -> T:
    with guarded():
        return ask(request, _LISTING, what, unheard=unheard)


# --- the ledger -----------------------------------------------------------------------------------


@contextmanager
def existing_ledger(run_id: str) -> Iterator[Ledger]:
    """Open the ledger for a run in it; where there is no ledger, none is made.

    Raises:
        UnknownRunError: There is no ledger.
        LedgerError: It is newer, damaged or read-only.
    """
    path = default_path()
    if not path.exists():
        raise UnknownRunError(
            f"Expected a run of the ledger {path}, got {run_id!r}: there is no ledger yet. Runs "
            "begin with qhead submit; QHEAD_LEDGER names another ledger."
        )
    with Ledger(path) as ledger:
        yield ledger


@contextmanager
def naming_the_run() -> Iterator[None]:
    """Say which run a failure left in the ledger, so that it can be carried on."""
    try:
        yield
    except HardwareError as error:
        if (run_id := getattr(error, "run_id", None)) is not None:
            complain(
                "Note",
                f"run {run_id} is in the ledger as far as it went. qhead collect {run_id} carries "
                f"on later; qhead collect {run_id} --offline gives what has arrived.",
            )
        raise
