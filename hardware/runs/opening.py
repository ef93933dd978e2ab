"""Open the device that a user names or that a run was planned for: kind → what opens it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from operator import attrgetter
from typing import Any

from qiskit.providers import BackendV2

from hardware.devices.asking import plain
from hardware.devices.base import Device
from hardware.devices.local import LocalDevice
from hardware.devices.named import (
    BEST,
    LEAST_BUSY,
    NamedDevice,
    installed_kinds,
    is_device,
    parse_device,
)
from hardware.emulation.fake import local_device
from hardware.errors import (
    HardwareError,
    RunStateError,
    UnknownBackendError,
    UnknownTargetError,
)
from hardware.planning.ranking import rank
from hardware.runs.offline import chosen_by, open_cached
from hardware.runs.permission import OTHER_INSTANCE
from hardware.workload import Workload


def open_device(named: NamedDevice, workload: Workload | None = None) -> Device:
    """Open a device.

    Args:
        named: Which one. One that is offline can be planned for, and nothing else.
        workload: What is to run there; ``ibm:least_busy`` and ``ibm:best`` choose by it.

    Raises:
        AccountError: No account is saved, the platform does not accept it, or it has no such
            instance.
        RunStateError: The account does not have the instance that a run was sent through.
        UnknownBackendError: The account has no such device, or none that the circuit fits on.
        ServiceError: The platform cannot be asked.
    """
    if named.kind in OPENERS:
        return OPENERS[named.kind](named, workload)
    entry = installed_kinds().get(named.kind)
    if entry is None:
        raise UnknownTargetError(f"No installed package opens devices of the kind {named.kind!r}.")
    return _made(entry.load, f"{named.kind}:{named.name}", named.name)


def named_device(target: str, device: str, *, local: bool) -> NamedDevice:
    """Return the device that a plan or a run was made for.

    Args:
        target: The specification that it carries, e.g. ``"ibm:ibm_fez:4096"``.
        device: The device's own name, e.g. ``"ibm_fez"``.
        local: Whether it is simulated here, for specifications of no known kind.

    Raises:
        UnknownTargetError: Nothing here can open a device of this kind.
    """
    kind = target.partition(":")[0]
    if kind in ("fake", "ibm"):
        return NamedDevice(kind, device)
    if is_device(target):
        with suppress(UnknownTargetError):  # where a device was given, its plans name no function
            return replace(parse_device(target), shots=None)
    if local and kind not in OPENERS:
        return NamedDevice("fake", device)
    raise UnknownTargetError(
        f"Cannot open {device} from {target!r}: give the device itself, device=…."
    )


def _fake(named: NamedDevice, workload: Workload | None) -> LocalDevice:
    return local_device(named.name)


def _ibm(named: NamedDevice, workload: Workload | None) -> Device:
    if named.offline:
        return open_cached(named, workload)
    # Imported here: the platform's client takes a second.
    from hardware.devices.ibm.account import (
        account_backends,
        calibrated,
        least_busy,
        matching_instance,
        open_account,
        platform_device,
    )

    service, name, crn = open_account(named.account), named.name, None
    if named.instance is not None:
        crn = matching_instance(service, named.instance)
        if crn is None:
            raise RunStateError(f"The run {OTHER_INSTANCE}")
    if name in (LEAST_BUSY, BEST):
        workload = chosen_by(workload, name)
        width = workload.circuit.num_qubits
        backends = account_backends(service, width)
        if name == LEAST_BUSY:
            name = least_busy(backends)
        else:
            ranked = rank(workload, calibrated(backends))
            if not ranked:
                raise UnknownBackendError(
                    f"No device of your account has {width} connected working qubits: try later, "
                    "or use a narrower circuit."
                )
            name = ranked[0].name
    return platform_device(service, name, crn)


def _backend(named: NamedDevice, workload: Workload | None) -> Device:
    """Open what a Python function returns: imports and runs that module's code."""
    module, _, path = named.name.partition(":")
    return _made(lambda: attrgetter(path)(import_module(module)), f"backend:{named.name}")


def _made(load: Callable[[], Any], spec: str, *arguments: str) -> Device:
    """Return what somebody's function makes as a device.

    Raises:
        UnknownBackendError: It cannot be imported, fails, or returns something else.
    """
    # Imported here: Qiskit's transpiler takes a second.
    from hardware.devices.backend import device_of

    try:
        found = load()(*arguments)
    except HardwareError:
        raise
    except Exception as error:  # code of anybody's may raise anything
        said = plain(str(error))
        raise UnknownBackendError(
            f"{spec} cannot be opened: {type(error).__name__}{f': {said}' if said else ''}. Its "
            "module must be importable (see PYTHONPATH), and its function must take "
            f"{'the name alone' if arguments else 'no arguments'}."
        ) from error
    if isinstance(found, BackendV2):
        return device_of(found)
    if callable(getattr(found, "send", None)) and callable(getattr(found, "fetch", None)):
        return found
    raise UnknownBackendError(
        f"Expected a BackendV2 or a device from {spec}, got {type(found).__name__}."
    )


#: A provider is a row here, a row of `hardware.devices.named.DEVICES` and a file in
#: `hardware/devices/`.
OPENERS: Mapping[str, Callable[[NamedDevice, Workload | None], Device]] = {
    "fake": _fake,
    "ibm": _ibm,
    "backend": _backend,
}
