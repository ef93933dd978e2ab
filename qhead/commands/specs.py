"""Devices as the user names them.

Light: nothing here asks anybody or imports the platform's client before it has to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hardware.checks import MAX_SHOTS, check_shots
from hardware.devices.backends import fake_name, fake_names
from hardware.errors import (
    BudgetError,
    InvalidInputError,
    UnknownTargetError,
    did_you_mean,
)

#: Specifications of devices, by kind.
DEVICES = {"fake": "fake:NAME[:SHOTS]", "ibm": "ibm:NAME[:SHOTS]"}


@dataclass(frozen=True)
class DeviceSpec:
    """A device as the user named it.

    Args:
        kind: A fake on this machine, or a device of the platform.
        name: Its name, e.g. ``"fez"``, ``"ibm_fez"`` or ``"least_busy"``.
        shots: Shots that the specification asks for, None where it does not.
    """

    kind: Literal["fake", "ibm"]
    name: str
    shots: int | None = None

    @property
    def local(self) -> bool:
        """Whether it is simulated here and costs nothing."""
        return self.kind == "fake"

    def canonical(self, name: str, shots: int) -> str:
        """Return the specification of the device that was found."""
        return f"{self.kind}:{name}:{shots}"


def is_device(target: str) -> bool:
    """Return whether a target is planned and ledgered rather than emulated at once."""
    return target.strip().partition(":")[0] in DEVICES


def parse_device(target: str) -> DeviceSpec:
    """Return the device of a specification: ``fake:fez``, ``ibm:ibm_fez:2000``, ``ibm:best``.

    Raises:
        UnknownTargetError: It names no device.
        UnknownBackendError: No fake backend has the name.
        InvalidInputError: Shots below one, or too many.
    """
    kind, _, rest = target.strip().partition(":")
    fields = rest.split(":")
    hint = f" Did you mean 'fake:{rest}'?" if kind == "aer" else did_you_mean(kind, DEVICES)
    if kind not in DEVICES or len(fields) > 2 or not all(fields):
        raise UnknownTargetError(
            f"Expected a device, {' or '.join(DEVICES.values())}, got {target!r}.{hint} "
            f"Fakes are, e.g., {', '.join(fake_names()[:6])}; `qhead backends` lists all."
        )
    shots = None
    if len(fields) == 2:
        if not fields[1].isdecimal():
            raise UnknownTargetError(
                f"Expected a whole number of shots, got {fields[1]!r} in {target!r}."
            )
        # Python reads no number of thousands of digits; none of them would be a number of shots.
        if len(digits := fields[1].lstrip("0")) > len(str(MAX_SHOTS)):
            raise InvalidInputError(
                f"Expected at most {MAX_SHOTS:,} shots, got a number of {len(digits)} digits."
            )
        shots = check_shots(int(digits or "0"), where=f" in {target!r}")
    if kind == "fake":
        return DeviceSpec("fake", fake_name(fields[0]), shots)
    return DeviceSpec("ibm", fields[0], shots)


def check_budget(spec: DeviceSpec, budget: float | None) -> None:
    """Refuse a budget that no plan could keep, before anything else is done.

    Raises:
        BudgetError: None for a real device, or one that is negative or no number.
    """
    if budget is None and not spec.local:
        raise BudgetError(
            "Expected a budget in QPU seconds for a real device, got none. `qhead plan` tells what "
            "the run needs; give --budget SECONDS of at least that."
        )
    check_seconds(budget)


def check_seconds(budget: float | None) -> None:
    """Raise a `BudgetError` for a budget that is negative or no number."""
    if budget is not None and (not math.isfinite(budget) or budget < 0):
        raise BudgetError(f"Expected a budget of zero or more QPU seconds, got {budget}.")
