"""Predicted rows as CSV, JSONL or one JSON object."""

from __future__ import annotations

import csv
import json as json_text
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from hardware.words import counted
from qhead.cli.guard import complain
from qhead.cli.options import RowsOut
from qhead.cli.show import output, print_json
from qhead.cli.terminal import encoding_of, holds, is_unicode

# What spreadsheets take for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBERS = {"probability": ".6g", "std_error": ".3g"}


def write_rows(
    rows: Iterable[Mapping[str, Any]],
    place: RowsOut,
    about: Mapping[str, Any],
    *,
    fields: Sequence[str],
    notes: Sequence[str],
    json: bool,
    live: bool = False,
) -> None:
    """Write rows, whole or not at all, and say what must be known about them.

    Args:
        rows: One mapping of the fields each; None is an empty cell, or null.
        place: Where to, and in which format.
        about: What the one JSON object holds beside the rows.
        fields: Columns, in order.
        notes: On the rows; complete when the last row is.
        json: Write one JSON object in place of the format.
        live: Hand on every row at once.
    """
    with output(place.out) as file:
        if json:
            found = list(rows)
            print_json({**about, "predictions": found, "notes": list(notes)}, file)
            return
        if place.format == "jsonl":
            plain = not is_unicode(file)
            for row in rows:
                file.write(json_text.dumps(row, ensure_ascii=plain, allow_nan=False) + "\n")
                if live:
                    file.flush()
        else:
            _write_csv(file, rows, fields, raw=place.raw, live=live)
    for note in notes:
        complain("Note", note)


def _write_csv(
    file: IO[str],
    rows: Iterable[Mapping[str, Any]],
    fields: Sequence[str],
    *,
    raw: bool,
    live: bool,
) -> None:
    plain = not is_unicode(file)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(fields)
    if live:
        file.flush()
    escaped = spelled = 0
    for row in rows:
        cells = [row[field] for field in fields]
        if plain:
            spelled += sum(isinstance(cell, str) and not holds(cell, file) for cell in cells)
        if not raw:
            escaped += sum(_is_formula(cell) for cell in cells)
            cells = ["'" + cell if _is_formula(cell) else cell for cell in cells]
        writer.writerow(list(_spelled(fields, cells)))
        if live:
            file.flush()
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
