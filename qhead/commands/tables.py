"""Tables on a screen of any width: as a list where the columns have no room."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

#: Wider than any table.
_UNBOUNDED = 100_000


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
