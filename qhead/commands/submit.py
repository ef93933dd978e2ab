"""``qhead submit``: the cost on stderr, then the run's id on stdout, at once."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from hardware.devices.base import Device
from hardware.devices.named import parse_device
from hardware.errors import RunError
from hardware.planning.plan import JobPlan
from hardware.runs.permission import check_budget
from hardware.runs.planned import planned_device
from hardware.runs.progress import RunStatus
from hardware.runs.quote import Quote
from qhead.commands.common import print_json
from qhead.commands.costs import plan_dict
from qhead.commands.guard import complain, naming_the_run
from qhead.commands.plan import DeviceOptions, make_plan
from qhead.commands.runs import status_dict
from qhead.errors import DataError, InputError
from qhead.progress import waiting
from qhead.runs.metadata import RunMetadata, SentenceSource
from qhead.runs.plan_files import read_plan
from qhead.runs.run import Run
from qhead.runs.sentences import read_again


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
        plan, device = _from_file(plan_file, folder, source, budget)
    else:
        if folder is None or source is None or asked is None:
            raise InputError(
                "Expected MODEL, DATA and --target, or --plan FILE, got neither: say what is to "
                "be run where."
            )
        check_budget(budget, local=not parse_device(asked.target).charges)
        plan, device = make_plan(folder, source, asked)
    quote = Quote.of(plan, device)
    complain("Cost", str(quote))
    sent = send(plan, device, budget)
    status = sent.status()
    if json:
        in_numbers = plan_dict(replace(quote, remaining=None), RunMetadata.of(plan, "the plan"))
        print_json({**status_dict(status), "plan": in_numbers})
    else:
        print(sent.id)
        sys.stdout.flush()
    _tell_what_was_sent(status, sent.unverified())


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


def send(plan: JobPlan, device: Device, budget: float | None) -> Run:
    """Submit a plan and return its run.

    Raises:
        HardwareError: As `hardware.runs.run.StoredRun.submit`.
    """
    with naming_the_run(), waiting(f"submitting to {device.name}"):
        sent = Run.submit(plan, budget=budget, device=device)
    if device.local and budget is not None:
        complain(
            "Note",
            f"{plan.backend} is simulated here and charges nothing: --budget {budget:g} was only "
            f"compared with the estimate, {plan.cost.qpu_seconds:.1f} s.",
        )
    return sent


def _from_file(
    path: Path,
    folder: Path | None,
    source: str | None,
    budget: float | None,
) -> tuple[JobPlan, Device]:
    """Return the plan of a file and its device, after checking that both are as they were."""
    plan = read_plan(path)
    metadata = RunMetadata.of(plan, str(path))
    check_budget(budget, local=not plan.target.startswith("ibm:"))
    if metadata.model is not None:
        metadata.model.check(folder or Path(metadata.model.path))
    if source is not None:
        try:
            read_again(metadata.data, source)
        except DataError as error:
            raise DataError(f"{path}: {error} Plan again to send these.") from error
    else:
        _warn_of_changes(path, metadata.data)
    return plan, planned_device(plan)


def _warn_of_changes(path: Path, source: SentenceSource) -> None:
    """Warn where the file or folder that a plan was made for holds other sentences by now."""
    if source.source in (None, "-") or not Path(str(source.source)).exists():
        return  # standard input is gone, and no network call is made for a data set of the Hub
    try:
        read_again(source)
    except DataError as error:
        complain(
            "Warning",
            f"{error} Those of the plan {path} are sent; plan again to send today's.",
        )
