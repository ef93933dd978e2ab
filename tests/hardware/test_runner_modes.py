"""Job, batch and session mode, private jobs and own tags, on the double and with its faults."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from loopback import Change, Cloud, Drop, EndJob, FaultPlan, Reply
from loopback.bench import QUICK, Bench, assert_equal, assert_paid_once, undisturbed
from loopback.faults import CLOSED_BATCH
from loopback.plans import tiny_plan
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp

import hardware
from hardware import Workload
from hardware.devices.backend import BackendDevice
from hardware.emulation.fake import local_device
from hardware.errors import (
    AccountError,
    BudgetError,
    BusyError,
    PlanError,
    RefusedError,
    RunError,
    RunStateError,
    UnclearError,
)
from hardware.ledger.budget import cap_seconds
from hardware.ledger.ledger import Ledger, Pace
from hardware.ledger.records import new_claimant
from hardware.planning.options import MAX_TAG_LENGTH, MAX_TAGS, PlanOptions
from hardware.planning.plan_file import dump_plan, load_submitted
from hardware.planning.planner import SESSION
from hardware.runs import runner
from hardware.runs.permission import check_abilities, check_options, checked_budget, plan_budget
from hardware.runs.sessions import close_sessions

pytestmark = pytest.mark.usefixtures("quick_retries")

ONE_BY_ONE = dataclasses.replace(QUICK, pace=Pace(max_pending=1), patience=0.0)
#: Two jobs of about two seconds, the first session's limit and a margin for the longest.
BUDGET = 20.0


def session_plan(jobs=2, **sending):
    return tiny_plan(jobs=jobs, mode="session", **sending)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return undisturbed(tiny_plan(jobs=2), tmp_path_factory)


def sessions_of(bench):
    return [one for one in bench.cloud.sessions.values() if one["mode"] == "dedicated"]


# --- modes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "jobs", "opened"),
    [
        (None, 1, []),
        (None, 2, ["batch"]),
        ("job", 2, []),
        ("batch", 1, ["batch"]),
        ("session", 1, ["dedicated"]),
        ("session", 2, ["dedicated"]),
    ],
)
def test_jobs_go_out_in_the_mode_of_the_plan(tmp_path, mode, jobs, opened):
    plan = tiny_plan(jobs=jobs) if mode is None else tiny_plan(jobs=jobs, mode=mode)
    with Bench(tmp_path) as bench:
        run = bench.submit(plan, budget=BUDGET)
        assert bench.collect(run).state == "done"
        assert [one["mode"] for one in bench.cloud.sessions.values()] == opened
        homes = {job.session_id for job in bench.cloud.jobs.values()}
        assert homes == (set(bench.cloud.sessions) or {None})
        assert_paid_once(bench, jobs)
        assert {bench.cloud.session_json(one)["state"] for one in bench.cloud.sessions} <= {
            "closed"
        }


def test_a_batch_has_the_time_limit_of_the_plan(tmp_path):
    with Bench(tmp_path) as bench:
        bench.submit(tiny_plan(jobs=2, mode="batch", max_time=600))
        assert [one["max_ttl"] for one in bench.cloud.sessions.values()] == [600]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "sessions"}, "Expected a mode of job, batch, session"),
        ({"mode": "batch", "max_time": 0}, "one or more whole seconds"),
        ({"mode": "batch", "max_time": 1.5}, "one or more whole seconds"),
        ({"max_time": 60}, "choose the mode as well"),
        ({"mode": "job", "max_time": 60}, "choose the mode as well"),
        ({"private": 1}, "Expected private as True or False"),
        ({"tags": "mine"}, "tuple of tags"),
        ({"tags": (1,)}, "tuple of tags"),
        ({"tags": ("a", "b", "a")}, "each tag once, got 'a' repeated"),
        ({"tags": tuple(map(str, range(MAX_TAGS + 1)))}, f"at most {MAX_TAGS} tags"),
        ({"tags": ("x" * (MAX_TAG_LENGTH + 1),)}, f"at most {MAX_TAG_LENGTH} letters"),
        ({"tags": ("",)}, "Expected a tag"),
        ({"tags": ("a,b",)}, "Expected a tag"),
        ({"tags": ("a\nb",)}, "Expected a tag"),
        ({"fractional_gates": "yes"}, "Expected fractional_gates as True or False"),
        ({"tags": ("qhead-20261121-0123abcd-0-1",)}, "the ledger's"),
        ({"tags": ("QHEAD-mine",)}, "the ledger's"),
    ],
)
def test_options_of_sending_are_checked_at_the_door(options, message):
    with pytest.raises(PlanError, match=message):
        PlanOptions(**options)


def test_options_of_sending_belong_to_the_plan_and_its_key():
    sending = {"mode": "session", "max_time": 60, "private": True, "tags": ("a", "b:1")}
    keys = {tiny_plan(jobs=1).key}
    for name, value in sending.items():
        chosen = {"mode": "session"} if name == "max_time" else {}
        keys.add(tiny_plan(jobs=1, **{**chosen, name: value}).key)
    assert len(keys) == 5
    options = PlanOptions(**sending)
    assert PlanOptions.from_json(options.canonical_json()) == options


def test_plans_from_before_these_options_keep_their_keys_and_still_load():
    text = PlanOptions().canonical_json()
    assert not any(word in text for word in ("mode", "max_time", "private", "tags"))
    assert PlanOptions.from_json(text) == PlanOptions()


# --- sessions: what they cost -------------------------------------------------------------------


def test_a_budget_below_the_sessions_guard_is_refused_before_anything_is_written(tmp_path):
    plan = session_plan()
    estimate = sum(plan.job_seconds)
    with Bench(tmp_path) as bench:
        with pytest.raises(BudgetError, match="charged from its first job to its end") as caught:
            bench.submit(plan, budget=estimate + 0.5)  # enough for the jobs in a batch
        assert caught.value.exit_code == 2
        assert bench.ledger.runs() == []
        assert not bench.cloud.sessions
    assert plan_budget(plan) == 6  # of which the second job must start within 3 s
    assert plan_budget(tiny_plan(jobs=2)) == 5
    assert checked_budget(plan, 6.0) == 6.0
    with pytest.raises(BudgetError, match="give a budget of 6 s or more"):
        checked_budget(plan, None)
    assert checked_budget(tiny_plan(jobs=2), estimate + 0.5) == estimate + 0.5


def test_the_plan_says_what_its_estimate_leaves_out():
    circuit = QuantumCircuit(1)
    circuit.ry(Parameter("x"), 0)
    one = Workload(circuit, ("x",), np.zeros((2, 1)), (SparsePauliOp("Z"),))
    for mode, said in (("session", 1), ("batch", 0)):
        made = hardware.plan(one, "fake:manila", PlanOptions(mode=mode))
        assert made.notes.count(SESSION) == said


def test_a_session_cannot_cost_more_than_the_budget(tmp_path):
    with Bench(tmp_path, Cloud(slowness=1.2, pause_seconds=2.0)) as bench:
        bench.cloud.hold()
        run = bench.submit(session_plan(), budget=7.0)
        (session,) = sessions_of(bench)
        assert session["max_ttl"] == 4  # below the budget by the cap of a job
        assert [job.max_seconds for job in bench.cloud.jobs.values()] == [3, 3]
        bench.cloud.release()
        bench.collect(run)
        assert sorted(bench.states(run)) == ["done", "failed"]
        assert bench.cloud.consumed <= 7.0


def test_the_charge_of_a_session_is_its_whole_time(tmp_path):
    with Bench(tmp_path, Cloud(pause_seconds=3.5)) as bench:
        run = bench.submit(session_plan(), budget=BUDGET)
        reserved = bench.ledger.spending(run)
        assert (reserved.charged, reserved.in_flight) == (0.0, 20.0)
        status = bench.collect(run)
        assert status.state == "done"
        assert {job.max_seconds for job in bench.cloud.jobs.values()} == {3}  # no larger share
        jobs = sum(job.paid for job in bench.cloud.jobs.values())
        assert status.spending.charged == pytest.approx(jobs + 3.5)
        assert status.spending.charged == pytest.approx(bench.cloud.consumed)
        assert status.spending.in_flight == 0
        assert -3 not in status.problems


def test_a_charge_that_is_not_told_counts_with_its_most_until_it_is(tmp_path):
    with Bench(tmp_path) as bench:
        run = bench.submit(session_plan(), budget=BUDGET)
        bench.cloud.wait_idle()
        bench.faults.always["session"] = Reply(500)
        status = bench.collect(run)
        assert status.state == "done"
        jobs = sum(job.paid for job in bench.cloud.jobs.values())
        assert status.spending.charged == pytest.approx(jobs)
        assert status.spending.charged + status.spending.in_flight == pytest.approx(20.0)
        record = status.charge_record()
        assert record["charged_seconds"] is None
        assert record["sessions_with_unknown_charge"] == 1
        assert "counts with 20 s" in status.problems[-3]
        del bench.faults.always["session"]
        status = bench.collect(run)
        assert status.spending.charged == pytest.approx(bench.cloud.consumed)
        assert status.charge_record()["charged_seconds"] == status.spending.charged
        assert status.spending.in_flight == 0


def test_a_session_that_is_told_to_cost_nothing_is_asked_again(tmp_path):
    with Bench(tmp_path) as bench:
        elapsed, bench.cloud.elapsed = bench.cloud.elapsed, lambda session: 0.0
        run = bench.submit(session_plan(), budget=BUDGET)
        record = bench.collect(run).charge_record()
        assert record["charged_seconds"] is None
        assert record["known_charged_seconds"] > 0  # the jobs' own
        bench.cloud.elapsed = elapsed
        status = bench.collect(run)
        assert status.charge_record()["charged_seconds"] == pytest.approx(bench.cloud.consumed)


def test_a_session_takes_no_more_jobs_once_the_last_has_been_sent(tmp_path):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(session_plan(), budget=BUDGET)
        (session,) = sessions_of(bench)
        assert not session["accepting_jobs"]  # nobody has to collect for it to end
        assert bench.cloud.session_json(session["id"])["state"] != "closed"
        assert bench.ledger.run(run).batch_id is None
        bench.cloud.release()
        bench.cloud.wait_idle()
        assert bench.cloud.session_json(session["id"])["state"] == "closed"


def test_a_session_that_could_not_be_closed_is_closed_at_the_next_look(tmp_path):
    with Bench(tmp_path) as bench:
        bench.faults.always["session_close"] = Reply(503)
        run = bench.submit(session_plan(), budget=BUDGET)
        assert [one["accepting_jobs"] for one in sessions_of(bench)] == [True]
        del bench.faults.always["session_close"]
        assert bench.collect(run).state == "done"
        assert [one["accepting_jobs"] for one in sessions_of(bench)] == [False]


def test_a_cancelled_run_closes_its_session(tmp_path):
    with Bench(tmp_path, policy=ONE_BY_ONE) as bench:
        bench.cloud.hold()
        bench.faults.always["session_close"] = Reply(503)
        run = bench.submit(session_plan(), budget=BUDGET)
        assert bench.states(run) == ["submitted", "planned"]
        assert [one["accepting_jobs"] for one in sessions_of(bench)] == [True]
        del bench.faults.always["session_close"]
        bench.cancel(run)
        assert [one["accepting_jobs"] for one in sessions_of(bench)] == [False]


def test_a_run_that_cannot_be_cancelled_closes_its_session_nevertheless(tmp_path):
    with Bench(tmp_path, policy=ONE_BY_ONE) as bench:
        bench.cloud.hold()
        run = bench.submit(session_plan(), budget=BUDGET)
        bench.faults.always["cancel"] = Reply(500)
        with pytest.raises(RunError):
            bench.cancel(run)
        assert [one["accepting_jobs"] for one in sessions_of(bench)] == [False]


def test_a_session_ends_when_the_pace_holds_the_next_job_back(tmp_path, expected):
    with Bench(tmp_path, policy=ONE_BY_ONE) as bench:
        run = bench.submit(session_plan(), budget=50.0)
        assert bench.states(run) == ["submitted", "planned"]
        assert [one["accepting_jobs"] for one in sessions_of(bench)] == [False]
        assert bench.collect(run).state == "done"
        assert len(sessions_of(bench)) == 2
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


@pytest.mark.parametrize("pending", [1, 3, 8])
def test_the_advised_budget_is_enough_whatever_is_sent_at_once(tmp_path, caplog, pending):
    plan = session_plan(8)
    policy = dataclasses.replace(QUICK, pace=Pace(max_pending=pending), patience=0.0)
    with Bench(tmp_path, Cloud(slowness=1.24), policy=policy) as bench:
        run = bench.submit(plan, budget=plan_budget(plan))
        assert ("Use mode batch" in caplog.text) == (pending < 8)
        assert bench.collect(run, timeout=60.0).state == "done"
        assert_paid_once(bench, 8)
        assert bench.cloud.consumed <= plan_budget(plan) == 8 * cap_seconds(plan.job_seconds[0])


def test_the_next_session_waits_for_the_charge_of_the_last(tmp_path, expected):
    policy = dataclasses.replace(ONE_BY_ONE, settle=5.0)
    with Bench(tmp_path, policy=policy) as bench:
        charged, asked = bench.device.session_charged, []

        def told_late(session):
            asked.append(session)
            return charged(session) if len(asked) > 6 else None

        bench.device.session_charged = told_late
        run = bench.submit(session_plan(), budget=BUDGET)
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


def test_a_charge_that_is_never_told_holds_the_next_session_back(tmp_path):
    with Bench(tmp_path, policy=ONE_BY_ONE) as bench:
        bench.faults.always["session"] = Reply(500)
        run = bench.submit(session_plan(), budget=BUDGET)
        with pytest.raises(BudgetError, match="counts with 20 s until the platform tells"):
            bench.collect(run)
        assert bench.states(run) == ["done", "planned"]


# --- sessions: what goes wrong ------------------------------------------------------------------


def test_an_account_without_sessions_is_told_before_any_job_and_can_resume(tmp_path, expected):
    with Bench(tmp_path, Cloud(offers_sessions=False)) as bench:
        with pytest.raises(RefusedError, match="open plan") as caught:
            bench.submit(session_plan(), budget=BUDGET)
        assert "batch mode" in str(caught.value)
        assert bench.faults.seen["submit"] == 0
        run = caught.value.run_id
        assert bench.states(run) == ["planned", "planned"]
        bench.cloud.offers_sessions = True  # another plan
        bench.resume(run)
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


@pytest.mark.parametrize("known", [True, False])
def test_a_session_closed_in_the_middle_is_replaced_and_nothing_is_paid_twice(
    tmp_path, expected, known
):
    with Bench(tmp_path, policy=ONE_BY_ONE) as bench:
        run = bench.submit(session_plan(), budget=50.0)
        bench.cloud.wait_idle()
        for session in bench.cloud.sessions.values():
            session["accepting_jobs"] = False
        if not known:
            bench.login()  # another process: the client asks for the session first
        assert bench.collect(run).state == "done"
        first, second = sessions_of(bench)
        used = bench.cloud.elapsed(first["id"])
        assert first["max_ttl"] == 47
        assert second["max_ttl"] == int(50.0 - used) - 3  # what the first has left of the budget
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)
        assert bench.ledger.spending(run).charged == pytest.approx(bench.cloud.consumed)


def test_a_closed_session_at_submission_is_replaced(tmp_path, expected):
    with Bench(tmp_path, faults=FaultPlan({("submit", 2): CLOSED_BATCH})) as bench:
        bench.cloud.hold()
        with pytest.raises(BudgetError, match=r"counts with 50 s until the platform tells"):
            bench.submit(session_plan(), budget=50.0)
        (run,) = bench.ledger.runs()
        assert bench.states(run.id) == ["submitted", "planned"]
        bench.cloud.release()
        bench.cloud.wait_idle()
        bench.resume(run.id)
        assert bench.collect(run.id).state == "done"
        assert len(sessions_of(bench)) == 2
        assert_equal(bench.results(run.id), expected)
        assert_paid_once(bench)


def test_jobs_that_a_session_has_no_time_for_have_failed_and_go_out_again_on_resume(tmp_path):
    with Bench(tmp_path, Cloud(slowness=1.24, pause_seconds=2.0)) as bench:
        bench.cloud.hold()
        run = bench.submit(session_plan(4, max_time=9), budget=60.0)
        bench.cloud.release()
        status = bench.collect(run)
        assert bench.states(run) == ["done", "done", "done", "failed"]
        assert status.state == "failed"
        (session,) = sessions_of(bench)
        assert f"session {session['id']} reached its time limit" in status.problems[3]
        assert "resume the run" in status.problems[3]
        assert len(bench.cloud.jobs) == 4  # nothing is sent again unasked
        bench.resume(run)
        assert bench.collect(run).state == "done"
        assert bench.ledger.spending(run).charged == pytest.approx(bench.cloud.consumed)
        assert_paid_once(bench, 4)


def test_a_session_whose_time_is_told_late_is_waited_for(tmp_path):
    with Bench(tmp_path, Cloud(slowness=1.24, pause_seconds=2.0)) as bench:
        bench.cloud.hold()
        run = bench.submit(session_plan(4, max_time=9), budget=60.0)
        bench.cloud.release()
        bench.cloud.wait_idle()
        bench.faults.always["session"] = Change(lambda session: {**session, "state": "active"})
        bench.policy = dataclasses.replace(QUICK, settle=60.0)
        status = bench.collect(run, timeout=0.0)
        assert status.jobs == {"done": 3, "submitted": 1}
        assert "has not told yet" in status.problems[3]
        del bench.faults.always["session"]
        assert bench.collect(run).jobs == {"done": 3, "failed": 1}


@pytest.mark.parametrize("closed", [False, True])
def test_a_job_that_somebody_cancelled_in_a_session_is_not_sent_again_unasked(tmp_path, closed):
    policy = QUICK if closed else ONE_BY_ONE  # which keeps the session open for the last job
    with Bench(tmp_path, policy=policy) as bench:
        bench.cloud.hold()
        run = bench.submit(session_plan(3), budget=60.0)
        bench.cloud.cancel(next(iter(bench.cloud.jobs.values())))
        bench.cloud.release()
        status = bench.collect(run)
        assert bench.states(run) == ["cancelled", "done", "done"]
        assert status.problems[0] == "cancelled on the platform"
        with pytest.raises(RunStateError, match="resubmit_cancelled"):
            bench.resume(run)


@pytest.mark.parametrize("ended", [True, False])
def test_jobs_of_a_batch_that_has_reached_its_time_limit_go_out_again_on_resume(
    tmp_path, expected, ended
):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(tiny_plan(jobs=2, mode="batch", max_time=60))
        (batch,) = bench.cloud.sessions.values()
        if ended:
            batch["accepting_jobs"] = False
        for job in bench.cloud.jobs.values():
            bench.cloud.cancel(job)
        bench.cloud.release()
        status = bench.collect(run)
        if not ended:
            assert set(bench.states(run)) == {"cancelled"}
            return
        assert bench.states(run) == ["failed", "failed"]
        assert f"closed batch {batch['id']}, as at its time limit" in status.problems[0]
        bench.resume(run)
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


def test_jobs_of_a_cancelled_run_are_cancelled_whatever_their_session_says(tmp_path):
    with Bench(tmp_path, Cloud(slowness=1.24, pause_seconds=2.0)) as bench:
        bench.cloud.hold()
        run = bench.submit(session_plan(4, max_time=9), budget=60.0)
        bench.faults.always["cancel"] = Reply(500)
        with pytest.raises(RunError):
            bench.cancel(run)
        bench.cloud.release()
        bench.collect(run)
        assert bench.states(run) == ["done", "done", "done", "cancelled"]


def test_a_failed_job_gets_a_session_of_its_own(tmp_path, expected):
    faults = FaultPlan({("submit", 1): EndJob("Failed", "broken", paid=1.0)})
    with Bench(tmp_path, faults=faults) as bench:
        run = bench.submit(session_plan(), budget=30.0)
        assert bench.collect(run).state == "failed"
        bench.resume(run)
        assert bench.collect(run).state == "done"
        assert len(sessions_of(bench)) == 2
        assert_equal(bench.results(run), expected)


def failing(bench, error, times=3, after=1):
    """Let a device's submissions fail some times after some that do not."""
    send, count = bench.device.send, [0]

    def sending(*args):
        count[0] += 1
        if after < count[0] <= after + times:
            raise error
        return send(*args)

    bench.device.send = sending


