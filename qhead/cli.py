"""The command line: one function a verb. The bodies are in `qhead.commands`.

Nothing heavy is imported until a verb runs, so that ``qhead --help`` answers at once.
"""

from __future__ import annotations

if __name__ == "__main__":  # before the other imports: Ctrl-C may come during them
    import importlib

    importlib.import_module("qhead.__main__").main()

from pathlib import Path
from typing import Annotated

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
    NoCache,
    Recalibrate,
    Revision,
    Seed,
    SkipEmpty,
    Target,
    TextColumn,
    TilesOnDevice,
)
from qhead.commands.guard import exit_codes
from qhead.commands.short_form import ShortForm
from qhead.commands.terminal import accept_any_character

app = typer.Typer(
    name="qhead",
    help="A quantum-circuit head on a sentence transformer: train it in seconds, see what shots "
    "and gate noise do to it, run it on a device.",
    epilog="First steps: qhead demo. Targets: exact, shots:1024, noisy:P1,P2[,READOUT][:SHOTS], "
    "aer:fez[:SHOTS], fake:fez[:SHOTS], ibm:NAME[:SHOTS]. Exit code 0: done, 1: the run or "
    "the platform failed, 2: a bad call, 3: rows without a result are missing, 130: "
    "interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

_ENCODER, _HEAD, _TRAINING = "Encoder", "Head", "Training"


def _head(name: str, help: str) -> typer.models.OptionInfo:
    return typer.Option(name, help=help, rich_help_panel=_HEAD, show_default=False)


def _training(name: str, help: str) -> typer.models.OptionInfo:
    return typer.Option(name, help=help, rich_help_panel=_TRAINING, show_default=False)


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
    out: Annotated[Path, typer.Option("--out", help="Folder of the report.")] = Path("qhead-demo"),
    seed: Seed = 0,
    json: Json = False,
    no_cache: NoCache = False,
) -> None:
    """Train on the sentences that ship with qhead, rehearse on every target, write a report."""
    from qhead.commands.demo import run

    run(out, seed=seed, json=json, cache=not no_cache)


