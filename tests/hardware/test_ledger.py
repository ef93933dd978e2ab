"""The ledger: nothing lost, nothing claimed twice, and clear errors that change nothing."""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from hardware.errors import BudgetError, LedgerError, RunStateError, UnknownRunError
from hardware.ledger import database
from hardware.ledger.budget import SLACK
from hardware.ledger.leases import MAX_LEASE
from hardware.ledger.ledger import Ledger, Pace
from hardware.ledger.records import JOB_MOVES, JOB_STATES, Spending, new_claimant
from hardware.runs.progress import run_status

FREE = Pace()
ME = new_claimant()


class FakeClock:
    """Seconds since the epoch that move only when told."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ledger(tmp_path, clock):
    with Ledger(tmp_path / "ledger.sqlite", now=clock) as opened:
        yield opened


def new_run(ledger, jobs=3, budget=None, local=False, plan=b"plan"):
    return ledger.create_run(
        plan_hash=database.digest(plan),
        plan_body=plan,
        job_seconds=[2.0] * jobs,
        target="ibm:ibm_manila",
        device="ibm_manila",
        local=local,
        budget_seconds=budget,
        calibration={"last_update": "2026-01-01"},
    ).id


def send(ledger, run, pace=FREE):
    job = ledger.leases.claim_next(run, ME, 60, pace).job
    assert job is not None
    assert ledger.accept(job, f"remote-{job.tag}")
    return ledger.job(run, job.idx)


def test_a_run_is_called_after_its_day_and_eight_random_digits(ledger):
    assert re.fullmatch("20270115-[0-9a-f]{8}", new_run(ledger))


def test_a_run_is_read_back_as_it_was_written(ledger):
    run = new_run(ledger, budget=10.0)
    record = ledger.run(run)
    assert (record.state, record.budget_seconds, record.estimate_seconds) == ("planned", 10, 6)
    assert '"qiskit"' in record.versions
    assert "2026-01-01" in record.calibration
    assert record.created_at.startswith("2027-01-15T08:00:00")  # UTC
    assert ledger.plan_body(run) == b"plan"
    assert [job.state for job in ledger.jobs(run)] == ["planned"] * 3
    assert len({job.tag for job in ledger.jobs(run)}) == 3
    assert ledger.run(run[:12]) == record
    assert ledger.runs() == [record]


def test_unknown_runs_are_named_with_the_nearest_known_one(ledger):
    run = new_run(ledger)
    with pytest.raises(UnknownRunError, match=f"Did you mean '{run}'"):
        ledger.run(run[:-1] + "?")
    new_run(ledger)
    for wrong, kind in (("", "no run is called so"), (run[:8], "2 runs begin with it")):
        with pytest.raises(UnknownRunError, match=kind):
            ledger.run(wrong)


def test_a_job_goes_from_plan_to_result(ledger):
    run = new_run(ledger, jobs=1)
    job = send(ledger, run)
    assert ledger.run(run).state == "submitted"
    arrays = {"bits": np.arange(6, dtype=np.uint8).reshape(2, 3), "evs": np.array([0.25])}
    assert ledger.results.finish(job, arrays)
    assert not ledger.results.finish(job, {"bits": np.zeros(1)})
    ledger.charge(job.remote_id, 2.5, "DONE")
    stored = ledger.result(run, 0)
    assert stored.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(stored[name], array)
        assert stored[name].dtype == array.dtype
    assert ledger.finalize(run) == "done"
    spending = ledger.spending(run)
    assert (spending.charged, spending.in_flight, spending.to_come) == (2.5, 0, 0)
    assert [event.what for event in ledger.events(run)] == [
        "planned with 1 jobs",
        "planned → submitted",
        "planned → submitting",
        "submitting → submitted",
        "submitted → done",
        "submitted → done",
    ]


def test_no_move_is_possible_that_is_not_in_the_table(ledger):
    run = new_run(ledger, jobs=1)
    job = ledger.jobs(run)[0]
    for state in {"submitted", "done", "failed"} - set(JOB_MOVES["planned"]):
        with ledger.writing() as db, pytest.raises(ValueError, match="cannot go"):
            ledger.move_job(db, job, state)
    refused = "is planned and cannot become done"
    with pytest.raises(RunStateError, match=refused), ledger.writing() as db:
        ledger.move_run(db, run, "done")
    for state in ("lost", *(set(JOB_STATES) - set(JOB_MOVES["planned"]))):
        with pytest.raises(LedgerError, match="cannot make this move"), ledger.writing() as db:
            db.execute("UPDATE jobs SET state = ?", (state,))
    with pytest.raises(LedgerError, match="FOREIGN KEY"), ledger.writing() as db:
        db.execute("UPDATE jobs SET run_id = 'nobody'")
    assert ledger.jobs(run) == [job]


def test_a_stale_view_of_a_job_changes_nothing(ledger):
    run = new_run(ledger, jobs=1)
    job = ledger.leases.claim_next(run, ME, 60, FREE).job
    assert ledger.release(job, "not taken")
    assert not ledger.accept(job, "late")
    assert not ledger.refuse(job, "late")
    assert ledger.jobs(run)[0].state == "planned"


def test_a_history_tells_each_move_once(ledger):
    run = new_run(ledger, jobs=1)
    ledger.release(ledger.leases.claim_next(run, ME, 60, FREE).job, "not taken")
    job = send(ledger, run)
    ledger.results.finish(job, {"x": np.zeros(1)})
    history = ledger.events(run)
    moves = [event.what for event in history if event.idx == 0 and " → " in event.what]
    assert moves == [
        "planned → submitting",
        "submitting → planned: not taken",
        "planned → submitting",
        "submitting → submitted",
        "submitted → done",
    ]


def test_claims_pass_on_when_the_lease_lapses_or_the_process_ends(ledger, clock):
    run = new_run(ledger, jobs=3)
    place, pid, _ = ME.rsplit("|", 2)
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    dead, elsewhere = f"{place}|{child.pid}|x", f"other-host|{pid}|x"
    for claimant in (f"{place}|{os.getppid()}|x", dead, elsewhere):
        ledger.leases.claim_next(run, claimant, 60, FREE)
    assert [job.idx for job in ledger.leases.take_over(run, ME, 60)] == [1]
    clock.seconds += 61
    taken = ledger.leases.take_over(run, ME, 60)
    assert [job.idx for job in taken] == [0, 1, 2]
    assert {job.claimant for job in taken} == {ME}


def test_the_pace_counts_all_runs_on_real_devices(ledger, clock):
    first, second = new_run(ledger), new_run(ledger)
    cheap = new_run(ledger, local=True)
    pace = Pace(max_pending=3, per_minute=2)
    done = send(ledger, first, pace)
    clock.seconds += 10
    send(ledger, second, pace)
    held = ledger.leases.claim_next(second, ME, 60, pace)
    assert held.job is None
    assert held.wait_seconds == pytest.approx(50, abs=0.01)
    assert ledger.leases.claim_next(cheap, ME, 60, pace).job is not None
    clock.seconds += 51
    send(ledger, second, pace)
    held = ledger.leases.claim_next(second, ME, 60, pace)
    assert "pending" in held.blocked
    assert held.wait_seconds is None
    ledger.results.finish(done, {"x": np.zeros(1)})
    clock.seconds += 61
    send(ledger, second, pace)
    assert ledger.leases.claim_next(second, ME, 60, FREE).blocked is None  # nothing left


def test_a_lease_ends_on_the_second_and_a_take_over_begins_another(ledger, clock):
    run = new_run(ledger, jobs=1)
    _, pid, _ = ME.rsplit("|", 2)
    others = [f"other-host|{pid}|{name}" for name in ("x", "y")]
    assert ledger.leases.claim_next(run, others[0], 60, FREE).job is not None
    clock.seconds += 59.9
    assert ledger.leases.take_over(run, others[1], 60) == []
    clock.seconds += 0.1
    assert len(ledger.leases.take_over(run, others[1], 60)) == 1
    clock.seconds += 59.9
    assert ledger.leases.take_over(run, others[0], 60) == []
    clock.seconds += 0.1
    assert len(ledger.leases.take_over(run, others[0], 60)) == 1


def test_a_lease_that_ends_too_late_was_set_before_the_clock_went_back(ledger, clock):
    run = new_run(ledger, jobs=1)
    _, pid, _ = ME.rsplit("|", 2)
    assert ledger.leases.claim_next(run, f"other-host|{pid}|x", MAX_LEASE, FREE).job is not None
    assert ledger.leases.take_over(run, ME, 60) == []
    clock.seconds -= 0.5
    assert len(ledger.leases.take_over(run, ME, 60)) == 1


def test_a_request_given_up_on_keeps_its_claim_until_it_has_ended(ledger):
    run = new_run(ledger, jobs=1)
    ledger.leases.claim_next(run, ME, 60, FREE)
    ledger.leases.let_go(ME, still_leaving=lambda tag: True)
    assert ledger.leases.take_over(run, ME, 60) == []
    assert len(ledger.leases.take_over(run, ME, 60, still_leaving=lambda tag: False)) == 1


def test_what_is_being_sent_counts_beside_what_the_platform_has(ledger):
    first, second = new_run(ledger), new_run(ledger)
    ledger.leases.claim_next(first, ME, 60, FREE)
    held = ledger.leases.claim_next(second, ME, 60, Pace(max_pending=3), elsewhere={first: 2})
    assert held.job is None
    assert held.blocked.startswith("3 jobs are pending, 3 may be")
    assert held.others == (first,)
    assert ledger.leases.claim_next(second, ME, 60, Pace(max_pending=3), elsewhere={first: 1}).job


def test_the_pace_waits_no_longer_than_the_minute(ledger, clock):
    run = new_run(ledger)
    pace = Pace(per_minute=1)
    send(ledger, run, pace)
    clock.seconds += 59.5
    assert ledger.leases.claim_next(run, ME, 60, pace).wait_seconds == pytest.approx(0.5, abs=0.01)
    clock.seconds += 0.5
    assert ledger.leases.claim_next(run, ME, 60, pace).job is not None


def test_a_job_that_needs_all_of_the_budget_fits_in_it(ledger):
    run = new_run(ledger, jobs=1, budget=2.0 - SLACK)
    assert ledger.leases.claim_next(run, ME, 60, FREE).job is not None
    run = new_run(ledger, jobs=1, budget=2.0 - 2 * SLACK)
    with pytest.raises(BudgetError):
        ledger.leases.claim_next(run, ME, 60, FREE)


def test_a_pace_below_one_is_refused():
    with pytest.raises(ValueError, match="max_pending"):
        Pace(max_pending=0)


def test_the_budget_holds_over_attempts_and_duplicates(ledger):
    run = new_run(ledger, jobs=3, budget=6.0)
    job = send(ledger, run)
    ledger.note_duplicate(job, "twin", "QUEUED")  # may be charged: counts until it is known
    send(ledger, run)
    with pytest.raises(BudgetError, match="budget of 6 s"):
        ledger.leases.claim_next(run, ME, 60, FREE)
    assert ledger.jobs(run)[2].state == "planned"
    ledger.charge("twin", 0.0, "CANCELLED")
    assert ledger.uncharged(run) == [
        (f"remote-{tag}", tag, "adopted") for tag in (ledger.job(run, i).tag for i in (0, 1))
    ]
    ledger.charge(job.remote_id, 1.5, "ERROR")
    ledger.end(job, "failed", "broken")
    send(ledger, run)
    ledger.reopen(run)
    with pytest.raises(BudgetError):
        ledger.leases.claim_next(run, ME, 60, FREE)
    ledger.reopen(run, budget_seconds=8.0)
    assert send(ledger, run).attempt == 2


def test_a_generous_budget_is_shared_out_by_estimate(ledger):
    run = new_run(ledger, jobs=3, budget=12.0)
    jobs = [send(ledger, run) for _ in range(3)]
    assert [job.reserved_seconds for job in jobs] == pytest.approx([4, 4, 4])
    assert ledger.spending(run).in_flight == pytest.approx(12)
    ledger.charge(jobs[0].remote_id, 2.0, "DONE")
    assert ledger.spending(run).in_flight == pytest.approx(8)


def test_what_is_being_sent_counts_as_under_way(ledger):
    run = new_run(ledger, jobs=3)
    send(ledger, run)
    ledger.leases.claim_next(run, ME, 60, FREE)
    spending = ledger.spending(run)
    assert (spending.charged, spending.in_flight, spending.to_come) == (0, 4, 2)


def test_resubmission_takes_a_new_tag_and_leaves_cancelled_jobs_alone(ledger):
    run = new_run(ledger, jobs=3)
    jobs = [send(ledger, run) for _ in range(3)]
    ledger.results.finish(jobs[0], {"x": np.zeros(1)})
    ledger.end(jobs[1], "failed", "broken")
    ledger.end(jobs[2], "cancelled", "in the web console")
    assert ledger.finalize(run) == "failed"
    assert ledger.reopen(run) == 1
    again = ledger.jobs(run)
    assert [job.state for job in again] == ["done", "planned", "cancelled"]
    assert again[1].attempt == 2
    assert again[1].tag not in {job.tag for job in jobs}
    assert send(ledger, run).remote_id != jobs[1].remote_id
    ledger.results.finish(ledger.job(run, 1), {"x": np.zeros(1)})
    assert ledger.finalize(run) == "cancelled"
    with pytest.raises(RunStateError, match="cancelled"):
        ledger.reopen(run)
    assert ledger.reopen(run, cancelled_too=True) == 1
    assert ledger.run(run).state == "submitted"


def test_a_run_with_nothing_to_send_again_stays_as_it_ended(ledger):
    run = new_run(ledger, jobs=1)
    ledger.end(send(ledger, run), "unknown", "not listed")
    assert ledger.finalize(run) == "failed"
    assert ledger.reopen(run) == 0
    assert ledger.run(run).state == "failed"
    assert ledger.reopen(run, unknown_too=True) == 1
    assert ledger.run(run).state == "submitted"


def test_only_a_new_budget_must_cover_what_a_finished_run_used(ledger):
    run = new_run(ledger, jobs=1, budget=2.0)
    job = send(ledger, run)
    ledger.results.finish(job, {"x": np.zeros(1)})
    ledger.charge(job.remote_id, 2.5, "DONE")  # its cap is 3 s: the half second is its margin's
    assert ledger.reopen(run) == 0
    for budget in (2.3, 2.0 - SLACK):
        assert ledger.reopen(run, budget_seconds=budget) == 0
    with pytest.raises(BudgetError, match="at least what it uses"):
        ledger.reopen(run, budget_seconds=1.9)
    assert ledger.run(run).budget_seconds == 2.0 - SLACK
    ledger.charge(job.remote_id, 9.0, "DONE")
    assert ledger.reopen(run) == 0


def test_a_new_budget_covers_all_that_a_session_was_charged(ledger):
    run = new_run(ledger, jobs=1, budget=60.0)
    assert ledger.leases.set_batch(run, "session-1", None, 50.0)
    job = send(ledger, run)
    ledger.charge(job.remote_id, 3.0, "DONE")  # more than the estimate of 2.0, within the cap
    assert ledger.results.finish(ledger.job(run, 0), {"a": np.zeros(1)})
    ledger.leases.note_session("session-1", 40.0)
    assert ledger.spending(run).charged == 40.0
    with pytest.raises(BudgetError, match="at least what it uses"):
        ledger.reopen(run, budget_seconds=39.5)
    assert ledger.reopen(run, budget_seconds=40.0) == 0


def test_a_new_budget_covers_all_that_an_open_session_may_be_charged(ledger):
    run = new_run(ledger, jobs=2, budget=60.0)
    assert ledger.leases.set_batch(run, "session-1", None, 50.0)
    send(ledger, run)
    for budget in (0.0, 1.0, 49.5):
        with pytest.raises(BudgetError, match="Session session-1 counts with 50 s until"):
            ledger.reopen(run, budget_seconds=budget)
    assert ledger.run(run).budget_seconds == 60.0
    assert ledger.reopen(run, budget_seconds=50.0) == 0
    send(ledger, run)  # the session's time limit has room for it


def test_a_new_budget_has_room_for_one_more_session(ledger):
    run = new_run(ledger, jobs=2, budget=60.0)
    assert ledger.leases.set_batch(run, "session-1", None, 50.0)
    job = send(ledger, run)
    ledger.charge(job.remote_id, 2.0, "DONE")
    assert ledger.leases.set_batch(run, None, "session-1")
    ledger.leases.note_session("session-1", 20.0)
    for budget in (19.0, 23.0):
        with pytest.raises(BudgetError):
            ledger.reopen(run, budget_seconds=budget)
    assert ledger.run(run).budget_seconds == 60.0
    assert ledger.reopen(run, budget_seconds=24.0) == 0  # a second for its start, 3 s for a job


def test_a_new_budget_has_room_for_one_more_session_beside_one_of_unknown_charge(ledger):
    run = new_run(ledger, jobs=2, budget=60.0)
    assert ledger.leases.set_batch(run, "session-1", None, 50.0)
    ledger.charge(send(ledger, run).remote_id, 2.0, "DONE")
    assert ledger.leases.set_batch(run, None, "session-1")
    with pytest.raises(BudgetError, match="Session session-1 counts with 50 s until"):
        ledger.reopen(run, budget_seconds=53.5)
    assert ledger.reopen(run, budget_seconds=54.0) == 0  # a second for its start, 3 s for a job


def test_what_jobs_were_charged_is_known_before_the_charge_of_their_session(ledger):
    run = new_run(ledger, jobs=2, budget=60.0)
    assert ledger.leases.set_batch(run, "session-1", None, 50.0)
    ledger.charge(send(ledger, run).remote_id, 3.0, "DONE")
    assert ledger.spending(run) == Spending(3.0, 47.0, 2.0)
    status = run_status(ledger, run, {})
    assert not status.charge_known
    assert status.charge_record() == {
        "charged_seconds": None,
        "known_charged_seconds": 3.0,
        "jobs_with_unknown_charge": 0,
        "sessions_with_unknown_charge": 1,
    }
    ledger.leases.note_session("session-1", 4.0)
    assert ledger.spending(run) == Spending(4.0, 0.0, 2.0)
    assert run_status(ledger, run, {}).charge_record()["charged_seconds"] == 4.0


@pytest.mark.parametrize("fate", ["done", "failed", "uncharged", "in doubt", "earlier attempt"])
def test_a_session_in_which_a_job_may_have_run_is_not_charged_zero(ledger, clock, fate):
    run = new_run(ledger, jobs=1, budget=60.0)
    assert ledger.leases.set_batch(run, "session-1", None, 50.0)
    clock.seconds += 1
    if fate == "in doubt":
        ledger.leases.claim_next(run, ME, 60, FREE)
    else:
        job = send(ledger, run)
        if fate == "done":
            assert ledger.results.finish(job, {"a": np.zeros(1)})
            ledger.charge(job.remote_id, 0.0, "DONE")  # as provisional as the session's
        elif fate != "uncharged":
            assert ledger.end(job, "failed", "broken")
            ledger.charge(job.remote_id, 0.5, "ERROR")
        if fate == "earlier attempt":
            ledger.reopen(run)
    ledger.leases.note_session("session-1", 0.0)
    (session,) = ledger.sessions(run)
    assert (session.charged_seconds, session.closed) == (None, True)
    ledger.leases.note_session("session-1", 2.5)
    assert ledger.sessions(run)[0].charged_seconds == 2.5


def test_a_session_without_a_job_that_ran_may_be_charged_zero(ledger, clock):
    run = new_run(ledger, jobs=3, budget=60.0)
    assert ledger.leases.set_batch(run, "session-1", None, 20.0)
    clock.seconds += 1
    send(ledger, run)
    clock.seconds += 1
    assert ledger.leases.set_batch(run, "session-2", "session-1", 20.0)
    clock.seconds += 1
    refused = ledger.leases.claim_next(run, ME, 60, FREE).job
    assert ledger.refuse(refused, "no")
    stopped = send(ledger, run)
    assert ledger.end(stopped, "cancelled", "before it ran")
    ledger.charge(stopped.remote_id, 0.0, "CANCELLED")
    ledger.leases.note_session("session-2", 0.0)
    ledger.leases.note_session("session-1", 0.0)
    assert [one.charged_seconds for one in ledger.sessions(run)] == [None, 0.0]


def test_a_job_sent_after_the_clock_went_back_ran_in_its_session(ledger, clock):
    run = new_run(ledger, jobs=1, budget=60.0)
    assert ledger.leases.set_batch(run, "session-1", None, 20.0)
    clock.seconds -= 3600
    send(ledger, run)
    ledger.leases.note_session("session-1", 0.0)
    assert ledger.sessions(run)[0].charged_seconds is None


def test_a_new_budget_must_cover_what_is_under_way(ledger):
    run = new_run(ledger, jobs=1, budget=2.0)
    send(ledger, run)
    with pytest.raises(BudgetError, match="2 s under way"):
        ledger.reopen(run, budget_seconds=1.0)
    assert ledger.reopen(run, budget_seconds=2.0) == 0


def test_only_ended_jobs_that_were_sent_are_looked_for_again(ledger):
    run = new_run(ledger, jobs=3)
    sent, under_way = send(ledger, run), send(ledger, run)
    assert ledger.unverified(run) == []
    ledger.end(sent, "failed", "broken")
    ledger.cancel(run)
    assert [job.state for job in ledger.jobs(run)] == ["failed", "submitted", "cancelled"]
    assert [job.idx for job in ledger.unverified(run)] == [sent.idx]
    ledger.mark_verified(ledger.job(run, sent.idx))
    assert ledger.unverified(run) == []
    assert ledger.job(run, under_way.idx).state == "submitted"


def test_a_cancelled_run_sends_nothing_more(ledger):
    run = new_run(ledger)
    job = send(ledger, run)
    assert ledger.cancel(run) == [job]
    assert ledger.cancel(run) == [job]
    assert "no longer open" in ledger.leases.claim_next(run, ME, 60, FREE).blocked
    ledger.results.finish(job, {"x": np.zeros(1)})
    assert [one.state for one in ledger.jobs(run)] == ["done", "cancelled", "cancelled"]
    finished = new_run(ledger, jobs=1)
    ledger.results.finish(send(ledger, finished), {"x": np.zeros(1)})
    ledger.finalize(finished)
    with pytest.raises(RunStateError):
        ledger.cancel(finished)


def test_one_of_two_jobs_under_a_tag_is_adopted(ledger):
    run = new_run(ledger, jobs=1)
    job = send(ledger, run)
    assert ledger.adopt_instead(job, "twin", "DONE")
    assert not ledger.adopt_instead(job, "third", "DONE")
    assert ledger.job(run, 0).remote_id == "twin"
    roles = {remote: role for remote, _, role in ledger.uncharged(run)}
    assert roles == {"twin": "adopted", job.remote_id: "duplicate"}


def test_secrets_do_not_reach_the_file(ledger, tmp_path):
    run = new_run(ledger, jobs=1)
    job = ledger.leases.claim_next(run, ME, 60, FREE).job
    ledger.release(
        job,
        "401 for crn:v1:bluemix:public:quantum-computing:us-east:a/deadbeef:: with Bearer "
        "eyJhbGciOi.secret and apikey 0123456789secret at /instances/crn%3Av1%3Asecret",
    )
    ledger.close()
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"[removed]" in content
    assert b"secret" not in content
    assert b"deadbeef" not in content


def test_results_hold_no_objects_and_are_checked(ledger):
    run = new_run(ledger, jobs=1)
    job = send(ledger, run)
    with pytest.raises(ValueError, match="plain numbers"):
        ledger.results.finish(job, {"x": np.array([object()])})
    assert ledger.result(run, 0) is None
    ledger.results.finish(job, {"x": np.zeros(4)})
    with ledger.writing() as db:
        db.execute("UPDATE results SET arrays = substr(arrays, 2)")
        db.execute("UPDATE plans SET body = x'00'")
    with pytest.raises(LedgerError, match="damaged"):
        ledger.result(run, 0)
    with pytest.raises(LedgerError, match="edited or damaged"):
        ledger.plan_body(run)


# --- files that cannot be used ------------------------------------------------------------------


def content(path: Path) -> bytes:
    return path.read_bytes()


def refused(path: Path, match: str) -> None:
    before = content(path)
    with pytest.raises(LedgerError, match=match) as caught:
        Ledger(path)
    assert caught.value.exit_code == 2
    assert content(path) == before


@pytest.fixture
def closed(tmp_path) -> Path:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        new_run(ledger)
    return path


def test_a_newer_ledger_is_left_alone(closed):
    with sqlite3.connect(closed) as db:
        db.execute(f"PRAGMA user_version = {database.SCHEMA_VERSION + 1}")
    db.close()
    refused(closed, "newer qhead")


def test_a_damaged_ledger_is_left_alone(closed):
    closed.write_bytes(b"SQLite format 3?" + content(closed)[16:])
    refused(closed, "damaged")
    closed.write_bytes(b"hello, this is a text file" * 50)
    refused(closed, "damaged")


def test_a_ledger_with_damaged_text_says_so(closed):
    with sqlite3.connect(closed) as db:
        db.execute("UPDATE runs SET target = CAST(x'ff41' AS TEXT)")
    db.close()
    with Ledger(closed) as ledger, pytest.raises(LedgerError, match="damaged"):
        ledger.runs()


def test_an_empty_file_is_not_made_a_ledger(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "_BIRTH_SECONDS", 0.1)
    path = tmp_path / "ledger.sqlite"
    path.touch()
    refused(path, "empty file")
    path.unlink()
    Ledger(path).close()


def test_a_folder_in_which_nothing_can_be_written_is_called_read_only(tmp_path, monkeypatch):
    error = sqlite3.OperationalError("unable to open database file")
    path = tmp_path / "ledger.sqlite"
    path.touch()
    assert "cannot be opened" in database._explain(path, error)
    # as on a read-only file system, where it holds for root too
    monkeypatch.setattr("os.access", lambda *_: False)
    assert "writable" in database._explain(path, error)


def test_another_programs_database_is_left_alone(tmp_path):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE recipes (name TEXT)")
    db.close()
    refused(path, "another program's")


def test_a_folder_where_none_can_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="as it was"):
        Ledger(tmp_path / "file" / "ledger.sqlite")


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs Unix permissions")
def test_a_read_only_ledger_is_left_alone():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        with Ledger(path) as ledger:
            run = new_run(ledger)
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        before, user = content(path), os.geteuid()
        try:
            if user == 0:  # permissions do not bind root
                os.seteuid(65534)
            with pytest.raises(LedgerError, match=r"writable|cannot be opened") as caught:
                Ledger(path).claim_next(run, ME, 60, FREE)
        finally:
            os.seteuid(user)
            Path(folder).chmod(0o755)
        assert caught.value.exit_code == 2
        assert content(path) == before


def test_a_full_disk_leaves_the_ledger_as_it_was(ledger):
    run = new_run(ledger, jobs=1)
    job = send(ledger, run)
    with ledger.writing() as db:
        pages = db.execute("PRAGMA page_count").fetchone()[0]
    ledger._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    noise = np.random.default_rng(0).integers(0, 256, 100_000, dtype=np.uint8)
    with pytest.raises(LedgerError, match="full disk") as caught:
        ledger.results.finish(job, {"x": noise})
    assert caught.value.exit_code == 2
    assert ledger.job(run, 0) == job
    assert ledger.result(run, 0) is None
    ledger._db.execute("PRAGMA max_page_count = 1000000")
    assert ledger.results.finish(job, {"x": noise})


def test_an_older_ledger_is_migrated_and_keeps_its_rows(closed, monkeypatch):
    steps = (*database.MIGRATIONS, "ALTER TABLE runs ADD COLUMN note TEXT; CREATE TABLE extra (a)")
    monkeypatch.setattr(database, "MIGRATIONS", steps)
    monkeypatch.setattr(database, "SCHEMA_VERSION", len(steps))
    db = database.connect(closed)
    assert db.execute("SELECT count(*), max(note) FROM runs").fetchone()[:] == (1, None)
    assert db.execute("PRAGMA user_version").fetchone()[0] == len(steps)
    db.close()


def test_a_migration_that_fails_changes_nothing(closed, monkeypatch):
    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, "CREATE TABLE a (b); NO"))
    monkeypatch.setattr(database, "SCHEMA_VERSION", database.SCHEMA_VERSION + 1)
    with pytest.raises(LedgerError, match="as it was"):
        database.connect(closed)
    with sqlite3.connect(closed) as db:
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'a'").fetchone() == (0,)
    db.close()


def test_the_default_path_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("QHEAD_LEDGER", str(tmp_path / "a.sqlite"))
    assert database.default_path() == tmp_path / "a.sqlite"
    monkeypatch.delenv("QHEAD_LEDGER")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert database.default_path() == tmp_path / ".local/share/qhead/ledger.sqlite"


# --- several processes --------------------------------------------------------------------------

WORKER = """
import sys
import numpy as np
from hardware.ledger.ledger import Ledger, Pace
from hardware.ledger.records import new_claimant
path, run = sys.argv[1:]
me = new_claimant()
with Ledger(path) as ledger:
    for job in ledger.leases.take_over(run, me, 60):
        ledger.release(job, "its process ended")
    for job in ledger.jobs(run, "submitted"):
        ledger.results.finish(job, {"idx": np.array(job.idx)})
    while (job := ledger.leases.claim_next(run, me, 60, Pace()).job) is not None:
        print(job.idx, flush=True)
        assert ledger.accept(job, "remote-" + job.tag)
        # The other process, just started, may have found the job submitted and finished it.
        finished = ledger.results.finish(ledger.job(run, job.idx), {"idx": np.array(job.idx)})
        assert finished or ledger.job(run, job.idx).state == "done"
    ledger.finalize(run)