@pytest.mark.parametrize("verb", ["submit", "collect", "resume"])
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), UnclearError("no answer"), AccountError("login expired")]
)
def test_a_session_ends_on_every_way_out_that_leaves_jobs(tmp_path, expected, verb, error):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        if verb != "submit":
            failing(bench, AccountError("login expired"), times=1, after=0)
            with pytest.raises(AccountError):
                bench.submit(session_plan(), budget=50.0)
        failing(bench, error)
        raised = None
        try:
            if verb == "submit":
                bench.submit(session_plan(), budget=50.0)
            elif verb == "resume":
                bench.resume(bench.ledger.runs()[0].id)
            else:
                bench.collect(bench.ledger.runs()[0].id, timeout=1.0)
        except (KeyboardInterrupt, UnclearError, AccountError) as caught:
            raised = caught
        # Collecting goes on with what is under way where the platform fails.
        assert raised is (None if verb == "collect" and type(error) is UnclearError else error)
        run = bench.ledger.runs()[0].id
        assert "submitted" in bench.states(run)
        assert bench.states(run) != ["submitted"] * 2
        assert not any(one["accepting_jobs"] for one in sessions_of(bench))
        assert -4 not in runner.status(run, ledger=bench.ledger).problems
        bench.login()
        bench.cloud.release()
        bench.cloud.wait_idle()
        bench.resume(run)
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)
        assert bench.ledger.spending(run).charged == pytest.approx(bench.cloud.consumed)


