"""When the loop of collecting goes on, and when it gives up for now."""

from __future__ import annotations

from functools import partial

import pytest
from loopback.bench import QUICK, Bench, plan, sender_of

from hardware.errors import BudgetError, ServiceError
from hardware.ledger.leases import Claim
from hardware.runs.collection import Collector
from hardware.runs.policy import Clock
from hardware.runs.rounds import Rounds

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture(params=["one to be sent"])
def rounds(tmp_path, request):
    """The loop of a run with one job under way, that makes trouble, and another to be sent."""
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(2))
        bench.ledger.end(bench.ledger.job(run, 1), "failed", "injected")
        if request.param == "nothing under way":
            bench.ledger.end(bench.ledger.job(run, 0), "failed", "injected")
        if request.param != "none to be sent":
            bench.ledger.reopen(run, budget_seconds=2000.0)
            assert bench.states(run)[1] == "planned"
        with sender_of(bench, run, plan(2)) as sender:
            collector = Collector(sender)
            sender.recover = lambda: None
            collector.look_once = lambda: False
            collector.searches = 0
            collector.adopt_orphans = partial(count_search, collector)
            collector.troubled = lambda idx: True
            yield Rounds(sender, collector, timeout=30.0, on_progress=None)
        bench.cloud.release()


def count_search(collector):
    collector.searches += 1


def fail():
    raise ServiceError("down")


def script(rounds, answers):
    """Let `send_pending` give some answers, errors included, and return what it has given."""
    given = []

    def send_pending():
        given.append(answers[len(given)])
        if isinstance(given[-1], Exception):
            raise given[-1]
        return given[-1]

    rounds._sender.send_pending = send_pending
    return given


def test_a_failing_platform_is_asked_as_often_as_the_policy_says(rounds):
    given = script(rounds, [ServiceError("down")] * (QUICK.tries + 1))
    with pytest.raises(ServiceError):
        rounds.run()
    assert len(given) == QUICK.tries


def test_failures_are_counted_from_the_last_good_round_on(rounds):
    down, full = ServiceError("down"), Claim(blocked="full", wait_seconds=0.01)
    given = script(rounds, [down, down, full, *[down] * (QUICK.tries + 1)])
    with pytest.raises(ServiceError):
        rounds.run()
    assert len(given) == 3 + QUICK.tries


@pytest.mark.parametrize(
    "first", [ServiceError("down"), Claim(blocked="the platform is busy", wait_seconds=0.01)]
)
def test_trouble_is_waited_with_while_a_job_may_still_be_sent(rounds, first):
    given = script(rounds, [first, Claim(blocked="no budget")])
    assert not rounds.run().finished
    assert len(given) == 2
    assert rounds._collector.searches == 1  # once is enough


@pytest.mark.parametrize("rounds", ["nothing under way"], indirect=True)
def test_a_run_with_nothing_under_way_waits_for_the_others(rounds):
    held = Claim(blocked="another run's jobs are pending", others=("another",))
    given = script(rounds, [held, held, ServiceError("a"), ServiceError("b"), ServiceError("c")])
    with pytest.raises(ServiceError):
        rounds.run()
    assert len(given) == 2 + QUICK.tries


@pytest.mark.parametrize("rounds", ["none to be sent"], indirect=True)
def test_trouble_with_all_that_is_left_ends_the_rounds(rounds):
    given = script(rounds, [Claim(), ServiceError("asked again")])
    assert not rounds.run().finished
    assert len(given) == 1


def test_looks_become_rarer_until_one_brings_something(rounds):
    progress, naps = [False, False, True, False, False], []
    rounds._collector.troubled = lambda idx: False
    rounds._sender.clock = Clock(sleep=naps.append, monotonic=lambda: 10.0 * len(naps))
    rounds._until = 40.0
    script(rounds, [Claim(blocked="full")] * 5)
    rounds._collector.look_once = lambda: progress[len(naps)]
    rounds.run()
    shortest, longest = QUICK.poll
    assert naps == pytest.approx([1.5 * shortest, 2.25 * shortest, shortest, 1.5 * shortest])
    assert 2.25 * shortest < longest


def test_a_failing_platform_is_asked_ever_more_rarely(rounds):
    naps = []
    rounds._sender.clock = Clock(sleep=naps.append, monotonic=lambda: 0.0)
    script(rounds, [])
    rounds._sender.recover = fail
    with pytest.raises(ServiceError):
        rounds.run()
    shortest, _ = QUICK.poll
    assert naps == pytest.approx([1.5 * shortest, 2.25 * shortest])


@pytest.mark.parametrize(
    ("rounds", "nap"),
    [("one to be sent", 1.5 * QUICK.poll[0]), ("nothing under way", 5.0)],
    indirect=["rounds"],
)
def test_what_is_under_way_is_looked_at_while_nothing_may_be_sent(rounds, nap):
    naps = []
    rounds._sender.clock = Clock(sleep=naps.append, monotonic=lambda: 100.0 * len(naps))
    rounds._until = 100.0
    rounds._collector.troubled = lambda idx: False
    script(rounds, [Claim(blocked="the platform is busy", wait_seconds=5.0)] * 2)
    rounds.run()
    assert naps == pytest.approx([nap])


def test_jobs_are_sent_again_once_a_session_has_told_its_charge(rounds):
    rounds._collector.troubled = lambda idx: False
    rounds._learn_charges = lambda: True
    given = script(rounds, [BudgetError("too little"), *[ServiceError("down")] * QUICK.tries])
    with pytest.raises(ServiceError):
        rounds.run()
    assert len(given) == 1 + QUICK.tries


def test_a_budget_that_suffices_at_last_is_no_problem_any_more(rounds):
    rounds._learn_charges = lambda: True
    rounds._collector.troubled = lambda idx: False
    script(rounds, [BudgetError("too little"), *[Claim(blocked="full")] * 3])
    seen = []
    rounds._on_progress = lambda status: seen.append(status.problems)
    rounds._sender.clock = Clock(sleep=lambda seconds: None, monotonic=lambda: 10.0 * len(seen))
    rounds._until = 20.0
    rounds.run()
    assert [problems.get(-1) for problems in seen] == ["too little", None]
