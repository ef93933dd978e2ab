"""What a report says, and the page that says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from qhead.evaluation import Evaluation
from qhead.files import atomic_file
from qhead.report.figures import Drawing


@dataclass(frozen=True)
class Row:
    """One line of the page's table: a head on a target."""

    name: str
    evaluation: Evaluation
    parameters: int | None
    seconds: float | None  # of the evaluation
    training_seconds: float | None = None
    subject: bool = False  # the head the page is about


@dataclass(frozen=True)
class Fact:
    """A name and a value: what was run, or a key figure."""

    name: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Emulation:
    """What acted on a target and what it leaves out."""

    target: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """A part of a page: sentences, a figure and a table, each of which may be missing."""

    title: str
    text: Sequence[str] = ()
    figure: str = ""  # SVG
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    caption: str = ""


@dataclass(frozen=True)
class Page:
    """All that stands on one report page; empty parts are left out of it."""

    title: str
    summary: str
    key_figures: Sequence[Fact] = ()
    rows: Sequence[Row] = ()
    rows_caption: str = ""
    accuracies: str = ""  # SVG
    curves: str = ""  # SVG
    confusions: Sequence[tuple[str, Evaluation]] = ()  # by name
    sections: Sequence[Section] = ()
    circuit: Drawing | None = None
    circuit_caption: str = ""
    emulations: Sequence[Emulation] = ()
    facts: Sequence[Fact] = field(default_factory=list)


def render(page: Page) -> str:
    """Return the page as self-contained HTML; every value is escaped, only figures are not."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("qhead.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "shade": _shade, "seconds": _seconds}
    return environment.get_template("page.html").render(page=page)


def write(page: Page, path: Path) -> None:
    """Write the page, whole or not at all."""
    text = render(page)
    with atomic_file(path) as file:
        file.write(text)


def is_report(path: Path) -> bool:
    """Return whether a file is a page that was written here."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return b'<meta name="generator" content="qhead">' in file.read(1000)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _shade(count: int, row: Sequence[int]) -> Any:
    """Return the share of a row in whole percent, as the strength of a cell's colour."""
    return round(100 * count / max(sum(row), 1))
