"""Results that the platform gives once: kept whatever happens here, and never paid for unasked."""

from __future__ import annotations

import pytest
from loopback import Drop, FaultPlan, Reply
from loopback.bench import Bench, assert_equal, undisturbed
from loopback.plans import tiny_plan

from hardware.errors import BudgetError
from hardware.ledger.ledger import Ledger
from hardware.runs import runner

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
