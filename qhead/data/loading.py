"""Data sets by name: which columns hold text and label, and is every value usable."""

from __future__ import annotations

import difflib
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from hardware.errors import did_you_mean
from qhead.data.labels import read_labels
from qhead.data.readers import (
    SUFFIXES,
    Pick,
    Record,
    check_file,
    decode,
    kind_of,
    lines_of,
    read_records,
    read_text,
    unit_of,
    without_blank_end,
)
from qhead.data.sources import DEMO_NAMES, find_files, source_name, split_name
from qhead.data.texts import (
    MAX_CHARACTERS,
    LabelledTexts,
    check_text,
    is_empty,
    ranges,
    shown,
)
from qhead.errors import DataError

#: Names under which text and label are found, in order of preference, when none is given.
TEXT_COLUMNS = ("text", "sentence", "question", "review", "content")
LABEL_COLUMNS = ("label", "labels", "class", "target", "category", "sentiment", "stars")

_PLAIN_SUFFIXES = (".txt", "")

_log = logging.getLogger(__name__)


def load_texts(
    source: str | os.PathLike[str],
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    split: str | None = None,
    max_characters: int = MAX_CHARACTERS,
    skip_empty: bool = False,
) -> LabelledTexts:
    """Load one labelled data set.

    Labels are int64 if every one is an integer (1 or 1.0), strings otherwise; booleans are the
    strings ``True`` and ``False``. The rule is the same for all formats.

    Args:
        source: A CSV, TSV, JSONL, JSON or Parquet file (all but Parquet also gzipped), a folder of
            splits, a Hub data set (``owner/name``), or ``demo:reviews``, ``demo:support``.
        text_column: Column of the sentences; None looks for `TEXT_COLUMNS`.
        label_column: Column of the labels; None looks for `LABEL_COLUMNS`.
        split: ``train``, ``validation`` (or ``dev``, ``val``, ``eval``) or ``test``; None where
            there is only one.
        max_characters: Longest text allowed.
        skip_empty: Leave rows without a text out, and log how many; otherwise they are an error.

    Raises:
        DataError: With file and line: what cannot be read, is empty, too long or ragged.
    """
    files = find_files(source)
    if split is None and len(files) > 1:
        raise DataError(
            f"{source}: expected a choice among the splits {shown(files)}. Name one (split), or "
            "load them all with load_splits."
        )
    chosen = next(iter(files)) if split is None else split_name(split)
    if chosen not in files:
        hint = did_you_mean(chosen, files)
        raise DataError(
            f"{source}: expected one of the splits {shown(files)}, got {split!r}.{hint}"
        )
    columns = (text_column, label_column)
    return _load_files(files[chosen], _demo_name(source), columns, max_characters, skip_empty)


def _demo_name(source: str | os.PathLike[str]) -> str | None:
    return str(source) if str(source) in DEMO_NAMES else None


def load_splits(
    source: str | os.PathLike[str],
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    max_characters: int = MAX_CHARACTERS,
    skip_empty: bool = False,
) -> dict[str, LabelledTexts]:
    """Load all splits of a data set, in the order train, validation, test.

    A single file is the one split ``train``. Arguments and errors are those of `load_texts`; labels
    that are integers in one split and strings in another are an error too.
    """
    columns = (text_column, label_column)
    splits = {
        split: _load_files(files, _demo_name(source), columns, max_characters, skip_empty)
        for split, files in find_files(source).items()
    }
    if len({data.labels.dtype.kind for data in splits.values()}) > 1:
        kinds = {
            split: "integers" if data.labels.dtype.kind == "i" else "strings"
            for split, data in splits.items()
        }
        raise DataError(f"{source}: expected labels of one kind in all splits, got {kinds}.")
    sizes = ", ".join(f"{len(data)} in {split}" for split, data in splits.items())
    _log.debug("%s: read %s", source, sizes)
    return splits


