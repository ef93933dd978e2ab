"""Devices as a user names them: ``fake:fez``, ``ibm:ibm_fez:2000``, ``backend:my.module:make``.

Light: nothing here makes a network call or imports a provider's client before it has to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from keyword import iskeyword

from hardware.checks import parse_shots
from hardware.devices.backends import fake_name, fake_names
from hardware.devices.login import Account
from hardware.errors import InvalidInputError, UnknownTargetError, did_you_mean

#: Specifications of devices, by kind. `hardware.runs.opening` opens each kind.
DEVICES = {
    "fake": "fake:NAME[:SHOTS]",
    "ibm": "ibm:NAME[:SHOTS]",
    "backend": "backend:MODULE:FUNCTION[:SHOTS]",
}
#: Entry points of packages that bring devices of a kind of their own, named ``KIND:NAME[:SHOTS]``.
#: Each is a function that takes NAME and returns a `BackendV2` or a `Device`.
ENTRY_POINTS = "qhead.devices"
_RESERVED = (*DEVICES, "exact", "shots", "noisy", "aer")
#: Names that stand for a choice among the account's devices.
LEAST_BUSY, BEST = "least_busy", "best"


@dataclass(frozen=True)
class NamedDevice:
    """A device as the user named it.

    Args:
        kind: What runs it: ``"fake"``, this machine, ``"ibm"``, the platform, ``"backend"``, what
            a Python function returns, or the kind of an installed package.
        name: Its name, e.g. ``"fez"``, ``"ibm_fez"``, ``"least_busy"`` or ``"my.module:make"``.
        shots: Shots that the specification asks for, None where it does not.
        account: Which account and instance of the platform to reach it through; other kinds take
            none.
        offline: Make no network call: a device of the platform is planned for by the calibration
            that was kept when it was last asked.
        instance: SHA-256 of the CRN of the instance that a run was sent through; None: no run's.

    Raises:
        InvalidInputError: An account for another kind than ``"ibm"``.
    """

    kind: str
    name: str
    shots: int | None = None
    account: Account = field(default_factory=Account)
    offline: bool = False
    instance: str | None = None

    def __post_init__(self) -> None:
        self.account.check_needed(f"{self.kind}:{self.name}")

    @property
    def local(self) -> bool:
        """Whether it surely is simulated here and costs nothing; others tell when opened."""
        return self.kind == "fake"

    @property
    def charges(self) -> bool:
        """Whether it surely is a real device, which charges; others tell when opened."""
        return self.kind == "ibm"

    def spec(self, device: str, shots: int) -> str:
        """Return the specification of the device that was opened, e.g. ``"ibm:ibm_fez:4096"``.

        Args:
            device: The device's own name, which ``ibm:best`` and ``ibm:least_busy`` stand for.
            shots: Shots of every row.
        """
        return f"{self.kind}:{device if self.kind == 'ibm' else self.name}:{shots}"


def installed_kinds() -> dict[str, EntryPoint]:
    """Return the entry points of installed packages by kind; none takes the name of a target here.

    They are not loaded.
    """
    return {
        each.name: each for each in entry_points(group=ENTRY_POINTS) if each.name not in _RESERVED
    }


def is_device(target: object) -> bool:
    """Return whether a target's specification names a device, which needs a plan and a ledger."""
    if not isinstance(target, str):
        return False
    kind = target.strip().partition(":")[0]
    return kind in DEVICES or kind in installed_kinds()


def parse_device(
    target: str, account: Account | None = None, *, offline: bool = False
) -> NamedDevice:
    """Return the device of a specification: ``fake:fez``, ``ibm:ibm_fez:2000``, ``ibm:best``.

    Nothing is imported: a name after ``backend:`` is only checked to be one of Python.

    Args:
        target: The specification.
        account, offline: See `NamedDevice`.

    Raises:
        UnknownTargetError: It names no device.
        UnknownBackendError: No fake backend has the name.
        InvalidInputError: Shots below one, or too many; a device that cannot be planned for
            offline; or an account for one that is reached without.
    """
    kind, _, rest = target.strip().partition(":")
    fields = rest.split(":")
    if kind == "backend" and len(fields) > 1:
        fields = [":".join(fields[:2]), *fields[2:]]
    known = {**DEVICES, **{each: f"{each}:NAME[:SHOTS]" for each in installed_kinds()}}
    if kind not in known or len(fields) > 2 or not all(fields):
        hint = f" Did you mean 'fake:{rest}'?" if kind == "aer" else did_you_mean(kind, known)
        raise UnknownTargetError(
            f"Expected a device, {' or '.join(known.values())}, got {target!r}.{hint} "
            f"Fakes are, e.g., {', '.join(fake_names()[:6])}; `qhead backends` lists all."
        )
    if kind == "backend" and not _is_path(fields[0]):
        raise UnknownTargetError(
            f"Expected a Python module and a function in it, such as backend:my.module:make, got "
            f"{target!r}."
        )
    shots = parse_shots(fields[1], target) if len(fields) == 2 else None
    if offline and kind not in ("fake", "ibm"):
        raise InvalidInputError(
            f"{target} cannot be planned for offline: calibrations are kept of ibm:NAME only."
        )
    if offline and (kind, fields[0]) == ("ibm", LEAST_BUSY):
        raise InvalidInputError(
            f"ibm:{LEAST_BUSY} cannot be chosen offline, where no queue is known: name a device, "
            f"or ibm:{BEST}."
        )
    name = fake_name(fields[0]) if kind == "fake" else fields[0]
    return NamedDevice(kind, name, shots, account or Account(), offline)


def _is_path(text: str) -> bool:
    """Return whether a text is ``dotted.module:dotted.name``, words of Python and nothing else."""
    module, colon, name = text.partition(":")
    words = [*module.split("."), *name.split(".")]
    return bool(colon) and all(word.isidentifier() and not iskeyword(word) for word in words)
