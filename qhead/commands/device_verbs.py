"""The verbs around devices, as the command line sees them: ``plan``, ``submit``, ``collect`` …

Nothing heavy is imported until a verb runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from qhead.commands.arguments import (
    DEVICE,
    Budget,
    Data,
    EncoderChoice,
    EncoderPlace,
    Force,
    Json,
    Model,
    NoCache,
    Revision,
    Seed,
)
from qhead.commands.guard import exit_codes
from qhead.commands.plan_options import (
    BESIDE_A_PLAN,
    PLAN_OPTIONS,
    device_options,
    with_plan_options,
)

PANEL = "Devices"  # of the list of verbs
_TARGETS = (
    "fake:NAME, ibm:NAME, ibm:least_busy, ibm:best or backend:MODULE:FUNCTION; add :SHOTS. The "
    "last imports that Python module and runs its code: the function returns any Qiskit BackendV2."
)

Run = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or its beginning.")]
Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        help=_TARGETS,
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command line."""
    for verb, example in (
        (plan, "qhead plan model reviews.csv --target fake:fez --out reviews.plan"),
        (submit, "qhead submit model reviews.csv --target ibm:least_busy --budget 60"),
        (runs, "qhead runs"),
        (status, "qhead status 20260101-0123abcd"),
        (collect, "qhead collect 20260101-0123abcd --wait inf --out predictions.csv"),
        (resume, "qhead resume 20260101-0123abcd --budget 120"),
        (cancel, "qhead cancel 20260101-0123abcd"),
        (backends, "qhead backends model"),
    ):
        app.command(epilog=f"Example: {example}", rich_help_panel=PANEL)(verb)


@exit_codes
@with_plan_options
def plan(
    model: Model,
    data: Data,
    target: Annotated[
        str,
        typer.Option("--target", help=_TARGETS),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File to keep the plan in, for submit.", show_default=False),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture", help="File for a picture of the chip: .png or .svg.", show_default=False
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite --out and --picture if they exist.")
    ] = False,
    seed: Seed = 0,
    json: Json = False,
    **options: Any,
) -> None:
    """Show what a run on a device would take: tiles, PUBs, jobs, QPU seconds. Sends nothing."""
    from qhead.commands.plan import run

    asked = device_options(target, seed, options)
    run(model, data, asked, out=out, picture=picture, force=force, json=json)


@exit_codes
@with_plan_options
def submit(
    model: Annotated[
        Path | None, typer.Argument(metavar="MODEL", help="A model folder.", show_default=False)
    ] = None,
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="Sentences, as for plan.", show_default=False),
    ] = None,
    target: Target = None,
    budget: Budget = None,
    plan_file: Annotated[
        Path | None,
        typer.Option("--plan", help="Submit the plan that qhead plan wrote.", show_default=False),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of local fakes; default: 0.", min=0)
    ] = None,
    json: Json = False,
    **options: Any,
) -> None:
    """Send sentences to a device: the cost on stderr, then the run's id, at once."""
    from qhead.commands.submit import check_alone, run

    if plan_file is not None:
        of_plan = {name: options[name] for name in PLAN_OPTIONS if name not in BESIDE_A_PLAN}
        given = {"target": target, "seed": seed, **of_plan}
        given["skip_empty"] = options["skip_empty"] or None
        check_alone([name for name, value in given.items() if value is not None])
    asked = None if target is None else device_options(target, seed or 0, options)
    run(model, data, asked, plan_file=plan_file, budget=budget, json=json)


@exit_codes
def runs(json: Json = False) -> None:
    """List all runs: estimated and charged QPU seconds side by side."""
    from qhead.commands.runs import run_runs

    run_runs(json=json)


@exit_codes
def status(run: Run, json: Json = False) -> None:
    """Say where a run stands by the ledger alone; makes no network call."""
    from qhead.commands.runs import run_status_of

    run_status_of(run, json=json)


@exit_codes
def collect(
    run: Run,
    model: Annotated[
        Path | None,
        typer.Argument(metavar="MODEL", help="Where the run's model is now.", show_default=False),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Where the run's sentences are now.", show_default=False),
    ] = None,
    wait: Annotated[
        float, typer.Option("--wait", help="Seconds to wait for jobs under way, or inf.")
    ] = 0.0,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask nobody: only what the ledger holds.")
    ] = False,
    no_recalibration: Annotated[
        bool,
        typer.Option("--no-recalibration", help="Take the read-out as it was trained."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; default: standard output.")
    ] = None,
    force: Force = False,
    format: Annotated[
        str, typer.Option("--format", help="csv, or jsonl: an object a row.")
    ] = "csv",
    raw: Annotated[
        bool,
        typer.Option("--raw", help="CSV: leave cells alone that a spreadsheet would execute."),
    ] = False,
    json: Json = False,
    encoder: EncoderPlace = None,
    revision: Revision = None,
    no_cache: NoCache = False,
) -> None:
    """Bring in results and predict the rows that have arrived; says which are missing.

    Exit code 3: rows are missing. What is stored and damaged is fetched again.
    """
    from qhead.commands.collect import run as collect_run

    collect_run(
        run,
        model,
        data=data,
        wait=wait,
        offline=offline,
        refit=not no_recalibration,
        out=out,
        force=force,
        format=format,
        raw=raw,
        json=json,
        encoder=EncoderChoice(encoder, revision, not no_cache),
    )


@exit_codes
def resume(
    run: Run,
    budget: Budget = None,
    resubmit_cancelled: Annotated[
        bool,
        typer.Option(
            "--resubmit-cancelled",
            help="Send cancelled jobs again, at your cost.",
            rich_help_panel=DEVICE,
        ),
    ] = False,
    resubmit_unknown: Annotated[
        bool,
        typer.Option(
            "--resubmit-unknown",
            help="Send jobs again that the platform took and does not know any more. Both are paid "
            "for if it ran them after all.",
            rich_help_panel=DEVICE,
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Carry on with a run: find what was sent, send again what failed and nothing else."""
    from qhead.commands.runs import run_resume

    run_resume(
        run,
        budget=budget,
        resubmit_cancelled=resubmit_cancelled,
        resubmit_unknown=resubmit_unknown,
        json=json,
    )


@exit_codes
def cancel(run: Run, json: Json = False) -> None:
    """Send nothing more of a run and cancel its jobs that have not ended."""
    from qhead.commands.runs import run_cancel

    run_cancel(run, json=json)


@exit_codes
def backends(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL", help="Rank by the error of its circuit.", show_default=False
        ),
    ] = None,
    fakes: Annotated[
        bool, typer.Option("--fakes", help="Fakes only: do not ask the account.")
    ] = False,
    encoder: EncoderPlace = None,
    revision: Revision = None,
    json: Json = False,
) -> None:
    """List devices, ranked by the error that a model's circuit would suffer there."""
    from qhead.commands.backends import run

    run(model, fakes_only=fakes, json=json, encoder=EncoderChoice(encoder, revision, cache=False))
