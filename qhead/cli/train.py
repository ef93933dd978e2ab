"""``qhead train``: data in, model folder out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qhead.cli.generated import HEAD_OPTIONS, TRAINING_OPTIONS
from qhead.cli.guard import INTERRUPTED, complain
from qhead.cli.options import Columns, Data, Force, Json, NewEncoder, PerClass, Seed, choice
from qhead.heads import HEADS

if TYPE_CHECKING:
    from qhead.classifier import TextClassifier
    from qhead.heads import HeadSummary


def train(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="Folder for the new model.")],
    columns: Columns,
    encoder: NewEncoder,
    head_options: Annotated[dict[str, Any], HEAD_OPTIONS],
    training_options: Annotated[dict[str, Any], TRAINING_OPTIONS],
    force: Force = False,
    validation_fraction: Annotated[
        float, typer.Option("--validation-fraction", help="Fraction held out for validation.")
    ] = 0.15,
    test_fraction: Annotated[
        float, typer.Option("--test-fraction", help="Fraction held out for testing.")
    ] = 0.0,
    per_class: PerClass = None,
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
        choice(
            "--checkpoint",
            "File to resume from after an interruption; written after every epoch.",
            "Training",
        ),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train a head on labelled sentences and save the model."""
    import sys

    from qhead.classifier import TextClassifier
    from qhead.data import parts as data_parts
    from qhead.errors import ModelError
    from qhead.heads import make_head
    from qhead.saving.folder import check_destination
    from qhead.training_options import TrainingOptions
    from qhead.training_run import fit_parts, save_beside

    # Everything that can be refused is refused before the first second of work.
    check_destination(out, overwrite=force)
    # The fraction is the head's option too: 0 is 0 there as well, and nothing is held back twice.
    options = {**training_options, "validation_fraction": validation_fraction}
    training = TrainingOptions.from_dict(options)
    made = make_head(head.replace("-", "_"), training=training, seed=seed, **head_options)
    parts = data_parts.load_parts(
        data,
        text_column=columns.text_column,
        label_column=columns.label_column,
        skip_empty=columns.skip_empty,
        per_class=per_class,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        seed=seed,
    )
    weighted = training.class_weight == "balanced"
    advice = "" if weighted else " --class-weight balanced gives rare classes more weight."
    notes = [*parts.remarks, *(f"{remark}{advice}" for remark in parts.imbalance)]
    for note in notes:
        complain("Note", note)
    model = fit_parts(TextClassifier(encoder.open(), made), parts, checkpoint=checkpoint)
    model.data_["seed"] = seed
    place = save_beside(model, out, overwrite=force)
    try:
        _show(model, place, notes, json=json)
        sys.stdout.flush()
    except OSError:
        complain("Note", f"the model is saved in {place}.")
        raise
    if model.head_.stopped_ == "interrupted":
        kept = "" if place == out else f" {out} is unchanged."
        complain(
            "Interrupted",
            f"training stopped after epoch {len(model.head_.history_)}. The model with the best "
            f"weights so far is saved in {place}.{kept}",
        )
        raise typer.Exit(INTERRUPTED)
    if place != out:
        raise ModelError(
            f"Another program changed {out} during the training, so it is left alone. The new "
            f"model is saved in {place}."
        )


def _show(model: TextClassifier, place: Path, notes: list[str], *, json: bool) -> None:
    """Print what was trained and how it scores."""
    from dataclasses import asdict

    from hardware.words import counted
    from qhead.cli.show import interval, percent, show

    head, scores = model.head_, model.metrics_
    record = {
        "model": str(place),
        "head": asdict(head.summary()),
        "encoder": model.encoder_.config()["model"],
        "data": model.data_,
        "best_epoch": head.best_epoch_,
        "epochs": len(head.history_),
        "stopped": head.stopped_,
        "training_seconds": head.training_seconds_,
        "notes": notes,
        **scores,
    }
    show(
        record,
        f"{head.kind}: {_size(head.summary())}",
        f"trained on {counted(model.data_['n'], 'sentence')}, "
        f"{counted(len(head.history_), 'epoch')} in {head.training_seconds_:.1f} s; kept the "
        f"weights after epoch {head.best_epoch_}",
        *(
            f"{name}: {percent(score['accuracy'])} ({interval(score['accuracy_interval'])}), "
            f"n = {score['n']}, F1 {score['f1']:.3f}"
            for name, score in scores.items()
        ),
        f"model: {place}",
        json=json,
    )


def _size(summary: HeadSummary) -> str:
    """Return the size of a head in words."""
    from hardware.words import counted

    words = counted(summary.num_parameters, "parameter")
    if idle := summary.num_parameters - summary.num_effective_parameters:
        words += f" ({idle} of them cannot influence the output)"
    if summary.num_qubits is not None:
        words += (
            f", {counted(summary.num_qubits, 'qubit')}, depth {summary.depth}, "
            f"{summary.two_qubit_gates}"
        )
    return words
