"""Open a device of the platform from the calibration that is kept of it; no network calls."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hardware.devices.cached import CachedDevice
from hardware.devices.login import Account
from hardware.devices.named import BEST, NamedDevice
from hardware.errors import (
    NoAccountError,
    UnknownBackendError,
    UnknownTargetError,
    did_you_mean,
)
from hardware.planning.ranking import rank
from hardware.words import counted
from hardware.workload import Workload

if TYPE_CHECKING:
    from hardware.devices.ibm.calibration_cache import CachedCalibration

#: Minutes by which the clocks of this machine and of the platform may differ.
_CLOCKS_DIFFER = 5


def chosen_by(workload: Workload | None, name: str) -> Workload:
    """Return the workload that ``ibm:best`` or ``ibm:least_busy`` is chosen by.

    Raises:
        UnknownTargetError: There is none.
    """
    if workload is None:
        raise UnknownTargetError(
            f"ibm:{name} is chosen by a circuit: give a workload, or name a device."
        )
    return workload


def open_cached(named: NamedDevice, workload: Workload | None = None) -> CachedDevice:
    """Return a device with the calibration that was fetched last through the account's instance.

    Where neither the account nor the environment names an instance, any instance's counts: the
    chip is the same.

    Raises:
        UnknownBackendError: No calibration of it is kept, or no device that the circuit fits on.
        AccountError: No account has this name.
    """
    # Imported here: the platform's client takes a second.
    from hardware.devices.ibm.calibration_cache import calibration_folder, read_calibrations

    best = named.name == BEST
    found, troubles = read_calibrations(None if best else named.name)
    found = _of_instance(found, named.account)
    if not found:
        kept = sorted({each.name for each in _of_instance(read_calibrations()[0], named.account)})
        raise UnknownBackendError(
            f"No calibration of {'any device' if best else named.name} is kept in "
            f"{_short(calibration_folder())} for this account"
            + (f"; there are {', '.join(kept)}.{did_you_mean(named.name, kept)}" if kept else ".")
            + " Plan once online: every calibration that is fetched is kept."
            + "".join(f" {trouble}" for trouble in troubles)
        )
    chosen, remarks = found[0], []
    if best:
        chosen, remark = _best(found, chosen_by(workload, BEST))
        remarks.append(remark)

    def device(each: CachedCalibration, fractional: CachedDevice | None = None) -> CachedDevice:
        said = (_age(each), *remarks, *troubles)
        return CachedDevice(each.backend, each.instance, said, fractional)

    with_angles, more = read_calibrations(chosen.name, fractional=True)
    troubles += more
    same = [each for each in with_angles if each.instance == chosen.instance]
    return device(chosen, device(same[0]) if same else None)


def _of_instance(found: list[CachedCalibration], account: Account) -> list[CachedCalibration]:
    """Return the calibrations that were fetched through the instance that an account means."""
    from hardware.devices.ibm.calibration_cache import instance_digest
    from hardware.devices.ibm.saved import find_saved

    try:
        saved = find_saved(account).instance
    except NoAccountError:
        saved = None
    instance = account.instance or saved
    if instance is None or instance == "auto":
        return found
    wanted = instance_digest(instance)
    return [each for each in found if wanted in (each.instance, each.label)]


def cached_devices(account: Account) -> tuple[list[CachedCalibration], list[str]]:
    """Return the devices whose calibrations are kept, and sentences on files that cannot be used.

    Args:
        account: Which account and instance they were fetched through, as for `open_cached`.

    Raises:
        AccountError: No account has this name.
        UnknownBackendError: No calibration is kept.
    """
    # Imported here: the platform's client takes a second.
    from hardware.devices.ibm.calibration_cache import calibration_folder, read_calibrations

    found, troubles = read_calibrations()
    latest = _latest(_of_instance(found, account))
    if not latest:
        raise UnknownBackendError(
            f"No calibration is kept in {_short(calibration_folder())} for this account. Plan once "
            "online: every calibration that is fetched is kept."
            + "".join(f" {trouble}" for trouble in troubles)
        )
    return [latest[name] for name in sorted(latest)], troubles


def _latest(found: list[CachedCalibration]) -> dict[str, CachedCalibration]:
    """Return the calibration of each device that was fetched last, by name."""
    latest: dict[str, CachedCalibration] = {}
    for each in found:
        latest.setdefault(each.name, each)
    return latest


def _best(found: list[CachedCalibration], workload: Workload) -> tuple[CachedCalibration, str]:
    latest = _latest(found)
    ranked = rank(workload, [each.backend for each in latest.values()])
    if not ranked:
        raise UnknownBackendError(
            f"None of the devices whose calibrations are kept ({', '.join(sorted(latest))}) has "
            f"{workload.circuit.num_qubits} connected working qubits: use a narrower circuit."
        )
    remark = f"Chosen among the cached devices only: {', '.join(sorted(latest))}."
    return latest[ranked[0].name], remark


def calibration_age(calibrated_at: datetime) -> str:
    """Return how old a calibration is, or that its date lies in the future, as words."""
    minutes = int((datetime.now(UTC) - calibrated_at).total_seconds() // 60)
    if minutes < -_CLOCKS_DIFFER:
        return "a date that lies in the future"
    minutes = max(minutes, 0)
    if minutes < 60:
        old = counted(minutes, "minute")
    elif minutes < 48 * 60:
        old = counted(minutes // 60, "hour")
    else:
        old = counted(minutes // (24 * 60), "day")
    return f"{old} old"


def _age(chosen: CachedCalibration) -> str:
    """Return how old a calibration is, and where it is from."""
    return (
        f"Made offline from {chosen.name}'s calibration of {_date(chosen.calibrated_at)}, "
        f"{calibration_age(chosen.calibrated_at)}, fetched {_date(chosen.fetched_at)} and kept as "
        f"{_short(chosen.path)}. The device may have been calibrated again since."
    )


def _date(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _short(path: Path) -> str:
    """Return a path as a shell writes it, without the user's name."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except ValueError:
        return str(path)
