"""A process that submits, resumes and collects one run until it is done: the soak kills it.

Now and then it tries with the wrong account first. The budget is the estimate; it is raised by one
job where what was charged leaves no other way.

Called with the ledger's path and the number of jobs; the double's addresses come in the
environment.
"""

from __future__ import annotations

import os
import random
import sys
import time
from contextlib import suppress

from hardware.devices.ibm.client import open_service
from hardware.devices.ibm.device import PlatformDevice
from hardware.errors import BudgetError, RunError, RunStateError
from hardware.ledger.ledger import Ledger, Pace
from hardware.runs import runner
from hardware.runs.policy import Policy
from loopback.answers import OTHER_CRN
from loopback.plans import tiny_plan
from loopback.server import account

MAX_PENDING = 20
#: Longer than the soak's platform takes to list a job.
SETTLE = 0.6
PATIENT = Policy(
    pace=Pace(max_pending=MAX_PENDING),
    settle=SETTLE,
    busy=0.2,
    patience=2.0,
    tries=4,
    poll=(0.1, 0.5),
)


def _begin(ledger: Ledger, device: PlatformDevice, jobs: int) -> str:
    runs = ledger.runs()
    if runs:
        return runs[0].id
    plan = tiny_plan(jobs=jobs)
    return runner.submit(
        plan, ledger=ledger, device=device, budget_seconds=sum(plan.job_seconds), policy=PATIENT
    )


def _try_the_wrong_account(ledger: Ledger, url: str) -> None:
    for run in ledger.runs():
        device = PlatformDevice(open_service(**account(url, OTHER_CRN)), "ibm_manila")
        try:
            runner.resume(run.id, ledger=ledger, device=device, policy=PATIENT)
        except RunStateError:
            continue
        raise AssertionError("The wrong account was taken.")


def _raise_budget(ledger: Ledger, device: PlatformDevice) -> None:
    """Give the run one job more, unless charges that are not known yet hold its budget."""
    means = {"ledger": ledger, "device": device, "policy": PATIENT}
    for run in ledger.runs():
        with suppress(BudgetError):
            runner.collect(run.id, timeout=5.0, **means)
        if ledger.spending(run.id).in_flight == 0:
            assert run.budget_seconds is not None
            more = run.budget_seconds + tiny_plan().job_seconds[0]
            runner.resume(run.id, budget_seconds=more, **means)


def work(path: str, jobs: int) -> None:
    """Carry the run to its end, whatever fails."""
    with Ledger(path) as ledger:
        while True:
            try:
                url = os.environ["QHEAD_LOOPBACK_URL"]
                if random.random() < 0.2:
                    _try_the_wrong_account(ledger, url)
                service = open_service(**account(url))
                device = PlatformDevice(service, "ibm_manila")
                print("ready", flush=True)
                run = _begin(ledger, device, jobs)
                while True:
                    means = {"ledger": ledger, "device": device}
                    runner.resume(run, policy=PATIENT, **means)
                    status = runner.collect(run, policy=PATIENT, timeout=5.0, **means)
                    if status.state == "done" and status.spending.in_flight == 0:
                        return
            except BudgetError:
                print("BudgetError", flush=True)
                with suppress(RunError, BudgetError):
                    _raise_budget(ledger, device)
            except RunError as error:
                print(type(error).__name__, flush=True)
                time.sleep(0.2)


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]))
