"""The account on the IBM Quantum platform: its devices, their queues, its QPU time."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from qiskit_ibm_runtime import IBMBackend, QiskitRuntimeService

from hardware.devices.ibm.answers import seconds_left
from hardware.devices.ibm.calibration_cache import instance_digest
from hardware.devices.ibm.client import ask, guarded, open_service
from hardware.devices.ibm.device import PlatformDevice
from hardware.devices.ibm.loading import check_device_list, load_calibration
from hardware.devices.ibm.saved import SAVE, find_saved, is_crn, list_instances
from hardware.devices.login import Account
from hardware.devices.named import BEST, LEAST_BUSY
from hardware.errors import (
    AccountError,
    HardwareError,
    LoginServiceError,
    ServiceError,
    UnknownBackendError,
    did_you_mean,
)

T = TypeVar("T")

#: Seconds to wait for a list of devices: the client asks for each one's configuration.
_LISTING = 300.0
_logger = logging.getLogger(__name__)


def open_account(account: Account | None = None) -> QiskitRuntimeService:
    """Open the client on a saved account, or that of the environment.

    Args:
        account: Which one, and which of its instances; None: the client's default.

    Raises:
        NoAccountError: There is none.
        LoginServiceError: The login service failed.
        AccountError: There is no such account or instance, or the platform does not accept it.
    """
    account = account or Account()
    # It logs account names, and nothing that the errors raised here do not say.
    logging.getLogger("qiskit_ibm_runtime").setLevel(logging.ERROR)
    if account.name is not None or account.channel is not None:
        find_saved(account)  # where the channel has no account, the client takes another's
    try:
        return open_service(name=account.name, instance=account.instance, channel=account.channel)
    except LoginServiceError:
        raise
    except AccountError as error:
        _check_instance(account, error)
        raise type(error)(f"{error} Accounts are saved once, in Python: {SAVE}.") from error


def _check_instance(account: Account, error: AccountError) -> None:
    """Raise a better error where an account was refused because it has no such instance."""
    if account.instance is None:
        return
    try:
        known = list_instances(account)
    except HardwareError:
        return
    if account.instance in (*known, *known.values()):
        return
    names = sorted(set(known.values()))
    which = "with this CRN" if is_crn(account.instance) else repr(account.instance)
    raise AccountError(
        f"Your account has no instance {which}. It has {', '.join(names) or 'none'}."
        f"{did_you_mean(account.instance, names)}"
    ) from error


def matching_instance(service: QiskitRuntimeService, digest: str) -> str | None:
    """Return the CRN of the account's instance with this SHA-256, None where it has none.

    The client knows the account's instances since its login: nothing is asked.
    """
    crns = [str(each.get("crn")) for each in service.instances()]
    return next((crn for crn in crns if instance_digest(crn) == digest), None)


def platform_device(
    service: QiskitRuntimeService, name: str, instance: str | None = None
) -> PlatformDevice:
    """Open a device of the account; the error for a wrong name suggests the nearest right one.

    Args:
        service: The client.
        name: Name of the device.
        instance: CRN of the instance to reach it through; None: the client's choice.

    Raises:
        UnknownBackendError: The account has no such device.
    """
    try:
        return PlatformDevice(service, name, instance=instance)
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


def account_backends(service: QiskitRuntimeService, width: int) -> list[IBMBackend]:
    """Return the account's working devices of at least `width` qubits.

    Raises:
        UnknownBackendError: There is none.
        AccountError, ServiceError: The platform cannot be asked.
    """
    found = _listed(service, min_num_qubits=width, simulator=False, operational=True)
    if not found:
        raise UnknownBackendError(
            f"Your account has no working device of {width} qubits or more: try later, or use a "
            "narrower circuit."
        )
    return found


def _listed(service: QiskitRuntimeService, **filters: Any) -> list[IBMBackend]:
    """Return devices of the account; log which could not be read.

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
        _logger.warning("A device is left out. %s", error)
    return found


def calibrated(backends: Sequence[IBMBackend]) -> list[IBMBackend]:
    """Fetch the calibrations of devices and return those that have come; log which have not.

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
        _logger.warning("A device is not ranked. %s", failure)
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


def account_seconds(service: QiskitRuntimeService) -> float | None:
    """Return the QPU seconds that the account has left, None where it does not tell."""
    try:
        return seconds_left(_asked(service.usage, "for the account's usage"))
    except ServiceError:
        return None


def _asked(request: Callable[[], T], what: str, unheard: list[HardwareError] | None = None) -> T:
    with guarded():
        return ask(request, _LISTING, what, unheard=unheard)
