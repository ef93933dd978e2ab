"""Any Qiskit backend as a device: results, and what the ledger promises where tags do not exist."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import replace
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from contracts.sampling_bounds import assert_means, shifted
from contracts.target_contract import exact_values, workload
from qiskit.providers import BackendV2, JobStatus, Options
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime.fake_provider import FakeManilaV2

import hardware
from hardware import Mitigation, PlanOptions, Run
from hardware.devices.backend import BackendDevice, device_of
from hardware.devices.local import LocalDevice
from hardware.devices.named import is_device, parse_device
from hardware.errors import (
    BudgetError,
    InvalidInputError,
    PlanError,
    RefusedError,
    RunStateError,
    ServiceError,
    UnclearError,
    UnknownBackendError,
    UnknownTargetError,
)
from hardware.ledger.ledger import Ledger, Pace
from hardware.planning import planner
from hardware.planning.pubs import job_request
from hardware.runs.policy import Clock, Policy
from hardware.runs.submission import Sender
from hardware.targets import parse_target

# What Qiskit's generic backend says of itself when it is made without a calibration.
pytestmark = pytest.mark.filterwarnings("ignore:Qiskit backend .* has no QubitProperties")

SHOTS = 2000
IONS = ["r", "rz", "rxx"]
QUICK = Policy(pace=Pace(), settle=0.05, busy=0.05, patience=0.2, poll=(0.02, 0.1))


@pytest.fixture(autouse=True)
def ledger(tmp_path, monkeypatch):
    """Give every test a ledger of its own; return its path."""
    path = tmp_path / "ledger.sqlite"
    monkeypatch.setenv("QHEAD_LEDGER", str(path))
    monkeypatch.setattr("hardware.runs.run.POLICY", QUICK)
    return path


class Job:
    """A provider's job: counts come when it is asked for them."""

    def __init__(self, name, counts):
        self.name, self.counts, self.state = name, counts, JobStatus.DONE

    def job_id(self):
        return self.name

    def status(self):
        return self.state

    def error_message(self):
        return "the trap was empty"

    def result(self):
        return SimpleNamespace(get_counts=lambda index: self.counts[index])

    def cancel(self):
        self.state = JobStatus.CANCELLED


class Provider(BackendV2):
    """An all-to-all trapped-ion backend that states no calibration, takes money and loses answers.

    Its jobs outlive the process that sent them: `retrieve_job` gives them back.
    """

    def __init__(self, num_qubits=5, jobs=None, gates=IONS):
        super().__init__(name="ions")
        self._inner = GenericBackendV2(num_qubits, basis_gates=gates, noise_info=False)
        self.jobs = {} if jobs is None else jobs
        self.lose = 0  # answers that are lost after the job was taken
        self.state = JobStatus.DONE

    @property
    def target(self):
        return self._inner.target

    @property
    def max_circuits(self):
        return 6  # two sets of rows in three measurement settings

    @classmethod
    def _default_options(cls):
        options = Options(shots=100)
        options.set_validator("shots", (1, 5000))
        return options

    def run(self, run_input, **options):
        assert set(options) == {"shots"}
        result = self._inner.run(run_input, **options).result()
        job = Job(f"job-{len(self.jobs)}", [result.get_counts(i) for i in range(len(run_input))])
        job.state = self.state
        self.jobs[job.name] = job
        if self.lose:
            self.lose -= 1
            raise ConnectionResetError("https://ions.example/jobs?key=secret: reset by peer")
        return job

    def retrieve_job(self, job_id):
        return self.jobs[job_id]


def again(provider):
    """Return the same backend as another process opens it."""
    return BackendDevice(Provider(jobs=provider.jobs))


def plan_for(device, **options):
    return hardware.plan(workload(), device, PlanOptions(shots=SHOTS, tiles=1, **options))


@pytest.mark.sampled
@pytest.mark.parametrize("inversion", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda: AerSimulator(),
        lambda: GenericBackendV2(3, noise_info=False),
        lambda: GenericBackendV2(3, basis_gates=IONS, noise_info=False),
        lambda: GenericBackendV2(3, basis_gates=["rx", "rz", "rzz"], noise_info=False),
    ],
    ids=["aer", "generic", "ions", "rzz"],
)
def test_simulators_run_a_workload_without_a_budget(make, inversion):
    device = device_of(make())
    assert isinstance(device, LocalDevice)
    made = plan_for(device, seed=shifted(3), mitigation=Mitigation(readout_inversion=inversion))
    found = hardware.submit(made, device=device).collect()
    largest = [np.abs(observable.coeffs).sum() for observable in workload().observables]
    assert_means(found.values, exact_values(workload()), SHOTS, largest)
    assert not found.missing


