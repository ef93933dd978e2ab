"""The command line: one function a verb. The bodies are in `qhead.commands`.

Nothing heavy is imported until a verb runs, so that ``qhead --help`` answers at once.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the other imports: Ctrl-C may come during them
    import importlib

    importlib.import_module("qhead.__main__").main()

from pathlib import Path
from typing import Annotated, Any

import typer

from qhead.commands import device_verbs
from qhead.commands.arguments import (
    Budget,
    Data,
    EncoderChoice,
    EncoderPlace,
    Force,
    Json,
    LabelColumn,
    Model,
    NewEncoder,
    NoCache,
    Recalibrate,
    Revision,
    Seed,
    SkipEmpty,
    Target,
    TextColumn,
    TilesOnDevice,
)
from qhead.commands.declared import given, with_library_options
from qhead.commands.guard import exit_codes
from qhead.commands.short_form import ShortForm
from qhead.commands.terminal import accept_any_character
from qhead.heads import HEADS

app = typer.Typer(
    name="qhead",
    help="A quantum-circuit head on a sentence transformer: train it in seconds, see what shots "
    "and gate noise do to it, run it on a device.",
    epilog="First steps: qhead demo. Targets: exact, shots:1024, noisy:P1,P2[,READOUT][:SHOTS], "
    "aer:fez[:SHOTS], fake:fez[:SHOTS], ibm:NAME[:SHOTS], backend:MODULE:FUNCTION[:SHOTS]. Exit "
    "codes: 0 success, 1 the run or the platform failed, 2 invalid usage or input, 3 some rows "
    "have no result yet, 130 interrupted.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True)
def _qhead(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from qhead import __version__

        typer.echo(f"qhead {__version__}")
        raise typer.Exit


@app.command(epilog="Example: qhead demo --out first-look")
@exit_codes
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the report and the model.")] = Path(
        "qhead-demo"
    ),
    seed: Seed = 0,
    json: Json = False,
    no_cache: NoCache = False,
) -> None:
    """Train on built-in sentences, run them on every simulated target and write a report."""
    from qhead.commands.demo import run

    run(out, seed=seed, json=json, cache=not no_cache)


@app.command(
    epilog="Example: qhead train reviews.csv --out model --num-qubits 8 --num-layers 2 --seed 1"
)
@exit_codes
@with_library_options
def train(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder for the new model.")],
    force: Force = False,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    skip_empty: SkipEmpty = False,
    validation_fraction: Annotated[
        float, typer.Option("--validation-fraction", help="Fraction held out for validation.")
    ] = 0.15,
    test_fraction: Annotated[
        float, typer.Option("--test-fraction", help="Fraction held out for testing.")
    ] = 0.0,
    per_class: Annotated[
        int | None,
        typer.Option(
            "--per-class",
            help="Rows to sample per class for training; tested on the test split of DATA, or else "
            "on the other rows.",
        ),
    ] = None,
    encoder: NewEncoder = None,
    revision: Revision = None,
    no_cache: NoCache = False,
    head: Annotated[
        str,
        typer.Option(
            "--head",
            help="quantum, mlp, reduced_mlp or inspired.",
            rich_help_panel="Head",
            autocompletion=lambda incomplete: [
                kind for kind in HEADS if kind.startswith(incomplete)
            ],
        ),
    ] = "quantum",
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            help="File to resume from after an interruption; written after every epoch.",
            rich_help_panel="Training",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
    **options: Any,
) -> None:
    """Train a head on labelled sentences and save the model."""
    from qhead.commands.train import TrainRequest, run

    head_options, training_options = given(options)
    run(
        TrainRequest(
            data=data,
            out=out,
            force=force,
            text_column=text_column,
            label_column=label_column,
            skip_empty=skip_empty,
            validation_fraction=validation_fraction,
            test_fraction=test_fraction,
            per_class=per_class,
            encoder=encoder,
            revision=revision,
            cache=not no_cache,
            head=head,
            head_options=head_options,
            training_options=training_options,
            checkpoint=checkpoint,
            seed=seed,
        ),
        json=json,
    )


@app.command(epilog="Example: qhead evaluate model test.csv --target noisy:0.001,0.01 --json")
@exit_codes
def evaluate(
    model: Model,
    data: Data,
    target: Target = "exact",
    split: Annotated[
        str | None,
        typer.Option("--split", help="Split to score if DATA has several; default: test."),
    ] = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    skip_empty: SkipEmpty = False,
    budget: Budget = None,
    tiles: TilesOnDevice = None,
    recalibrate: Recalibrate = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial",
            help="Score the rows that have results even if others have none yet.",
            rich_help_panel="Device",
        ),
    ] = False,
    of_run: Annotated[
        str | None,
        typer.Option(
            "--run",
            help="Id of a recorded run to score; nothing is sent.",
            rich_help_panel="Device",
            show_default=False,
        ),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
    encoder: EncoderPlace = None,
    revision: Revision = None,
    no_cache: NoCache = False,
) -> None:
    """Score a model: accuracy with its interval, scores by class, confusion, calibration."""
    from qhead.commands.evaluate import run

    run(
        model,
        data,
        target=target,
        split=split,
        columns=(text_column, label_column),
        short=ShortForm(budget, tiles, recalibrate, partial, of_run, skip_empty),
        seed=seed,
        json=json,
        encoder=EncoderChoice(encoder, revision, not no_cache),
    )


@app.command(epilog="Example: qhead predict model reviews.txt --target shots:1024 --format jsonl")
@exit_codes
def predict(
    model: Model,
    file: Annotated[
        str,
        typer.Argument(
            metavar="[FILE|-]",
            help="Data file, .txt file with one sentence per line, or - for standard input.",
        ),
    ] = "-",
    target: Target = "exact",
    format: Annotated[
        str, typer.Option("--format", help="csv, or jsonl with one JSON object per line.")
    ] = "csv",
    out: Annotated[
        Path | None, typer.Option("--out", help="Output file; default: standard output.")
    ] = None,
    force: Force = False,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="CSV: keep cells that a spreadsheet would run as formulas."),
    ] = False,
    text_column: TextColumn = None,
    skip_empty: SkipEmpty = False,
    budget: Budget = None,
    tiles: TilesOnDevice = None,
    recalibrate: Recalibrate = None,
    seed: Seed = 0,
    json: Json = False,
    encoder: EncoderPlace = None,
    revision: Revision = None,
    no_cache: NoCache = False,
) -> None:
    """Predict labels, with probability, standard error and whether each label is decided."""
    from qhead.commands.predict import run

    run(
        model,
        file,
        target=target,
        format=format,
        json=json,
        out=out,
        force=force,
        raw=raw,
        text_column=text_column,
        short=ShortForm(budget, tiles, recalibrate, skip_empty=skip_empty),
        seed=seed,
        encoder=EncoderChoice(encoder, revision, not no_cache),
    )


@app.command(
    epilog="Example: qhead compare reviews.csv --heads quantum,mlp,linear --seeds 10 --per-class 32"
)
@exit_codes
def compare(
    data: Data,
    heads: Annotated[
        str,
        typer.Option(
            "--heads",
            help="Names with commas between them: quantum, mlp, reduced_mlp (as many parameters as "
            "quantum), inspired, linear (logistic regression) or svc. The others are compared "
            "with the first.",
        ),
    ] = "quantum,mlp,reduced_mlp,inspired,linear",
    seeds: Annotated[
        int, typer.Option("--seeds", help="Number of splits to train and test on.", min=2)
    ] = 5,
    per_class: Annotated[
        int | None,
        typer.Option(
            "--per-class",
            help="Rows to sample per class for training; default: all but the test rows.",
            min=1,
            show_default=False,
        ),
    ] = None,
    test_fraction: Annotated[
        float,
        typer.Option(
            "--test-fraction",
            help="Fraction held out for testing, if DATA has no test split and --per-class is not "
            "given.",
        ),
    ] = 0.25,
    control: Annotated[
        bool,
        typer.Option(
            "--control", help="Repeat with shuffled training labels: heads must score chance."
        ),
    ] = False,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    skip_empty: SkipEmpty = False,
    encoder: NewEncoder = None,
    revision: Revision = None,
    no_cache: NoCache = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Compare heads on your data: the same splits for all, accuracy differences with intervals."""
    from qhead.commands.compare import run

    run(
        data,
        heads=heads,
        num_seeds=seeds,
        per_class=per_class,
        test_fraction=test_fraction,
        control=control,
        columns=(text_column, label_column),
        skip_empty=skip_empty,
        encoder=EncoderChoice(encoder, revision, not no_cache),
        seed=seed,
        json=json,
    )


@app.command(epilog="Example: qhead report model --out model.html")
@exit_codes
def report(
    model: Model,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Output file; default: MODEL.html beside the folder."),
    ] = None,
    force: Force = False,
    encoder: EncoderPlace = None,
    revision: Revision = None,
    json: Json = False,
) -> None:
    """Write one self-contained HTML page about a saved model."""
    from qhead.commands.report import run

    run(model, out, force=force, json=json, encoder=EncoderChoice(encoder, revision))


device_verbs.register(app)


def main() -> None:
    """Run the command line; `qhead.__main__.main` does so with an end for every Ctrl-C."""
    accept_any_character()
    app()
