"""Rounds of adaptive shots on the platform's double: paid once, within the budget, after kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from loopback import Cloud
from loopback.bench import QUICK, Bench, assert_equal, assert_paid_once
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from hardware.circuits.adaptive import AdaptiveShots, LinearRule
from hardware.errors import BudgetError, PlanError, RunStateError
from hardware.ledger import database
from hardware.ledger.ledger import Ledger, Pace
from hardware.planning.options import JobLimits, PlanOptions
from hardware.planning.plan_file import load_submitted
from hardware.planning.planner import plan
from hardware.planning.pubs import unpack
from hardware.runs import runner
from hardware.runs.adaptive import advance
from hardware.runs.run import Run, list_runs
from hardware.workload import Workload

RULE = LinearRule([[1.0], [-1.0]], [0.0, 0.0])
ROUNDS = (20, 60, 120)


def adaptive_plan(backend, values=(0.9, -0.9, 0.6, 0.2, 0.0, 0.0), **options):
    """Return a plan of rows of which the last two are on the border between the labels."""
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("x"), 0)
    circuit.cx(0, 1)
    work = Workload(
        circuit, ("x",), np.arccos(np.array(values))[:, np.newaxis], (SparsePauliOp("IZ"),)
    )
    chosen = PlanOptions(
        shots=sum(ROUNDS), tiles=2, seed=2, adaptive=AdaptiveShots(ROUNDS), **options
    )
    return plan(work, backend, chosen, target="ibm:ibm_manila", rule=RULE)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return the results of the plan's rounds without any trouble."""
    with Bench(tmp_path_factory.mktemp("undisturbed")) as bench:
        run = bench.submit(adaptive_plan(bench.device.backend))
        assert bench.collect(run).state == "done"
        return bench.results(run)


def plan_of(bench, run):
    return load_submitted(bench.ledger.plan_body(run))


def test_a_run_goes_on_in_rounds_until_labels_are_decided(tmp_path):
    with Bench(tmp_path) as bench:
        made = adaptive_plan(bench.device.backend)
        run = bench.submit(made, budget=made.cost.qpu_seconds)
        first = bench.ledger.run(run)
        assert len(bench.ledger.jobs(run)) == 1
        assert first.estimate_seconds == pytest.approx(sum(made.job_seconds))
        assert first.later_seconds == pytest.approx(made.most_to_come)
        assert bench.collect(run).state == "done"
        record, longer = bench.ledger.run(run), plan_of(bench, run)
        assert record.later_seconds is None
        assert record.plan_hash == made.key != longer.key
        assert record.estimate_seconds == pytest.approx(sum(longer.job_seconds))
        assert longer.num_rounds == len(bench.ledger.jobs(run)) == 3
        assert_paid_once(bench, 3)
        sent = sorted(bench.cloud.jobs.values(), key=lambda job: job.tags[-1])
        assert [job.executions for job in sent] == [job.executions for job in longer.jobs]
        assert sent[0].executions == 3 * ROUNDS[0]
        assert bench.cloud.consumed == pytest.approx(sum(longer.job_seconds), rel=0.005)
        assert bench.ledger.spending(run).charged == pytest.approx(bench.cloud.consumed)
        found = runner.expectations(run, ledger=bench.ledger)
        assert found.missing == ()
        decisions = found.decisions
        assert decisions.shots[[0, 1]].tolist() == [20, 20]
        assert decisions.decided[[0, 1, 2]].all()
        assert decisions.winners[[0, 1, 2]].tolist() == [0, 1, 0]
        assert runner.finished_run(made, ledger=bench.ledger) == run
        with pytest.raises(PlanError, match="rounds of a run"):
            bench.submit(longer)