@pytest.mark.sampled
def test_a_provider_runs_a_workload_in_one_process_and_another_collects_it(caplog):
    provider = Provider()
    device = device_of(provider)
    assert isinstance(device, BackendDevice)
    made = plan_for(device)
    assert [len(job.pubs) * len(job.pubs[0].rows) for job in made.jobs] == [6] * 3
    with pytest.raises(BudgetError):
        hardware.submit(made, device=device)
    with caplog.at_level(logging.WARNING):
        run = hardware.submit(made, device=device, budget=1000)
    for words in ("cannot be found by a tag", "neither what a job was charged"):
        assert sum(words in record.getMessage() for record in caplog.records) == 1
    later = Run.open(run.id, device=again(provider))
    found = later.collect()
    largest = [np.abs(observable.coeffs).sum() for observable in workload().observables]
    assert_means(found.values, exact_values(workload()), SHOTS, largest)
    status = later.status()
    assert (status.state, status.uncharged, status.spending.charged) == ("done", 3, 0.0)
    # Nothing is left to learn, so the device is not needed any more.
    assert Run.open(run.id).collect().values.shape == found.values.shape


def test_a_job_whose_answer_was_lost_is_not_sent_again_by_itself():
    provider = Provider()
    device = BackendDevice(provider)
    made = plan_for(device)
    provider.lose = 1
    with pytest.raises(UnclearError, match="may have taken job 0") as caught:
        hardware.submit(made, device=device, budget=1000)
    assert "secret" not in str(caught.value)
    run = Run.open(caught.value.run_id, device=device)
    status = run.update()
    assert status.jobs == {"unknown": 1, "done": 2}
    assert len(provider.jobs) == 3
    spent = run.status().spending
    assert spent.in_flight >= sum(made.job_seconds) - 1e-6  # the job in doubt counts
    run.resume()
    Run.open(run.id, device=again(provider)).resume()
    assert len(provider.jobs) == 3
    assert run.status().jobs == {"unknown": 1, "done": 2}
    with pytest.raises(BudgetError):  # both may be paid for
        run.resume(budget=sum(made.job_seconds) * 1.01, resubmit_unknown=True)
    run.resume(budget=1000, resubmit_unknown=True)
    assert not run.collect().missing
    assert len(provider.jobs) == 4


def test_a_job_whose_sender_died_is_not_sent_again_by_itself(monkeypatch):
    provider = Provider()
    device = BackendDevice(provider)

    class Died(BaseException):
        pass

    def die(*_):
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(Sender, "_accepted", die)
        with pytest.raises(Died):
            hardware.submit(plan_for(device), device=device, budget=1000)
    with Ledger() as ledger:
        run_id = ledger.runs()[0].id
    other = Run.open(run_id, device=again(provider))
    assert other.update().jobs == {"unknown": 1, "done": 2}
    assert len(provider.jobs) == 3  # the one in doubt was sent once
    assert "its sender ended before" in other.status().problems[0]


def test_a_job_whose_sender_died_is_adopted_by_the_process_that_sent_it(monkeypatch):
    device = BackendDevice(Provider())
    with monkeypatch.context() as patch:
        patch.setattr(Sender, "_accepted", lambda *_: None)
        run = hardware.submit(plan_for(device), device=device, budget=1000)
    assert not run.collect().missing
    assert len(device.backend.jobs) == 3


def test_a_job_that_another_process_cannot_ask_for_becomes_unknown():
    class Forgetful(Provider):
        retrieve_job = None

    provider = Forgetful()
    device = BackendDevice(provider)
    assert any("collect the run in this process" in each for each in device.abilities.warnings)
    provider.state = JobStatus.RUNNING
    run = hardware.submit(plan_for(device), device=device, budget=1000)
    other = Run.open(run.id, device=BackendDevice(Forgetful(jobs=provider.jobs)))
    assert other.update().jobs == {"unknown": 3}
    assert len(provider.jobs) == 3


def test_plans_with_the_clients_options_are_refused():
    measured = PlanOptions(shots=SHOTS, mitigation=Mitigation(measure_mitigation=True))
    with pytest.raises(PlanError, match="The client refuses"):  # it knows no RXX
        planner.plan(workload(), Provider(), measured)
    device = BackendDevice(Provider(gates=None))
    for mitigation in (Mitigation(measure_mitigation=True), Mitigation(twirl_gates=True)):
        with pytest.raises(PlanError, match="belong to the IBM client"):
            plan_for(device, mitigation=mitigation)
        # A plan for the backend alone does not know who runs it.
        options = replace(measured, tiles=1, mitigation=mitigation)
        made = planner.plan(workload(), device.backend, options)
        for each in (device, device_of(device.backend, local=True)):
            with pytest.raises(PlanError, match="belong to the IBM client"):
                hardware.submit(made, device=each, budget=1000)
    with pytest.raises(PlanError, match="at most 5,000 shots"):
        hardware.plan(workload(), device, PlanOptions(shots=5001))


