"""Packages of two makers of trapped-ion computers, where they are installed (extra ``providers``).

IonQ's runs against a double of its service; AQT's has an offline simulator of its own.
"""

from __future__ import annotations

import numpy as np
import pytest
from contracts.sampling_bounds import assert_means, shifted
from contracts.target_contract import exact_values, workload
from loopback.ionq import IonQ, serving

import hardware
from hardware import Mitigation, PlanOptions, Run
from hardware.devices.backend import BackendDevice, device_of
from hardware.devices.local import LocalDevice
from hardware.errors import UnclearError
from hardware.ledger.ledger import Pace
from hardware.planning.plan_file import dump_plan, load_plan
from hardware.runs.policy import Policy

SHOTS = 2000
LARGEST = [np.abs(observable.coeffs).sum() for observable in workload().observables]

pytestmark = [
    pytest.mark.sampled,
    # The packages warn of their own ways: optimization levels, memory, deprecated Python.
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def ledger(tmp_path, monkeypatch):
    """Give every test a ledger of its own."""
    monkeypatch.setenv("QHEAD_LEDGER", str(tmp_path / "ledger.sqlite"))
    quick = Policy(pace=Pace(), settle=0.05, busy=0.05, patience=0.2, poll=(0.02, 0.1))
    monkeypatch.setattr("hardware.runs.run.POLICY", quick)


@pytest.fixture
def ionq(monkeypatch):
    """Serve a double of IonQ's service; return it and what opens one of its devices."""
    provider = pytest.importorskip("qiskit_ionq").IonQProvider
    double = IonQ(seed=shifted(1))
    with serving(double) as address:
        monkeypatch.setenv("IONQ_API_URL", address)

        def opened(gateset):
            return provider("token", address).get_backend("ionq_qpu.aria-1", gateset=gateset)

        yield double, opened


@pytest.mark.parametrize("gateset", ["qis", "native"])
@pytest.mark.parametrize("inversion", [False, True])
def test_ionq_runs_tiles_without_routing(ionq, gateset, inversion):
    double, opened = ionq
    options = PlanOptions(shots=SHOTS, mitigation=Mitigation(readout_inversion=inversion))
    made = hardware.plan(workload(), BackendDevice(opened(gateset)), options)
    assert [len(tile.qubits) for tile in made.tiles] == [2, 2, 2]
    assert {tile.expected_error for tile in made.tiles} == {None}
    two = "ms" if gateset == "native" else "cz"
    assert all(c.count_ops()[two] == 3 for c in made.circuits[: len(made.jobs[0].pubs) - 2])
    made = load_plan(dump_plan(made))
    run = hardware.submit(made, device=device_of(opened(gateset)), budget=1000)
    found = Run.open(run.id, device=device_of(opened(gateset))).collect()  # as another process
    assert_means(found.values, exact_values(workload()), SHOTS, LARGEST)
    assert len(double.jobs) == len(made.jobs)


def test_ionq_is_not_sent_a_job_again_whose_answer_was_lost(ionq):
    double, opened = ionq
    device = device_of(opened("qis"))
    made = hardware.plan(workload(), device, PlanOptions(shots=SHOTS))
    double.lose = 1
    with pytest.raises(UnclearError, match="may have taken job 0") as caught:
        hardware.submit(made, device=device, budget=1000)
    run = Run.open(caught.value.run_id, device=device_of(opened("qis")))
    assert run.resume().jobs == {"unknown": 1}
    assert len(double.jobs) == 1
    run.resume(budget=1000, resubmit_unknown=True)
    assert not run.collect().missing
    assert len(double.jobs) == 2


def test_jobs_of_ionq_fail_and_are_cancelled(ionq):
    double, opened = ionq
    double.status = "ready"
    made = hardware.plan(workload(), device_of(opened("qis")), PlanOptions(shots=SHOTS))
    runs = [hardware.submit(made, device=device_of(opened("qis")), budget=1000) for _ in range(3)]
    double.jobs["ionq-0"]["status"] = "failed"
    for device in (device_of(opened("qis")), runs[0].device):
        assert "the trap was empty" in device.job_status("ionq-0").reason
    assert runs[0].update().jobs == {"failed": 1}
    assert runs[1].cancel().jobs == {"cancelled": 1}
    assert double.jobs["ionq-1"]["status"] == "canceled"
    double.jobs["ionq-2"]["status"] = "completed"
    assert not Run.open(runs[2].id, device=device_of(opened("qis"))).collect().missing


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("kind", ["ideal", "noisy"])
def test_aqt_runs_on_its_offline_simulators(kind, local):
    provider = pytest.importorskip("qiskit_aqt_provider").AQTProvider
    backend = getattr(provider().offline, kind)()
    device = device_of(backend, local=local)
    assert isinstance(device, LocalDevice if local else BackendDevice)
    options = PlanOptions(shots=SHOTS, tiles=2, seed=shifted(1))
    made = hardware.plan(workload(), device, options)
    assert set(made.circuits[0].count_ops()) <= {"r", "rz", "rxx", "measure", "barrier"}
    found = hardware.submit(made, device=device, budget=1000).collect()
    bias = 0.0 if kind == "ideal" else 0.1  # one RXX with λ = 0.01, some eight R with 0.003
    assert_means(found.values, exact_values(workload()), SHOTS, LARGEST, bias=bias)