def test_rows_and_tags_of_a_round_are_written_before_its_requests_leave(tmp_path):
    with Bench(tmp_path) as bench:
        seen = []
        send = bench.device.send

        def sending(request, tags, *rest):
            with Ledger(bench.ledger.path) as other:
                run = other.runs()[0].id
                jobs = [job for job in other.jobs(run) if job.tag == tags[-1]]
                seen.append((load_submitted(other.plan_body(run)).num_rounds, jobs[0].state))
            return send(request, tags, *rest)

        bench.device.send = sending
        run = bench.submit(adaptive_plan(bench.device.backend))
        assert bench.collect(run).state == "done"
        assert seen == [(1, "submitting"), (2, "submitting"), (3, "submitting")]


def test_labels_that_are_clear_at_once_need_no_further_round(tmp_path):
    with Bench(tmp_path) as bench:
        made = adaptive_plan(bench.device.backend, values=(0.97, -0.97, 0.97))
        run = bench.submit(made)
        assert bench.collect(run).state == "done"
        assert bench.ledger.run(run).later_seconds is None
        assert_paid_once(bench, 1)
        assert any("no further round" in event.what for event in bench.ledger.events(run))


def test_a_round_that_the_budget_does_not_cover_is_not_sent(tmp_path, undisturbed):
    with Bench(tmp_path) as bench:
        made = adaptive_plan(bench.device.backend)
        with pytest.raises(BudgetError):
            bench.submit(made, budget=sum(made.job_seconds) - 0.01)
        assert not bench.ledger.runs()
        budget = sum(made.job_seconds) + 1.0
        run = bench.submit(made, budget=budget)
        status = bench.collect(run)
        assert (status.state, status.finished) == ("submitted", False)
        assert "Round 2 of run" in status.problems[-1]
        assert_paid_once(bench, 1)
        assert bench.cloud.consumed <= budget
        found = runner.expectations(run, ledger=bench.ledger)
        assert found.missing == ()
        assert set(found.decisions.shots.tolist()) == {20}
        assert not found.decisions.decided[[4, 5]].any()
        assert bench.collect(run).problems[-1] == status.problems[-1]  # again, without harm
        with pytest.raises(BudgetError, match="Round 2"):
            bench.resume(run)
        told = int(status.problems[-1].partition("with a budget of ")[2].split()[0])
        bench.resume(run, budget_seconds=told)
        assert "Round 3 of run" in bench.collect(run).problems[-1]
        bench.resume(run, budget_seconds=1000.0)
        assert bench.collect(run).state == "done"
        assert_paid_once(bench, 3)
        assert_equal(bench.results(run), undisturbed)


def test_a_budget_that_ends_within_the_first_round_is_an_error(tmp_path):
    """Rows without any result are no labels: it is not as if a later round were left out."""
    policy = replace(QUICK, pace=Pace(max_pending=1))
    with Bench(tmp_path, Cloud(slowness=3.0), policy=policy) as bench:
        limits = JobLimits(executions=120)
        made = adaptive_plan(bench.device.backend, values=(0.0,) * 24, limits=limits)
        assert [job.round for job in made.jobs] == [0, 0]
        run = bench.submit(made, budget=sum(made.job_seconds))
        with pytest.raises(BudgetError, match="Expected job 1"):
            bench.collect(run)
        assert runner.expectations(run, ledger=bench.ledger).missing


def test_the_largest_cost_is_a_budget_for_every_round(tmp_path):
    with Bench(tmp_path, Cloud(slowness=1.2)) as bench:
        made = adaptive_plan(bench.device.backend, values=(0.0,) * 6)
        run = bench.submit(made, budget=2 * made.cost.qpu_seconds)
        # The first round's share of the budget leaves that of the later ones.
        (job,) = bench.ledger.jobs(run)
        assert job.reserved_seconds == pytest.approx(2 * made.job_seconds[0])
        bench.resume(run, budget_seconds=made.cost.qpu_seconds)
        assert bench.collect(run).state == "done"
        assert plan_of(bench, run).num_rounds == 3
        assert_paid_once(bench, 3)


