"""``qhead submit``: the cost on stderr, then the run's id on stdout, at once."""

from __future__ import annotations

import sys
from pathlib import Path

from hardware.devices.base import Device
from hardware.devices.ibm.device import PlatformDevice
from hardware.emulation.fake import local_device
from hardware.errors import BudgetError, PlanError, RunError
from hardware.ledger.budget import advised_budget
from hardware.ledger.ledger import Ledger
from hardware.planning.plan import JobPlan
from hardware.runs import runner
from hardware.runs.progress import RunStatus
from qhead.commands import devices
from qhead.commands.common import print_json
from qhead.commands.costs import cost_line, past_charges, plan_dict
from qhead.commands.devices import (
    naming_the_run,
    open_account,
    platform_device,
    remaining_seconds,
)
from qhead.commands.guard import complain
from qhead.commands.notes import About, TextsNote, fingerprint
from qhead.commands.plan import DeviceOptions, request_of
from qhead.commands.plan_files import check_calibration, read_plan
from qhead.commands.planned import make_plan, read_noted
from qhead.commands.runs import status_dict
from qhead.commands.specs import DeviceSpec, check_budget, parse_device
from qhead.errors import DataError, InputError
from qhead.progress import waiting


def run(
    folder: Path | None,
    source: str | None,
    asked: DeviceOptions | None,
    *,
    plan_file: Path | None,
    budget: float | None,
    json: bool,
) -> None:
    """Submit a new plan, or the one in a file."""
    if plan_file is not None:
        made, device = _planned(plan_file, folder, source, budget)
    else:
        if folder is None or source is None or asked is None:
            raise InputError(
                "Expected MODEL, DATA and --target, or --plan FILE, got neither: say what is to "
                "be run where."
            )
        check_budget(parse_device(asked.target), budget)
        made, device, _ = make_plan(request_of(folder, source, asked))
    run_id = send(made, device, budget)
    with Ledger() as ledger:
        status = runner.status(run_id, ledger=ledger)
        unchecked = sum(not job.verified for job in ledger.jobs(run_id, "submitted"))
    if json:
        in_numbers = plan_dict(
            made, About.of(made, "the plan"), None, local=device.local, ratio=past_charges(device)
        )
        print_json({**status_dict(status), "plan": in_numbers})
    else:
        print(run_id)
        sys.stdout.flush()
    _tell_what_was_sent(status, unchecked)


def _tell_what_was_sent(status: RunStatus, unchecked: int) -> None:
    """Say what was not sent and why, and what to do next.

    Raises:
        RunError: The platform refused all jobs.
    """
    run, jobs = status.run.id, sum(status.jobs.values())
    why = "".join(f" {text}" for text in sorted(set(status.problems.values())))
    if status.state == "failed":
        raise RunError(f"None of the {jobs} jobs of run {run} was accepted.{why}")
    waiting_jobs = status.jobs.get("planned", 0)
    if waiting_jobs:
        complain(
            "Note", f"{waiting_jobs} of {jobs} jobs are not sent yet; collecting sends them.{why}"
        )
    if unchecked:
        complain(
            "Note",
            f"{unchecked} jobs are not in the platform's list yet, so a request that was taken "
            "twice would not show: collecting looks again and cancels a second job.",
        )
    complain("Next", f"qhead collect {run}")


def check_alone(given: list[str]) -> None:
    """Refuse options of a new plan beside the file of one that is made.

    Raises:
        InputError: There are some.
    """
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(
            f"Expected --plan FILE without {names}: the plan holds its own target, shots, tiles "
            "and mitigation. Plan again to change them."
        )


def send(made: JobPlan, device: Device, budget: float | None, *, quiet: bool = False) -> str:
    """Tell what a plan costs, unless `quiet`, submit it and return the run's id.

    Raises:
        BudgetError: No budget for a real device, or too small a one; nothing was written.
        HardwareError: As `hardware.runs.runner.submit`.
    """
    if not quiet:
        remaining, ratio = remaining_seconds(device), past_charges(device)
        complain("Cost", cost_line(made, remaining, local=device.local, ratio=ratio))
    check_enough(made, device, budget)
    with Ledger() as ledger, naming_the_run(), waiting(f"submitting to {device.name}"):
        return runner.submit(
            made,
            ledger=ledger,
            device=device,
            budget_seconds=None if device.local else budget,
            policy=devices.POLICY,
        )


def check_enough(made: JobPlan, device: Device, budget: float | None) -> None:
    """Refuse a budget below the estimate before the ledger is opened, and with it made.

    A local fake rehearses this: it charges nothing, and refuses what its device would refuse.

    Raises:
        BudgetError: It is.
    """
    estimate = made.cost.qpu_seconds
    if budget is None:
        return
    if estimate > budget:
        raise BudgetError(
            f"Expected a plan within the budget of {budget:g} s, got one of about {estimate:.2f} s"
            f"{' on the real device' if device.local else ''}: give --budget "
            f"{advised_budget(estimate, None)}, or take fewer --shots, more --tiles or fewer "
            "sentences."
        )
    if device.local:
        complain(
            "Note",
            f"{made.backend} is simulated here and charges nothing: --budget {budget:g} was only "
            f"compared with the estimate, {estimate:.1f} s.",
        )


def _planned(
    path: Path,
    folder: Path | None,
    source: str | None,
    budget: float | None,
) -> tuple[JobPlan, Device]:
    """Return the plan of a file and its device, after checking that both are as they were."""
    made = read_plan(path)
    about = About.of(made, str(path))
    kind, _, _ = made.target.partition(":")
    spec = DeviceSpec("fake" if kind == "fake" else "ibm", made.backend)
    check_budget(spec, budget)
    about.model.check(folder or Path(about.model.path))
    if source is not None:
        texts = read_noted(about.data, source)
        if fingerprint(texts) != about.data.fingerprint:
            raise DataError(
                f"Expected the sentences that {path} was made for, got others in {source}: plan "
                "again."
            )
    else:
        _warn_of_changes(path, about.data)
    if spec.local:
        device: Device = local_device(made.backend)
    else:
        platform: PlatformDevice = platform_device(open_account(), made.backend)
        check_calibration(made, platform)
        device = platform
    if made.backend != device.name:
        raise PlanError(
            f"Expected a plan for {device.name}, got one for {made.backend}: plan again."
        )
    return made, device


def _warn_of_changes(path: Path, note: TextsNote) -> None:
    """Warn where the file or folder that a plan was made for holds other sentences by now."""
    if note.source == "-" or not Path(note.source).exists():
        return  # standard input is gone, and nobody is asked for a data set of the Hub
    try:
        texts = read_noted(note)
        now = "" if fingerprint(texts) == note.fingerprint else "others, or in another order"
    except DataError as error:
        now = f"what cannot be read: {error}"
    if now:
        complain(
            "Warning",
            f"Expected the {note.num_rows} sentences that {path} was made for in {note.source}, "
            f"got {now}. Those of the plan are sent; plan again to send today's.",
        )
