"""``qhead finetune``: train a model's head where its circuit runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qhead.cli.generated import FINETUNING_OPTIONS, PLAN_OPTIONS
from qhead.cli.guard import INTERRUPTED, complain, naming_the_run
from qhead.cli.options import (
    AccountChoice,
    Budget,
    Columns,
    Data,
    Force,
    Json,
    Model,
    PerClass,
    SavedEncoder,
    Seed,
    Target,
    Tiles,
    choice,
)

if TYPE_CHECKING:
    from qhead.classifier import TextClassifier
    from qhead.data.parts import Parts
    from qhead.finetuning.finetuning import Finetuning


def finetune(
    model: Model,
    data: Data,
    columns: Columns,
    encoder: SavedEncoder,
    given: Annotated[dict[str, Any], FINETUNING_OPTIONS],
    planning: Annotated[dict[str, Any], PLAN_OPTIONS],
    account: AccountChoice,
    out: Annotated[Path | None, choice("--out", "Folder for the new model.")] = None,
    target: Target = "exact",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show rows, runs and QPU seconds. Runs nothing.")
    ] = False,
    budget: Budget = None,
    tiles: Tiles = None,
    force: Force = False,
    validation_fraction: Annotated[
        float, typer.Option("--validation-fraction", help="Fraction held out for validation.")
    ] = 0.15,
    per_class: PerClass = None,
    checkpoint: Annotated[
        Path | None,
        choice(
            "--checkpoint",
            "File to resume from after an interruption; default on a device: OUT.checkpoint.",
        ),
    ] = None,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Train a model's head where its circuit runs: derivatives are measured there too."""
    from hardware.devices.named import is_device, parse_device
    from hardware.errors import HardwareError
    from hardware.planning.options import PlanOptions
    from hardware.runs.permission import check_budget
    from qhead.cli.plan import parse_tiles
    from qhead.cli.show import show
    from qhead.data.parts import load_parts
    from qhead.errors import InputError, TrainingInterrupted
    from qhead.finetuning.finetuning import Finetuning
    from qhead.finetuning.options import FinetuningOptions
    from qhead.progress import training_bar
    from qhead.saving.folder import check_destination
    from qhead.training_run import save_beside

    options = FinetuningOptions(**given)
    plan_options = None
    if is_device(target):
        plan_options = PlanOptions.of(tiles=parse_tiles(tiles), seed=seed, **planning)
        check_budget(budget, local=dry_run or not parse_device(target, account.open()).charges)
    elif planning or tiles is not None:
        raise InputError(
            "Shots, tiles, jobs and mitigation are planned for devices, such as fake:NAME or "
            "ibm:NAME. Leave their options out; shots may stand in the target."
        )
    if out is None and not dry_run:
        raise InputError("--out is missing: name a folder for the new model, or use --dry-run.")
    if out is not None:
        check_destination(out, overwrite=force)
    parts = load_parts(
        data,
        text_column=columns.text_column,
        label_column=columns.label_column,
        skip_empty=columns.skip_empty,
        per_class=per_class,
        validation_fraction=validation_fraction,
        test_fraction=0.0,
        seed=seed,
    )
    for note in parts.remarks:
        complain("Note", note)
    classifier = encoder.model(model)
    tuning = Finetuning(
        classifier,
        **_sentences(parts, classifier),
        target=target,
        options=options,
        plan_options=plan_options,
        account=account.open(),
        seed=seed,
    )
    if dry_run or out is None:
        price = tuning.price()
        show(price.as_dict(), str(price), json=json)
        return
    place = checkpoint
    if place is None and is_device(target):
        place = out.with_name(f"{out.name}.checkpoint")
    try:
        with naming_the_run(), training_bar(f"training on {target}") as progress:
            tuning.run(budget=budget, checkpoint=place, progress=progress)
    except (TrainingInterrupted, HardwareError) as error:
        _keep_what_there_is(tuning, classifier, out, resumable=place is not None)
        if isinstance(error, TrainingInterrupted):
            raise typer.Exit(INTERRUPTED) from None
        raise
    saved = save_beside(classifier, out, overwrite=force)
    if checkpoint is None and place is not None:
        for path in (place, place.with_name(f"{place.name}.steps")):
            path.unlink(missing_ok=True)
    _show(tuning, saved, json=json)


def _sentences(parts: Parts, model: TextClassifier) -> dict[str, Any]:
    """Return texts, labels and validation of a data set, the labels of the model's own type."""
    from qhead.data.parts import align_labels

    train = align_labels(parts.train, model.classes_)
    held = parts.validation and align_labels(parts.validation, model.classes_)
    validation = (held.texts, held.labels) if held else None
    return {"texts": train.texts, "labels": train.labels, "validation": validation}


def _keep_what_there_is(
    tuning: Finetuning, model: TextClassifier, out: Path, *, resumable: bool
) -> None:
    """Save the best weights of a training that ended early beside the place of the whole one."""
    from qhead.files import free_name

    if tuning.result is None or not tuning.result.history:
        return
    place = free_name(out, "interrupted")
    model.save(place)
    complain(
        "Interrupted",
        f"training stopped after epoch {len(tuning.result.history)}. The model with the best "
        f"weights so far is saved in {place}."
        + (" The same command carries on." if resumable else ""),
    )


def _show(tuning: Finetuning, place: Path, *, json: bool) -> None:
    """Print the course of the training."""
    from hardware.words import counted
    from qhead.cli.show import percent, show

    result = tuning.result
    assert result is not None
    epochs = counted(len(result.history), "epoch")
    lines = [f"trained on {result.target}: {epochs}"]
    if result.start_loss is not None and result.start_accuracy is not None:
        lines.append(
            f"validation there, before: {percent(result.start_accuracy)}, loss "
            f"{result.start_loss:.4f}"
        )
        lines += [
            f"after epoch {each.epoch}: {percent(each.validation_accuracy)}, loss "
            f"{each.validation_loss:.4f}"
            for each in result.history
            if each.validation_accuracy is not None
        ]
    kept = f"kept the weights after epoch {result.best_epoch}"
    lines.append(kept if result.best_epoch else "no epoch is better: the weights stay as they were")
    if result.used_seconds is not None:
        lines.append(f"{counted(len(result.runs), 'run')}, {result.used_seconds:.1f} QPU seconds")
    show({"model": str(place), **result.as_dict()}, *lines, f"model: {place}", json=json)
