"""Rows of CSV, TSV, JSONL, JSON and Parquet files, with the line on which each one begins.

Each reader is given a function that picks columns by name once the columns are known, and returns
`Record`s. What cannot be read is a `DataError` that names file and line.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qhead.data.texts import shown
from qhead.errors import DataError

#: Told all columns and where their names stand, returns the names of those to read.
Pick = Callable[[Sequence[str], str], tuple[str, ...]]


#: Ending of a file that is gzipped.
GZIP = ".gz"

#: Separators of columns, in the order in which they are tried.
_MARKS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}

_FIELD_LIMIT = threading.Lock()


class Record(NamedTuple):
    """One row: where it begins in its file, and the values of the picked columns."""

    position: int  # line (Parquet, JSON: row), from 1
    values: tuple[Any, ...]  # () for a blank line


def read_records(path: Path, pick: Pick) -> list[Record]:
    """Read the picked columns of a file, by its suffix; all but Parquet may be gzipped (``.gz``).

    CSV is read as in RFC 4180 (quotes may hold commas and line breaks); the separator is the first
    of comma, semicolon, tab and vertical bar that cuts the wanted columns out of the line of names.
    TSV is read as its registration (text/tab-separated-values) has it: quotes are characters like
    any other, so a field holds neither tabs nor line breaks. JSONL is one object a line. JSON is an
    array of objects, or an object of columns; one object a line under that name is read as JSONL.
    Lines end in ``\\n``, ``\\r\\n`` or, in files of old Macs, ``\\r``.

    Raises:
        DataError: Missing or empty file, unsupported suffix, bytes that are not UTF-8, NUL, wrong
            columns, a row with too few or too many fields.
    """
    reader = _READERS.get(kind_of(path))
    if reader is None:
        raise DataError(
            f"{path}: expected a file ending in {', '.join(SUFFIXES)} (or .csv.gz and so on), got "
            f"{path.suffix or 'no ending'!r}. Convert the file or rename it."
        )
    check_file(path)
    records = reader(path, pick)
    if not records:
        raise DataError(f"{path} has column names but no rows.")
    return records


def kind_of(path: Path) -> str:
    """Return a file's suffix in lower case, ``.gz`` left out: ``.csv`` of ``Train.CSV.gz``."""
    name = Path(path.name.lower())
    inner = Path(name.stem).suffix
    return inner if name.suffix == GZIP and inner != ".parquet" else name.suffix


def unit_of(path: str | Path) -> str:
    """Return what `Record.position` counts in a file: lines or rows."""
    return "row" if kind_of(Path(path)) in (".parquet", ".json") else "line"


def check_file(path: Path) -> None:
    """Raise `DataError` unless `path` is a file that holds something."""
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder, not a file.")
        if path.stat().st_size == 0:
            raise DataError(f"{path}: the file is empty.")
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist. Check the path.") from error
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
    """Return the text of a UTF-8 file, gzipped or not, line ends as they are."""
    try:
        data = path.read_bytes()
        if path.suffix.lower() == GZIP:
            data = gzip.decompress(data)
        return decode(data, str(path))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the gzipped file is damaged or incomplete: {error}.") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error


def lines_of(text: str) -> list[str]:
    """Return a text's lines; one without any ``\\n`` is cut at ``\\r``, as old Macs wrote it."""
    return text.split("\n" if "\n" in text else "\r")


def _read_csv(path: Path, pick: Pick) -> list[Record]:
    text = read_text(path)
    with _fields_up_to(len(text)):
        mark = _separator(text, pick)
        return _read_delimited(path, text, pick, delimiter=mark, quoting=csv.QUOTE_MINIMAL)


@contextlib.contextmanager
def _fields_up_to(length: int) -> Iterator[None]:
    """Let csv read fields of that length: which text is too long, this package says itself."""
    with _FIELD_LIMIT:  # csv has one limit for the whole process
        before = csv.field_size_limit()
        csv.field_size_limit(max(before, length))
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _separator(text: str, pick: Pick) -> str:
    """Return the separator with which the names of the wanted columns stand in the first line.

    Where none gives them all, it is the one that gives the most columns.
    """
    columns = {mark: _header(text, mark) for mark in _MARKS}
    for mark, names in columns.items():
        with contextlib.suppress(DataError):
            pick(names, "")
            return mark
    return max(columns, key=lambda mark: len(columns[mark]))


