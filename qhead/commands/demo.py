"""``qhead demo``: everything once, on the sentences that ship."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib
from rich.table import Table

from qhead.commands.common import interval, percent, show
from qhead.demonstration import DATA, Demonstration, demonstrate, demonstration_page
from qhead.errors import InputError
from qhead.model_folder import check_destination
from qhead.report.page import is_report, write

REPORT, MODEL = "report.html", "model"


def run(out: Path, *, seed: int, json: bool, cache: bool) -> None:
    """Train, rehearse, print one table and write `out`/report.html and `out`/model.

    Both are the demo's own and replaced by the next one; anything else is left alone.
    """
    matplotlib.use("agg")  # no window, wherever this runs
    page, folder = out / REPORT, out / MODEL
    if page.exists() and not is_report(page):
        raise InputError(
            f"{page} is not the report of an earlier demo and is not replaced. Choose another "
            "folder with --out."
        )
    check_destination(folder, overwrite=True)
    result = demonstrate(seed=seed, cache=cache)
    # The numbers first: what goes wrong with a file must not cost them.
    show(_as_dict(result, page, folder), _table(result), json=json)
    sys.stdout.flush()
    result.model.save(folder, overwrite=True)
    write(demonstration_page(result), page)
    if not json:
        print(f"report: {page}\nmodel:  {folder}")


def _table(result: Demonstration) -> Table:
    counts = result.counts
    table = Table(
        title=f"{DATA}: trained on {counts['train']} sentences, chosen on {counts['validation']}, "
        f"scored on {counts['test']}",
        caption="95 %: Wilson's interval of this test set. Undecided: labels too close to call "
        "at this shot count.",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("head")
    table.add_column("target")
    for name in ("parameters", "accuracy", "95 % interval", "undecided", "training", "scoring"):
        table.add_column(name, justify="right")
    for row in result.rows:
        e = row.evaluation
        table.add_row(
            row.name,
            e.target,
            str(row.parameters),
            percent(e.accuracy),
            interval(e.accuracy_interval),
            "" if e.target == "exact" else str(e.undecided),
            "" if row.training_seconds is None else f"{row.training_seconds:.1f} s",
            "" if row.seconds is None else f"{row.seconds:.1f} s",
        )
    return table


def _as_dict(result: Demonstration, page: Path, folder: Path) -> dict[str, Any]:
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
        "report": str(page),
        "model": str(folder),
    }
