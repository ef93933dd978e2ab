"""What the blocking form of ``evaluate`` and ``predict`` was asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ShortForm:
    """What the blocking form adds to a plan's options; None where nothing was said.

    Args:
        budget: QPU seconds that may be used.
        tiles: As of a plan.
        recalibrate: As of a plan.
        partial: Score the rows that have arrived even if others have not.
        run: A run that is in the ledger, whose results are to be scored.
        skip_empty: Leave empty texts out; on any target.
    """

    budget: float | None = None
    tiles: str | None = None
    recalibrate: str | None = None
    partial: bool = False
    run: str | None = None
    skip_empty: bool = False

    def check(self, target: str) -> None:
        """Refuse options that mean nothing off a device.

        Raises:
            InvalidInputError: One was given for another target.
            BudgetError: A real device without a budget, or a budget that is negative or no number.
        """
        # Imported here: the command line's definition must load at once.
        from hardware.devices.named import is_device, parse_device
        from hardware.errors import InvalidInputError
        from hardware.runs.permission import check_budget

        if self.run is not None and target != "exact":
            raise InvalidInputError(
                f"Expected --run without a target, got {target!r}: the run had its own."
            )
        if is_device(target):
            check_budget(self.budget, local=not parse_device(target).charges)
            return
        given = {
            "--budget": self.budget is not None,
            "--tiles": self.tiles is not None,
            "--recalibrate": self.recalibrate is not None,
            "--partial": self.partial and self.run is None,
        }
        if named := [name for name, there in given.items() if there]:
            raise InvalidInputError(
                f"Expected {', '.join(named)} with a device, such as fake:NAME or ibm:NAME, got "
                f"the target {target!r}, which runs at once and costs nothing. Leave it out."
            )
