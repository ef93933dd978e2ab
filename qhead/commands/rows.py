"""Predicted rows as CSV or JSONL, and which rows are missing."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from hardware.errors import did_you_mean
from hardware.words import counted
from qhead.commands.guard import complain
from qhead.commands.terminal import encoding_of, holds, is_unicode
from qhead.errors import InputError

FORMATS = ("csv", "jsonl")

# What spreadsheets take for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBERS = {"probability": ".6g", "std_error": ".3g"}


def check_format(format: str) -> None:
    """Raise an `InputError` unless it is a format of rows."""
    if format not in FORMATS:
        raise InputError(
            f"Expected --format {' or '.join(FORMATS)}, got {format!r}."
            f"{did_you_mean(format, FORMATS)}"
        )


def write_rows(
    file: IO[str],
    rows: Iterable[Mapping[str, Any]],
    *,
    fields: Sequence[str],
    format: str,
    raw: bool,
) -> None:
    """Write rows; None is an empty cell, or null.

    Args:
        file: Where to.
        rows: One mapping of the fields each.
        fields: Columns, in order.
        format: csv or jsonl.
        raw: CSV: keep cells that a spreadsheet would run as formulas.
    """
    plain = not is_unicode(file)
    if format == "jsonl":
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=plain, allow_nan=False) + "\n")
        return
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(fields)
    escaped = spelled = 0
    for row in rows:
        cells = [row[field] for field in fields]
        if plain:
            spelled += sum(isinstance(cell, str) and not holds(cell, file) for cell in cells)
        if not raw:
            escaped += sum(_is_formula(cell) for cell in cells)
            cells = ["'" + cell if _is_formula(cell) else cell for cell in cells]
        writer.writerow(list(_spelled(fields, cells)))
    if escaped:
        complain(
            "Note",
            f"{counted(escaped, 'cell')} could run as a spreadsheet formula and got an apostrophe "
            "in front. --raw or --format jsonl leaves cells as they are.",
        )
    if spelled:
        complain(
            "Note",
            f"{counted(spelled, 'cell')} had characters that {encoding_of(file)} cannot hold; they "
            "are spelled in ASCII. --out FILE, --format jsonl and PYTHONIOENCODING=utf-8 keep "
            "them.",
        )


def _spelled(fields: Sequence[str], cells: Sequence[Any]) -> Iterator[Any]:
    for field, cell in zip(fields, cells, strict=True):
        if cell is None:
            yield ""
        elif field in _NUMBERS:
            yield format(cell, _NUMBERS[field])
        else:
            yield str(cell).lower() if isinstance(cell, bool) else cell


def _is_formula(cell: object) -> bool:
    """Return whether a spreadsheet would run this cell; an integer is a number to it."""
    return isinstance(cell, str) and cell.startswith(_FORMULA)