def test_the_backends_of_the_platform_have_a_target_of_their_own():
    assert isinstance(device_of(FakeManilaV2()), LocalDevice)
    with pytest.raises(InvalidInputError, match="Expected a BackendV2"):
        device_of("ions")


@pytest.mark.parametrize(
    "counts",
    [{"00": SHOTS - 1}, {"000": SHOTS}, {"0x0": SHOTS}, {"00": 0.5}, {}, None, {"00": -1}],
)
def test_counts_that_do_not_fit_are_refused_and_fetched_again(counts):
    provider = Provider()
    device = BackendDevice(provider)
    run = hardware.submit(plan_for(device), device=device, budget=1000)
    job = provider.jobs["job-0"]
    good, job.counts = job.counts, [counts] * 6
    status = run.update(wait=0)
    assert status.jobs == {"submitted": 1, "done": 2}
    assert "Collect" in status.problems[0] or "collect" in status.problems[0]
    job.counts = good
    assert run.update().jobs == {"done": 3}


def test_jobs_that_fail_or_are_cancelled_say_so():
    provider = Provider()
    device = BackendDevice(provider)
    provider.state = JobStatus.RUNNING
    run = hardware.submit(plan_for(device), device=device, budget=1000)
    provider.jobs["job-0"].state = JobStatus.ERROR
    status = run.update(wait=0)
    assert status.jobs == {"failed": 1, "submitted": 2}
    assert status.problems[0] == "the trap was empty"
    provider.jobs["job-1"].cancel = None
    with pytest.raises(ServiceError, match="cannot cancel jobs"):
        run.cancel()
    assert run.status().jobs == {"failed": 1, "submitted": 1, "cancelled": 1}
    with pytest.raises(RunStateError):
        run.resume()
    provider.jobs["job-1"].state = JobStatus.DONE
    assert run.update().jobs == {"failed": 1, "done": 1, "cancelled": 1}


def test_another_providers_backend_of_the_same_name_is_refused():
    class Other(Provider):
        pass

    run = hardware.submit(plan_for(d := BackendDevice(Provider())), device=d, budget=1000)
    with pytest.raises(RunStateError, match="another account"):
        Run.open(run.id, device=BackendDevice(Other())).update()


def test_a_job_has_no_more_circuits_than_the_provider_takes(monkeypatch):
    device = BackendDevice(Provider())
    inverted = plan_for(device, mitigation=Mitigation(readout_inversion=True))
    assert [job.items for job in inverted.jobs] == [5] * 6  # one set, and two preparations
    monkeypatch.setattr(Provider, "max_circuits", 4)
    with pytest.raises(PlanError, match="at most 4 circuits"):
        plan_for(device, mitigation=Mitigation(readout_inversion=True))
    with pytest.raises(RefusedError, match="at most 4 circuits a job, and this one has 5"):
        device.send(job_request(inverted, 0), ("run", "job"), None, None)
    assert not device.backend.jobs


def make_ions():
    return Provider()


def make_nothing():
    return "no backend"


def make_trouble():
    raise ValueError("token=secret https://ions.example is wrong")


@pytest.fixture
def module(monkeypatch):
    """Let ``backend:ions:make_ions`` import this file."""
    monkeypatch.setitem(sys.modules, "ions", sys.modules[__name__])


def test_a_target_may_name_a_function_that_makes_a_backend(module, monkeypatch):
    monkeypatch.setattr("hardware.runs.planned._named_here", set())
    options = PlanOptions(tiles=1)
    made = hardware.plan(workload(), f"backend:ions:make_ions:{SHOTS}", options)
    assert made.target == f"backend:ions:make_ions:{SHOTS}"
    assert (made.shots, made.backend) == (SHOTS, "ions")
    with pytest.raises(BudgetError):
        hardware.submit(made)
    run = hardware.submit(made, budget=1000)
    assert type(Run.open(run.id).device.backend) is Provider
    # A plan from somebody else runs none of their code.
    monkeypatch.setattr("hardware.runs.planned._named_here", set())
    with pytest.raises(UnknownTargetError, match="would import and run ions:make_ions"):
        hardware.submit(made, budget=1000)
    with pytest.raises(UnknownTargetError, match="give the device itself"):
        hardware.submit(plan_for(BackendDevice(Provider())), budget=1000)
    target = parse_target("backend:ions:make_ions")
    assert target.spec == "backend:ions:make_ions:4096"
    with pytest.raises(BudgetError):
        target.run(workload())


