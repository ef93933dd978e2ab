"""``qhead demo``: everything once, on the sentences that ship."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qhead.cli.options import Json, NoCache, Seed

if TYPE_CHECKING:
    from rich.table import Table

    from qhead.studies.demo import Demonstration

REPORT, MODEL = "report.html", "model"


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the report and the model.")] = Path(
        "qhead-demo"
    ),
    seed: Seed = 0,
    json: Json = False,
    no_cache: NoCache = False,
) -> None:
    """Train on built-in sentences, run them on every simulated target and write a report.

    Report and model are the demo's own and replaced by the next one; anything else is left alone.
    """
    import sys

    import matplotlib

    from qhead.cli.show import show
    from qhead.errors import InputError
    from qhead.report.page import is_report, write
    from qhead.saving.folder import check_destination
    from qhead.studies import demo

    matplotlib.use("agg")  # no window, wherever this runs
    page, folder = out / REPORT, out / MODEL
    if page.exists() and not is_report(page):
        raise InputError(
            f"{page} is not the report of an earlier demo and is not replaced. Choose another "
            "folder with --out."
        )
    check_destination(folder, overwrite=True)
    result = demo.demonstrate(seed=seed, cache=not no_cache)
    # The numbers first: what goes wrong with a file must not cost them.
    files = {"report": str(page), "model": str(folder)}
    show(_record(result) | files, _table(result), json=json)
    sys.stdout.flush()
    result.model.save(folder, overwrite=True)
    write(demo.demonstration_page(result), page)
    if not json:
        print(f"report: {page}\nmodel:  {folder}")


def _table(result: Demonstration) -> Table:
    from qhead.cli.show import interval, percent, table
    from qhead.studies.demo import DATA

    counts = result.counts
    made = table(
        f"{DATA}: trained on {counts['train']} sentences, chosen on {counts['validation']}, "
        f"scored on {counts['test']}",
        ["head", "target"],
        ["parameters", "accuracy", "95 % interval", "undecided", "training", "scoring"],
        caption="95 %: Wilson's interval of this test set. Undecided: labels too close to call "
        "at this shot count.",
    )
    for row in result.rows:
        e = row.evaluation
        made.add_row(
            row.name,
            e.target,
            f"{row.parameters:,}",
            percent(e.accuracy),
            interval(e.accuracy_interval),
            "" if e.target == "exact" else str(e.undecided),
            "" if row.training_seconds is None else f"{row.training_seconds:.1f} s",
            "" if row.seconds is None else f"{row.seconds:.1f} s",
        )
    return made


def _record(result: Demonstration) -> dict[str, Any]:
    from qhead.studies.demo import DATA

    rows = [
        {
            "head": row.name,
            "parameters": row.parameters,
            "training_seconds": row.training_seconds,
            **row.evaluation.as_dict(),
        }
        for row in result.rows
    ]
    return {
        "data": DATA,
        "counts": result.counts,
        "chance": result.chance,
        "seed": result.seed,
        "seconds": result.seconds,
        "rows": rows,
    }