def test_a_session_that_cannot_be_closed_is_said_and_closed_at_the_next_look(tmp_path, caplog):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        bench.faults.always["session_close"] = Reply(503)
        failing(bench, KeyboardInterrupt(), times=1)
        with pytest.raises(KeyboardInterrupt):
            bench.submit(session_plan(), budget=50.0)
        run = bench.ledger.runs()[0].id
        (session,) = sessions_of(bench)
        assert f"Session {session['id']} of run {run} is still open and costs" in caplog.text
        assert "until" in runner.status(run, ledger=bench.ledger).problems[-4]
        bench.login()
        del bench.faults.always["session_close"]
        bench.collect(run, timeout=0.0)
        assert not session["accepting_jobs"]
        assert -4 not in runner.status(run, ledger=bench.ledger).problems


def test_no_busy_platform_is_waited_for_while_a_session_is_paid_for(tmp_path):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        failing(bench, BusyError("too many", retry_after=3.0), times=1)
        run = bench.submit(session_plan(), budget=50.0)  # its patience is longer
        assert bench.states(run) == ["submitted", "planned"]
        assert not any(one["accepting_jobs"] for one in sessions_of(bench))
        bench.cloud.release()
        assert bench.collect(run).state == "done"


def test_a_session_without_jobs_is_charged_nothing(tmp_path, expected):
    with Bench(tmp_path) as bench:
        failing(bench, AccountError("login expired"), times=1, after=0)
        with pytest.raises(AccountError):
            bench.submit(session_plan(), budget=BUDGET)
        (run,) = bench.ledger.runs()
        charged = bench.device.session_charged
        (empty,) = sessions_of(bench)
        # The platform may tell no charge of it at all.
        bench.device.session_charged = lambda id: None if id == empty["id"] else charged(id)
        bench.resume(run.id)
        assert bench.collect(run.id).state == "done"
        assert [one.charged_seconds == 0 for one in bench.ledger.sessions(run.id)] == [True, False]
        assert_equal(bench.results(run.id), expected)


