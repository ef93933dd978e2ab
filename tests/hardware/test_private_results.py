"""Results that the platform gives once: kept whatever happens here, and never paid for unasked."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest
from loopback import Change, Drop, FaultPlan, Reply
from loopback.bench import Bench, assert_equal, undisturbed
from loopback.plans import tiny_plan
from loopback.tamper import TAMPERED

from hardware.devices.ibm import decoding
from hardware.errors import BadResultError, BudgetError, LedgerError, VanishedError
from hardware.ledger import database
from hardware.ledger.ledger import Ledger
from hardware.ledger.records import new_claimant
from hardware.ledger.results import Results
from hardware.runs import runner
from hardware.runs.policy import Clock
from hardware.runs.private import KeptFiles

pytestmark = pytest.mark.usefixtures("quick_retries")

DAY = 86400.0


def private_plan():
    return tiny_plan(jobs=1, private=True)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return undisturbed(tiny_plan(jobs=1), tmp_path_factory)


# --- lost on the way ----------------------------------------------------------------------------


def test_a_lost_result_is_never_adopted_while_its_charge_is_not_known(tmp_path, expected):
    with Bench(tmp_path, faults=FaultPlan({("result", 1): Drop(after=True)})) as bench:
        bench.faults.always["metrics"] = Reply(500)  # the charge is not told
        run = bench.submit(private_plan(), budget=100.0)
        bench.collect(run)
        (lost,) = bench.cloud.jobs
        assert bench.states(run) == ["failed"]
        with pytest.raises(BudgetError, match=f"100 s are reserved for .*job {lost} "):
            bench.resume(run)
        bench.cloud.hold()
        bench.resume(run, budget_seconds=300.0)
        bench.collect(run, timeout=0.0)  # the new attempt waits, the lost job says that it is done
        (job,) = bench.ledger.jobs(run)
        assert job.remote_id != lost
        assert [each.status for each in bench.cloud.jobs.values()] == ["Completed", "Queued"]
        bench.cloud.release()
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == 2
        assert_equal(bench.results(run), expected)
        del bench.faults.always["metrics"]
        status = bench.collect(run)
        assert status.spending.charged == pytest.approx(bench.cloud.consumed)
        assert status.spending.in_flight == 0


def test_the_ledger_adopts_no_job_that_is_known_to_give_nothing(tmp_path):
    with Bench(tmp_path, faults=FaultPlan({("result", 1): Drop(after=True)})) as bench:
        run = bench.submit(private_plan())
        bench.collect(run)
        (job,) = bench.ledger.jobs(run)
        lost = job.remote_id
        assert not bench.ledger.adopt_stray(job, lost, "DONE", job.tag)
        bench.ledger.note_duplicate(job, lost, "QUEUED")  # as the platform's list has it
        assert bench.ledger.is_lost(lost)
        bench.cloud.hold()
        bench.resume(run)
        assert not bench.ledger.adopt_instead(bench.ledger.job(run, 0), lost, "DONE")
        bench.cloud.release()


# --- claims -------------------------------------------------------------------------------------


def test_a_claim_made_while_the_clock_was_ahead_holds_nothing_up(tmp_path):
    with Bench(tmp_path) as bench:
        run = bench.submit(private_plan())
        bench.cloud.wait_idle()
        now = bench.ledger.now
        with Ledger(bench.ledger.path, now=lambda: now() + DAY) as ahead:
            (job,) = ahead.jobs(run)
            assert ahead.leases.begin_fetch(job, "another-host|77:1|abc", 1200.0) is not None
        assert bench.collect(run, timeout=5.0).state == "done"


def test_a_claim_of_another_host_holds_until_it_lapses(tmp_path):
    with Bench(tmp_path) as bench:
        run = bench.submit(private_plan())
        bench.cloud.wait_idle()
        (job,) = bench.ledger.jobs(run)
        assert bench.ledger.leases.begin_fetch(job, "another-host|77:1|abc", 1200.0) is not None
        status = bench.collect(run, timeout=0.0)
        assert "Another process" in status.problems[0]
        assert bench.faults.seen["result"] == 0
        assert runner.results(run, ledger=bench.ledger) == {}


# --- received, and then trouble here -------------------------------------------------------------


def after_fetch(bench, monkeypatch, trouble):
    """Let something happen once, when a result has come and is not stored."""
    fetch = bench.device.fetch

    def fetched(job_id, request):
        arrays = fetch(job_id, request)
        monkeypatch.setattr(bench.device, "fetch", fetch)
        trouble()
        return arrays

    monkeypatch.setattr(bench.device, "fetch", fetched)


def kept(bench):
    return sorted(KeptFiles(bench.ledger.path).folder.glob("*"))


@pytest.mark.parametrize("state", ["claimed", "failed", "unknown", "cancelled"])
def test_a_result_in_hand_counts_whoever_holds_the_job_by_then(
    tmp_path, expected, monkeypatch, state
):
    with Bench(tmp_path) as bench:
        run = bench.submit(private_plan())
        bench.cloud.wait_idle()
        now = bench.ledger.now

        def lapse():
            with Ledger(bench.ledger.path, now=lambda: now() + 1300.0) as other:
                held = other.leases.begin_fetch(other.job(run, 0), new_claimant(), 1200.0)
                if state == "failed":
                    other.results.lose(held, "the platform does not give it any more")
                    assert other.finalize(run) == "failed"
                elif state != "claimed":
                    other.end(held, state, "injected")
                    other.finalize(run)

        after_fetch(bench, monkeypatch, lapse)
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert not kept(bench)
        assert bench.faults.seen["result"] == 1
        assert bench.ledger.remote_states(run) == {bench.ledger.job(run, 0).remote_id: "DONE"}


def test_a_result_of_an_attempt_that_does_not_count_any_more_is_not_stored(tmp_path):
    with Bench(tmp_path, faults=FaultPlan({("result", 1): Drop(after=True)})) as bench:
        run = bench.submit(private_plan())
        bench.collect(run)
        before = bench.ledger.job(run, 0)
        bench.cloud.hold()
        bench.resume(run)
        assert not bench.ledger.results.finish(before, {"x": np.zeros(1)})
        assert bench.states(run) == ["submitted"]
        bench.cloud.release()


def test_a_result_that_comes_while_the_ledger_is_locked_is_kept(tmp_path, expected, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    with Bench(tmp_path) as bench:
        run = bench.submit(private_plan())
        bench.cloud.wait_idle()
        backup = sqlite3.connect(bench.ledger.path, isolation_level=None)
        after_fetch(bench, monkeypatch, lambda: backup.execute("BEGIN IMMEDIATE"))
        with pytest.raises(LedgerError, match=r"has come and is kept in .*collect the run again"):
            bench.collect(run)
        backup.execute("ROLLBACK")
        backup.close()
        (file,) = kept(bench)
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
        assert bench.collect(run).state == "done"
        assert bench.faults.seen["result"] == 1
        assert_equal(bench.results(run), expected)
        assert not kept(bench)


def test_a_ledger_that_is_locked_for_a_moment_is_waited_for(tmp_path, expected, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    with Bench(tmp_path) as bench:
        run = bench.submit(private_plan())
        bench.cloud.wait_idle()
        backup = sqlite3.connect(bench.ledger.path, isolation_level=None)
        slept = []

        def sleep(seconds):
            if backup.in_transaction:
                slept.append(seconds)
                backup.execute("ROLLBACK")

        after_fetch(bench, monkeypatch, lambda: backup.execute("BEGIN IMMEDIATE"))
        assert bench.collect(run, clock=Clock(sleep=sleep)).state == "done"
        assert slept
        assert_equal(bench.results(run), expected)
        assert not kept(bench)
        backup.close()


def test_a_fetch_that_fails_while_the_ledger_is_locked_holds_nothing_up(
    tmp_path, expected, monkeypatch
):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    with Bench(tmp_path) as bench:
        run = bench.submit(private_plan())
        bench.cloud.wait_idle()
        backup = sqlite3.connect(bench.ledger.path, isolation_level=None)
        fetch = bench.device.fetch

        def interrupted(job_id, request):
            backup.execute("BEGIN IMMEDIATE")
            raise KeyboardInterrupt

        monkeypatch.setattr(bench.device, "fetch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bench.collect(run)
        backup.execute("ROLLBACK")
        backup.close()
        monkeypatch.setattr(bench.device, "fetch", fetch)
        assert bench.collect(run, timeout=5.0).state == "done"
        assert_equal(bench.results(run), expected)


def killed_before_it_is_stored(bench, run, monkeypatch):
    """Collect in a process that ends between the arrival of a result and its row in the ledger."""

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Results, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            bench.collect(run)


@pytest.mark.parametrize("verb", ["collect", "resume"])
def test_a_result_whose_process_ended_before_it_was_stored_is_taken_up(
    tmp_path, expected, monkeypatch, verb
):
    with Bench(tmp_path) as bench:
        run = bench.submit(private_plan())
        bench.cloud.wait_idle()
        killed_before_it_is_stored(bench, run, monkeypatch)
        assert len(kept(bench)) == 1
        assert bench.verb(verb, run).state == "done"
        assert bench.faults.seen["result"] == 1
        assert_equal(bench.results(run), expected)
        assert not kept(bench)


def test_a_result_that_a_process_kept_while_another_was_refused_is_taken_up(
    tmp_path, expected, monkeypatch
):
    with Bench(tmp_path) as bench:
        run = bench.submit(private_plan())
        bench.cloud.wait_idle()

        def refused(job_id, request):
            body = database.pack_arrays(expected[0])
            KeptFiles(bench.ledger.path).keep(bench.ledger.job(run, 0), body, ".npz")
            raise VanishedError("It was given to another process.")

        monkeypatch.setattr(bench.device, "fetch", refused)
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)


# --- received, and not readable ------------------------------------------------------------------


@pytest.mark.parametrize("error", [BadResultError("another version"), KeyboardInterrupt()])
def test_an_answer_that_cannot_be_read_is_kept_and_read_by_a_later_version(
    tmp_path, expected, monkeypatch, error
):
    with Bench(tmp_path) as bench:
        run = bench.submit(private_plan())
        bench.cloud.wait_idle()

        def fail(raw, request):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(decoding, "decoded", fail)
            if isinstance(error, KeyboardInterrupt):
                with pytest.raises(KeyboardInterrupt):
                    bench.collect(run)
            else:
                status = bench.collect(run)
                assert status.state == "failed"
                assert f"It is kept in {kept(bench)[0]} " in status.problems[0]
                assert "paid again. What is wrong with it: another version" in status.problems[0]
                assert bench.collect(run).state == "failed"  # it cannot be read now either
        assert len(kept(bench)) == 1
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == 1
        assert_equal(bench.results(run), expected)
        assert not kept(bench)


@pytest.mark.parametrize("damage", ["fewer shots", "a renamed register", "another version"])
def test_an_answer_that_does_not_fit_is_kept_until_another_attempt_is_done(
    tmp_path, expected, damage
):
    faults = FaultPlan({("result", 1): Change(TAMPERED[damage])})
    with Bench(tmp_path, faults=faults) as bench:
        run = bench.submit(private_plan())
        assert bench.collect(run).state == "failed"
        (file,) = kept(bench)
        assert str(file) in bench.ledger.job(run, 0).reason
        bench.resume(run)
        assert kept(bench) == [file]
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert not kept(bench)


def test_a_damaged_file_is_no_result(tmp_path, monkeypatch):
    with Bench(tmp_path) as bench:
        run = bench.submit(private_plan())
        bench.cloud.wait_idle()
        killed_before_it_is_stored(bench, run, monkeypatch)
        (file,) = kept(bench)
        file.write_bytes(file.read_bytes()[:-1] + b"x")
        status = bench.collect(run)
        assert status.state == "failed"
        assert f"{file} is damaged" in status.problems[0]


# --- stored, and damaged ------------------------------------------------------------------------


def damage(bench):
    with bench.ledger.writing() as db:
        db.execute("UPDATE results SET arrays = X'00'")


@pytest.mark.parametrize("verb", ["collect", "resume"])
def test_a_damaged_private_result_is_said_to_be_lost_and_runs_again_at_the_users_word(
    tmp_path, expected, verb
):
    with Bench(tmp_path) as bench:
        run = bench.submit(private_plan())
        assert bench.collect(run).state == "done"
        damage(bench)
        status = bench.verb(verb, run)
        assert status.state == "failed"
        assert "its stored result is damaged. It cannot be fetched again" in status.problems[0]
        assert "Resuming the run runs the job again, which is paid again" in status.problems[0]
        assert bench.collect(run).state == "failed"
        assert len(bench.cloud.jobs) == 1
        bench.resume(run)
        assert bench.collect(run).state == "done"
        assert len(bench.cloud.jobs) == 2
        assert_equal(bench.results(run), expected)


def test_a_damaged_private_result_that_the_platform_still_gives_is_replaced(
    tmp_path, expected, monkeypatch
):
    with Bench(tmp_path) as bench:
        run = bench.submit(private_plan())
        assert bench.collect(run).state == "done"
        damage(bench)
        monkeypatch.setattr(bench.device, "fetch", lambda *_: expected[0])
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert not kept(bench)


def test_a_private_result_is_not_given_up_while_the_platform_is_out_of_reach(tmp_path):
    with Bench(tmp_path) as bench:
        run = bench.submit(private_plan())
        assert bench.collect(run).state == "done"
        damage(bench)
        bench.faults.always["result"] = Reply(503)
        status = bench.collect(run)
        assert status.state == "done"
        assert "It cannot be fetched again" in status.problems[0]
