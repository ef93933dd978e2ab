"""``qhead submit``: the cost on stderr, then the run's id on stdout, at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qhead.cli.generated import PLAN_OPTIONS
from qhead.cli.guard import complain, naming_the_run
from qhead.cli.options import (
    DEVICES,
    AccountChoice,
    Adaptive,
    Budget,
    Columns,
    Json,
    Recalibrate,
    SavedEncoder,
    Split,
    Tiles,
    choice,
)
from qhead.cli.plan import PlanOptions, make_plan

if TYPE_CHECKING:
    from hardware.runs.progress import RunStatus


def submit(
    columns: Columns,
    encoder: SavedEncoder,
    options: PlanOptions,
    account: AccountChoice,
    model: Annotated[
        Path | None, typer.Argument(metavar="MODEL", help="Model folder.", show_default=False)
    ] = None,
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="Sentences, as for plan.", show_default=False),
    ] = None,
    target: Annotated[str | None, choice("--target", DEVICES)] = None,
    budget: Budget = None,
    plan_file: Annotated[
        Path | None, choice("--plan", "Submit the plan that qhead plan wrote.")
    ] = None,
    tiles: Tiles = None,
    adaptive: Adaptive = False,
    recalibrate: Recalibrate = None,
    split: Split = None,
    seed: Annotated[int | None, choice("--seed", "Seed of local fakes; default: 0.", min=0)] = None,
    json: Json = False,
) -> None:
    """Send sentences to a device: the cost on stderr, then the run's id, at once."""
    import sys
    from dataclasses import replace

    from hardware.devices.named import parse_device
    from hardware.runs.permission import check_budget
    from hardware.runs.planned import planned_device
    from hardware.runs.quote import Quote
    from qhead.cli.show import print_json
    from qhead.errors import InputError
    from qhead.progress import waiting
    from qhead.runs.metadata import RunMetadata
    from qhead.runs.plan_files import read_planned
    from qhead.runs.run import Run

    if plan_file is not None:
        new = {
            "target": target, "tiles": tiles, "recalibrate": recalibrate, "split": split,
            "seed": seed, "adaptive": adaptive or None, "skip_empty": columns.skip_empty or None,
            "encoder": encoder.encoder, "revision": encoder.revision, **options,
        }  # fmt: skip
        _check_alone([name for name, value in new.items() if value is not None])
        plan, metadata = read_planned(plan_file, model=model, data=data)
        check_budget(budget, local=not plan.target.startswith("ibm:"))
        device = planned_device(plan, account.open())
    else:
        if model is None or data is None or target is None:
            raise InputError(
                "Give MODEL, DATA and --target, or --plan FILE: "
                f"{'--target' if target is None else 'DATA' if model else 'MODEL'} is missing."
            )
        named = parse_device(target, account.open())
        check_budget(budget, local=not named.charges)
        plan, device = make_plan(
            model, data, named, columns, encoder, options,
            tiles=tiles, adaptive=adaptive, recalibrate=recalibrate, split=split, seed=seed or 0,
        )  # fmt: skip
        metadata = RunMetadata.of(plan, "the plan")
    quote = Quote.of(plan, device)
    complain("Cost", str(quote))
    with naming_the_run(), waiting(f"submitting to {device.name}"):
        sent = Run.submit(plan, budget=budget, device=device, account=account.open())
    status = sent.status()
    try:
        if json:
            in_numbers = replace(quote, remaining=None).as_dict() | metadata.record()
            print_json({**status.as_dict(), "plan": in_numbers})
        else:
            print(sent.id)
        sys.stdout.flush()
    finally:  # it is sent, whether or not standard output takes its id
        _tell_what_was_sent(status, sent.unverified())


def _check_alone(given: list[str]) -> None:
    """Refuse options of a new plan beside the file of one that is made.

    Raises:
        InputError: There are some.
    """
    from qhead.errors import InputError

    if given:
        flags = (PLAN_OPTIONS.flags.get(name, f"--{name.replace('_', '-')}") for name in given)
        raise InputError(
            f"Expected --plan FILE without {', '.join(flags)}: the plan holds its own target, "
            "shots, tiles and mitigation. Plan again to change them."
        )


def _tell_what_was_sent(status: RunStatus, unchecked: int) -> None:
    """Say what was not sent and why, and what to do next.

    Raises:
        RunError: The platform refused all jobs.
    """
    from hardware.errors import RunError

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
