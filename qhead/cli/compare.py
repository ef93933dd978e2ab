"""``qhead compare``: heads on the user's own data, with paired intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qhead.cli.guard import complain
from qhead.cli.options import Columns, Data, Json, NewEncoder, PerClass, Seed, choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from qhead.studies.comparison import HeadScore


def compare(
    data: Data,
    columns: Columns,
    encoder: NewEncoder,
    heads: Annotated[
        str,
        typer.Option(
            "--heads",
            metavar="WORDS",
            help="Names with commas between them: quantum, mlp, reduced_mlp (as many parameters as "
            "quantum), inspired, linear (logistic regression) or svc. The others are compared "
            "with the first.",
        ),
    ] = "quantum,mlp,reduced_mlp,inspired,linear",
    seeds: Annotated[
        int, typer.Option("--seeds", help="Number of splits to train and test on.", min=2)
    ] = 5,
    per_class: PerClass = None,
    test_fraction: Annotated[
        float | None,
        choice(
            "--test-fraction",
            "Fraction held out for testing, if DATA has no test split; default: 0.25.",
        ),
    ] = None,
    control: Annotated[
        bool,
        typer.Option(
            "--control", help="Repeat with shuffled training labels: heads must score chance."
        ),
    ] = False,
    seed: Seed = 0,
    json: Json = False,
) -> None:
    """Compare heads on your data: the same splits for all, accuracy differences with intervals."""
    from qhead.cli.show import percent, show
    from qhead.data.parts import load_training_splits
    from qhead.errors import InputError
    from qhead.studies.comparison import compare_on, comparison_notes, head_makers

    if per_class is not None and test_fraction is not None:
        raise InputError(
            "Use either --test-fraction or --per-class, which tests on the other sentences."
        )
    head_makers(heads.split(","))  # refuses unknown names before anything is read
    parts = load_training_splits(
        data,
        text_column=columns.text_column,
        label_column=columns.label_column,
        skip_empty=columns.skip_empty,
    )
    for note in comparison_notes(parts, per_class):
        complain("Note", note)
    found = compare_on(
        parts,
        heads.split(","),
        encoder.open(),
        seeds=range(seed, seed + seeds),
        per_class=per_class,
        test_fraction=0.25 if test_fraction is None else test_fraction,
        control=control,
    )
    first = found.rows[0]
    tables = [
        _table(
            found.rows,
            f"{parts.train.source}: {first.num_train} sentences to train on, {first.num_test} to "
            f"test on, {seeds} seeds",
        )
    ]
    if found.control:
        tables.append(_table(found.control, "the same with shuffled training labels"))
    show(
        found.as_dict(),
        *tables,
        "±: Student's 95 % interval over the seeds; differences are paired by seed.",
        f"The most frequent label alone scores {percent(found.chance)}.",
        json=json,
    )


def _table(rows: Sequence[HeadScore], title: str) -> Table:
    from qhead.cli.show import table
    from qhead.studies.comparison import summarise

    names = ["accuracy, %", f"− {rows[0].head}, %", "F1", "parameters", "training"]
    made = table(title, ["head"], names)
    for row in summarise(rows):
        gap = ""
        if row.difference is not None and row.difference_half_width is not None:
            gap = f"{100 * row.difference:+.1f} ± {100 * row.difference_half_width:.1f}"
        made.add_row(
            row.head,
            f"{100 * row.accuracy:.1f} ± {100 * row.accuracy_half_width:.1f}",
            gap,
            f"{row.f1:.3f} ± {row.f1_half_width:.3f}",
            f"{row.parameters:,}",
            f"{row.training_seconds:.2g} s",
        )
    return made