def test_a_round_waits_for_room_in_the_account(tmp_path):
    policy = replace(QUICK, pace=Pace(max_pending=1))
    with Bench(tmp_path, policy=policy) as bench:
        made = adaptive_plan(
            bench.device.backend, values=(0.0,) * 6, limits=JobLimits(executions=240)
        )
        run = bench.submit(made)
        assert bench.collect(run).state == "done"
        longer = plan_of(bench, run)
        assert [job.round for job in longer.jobs] == [0, 1, 2, 2]
        assert_paid_once(bench, 4)


def test_two_processes_add_a_round_once(tmp_path):
    with Bench(tmp_path) as bench:
        run = bench.submit(adaptive_plan(bench.device.backend))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hardware.runs.rounds.advance", lambda *_: False)
            bench.collect(run)
        assert bench.ledger.run(run).state == "submitted"
        with Ledger(bench.ledger.path) as other:
            longer = []
            add = Ledger.add_round

            def slowly(ledger, run_id, **fields):
                if not longer:
                    longer.append(fields)
                    assert advance(other, run_id)  # the other process is quicker
                return add(ledger, run_id, **fields)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Ledger, "add_round", slowly)
                assert not advance(bench.ledger, run)
        assert bench.ledger.num_rounds(run) == 1
        assert [one.state for one in bench.ledger.jobs(run)] == ["done", "planned"]
        assert bench.collect(run).state == "done"
        assert_paid_once(bench, 3)


def test_a_failed_job_of_a_round_is_resumed_before_the_next_round(tmp_path, undisturbed):
    with Bench(tmp_path) as bench:
        run = bench.submit(adaptive_plan(bench.device.backend))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hardware.runs.rounds.advance", lambda *_: False)
            bench.collect(run)
        assert advance(bench.ledger, run)
        job = bench.ledger.jobs(run, "planned")[0]
        assert bench.ledger.leases.claim_next(run, "x", 60.0, Pace()).job is not None
        assert bench.ledger.refuse(bench.ledger.job(run, job.idx), "refused")
        assert bench.ledger.finalize(run) == "failed"
        assert not advance(bench.ledger, run)
        assert runner.expectations(run, ledger=bench.ledger).missing == ()
        bench.resume(run)
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), undisturbed)
        assert_paid_once(bench, 3)


def test_a_run_that_was_cancelled_between_rounds_sends_no_more_unasked(tmp_path, undisturbed):
    with Bench(tmp_path) as bench:
        run = bench.submit(adaptive_plan(bench.device.backend))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hardware.runs.rounds.advance", lambda *_: False)
            bench.collect(run)
        bench.cancel(run)
        assert bench.collect(run).state == "cancelled"
        assert_paid_once(bench, 1)
        with pytest.raises(RunStateError):
            bench.resume(run)
        bench.resume(run, resubmit_cancelled=True)
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), undisturbed)


def test_a_damaged_result_is_fetched_again_before_a_round_is_decided_on(tmp_path, undisturbed):
    with Bench(tmp_path) as bench:
        run = bench.submit(adaptive_plan(bench.device.backend))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hardware.runs.rounds.advance", lambda *_: False)
            bench.collect(run)
        with bench.ledger.writing() as db:
            db.execute("UPDATE results SET arrays = ?", (b"damaged",))
        assert not advance(bench.ledger, run)
        assert bench.ledger.run(run).awaits_round
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), undisturbed)
        assert_paid_once(bench, 3)


def test_a_copy_of_the_ledger_from_before_a_round_finds_its_jobs(tmp_path, undisturbed):
    """The round follows from results: the copy derives the same jobs and adopts those sent."""
    with Bench(tmp_path) as bench:
        run = bench.submit(adaptive_plan(bench.device.backend))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hardware.runs.rounds.advance", lambda *_: False)
            bench.collect(run)
        copy = tmp_path / "copy.sqlite"
        bench.ledger.rows("VACUUM INTO ?", str(copy))
        assert bench.collect(run).state == "done"
        with Ledger(copy) as restored:
            means = {"ledger": restored, "device": bench.device, "policy": QUICK}
            assert runner.collect(run, timeout=20.0, **means).state == "done"
            assert_equal(runner.results(run, ledger=restored), undisturbed)
        assert_paid_once(bench, 3)