@pytest.mark.parametrize(
    "spec",
    [
        "backend:ions", "backend:ions:", "backend::make", "backend:ions:make ions", "backend:..:x",
        "backend:ions:make()", "backend:os.path;import os:x", "backend:ions:lambda",
        "backend:a/b:c", "backend:ions:make_ions:many", "backend:ions:make_ions:1:2",
    ],
)  # fmt: skip
def test_only_names_of_python_are_taken(spec):
    with pytest.raises(UnknownTargetError):
        parse_device(spec)


def test_functions_that_make_no_backend_are_refused(module):
    for name, words in (
        ("ions:make_nothing", "got str"),
        ("ions:make_trouble", "ValueError"),
        ("ions:missing", "AttributeError"),
        ("no_such_module_here:make", "ModuleNotFoundError"),
        ("ions:plan_for", "TypeError"),
    ):
        with pytest.raises(UnknownBackendError, match=words) as caught:
            hardware.plan(workload(), f"backend:{name}")
        assert "https" not in str(caught.value)


def test_an_installed_package_may_bring_a_kind_of_its_own(module, monkeypatch):
    found = [
        EntryPoint("ions", "ions:Provider", "qhead.devices"),
        EntryPoint("fake", "ions:make_trouble", "qhead.devices"),
    ]
    monkeypatch.setattr("hardware.devices.named.entry_points", lambda group: found)
    assert is_device("ions:5")
    with pytest.raises(UnknownTargetError, match=r"or ions:NAME\[:SHOTS\]"):
        parse_device("ion:5")
    assert parse_device("fake:manila").name == "manila"  # nobody takes over a kind of ours
    monkeypatch.setattr(sys.modules[__name__].Provider, "__init__", _by_name)
    made = hardware.plan(workload(), f"ions:trap:{SHOTS}", PlanOptions(tiles=1))
    assert (made.target, made.backend) == (f"ions:trap:{SHOTS}", "trap")
    monkeypatch.setattr("hardware.devices.named.entry_points", lambda group: [])
    with pytest.raises(UnknownTargetError):
        hardware.submit(made, budget=1000)


def _by_name(self, name):
    BackendV2.__init__(self, name=name)
    self._inner, self.jobs = GenericBackendV2(5, basis_gates=IONS, noise_info=False), {}


def test_a_package_that_raises_a_failure_is_heard():
    class Raising(Job):
        asked = False

        def status(self):
            if self.state is JobStatus.ERROR and not self.asked:
                self.asked = True
                raise RuntimeError("Failure from the API: too hot")
            return self.state

    provider = Provider()
    device = BackendDevice(provider)
    run = hardware.submit(plan_for(device), device=device, budget=1000)
    device._jobs["job-0"] = job = Raising("job-0", [])
    job.state = JobStatus.ERROR
    assert run.update().jobs == {"failed": 1, "done": 2}
    assert "too hot" in run.status().problems[0]

    class TrapJobFailureError(Exception):
        pass

    def refuse(job_id):
        raise TrapJobFailureError("too cold")

    provider.retrieve_job = refuse
    seen = again(provider)
    seen.backend.retrieve_job = refuse
    assert "too cold" in seen.job_status("job-1").reason
    assert seen.job_status("job-1").status == "ERROR"


def test_an_answer_that_comes_after_another_process_gave_the_job_up_counts(monkeypatch):
    lapsing = Policy(pace=Pace(), lease=0.2, settle=0.05, patience=0.2, poll=(0.02, 0.1))

    class Slow(Provider):
        seen: ClassVar[list] = []

        def run(self, run_input, **options):
            job = super().run(run_input, **options)
            if not self.seen:
                time.sleep(0.3)  # the lease lapses, and another process looks after the run
                other = BackendDevice(Provider(jobs=self.jobs))
                monkeypatch.setattr(other, "leaving", lambda tag: False)
                with Ledger() as ledger:
                    run_id = ledger.runs()[0].id
                    before = ledger.jobs(run_id)[0]
                    sender = Sender(ledger, other, run_id, None, lapsing, Clock())
                    sender.recover()
                    self.seen += [before.state, ledger.jobs(run_id)[0].state]
            return job

    device = BackendDevice(Slow())
    run = hardware.submit(plan_for(device), device=device, budget=1000, policy=lapsing)
    assert device.backend.seen == ["submitting", "unknown"]
    status = run.update()
    assert status.jobs == {"done": 3}
    assert len(device.backend.jobs) == 3
    assert status.uncharged == 3  # the one that was not seen is no fourth
    assert run.status().spending.in_flight == pytest.approx(sum(run.plan.job_seconds))
