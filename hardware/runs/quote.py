"""What a plan would cost, beside what its device has charged so far and the account has left."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hardware.devices.base import Device
from hardware.errors import ServiceError
from hardware.ledger.budget import ChargeRatio
from hardware.ledger.database import default_path
from hardware.ledger.ledger import Ledger
from hardware.planning.plan import JobPlan
from hardware.runs.permission import plan_budget, session_advice
from hardware.runs.policy import Policy


@dataclass(frozen=True, eq=False)
class Quote:
    """The cost of a plan on its device; `str` gives it in one line.

    Args:
        plan: The plan.
        local: Whether the device is simulated here and charges nothing.
        remaining: QPU seconds that the account has left; None where it does not tell.
        ratio: What the device has charged for past jobs, divided by their estimates; None where
            no job of it has finished, or nothing is charged.
    """

    plan: JobPlan
    local: bool
    remaining: float | None = None
    ratio: ChargeRatio | None = None

    @classmethod
    def of(cls, plan: JobPlan, device: Device, ledger: Path | None = None) -> Quote:
        """Ask a device and the ledger what a plan would cost; a ledger is not created for that."""
        try:
            remaining = device.remaining()
        except ServiceError:
            remaining = None
        ratio = None if device.local else charge_ratio(device.name, ledger)
        return cls(plan, device.local, remaining, ratio)

    @property
    def seconds(self) -> float:
        """QPU seconds, estimated."""
        return self.plan.cost.qpu_seconds

    @property
    def refitted_seconds(self) -> float | None:
        """QPU seconds by past charges; None where the device has charged nothing yet."""
        return None if self.ratio is None else self.seconds * self.ratio.mean

    @property
    def advised_budget(self) -> int | None:
        """Whole QPU seconds that cover the plan; None where nothing is charged."""
        return None if self.local else plan_budget(self.plan, self.ratio)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of the plan, and of sending it at the usual pace."""
        advice = None if self.local else session_advice(self.plan, Policy().pace)
        return self.plan.notes if advice is None else (*self.plan.notes, advice)

    def as_dict(self) -> dict[str, Any]:
        """Return the plan and its cost in numbers, JSON-able."""
        return {
            **self.plan.summary(),
            "tile_qubits": [list(tile.qubits) for tile in self.plan.tiles],
            "remaining_seconds": self.remaining,
            "charge_ratio": None if self.ratio is None else asdict(self.ratio),
            "refitted_seconds": self.refitted_seconds,
            "advised_budget": self.advised_budget,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        plan = self.plan
        past = "" if self.local else f"; no job of {plan.backend} has told yet what it charges"
        if self.ratio is not None:
            past = f"; {plan.backend} has charged {self.ratio}: {self.refitted_seconds:.1f} s"
        share = ""
        if self.remaining is not None:
            part = 100 * plan.cost.share_of(self.remaining)
            share = f", {part:.1f} % of the {self.remaining:g} s left"
        nothing = " of a real device; here nothing is charged" if self.local else ""
        return f"{plan}{nothing}{share}{past}"


def charge_ratio(device: str, ledger: Path | None = None) -> ChargeRatio | None:
    """Return what a device has charged by the ledger; None where no job of it has finished."""
    path = ledger or default_path()
    if not path.exists():
        return None
    with Ledger(path) as opened:
        return opened.leases.charge_ratio(device)