_CHILD = """
import os, sys
from loopback.bench import QUICK
from loopback.server import account
from hardware.devices.ibm.client import open_service
from hardware.devices.ibm.device import PlatformDevice
from hardware.ledger.ledger import Ledger
from hardware.ledger.results import Results
from hardware.runs import runner

path, run, kind, name, when, number = sys.argv[1:]
kind = {"Ledger": Ledger, "Device": PlatformDevice, "Results": Results}[kind]
inner, calls = getattr(kind, name), [0]

def dying(*args, **options):
    calls[0] += 1
    last = calls[0] == int(number)
    if last and when == "before":
        os.kill(os.getpid(), 9)
    found = inner(*args, **options)
    if last:
        os.kill(os.getpid(), 9)
    return found

setattr(kind, name, dying)
device = PlatformDevice(open_service(**account(os.environ["QHEAD_LOOPBACK_URL"])), "ibm_manila")
with Ledger(path) as ledger:
    runner.collect(run, ledger=ledger, device=device, policy=QUICK, timeout=60.0)
"""


def test_a_run_that_is_killed_in_every_round_pays_for_nothing_twice(tmp_path, undisturbed):
    kills = [
        ("Results", "finish", "before", 1),  # round 1 has come and is not stored
        ("Ledger", "add_round", "before", 1),
        ("Ledger", "add_round", "after", 1),  # round 2 is written and not sent
        ("Device", "send", "before", 1),
        ("Device", "send", "after", 1),  # it is taken, and nobody knows
        ("Results", "finish", "after", 1),
        ("Ledger", "add_round", "after", 1),
        ("Device", "send", "after", 1),
        ("Results", "finish", "before", 1),
    ]
    roots = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    with Bench(tmp_path) as bench:
        run = bench.submit(adaptive_plan(bench.device.backend))
        for kill in kills:
            found = subprocess.run(
                [sys.executable, "-c", _CHILD, str(bench.ledger.path), run, *map(str, kill)],
                env={
                    **os.environ,
                    **bench.double.environment(),
                    "PYTHONPATH": os.pathsep.join(roots),
                },
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert found.returncode == -signal.SIGKILL, (kill, found.stderr)
        assert bench.collect(run).state == "done"
        assert_equal(bench.results(run), undisturbed)
        assert_paid_once(bench, 3)
        assert bench.ledger.spending(run).charged == pytest.approx(bench.cloud.consumed)


def test_a_run_is_opened_with_all_of_its_rounds(tmp_path, undisturbed, caplog):
    with Bench(tmp_path) as bench:
        made = adaptive_plan(bench.device.backend)
        means = {"device": bench.device, "ledger": bench.ledger.path, "policy": QUICK}
        run = Run.submit(made, budget=sum(made.job_seconds) + 0.5, **means)
        found = run.collect(20.0)
        assert found.missing == ()
        assert "Round 2 of run" in caplog.text
        assert run.plan.num_rounds == 1
        run.resume(1000.0)
        other = Run.open(run.id, **means)
        assert other.collect(20.0).decisions.decided[[0, 1, 2]].all()
        assert run.plan.num_rounds == other.plan.num_rounds == 3
        assert run.status().state == "done"
        np.testing.assert_array_equal(
            run.expectations().values, unpack(run.plan, undisturbed).values
        )
        (listed,) = list_runs(bench.ledger.path)
        assert listed.jobs["done"] == 3
        assert listed.as_dict()["later_rounds_seconds"] is None


def test_ledgers_of_the_version_before_have_no_rounds(tmp_path, monkeypatch):
    path = tmp_path / "old.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", database.MIGRATIONS[:3])
        patch.setattr(database, "SCHEMA_VERSION", 3)
        database.connect(path).close()
    with Ledger(path) as ledger:
        assert ledger.runs() == []
        assert ledger.num_rounds("x") == 0