def load_split(
    source: str,
    split: str | None = None,
    columns: tuple[str | None, str | None] = (None, None),
    *,
    skip_empty: bool = False,
) -> LabelledTexts:
    """Load one split of a data set: the one named, else ``test``, else the only one."""
    text_column, label_column = columns
    splits = load_splits(
        source, text_column=text_column, label_column=label_column, skip_empty=skip_empty
    )
    name = split_name(split) if split else ("test" if "test" in splits else next(iter(splits)))
    if name not in splits or (split is None and name != "test" and len(splits) > 1):
        problem = f"{source} has several splits"
        if split:
            problem = f"{source} has no split {split!r}.{did_you_mean(name, splits)} Its splits are"
        advice = f"Choose one, e.g. split={next(iter(splits))!r}."
        raise DataError(f"{problem}: {shown(splits)}. {advice}", options=["split"])
    return splits[name]


def load_unlabelled(
    source: str | os.PathLike[str] | IO[str] | IO[bytes],
    *,
    text_column: str | None = None,
    max_characters: int = MAX_CHARACTERS,
    skip_empty: bool = False,
) -> tuple[str, ...]:
    """Load sentences without labels.

    Args:
        source: A data file as for `load_texts`, a demo set, a plain text file (``.txt``,
            ``.txt.gz`` or no ending) or a stream with one sentence a line; ``-`` is the standard
            input.
        text_column: Column of the sentences; None looks for `TEXT_COLUMNS`.
        max_characters: Longest text allowed.
        skip_empty: Leave empty texts out, and log how many; otherwise they are an error.

    Raises:
        DataError: As for `load_texts`. In plain text every line is a sentence; blank lines at the
            end are none.
    """
    options: dict[str, Any] = {"max_characters": max_characters, "skip_empty": skip_empty}
    if not isinstance(source, str | os.PathLike) and hasattr(source, "read"):
        return _plain_lines(source.read(), getattr(source, "name", "stream"), **options)
    named = source_name(source)
    if named == "-":
        return _plain_lines(_standard_input(), "standard input", **options)
    path = Path(named)
    if not named.startswith("demo:"):
        if kind_of(path) in _PLAIN_SUFFIXES:
            check_file(path)
            return _plain_lines(read_text(path), str(path), **options)
        if kind_of(path) not in SUFFIXES:
            raise DataError(
                f"{path}: expected a file ending in {', '.join(SUFFIXES)} or .txt, got "
                f"{path.suffix!r}. Convert the file or rename it."
            )
    (path,) = find_files(named)["train"]
    records = read_records(path, _picker({"text": (text_column, TEXT_COLUMNS)}))
    return _sentences(records, str(path), unit_of(path), **options)


def _standard_input() -> bytes:
    return standard_input().read()


