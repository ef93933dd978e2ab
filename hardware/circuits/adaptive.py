"""Adaptive shots: few for every row, more for those whose label the shots leave undecided.

Rows are run in J rounds, fixed beforehand. After each, a row's label is *decided* where its class
leads each of the K - 1 others by more than that lead may be off after all its shots so far; only
undecided rows run in the next round. What is promised, for every row by itself:

    the probability that its label is called decided, and is another than infinitely many shots
    on the same tiles in the same proportions would give, is at most the error rate α.

A wrong label that is called decided has beaten the right one in one of J looks. Each of these
J (K - 1) events is an error of a one-sided test, which is given the level α / (J (K - 1)). The
union bound assumes nothing about how rounds, classes, observables or tiles depend on each other,
and a row may move to another tile between rounds. Each test is an interval of
`hardware.circuits.intervals` at its own level; leads are evaluated shot by shot where there are
counts, so that observables read in one shot count with their correlation. Where two classes lead
alike, either label is right. Like every interval of shots, α leaves out what gate noise or a
mitigation's model shifts.

The pooled values of a row weigh its shots alike. Stopping when a label is decided leaves them a
little too far from the border between labels; their errors are those of a fixed number of shots.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from hardware.checks import is_number, is_whole
from hardware.errors import InvalidInputError
from hardware.words import counted

#: Shots of the rounds as shares of all; the last takes the rest. LOG.md says how they were chosen.
SHARES = (1 / 16, 1 / 4)
#: Fewest shots that the shares are made of.
MIN_SHOTS = 64


@dataclass(frozen=True)
class AdaptiveShots:
    """How shots are spent in rounds.

    Args:
        rounds: Shots of each round, e.g. (256, 1024, 2816); empty: 1/16, 4/16 and 11/16 of all.
        error_rate: Probability, at most, that a label called decided is not that of infinitely many
            shots, for each row.
    """

    rounds: tuple[int, ...] = ()
    error_rate: float = 0.05

    def __post_init__(self) -> None:
        object.__setattr__(self, "rounds", tuple(self.rounds))
        if self.rounds and (
            len(self.rounds) < 2 or not all(is_whole(n) and n >= 1 for n in self.rounds)
        ):
            raise InvalidInputError(
                f"Expected the shots of two or more rounds, whole numbers, got {self.rounds}.",
                options=("rounds",),
            )
        if not (is_number(self.error_rate) and 0 < self.error_rate < 0.5):
            raise InvalidInputError(
                f"Expected an error rate between 0 and 0.5, got {self.error_rate!r}.",
                options=("error_rate",),
            )

    @classmethod
    def of(cls, given: AdaptiveShots | bool) -> AdaptiveShots | None:
        """Return rounds as they are, the default ones for True and None for False."""
        if isinstance(given, bool):
            return cls() if given else None
        return given

    def rounds_of(self, shots: int) -> tuple[int, ...]:
        """Return the shots of each round, which add up to `shots`.

        Raises:
            InvalidInputError: They do not, or there are too few for three rounds.
        """
        if not self.rounds:
            if shots < MIN_SHOTS:
                raise InvalidInputError(
                    f"Expected at least {MIN_SHOTS} shots to spend in rounds, got {shots}.",
                    options=("shots",),
                )
            first = [round(shots * share) for share in SHARES]
            return (*first, shots - sum(first))
        if sum(self.rounds) != shots:
            raise InvalidInputError(
                f"The rounds have {sum(self.rounds)} shots together, and each row may take "
                f"{shots}: give one number.",
                options=("rounds", "shots"),
            )
        return tuple(int(n) for n in self.rounds)

    def z(self, shots: int, num_rounds: int, num_classes: int) -> float:
        """Return by how many standard errors a lead of one round's shots may be off.

        The quantile is Student's: by the normal one, a single bit's test at a level of 0.001 errs
        up to 1.9 times as often as it should after 16 shots, and 1.2 times after 128. By
        Student's it keeps every level at every number of shots.
        """
        level = self.error_rate / (num_rounds * (num_classes - 1))
        return float(-stdtrit(max(shots - 1, 1), level))


@dataclass(frozen=True, eq=False)
class LinearRule:
    """Which label expectation values stand for: the largest of K logits, values @ weight.T + bias.

    Args:
        weight: Shape (K, M).
        bias: Shape (K,).

    Raises:
        InvalidInputError: The shapes do not fit, a number is not finite, or there is one class.
    """

    weight: np.ndarray  # (K, M)
    bias: np.ndarray  # (K,)

    def __post_init__(self) -> None:
        for name in ("weight", "bias"):
            object.__setattr__(self, name, np.array(getattr(self, name), dtype=np.float64))
        good = self.weight.ndim == 2 and self.bias.shape == self.weight.shape[:1]
        if not good or len(self.bias) < 2:
            raise InvalidInputError(
                "Expected a rule with weights (K, M) and biases (K,) of two or more classes, got "
                f"shapes {self.weight.shape} and {self.bias.shape}."
            )
        if not (np.isfinite(self.weight).all() and np.isfinite(self.bias).all()):
            raise InvalidInputError("Expected finite weights and biases of a rule, got others.")

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.bias)

    def check_width(self, num_observables: int) -> None:
        """Refuse another number of observables than the rule is for.

        Raises:
            InvalidInputError: It is another.
        """
        if self.weight.shape[1] != num_observables:
            raise InvalidInputError(
                f"Expected a rule for {num_observables} observables, got one for "
                f"{self.weight.shape[1]}."
            )

    def leads(self) -> tuple[np.ndarray, np.ndarray]:
        """Return weights (P, M) and offsets (P,) of the leads of class i over class j, i < j.

        There are P = K (K - 1) / 2 of them, ordered by i and then by j.
        """
        first, second = np.triu_indices(self.num_classes, 1)
        return self.weight[first] - self.weight[second], self.bias[first] - self.bias[second]

    def decide(self, leads: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return each row's class, shape (N,), and whether it leads all others for certain, (N,).

        Args:
            leads: Leads in the order of `leads`, shape (N, P); NaN where unknown.
            reach: By how much each may be off, shape (N, P).
        """
        size = self.num_classes
        by, off = np.full((2, len(leads), size, size), np.inf)
        first, second = np.triu_indices(size, 1)
        by[:, first, second], by[:, second, first] = leads, -leads
        off[:, first, second] = off[:, second, first] = reach
        off[:, range(size), range(size)] = 0.0
        winners = np.where(np.isnan(by), -np.inf, by).min(axis=2).argmax(axis=1)
        rows = np.arange(len(leads))
        return winners, (by[rows, winners] > off[rows, winners]).all(axis=1)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-able dictionary, for `of`."""
        return {"weight": self.weight.tolist(), "bias": self.bias.tolist()}

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> LinearRule:
        """Return the rule that `as_dict` described."""
        return cls(np.array(fields["weight"], ndmin=2), np.array(fields["bias"]))


class Pool:
    """Values of N rows from several rounds: means over all shots, errors in quadrature.

    For errors may stand half-widths of intervals; the rounds are independent.
    """

    def __init__(self, num_rows: int, num_columns: int) -> None:
        self._means, self._squares = np.zeros((2, num_rows, num_columns))
        #: Shots of each row so far, shape (N,).
        self.shots = np.zeros(num_rows, dtype=np.int64)

    def add(self, rows: np.ndarray, values: np.ndarray, errors: np.ndarray, shots: int) -> None:
        """Add a round's values and standard errors of some rows, each (R, columns)."""
        share = (shots / (self.shots[rows] + shots))[:, np.newaxis]
        self._means[rows] += share * (values - self._means[rows])
        self._squares[rows] = self._squares[rows] * (1 - share) ** 2 + (share * errors) ** 2
        self.shots[rows] += shots

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Return values and standard errors, each (N, columns); NaN in rows without a round."""
        there = (self.shots > 0)[:, np.newaxis]
        return np.where(there, self._means, np.nan), np.where(there, np.sqrt(self._squares), np.nan)


@dataclass(frozen=True, eq=False)
class Decisions:
    """What adaptive shots decided about N rows.

    Args:
        winners: Index of each row's class, shape (N,); of no meaning in rows without a result.
        decided: Whether the label is decided, shape (N,).
        shots: Shots of each row and setting, shape (N,).
        rounds: Shots of each planned round.
        error_rate: See `AdaptiveShots`.
    """

    winners: np.ndarray  # (N,)
    decided: np.ndarray  # (N,) bool
    shots: np.ndarray  # (N,)
    rounds: tuple[int, ...]
    error_rate: float

    @classmethod
    def of(
        cls, rule: LinearRule, pool: Pool, adaptive: AdaptiveShots, rounds: Sequence[int]
    ) -> Decisions:
        """Return the decisions that the pooled leads and their half-widths allow."""
        winners, decided = rule.decide(*pool.result())
        return cls(winners, decided, pool.shots, tuple(rounds), adaptive.error_rate)

    @property
    def share(self) -> float:
        """Shots that were spent, as a share of what as many rows take in all rounds."""
        return float(self.shots[self.shots > 0].mean() / sum(self.rounds)) if len(self.shots) else 0

    def notes(self) -> Iterator[str]:
        """Yield sentences on the rounds and on what is decided."""
        steps = np.cumsum(self.rounds)
        ran = [int((self.shots >= step).sum()) for step in steps]
        more = [
            f"{shots:,} more for {rows:,}"
            for shots, rows in zip(self.rounds[1:], ran[1:], strict=True)
            if rows
        ]
        there = int((self.shots > 0).sum())
        if not there:
            return
        first = counted(ran[0], "row")
        yield (
            f"Adaptive shots: {', '.join([f'{self.rounds[0]:,} for {first}', *more])}; "
            f"{self.share:.1%} of {steps[-1]:,} shots for each."
        )
        yield (
            f"Undecided: {there - int(self.decided.sum()):,} of {counted(there, 'row')}. A "
            "decided label differs from that of infinitely many shots with a probability of at "
            f"most {self.error_rate:.3g}."
        )
