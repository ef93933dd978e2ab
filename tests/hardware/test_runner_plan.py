"""Real plans, tiles included, through the runner: what comes back are the workload's rows."""

from __future__ import annotations

import numpy as np
import pytest
from contracts.sampling_bounds import assert_means, mean_slack, shifted
from loopback import Cloud, EndJob, FaultPlan, Loopback
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

import hardware
from hardware.devices.ibm.device import PlatformDevice
from hardware.devices.local import LocalDevice
from hardware.emulation.fake import local_device
from hardware.errors import InvalidInputError, PlanError
from hardware.ledger.ledger import Ledger, Pace
from hardware.planning.mitigation import Mitigation
from hardware.planning.options import JobLimits, PlanOptions
from hardware.planning.plan_file import load_plan
from hardware.planning.planner import plan
from hardware.planning.pubs import unpack
from hardware.runs import runner
from hardware.runs.policy import Policy
from hardware.workload import Workload

SHOTS = 1500
QUICK = Policy(pace=Pace(), settle=0.05, busy=0.05, poll=(0.02, 0.1))
PAULIS = ("IZ", "ZI", "XX")


def workload(rows: int) -> Workload:
    """Return a two-qubit circuit whose parameters' names sort against their order."""
    z, a = ParameterVector("z", 2), ParameterVector("a", 2)
    circuit = QuantumCircuit(2)
    circuit.ry(z[0], 0)
    circuit.ry(a[0], 1)
    circuit.cx(0, 1)
    circuit.ry(z[1], 0)
    circuit.rx(a[1], 1)
    values = np.random.default_rng(4).uniform(-2, 2, (rows, 4))
    values[:, 1] = 0.3  # the same in all rows, like a trained weight
    observables = tuple(SparsePauliOp(pauli) for pauli in PAULIS)
    return Workload(circuit, ("z[0]", "a[0]", "z[1]", "a[1]"), values, observables)


def exact(work: Workload) -> np.ndarray:
    values = np.empty((work.num_samples, len(PAULIS)))
    for row, numbers in enumerate(work.values):
        bound = work.circuit.assign_parameters(dict(zip(work.parameters, numbers, strict=True)))
        state = Statevector(bound)
        values[row] = [state.expectation_value(op).real for op in work.observables]
    return values


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        yield opened


@pytest.mark.sampled
def test_tiled_jobs_over_the_platform_give_each_row_its_own_values(ledger):
    work = workload(rows=45)
    limits = JobLimits(executions=4 * SHOTS)
    with Loopback(Cloud(("ibm_fez",), seed=shifted(7))) as double:
        device = PlatformDevice(double.service(), "ibm_fez")
        options = PlanOptions(shots=SHOTS, tiles=6, limits=limits)
        made = plan(work, device.backend, options, target="ibm:ibm_fez")
        assert (len(made.tiles), len(made.jobs)) == (6, 4)
        run = runner.submit(
            made, ledger=ledger, device=device, budget_seconds=made.cost.qpu_seconds, policy=QUICK
        )
        status = runner.collect(run, ledger=ledger, device=device, policy=QUICK, timeout=60)
        assert status.state == "done"
        # the double charges by the same rule as the plan, but for the circuits' own duration
        assert status.spending.charged == pytest.approx(made.cost.qpu_seconds, rel=0.2)
    found = unpack(load_plan(ledger.plan_body(run)), runner.results(run, ledger=ledger))
    assert found.missing == ()
    assert_means(found.values, exact(work), SHOTS)


@pytest.mark.sampled
def test_rows_of_a_failed_job_are_missing_and_the_others_can_be_used(ledger):
    work = workload(rows=12)
    with Loopback(Cloud(seed=shifted(7)), FaultPlan({("submit", 2): EndJob("Failed")})) as double:
        device = PlatformDevice(double.service(), "ibm_manila")
        options = PlanOptions(shots=SHOTS, tiles=2, limits=JobLimits(executions=4 * SHOTS))
        made = plan(work, device.backend, options)
        run = runner.submit(made, ledger=ledger, device=device, budget_seconds=60, policy=QUICK)
        runner.collect(run, ledger=ledger, device=device, policy=QUICK, timeout=60)
        found = runner.expectations(run, ledger=ledger)
        assert found.missing == (4, 5, 6, 7)
        there = np.setdiff1d(np.arange(12), found.missing)
        assert_means(found.values[there], exact(work)[there], SHOTS)
        runner.resume(run, ledger=ledger, device=device, policy=QUICK)
        runner.collect(run, ledger=ledger, device=device, policy=QUICK, timeout=60)
        whole = runner.expectations(run, ledger=ledger)
        assert whole.missing == ()
        np.testing.assert_array_equal(whole.values[there], found.values[there])
    with ledger.writing() as db:
        db.execute("UPDATE results SET arrays = substr(arrays, 2) WHERE idx = 1")
    damaged = runner.expectations(run, ledger=ledger)
    assert damaged.missing == found.missing
    assert damaged.notes[-1] == (
        f"Job 1: its stored result is damaged. Collect run {run} to fetch it again."
    )


