"""Results on the terminal: tables of any width, lines and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.table import Table

from qhead.cli.terminal import is_unicode
from qhead.files import atomic_file

#: Wider than any table.
_UNBOUNDED = 100_000


def show(record: Mapping[str, Any], *parts: Table | str, json: bool) -> None:
    """Print the result of a verb.

    Args:
        record: The result for machines, JSON-able.
        parts: The result for people, in order: lines, and tables, which become lists on a screen
            that is too narrow for them.
        json: Print `record` as one JSON object in place of `parts`.
    """
    if json:
        print_json(record)
        return
    screen = console()
    for part in parts:
        if isinstance(part, Table):
            show_table(screen, part)
        else:
            screen.print(part, soft_wrap=True)


def print_json(value: Mapping[str, Any], file: IO[str] | None = None) -> None:
    """Print one JSON object to a file; None: standard output."""
    file = file or sys.stdout
    plain = not is_unicode(file)  # JSON can spell every character in ASCII
    file.write(json.dumps(value, indent=2, ensure_ascii=plain, allow_nan=False) + "\n")


@contextmanager
def output(path: Path | None) -> Iterator[IO[str]]:
    """Yield the file to write results to, whole or not there at all; None: standard output.

    Raises:
        InputError: The disk refuses.
    """
    if path is None:
        yield sys.stdout
        return
    with atomic_file(path) as file:
        yield file


def table(title: str, text: Iterable[str], numbers: Iterable[str] = (), **options: Any) -> Table:
    """Return an empty table: columns of text, then columns of numbers, which stand to the right."""
    made = Table(title=title, title_justify="left", caption_justify="left", **options)
    for name in text:
        made.add_column(name, overflow="fold")
    for name in numbers:
        made.add_column(name, justify="right")
    return made


def percent(fraction: float) -> str:
    """Return ``76.0 %``."""
    return f"{100 * fraction:.1f} %"


def interval(bounds: tuple[float, float]) -> str:
    """Return ``73.1 – 78.7 %``."""
    return f"{100 * bounds[0]:.1f} – {100 * bounds[1]:.1f} %"


def console() -> Console:
    """Return the console for results; labels are data, never markup."""
    if sys.stdout.isatty():
        return Console(markup=False, highlight=False)
    return _Pipe(markup=False, highlight=False, width=_UNBOUNDED)


class _Pipe(Console):
    """A console for a pipe or a file: no blanks at the ends of lines, and text is not wrapped.

    A table keeps its natural width: 80 columns would cut it.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        """Print without what only a screen needs."""
        whole = all(isinstance(item, str) for item in objects)
        with self.capture() as captured:
            super().print(*objects, **{"soft_wrap": whole, **options})
        lines = captured.get().split("\n")
        sys.stdout.write("\n".join(line.rstrip(" ") for line in lines))


def show_table(screen: Console, table: Table) -> None:
    """Print a table in its natural width, or as a list if the screen is narrower.

    No cell is cut or broken: numbers and run ids are copied from here.
    """
    title, caption = table.title, table.caption
    table.title = table.caption = None  # they would be wrapped to the table's width
    if title:
        screen.print(str(title), soft_wrap=True)
    if natural_width(screen, table) <= screen.width:
        screen.print(table)
    else:
        for line in _listed(table):
            screen.print(line, soft_wrap=True)
    if caption:
        screen.print(str(caption), soft_wrap=True)


def natural_width(screen: Console, table: Table) -> int:
    """Return the columns of the screen that a table takes if nothing is wrapped."""
    options = screen.options.update_width(_UNBOUNDED)
    return screen.measure(table, options=options).maximum


def _listed(table: Table) -> Iterator[str]:
    """Yield the lines of a list: a paragraph a row, and in it a line a cell with its column."""
    names = [str(column.header) for column in table.columns]
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        first, *rest = map(str, cells)
        if not table.show_header:
            yield f"{first}: {' '.join(rest)}"
            continue
        yield f"{names[0]} {first}" if names[0] else first
        yield from (f"  {name}: {cell}" for name, cell in zip(names[1:], rest, strict=True) if cell)
