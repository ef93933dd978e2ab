"""Data sets by name: which columns hold text and label, and is every value usable."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from hardware.errors import did_you_mean
from qhead.data.readers import SUFFIXES, Pick, check_file, decode, read_records, read_text
from qhead.data.sources import DEMO_NAMES, find_files
from qhead.data.texts import (
    MAX_CHARACTERS,
    LabelledTexts,
    check_label,
    check_text,
    parse_labels,
    shown,
)
from qhead.errors import DataError

#: Names under which text and label are found, in order of preference, when none is given.
TEXT_COLUMNS = ("text", "sentence", "question", "review", "content")
LABEL_COLUMNS = ("label", "labels", "class", "target", "category")

_PLAIN_SUFFIXES = (".txt", "")


def load_texts(
    source: str | os.PathLike[str],
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    split: str | None = None,
    max_characters: int = MAX_CHARACTERS,
) -> LabelledTexts:
    """Load one labelled data set.

    Labels are int64 if every one is written as an integer, strings otherwise ("1.0" is a string).

    Args:
        source: A CSV, TSV, JSONL or Parquet file, a folder of splits, a Hub data set
            (``owner/name``), or ``demo:reviews``, ``demo:support``.
        text_column: Column of the sentences; None looks for `TEXT_COLUMNS`.
        label_column: Column of the labels; None looks for `LABEL_COLUMNS`.
        split: ``train``, ``validation`` or ``test``; None where there is only one.
        max_characters: Longest text allowed.

    Raises:
        DataError: With file and line: what cannot be read, is empty, too long or ragged.
    """
    files = find_files(source)
    if split is None and len(files) > 1:
        raise DataError(
            f"{source}: expected a choice among the splits {shown(files)}. Name one (split), or "
            "load them all with load_splits."
        )
    chosen = next(iter(files)) if split is None else split
    if chosen not in files:
        hint = did_you_mean(chosen, files)
        raise DataError(
            f"{source}: expected one of the splits {shown(files)}, got {chosen!r}.{hint}"
        )
    name = str(source) if str(source) in DEMO_NAMES else None
    return _load_files(files[chosen], name, text_column, label_column, max_characters)


def load_splits(
    source: str | os.PathLike[str],
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    max_characters: int = MAX_CHARACTERS,
) -> dict[str, LabelledTexts]:
    """Load all splits of a data set, in the order train, validation, test.

    A single file is the one split ``train``. Arguments and errors are those of `load_texts`; labels
    that are integers in one split and strings in another are an error too.
    """
    splits = {
        split: load_texts(
            source,
            text_column=text_column,
            label_column=label_column,
            split=split,
            max_characters=max_characters,
        )
        for split in find_files(source)
    }
    if len({data.labels.dtype.kind for data in splits.values()}) > 1:
        kinds = {
            split: "integers" if data.labels.dtype.kind == "i" else "strings"
            for split, data in splits.items()
        }
        raise DataError(f"{source}: expected labels of one kind in all splits, got {kinds}.")
    return splits


def load_unlabelled(
    source: str | os.PathLike[str] | IO[str] | IO[bytes],
    *,
    text_column: str | None = None,
    max_characters: int = MAX_CHARACTERS,
) -> tuple[str, ...]:
    """Load sentences without labels.

    Args:
        source: A CSV, TSV, JSONL or Parquet file, a demo set, a plain text file (``.txt`` or no
            ending) or a stream with one sentence a line; ``-`` is the standard input.
        text_column: Column of the sentences; None looks for `TEXT_COLUMNS`.
        max_characters: Longest text allowed.

    Raises:
        DataError: As for `load_texts`; in plain text every line is a sentence, so that an empty
            line is an error, not skipped.
    """
    if not isinstance(source, str | os.PathLike):
        return _plain_lines(source.read(), getattr(source, "name", "stream"), max_characters)
    if os.fspath(source) == "-":
        return _plain_lines(sys.stdin.buffer.read(), "standard input", max_characters)
    path = Path(source)
    if not os.fspath(source).startswith("demo:"):
        if path.suffix.lower() in _PLAIN_SUFFIXES:
            check_file(path)
            return _plain_lines(read_text(path), str(path), max_characters)
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(
                f"{path}: expected a file ending in {', '.join(SUFFIXES)} or .txt, got "
                f"{path.suffix!r}. Convert the file or rename it."
            )
    (path,) = find_files(source)["train"]
    records = read_records(path, _picker({"text": (text_column, TEXT_COLUMNS)}))
    return tuple(
        check_text(text, f"{path}, {_unit(path)} {position}", max_characters=max_characters)
        for position, (text,) in records
    )


def _load_files(
    paths: Sequence[Path],
    name: str | None,
    text_column: str | None,
    label_column: str | None,
    max_characters: int,
) -> LabelledTexts:
    """Read the shards of one split. Labels are parsed over all of them together."""
    pick = _picker({"text": (text_column, TEXT_COLUMNS), "label": (label_column, LABEL_COLUMNS)})
    texts, labels, positions = [], [], []
    for path in paths:
        for position, (text, label) in read_records(path, pick):
            place = f"{path}, {_unit(path)} {position}"
            texts.append(check_text(text, place, max_characters=max_characters))
            labels.append(check_label(label, place))
            positions.append(position)
    single = np.array(positions) if len(paths) == 1 else None  # lines of shards would be ambiguous
    return LabelledTexts(
        tuple(texts), parse_labels(labels), name or ", ".join(map(str, paths)), single
    )


def _picker(wanted: dict[str, tuple[str | None, Sequence[str]]]) -> Pick:
    """Return a function that finds the wanted columns: by the name given, else by usual names."""

    def pick(columns: Sequence[str], place: str) -> tuple[str, ...]:
        names = tuple(_find(columns, place, role, *choice) for role, choice in wanted.items())
        if len(set(names)) < len(names):
            raise DataError(f"{place}: expected two columns, got {names[0]!r} for text and label.")
        for name in names:
            if columns.count(name) > 1:
                raise DataError(f"{place}: the column {name!r} stands there twice. Rename one.")
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
            "first line of a CSV or TSV file holds the names."
        )
    return found


def _nearest(usual: Iterable[str], columns: Sequence[str]) -> str:
    """Return the first hint for a usual name that some column resembles."""
    return next((hint for name in usual if (hint := did_you_mean(name, columns))), "")


def _plain_lines(data: str | bytes, name: str, max_characters: int) -> tuple[str, ...]:
    text = decode(data, str(name)) if isinstance(data, bytes) else data
    if not text:
        raise DataError(f"{name}: expected one sentence a line, got nothing.")
    lines = text.removesuffix("\n").split("\n")
    return tuple(
        check_text(
            line.removesuffix("\r"), f"{name}, line {position}", max_characters=max_characters
        )
        for position, line in enumerate(lines, start=1)
    )


def _unit(path: Path) -> str:
    return "row" if path.suffix.lower() == ".parquet" else "line"
