"""A device as its calibration of an earlier day: it can be planned for, and nothing else."""

from __future__ import annotations

from typing import Any, NoReturn

from qiskit.providers import BackendV2

from hardware.devices.base import Abilities
from hardware.errors import PlanError, UnclearError


class CachedDevice:
    """A platform's device without the platform; see `hardware.devices.base.Device`.

    Args:
        backend: The device with its calibration.
        instance: SHA-256 of the instance that the calibration was fetched through.
        remarks: Sentences on how old the calibration is, for plans.
        fractional: The same device as it was fetched with its gates of any angle, if it was.
    """

    local = False
    abilities = Abilities()

    def __init__(
        self,
        backend: BackendV2,
        instance: str,
        remarks: tuple[str, ...],
        fractional: CachedDevice | None = None,
    ) -> None:
        self.backend = backend
        self.instance = instance
        self.remarks = remarks
        self.fractional = fractional

    @property
    def name(self) -> str:
        """Name of the device."""
        return str(self.backend.name)

    @property
    def fractional_backend(self) -> BackendV2:
        """The same with its gates of any angle in the target.

        Raises:
            PlanError: No calibration with them is kept.
        """
        if self.fractional is None:
            raise PlanError(
                f"No calibration of {self.name} with its gates of any angle is kept: plan once "
                "online with fractional_gates.",
                options=("fractional_gates",),
            )
        return self.fractional.backend

    def remarked(self, remark: str) -> CachedDevice:
        """Return the device with one more remark, before the others."""
        fractional = self.fractional and self.fractional.remarked(remark)
        return CachedDevice(self.backend, self.instance, (remark, *self.remarks), fractional)

    def remaining(self) -> float | None:
        """Refuse: what the account has left is unknown.

        Raises:
            UnclearError: Always.
        """
        self._refuse()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise UnclearError(f"{self.name} was opened offline, to plan only; it was not asked.")

    send = leaving = find = pending = job_status = fetch = decode = cancel = charged = _refuse
    open_batch = close_batch = session_charged = _refuse
