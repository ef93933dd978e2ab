"""The runner against the double of the platform: one test for each fault, and for each refusal."""

from __future__ import annotations

import dataclasses
import time
import warnings

import pytest
from loopback import (
    CLOSED_BATCH,
    Cloud,
    Drop,
    EndJob,
    FaultPlan,
    Garble,
    Reply,
    Slow,
)
from loopback.answers import CRN
from loopback.bench import QUICK, Bench, assert_equal, assert_paid_once, plan, undisturbed
from loopback.plans import tiny_plan
from loopback.server import API_KEY

from hardware.devices.ibm.device import Deadlines, PlatformDevice
from hardware.errors import (
    AccountError,
    BudgetError,
    InvalidInputError,
    RunStateError,
    ServiceError,
    UnknownBackendError,
    UnknownRunError,
)
from hardware.ledger.ledger import Ledger, Pace
from hardware.runs import runner
from hardware.runs.policy import Clock

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return undisturbed results of `plan()`, made without the shortened retries."""
    return undisturbed(plan(), tmp_path_factory)


# --- without faults -----------------------------------------------------------------------------


@pytest.mark.parametrize("primitive", ["sampler", "estimator"])
def test_a_run_goes_from_plan_to_results(tmp_path, primitive):
    with Bench(tmp_path) as bench:
        run = bench.submit(tiny_plan(jobs=3, estimator=primitive == "estimator"))
        assert bench.ledger.run(run).state == "submitted"
        seen = []
        status = bench.collect(run, on_progress=seen.append)
        assert (status.state, status.jobs, status.problems) == ("done", {"done": 3}, {})
        assert status.spending.charged == pytest.approx(bench.cloud.consumed)
        assert status.spending.in_flight == 0
        assert seen[-1].finished
        names = {"0/t0", "0/t0/bits"} if primitive == "sampler" else {"0/evs", "0/stds"}
        assert all(set(arrays) == names for arrays in bench.results(run).values())
        assert_paid_once(bench, 3)
        assert len({job.session_id for job in bench.cloud.jobs.values()}) == 1
        assert {s["state"] for s in bench.cloud.sessions.values()} == {"closed"}
        assert bench.faults.seen["session_close"] == 1
        assert bench.collect(run).state == "done"  # nothing left to do
        assert len(bench.cloud.jobs) == 3


def test_a_single_job_needs_no_batch(tmp_path):
    with Bench(tmp_path) as bench:
        run = bench.submit(plan(1))
        assert bench.collect(run).state == "done"
        assert not bench.cloud.sessions
        tags = next(iter(bench.cloud.jobs.values())).tags
        assert tags == (bench.ledger.run(run).tag, bench.ledger.jobs(run)[0].tag)


def test_submit_returns_at_once_and_collect_sends_the_rest_at_the_accounts_pace(tmp_path):
    policy = dataclasses.replace(QUICK, pace=Pace(max_pending=2))
    with Bench(tmp_path, Cloud(pending_cap=2), policy=policy) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(5))
        assert bench.states(run) == ["submitted"] * 2 + ["planned"] * 3
        partial = bench.collect(run, timeout=0)
        assert not partial.finished
        assert bench.results(run) == {}
        bench.cloud.release()
        assert bench.collect(run).jobs == {"done": 5}
        assert bench.faults.seen["submit"] == 5  # the cap was never run into


def test_the_pace_of_submissions_is_waited_for(tmp_path):
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        clock["now"] += seconds

    clock = {"now": 1_800_000_000.0}
    policy = dataclasses.replace(QUICK, pace=Pace(per_minute=2), poll=(1.0, 120.0), settle=0.0)
    with Bench(tmp_path, policy=policy) as bench:
        bench.ledger.close()
        bench.ledger = Ledger(tmp_path / "ledger.sqlite", now=lambda: clock["now"])
        now = lambda: clock["now"]  # noqa: E731
        ticking = Clock(now=now, sleep=sleep, monotonic=now)
        run = bench.submit(plan(5), clock=ticking)
        bench.cloud.wait_idle()
        status = bench.collect(run, clock=ticking, timeout=None)
        assert status.state == "done"
        sent = sorted(job.sent_at for job in bench.ledger.jobs(run))
        minutes = [text[14:16] for text in sent]
        assert minutes == ["00", "00", "01", "01", "02"]
        assert sum(naps) >= 120


def test_results_come_in_as_they_end_and_partial_ones_can_be_used(tmp_path, expected):
    faults = FaultPlan({("submit", 1): EndJob("Failed", "broken")})
    with Bench(tmp_path, faults=faults) as bench:
        run = bench.submit(plan())
        status = bench.collect(run)
        assert status.state == "failed"
        assert "broken" in status.problems[0]
        assert_equal(bench.results(run), {1: expected[1]})


# --- the table of faults ------------------------------------------------------------------------


def test_a_job_that_the_client_sent_twice_is_run_once(tmp_path, expected):
    faults = FaultPlan({("submit", 2): Reply(502, after=True)})
    with Bench(tmp_path, faults=faults) as bench:
        bench.cloud.hold()
        run = bench.submit(plan())
        assert len(bench.cloud.jobs) == 3
        assert [job.status for job in bench.cloud.jobs.values()].count("Cancelled") == 1
        bench.cloud.release()
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)
        assert any("duplicate" in event.what for event in bench.ledger.events(run))
        assert bench.ledger.spending(run).in_flight == 0


def test_a_duplicate_that_was_quicker_is_the_one_that_counts(tmp_path, expected):
    faults = FaultPlan({("submit", 1): Reply(502, after=True), ("jobs", 1): Reply(400)})
    with Bench(tmp_path, faults=faults) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(1))
        first, second = bench.cloud.jobs.values()
        assert bench.ledger.jobs(run)[0].remote_id == second.id  # the client knows the later one
        assert not bench.ledger.jobs(run)[0].verified  # looking for others failed
        second.ready_at = float("inf")
        bench.cloud.release()
        with bench.cloud.changed:
            assert bench.cloud.changed.wait_for(lambda: first.status == "Completed", 10)
        assert bench.collect(run).state == "done"
        assert second.status == "Cancelled"
        assert_equal(bench.results(run), {0: expected[0]})
        assert_paid_once(bench, 1)


def test_a_job_that_is_not_listed_yet_may_not_stand_alone(tmp_path):
    with Bench(tmp_path, Cloud(listing_seconds=1e9)) as bench:
        run = bench.submit(plan(1))
        assert not bench.ledger.jobs(run)[0].verified
        bench.cloud.listing_seconds = 0.0
        bench.collect(run)
        assert bench.ledger.jobs(run)[0].verified


def test_a_job_that_tells_no_tags_is_not_taken_for_another_runs(tmp_path):
    faults = FaultPlan({("submit", 1): Reply(502, after=True), ("jobs", 1): Reply(400)})
    with Bench(tmp_path, faults=faults) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(1))
        first, second = bench.cloud.jobs.values()
        look, find = bench.device.job_status, bench.device.find
        bench.device.job_status = lambda job_id: dataclasses.replace(look(job_id), tags=())
        bench.device.find = lambda tag: [one for one in find(tag) if one.id != second.id]
        bench.resume(run)
        assert bench.ledger.jobs(run)[0].remote_id == second.id
        assert (first.status, second.status) == ("Cancelled", "Queued")
        bench.cloud.release()


REFUSAL = Reply(400, '{"errors": [{"code": 1002, "message": "not valid for this backend"}]}')


@pytest.mark.parametrize(
    "last", [Reply(429), Reply(401), REFUSAL, Reply(403), Reply(404), CLOSED_BATCH]
)
@pytest.mark.parametrize("jobs", [1, 2])
def test_an_answer_to_a_repeated_request_says_nothing_of_the_first(tmp_path, expected, last, jobs):
    faults = FaultPlan({("submit", 1): Reply(502, after=True), ("submit", 2): last})
    with Bench(tmp_path, faults=faults) as bench:
        run = bench.submit(plan(jobs))
        bench.cloud.wait_idle()
        bench.collect(run)
        bench.resume(run)
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == jobs
        assert_equal(bench.results(run), {i: expected[i] for i in range(jobs)})
        assert_paid_once(bench, jobs)


def test_a_job_that_cannot_be_looked_for_without_a_login_is_looked_for_after_it(tmp_path, expected):
    faults = FaultPlan(
        {("submit", 1): Reply(502, after=True), ("submit", 2): Reply(401)}, {"jobs": Reply(401)}
    )
    with Bench(tmp_path, faults=faults) as bench:
        with pytest.raises(AccountError) as caught:
            bench.submit(plan())
        run = caught.value.run_id
        assert bench.states(run) == ["submitting", "planned"]
        bench.faults.always.clear()
        bench.login()
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == 2
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


@pytest.mark.parametrize("verb", ["collect", "resume"])
@pytest.mark.parametrize("late", [False, True])
def test_a_job_that_is_found_after_it_failed_counts(tmp_path, expected, verb, late):
    """Its request was refused at the second try, and the first was listed too late."""
    faults = FaultPlan({("submit", 1): Reply(502, after=True), ("submit", 2): REFUSAL})
    with Bench(tmp_path, Cloud(listing_seconds=1e9), faults) as bench:
        if late:
            bench.cloud.hold()
        run = bench.submit(plan())
        assert bench.states(run) == ["failed", "submitted"]
        bench.cloud.listing_seconds = 0.0
        if not late:
            bench.cloud.wait_idle()
        bench.verb(verb, run, **({"timeout": 0.0} if verb == "collect" else {}))
        bench.cloud.release()
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == 2
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


def test_nothing_is_sent_again_while_it_cannot_be_looked_for(tmp_path):
    with Bench(tmp_path, faults=FaultPlan({("submit", 1): EndJob("Failed")})) as bench:
        run = bench.submit(plan(1))
        assert bench.collect(run).state == "failed"
        bench.faults.always["jobs"] = Reply(500)
        with pytest.raises(ServiceError):
            bench.resume(run)
        assert bench.states(run) == ["failed"]
        assert len(bench.cloud.jobs) == 1


@pytest.mark.parametrize("again", [False, True])
def test_a_finished_stray_of_a_cancelled_job_counts_only_when_asked_for(tmp_path, again):
    with Bench(tmp_path, faults=FaultPlan({("submit", 1): EndJob("Cancelled")})) as bench:
        run = bench.submit(plan(1))
        assert bench.collect(run).state == "cancelled"
        first = next(iter(bench.cloud.jobs.values()))
        bench.cloud.accept(
            {"backend": "ibm_manila", "tags": first.tags, "params": first.params}, None
        )
        bench.cloud.wait_idle()
        assert bench.collect(run).state == "cancelled"
        if again:
            bench.resume(run, resubmit_cancelled=True)
            assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == 2
        assert (bench.results(run) != {}) == again


def test_an_orphan_is_recovered_by_its_tag(tmp_path, expected):
    faults = FaultPlan({("submit", 1): Drop(after=True)})
    with Bench(tmp_path, faults=faults) as bench:
        run = bench.submit(plan())
        assert bench.faults.seen["submit"] == 2
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


def test_an_orphan_that_cannot_be_looked_for_waits_for_the_next_resume(tmp_path, expected):
    faults = FaultPlan({("submit", 1): Drop(after=True)}, {"jobs": Reply(500)})
    with Bench(tmp_path, faults=faults) as bench:
        with pytest.raises(ServiceError) as caught:
            bench.submit(plan())
        run = caught.value.run_id
        assert bench.states(run) == ["submitting", "planned"]
        bench.faults.always.clear()
        bench.resume(run)
        assert bench.states(run) == ["submitted", "submitted"]
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


def test_an_orphan_that_is_listed_late_is_cancelled_when_it_appears(tmp_path, expected):
    cloud = Cloud(listing_seconds=1e9)  # far longer than is waited for
    with Bench(tmp_path, cloud, FaultPlan({("submit", 1): Drop(after=True)})) as bench:
        bench.cloud.hold()
        run = bench.submit(plan())
        assert len(bench.cloud.jobs) == 3
        assert not any(job.verified for job in bench.ledger.jobs(run))
        bench.cloud.listing_seconds = 0.0
        bench.collect(run, timeout=0)
        assert [job.status for job in bench.cloud.jobs.values()].count("Cancelled") == 1
        bench.cloud.release()
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


def test_a_stray_job_of_an_earlier_attempt_is_cancelled_and_its_charge_counts(tmp_path):
    faults = FaultPlan({("submit", 1): EndJob("Failed")})
    with Bench(tmp_path, faults=faults) as bench:
        run = bench.submit(plan(1))
        bench.collect(run)
        bench.resume(run)
        first = next(iter(bench.cloud.jobs.values()))
        bench.collect(run)
        body = {"backend": "ibm_manila", "tags": first.tags, "params": first.params}
        quick = bench.cloud.accept(body, None)
        bench.cloud.wait_idle()
        bench.cloud.hold()
        slow = bench.cloud.accept(body, None)
        bench.collect(run)
        assert (quick.status, slow.status) == ("Completed", "Cancelled")
        assert runner.status(run, ledger=bench.ledger).spending.charged == pytest.approx(
            4.04, rel=0.01
        )


@pytest.mark.parametrize("fault", [Drop(), Reply(502), Garble()])
def test_a_request_that_had_no_effect_is_sent_again(tmp_path, expected, fault):
    with Bench(tmp_path, faults=FaultPlan({("submit", 1): fault})) as bench:
        run = bench.submit(plan())
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


@pytest.mark.parametrize("headers", [(), (("Retry-After", "1"),)])
def test_too_many_requests_are_waited_for(tmp_path, expected, headers):
    began, slept = time.time(), []
    now = lambda: began + sum(slept)  # noqa: E731
    clock = Clock(now=now, sleep=slept.append, monotonic=now)
    own = '{"errors": [{"code": 1200, "message": "slow down"}]}'
    faults = FaultPlan({("submit", 1): Reply(429, own, headers)})
    policy = dataclasses.replace(QUICK, busy=0.5, settle=0.1)
    with Bench(tmp_path, faults=faults, policy=policy) as bench:
        bench.ledger.close()
        bench.ledger = Ledger(tmp_path / "ledger.sqlite", now=clock.now)
        run = bench.submit(plan(), clock=clock)
        # looking for it under its tag takes no longer than the wait that is asked for
        assert sum(slept) == pytest.approx(1.0 if headers else 0.5, abs=1e-3)
        # twice to verify what was sent, once for the doubt, once before the second submission
        assert bench.faults.seen["jobs"] == 4
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)


def test_a_platform_that_stays_busy_leaves_the_rest_to_collect(tmp_path, expected):
    with Bench(tmp_path, faults=FaultPlan(always={"submit": Reply(429)})) as bench:
        run = bench.submit(plan(), policy=dataclasses.replace(QUICK, patience=0.0))
        assert bench.states(run) == ["planned", "planned"]
        del bench.faults.always["submit"]
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)


def test_the_platforms_own_cap_on_pending_jobs_is_waited_for(tmp_path, expected):
    with Bench(tmp_path, Cloud(pending_cap=1)) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(), policy=dataclasses.replace(QUICK, patience=0.0))
        assert bench.states(run) == ["submitted", "planned"]
        assert "pending jobs" in runner.status(run, ledger=bench.ledger).problems[1]
        bench.cloud.release()
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)


@pytest.mark.parametrize("kind", ["submit", "usage", "backend_status", "session_open"])
@pytest.mark.parametrize("fault", [Reply(500), Reply(503), Drop()])
def test_a_platform_that_is_down_leaves_a_run_that_resumes(tmp_path, expected, kind, fault):
    with Bench(tmp_path, faults=FaultPlan(always={kind: fault})) as bench:
        with pytest.raises(ServiceError) as caught:
            bench.submit(plan())
        run = caught.value.run_id
        assert caught.value.exit_code == 1
        assert bench.states(run) == ["planned", "planned"]
        with pytest.raises(ServiceError):
            bench.resume(run)
        bench.faults.always.clear()
        bench.resume(run)
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


@pytest.mark.parametrize("kind", ["jobs", "job", "result", "metrics"])
def test_a_platform_that_fails_during_collection_costs_nothing(tmp_path, expected, kind):
    with Bench(tmp_path) as bench:
        run = bench.submit(plan())
        bench.cloud.wait_idle()
        bench.faults.always[kind] = Reply(500)
        if kind == "jobs":
            with pytest.raises(ServiceError):
                bench.collect(run)
        else:
            status = bench.collect(run)
            assert status.finished == (kind == "metrics")
            if kind != "metrics":
                assert set(status.problems) == {0, 1}
        bench.faults.always.clear()
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)
        assert bench.ledger.spending(run).charged == pytest.approx(bench.cloud.consumed)


def test_a_login_that_is_not_valid_writes_nothing(tmp_path):
    with Bench(tmp_path) as bench:
        bench.double.revoked = True
        with pytest.raises(AccountError) as caught:
            bench.submit(plan())
        assert caught.value.exit_code == 2
        assert bench.ledger.runs() == []
        assert bench.faults.seen["submit"] == 0


def test_a_login_revoked_under_way_stops_cleanly_and_a_new_one_carries_on(tmp_path, expected):
    with Bench(tmp_path, faults=FaultPlan({("submit", 2): Reply(401)})) as bench:
        bench.cloud.hold()
        with pytest.raises(AccountError) as caught:
            bench.submit(plan())
        run = caught.value.run_id
        assert bench.states(run) == ["submitted", "planned"]
        bench.double.revoked = True
        for verb in (bench.resume, bench.collect):
            with pytest.raises(AccountError):
                verb(run)
        bench.double.revoked = False
        bench.cloud.release()
        bench.login()
        bench.resume(run)
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


def test_the_raw_key_is_never_sent_when_the_account_service_is_down(tmp_path, expected):
    with Bench(tmp_path, token_seconds=-1) as bench, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the user's filters must not matter
        run = bench.submit(plan())
        bench.faults.always["token"] = Reply(503)
        with pytest.raises(AccountError, match="not the raw API key"):
            bench.collect(run)
        bench.device = None
        with pytest.raises(AccountError):
            bench.login()
        del bench.faults.always["token"]
        bench.login()
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert bench.double.raw_key_requests == 0


@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        (EndJob("Failed", "qubit fell off", 9999), "qubit fell off"),
        (EndJob("Cancelled", "Ran too long", 1305, paid=1.0), "longer than maximum"),
    ],
)
def test_failed_jobs_say_why_and_are_sent_again_only_on_request(tmp_path, expected, ending, reason):
    with Bench(tmp_path, faults=FaultPlan({("submit", 1): ending})) as bench:
        run = bench.submit(plan())
        status = bench.collect(run)
        assert (status.state, status.jobs) == ("failed", {"failed": 1, "done": 1})
        assert reason in status.problems[0]
        assert status.spending.charged == pytest.approx(bench.cloud.consumed)
        assert bench.collect(run).state == "failed"
        assert bench.faults.seen["submit"] == 2
        bench.resume(run)
        assert bench.faults.seen["submit"] == 3
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


def test_a_job_cancelled_elsewhere_is_never_sent_again_unasked(tmp_path, expected):
    with Bench(tmp_path, faults=FaultPlan({("submit", 1): EndJob("Cancelled")})) as bench:
        run = bench.submit(plan())
        assert bench.collect(run).state == "cancelled"
        assert bench.states(run) == ["cancelled", "done"]
        with pytest.raises(RunStateError, match="cancelled"):
            bench.resume(run)
        assert bench.faults.seen["submit"] == 2
        assert_equal(bench.results(run), {1: expected[1]})
        bench.resume(run, resubmit_cancelled=True)
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)


@pytest.mark.parametrize("body", ["<html>gateway</html>", '"text"', "[1]", "{}", ""])
def test_a_result_that_is_none_is_fetched_again(tmp_path, expected, body):
    faults = FaultPlan({("result", 1): Garble(body), ("result", 2): Garble(body)})
    with Bench(tmp_path, faults=faults) as bench:
        run = bench.submit(plan())
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


def test_a_result_that_never_comes_right_does_not_keep_the_others(tmp_path, expected):
    with Bench(tmp_path, faults=FaultPlan(always={"result": Garble()})) as bench:
        run = bench.submit(plan())
        status = bench.collect(run)
        assert not status.finished
        assert status.state == "submitted"
        assert "cannot decode" in status.problems[0]
        bench.faults.always.clear()
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


def test_a_slow_download_ends_at_our_deadline(tmp_path, expected):
    with Bench(tmp_path, faults=FaultPlan({("result", 1): Slow(3.0)})) as bench:
        bench.login(Deadlines(download=0.3))
        run = bench.submit(plan())
        bench.cloud.wait_idle()
        assert bench.collect(run).state == "done"
        assert bench.faults.seen["result"] == 3  # the second try was quick
        assert_equal(bench.results(run), expected)


def test_a_submission_without_an_answer_ends_at_our_deadline(tmp_path, expected):
    with Bench(tmp_path, faults=FaultPlan({("submit", 1): Slow(2.0)})) as bench:
        bench.login(Deadlines(send=0.5))
        bench.cloud.hold()
        run = bench.submit(plan())
        assert bench.faults.seen["submit"] == 2
        bench.cloud.release()
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


def test_a_closed_batch_is_replaced(tmp_path, expected):
    with Bench(tmp_path, faults=FaultPlan({("submit", 2): CLOSED_BATCH})) as bench:
        run = bench.submit(plan())
        assert len(bench.cloud.sessions) == 2
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)


def test_a_batch_that_ended_before_the_run_was_resumed_is_replaced(tmp_path, expected):
    policy = dataclasses.replace(QUICK, pace=Pace(max_pending=1))
    with Bench(tmp_path, policy=policy) as bench:
        run = bench.submit(plan())
        for session in bench.cloud.sessions.values():
            session |= {"state": "closed", "accepting_jobs": False}
        bench.login()
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)


def test_a_job_that_the_platform_refuses_fails_with_its_reason(tmp_path):
    refusal = Reply(400, '{"errors": [{"code": 1002, "message": "not valid for this backend"}]}')
    with Bench(tmp_path, faults=FaultPlan({("submit", 1): refusal})) as bench:
        run = bench.submit(plan())
        status = bench.collect(run)
        assert status.state == "failed"
        assert "not valid for this backend" in status.problems[0]
        assert bench.states(run) == ["failed", "done"]


# --- budget and misuse --------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [None, -1.0, float("nan"), float("inf"), 4.0])
def test_a_budget_that_is_missing_wrong_or_too_small_writes_nothing(tmp_path, budget):
    with Bench(tmp_path) as bench:
        with pytest.raises(BudgetError, match="budget") as caught:
            bench.submit(plan(), budget=budget)
        assert caught.value.exit_code == 2
        assert bench.ledger.runs() == []
        assert bench.faults.seen["submit"] == 0


def test_the_budget_holds_over_resumes(tmp_path):
    faults = FaultPlan({("submit", 1): EndJob("Failed", "broken", paid=1.5)})
    with Bench(tmp_path, faults=faults) as bench:
        run = bench.submit(plan(), budget=4.1)
        assert bench.collect(run).state == "failed"
        with pytest.raises(BudgetError, match=r"budget of 4.1 s"):
            bench.resume(run)
        assert bench.faults.seen["submit"] == 2
        with pytest.raises(BudgetError, match="zero or more"):
            bench.resume(run, budget_seconds=-1.0)
        bench.resume(run, budget_seconds=10.0)
        assert bench.collect(run).state == "done"
        assert bench.cloud.consumed < 10.0


def test_the_platform_stops_a_job_that_takes_more_than_its_cap(tmp_path):
    with Bench(tmp_path) as bench:
        run = bench.submit(tiny_plan(jobs=1, job_seconds=0.7), budget=1.0)
        status = bench.collect(run)
        assert status.state == "failed"
        assert "longer than maximum" in status.problems[0]
        assert bench.cloud.consumed == 1.0


def test_a_plan_beyond_what_the_account_has_left_writes_nothing(tmp_path):
    with Bench(tmp_path, Cloud(allowance=4.0)) as bench:
        with pytest.raises(BudgetError, match="QPU time left"):
            bench.submit(plan(2))
        assert bench.ledger.runs() == []
        bench.collect(bench.submit(plan(1)))
        assert bench.device.remaining() == pytest.approx(4.0 - bench.cloud.consumed)
        with pytest.raises(BudgetError, match="QPU time left"):
            bench.submit(plan(1))
        assert bench.faults.seen["submit"] == 1


def test_an_account_whose_time_runs_out_keeps_what_it_has_paid_for(tmp_path, expected):
    policy = dataclasses.replace(QUICK, pace=Pace(max_pending=1))
    with Bench(tmp_path, policy=policy) as bench, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the user's filters must not matter
        run = bench.submit(plan())
        bench.cloud.wait_idle()
        bench.cloud.allowance = 1.0
        with pytest.raises(BudgetError, match="limit on usage"):
            bench.collect(run)
        assert bench.states(run) == ["done", "planned"]
        assert_equal(bench.results(run), {0: expected[0]})
        bench.cloud.allowance = 600.0
        assert bench.collect(run).state == "done"


def test_cancelling_stops_what_has_not_ended_and_keeps_what_has(tmp_path, expected):
    policy = dataclasses.replace(QUICK, pace=Pace(max_pending=2))
    with Bench(tmp_path, policy=policy) as bench:
        run = bench.submit(plan(4))
        bench.cloud.wait_idle()
        bench.cloud.hold()
        bench.collect(run, timeout=0)
        status = bench.cancel(run)
        assert status.state == "cancelled"
        assert bench.states(run) == ["done", "done", "cancelled", "cancelled"]
        assert {job.status for job in bench.cloud.jobs.values()} == {"Completed", "Cancelled"}
        assert_equal(bench.results(run), expected)
        assert bench.collect(run).state == "cancelled"
        with pytest.raises(RunStateError):
            bench.resume(run)
        bench.cancel(run)  # again, harmlessly


def test_a_job_accepted_while_its_run_is_cancelled_elsewhere_is_cancelled_too(tmp_path):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        send = bench.device.send

        def send_meanwhile(*request):
            accepted = send(*request)
            with Ledger(bench.ledger.path) as elsewhere:
                elsewhere.cancel(elsewhere.runs()[0].id)
            return accepted

        bench.device.send = send_meanwhile
        run = bench.submit(plan())
        assert bench.states(run) == ["cancelled", "cancelled"]
        assert [job.status for job in bench.cloud.jobs.values()] == ["Cancelled"]


def test_cancelling_goes_on_where_the_platform_failed(tmp_path):
    with Bench(tmp_path, faults=FaultPlan(always={"cancel": Reply(500)})) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(3))
        with pytest.raises(ServiceError):
            bench.cancel(run)
        assert bench.ledger.run(run).state == "cancelled"
        bench.faults.always.clear()
        bench.cancel(run)
        assert bench.states(run) == ["cancelled"] * 3
        assert {job.status for job in bench.cloud.jobs.values()} == {"Cancelled"}


def test_a_job_that_ended_before_it_could_be_cancelled_is_still_collected(tmp_path, expected):
    with Bench(tmp_path) as bench:
        run = bench.submit(plan())
        bench.cloud.wait_idle()
        bench.cancel(run)
        assert bench.collect(run).state == "cancelled"
        assert_equal(bench.results(run), expected)


def test_a_finished_run_can_be_neither_cancelled_nor_lost(tmp_path):
    with Bench(tmp_path) as bench:
        run = bench.submit(plan(1))
        bench.collect(run)
        with pytest.raises(RunStateError):
            bench.cancel(run)
        before = bench.faults.seen["submit"]
        assert bench.resume(run).state == "done"
        assert bench.faults.seen["submit"] == before


def test_runs_that_are_unknown_or_ran_elsewhere(tmp_path):
    with Bench(tmp_path, Cloud(("ibm_manila", "ibm_lagos"))) as bench:
        with pytest.raises(UnknownRunError):
            bench.collect("nothing")
        run = bench.submit(plan(1))
        bench.device = PlatformDevice(bench.double.service(), "ibm_lagos")
        with pytest.raises(RunStateError, match="ibm_manila"):
            bench.collect(run)
        with pytest.raises(InvalidInputError, match="ibm_manila"):
            bench.submit(plan(1))
        assert len(bench.ledger.runs()) == 1
        with pytest.raises(UnknownBackendError, match="ibm_nowhere"):
            PlatformDevice(bench.double.service(), "ibm_nowhere")


def test_neither_key_nor_account_name_reach_the_ledger(tmp_path):
    faults = FaultPlan(
        {("submit", 1): Reply(400, f'{{"message": "{CRN} apikey {API_KEY}"}}')},
    )
    with Bench(tmp_path, faults=faults) as bench:
        run = bench.submit(plan())
        bench.double.revoked = True
        with pytest.raises(AccountError):
            bench.collect(run)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"[removed]" in written
    for secret in (API_KEY, CRN, *bench.double.answers.tokens):
        assert secret.encode() not in written


def test_a_budget_that_is_held_by_jobs_under_way_is_waited_for(tmp_path, expected):
    faults = FaultPlan({("submit", 1): EndJob("Failed")})
    with Bench(tmp_path, faults=faults) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(), budget=8.0)
        first, second = bench.cloud.jobs.values()
        second.ready_at = float("inf")
        bench.cloud.release()
        with bench.cloud.changed:
            assert bench.cloud.changed.wait_for(lambda: first.status == "Failed", 10)
        bench.faults.always["metrics"] = Reply(500)
        bench.collect(run, timeout=0)
        with bench.ledger.writing() as db:  # as after a long run whose last jobs hold what is left
            db.execute("UPDATE jobs SET reserved_seconds = 7 WHERE idx = 1")
        status = bench.resume(run)
        assert "budget of 8 s" in status.problems[-1]
        assert bench.states(run) == ["planned", "submitted"]
        bench.faults.always.clear()
        assert not bench.collect(run, timeout=0.3).finished
        second.ready_at = 0.0
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)


def test_another_run_that_nobody_collected_holds_nothing_back(tmp_path):
    policy = dataclasses.replace(QUICK, pace=Pace(max_pending=3))
    with Bench(tmp_path, policy=policy) as bench:
        first = bench.submit(plan(3))
        second = bench.submit(tiny_plan(jobs=1, rows=3))
        bench.cloud.wait_idle()
        assert bench.states(first) == ["submitted"] * 3
        assert bench.collect(second).state == "done"
        assert bench.states(first) == ["submitted"] * 3
        assert bench.collect(first).state == "done"


def test_another_run_that_does_hold_a_run_back_is_named(tmp_path):
    policy = dataclasses.replace(QUICK, pace=Pace(max_pending=3))
    with Bench(tmp_path, policy=policy) as bench:
        bench.cloud.hold()
        first = bench.submit(plan(3))
        second = bench.submit(tiny_plan(jobs=1, rows=3))
        for status in (bench.collect(second, timeout=0.2), bench.resume(second)):
            assert f"run {first} has 3 jobs not collected" in status.problems[-1]
            assert f"qhead collect {first}" in status.problems[-1]
        assert len(bench.cloud.jobs) == 3
        bench.cloud.release()
        status = bench.collect(second)
        assert (status.state, status.problems) == ("done", {})


def test_jobs_whose_sender_died_hold_no_other_run_back(tmp_path):
    policy = dataclasses.replace(QUICK, pace=Pace(max_pending=1))
    faults = FaultPlan({("submit", 1): Drop()}, {"jobs": Reply(500)})
    with Bench(tmp_path, faults=faults, policy=policy) as bench:
        with pytest.raises(ServiceError) as caught:
            bench.submit(plan(1))
        assert bench.states(caught.value.run_id) == ["submitting"]
        bench.faults.always.clear()
        assert bench.collect(bench.submit(tiny_plan(jobs=1, rows=3))).state == "done"


def test_a_resume_that_its_budget_refuses_changes_nothing(tmp_path):
    faults = FaultPlan({("submit", 1): EndJob("Failed", "broken", paid=1.5)})
    with Bench(tmp_path, faults=faults) as bench:
        run = bench.submit(plan(), budget=4.1)
        assert bench.collect(run).state == "failed"
        before = (bench.ledger.run(run), bench.ledger.jobs(run), bench.ledger.events(run))
        for budget in (None, 0.5, 3.0, 5.0):
            with pytest.raises(BudgetError, match="budget"):
                bench.resume(run, budget_seconds=budget)
            assert before == (
                bench.ledger.run(run),
                bench.ledger.jobs(run),
                bench.ledger.events(run),
            )
        bench.resume(run, budget_seconds=6.0)
        assert bench.collect(run).state == "done"
        with pytest.raises(BudgetError, match="at least what it uses"):
            bench.resume(run, budget_seconds=1.0)
        assert bench.ledger.run(run).budget_seconds == 6.0


def test_a_damaged_result_keeps_no_other_back_and_is_fetched_again(tmp_path, expected):
    with Bench(tmp_path) as bench:
        run = bench.submit(plan())
        assert bench.collect(run).state == "done"
        with bench.ledger.writing() as db:
            db.execute("UPDATE results SET arrays = substr(arrays, 2) WHERE idx = 0")
        assert_equal(bench.results(run), {1: expected[1]})
        bench.faults.always["result"] = Reply(500)
        status = bench.collect(run)
        assert "stored result is damaged" in status.problems[0]
        assert_equal(bench.results(run), {1: expected[1]})
        bench.faults.always.clear()
        status = bench.collect(run)
        assert (status.state, status.problems) == ("done", {})
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


def test_collecting_ends_where_only_trouble_is_left(tmp_path):
    policy = dataclasses.replace(QUICK, pace=Pace(max_pending=1))
    with Bench(tmp_path, faults=FaultPlan(always={"result": Garble()}), policy=policy) as bench:
        run = bench.submit(plan())
        status = bench.collect(run, timeout=None)
        assert bench.states(run) == ["submitted", "planned"]
        assert set(status.problems) == {0}


def test_a_batch_stays_open_as_long_as_its_run(tmp_path):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(2))
        bench.collect(run, timeout=0.0)
        assert bench.faults.seen["session_close"] == 0
        assert bench.ledger.run(run).batch_id is not None
        bench.cloud.release()
        assert bench.collect(run).state == "done"
        assert bench.faults.seen["session_close"] == 1
        assert bench.ledger.run(run).batch_id is None


def test_the_blocking_form_pays_anew_unless_it_may_reuse(tmp_path):
    with Bench(tmp_path) as bench:
        means = {**bench.means, "budget_seconds": 100.0, "policy": QUICK, "timeout": 20.0}
        for _ in range(2):
            runner.execute(plan(1), **means)
        assert len(bench.cloud.jobs) == 2
        runner.execute(plan(1), **means, reuse=True)
        assert len(bench.cloud.jobs) == 2


@pytest.mark.parametrize("budget", [0.0, 0.5])
def test_a_new_budget_below_what_is_left_is_refused_by_what_is_left(tmp_path, budget):
    with Bench(tmp_path, faults=FaultPlan({("submit", 1): EndJob("Failed")})) as bench:
        run = bench.submit(plan(1))
        bench.collect(run)
        with pytest.raises(BudgetError, match="to fit in its budget"):
            bench.resume(run, budget_seconds=budget)
        assert bench.faults.seen["submit"] == 1


def test_the_runs_own_pending_jobs_are_no_problem_of_it(tmp_path):
    policy = dataclasses.replace(QUICK, pace=Pace(max_pending=1), patience=0.0)
    with Bench(tmp_path, policy=policy) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(2))
        assert bench.states(run) == ["submitted", "planned"]
        assert bench.resume(run).problems == {}
        other = bench.submit(plan(1))
        assert run in bench.resume(other).problems[-1]
        bench.cloud.release()
