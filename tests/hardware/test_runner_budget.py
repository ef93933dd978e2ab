"""Budgets equal to the estimate, on a platform that charges what it runs and stops at the cap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from loopback import Cloud, Loopback
from loopback.learned import learned
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from hardware.devices.ibm.device import PlatformDevice
from hardware.errors import BudgetError, RefusedError
from hardware.ledger.budget import cap_seconds
from hardware.ledger.ledger import Ledger, Pace
from hardware.planning.mitigation import Mitigation
from hardware.planning.options import JobLimits, PlanOptions
from hardware.planning.plan import JobPlan
from hardware.planning.planner import plan
from hardware.planning.pubs import job_request
from hardware.runs import runner
from hardware.runs.policy import Policy
from hardware.workload import Workload

QUICK = Policy(pace=Pace(), settle=0.05, busy=0.05, poll=(0.02, 0.1))
SHOTS = 200
ROWS = 8


def workload() -> Workload:
    circuit = QuantumCircuit(2)
    circuit.ry(Parameter("x"), 0)
    circuit.cx(0, 1)
    values = np.linspace(0.7, 1.1, ROWS)[:, np.newaxis]
    return Workload(circuit, ("x",), values, (SparsePauliOp("IZ"), SparsePauliOp("ZI")))


class Bench:
    """A double, a ledger and plans for it."""

    def __init__(self, tmp_path, cloud: Cloud | None = None) -> None:
        self.double = Loopback(cloud or Cloud())
        self.ledger = Ledger(tmp_path / "ledger.sqlite")

    def __enter__(self):
        self.double.__enter__()
        self.device = PlatformDevice(self.double.service(), "ibm_manila")
        self.means = {"ledger": self.ledger, "device": self.device, "policy": QUICK}
        return self

    def __exit__(self, *error) -> None:
        self.ledger.close()
        self.double.__exit__(*error)

    @property
    def cloud(self) -> Cloud:
        return self.double.cloud

    def plan(self, mitigation: Mitigation | None = None, **options) -> JobPlan:
        chosen = PlanOptions(shots=SHOTS, tiles=2, mitigation=mitigation or Mitigation(), **options)
        made = plan(workload(), self.device.backend, chosen, target="ibm:ibm_manila")
        if not made.options.mitigation.lacks_layer_noise:
            return made
        chosen = replace(chosen, mitigation=learned(made))
        return plan(workload(), self.device.backend, chosen, target="ibm:ibm_manila")

    def run(self, made: JobPlan, budget: float) -> str:
        run = runner.submit(made, budget_seconds=budget, **self.means)
        runner.collect(run, timeout=60, **self.means)
        return run


MITIGATIONS = {
    "none": Mitigation(),
    "inversion": Mitigation(readout_inversion=True),
    "twirling": Mitigation(twirl_gates=True, twirl_measure=True),
    "resilience": Mitigation(measure_mitigation=True),
    "zne": Mitigation(zne_factors=(1, 3, 5)),
    "both": Mitigation(zne_factors=(1, 3, 5), measure_mitigation=True),
    "parabola": Mitigation(zne_factors=(1, 2, 3), zne_extrapolator="polynomial_degree_2"),
    "folded back": Mitigation(zne_factors=(1, 2), zne_amplifier="gate_folding_back"),
    "exponential": Mitigation(zne_factors=(1, 2, 3), zne_extrapolator=("exponential", "linear")),
    "strategy": Mitigation(twirl_gates=True, twirling_strategy="all"),
    "pea": Mitigation(zne_factors=(1, 3), zne_amplifier="pea", measure_mitigation=True),
    "pec": Mitigation(pec_mitigation=True, measure_mitigation=True),
}


@pytest.mark.parametrize("name", MITIGATIONS)
def test_a_budget_equal_to_the_estimate_pays_for_every_row(tmp_path, name):
    with Bench(tmp_path) as bench:
        made = bench.plan(MITIGATIONS[name])
        run = bench.run(made, made.cost.qpu_seconds)
        status = runner.status(run, ledger=bench.ledger)
        assert status.jobs == {"done": 1}
        assert status.spending.charged == pytest.approx(bench.cloud.consumed)
        # The double counts items and executions in the program that it was sent, and schedules
        # its circuits with Qiskit: durations of single qubits where the plan has typical ones.
        assert bench.cloud.consumed == pytest.approx(made.cost.qpu_seconds, rel=0.005)
        (job,) = bench.cloud.jobs.values()
        assert job.executions == made.cost.executions
        assert job.max_seconds == cap_seconds(made.cost.qpu_seconds) > job.paid
        assert runner.expectations(run, ledger=bench.ledger).missing == ()


@pytest.mark.parametrize("slowness", [1.02, 1.24])
def test_jobs_that_overrun_within_their_margins_are_all_sent_and_finish(tmp_path, slowness):
    with Bench(tmp_path, Cloud(slowness=slowness)) as bench:
        made = bench.plan(limits=JobLimits(executions=2 * SHOTS))
        assert len(made.jobs) == 2
        # One at a time: the first one's overrun is known before the second is sent.
        means = {**bench.means, "policy": replace(QUICK, pace=Pace(max_pending=1))}
        estimate = made.cost.qpu_seconds
        run = runner.submit(made, budget_seconds=estimate, **means)
        assert runner.collect(run, timeout=60, **means).state == "done"
        assert bench.cloud.consumed == pytest.approx(slowness * estimate, rel=0.005)
        assert runner.expectations(run, ledger=bench.ledger).missing == ()


def test_a_run_that_overruns_beyond_its_margin_is_stopped_by_the_platform(tmp_path):
    with Bench(tmp_path, Cloud(slowness=3.0)) as bench:
        made = bench.plan(limits=JobLimits(executions=2 * SHOTS))
        caps = [cap_seconds(seconds) for seconds in made.job_seconds]
        run = bench.run(made, made.cost.qpu_seconds)
        assert runner.status(run, ledger=bench.ledger).jobs["failed"] >= 1
        assert bench.cloud.consumed <= sum(caps)
        # What was stopped counts in full: nothing is sent again within this budget.
        with pytest.raises(BudgetError):
            runner.resume(run, **bench.means)
        assert bench.cloud.consumed <= sum(caps)
        # A budget that leaves four times the estimate gives each job a cap of that.
        charged = bench.cloud.consumed
        runner.resume(run, budget_seconds=charged + 4 * made.cost.qpu_seconds, **bench.means)
        status = runner.collect(run, timeout=60, **bench.means)
        assert status.state == "done"


def test_finished_jobs_tell_what_the_device_charges(tmp_path):
    with Bench(tmp_path, Cloud(slowness=1.2)) as bench:
        assert bench.ledger.leases.charge_ratio("ibm_manila") is None
        made = bench.plan(limits=JobLimits(executions=2 * SHOTS))
        bench.run(made, made.cost.qpu_seconds)
        ratio = bench.ledger.leases.charge_ratio("ibm_manila")
        assert ratio is not None
        assert (ratio.jobs, ratio.mean) == (2, pytest.approx(1.2, rel=0.005))
        assert bench.ledger.leases.charge_ratio("ibm_fez") is None


def test_jobs_that_were_stopped_or_not_charged_yet_tell_nothing(tmp_path):
    with Bench(tmp_path, Cloud(slowness=3.0)) as bench:
        made = bench.plan()
        run = bench.run(made, made.cost.qpu_seconds)
        assert runner.status(run, ledger=bench.ledger).jobs == {"failed": 1}
        assert bench.ledger.leases.charge_ratio("ibm_manila") is None


@pytest.mark.parametrize("mitigation", [Mitigation(), Mitigation(measure_mitigation=True)])
def test_a_chosen_repetition_delay_reaches_the_device_and_is_what_it_charges(tmp_path, mitigation):
    with Bench(tmp_path) as bench:
        made = bench.plan(mitigation, rep_delay=5e-4)
        bench.run(made, made.cost.qpu_seconds)
        (job,) = bench.cloud.jobs.values()
        assert job.params["options"]["rep_delay"] == 5e-4
        assert job.paid == pytest.approx(made.cost.qpu_seconds, rel=0.005)
        usual = bench.plan(mitigation)
        assert made.cost.qpu_seconds - usual.cost.qpu_seconds == pytest.approx(
            made.cost.executions * 2.5e-4
        )


def test_the_platform_refuses_what_planning_refuses(tmp_path):
    # What the double does where a request comes past the planner.
    with Bench(tmp_path) as bench:
        request = replace(job_request(bench.plan(), 0), shots=100_001)
        with pytest.raises(RefusedError, match="shots exceeds"):
            bench.device.send(request, ("a-tag",), None, None)
