"""Devices as a user names them: ``fake:fez``, ``ibm:ibm_fez:2000``, ``ibm:best``.

Light: nothing here makes a network call or imports a provider's client before it has to.
"""

from __future__ import annotations

from dataclasses import dataclass

from hardware.checks import parse_shots
from hardware.devices.backends import fake_name, fake_names
from hardware.errors import UnknownTargetError, did_you_mean

#: Specifications of devices, by kind. `hardware.runs.opening` opens each kind.
DEVICES = {"fake": "fake:NAME[:SHOTS]", "ibm": "ibm:NAME[:SHOTS]"}
#: Names that stand for a choice among the account's devices.
LEAST_BUSY, BEST = "least_busy", "best"


@dataclass(frozen=True)
class NamedDevice:
    """A device as the user named it.

    Args:
        kind: What runs it: ``"fake"``, on this machine, or ``"ibm"``, the platform.
        name: Its name, e.g. ``"fez"``, ``"ibm_fez"`` or ``"least_busy"``.
        shots: Shots that the specification asks for, None where it does not.
    """

    kind: str
    name: str
    shots: int | None = None

    @property
    def local(self) -> bool:
        """Whether it is simulated here and costs nothing."""
        return self.kind == "fake"

    def spec(self, device: str, shots: int) -> str:
        """Return the specification of the device that was opened, e.g. ``"ibm:ibm_fez:4096"``.

        Args:
            device: The device's own name, which ``best`` and ``least_busy`` stand for.
            shots: Shots of every row.
        """
        return f"{self.kind}:{self.name if self.local else device}:{shots}"


def is_device(target: object) -> bool:
    """Return whether a target's specification names a device, which needs a plan and a ledger."""
    return isinstance(target, str) and target.strip().partition(":")[0] in DEVICES


def parse_device(target: str) -> NamedDevice:
    """Return the device of a specification: ``fake:fez``, ``ibm:ibm_fez:2000``, ``ibm:best``.

    Raises:
        UnknownTargetError: It names no device.
        UnknownBackendError: No fake backend has the name.
        InvalidInputError: Shots below one, or too many.
    """
    kind, _, rest = target.strip().partition(":")
    fields = rest.split(":")
    if kind not in DEVICES or len(fields) > 2 or not all(fields):
        hint = f" Did you mean 'fake:{rest}'?" if kind == "aer" else did_you_mean(kind, DEVICES)
        raise UnknownTargetError(
            f"Expected a device, {' or '.join(DEVICES.values())}, got {target!r}.{hint} "
            f"Fakes are, e.g., {', '.join(fake_names()[:6])}; `qhead backends` lists all."
        )
    shots = parse_shots(fields[1], target) if len(fields) == 2 else None
    return NamedDevice(kind, fake_name(fields[0]) if kind == "fake" else fields[0], shots)
