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
    """

    local = False
    abilities = Abilities()

    def __init__(self, backend: BackendV2, instance: str, remarks: tuple[str, ...]) -> None:
        self.backend = backend
        self.instance = instance
        self.remarks = remarks

    @property
    def name(self) -> str:
        """Name of the device."""
        return str(self.backend.name)

    @property
    def fractional_backend(self) -> BackendV2:
        """Refuse: calibrations are kept without the gates of any angle.

        Raises:
            PlanError: Always.
        """
        raise PlanError(
            f"The calibration that is kept of {self.name} has no gates of any angle: plan with "
            "fractional_gates while the platform can be reached.",
            options=("fractional_gates",),
        )

    def remaining(self) -> float | None:
        """Refuse: what the account has left is unknown.

        Raises:
            UnclearError: Always.
        """
        self._refuse()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise UnclearError(f"{self.name} was opened offline, to plan only; it was not asked.")

    send = leaving = find = pending = job_status = fetch = cancel = charged = _refuse
    open_batch = close_batch = session_charged = _refuse
