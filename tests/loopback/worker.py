"""A process that submits, resumes and collects one run until it is done: the soak kills it.

Called with the ledger's path and the number of jobs; the double's addresses come in the
environment.
"""

from __future__ import annotations

import os
import sys
import time

from hardware import runner
from hardware.account import open_service
from hardware.errors import BudgetError, RunError
from hardware.ibm import PlatformDevice
from hardware.ledger import Ledger, Pace
from hardware.policy import Policy
from loopback.plans import SECONDS_A_JOB, TinyPlan, load_tiny
from loopback.server import account

MAX_PENDING = 20
PATIENT = Policy(
    pace=Pace(max_pending=MAX_PENDING),
    settle=0.3,
    busy=0.2,
    patience=2.0,
    tries=4,
    poll=(0.1, 0.5),
)
#: Twice the estimate: retries fit, and the budget is felt.
BUDGET_A_JOB = 2 * SECONDS_A_JOB


def _begin(ledger: Ledger, device: PlatformDevice, jobs: int) -> str:
    runs = ledger.runs()
    if runs:
        return runs[0].id
    return runner.submit(
        TinyPlan(jobs=jobs),
        ledger=ledger,
        device=device,
        budget_seconds=jobs * BUDGET_A_JOB,
        policy=PATIENT,
    )


def work(path: str, jobs: int) -> None:
    """Carry the run to its end, whatever fails."""
    with Ledger(path) as ledger:
        while True:
            try:
                service = open_service(**account(os.environ["QHEAD_LOOPBACK_URL"]))
                device = PlatformDevice(service, "ibm_manila")
                print("ready", flush=True)
                run = _begin(ledger, device, jobs)
                while True:
                    means = {"ledger": ledger, "device": device, "load": load_tiny}
                    runner.resume(run, policy=PATIENT, **means)
                    status = runner.collect(run, policy=PATIENT, timeout=5.0, **means)
                    if status.state == "done" and status.spending.in_flight == 0:
                        return
            except (RunError, BudgetError) as error:
                print(type(error).__name__, flush=True)
                time.sleep(0.2)


if __name__ == "__main__":
    work(sys.argv[1], int(sys.argv[2]))