"""


def worker(path, run, **options):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path), run], text=True, stdout=subprocess.PIPE, **options
    )


def test_two_processes_never_claim_the_same_job(tmp_path):
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        run = new_run(ledger, jobs=60)
        workers = [worker(path, run) for _ in range(2)]
        claimed = [int(line) for one in workers for line in one.communicate(timeout=60)[0].split()]
        assert [one.returncode for one in workers] == [0, 0]
        assert sorted(claimed) == list(range(60))
        assert ledger.finalize(run) == "done"


def test_a_process_killed_anywhere_leaves_a_ledger_that_carries_on(tmp_path):
    path, rng = tmp_path / "ledger.sqlite", random.Random(5)
    with Ledger(path) as ledger:
        run = new_run(ledger, jobs=150)
        kills = 0
        for _ in range(40):
            one = worker(path, run)
            one.stdout.readline()  # it has begun
            time.sleep(rng.uniform(0, 0.05))
            one.send_signal(signal.SIGKILL)
            one.communicate(timeout=60)
            kills += one.returncode == -signal.SIGKILL
            assert ledger._db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            if ledger.run(run).state == "done" or kills == 8:
                break
        assert kills >= 4
        last = worker(path, run)
        last.communicate(timeout=60)
        assert last.returncode == 0
        assert ledger.run(run).state == "done"
        assert [int(ledger.result(run, i)["idx"]) for i in range(150)] == list(range(150))
        assert ledger._db.execute("SELECT count(*) FROM remote_jobs").fetchone()[0] == 150


def test_the_lease_begins_anew_when_the_request_leaves(ledger, clock):
    run, other = new_run(ledger, jobs=1), new_claimant()
    job = ledger.leases.claim_next(run, ME, 60, FREE).job
    clock.seconds += 59
    assert ledger.leases.begin_send(job, 30)
    clock.seconds += 29
    assert ledger.leases.take_over(run, other, 60) == []
    clock.seconds += 2
    assert [each.idx for each in ledger.leases.take_over(run, other, 60)] == [0]
    assert not ledger.leases.begin_send(job, 30)