@pytest.mark.parametrize(
    "mitigation",
    [Mitigation(), Mitigation(readout_inversion=True), Mitigation(measure_mitigation=True)],
)
@pytest.mark.sampled
def test_a_fake_device_takes_real_plans(ledger, mitigation):
    work = workload(rows=5)
    backend = FakeManilaV2()
    options = PlanOptions(shots=10 * SHOTS, tiles=2, mitigation=mitigation, seed=shifted(3))
    made = plan(work, backend, options, target="fake:manila")
    device = LocalDevice(backend)
    run = runner.submit(made, ledger=ledger, device=device)
    assert runner.collect(run, ledger=ledger, device=device).state == "done"
    found = runner.expectations(run, ledger=ledger)
    # the device's own errors: a few percent a two-qubit gate and read-out; an inversion divides
    # the errors of the data and of two calibrations by the read-out's scale, above 0.8
    slack = mean_slack(exact(work), 10 * SHOTS, bias=0.15)
    assert (np.abs(found.values - exact(work)) < 3 * (slack - 0.15) / 0.8**2 + 0.15).all()


@pytest.mark.sampled
def test_many_tiles_of_a_wide_fake_device_go_the_same_way(ledger):
    work = workload(rows=20)
    device = local_device("fez")
    made = plan(
        work, device.backend, PlanOptions(shots=SHOTS, tiles=10, seed=shifted(1)), target="fake:fez"
    )
    run = runner.submit(made, ledger=ledger, device=device)
    assert runner.collect(run, ledger=ledger, device=device).state == "done"
    found = runner.expectations(run, ledger=ledger)
    assert found.missing == ()
    # the device's own errors: the best tiles of this device have a percent or two in all
    assert_means(found.values, exact(work), SHOTS, bias=0.1)


def test_the_blocking_form_and_results_that_need_not_be_paid_for_again(ledger):
    work = workload(rows=3)
    with Loopback(Cloud()) as double:
        device = PlatformDevice(double.service(), "ibm_manila")
        made = plan(work, device.backend, PlanOptions(shots=SHOTS, tiles=1))
        means = {"ledger": ledger, "device": device, "policy": QUICK, "budget_seconds": 60.0}
        seen = []
        found = runner.execute(made, on_progress=seen.append, **means)
        assert_means(found.values, exact(work), SHOTS)
        assert found.notes[-1] == f"Run {seen[-1].run.id}."
        again = runner.execute(made, reuse=True, **means)
        np.testing.assert_array_equal(again.values, found.values)
        assert double.faults.seen["submit"] == 1
        other = plan(work.rows([0, 1]), device.backend, PlanOptions(shots=SHOTS, tiles=1))
        runner.execute(other, reuse=True, **means)
        assert double.faults.seen["submit"] == 2


def test_a_plan_edited_in_the_ledger_is_refused(ledger):
    made = plan(workload(rows=2), FakeManilaV2(), PlanOptions(shots=10, tiles=1))
    device = LocalDevice(FakeManilaV2())
    run = runner.submit(made, ledger=ledger, device=device)
    body = bytearray(ledger.plan_body(run))
    body[len(body) // 2] ^= 1
    with ledger.writing() as db:
        from hardware.ledger.database import digest

        db.execute("UPDATE plans SET body = ?, checksum = ?", (bytes(body), digest(bytes(body))))
    with pytest.raises(PlanError):
        runner.collect(run, ledger=ledger, device=device)
    assert runner.status(run, ledger=ledger).jobs == {"submitted": 1}


@pytest.mark.parametrize(
    ("what", "where", "words"),
    [(1, "fake:manila", "Expected a hardware.Workload, got 1"), (None, 2, "Expected a device or")],
)
def test_what_is_no_workload_or_no_device_is_said(what, where, words):
    with pytest.raises(InvalidInputError, match=words):
        hardware.plan(workload(rows=1) if what is None else what, where)
