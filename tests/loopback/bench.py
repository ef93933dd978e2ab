"""A double, a ledger and a device in one, and the runner's verbs over them."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

import numpy as np

from hardware.devices.ibm.client import open_service
from hardware.devices.ibm.device import PlatformDevice
from hardware.ledger.ledger import Ledger, Pace
from hardware.planning.pubs import job_request
from hardware.runs import runner
from hardware.runs.policy import Clock, Policy
from hardware.runs.submission import Sender
from loopback.answers import CRN
from loopback.cloud import Cloud
from loopback.faults import FaultPlan
from loopback.plans import tiny_plan
from loopback.server import Loopback

QUICK = Policy(pace=Pace(), settle=0.05, busy=0.05, patience=5.0, poll=(0.02, 0.1))


class Bench:
    """A double, a ledger and a device, and the runner's verbs over them."""

    def __init__(self, path, cloud=None, faults=None, policy=QUICK, **options):
        self.double = Loopback(cloud or Cloud(), faults, **options)
        self.policy = policy
        self.path = path

    def __enter__(self):
        self.double.__enter__()
        self.ledger = Ledger(self.path / "ledger.sqlite")
        self.login()
        return self

    def __exit__(self, *details):
        self.ledger.close()
        self.double.__exit__(*details)

    def login(self, deadlines=None, crn=CRN):
        with self.double.addresses():
            service = open_service(**self.double.account(crn))
        self.device = PlatformDevice(service, "ibm_manila", deadlines)

    @property
    def cloud(self) -> Cloud:
        return self.double.cloud

    @property
    def faults(self) -> FaultPlan:
        return self.double.faults

    def submit(self, plan, budget=1000.0, **options):
        return runner.submit(
            plan, **{**self.means, "budget_seconds": budget, "policy": self.policy, **options}
        )

    @property
    def means(self):
        return {"ledger": self.ledger, "device": self.device}

    def verb(self, name, run, **options):
        means = {**self.means, "policy": self.policy}
        return getattr(runner, name)(run, **means, **options)

    def collect(self, run, **options):
        return self.verb("collect", run, **{"timeout": 20.0, **options})

    def resume(self, run, **options):
        return self.verb("resume", run, **options)

    def cancel(self, run):
        return self.verb("cancel", run)

    def results(self, run):
        return runner.results(run, ledger=self.ledger)

    def states(self, run):
        return [job.state for job in self.ledger.jobs(run)]


def plan(jobs=2):
    return tiny_plan(jobs=jobs)


def undisturbed(plan, tmp_path_factory):
    """Return the results of a plan without any fault."""
    with Bench(tmp_path_factory.mktemp("undisturbed")) as bench:
        run = bench.submit(plan)
        assert bench.collect(run).state == "done"
        return bench.results(run)


def assert_equal(results, expected):
    assert results.keys() == expected.keys()
    for idx, arrays in expected.items():
        assert results[idx].keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(results[idx][name], array)


def assert_paid_once(bench, jobs=2):
    assert len(bench.cloud.charges()) == jobs
    assert set(bench.cloud.charges().values()) == {1}


@contextmanager
def sender_of(bench, run, made):
    """Yield what sends the jobs of a run; its leases are given back at the end."""
    sender = Sender(bench.ledger, bench.device, run, partial(job_request, made), QUICK, Clock())
    yield sender
    bench.ledger.leases.let_go(sender.claimant, bench.device.leaving)
