"""Runs from Python: plan, submit, and come back to a run by its id alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from contracts.sampling_bounds import assert_means, shifted, spectra
from contracts.target_contract import exact_values, workload
from loopback import Cloud, Loopback
from loopback.home import private_home
from qiskit_ibm_runtime import QiskitRuntimeService

import hardware
from hardware import PlanOptions, Run
from hardware.devices.named import parse_device
from hardware.errors import (
    BudgetError,
    InvalidInputError,
    PlanError,
    RunStateError,
    UnknownRunError,
    UnknownTargetError,
)
from hardware.planning.options import JobLimits
from hardware.runs.opening import open_device

SHOTS = 200
OPTIONS = PlanOptions(shots=SHOTS, seed=1)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    return private_home(tmp_path / "home", monkeypatch)


def several_jobs(number=3):
    plan = hardware.plan(workload(), "fake:manila", OPTIONS)
    sets = plan.jobs[0].executions // SHOTS
    limits = JobLimits(executions=-(-sets // number) * SHOTS)
    options = PlanOptions(shots=SHOTS, seed=1, limits=limits)
    return hardware.plan(workload(), "fake:manila", options)


@pytest.mark.sampled
def test_a_workload_goes_through_plan_ledger_and_result(home):
    work = workload()
    plan = hardware.plan(work, f"fake:manila:{SHOTS}", PlanOptions(seed=shifted(1)))
    assert not home.exists()  # a plan writes nothing
    assert (plan.shots, plan.target) == (SHOTS, f"fake:manila:{SHOTS}")
    run = hardware.submit(plan)
    assert run.status().state == "submitted"
    assert np.isnan(run.expectations().values).all()
    found = run.collect()
    assert run.status().state == "done"
    assert found.missing == ()
    exact = exact_values(work)
    assert_means(found.values, exact, SHOTS, spectra(work.observables)[1], bias=0.2)


def test_a_run_is_opened_by_the_beginning_of_its_id(home):
    run = hardware.submit(several_jobs())
    again = Run.open(run.id[:13])
    assert (again.id, again.plan.key) == (run.id, run.plan.key)
    found = again.collect()
    np.testing.assert_array_equal(found.values, run.expectations().values)
    assert next(event.what for event in again.events()).startswith("planned")
    with pytest.raises(UnknownRunError, match="Did you mean"):
        Run.open(run.id[:-1] + "z")


def test_without_a_ledger_there_is_no_run(home):
    with pytest.raises(UnknownRunError, match="no ledger yet"):
        Run.open("20260101-abc")
    assert not home.exists()


def test_progress_is_reported_after_each_job():
    run = hardware.submit(several_jobs())
    seen = []
    run.update(on_progress=lambda status: seen.append(status.jobs.get("done", 0)))
    assert seen == [1, 2, 3, 3]


def test_one_look_does_not_wait_and_a_bad_wait_is_refused():
    run = hardware.submit(several_jobs())
    for wait in (-1, float("nan")):
        with pytest.raises(InvalidInputError, match="zero or more"):
            run.collect(wait)
    assert run.update(0).finished  # local jobs run when they are looked at


def test_a_cancelled_run_is_resumed_only_expressly():
    run = hardware.submit(several_jobs())
    assert run.cancel().state == "cancelled"
    with pytest.raises(RunStateError, match="resubmit_cancelled"):
        run.resume()
    assert run.resume(resubmit_cancelled=True).state == "submitted"
    assert run.collect().missing == ()


def test_a_fake_rehearses_the_budget(home):
    plan = several_jobs()
    below = plan.cost.qpu_seconds / 2
    for budget in (below, -1, float("nan")):
        with pytest.raises(BudgetError):
            hardware.submit(plan, budget=budget)
    assert not home.exists()
    assert hardware.submit(plan, budget=120).record.budget_seconds is None


def test_shots_stand_in_the_target_or_in_the_options():
    given = hardware.plan(workload(), f"fake:manila:{SHOTS}", OPTIONS)
    assert given.shots == SHOTS
    with pytest.raises(InvalidInputError, match="shots are given twice"):
        hardware.plan(workload(), "fake:manila:300", OPTIONS)


def test_a_ledger_of_one_s_own(home, tmp_path):
    mine = tmp_path / "mine.sqlite"
    run = hardware.submit(several_jobs(), ledger=mine)
    assert not home.exists()
    assert Run.open(run.id, ledger=mine).collect().missing == ()


def test_a_device_can_be_given_and_is_asked_for_where_it_cannot_be_opened(home):
    device = open_device(parse_device("fake:manila"))
    plan = hardware.plan(workload(), device, OPTIONS)
    assert plan.target == "backend:fake_manila"
    assert hardware.submit(plan, device=device).collect().missing == ()
    with pytest.raises(UnknownTargetError, match="give the device itself"):
        hardware.submit(replace(plan, backend="elsewhere"))
    with pytest.raises(PlanError, match="plan again"):
        hardware.submit(replace(plan, target="fake:quito", backend="ibm_quito"))


def test_a_run_on_the_platform_needs_a_budget(home):
    with Loopback(Cloud(("ibm_manila",))) as double, double.addresses():
        QiskitRuntimeService.save_account(**double.account(), overwrite=True)
        plan = hardware.plan(workload(), f"ibm:best:{SHOTS}")
        assert plan.target == f"ibm:ibm_manila:{SHOTS}"
        with pytest.raises(BudgetError, match="needs a budget"):
            hardware.submit(plan)
        assert double.faults.seen["submit"] == 0
        run = hardware.submit(plan, budget=60)
        assert Run.open(run.id).collect().missing == ()
        assert Run.open(run.id).status().spending.charged == double.cloud.consumed > 0


def test_a_plan_says_its_cost_in_a_line():
    plan = hardware.plan(workload(), "fake:manila", OPTIONS)
    assert str(plan).startswith(f"fake:manila:{SHOTS}: ")
    assert "QPU seconds" in str(plan)
    assert len(repr(plan)) < 200


def test_public_names():
    for name in hardware.__all__:
        assert getattr(hardware, name) is not None
    assert dir(hardware) == sorted(hardware.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = hardware.nonsense