def test_an_open_session_is_left_to_the_process_that_sends_to_it(tmp_path):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        send, looks = bench.device.send, []

        def sending(*args):
            with Ledger(bench.ledger.path) as second:
                job = second.jobs(second.runs()[0].id, "submitting")[0]
                looks.append(close_sessions(second, bench.device, job.run_id, new_claimant()))
            assert all(one["accepting_jobs"] for one in sessions_of(bench))
            return send(*args)

        bench.device.send = sending
        run = bench.submit(session_plan(), budget=BUDGET)
        assert looks == [{}, {}]
        assert bench.states(run) == ["submitted"] * 2
        assert not any(one["accepting_jobs"] for one in sessions_of(bench))


_CHILD = """
import os, sys
from loopback.plans import tiny_plan
from loopback.server import account
from hardware.devices.ibm.client import open_service
from hardware.devices.ibm.device import PlatformDevice
from hardware.ledger.ledger import Ledger, Pace
from hardware.ledger.records import new_claimant
from hardware.runs import runner
from hardware.runs.policy import Policy

class Dying(PlatformDevice):
    def {method}(self, *args, **options):
        {before}
        found = super().{method}(*args, **options)
        os.kill(os.getpid(), 9)

device = Dying(open_service(**account(os.environ["QHEAD_LOOPBACK_URL"])), "ibm_manila")
with Ledger(sys.argv[1]) as ledger:
    runner.submit(tiny_plan(jobs=2, mode="session"), ledger=ledger, device=device,
                  budget_seconds=50.0, policy=Policy(pace=Pace()))
"""


