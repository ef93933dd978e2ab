"""From the name of a data set to its files: a file, a folder of splits, the Hub, the demo sets."""

from __future__ import annotations

import logging
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any

from hardware.errors import did_you_mean
from qhead.data.readers import GZIP, SUFFIXES, kind_of
from qhead.data.texts import shown
from qhead.errors import DataError
from qhead.hub import fetch_snapshot

DEMO_NAMES = ("demo:reviews", "demo:support")

#: The only split of a single file.
WHOLE = "train"

_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "eval": "validation",
    "evaluation": "validation",
    "test": "test",
}
# Large sets of the Hub come in numbered shards: train-00000-of-00002.parquet.
_SPLIT_FILE = re.compile(r"(?P<word>[A-Za-z]+)(-(?P<shard>\d{5})-of-(?P<shards>\d{5}))?")
_log = logging.getLogger(__name__)
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(/[\w.-]+)?", re.ASCII)


def find_files(source: str | os.PathLike[str]) -> dict[str, list[Path]]:
    """Return the files of each split of a data set.

    A file, and a demo set, is the one split ``train``. A folder holds files named after splits
    (``train.csv``, ``dev.jsonl``, ``test.tsv`` …), directly or in a folder ``data``; data files of
    other names beside them are left out, and logged. A Hub id
    ``owner/name``, or ``owner/name/configuration``, that is no existing path is downloaded once by
    the Hub's client (data files only; nothing of it is executed) and read as a folder.

    Raises:
        DataError: Nothing of that name, no split files, or a Hub that cannot be reached.
    """
    name = source_name(source)
    if name.startswith("demo:"):
        return {WHOLE: [_demo_file(name)]}
    path = Path(name)
    if path.is_dir():
        return _files_in(path)
    if path.exists() or kind_of(path) in SUFFIXES or not _HUB_ID.fullmatch(name):
        return {WHOLE: [path]}
    return _files_in(_download(name))


def source_name(source: Any) -> str:
    """Return the name of a data set.

    Raises:
        DataError: It is neither a string nor a path.
    """
    if not isinstance(source, str | os.PathLike):
        raise DataError(
            "Expected the name of a data set, such as reviews.csv or demo:support, got "
            f"{source!r:.60}."
        )
    return os.fspath(source)


def split_name(word: str) -> str:
    """Return ``validation`` for ``dev``, ``eval`` and the like; an unknown word as it is."""
    return _SPLIT_WORDS.get(word.lower(), word)


def _demo_file(name: str) -> Path:
    if name not in DEMO_NAMES:
        hint = did_you_mean(name, DEMO_NAMES)
        raise DataError(f"Expected one of {shown(DEMO_NAMES)}, got {name!r}.{hint}")
    # The wheel is always installed unpacked, so that the resource is a file.
    return Path(str(resources.files("qhead.demo") / f"{name.removeprefix('demo:')}.tsv"))


def _files_in(folder: Path) -> dict[str, list[Path]]:
    found = _split_files(folder) or _split_files(folder / "data")
    if found:
        return found
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist. Check the configuration's name.")
    try:
        inside = sorted(item.name for item in folder.iterdir())
        nested = [item.name for item in folder.iterdir() if item.is_dir() and _split_files(item)]
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}.") from error
    hint = f" Configurations with such files: {shown(sorted(nested))}." if nested else ""
    raise DataError(
        f"{folder}: expected files named train, validation or test, ending in "
        f"{', '.join(SUFFIXES)}; got {shown(inside) or 'an empty folder'}.{hint}"
    )


def _split_files(folder: Path) -> dict[str, list[Path]]:
    if not folder.is_dir():
        return {}
    found: dict[str, list[Path]] = {}
    ignored = []
    for path in sorted(folder.iterdir()):
        if kind_of(path) not in SUFFIXES:
            continue
        match = _SPLIT_FILE.fullmatch(_stem(path))
        split = _SPLIT_WORDS.get(match["word"].lower()) if match else None
        if split:
            found.setdefault(split, []).append(path)
        else:
            ignored.append(path.name)
    for split, paths in found.items():
        _check_shards(folder, split, paths)
    if found and ignored:
        _log.info("%s: ignored %s, whose names are not those of splits.", folder, shown(ignored))
    return {split: found[split] for split in ("train", "validation", "test") if split in found}


def _stem(path: Path) -> str:
    """Return ``train`` of ``train.csv`` and ``train.csv.gz``."""
    return Path(path.stem).stem if path.suffix.lower() == GZIP else path.stem


def _check_shards(folder: Path, split: str, paths: list[Path]) -> None:
    matches = [_SPLIT_FILE.fullmatch(_stem(path)) for path in paths]
    shards = [(match["shard"], match["shards"]) for match in matches if match]
    if len(paths) == 1 and shards[0][0] is None:
        return
    expected = int(shards[0][1] or 0)
    complete = [(f"{shard:05d}", f"{expected:05d}") for shard in range(expected)]
    if shards != complete:
        raise DataError(
            f"{folder}: expected one file, or a complete set of shards, for the split {split!r}; "
            f"got {shown(path.name for path in paths)}."
        )


def _download(name: str) -> Path:
    """Return the local copy of a Hub data set, fetched if it is not there yet."""
    owner, title, *configuration = name.split("/")
    folder = fetch_snapshot(
        f"{owner}/{title}",
        kind="dataset",
        revision=None,
        patterns=[f"*{suffix}{zipped}" for suffix in SUFFIXES for zipped in ("", GZIP)],
        complete=lambda local: any(path.suffix in SUFFIXES for path in local.rglob("*")),
        error=DataError,
    )
    return Path(folder, *configuration)
