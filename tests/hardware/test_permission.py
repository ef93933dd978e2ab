"""What is asked before a run may spend, exactly at its limits."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
from loopback.plans import tiny_plan

from hardware.errors import BudgetError, RunStateError, ServiceError
from hardware.ledger.ledger import Pace
from hardware.runs.permission import (
    check_allowance,
    check_instance,
    checked_budget,
    session_advice,
)
from hardware.runs.policy import Policy
from hardware.runs.quote import Quote

PLAN = tiny_plan(jobs=2, job_seconds=2.5)


def test_a_budget_of_all_that_the_plan_needs_is_enough():
    assert checked_budget(PLAN, 5.0) == 5.0
    for budget, message in (
        (4.99, "within the budget of 4.99 s"),
        (0.5, "within the budget of 0.5 s"),
        (0.0, "within the budget of 0 s"),
        (-1.0, "zero or more"),
        (float("nan"), "zero or more"),
        (float("inf"), "zero or more"),
        (None, "give a budget of 5 s or more"),
    ):
        with pytest.raises(BudgetError, match=message):
            checked_budget(PLAN, budget)


@pytest.mark.parametrize(
    ("pace", "advised"),
    [
        (Pace(), False),
        (Pace(max_pending=3), False),
        (Pace(max_pending=2), True),
        (Pace(per_minute=2), True),
        (Pace(3, 5), False),
        (Pace(5, 2), True),
    ],
)
def test_more_jobs_than_are_sent_at_once_are_advised_against_a_session(pace, advised):
    advice = session_advice(tiny_plan(jobs=3, mode="session"), pace)
    assert (advice is not None) == advised
    if advice is not None:
        assert "3 jobs of which 2 may be sent at once" in advice
        assert "Use mode batch" in advice
    for mode in ("batch", "job"):
        assert session_advice(tiny_plan(jobs=3, mode=mode), pace) is None


def test_a_quote_advises_against_a_session_at_the_usual_pace():
    at_once = Policy().pace.max_pending
    for jobs, local, more in ((at_once, False, 0), (at_once + 1, False, 1), (9, True, 0)):
        plan = tiny_plan(jobs=jobs, mode="session")
        quote = Quote(plan, local)
        assert len(quote.notes) == len(plan.notes) + more
        assert quote.as_dict()["notes"] == list(quote.notes)


def account(left: float | None):
    return SimpleNamespace(remaining=lambda: left)


def test_a_plan_may_take_all_that_the_account_has_left():
    check_allowance(PLAN, account(5.0))
    check_allowance(PLAN, account(None))  # not known
    with pytest.raises(BudgetError, match=r"4\.9 s of QPU time left"):
        check_allowance(PLAN, account(4.9))


def test_an_account_that_cannot_be_asked_refuses_nothing():
    def fails():
        raise ServiceError("down")

    check_allowance(PLAN, SimpleNamespace(remaining=fails))


@pytest.mark.parametrize(
    ("local", "of_run", "warned"), [(False, "a", 0), (False, None, 1), (True, None, 0)]
)
def test_a_run_of_an_unknown_account_is_warned_of(caplog, local, of_run, warned):
    run = SimpleNamespace(id="r", local=local, instance=of_run)
    with caplog.at_level(logging.WARNING, logger="hardware"):
        check_instance(run, SimpleNamespace(instance="a"))
    assert len(caplog.records) == warned


def test_a_run_of_another_account_is_refused():
    run = SimpleNamespace(id="r", local=False, instance="a")
    with pytest.raises(RunStateError, match="another account"):
        check_instance(run, SimpleNamespace(instance="b"))