@pytest.mark.parametrize(
    ("method", "before", "sessions"),
    [
        ("open_batch", "", 2),  # a session without jobs, which never starts
        ("send", "", 1),
        ("send", "os.kill(os.getpid(), 9)", 1),
        ("close_batch", "os.kill(os.getpid(), 9)", 1),
    ],
)
def test_a_run_whose_process_was_killed_uses_its_open_session(
    tmp_path, expected, method, before, sessions
):
    with Bench(tmp_path) as bench:
        code = _CHILD.format(method=method, before=before)
        roots = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
        found = subprocess.run(
            [sys.executable, "-c", code, str(bench.ledger.path)],
            env={**os.environ, **bench.double.environment(), "PYTHONPATH": os.pathsep.join(roots)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert found.returncode == -signal.SIGKILL, found.stderr
        (run,) = bench.ledger.runs()
        bench.resume(run.id)
        assert bench.collect(run.id).state == "done"
        assert len(sessions_of(bench)) == sessions
        unused = [
            one for one in sessions_of(bench) if one["id"] != bench.ledger.sessions(run.id)[0].id
        ]
        assert all(bench.cloud.elapsed(one["id"]) == 0 for one in unused)
        assert all(not one["accepting_jobs"] for one in sessions_of(bench) if one not in unused)
        assert_equal(bench.results(run.id), expected)
        assert_paid_once(bench)
        assert bench.ledger.spending(run.id).charged == pytest.approx(bench.cloud.consumed)


# --- own tags -----------------------------------------------------------------------------------


def test_own_tags_go_out_beside_those_of_the_ledger(tmp_path):
    plan = tiny_plan(jobs=1, tags=("paper 3", "seed=7"))
    with Bench(tmp_path) as bench:
        run = bench.submit(plan)
        (job,) = bench.cloud.jobs.values()
        own = (bench.ledger.run(run).tag, bench.ledger.jobs(run)[0].tag)
        assert job.tags == ("paper 3", "seed=7", *own)
        assert bench.collect(run).state == "done"
    assert load_submitted(dump_plan(plan)).options.tags == ("paper 3", "seed=7")


def test_a_job_of_unknown_fate_is_found_by_the_ledgers_tag_and_not_by_a_shared_one(tmp_path):
    plan = tiny_plan(jobs=2, tags=("shared",))
    faults = FaultPlan({("submit", 2): Drop(after=True)})
    with Bench(tmp_path, faults=faults) as bench:
        run = bench.submit(plan)
        assert bench.collect(run).state == "done"
        assert_paid_once(bench)


# --- private jobs -------------------------------------------------------------------------------


def test_a_private_result_is_read_once_and_stored(tmp_path, expected):
    with Bench(tmp_path) as bench:
        run = bench.submit(tiny_plan(jobs=2, private=True))
        assert all(job.private for job in bench.cloud.jobs.values())
        assert bench.collect(run).state == "done"
        assert bench.faults.seen["result"] == 2
        assert all(job.result is None for job in bench.cloud.jobs.values())
        assert bench.collect(run).state == "done"
        assert bench.faults.seen["result"] == 2
        assert_equal(bench.results(run), expected)


def test_a_private_result_that_was_lost_on_the_way_is_said_and_not_paid_again_unasked(
    tmp_path, expected
):
    faults = FaultPlan({("result", 1): Drop(after=True)})
    with Bench(tmp_path, faults=faults) as bench:
        run = bench.submit(tiny_plan(jobs=2, private=True))
        bench.cloud.wait_idle()
        status = bench.collect(run)
        assert sorted(bench.states(run)) == ["done", "failed"]
        (reason,) = status.problems.values()
        assert "the platform gives it once" in reason
        assert "is paid again" in reason
        assert bench.collect(run).jobs["failed"] == 1
        assert len(bench.cloud.jobs) == 2
        bench.resume(run)
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == 3
        assert_equal(bench.results(run), expected)


def test_a_damaged_private_result_cannot_be_fetched_again(tmp_path):
    with Bench(tmp_path) as bench:
        run = bench.submit(tiny_plan(jobs=1, private=True))
        assert bench.collect(run).state == "done"
        with bench.ledger.writing() as db:
            db.execute("UPDATE results SET arrays = X'00'")
        status = bench.collect(run)
        assert "gives such a result once" in status.problems[0]
        assert "cannot be fetched again" in status.problems[0]


def test_two_processes_never_ask_for_one_private_result(tmp_path):
    with Bench(tmp_path) as bench:
        run = bench.submit(tiny_plan(jobs=1, private=True))
        bench.cloud.wait_idle()
        (job,) = bench.ledger.jobs(run)
        other = new_claimant()
        with Ledger(bench.ledger.path) as second:
            assert second.leases.begin_fetch(job, other, 60.0) is not None
            status = bench.collect(run, timeout=0.0)
            assert bench.faults.seen["result"] == 0
            assert "Another process" in status.problems[0]
            second.leases.let_go(other, lambda tag: False)
        assert bench.collect(run).state == "done"


# --- other devices ------------------------------------------------------------------------------


def test_a_fake_says_what_it_does_not_honour(caplog):
    plan = tiny_plan(
        jobs=1, target="fake:manila", backend="fake_manila", private=True, tags=("a",), mode="job"
    )
    check_abilities(plan, local_device("manila"))
    assert "no effect: mode, private, tags" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "session"}, "has no sessions"),
        ({"mode": "batch"}, "has no batches"),
        ({"private": True}, "private jobs, tags and fractional gates belong"),
        ({"tags": ("a",)}, "private jobs, tags and fractional gates belong"),
        ({"rep_delay": 1e-4}, "repetition delays"),
        ({"fractional_gates": True}, "fractional gates belong"),
    ],
)
def test_another_provider_refuses_what_it_does_not_have(options, message):
    with pytest.raises(PlanError, match=message):
        check_options(PlanOptions(**options), BackendDevice(GenericBackendV2(3, seed=1)))
    check_options(PlanOptions(mode="job"), BackendDevice(GenericBackendV2(3, seed=1)))
