"""Rows of CSV, TSV, JSONL and Parquet files, with the line on which each one begins.

Each reader is given a function that picks columns by name once the columns are known, and returns
`Record`s. What cannot be read is a `DataError` that names file and line.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qhead.data.texts import shown
from qhead.errors import DataError

#: Told all columns and where their names stand, returns the names of those to read.
Pick = Callable[[Sequence[str], str], tuple[str, ...]]


class Record(NamedTuple):
    """One row: where it begins in its file, and the values of the picked columns."""

    position: int  # line (Parquet: row), from 1
    values: tuple[Any, ...]


def read_records(path: Path, pick: Pick) -> list[Record]:
    """Read the picked columns of a file, by its suffix.

    CSV is read as in RFC 4180 (quotes may hold commas and line breaks). TSV is read as its
    registration (text/tab-separated-values) has it: quotes are characters like any other, so a
    field holds neither tabs nor line breaks. JSONL is one object a line.

    Raises:
        DataError: Missing or empty file, unsupported suffix, bytes that are not UTF-8, NUL, wrong
            columns, a row with too few or too many fields.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: expected a file ending in {', '.join(_READERS)}, got "
            f"{path.suffix or 'no ending'!r}. Convert the file or rename it."
        )
    check_file(path)
    records = reader(path, pick)
    if not records:
        raise DataError(f"{path}: expected at least one row below the column names, got none.")
    return records


def check_file(path: Path) -> None:
    """Raise `DataError` unless `path` is a file that holds something."""
    try:
        if path.is_dir():
            raise DataError(f"{path}: expected a file, got a folder.")
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty.")
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file. Check the path.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error


def decode(data: bytes, name: str) -> str:
    """Return UTF-8 bytes as text, without a byte order mark.

    Raises:
        DataError: The bytes are not UTF-8 or hold NUL; the message has line and byte offset.
    """
    hint = "Save the file as UTF-8"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        hint = "It looks like UTF-16: save it as UTF-8"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name}, line {line}: expected UTF-8, got byte 0x{data[error.start]:02x} at offset "
            f"{error.start}. {hint}."
        ) from error
    if "\0" in text:
        offset = data.index(b"\0")
        line = data.count(b"\n", 0, offset) + 1
        raise DataError(f"{name}, line {line}: NUL byte at offset {offset}. Is this a text file?")
    return text.removeprefix("\ufeff")


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, line ends as they are."""
    try:
        return decode(path.read_bytes(), str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error


def _read_csv(path: Path, pick: Pick) -> list[Record]:
    return _read_delimited(path, pick, delimiter=",", quoting=csv.QUOTE_MINIMAL)


def _read_tsv(path: Path, pick: Pick) -> list[Record]:
    return _read_delimited(path, pick, delimiter="\t", quoting=csv.QUOTE_NONE)


def _read_delimited(path: Path, pick: Pick, *, delimiter: str, quoting: Any) -> list[Record]:
    stream = io.StringIO(read_text(path), newline="")
    rows = csv.reader(stream, delimiter=delimiter, quoting=quoting, strict=True)
    header: list[str] | None = None
    chosen: list[int] = []
    records: list[Record] = []
    blank: int | None = None
    while True:
        position = rows.line_num + 1  # a record may span lines: this is its first
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise DataError(
                f"{path}, line {position}: {error}. In CSV a text with a comma, a quote or a line "
                'break stands in "quotes", and a quote inside them is doubled.'
            ) from error
        if row is None:
            break
        if not row:
            blank = blank or position
            continue
        if blank is not None:  # empty lines are allowed at the end of a file only
            raise DataError(f"{path}, line {blank}: the line is empty. Delete it.")
        if header is None:
            header = row
            place = f"{path}, line {position}"
            chosen = [header.index(name) for name in pick(header, place)]
            continue
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {position}: expected {len(header)} fields ({shown(header)}), got "
                f"{len(row)}. {_ragged_hint(delimiter)}"
            )
        records.append(Record(position, tuple(row[index] for index in chosen)))
    if header is None:
        raise DataError(f"{path}: the file is empty but for line breaks.")
    return records


def _ragged_hint(delimiter: str) -> str:
    if delimiter == ",":
        return 'Put a text that holds a comma in "quotes".'
    return "A text in a TSV file holds neither tabs nor line breaks: write CSV or JSONL for those."


def _read_jsonl(path: Path, pick: Pick) -> list[Record]:
    lines = read_text(path).split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    names: tuple[str, ...] | None = None
    records = []
    for position, line in enumerate(lines, start=1):
        place = f"{path}, line {position}"
        try:
            item = json.loads(line, object_pairs_hook=_unique_keys)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{place}: expected one JSON object a line: {error.msg} at column {error.colno}."
            ) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}: {error}.") from error
        if not isinstance(item, dict):
            raise DataError(f"{place}: expected a JSON object, got {type(item).__name__}.")
        if names is None:
            names = pick(list(item), place)
        missing = [name for name in names if name not in item]
        if missing:
            raise DataError(f"{place}: expected the field {missing[0]!r}, got {shown(item)}.")
        records.append(Record(position, tuple(item[name] for name in names)))
    return records


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    item = dict(pairs)
    if len(item) != len(pairs):
        raise ValueError("a key stands twice in one JSON object")
    return item


def _read_parquet(path: Path, pick: Pick) -> list[Record]:
    # Imported here: half a second that readers of text files need not wait.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            columns = list(file.schema_arrow.names)
            names = pick(columns, str(path))
            table = file.read(columns=list(dict.fromkeys(names)))
            values = [table.column(name).to_pylist() for name in names]
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}.") from error
    return [Record(row, item) for row, item in enumerate(zip(*values, strict=True), start=1)]


_READERS: dict[str, Callable[[Path, Pick], list[Record]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}
SUFFIXES = tuple(_READERS)
