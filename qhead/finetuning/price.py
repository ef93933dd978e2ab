"""What a training costs where its circuit runs, before its first step: rows, steps, QPU seconds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

from hardware.ledger.budget import ChargeRatio, advised_budget
from hardware.words import counted


@dataclass(frozen=True)
class Schedule:
    """The workloads of a training in their order, each by its number of rows.

    Args:
        batches: Those of an epoch's batches, with all their shifts.
        validation: Those of the validation set: before the first epoch and after each.
        epochs: Number of epochs.
    """

    batches: tuple[int, ...]
    validation: tuple[int, ...]
    epochs: int

    @property
    def epoch(self) -> tuple[int, ...]:
        """Rows of the steps of one epoch."""
        return self.batches + self.validation

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows of every step."""
        return self.validation + self.epoch * self.epochs

    def first_of(self, epoch: int) -> int:
        """Return the number of the first step of an epoch, counted from 0."""
        return len(self.validation) + len(self.epoch) * epoch


@dataclass(frozen=True)
class Price:
    """What a training runs and costs; `str` gives it in a few lines.

    Args:
        target: Where it runs.
        sentences: Sentences of the training set.
        validation: Sentences of the validation set, run after every epoch and once before.
        rows_per_sentence: Rows of one sentence in a training step, shifts included.
        schedule: Rows of every step.
        shots: Shots of every row; None where exact.
        seconds: Estimated QPU seconds of every step; None for emulations, which have no QPU.
        tiles: Tiles of a full training step; None for emulations.
        local: Whether the device is simulated here and charges nothing.
        remaining: QPU seconds that the account has left; None where it does not tell.
        ratio: What the device charged for past jobs over their estimates; None where not known.
    """

    target: str
    sentences: int
    validation: int
    rows_per_sentence: int
    schedule: Schedule
    shots: int | None
    seconds: tuple[float, ...] | None = None
    tiles: int | None = None
    local: bool = True
    remaining: float | None = None
    ratio: ChargeRatio | None = None

    @property
    def epoch_seconds(self) -> float | None:
        """QPU seconds of an epoch, its validation included."""
        first = self.schedule.first_of(0)
        return (
            None if self.seconds is None else sum(self.seconds[first : self.schedule.first_of(1)])
        )

    @property
    def step_seconds(self) -> float | None:
        """QPU seconds of a full batch."""
        return None if self.seconds is None else self.seconds[self.schedule.first_of(0)]

    @property
    def total_seconds(self) -> float | None:
        """QPU seconds of the whole training."""
        return None if self.seconds is None else sum(self.seconds)

    @property
    def advised_budget(self) -> int | None:
        """Whole QPU seconds that cover the training; None where nothing is charged."""
        if self.seconds is None or self.local:
            return None
        return advised_budget(sum(self.seconds), self.ratio)

    def seconds_left(self, done: Container[int]) -> float:
        """Return the QPU seconds of the steps that are not done; zero for emulations."""
        steps = enumerate(self.seconds or ())
        return float(sum(seconds for step, seconds in steps if step not in done))

    def as_dict(self) -> dict[str, Any]:
        """Return it in numbers, JSON-able."""
        return {
            "target": self.target,
            "sentences": self.sentences,
            "validation_sentences": self.validation,
            "rows_per_sentence": self.rows_per_sentence,
            "shots": self.shots,
            "tiles": self.tiles,
            "epochs": self.schedule.epochs,
            "runs_per_epoch": len(self.schedule.epoch),
            "rows_per_epoch": sum(self.schedule.epoch),
            "runs": len(self.schedule.rows),
            "rows": sum(self.schedule.rows),
            "step_seconds": self.step_seconds,
            "epoch_seconds": self.epoch_seconds,
            "qpu_seconds": self.total_seconds,
            "remaining_seconds": self.remaining,
            "charge_ratio": None if self.ratio is None else dataclasses.asdict(self.ratio),
            "advised_budget": self.advised_budget,
        }

    def __str__(self) -> str:
        plan, epoch = self.schedule, self.schedule.epoch
        lines = [
            f"{self.target}: {counted(self.sentences, 'sentence')} of "
            f"{counted(self.rows_per_sentence, 'row')} each; an epoch is "
            f"{counted(len(epoch), 'run')} of {sum(epoch):,} rows, validation included; "
            f"{counted(plan.epochs, 'epoch')}: {counted(len(plan.rows), 'run')}, "
            f"{sum(plan.rows):,} rows"
        ]
        if self.seconds is not None:
            nothing = " of a real device; here nothing is charged" if self.local else ""
            lines.append(
                f"about {self.step_seconds:.1f} QPU seconds a step, {self.epoch_seconds:.1f} an "
                f"epoch, {self.total_seconds:.1f} in all{nothing}"
            )
        if self.ratio is not None:
            lines.append(f"the device has charged {self.ratio}")
        if self.remaining is not None:
            lines.append(f"the account has {self.remaining:g} s left")
        return "; ".join(lines)


def schedule(
    sentences: int,
    batch_size: int,
    rows_per_sentence: int,
    validation: int,
    chunk: int,
    epochs: int,
) -> Schedule:
    """Return the steps of a training.

    Args:
        sentences: Sentences of the training set.
        batch_size: Sentences of a training step.
        rows_per_sentence: Rows of each.
        validation: Sentences of the validation set; 0: none.
        chunk: Sentences that are evaluated at once.
        epochs: Number of epochs.
    """
    batches = tuple(rows_per_sentence * size for size in _parts(sentences, batch_size))
    return Schedule(batches, tuple(_parts(validation, chunk)), epochs)


def step_seconds(
    steps: Schedule, batch: Callable[[int], float], validation: Callable[[int], float]
) -> tuple[float, ...]:
    """Return the QPU seconds of every step.

    Args:
        steps: The steps.
        batch: Estimates the seconds of a batch by its rows; called once for each number.
        validation: The same of the validation set.
    """
    costs = {rows: batch(rows) for rows in dict.fromkeys(steps.batches)}
    held_costs = {rows: validation(rows) for rows in dict.fromkeys(steps.validation)}
    held = tuple(held_costs[rows] for rows in steps.validation)
    return held + (tuple(costs[rows] for rows in steps.batches) + held) * steps.epochs


def _parts(total: int, size: int) -> list[int]:
    return [min(size, total - i * size) for i in range(math.ceil(total / size))]