def _header(text: str, mark: str) -> list[str]:
    """Return the names in the first line that is not empty, none if they cannot be read."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    try:
        return next(filter(None, rows), [])
    except csv.Error:
        return []


def _read_tsv(path: Path, pick: Pick) -> list[Record]:
    text = read_text(path)
    with _fields_up_to(len(text)):
        mark = _separator(text, pick)
        if mark != "\t" and len(_header(text, mark)) > 1 and "\t" not in lines_of(text)[0]:
            raise DataError(
                f"{path}, line 1: expected columns separated by tabs, got {_MARKS[mark]}s. Rename "
                "the file to .csv."
            )
        return _read_delimited(path, text, pick, delimiter="\t", quoting=csv.QUOTE_NONE)


def _read_delimited(
    path: Path, text: str, pick: Pick, *, delimiter: str, quoting: Any
) -> list[Record]:
    stream = io.StringIO(text, newline="")
    rows = csv.reader(stream, delimiter=delimiter, quoting=quoting, strict=True)
    header: list[str] | None = None
    chosen: list[int] = []
    records: list[Record] = []
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
            records.append(Record(position, ()))
            continue
        if header is None:
            if records:
                raise DataError(f"{path}, line 1: the line is empty. Delete it.")
            header = row
            place = f"{path}, line {position}"
            chosen = [header.index(name) for name in pick(header, place)]
            continue
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {position}: expected {len(header)} fields ({shown(header)}), got "
                f"{len(row)}. {_ragged_hint(delimiter, quoting)}"
            )
        records.append(Record(position, tuple(row[index] for index in chosen)))
    if header is None:
        raise DataError(f"{path}: the file holds nothing but line breaks.")
    return without_blank_end(records)


def without_blank_end(records: list[Record]) -> list[Record]:
    """Return records without the blank lines at the end of their file."""
    end = len(records)
    while end and not records[end - 1].values:
        end -= 1
    return records[:end]


def _ragged_hint(delimiter: str, quoting: Any) -> str:
    if quoting != csv.QUOTE_NONE:
        return f'Put a text that holds a {_MARKS[delimiter]} in "quotes".'
    return "A text in a TSV file holds neither tabs nor line breaks: write CSV or JSONL for those."


def _read_jsonl(path: Path, pick: Pick) -> list[Record]:
    return _read_json_lines(path, read_text(path), pick)


def _read_json_lines(path: Path, text: str, pick: Pick) -> list[Record]:
    names: tuple[str, ...] | None = None
    records = []
    for position, line in enumerate(lines_of(text), start=1):
        if not line.strip():
            records.append(Record(position, ()))
            continue
        place = f"{path}, line {position}"
        try:
            item = json.loads(line, object_pairs_hook=_unique_keys)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{place}: expected one JSON object a line: {error.msg} at column {error.colno}."
            ) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{place}: {error}.") from error
        names = names or _picked_from(item, pick, place)
        records.append(_json_record(position, item, names, place))
    return without_blank_end(records)


def _picked_from(item: Any, pick: Pick, place: str) -> tuple[str, ...]:
    if not isinstance(item, dict):
        raise DataError(f"{place}: expected a JSON object, got {type(item).__name__}.")
    return pick(list(item), place)


def _json_record(position: int, item: Any, names: tuple[str, ...], place: str) -> Record:
    if not isinstance(item, dict):
        raise DataError(f"{place}: expected a JSON object, got {type(item).__name__}.")
    missing = [name for name in names if name not in item]
    if missing:
        raise DataError(f"{place}: expected the field {missing[0]!r}, got {shown(item)}.")
    return Record(position, tuple(item[name] for name in names))


def _read_json(path: Path, pick: Pick) -> list[Record]:
    text = read_text(path)
    try:
        whole = json.loads(text, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # a second object: one a line
            return _read_json_lines(path, text, pick)
        raise DataError(
            f"{path}, line {error.lineno}: not JSON: {error.msg} at column {error.colno}."
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: {error}.") from error
    if isinstance(whole, dict):
        return _read_json_columns(path, whole, pick)
    if not isinstance(whole, list):
        raise DataError(
            f"{path}: expected an array of objects, or an object of columns, got "
            f"{type(whole).__name__}."
        )
    names: tuple[str, ...] | None = None
    records = []
    for position, item in enumerate(whole, start=1):
        place = f"{path}, row {position}"
        names = names or _picked_from(item, pick, place)
        records.append(_json_record(position, item, names, place))
    return records


def _read_json_columns(path: Path, columns: dict[str, Any], pick: Pick) -> list[Record]:
    """Read ``{"text": [...], "label": [...]}``, or pandas' ``{"text": {"0": ...}, ...}``."""
    names = pick(list(columns), str(path))
    for name in names:
        if not isinstance(columns[name], list | dict):
            raise DataError(
                f"{path}: expected an array of objects, or an object of columns; the column "
                f"{name!r} is a single {type(columns[name]).__name__}."
            )
    keys = [list(c) if isinstance(c := columns[name], dict) else len(c) for name in names]
    if any(each != keys[0] for each in keys):
        raise DataError(f"{path}: the columns {shown(names)} have different rows.")
    values = [c.values() if isinstance(c := columns[name], dict) else c for name in names]
    return [Record(row, item) for row, item in enumerate(zip(*values, strict=True), start=1)]


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    item = dict(pairs)
    if len(item) != len(pairs):
        raise ValueError("a key occurs twice in one JSON object")
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
    ".json": _read_json,
    ".parquet": _read_parquet,
}
SUFFIXES = tuple(_READERS)
