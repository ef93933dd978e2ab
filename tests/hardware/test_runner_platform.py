"""A platform that forgets, repeats itself, speaks other words or answers for another job."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time

import pytest
from loopback import Change, Cloud, Drop, FaultPlan, Reply
from loopback.bench import QUICK, Bench, assert_equal, assert_paid_once, plan, undisturbed

from hardware.devices.base import RemoteJob
from hardware.devices.ibm.device import Deadlines
from hardware.errors import ServiceError
from hardware.ledger.ledger import Ledger, Pace
from hardware.runs.policy import Clock
from hardware.runs.submission import _rank

pytestmark = pytest.mark.usefixtures("quick_retries")

ONE_BY_ONE = dataclasses.replace(QUICK, pace=Pace(max_pending=1), patience=0.0)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return undisturbed(plan(), tmp_path_factory)


def error(status, code, message, **how):
    return Reply(status, json.dumps({"errors": [{"code": code, "message": message}]}), **how)


# --- batches ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 403, 404, 409, 410])
def test_a_batch_that_a_new_process_cannot_open_is_replaced(tmp_path, expected, status):
    with Bench(tmp_path, policy=ONE_BY_ONE) as bench:
        run = bench.submit(plan())
        bench.cloud.wait_idle()
        bench.login()
        bench.faults.always["session"] = error(status, 1291, "Session gone")
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.sessions) == 2
        assert_equal(bench.results(run), expected)


def test_a_batch_that_the_platform_forgot_is_replaced(tmp_path, expected):
    with Bench(tmp_path, policy=ONE_BY_ONE) as bench:
        run = bench.submit(plan())
        bench.cloud.wait_idle()
        bench.cloud.sessions.clear()
        bench.login()
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)


@pytest.mark.parametrize(
    "answer",
    [
        error(404, 1216, "Session not found."),
        error(409, 1300, "batch is not accepting jobs"),
        error(400, 1300, "The batch has expired."),
    ],
)
def test_a_batch_that_takes_no_jobs_is_replaced_whatever_the_words(tmp_path, expected, answer):
    with Bench(tmp_path, faults=FaultPlan({("submit", 1): answer})) as bench:
        run = bench.submit(plan())
        assert bench.states(run) == ["submitted", "submitted"]
        assert len(bench.cloud.sessions) == 2
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)


# --- second payments ----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["collect", "resume"])
def test_a_restored_ledger_finds_what_was_sent_since(tmp_path, verb):
    with Bench(tmp_path, policy=ONE_BY_ONE) as bench:
        run = bench.submit(plan(3))
        bench.ledger.close()
        shutil.copy(bench.ledger.path, tmp_path / "copy.sqlite")
        bench.ledger = Ledger(bench.ledger.path)
        bench.cloud.wait_idle()
        bench.collect(run, timeout=0)
        assert bench.states(run) == ["done", "submitted", "planned"]  # its batch is still open
        bench.cloud.wait_idle()
        bench.ledger.close()
        bench.ledger = Ledger(tmp_path / "copy.sqlite")
        bench.login()
        bench.verb(verb, run)
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == 3
        assert_paid_once(bench, 3)


@pytest.mark.parametrize("status", [401, 403, 409, 429])
def test_a_gateways_refusal_after_acceptance_is_doubted(tmp_path, expected, status):
    fault = Reply(status, '{"errors": [{"code": 5, "message": "injected"}]}', after=True)
    policy = dataclasses.replace(QUICK, settle=1.0)
    cloud = Cloud(listing_seconds=0.3)
    with Bench(tmp_path, cloud, FaultPlan({("submit", 1): fault}), policy) as bench:
        run = bench.submit(plan(1))
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == 1
        assert_equal(bench.results(run), {0: expected[0]})


def test_a_second_job_that_is_listed_after_the_run_is_found(tmp_path):
    fault = Reply(502, after=True)
    policy = dataclasses.replace(QUICK, settle=0.8)
    cloud = Cloud(listing_seconds=0.8)
    with Bench(tmp_path, cloud, FaultPlan({("submit", 1): fault}), policy) as bench:
        run = bench.submit(plan(1))
        bench.cloud.wait_idle()
        status = bench.collect(run)
        assert status.state == "done"
        if bench.ledger.unverified(run):  # unless this machine was very slow
            assert "taken twice" in status.problems[-2]
        time.sleep(0.9)
        status = bench.collect(run)
        assert -2 not in status.problems
        assert status.spending.charged == pytest.approx(bench.cloud.consumed)
        assert not bench.ledger.unverified(run)


def test_an_answer_with_the_id_of_another_job_is_not_believed(tmp_path, expected):
    with Bench(tmp_path) as bench:

        def first_id(answer):
            return {**answer, "id": next(iter(bench.cloud.jobs))}

        bench.faults.at["submit", 2] = Change(first_id)
        run = bench.submit(plan())
        ids = [job.remote_id for job in bench.ledger.jobs(run)]
        assert ids == list(bench.cloud.jobs)
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


def test_an_answer_with_the_id_of_a_foreign_job_is_not_believed(tmp_path, expected):
    with Bench(tmp_path) as bench:
        bench.submit(plan(1))
        (foreign,) = bench.cloud.jobs
        bench.ledger.close()
        bench.ledger = Ledger(tmp_path / "another.sqlite")
        bench.faults.soon("submit", Change(lambda answer: {**answer, "id": foreign}))
        run = bench.submit(plan())
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert foreign not in bench.ledger.remote_states(run)
        assert bench.cloud.jobs[foreign].status == "Completed"


def test_an_upload_that_succeeds_after_our_deadline_is_taken_over_here(tmp_path, expected):
    with Bench(tmp_path) as bench:
        bench.cloud.uploading.clear()
        bench.login(Deadlines(send=0.3))
        with pytest.raises(ServiceError, match="still on its way") as caught:
            bench.submit(plan(1))
        run = caught.value.run_id
        assert bench.resume(run).jobs == {"submitting": 1}
        bench.cloud.uploading.set()
        tag = bench.ledger.jobs(run)[0].tag
        until = time.monotonic() + 20
        while bench.device.leaving(tag) and time.monotonic() < until:
            time.sleep(0.02)
        assert bench.resume(run).jobs == {"submitted": 1}  # with a lease of twenty minutes
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == 1
        assert_equal(bench.results(run), {0: expected[0]})


# --- what the platform says ---------------------------------------------------------------------


def all_pending(bench):
    """Let the platform ignore the filter of its list."""
    find = bench.cloud.find
    bench.cloud.find = lambda tags, session, pending, ascending: find(
        tags, session, None, ascending
    )


def test_a_platform_that_lists_all_jobs_as_pending_is_seen_through(tmp_path, expected):
    with Bench(tmp_path) as bench:
        all_pending(bench)
        run = bench.submit(plan())
        bench.cloud.wait_idle()
        assert bench.collect(run, timeout=0).state == "done"
        assert_equal(bench.results(run), expected)


def in_words(word):
    def change(job):
        if job["state"]["status"] == "Completed":
            job["state"]["status"] = word
        return job

    return Change(change)


@pytest.mark.parametrize("word", ["Archived", "Success"])
def test_an_unknown_word_for_an_end_is_named_and_the_result_asked_for(tmp_path, expected, word):
    with Bench(tmp_path, faults=FaultPlan(always={"job": in_words(word)})) as bench:
        run = bench.submit(plan())
        bench.cloud.wait_idle()
        first = bench.collect(run, timeout=0)
        assert f"'{word.upper()}', which this version does not know" in first.problems[0]
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)


def test_an_unknown_state_without_a_result_ends_as_unknown(tmp_path):
    always = {"job": in_words("Frozen"), "result": error(404, 1291, "no result")}
    policy = dataclasses.replace(QUICK, settle=0.02)
    with Bench(tmp_path, faults=FaultPlan(always=always), policy=policy) as bench:
        run = bench.submit(plan(1))
        bench.cloud.wait_idle()
        status = bench.collect(run)
        assert (status.state, status.jobs) == ("failed", {"unknown": 1})
        assert "'FROZEN'" in status.problems[0]


def test_a_run_of_which_all_jobs_are_refused_has_failed(tmp_path):
    refusal = error(400, 1002, "not valid for this backend")
    with Bench(tmp_path, faults=FaultPlan(always={"submit": refusal})) as bench:
        run = bench.submit(plan())
        assert bench.ledger.run(run).state == "failed"


@pytest.mark.parametrize("verb", ["cancel", "collect"])
def test_a_cancelled_job_that_runs_nevertheless_is_brought_in(tmp_path, expected, verb):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan())
        bench.cloud.cancel = lambda job: True
        if verb == "collect":
            assert bench.cancel(run).jobs == {"cancelled": 2}
            bench.cloud.release()
        else:
            look = bench.device.job_status

            def late(job_id):  # it ends between the request to cancel it and the next look
                bench.cloud.release()
                bench.cloud.wait_idle()
                return look(job_id)

            bench.device.job_status = late
            bench.cancel(run)
        bench.cloud.wait_idle()
        assert bench.collect(run).jobs == {"done": 2}
        assert bench.faults.seen["submit"] == 2
        assert_equal(bench.results(run), expected)


# --- time ---------------------------------------------------------------------------------------


def test_what_the_platform_asks_to_wait_is_kept_between_rounds(tmp_path):
    began, slept = time.time(), []

    def now():
        return began + sum(slept)

    clock = Clock(now=now, sleep=slept.append, monotonic=now)
    busy = Reply(429, '{"errors": [{"code": 1200, "message": "x"}]}', (("Retry-After", "120"),))
    policy = dataclasses.replace(QUICK, patience=0.0, poll=(1.0, 2.0))
    with Bench(tmp_path, faults=FaultPlan(always={"submit": busy}), policy=policy) as bench:
        run = bench.submit(plan(1), clock=clock)
        status = bench.collect(run, clock=clock, timeout=300.0)
        assert bench.faults.seen["submit"] <= 1 + 4  # at 0, 120, 240 and 300 seconds
        assert "busy" in status.problems[-1]


class Steps:
    """A clock that somebody sets."""

    def __init__(self):
        self.step = 0.0
        self.slept = 0.0

    def now(self):
        return time.time() + self.step + self.slept

    def monotonic(self):
        return time.monotonic() + self.slept

    def sleep(self, seconds):
        self.slept += seconds


def test_a_clock_set_back_makes_no_doubt_last(tmp_path, expected):
    steps = Steps()
    clock = Clock(steps.now, steps.sleep, steps.monotonic)
    faults = FaultPlan({("submit", 1): Drop()}, {"jobs": Reply(500)})
    policy = dataclasses.replace(QUICK, settle=20.0)
    with Bench(tmp_path, faults=faults, policy=policy) as bench:
        bench.ledger.now = steps.now
        with pytest.raises(ServiceError) as caught:
            bench.submit(plan(1), clock=clock)
        bench.faults.always.clear()
        steps.step, steps.slept = -3600.0, 0.0
        bench.resume(caught.value.run_id, clock=clock)
        assert steps.slept <= 20.0 + 1e-6
        assert bench.states(caught.value.run_id) == ["submitted"]


def test_a_clock_set_forward_cuts_no_doubt_short(tmp_path, expected):
    steps = Steps()

    def sleep(seconds):
        steps.step += 3600.0
        time.sleep(seconds)

    clock = Clock(steps.now, sleep, steps.monotonic)
    policy = dataclasses.replace(QUICK, settle=1.2)
    faults = FaultPlan({("submit", 1): Drop(after=True)})
    with Bench(tmp_path, Cloud(listing_seconds=0.5), faults, policy) as bench:
        bench.ledger.now = steps.now
        run = bench.submit(plan(1), clock=clock)
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == 1


def test_a_clock_set_back_holds_the_pace_for_a_minute_at_most(tmp_path):
    steps = Steps()
    policy = dataclasses.replace(QUICK, pace=Pace(per_minute=1), patience=0.0)
    with Bench(tmp_path, policy=policy) as bench:
        bench.ledger.now = steps.now
        run = bench.submit(plan())
        steps.step = -3600.0
        claim = bench.ledger.leases.claim_next(run, "me", 10.0, policy.pace)
        assert claim.wait_seconds <= 60.0
        steps.step += 61.0
        assert bench.ledger.leases.claim_next(run, "me", 10.0, policy.pace).job is not None


def test_of_several_jobs_under_one_tag_the_one_furthest_on_counts():
    states = ("DONE", "RUNNING", "QUEUED", "UNKNOWN", "ERROR")
    newest_first = [RemoteJob(state, (), str(9 - i), state) for i, state in enumerate(states)]
    assert sorted([*newest_first[3:], *newest_first[:3]], key=_rank) == newest_first
    alike = [("QUEUED", "INITIALIZING"), ("ERROR", "CANCELLED"), ("ERROR", "PAUSED")]
    for one, other in alike:
        pair = [RemoteJob("old", (), "1", one), RemoteJob("new", (), "2", other)]
        assert sorted(pair, key=_rank) == pair
        pair = [RemoteJob("old", (), "1", other), RemoteJob("new", (), "2", one)]
        assert sorted(pair, key=_rank) == pair
