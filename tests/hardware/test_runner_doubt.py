"""Jobs that the platform may have: nothing is sent twice, and nothing unknown is called failed."""

from __future__ import annotations

import dataclasses
import time
from contextlib import suppress

import pytest
from loopback import Cloud, Drop, EndJob, FaultPlan, Reply
from loopback.answers import OTHER_CRN
from loopback.bench import QUICK, Bench, assert_equal, assert_paid_once, plan
from loopback.plans import SECONDS_A_JOB

from hardware.devices.ibm.device import Deadlines
from hardware.errors import AccountError, BudgetError, RunStateError, ServiceError, UnclearError
from hardware.ledger.ledger import Pace
from hardware.ledger.records import new_claimant
from hardware.planning.plan_file import dump_plan
from hardware.planning.pubs import job_request
from hardware.runs import runner
from hardware.runs.policy import Clock

pytestmark = pytest.mark.usefixtures("quick_retries")

NOT_FOUND = Reply(404)
ESTIMATE = SECONDS_A_JOB + 0.02  # seconds, of a job of `plan`


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return undisturbed results of `plan(3)`."""
    with Bench(tmp_path_factory.mktemp("undisturbed")) as bench:
        run = bench.submit(plan(3))
        assert bench.collect(run).state == "done"
        return bench.results(run)


def assert_books_agree(bench, run):
    spending = bench.ledger.spending(run)
    assert spending.charged == pytest.approx(bench.cloud.consumed)
    assert spending.in_flight == 0


# --- a platform that does not know its jobs -----------------------------------------------------


@pytest.mark.parametrize("which", [1, 2, 3])
def test_one_404_on_a_jobs_status_ends_nothing(tmp_path, expected, which):
    with Bench(tmp_path, faults=FaultPlan({("job", which): NOT_FOUND})) as bench:
        run = bench.submit(plan(3))
        bench.cloud.wait_idle()
        bench.collect(run)
        bench.resume(run)
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == 3
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench, 3)
        assert_books_agree(bench, run)


def test_404_on_every_status_of_listed_jobs_ends_nothing(tmp_path, expected):
    with Bench(tmp_path) as bench:
        run = bench.submit(plan(3))
        bench.cloud.wait_idle()
        bench.faults.always["job"] = NOT_FOUND
        for _ in range(3):
            status = bench.collect(run)
            bench.resume(run)
        assert bench.states(run) == ["submitted"] * 3
        assert "lists job" in status.problems[0]
        bench.faults.always.clear()
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == 3
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench, 3)
        assert_books_agree(bench, run)


def lose(bench):
    """Let the platform forget its jobs; return them."""
    bench.cloud.wait_idle()
    lost = dict(bench.cloud.jobs)
    bench.cloud.jobs.clear()
    return lost


def test_a_lost_job_is_unknown_costs_its_share_and_is_not_sent_again(tmp_path, expected):
    with Bench(tmp_path) as bench:
        run = bench.submit(plan(3), budget=9.0)
        lost = lose(bench)
        first = bench.collect(run, timeout=0)
        assert bench.states(run) == ["submitted"] * 3  # one look is too early
        assert "does not know job" in first.problems[0]
        status = bench.collect(run)
        assert (status.state, status.jobs) == ("failed", {"unknown": 3})
        assert status.spending.charged == 0
        assert status.spending.in_flight == pytest.approx(9.0)  # all that they may have used
        assert "may still be charged" in status.problems[0]
        assert bench.resume(run).jobs == {"unknown": 3}
        assert bench.faults.seen["submit"] == 3
        bench.cloud.jobs |= lost  # as after a login to the right account, or an outage
        assert bench.collect(run).state == "done"
        assert bench.faults.seen["submit"] == 3
        assert_equal(bench.results(run), expected)
        assert_books_agree(bench, run)


def test_a_lost_job_is_sent_again_only_when_asked_for_and_within_the_budget(tmp_path, expected):
    with Bench(tmp_path) as bench:
        run = bench.submit(plan(1), budget=ESTIMATE)
        lose(bench)
        assert bench.collect(run).jobs == {"unknown": 1}
        with pytest.raises(BudgetError, match="budget"):
            bench.resume(run, resubmit_unknown=True)
        assert bench.states(run) == ["unknown"]
        bench.resume(run, resubmit_unknown=True, budget_seconds=2 * ESTIMATE)
        status = bench.collect(run)
        assert status.state == "done"
        assert status.spending.in_flight == pytest.approx(ESTIMATE)  # the lost one's share
        assert_equal(bench.results(run), {0: expected[0]})


@pytest.mark.parametrize("ended", [False, True])
def test_a_lost_job_that_turns_up_after_it_was_sent_again_is_run_once(tmp_path, ended):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(1))
        lost = dict(bench.cloud.jobs)
        bench.cloud.jobs.clear()
        assert bench.collect(run).jobs == {"unknown": 1}
        bench.resume(run, resubmit_unknown=True, budget_seconds=2000.0)
        again = dict(bench.cloud.jobs)
        bench.cloud.jobs |= lost
        if ended:  # before anybody looks, while the second one waits
            for job in again.values():
                job.ready_at = float("inf")
            bench.cloud.release()
            first = next(iter(lost.values()))
            with bench.cloud.changed:
                assert bench.cloud.changed.wait_for(lambda: first.status == "Completed", 10)
        bench.collect(run, timeout=0)
        bench.collect(run, timeout=0)
        assert sorted(job.status for job in bench.cloud.jobs.values()).count("Cancelled") == 1
        bench.cloud.release()
        assert bench.collect(run).state == "done"
        assert_paid_once(bench, 1)
        assert_books_agree(bench, run)


def test_cancelling_reaches_jobs_that_turn_up_again(tmp_path):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(2))
        lost = dict(bench.cloud.jobs)
        bench.cloud.jobs.clear()
        assert bench.collect(run).jobs == {"unknown": 2}
        assert bench.cancel(run).jobs == {"unknown": 2}
        bench.cloud.jobs |= lost
        assert bench.collect(run).jobs == {"cancelled": 2}
        assert {job.status for job in bench.cloud.jobs.values()} == {"Cancelled"}


def test_a_charge_that_the_platform_does_not_tell_is_unknown(tmp_path):
    with Bench(tmp_path, faults=FaultPlan(always={"metrics": NOT_FOUND})) as bench:
        run = bench.submit(plan(2), budget=5.0)
        status = bench.collect(run)
        assert status.state == "done"
        assert (status.spending.charged, status.spending.in_flight) == (0, pytest.approx(5.0))
        bench.faults.always.clear()
        bench.collect(run)
        assert_books_agree(bench, run)


# --- another account ----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["collect", "resume", "cancel"])
def test_another_instance_is_refused(tmp_path, expected, verb):
    other = Cloud()
    faults = FaultPlan({("submit", 1): EndJob("Failed")})
    with Bench(tmp_path, faults=faults, other=other) as bench:
        run = bench.submit(plan(3))
        bench.cloud.wait_idle()
        bench.collect(run, timeout=0)
        before = (bench.ledger.jobs(run), bench.ledger.events(run))
        bench.login(crn=OTHER_CRN)
        with pytest.raises(RunStateError, match="another account or instance") as caught:
            bench.verb(verb, run)
        assert "Log in" in str(caught.value)
        assert before == (bench.ledger.jobs(run), bench.ledger.events(run))
        assert not other.jobs
        bench.login()
        bench.resume(run)
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench, 3)
        assert_books_agree(bench, run)


def test_runs_of_older_ledgers_are_accepted_and_pay_nothing_twice(tmp_path, expected, caplog):
    with Bench(tmp_path, other=Cloud()) as bench:
        run = bench.submit(plan(3))
        with bench.ledger.writing() as db:
            db.execute("UPDATE runs SET instance = NULL")
        bench.login(crn=OTHER_CRN)
        assert bench.collect(run).jobs == {"unknown": 3}
        assert "does not say which account" in caplog.text
        bench.resume(run)
        assert not bench.double.other.jobs
        bench.login()
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench, 3)


# --- when a job may be sent again ---------------------------------------------------------------

PATIENT = dataclasses.replace(QUICK, settle=0.6)


@pytest.mark.parametrize(("upload", "listing"), [(0.9, 0.3), (0.0, 0.5)])
def test_the_listing_delay_counts_from_the_last_byte(tmp_path, expected, upload, listing):
    cloud = Cloud(upload_seconds=upload, listing_seconds=listing)
    faults = FaultPlan({("submit", 1): Drop(after=True)})
    with Bench(tmp_path, cloud, faults, policy=PATIENT) as bench:
        run = bench.submit(plan(1))
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == 1
        assert_equal(bench.results(run), {0: expected[0]})


class DiedError(BaseException):
    """The process ended."""


@pytest.mark.parametrize("verb", ["collect", "resume"])
def test_taking_over_gives_the_platform_time_to_list_the_job(tmp_path, expected, verb):
    with Bench(tmp_path, Cloud(listing_seconds=0.4), policy=PATIENT) as bench:
        send = bench.device.send

        def send_and_die(*request):
            time.sleep(0.7)  # building and uploading it took longer than a listing
            send(*request)
            raise DiedError

        bench.device.send = send_and_die
        with pytest.raises(DiedError):
            bench.submit(plan(1))
        (run,) = (run.id for run in bench.ledger.runs())
        bench.login()
        bench.verb(verb, run)
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == 1
        assert_equal(bench.results(run), {0: expected[0]})


def test_an_upload_that_outlives_our_deadline_is_waited_for(tmp_path, expected):
    policy = dataclasses.replace(PATIENT, lease=2.0)
    with Bench(tmp_path, policy=policy) as bench:
        bench.cloud.uploading.clear()
        bench.login(Deadlines(send=0.3))
        with pytest.raises(ServiceError, match="still on its way") as caught:
            bench.submit(plan(1))
        run = caught.value.run_id
        bench.login()
        assert bench.resume(run).jobs == {"submitting": 1}
        assert not bench.cloud.jobs
        bench.cloud.uploading.set()
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == 1
        assert_equal(bench.results(run), {0: expected[0]})


def test_a_job_in_doubt_is_looked_for_again_right_before_it_is_sent_again(tmp_path, expected):
    policy = dataclasses.replace(QUICK, tries=1)  # shows up after the delay, before the next try
    faults = FaultPlan({("submit", 1): Drop(after=True)})
    with Bench(tmp_path, Cloud(listing_seconds=1e9), faults, policy=policy) as bench:
        with pytest.raises(ServiceError) as caught:
            bench.submit(plan(1))
        run = caught.value.run_id
        assert bench.states(run) == ["planned"]
        bench.cloud.listing_seconds = 0.0
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == 1
        assert_equal(bench.results(run), {0: expected[0]})


@pytest.mark.parametrize("deleted", [False, True])
def test_lists_that_lack_known_jobs_too_prove_no_absence(tmp_path, expected, deleted):
    with Bench(tmp_path) as bench:
        send, sent = bench.device.send, []

        def send_and_die(*request):
            sent.append(send(*request))
            if len(sent) == 2:
                raise DiedError
            return sent[-1]

        bench.device.send = send_and_die
        with pytest.raises(DiedError):
            bench.submit(plan(2))
        bench.login()
        bench.cloud.wait_idle()
        with bench.cloud.changed:  # an outage, or somebody deleted them
            jobs = dict(bench.cloud.jobs)
            bench.cloud.jobs.clear()
        run = run_of(bench)
        for _ in range(2):
            with pytest.raises(UnclearError, match="not sent again, since it might be paid for"):
                bench.resume(run)
        assert not bench.cloud.jobs
        if deleted:
            bench.resume(run, resubmit_unknown=True)
            bench.collect(run)
            assert len(bench.cloud.jobs) >= 1
            return
        with bench.cloud.changed:
            bench.cloud.jobs |= jobs
        bench.resume(run)
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), {idx: expected[idx] for idx in (0, 1)})
        assert_paid_once(bench)
        assert_books_agree(bench, run)


def test_a_job_that_shows_up_after_the_search_is_still_not_sent_again(tmp_path, expected):
    policy = dataclasses.replace(QUICK, tries=1)
    faults = FaultPlan({("submit", 1): Drop(after=True)})
    with Bench(tmp_path, Cloud(listing_seconds=1e9), faults, policy=policy) as bench:
        with pytest.raises(ServiceError):
            bench.submit(plan(1))
        run, find, asked = run_of(bench), bench.device.find, []
        bench.cloud.listing_seconds = 0.0

        def late(tag):
            asked.append(tag)
            return find(tag) if len(asked) > 1 else []

        bench.device.find = late
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == 1
        assert len(asked) >= 2
        assert_equal(bench.results(run), {0: expected[0]})


@pytest.mark.parametrize("tries", [1, 2, 3])
def test_a_failing_submission_is_tried_as_often_as_the_policy_says(tmp_path, tries):
    with Bench(tmp_path, policy=dataclasses.replace(QUICK, tries=tries)) as bench:
        sent = []

        def fails(*request):
            sent.append(request)
            raise UnclearError("lost")

        bench.device.send = fails
        with pytest.raises(UnclearError):
            bench.submit(plan(1))
        assert len(sent) == tries


@pytest.mark.parametrize(("cap", "expected_cap"), [(True, 3), (False, None)])
def test_a_job_is_capped_unless_the_policy_says_otherwise(tmp_path, cap, expected_cap):
    with Bench(tmp_path, policy=dataclasses.replace(QUICK, cap_execution=cap)) as bench:
        send, caps = bench.device.send, []

        def noting(request, tags, max_seconds, batch):
            caps.append(max_seconds)
            return send(request, tags, max_seconds, batch)

        bench.device.send = noting
        bench.submit(plan(1), budget=ESTIMATE)
        assert caps == [expected_cap]


def test_a_sender_whose_claim_was_taken_over_sends_nothing(tmp_path, expected, monkeypatch):
    policy = dataclasses.replace(QUICK, lease=0.2)
    with Bench(tmp_path, policy=policy) as bench:

        def slow(made, idx):
            time.sleep(0.4)  # a laptop that slept, say
            with_other = bench.ledger.leases.take_over(run_of(bench), "other-host|1:1|x", 60.0)
            assert len(with_other) == 1
            return job_request(made, idx)

        monkeypatch.setattr(runner, "job_request", slow)
        bench.submit(plan(1))
        assert not bench.cloud.jobs


def run_of(bench):
    (run,) = bench.ledger.runs()
    return run.id


def abandoned(bench, made):
    """Return a run whose jobs another process was sending when it ended, and their records."""
    run = bench.ledger.create_run(
        plan_hash=made.key, plan_body=dump_plan(made), job_seconds=made.job_seconds,
        target=made.target, device=made.backend, local=False, budget_seconds=100.0,
        instance=bench.device.instance,
    ).id  # fmt: skip
    gone = f"{new_claimant().rsplit('|', 2)[0]}|1:1|x"
    jobs = [bench.ledger.leases.claim_next(run, gone, 60.0, Pace()).job for _ in made.jobs]
    assert all(bench.ledger.leases.begin_send(job, 60.0) for job in jobs)
    return run, jobs


def test_of_two_jobs_that_were_sent_the_one_that_is_done_is_adopted(tmp_path, expected):
    with Bench(tmp_path) as bench:
        made = plan(1)
        run, (job,) = abandoned(bench, made)
        tags = (bench.ledger.run(run).tag, job.tag)
        bench.cloud.hold()
        ids = [bench.device.send(job_request(made, 0), tags, None, None) for _ in range(2)]
        older, newer = (bench.cloud.jobs[each] for each in ids)
        older.ready_at = float("inf")
        bench.cloud.release()
        with bench.cloud.changed:
            assert bench.cloud.changed.wait_for(lambda: newer.status == "Completed", 10)
        bench.resume(run)
        assert bench.ledger.jobs(run)[0].remote_id == newer.id
        assert older.status == "Cancelled"
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), {0: expected[0]})
        assert_paid_once(bench, 1)


def test_the_delays_of_several_jobs_in_doubt_run_at_once(tmp_path):
    began, slept = time.time(), []
    now = lambda: began + sum(slept)  # noqa: E731
    clock = Clock(now=now, sleep=slept.append, monotonic=now)
    policy = dataclasses.replace(QUICK, settle=30.0, pace=Pace())
    with Bench(tmp_path, policy=policy) as bench:
        bench.ledger.now = clock.now
        run, _ = abandoned(bench, plan(3))
        bench.resume(run, clock=clock)
        assert sum(slept) == pytest.approx(30.0)


def test_waits_of_seconds_are_shown(tmp_path, caplog):
    began, slept, seen = time.time(), [], []
    now = lambda: began + sum(slept)  # noqa: E731
    clock = Clock(now=now, sleep=slept.append, monotonic=now)
    policy = dataclasses.replace(QUICK, settle=30.0, pace=Pace())
    with Bench(tmp_path, faults=FaultPlan({("submit", 1): Drop()}), policy=policy) as bench:
        bench.ledger.now = clock.now
        with caplog.at_level("INFO", logger="hardware"):
            bench.submit(plan(1), clock=clock, on_progress=seen.append)
        assert sum(slept) == pytest.approx(30.0)
        assert any("may have been taken" in status.waiting for status in seen)
        assert "waits 8 s" in caplog.text
        assert runner.status(run_of(bench), ledger=bench.ledger).waiting is None


OWN_ERROR = '{"errors": [{"code": 1200, "message": "injected"}]}'


@pytest.mark.parametrize("fault", [Reply(status, OWN_ERROR) for status in (429, 400, 401)])
def test_what_surely_was_not_taken_is_not_waited_for(tmp_path, fault):
    slept = []
    began = time.time()
    now = lambda: began + sum(slept)  # noqa: E731
    clock = Clock(now=now, sleep=slept.append, monotonic=now)
    policy = dataclasses.replace(QUICK, settle=30.0, patience=0.0)
    with Bench(tmp_path, faults=FaultPlan({("submit", 1): fault}), policy=policy) as bench:
        with suppress(AccountError):
            bench.submit(plan(1), clock=clock)
        assert slept == []