@app.command(
    epilog="Example: qhead train reviews.csv --out model --num-qubits 8 --num-layers 2 --seed 1"
)
@exit_codes
def train(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder of the new model.")],
    force: Force = False,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    skip_empty: SkipEmpty = False,
    validation_fraction: Annotated[
        float, typer.Option("--validation-fraction", help="Share held out to choose the weights.")
    ] = 0.15,
    test_fraction: Annotated[
        float, typer.Option("--test-fraction", help="Share held out to be scored once.")
    ] = 0.0,
    per_class: Annotated[
        int | None,
        typer.Option(
            "--per-class",
            help="Sample so many rows of each class to train on; the rest is for the test, unless "
            "DATA has a test split.",
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            "--encoder",
            help="Id or folder of a sentence-transformers model; default: the one that ships.",
            rich_help_panel=_ENCODER,
            show_default=False,
        ),
    ] = None,
    revision: Revision = None,
    no_cache: NoCache = False,
    head: Annotated[
        str,
        typer.Option(
            "--head", help="quantum, mlp, reduced_mlp or inspired.", rich_help_panel=_HEAD
        ),
    ] = "quantum",
    num_qubits: Annotated[int | None, _head("--num-qubits", "Qubits of the circuit.")] = None,
    num_layers: Annotated[int | None, _head("--num-layers", "Layers of the ansatz.")] = None,
    connectivity: Annotated[
        int | None, _head("--connectivity", "Entangling range C of a block.")
    ] = None,
    num_reuploads: Annotated[
        int | None, _head("--num-reuploads", "Times the angles are uploaded.")
    ] = None,
    num_encoders: Annotated[
        int | None, _head("--num-encoders", "Amplitude-encoded modules in front.")
    ] = None,
    topology: Annotated[str | None, _head("--topology", "ring, chain or full.")] = None,
    encoder_qubits: Annotated[
        int | None, _head("--encoder-qubits", "Qubits of an encoder's register.")
    ] = None,
    reduction: Annotated[
        str | None,
        _head(
            "--reduction", "How to fit a longer embedding into the register: pca, random or none."
        ),
    ] = None,
    bias_amplitude: Annotated[
        float | None, _head("--bias-amplitude", "Constant amplitude: the head's linear term.")
    ] = None,
    readout: Annotated[str | None, _head("--readout", "expectations or probabilities.")] = None,
    num_measured: Annotated[int | None, _head("--num-measured", "Qubits that are read.")] = None,
    encoder_layers: Annotated[
        int | None, _head("--encoder-layers", "Layers of an encoder's circuit.")
    ] = None,
    encoder_connectivity: Annotated[
        int | None, _head("--encoder-connectivity", "Entangling range C of an encoder.")
    ] = None,
    start: Annotated[
        str | None, _head("--start", "Initial rotations of the circuit: identity or random.")
    ] = None,
    angle_scale: Annotated[
        float | None, _head("--angle-scale", "Radians per unit of an encoder's output.")
    ] = None,
    reading: Annotated[str | None, _head("--reading", "Of the paper's ansatz: A or B.")] = None,
    shared: Annotated[
        bool | None, _head("--shared/--separate", "One PQC1 for all re-uploads, or one each.")
    ] = None,
    hidden: Annotated[int | None, _head("--hidden", "mlp, reduced_mlp: hidden width.")] = None,
    num_components: Annotated[
        int | None, _head("--num-components", "reduced_mlp: dimensions that are kept.")
    ] = None,
    max_parameters: Annotated[
        int | None, _head("--max-parameters", "reduced_mlp: bound of its trainable parameters.")
    ] = None,
    num_units: Annotated[int | None, _head("--num-units", "inspired: width.")] = None,
    learning_rate: Annotated[float | None, _training("--learning-rate", "Of AdamW.")] = None,
    readout_learning_rate: Annotated[
        float | None,
        _training(
            "--readout-learning-rate", "Of the linear read-out; default: 3 × --learning-rate."
        ),
    ] = None,
    circuit_learning_rate: Annotated[
        float | None,
        _training(
            "--circuit-learning-rate",
            "Of the circuit's angles; default: --learning-rate, or a tenth with --start identity.",
        ),
    ] = None,
    weight_decay: Annotated[float | None, _training("--weight-decay", "Of AdamW.")] = None,
    ridge: Annotated[
        float | None,
        _training("--ridge", "Penalty of the read-out's weights; 1/C of a linear model."),
    ] = None,
    max_epochs: Annotated[
        int | None,
        _training(
            "--max-epochs", "Passes over the data; default: 40, or more where sentences are few."
        ),
    ] = None,
    batch_size: Annotated[int | None, _training("--batch-size", "Sentences a step.")] = None,
    schedule: Annotated[str | None, _training("--schedule", "cosine or constant.")] = None,
    patience: Annotated[
        int | None, _training("--patience", "Epochs without a new best before it stops.")
    ] = None,
    monitor: Annotated[
        str | None, _training("--monitor", "What is best: loss, accuracy or last (no choice).")
    ] = None,
    class_weight: Annotated[str | None, _training("--class-weight", "balanced, or none.")] = None,
    checkpoint: Annotated[
        Path | None, _training("--checkpoint", "File to go on from after an interruption.")
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train a head on labelled sentences and save the model."""
    from qhead.commands.train import TrainRequest, run

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
            head_options=_given(
                num_qubits=num_qubits,
                num_layers=num_layers,
                connectivity=connectivity,
                num_reuploads=num_reuploads,
                num_encoders=num_encoders,
                topology=topology,
                encoder_qubits=encoder_qubits,
                reduction=reduction,
                bias_amplitude=bias_amplitude,
                readout=readout,
                num_measured=num_measured,
                encoder_layers=encoder_layers,
                encoder_connectivity=encoder_connectivity,
                start=start,
                angle_scale=angle_scale,
                reading=reading,
                shared=shared,
                hidden=hidden,
                num_components=num_components,
                max_parameters=max_parameters,
                num_units=num_units,
            ),
            training_options=_given(
                learning_rate=learning_rate,
                readout_learning_rate=readout_learning_rate,
                circuit_learning_rate=circuit_learning_rate,
                weight_decay=weight_decay,
                ridge=ridge,
                max_epochs=max_epochs,
                batch_size=batch_size,
                schedule=schedule,
                patience=patience,
                monitor=monitor,
                class_weight=class_weight,
            ),
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
        typer.Option("--split", help="Split to score where DATA has several; default: test."),
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
            help="Score the rows that have results even if others have none.",
            rich_help_panel="Device",
        ),
    ] = False,
    of_run: Annotated[
        str | None,
        typer.Option(
            "--run",
            help="Score the results of a run of the ledger; nothing is run.",
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
    """Score a model: accuracy with its interval, F1, confusion matrix, calibration."""
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
            metavar="[FILE|-]", help="Sentences: a data file, a .txt with one a line, or -."
        ),
    ] = "-",
    target: Target = "exact",
    format: Annotated[
        str, typer.Option("--format", help="csv, or jsonl: an object a row.")
    ] = "csv",
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; default: standard output.")
    ] = None,
    force: Force = False,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="CSV: leave cells alone that a spreadsheet would execute."),
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
    """Label sentences: label, probability, standard error, decided or not."""
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


@app.command(epilog="Example: qhead report model --out model.html")
@exit_codes
def report(
    model: Model,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; default: MODEL.html beside it.")
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


def _given(**options: object) -> dict[str, object]:
    """Return the options that were given, none as None; a head or a training knows its defaults."""
    given = {name: value for name, value in options.items() if value is not None}
    return {name: None if value == "none" else value for name, value in given.items()}


def main() -> None:
    """Run the command line; `qhead.__main__.main` does so with an end for every Ctrl-C."""
    accept_any_character()
    app()
