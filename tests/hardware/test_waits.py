"""How long a run waits for what, on clocks of the test's own."""

from __future__ import annotations

import dataclasses
import math
import time

import pytest
from loopback.plans import tiny_plan

from hardware.errors import BusyError
from hardware.ledger.ledger import Ledger, Pace
from hardware.planning.plan_file import dump_plan
from hardware.runs.policy import Clock, Policy
from hardware.runs.waits import Waits

POLICY = Policy(settle=30.0, busy=15.0)


class Time:
    """A time of day and a monotonic clock that move only when told; sleeping moves both."""

    def __init__(self) -> None:
        self.day, self.uptime = time.time(), 1000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.pass_by(seconds)

    def pass_by(self, seconds: float) -> None:
        self.day += seconds
        self.uptime += seconds

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.day, sleep=self.sleep, monotonic=lambda: self.uptime)


@pytest.fixture
def waiting(tmp_path):
    times, shown, plan = Time(), [], tiny_plan(jobs=1)
    with Ledger(tmp_path / "ledger.sqlite", now=lambda: times.day) as ledger:
        run = ledger.create_run(
            plan_hash=plan.key, plan_body=dump_plan(plan), job_seconds=plan.job_seconds,
            target=plan.target, device=plan.backend, local=False, budget_seconds=9.0,
        )  # fmt: skip
        job = ledger.leases.claim_next(run.id, "me|1|x", 60.0, Pace()).job
        yield times, Waits(ledger, run.id, POLICY, times.clock, shown.append), job, shown


def test_waits_of_a_second_or_more_are_shown(waiting):
    times, waits, _, shown = waiting
    waits.wait(0.0, "nothing")
    waits.wait(0.99, "little")
    assert (times.slept, shown) == ([0.99], [])
    waits.wait(1.0, "something")
    assert times.slept == [0.99, 1.0]
    assert [status.waiting for status in shown] == ["1 s: something"]


def test_a_doubt_lasts_the_listing_delay(waiting):
    times, waits, job, _ = waiting
    assert waits.unlisted(job) == pytest.approx(30.0, abs=1e-3)
    times.pass_by(10.0)
    assert waits.unlisted(job) == pytest.approx(20.0, abs=1e-3)
    times.day += 500.0  # the clock is set: this process does not mind
    assert waits.unlisted(job) == pytest.approx(20.0, abs=1e-3)
    times.pass_by(25.0)
    assert waits.unlisted(job) == 0.0


def test_a_second_job_may_show_up_for_as_long_after_the_sending(waiting):
    times, waits, job, _ = waiting
    assert waits.unverified(dataclasses.replace(job, sent_at=None)) == 0.0
    times.pass_by(12.0)
    assert waits.unverified(job) == pytest.approx(18.0, abs=1e-3)
    times.pass_by(30.0)
    assert waits.unverified(job) == 0.0


def test_a_stamp_of_the_future_was_made_just_now(waiting):
    times, waits, job, _ = waiting
    times.day -= 100.0
    assert waits.unverified(job) == pytest.approx(30.0, abs=1e-3)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(None, 15.0), (math.inf, 15.0), (math.nan, 15.0), (-3.0, 0.0), (7.0, 7.0), (9e9, 3600.0)],
)
def test_a_busy_platform_is_left_alone_for_as_long_as_it_asks(waiting, asked, expected):
    times, waits, _, _ = waiting
    assert waits.busy() == 0.0
    waits.refused(BusyError("full", asked), times.uptime)
    assert waits.busy() == pytest.approx(expected)
    assert waits.why == "the platform is busy: full"
    times.pass_by(expected / 2)
    assert waits.busy() == pytest.approx(expected / 2)
    times.pass_by(expected)
    assert waits.busy() == 0.0