def standard_input() -> BinaryIO:
    """Return the standard input; on a terminal, say that it is waited for.

    Raises:
        DataError: It is closed.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise DataError("Standard input is closed. Name a file of sentences, or pipe them in.")
    if sys.stdin.isatty():
        _log.info(
            "Reading sentences from the terminal, one per line; end with Ctrl-D on a new line."
        )
    return sys.stdin.buffer


def _load_files(
    paths: Sequence[Path],
    name: str | None,
    columns: tuple[str | None, str | None],
    max_characters: int,
    skip_empty: bool,
) -> LabelledTexts:
    """Read the shards of one split. Labels are parsed over all of them together."""
    text_column, label_column = columns
    pick = _picker({"text": (text_column, TEXT_COLUMNS), "label": (label_column, LABEL_COLUMNS)})
    texts, labels, places, positions = [], [], [], []
    for path in paths:
        unit = unit_of(path)
        records = _with_text(read_records(path, pick), str(path), unit, skip_empty)
        for position, (text, label) in records:
            place = f"{path}, {unit} {position}"
            texts.append(check_text(text, place, max_characters=max_characters))
            labels.append(label)
            places.append(place)
            positions.append(position)
    single = np.array(positions) if len(paths) == 1 else None  # lines of shards would be ambiguous
    source = name or ", ".join(map(str, paths))
    return LabelledTexts(
        tuple(texts), read_labels(labels, places), source, single, unit_of(paths[0])
    )


def _with_text(
    records: Sequence[Record], name: str, unit: str, skip_empty: bool
) -> Sequence[Record]:
    """Return the records that have a text, the first value of each.

    Raises:
        DataError: Some have none and are not to be skipped, all of them named; or none has one.
    """
    empty = [each.position for each in records if not each.values or is_empty(each.values[0])]
    if not empty:
        return records
    where = f"{unit}{'s' if len(empty) > 1 else ''} {ranges(empty)}"
    if not skip_empty:
        what = "the text is empty" if len(empty) == 1 else f"{len(empty)} texts are empty"
        raise DataError(
            f"{name}, {where}: {what}. Fill in or delete what is empty, or leave it out "
            "(skip_empty).",
            options=["skip_empty"],
        )
    if len(empty) == len(records):
        raise DataError(f"{name}: all {len(records)} texts are empty.")
    _log.info("Left out %d of %d texts of %s, which are empty: %s.", len(empty), len(records),
              name, where)  # fmt: skip
    left_out = set(empty)
    return [each for each in records if each.position not in left_out]


def _sentences(
    records: Sequence[Record], name: str, unit: str, *, max_characters: int, skip_empty: bool
) -> tuple[str, ...]:
    """Return the texts of records, the first value of each."""
    return tuple(
        check_text(values[0], f"{name}, {unit} {position}", max_characters=max_characters)
        for position, values in _with_text(records, name, unit, skip_empty)
    )


def _picker(wanted: dict[str, tuple[str | None, Sequence[str]]]) -> Pick:
    """Return a function that finds the wanted columns: by the name given, else by usual names."""

    def pick(columns: Sequence[str], place: str) -> tuple[str, ...]:
        names = tuple(_find(columns, place, role, *choice) for role, choice in wanted.items())
        if len(set(names)) < len(names):
            raise DataError(f"{place}: expected two columns, got {names[0]!r} for text and label.")
        for name in names:
            if columns.count(name) > 1:
                raise DataError(f"{place}: the column {name!r} occurs twice. Rename one.")
        return names

    return pick


def _find(
    columns: Sequence[str], place: str, role: str, name: str | None, usual: Sequence[str]
) -> str:
    if name is not None:
        if name not in columns:
            hint = did_you_mean(name, columns)
            raise DataError(
                f"{place}: expected a column {name!r}, got the columns {shown(columns)}.{hint}"
            )
        return name
    found = next((candidate for candidate in usual if candidate in columns), None)
    if found is None:
        raise DataError(
            f"{place}: expected a {role} column ({', '.join(usual)}), got the columns "
            f"{shown(columns)}.{_nearest(usual, columns)} Name the column ({role}_column); the "
            "first line of a CSV or TSV file holds the names.",
            options=[f"{role}_column"],
        )
    return found


def _nearest(usual: Iterable[str], columns: Sequence[str]) -> str:
    """Return a hint at the first column that a usual name resembles, more than any other role's."""
    known = (*TEXT_COLUMNS, *LABEL_COLUMNS)
    for column in columns:
        if set(difflib.get_close_matches(column.lower(), known, n=1)) & set(usual):
            return f" Did you mean {column!r}?"
    return ""


def _plain_lines(
    data: str | bytes, name: str, *, max_characters: int, skip_empty: bool
) -> tuple[str, ...]:
    text = decode(data, str(name)) if isinstance(data, bytes) else data
    lines = enumerate(lines_of(text), start=1)
    records = [Record(i, (line.removesuffix("\r"),) if line.strip() else ()) for i, line in lines]
    records = without_blank_end(records)
    if not records:
        raise DataError(f"{name} is empty. Give one sentence per line.")
    return _sentences(records, name, "line", max_characters=max_characters, skip_empty=skip_empty)
