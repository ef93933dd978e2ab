"""Caps of jobs, overruns that do not count, and what past charges say."""

from __future__ import annotations

import numpy as np
import pytest

from hardware.errors import BudgetError
from hardware.ledger.budget import (
    CAP_MARGIN,
    MAX_SESSION,
    SENDING,
    SLACK,
    ChargeRatio,
    advised_budget,
    cap_seconds,
    overrun,
    session_budget,
    session_seconds,
)


def test_a_cap_lies_above_the_estimate_by_the_margin() -> None:
    assert CAP_MARGIN == 1.25
    assert [cap_seconds(seconds) for seconds in (0.0, 0.5, 2.0, 4.0, 4.01, 100.0)] == [
        1, 1, 3, 5, 6, 125,
    ]  # fmt: skip
    for estimate in np.linspace(0.01, 200, 999):
        assert estimate * 1.25 <= cap_seconds(estimate) < max(1.001, estimate * 1.25 + 1)


def test_a_generous_share_of_the_budget_raises_the_cap() -> None:
    assert cap_seconds(4.0, 4.0) == 5
    assert cap_seconds(4.0, 5.9) == 5
    assert cap_seconds(4.0, 6.0) == 6
    assert cap_seconds(4.0, 60.7) == 60


def test_a_session_has_time_for_jobs_that_take_their_caps_and_for_sending_them() -> None:
    # Three jobs of 4 s with caps of 5 s: the last may start 10 s after the first, and end by 15 s.
    assert session_budget([4.0] * 3) == 15
    assert session_seconds(15.0, [4.0] * 3) == (10, 15.0)
    assert session_seconds(15.0 - SLACK / 2, [4.0] * 3) == (10, 15.0)
    assert session_seconds(100.9, [4.0] * 3) == (95, 100.0)
    assert session_seconds(100.9, [4.0] * 3, max_time=10) == (10, 15.0)
    assert session_seconds(1e6, [4.0]) == (MAX_SESSION, MAX_SESSION + 5.0)
    assert session_seconds(3.0, [0.5]) == (2, 3.0)
    assert session_budget([0.01] * 300) == 299 * SENDING + 1
    with pytest.raises(
        BudgetError, match=r"need 15 s of it at least.*the budget leaves 14\.9 s"
    ) as caught:
        session_seconds(14.9, [4.0] * 3)
    assert "in batch mode" in str(caught.value)
    with pytest.raises(BudgetError, match="at least 10 s, and its time limit is 9 s"):
        session_seconds(100.0, [4.0] * 3, max_time=9)


@pytest.mark.parametrize("burst", [1, 2, 3, 5, 8])
def test_the_budget_of_a_session_is_enough_for_several_that_use_their_caps(burst: int) -> None:
    rng = np.random.default_rng(burst)
    for _ in range(50):
        jobs = [float(seconds) for seconds in rng.uniform(0.01, 9.0, 8)]
        left = float(session_budget(jobs))
        for first in range(0, len(jobs), burst):
            limit, _ = session_seconds(left, jobs[first:])
            sent = jobs[first : first + burst]
            turns = [max(cap_seconds(seconds), SENDING) for seconds in sent]
            assert sum(turns[:-1]) <= limit  # the last can start
            left -= sum(turns[:-1]) + cap_seconds(sent[-1])
        assert left >= 0


def test_an_overrun_is_covered_up_to_the_margin() -> None:
    assert overrun(3.0, 4.0) == 0.0
    assert overrun(4.0, 4.0) == 0.0
    assert overrun(4.6, 4.0) == pytest.approx(0.6)
    assert overrun(5.0, 4.0) == 1.0
    assert overrun(9.0, 4.0) == 1.0


def test_without_finished_jobs_nothing_is_known() -> None:
    assert ChargeRatio.of([]) is None
    alone = ChargeRatio.of([1.3])
    assert alone == ChargeRatio(1, 1.3)
    assert str(alone) == "1.30 times the estimate, known from 1 job"


def test_the_interval_holds_the_ratio_of_one_more_job() -> None:
    rng = np.random.default_rng(3)
    repeats, held = 4000, 0
    for _ in range(repeats):
        *seen, another = rng.normal(1.2, 0.1, 6)
        ratio = ChargeRatio.of(seen)
        assert ratio is not None
        assert ratio.low is not None
        assert ratio.high is not None
        assert ratio.jobs == 5
        assert ratio.mean == pytest.approx(np.mean(seen))
        assert ratio.low < ratio.mean < ratio.high
        held += ratio.low <= another <= ratio.high
    # The interval is exact for normal ratios; below 1e-6 for a count of 4,000 at 95 %.
    assert abs(held / repeats - 0.95) < 5 * np.sqrt(0.95 * 0.05 / repeats)
    # By hand: a spread of 0.2 and Student's 4.302653 of two degrees of freedom.
    three = ChargeRatio.of([1.2, 1.4, 1.6])
    assert three == ChargeRatio(3, *(pytest.approx(x, abs=1e-6) for x in (1.4, 0.406345, 2.393655)))
    known = ChargeRatio(3, 0.5, 0.4, 0.6)
    assert "0.50 times the estimate (0.40 to 0.60 for one more job" in str(known)
    assert str(known).endswith("known from 3 jobs")
    assert ChargeRatio.of([0.1, 5.0]).low == 0.0  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("estimate", "ratio", "budget"),
    [
        (6.4, None, 7),
        (6.0, None, 6),
        (6.01, None, 7),
        (10.0, ChargeRatio(1, 1.3), 13),
        (10.0, ChargeRatio(1, 0.5), 10),
        (10.0, ChargeRatio(4, 1.1, 0.9, 1.31), 14),
        (10.0, ChargeRatio(4, 0.8, 0.7, 0.9), 10),
    ],
)
def test_an_advised_budget_is_rounded_up_and_never_below_the_estimate(
    estimate: float, ratio: ChargeRatio | None, budget: int
) -> None:
    assert advised_budget(estimate, ratio) == budget
