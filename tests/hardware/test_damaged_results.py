"""Results that arrive or are stored damaged: refused, fetched again, and no other row kept back."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from loopback import Change, Cut, FaultPlan, Garble, Reply
from loopback.bench import Bench, assert_equal, assert_paid_once, undisturbed
from loopback.learned import learned
from loopback.plans import tiny_plan
from loopback.tamper import TAMPERED, first_item

from hardware.devices.base import check_arrays
from hardware.errors import BadResultError
from hardware.planning.mitigation import Mitigation
from hardware.planning.plan_file import finished
from hardware.planning.pubs import job_request
from hardware.runs import runner

pytestmark = pytest.mark.usefixtures("quick_retries")

#: What an estimator's result can lose without the estimator's own decoding noticing it or not.
ESTIMATOR = ("fewer shots", "zero shots", "no registers", "a renamed register", "nothing")


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return undisturbed(tiny_plan(), tmp_path_factory)


@pytest.mark.parametrize("damage", TAMPERED)
def test_a_damaged_answer_is_fetched_again_and_keeps_no_other_back(tmp_path, expected, damage):
    faults = FaultPlan(always={"result": Change(TAMPERED[damage])})
    faults.at[("result", 1)] = Reply(404)
    with Bench(tmp_path, faults=faults) as bench:
        run = bench.submit(tiny_plan())
        bench.cloud.wait_idle()
        status = bench.collect(run, timeout=0)
        assert status.jobs == {"submitted": 2}
        problem = status.problems[1]
        assert "collect the run again" in problem
        assert bench.results(run) == {}
        bench.faults.always.clear()
        bench.faults.soon("result", Change(TAMPERED[damage]))
        assert bench.collect(run, timeout=0).jobs == {"submitted": 1, "done": 1}
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


@pytest.mark.parametrize("damage", ESTIMATOR)
def test_an_estimators_damaged_answer_is_fetched_again(tmp_path, damage):
    plan = tiny_plan(jobs=1, estimator=True)
    with Bench(tmp_path) as bench:
        run = bench.submit(plan)
        bench.cloud.wait_idle()
        bench.faults.soon("result", Change(TAMPERED[damage]))
        assert bench.collect(run, timeout=0).jobs == {"submitted": 1}
        assert bench.collect(run).state == "done"
        check_arrays(bench.results(run)[0], job_request(plan, 0))
        assert_paid_once(bench, jobs=1)


def _halved(name, array):
    return array[..., : array.shape[-2] // 2, :] if name == "_meas" else array


@pytest.mark.parametrize("name", ["pec", "pea"])
def test_half_the_shots_of_a_sampled_mitigation_are_missed(tmp_path, name):
    # PEC runs twice the circuits: half of the shots of each are as many as the precision takes.
    halve = first_item(lambda arrays: {k: _halved(k, array) for k, array in arrays.items()})
    chosen = {"pec": {"pec_mitigation": True}, "pea": {"zne_factors": (1, 2, 4, 8)}}[name]
    if name == "pea":
        chosen["zne_amplifier"] = "pea"
    plan = tiny_plan(jobs=1, estimator=True)
    mitigation = Mitigation(**chosen)
    plan = replace(plan, options=replace(plan.options, mitigation=mitigation))
    mitigation = learned(plan, 3.0)
    assert np.exp(4 * 3.0 * 0.12) > 2
    plan = finished(replace(plan, options=replace(plan.options, mitigation=mitigation)))
    with Bench(tmp_path) as bench:
        run = bench.submit(plan)
        bench.cloud.wait_idle()
        bench.faults.soon("result", Change(halve))
        status = bench.collect(run, timeout=0)
        assert status.jobs == {"submitted": 1}
        assert any("shots in '_meas'" in problem for problem in status.problems.values())
        assert bench.collect(run).state == "done"
        check_arrays(bench.results(run)[0], job_request(plan, 0))


@pytest.mark.parametrize(
    "fault", [Cut(), Cut(lying=True), Cut(share=0, lying=True), Garble("<html>", "text/html")]
)
def test_a_download_that_breaks_off_is_repeated(tmp_path, expected, fault):
    with Bench(tmp_path) as bench:
        run = bench.submit(tiny_plan())
        bench.cloud.wait_idle()
        bench.faults.soon("result", fault)
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), expected)
        assert_paid_once(bench)


def spoil(ledger, run, how):
    """Damage the stored result of job 0 of a finished run, as a disk, a user or an old version."""
    if how == "deleted":
        with ledger.writing() as db:
            db.execute("DELETE FROM results WHERE run_id = ? AND idx = 0", (run,))
    elif how == "damaged":
        with ledger.writing() as db:
            db.execute("UPDATE results SET arrays = substr(arrays, 2) WHERE idx = 0")
    else:  # stored by a version that did not look
        arrays = runner.results(run, ledger=ledger)[0]
        half = {name: a[:, : a.shape[1] // 2] if a.ndim else a for name, a in arrays.items()}
        ledger.results.store_again(ledger.job(run, 0), half)


@pytest.mark.parametrize("how", ["deleted", "damaged", "ill-shaped"])
def test_a_stored_result_that_is_damaged_is_fetched_again(tmp_path, expected, how):
    plan = tiny_plan()
    with Bench(tmp_path) as bench:
        run = bench.submit(plan)
        assert bench.collect(run).state == "done"
        spoil(bench.ledger, run, how)
        assert list(runner.unusable(run, partial(job_request, plan), ledger=bench.ledger)) == [0]
        assert 0 in runner.status(run, ledger=bench.ledger, plan=plan).problems
        assert runner.finished_run(plan, ledger=bench.ledger) is None
        bench.faults.always["result"] = Reply(404)
        status = bench.collect(run)
        assert "It cannot be fetched again" in status.problems[0]
        assert status.state == "done"
        np.testing.assert_array_equal(bench.results(run)[1]["0/t0"], expected[1]["0/t0"])
        bench.faults.always.clear()
        assert bench.collect(run).problems == {}
        assert_equal(bench.results(run), expected)
        assert runner.finished_run(plan, ledger=bench.ledger) == run
        assert_paid_once(bench)


def test_checked_arrays_are_those_of_the_request(expected):
    request = job_request(tiny_plan(), 0)
    check_arrays(expected[0], request)
    with pytest.raises(BadResultError, match="collect the run again"):
        check_arrays({}, request)
