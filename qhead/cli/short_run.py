"""Options of the verbs that plan, submit and wait in one call, and that call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qhead.cli.guard import naming_the_run
from qhead.cli.options import (
    AccountChoice,
    Adaptive,
    Budget,
    Recalibrate,
    TextColumn,
    Tiles,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qhead.classifier import TextClassifier
    from qhead.runs.predictions import RowPredictions
    from qhead.runs.sentences import Sentences


@dataclass(frozen=True)
class ShortRun(AccountChoice):
    """Options of a run that is waited for."""

    budget: Budget = None
    tiles: Tiles = None
    adaptive: Adaptive = False
    recalibrate: Recalibrate = None

    def check(self, target: str, *, partial: bool = False) -> None:
        """Refuse options that mean nothing off a device, and rounds of shots without shots.

        Raises:
            InvalidInputError: One was given for another target.
            BudgetError: A real device without a budget, or a budget that is negative or no number.
        """
        from hardware.devices.named import is_device, parse_device
        from hardware.errors import InvalidInputError
        from hardware.runs.permission import check_budget

        if self.adaptive and target == "exact":
            raise InvalidInputError(
                "Expected --adaptive with a target that has shots, such as shots:4096, got "
                "'exact'. Leave it out."
            )
        if is_device(target):
            check_budget(self.budget, local=not parse_device(target, self.open()).charges)
            return
        given = {
            "--budget": self.budget is not None,
            "--tiles": self.tiles is not None,
            "--recalibrate": self.recalibrate is not None,
            "--account": self.account is not None,
            "--instance": self.instance is not None,
            "--channel": self.channel is not None,
            "--partial": partial,
        }
        if named := [name for name, there in given.items() if there]:
            raise InvalidInputError(
                f"Expected {', '.join(named)} with a device, such as fake:NAME or ibm:NAME, got "
                f"the target {target!r}, which runs at once and costs nothing. Leave it out."
            )


def sentences_of(
    source: str, texts: Sequence[str], columns: TextColumn, split: str | None = None
) -> Sentences:
    """Return sentences with the place that they were read from, to find them again."""
    from qhead.runs.metadata import SentenceSource
    from qhead.runs.sentences import Sentences

    place = SentenceSource.of(texts, source, split, columns.text_column, columns.skip_empty)
    return Sentences(tuple(texts), place)


def run_now(
    model: TextClassifier,
    sentences: Sentences,
    target: str,
    device: ShortRun,
    columns: TextColumn,
    seed: int,
) -> RowPredictions:
    """Run sentences on a device, wait, and return the rows that have results.

    Raises:
        HardwareError: As planning, submitting and collecting.
    """
    from hardware.circuits.adaptive import AdaptiveShots
    from hardware.planning.options import PlanOptions
    from qhead.cli.plan import parse_tiles
    from qhead.runs.sentences import read_validation

    again = None
    if device.recalibrate is not None:
        again = read_validation(device.recalibrate, columns.names, columns.skip_empty)
    adaptive = AdaptiveShots.of(device.adaptive)
    options = PlanOptions(tiles=parse_tiles(device.tiles), seed=seed, adaptive=adaptive)
    with naming_the_run():
        return model.run_on_device(
            sentences, target, options,
            budget=device.budget, recalibrate=again, account=device.open(),
        )  # fmt: skip
