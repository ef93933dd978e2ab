"""The sentences of a run: where they came from, and reading them again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qhead.data import load_splits, load_unlabelled
from qhead.data.loading import load_split
from qhead.data.texts import shown
from qhead.errors import DataError
from qhead.runs.metadata import SentenceSource, fingerprint

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sentences:
    """Sentences to predict, and where they came from."""

    texts: tuple[str, ...]
    source: SentenceSource

    @classmethod
    def of(cls, texts: Sequence[str] | Sentences) -> Sentences:
        """Return sentences as they are, or those of a list from nowhere."""
        if isinstance(texts, Sentences):
            return texts
        if isinstance(texts, str | bytes):
            raise DataError(f"Expected a list of sentences, got the single one {texts[:40]!r}.")
        given = tuple(texts)
        return cls(given, SentenceSource.of(given))


def read_sentences(
    source: str,
    split: str | None = None,
    columns: tuple[str | None, str | None] = (None, None),
    skip_empty: bool = False,
) -> Sentences:
    """Read sentences, labels or not: a file, ``-``, a folder of splits, a Hub data set.

    Raises:
        DataError: As the loaders of `qhead.data`.
    """
    plain = source == "-" or source.startswith("demo:") or Path(source).is_file()
    if split is None and plain:
        texts = load_unlabelled(source, text_column=columns[0], skip_empty=skip_empty)
    else:
        texts = load_split(source, split, columns, skip_empty=skip_empty).texts
    return Sentences(texts, SentenceSource.of(texts, source, split, columns[0], skip_empty))


def read_validation(
    source: str, columns: tuple[str | None, str | None] = (None, None), skip_empty: bool = False
) -> Sentences:
    """Read the sentences to recalibrate on: the split ``validation``, or all of a single file.

    Raises:
        DataError: As the loaders of `qhead.data`, or there is no such split.
    """
    if Path(source).is_file() or source.startswith("demo:"):
        return read_sentences(source, None, columns, skip_empty)
    splits = load_splits(
        source, text_column=columns[0], label_column=columns[1], skip_empty=skip_empty
    )
    name = "validation" if "validation" in splits or len(splits) > 1 else next(iter(splits))
    if name not in splits:
        raise DataError(
            f"{source}: expected a split 'validation' to recalibrate on, got {shown(splits)}. "
            "Name a file of validation sentences."
        )
    return read_sentences(source, name, columns, skip_empty)


def check_same(texts: Sequence[str], source: SentenceSource, where: str) -> None:
    """Refuse sentences that are not those of a source.

    Args:
        texts: The sentences.
        source: What is known of those that are expected.
        where: Where these come from, for the message: ``"new.txt"``.

    Raises:
        DataError: They are others, or in another order.
    """
    if fingerprint(texts) != source.fingerprint:
        raise DataError(
            f"Expected the {source.num_rows} sentences of the run in {where}, got {len(texts)} "
            "that are others or in another order."
        )


def read_again(source: SentenceSource, place: str | None = None) -> tuple[str, ...]:
    """Read the sentences of a source again, from where they were or from another place.

    Raises:
        DataError: They cannot be read, or others are there now.
    """
    where = place or source.source
    if where is None or (place is None and where == "-"):
        raise DataError("The sentences came from no file.")
    found = read_sentences(where, source.split, (source.text_column, None), source.skip_empty)
    check_same(found.texts, source, where)
    return found.texts


def find_again(source: SentenceSource, place: str | None = None) -> tuple[str, ...] | None:
    """Return the sentences of a run, or None, with a warning, where they have changed or gone.

    Args:
        source: What the run's plan says of them.
        place: Where they are now, if the user says so.

    Raises:
        DataError: There are others in the user's own place.
    """
    if place is not None:
        return read_again(source, place)
    if source.source in (None, "-"):
        return None
    try:
        return read_again(source)
    except DataError as error:
        _logger.warning(
            "%s The rows are given by their numbers; --data names where the sentences are now.",
            error,
        )
        return None
