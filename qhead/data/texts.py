"""Labelled sentences in memory, and the checks that every sentence and every label passes."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np

from hardware.errors import did_you_mean
from qhead.checks import label_problem
from qhead.errors import DataError

#: A sentence longer than this is taken for a mistake (a missing quote, a whole document).
MAX_CHARACTERS = 20_000

#: Ratio of the largest class to the smallest from which on the imbalance is worth a remark.
IMBALANCE = 5

# What programs write where a value is missing; "none" and "na" may also be meant as classes.
_MISSING = frozenset(("nan", "null", "none", "n/a", "na", "<na>", "nil", "#n/a"))
_INT64 = range(-(2**63), 2**63)
_BOOLEANS = (bool, np.bool_)


class DuplicateWarning(UserWarning):
    """The same sentence stands on both sides of a split."""


@dataclass(frozen=True, eq=False)
class LabelledTexts:
    """Sentences with one label each.

    Args:
        texts: n sentences, none of them empty.
        labels: n labels, str or int64; a read-only copy is kept.
        source: What messages call this data set: a file, a Hub id, ``demo:reviews``.
        positions: Line or row of each sentence in its source, shape (n,), or None.
        unit: What `positions` counts: ``line`` or ``row``.

    Raises:
        DataError: The numbers of texts and labels differ, a text is empty or no string, or a label
            is neither an integer nor a string.
    """

    texts: tuple[str, ...]  # n
    labels: np.ndarray  # (n,), str or int64
    source: str
    positions: np.ndarray | None = None  # (n,), from 1
    unit: str = "line"

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", tuple(self.texts))
        object.__setattr__(self, "labels", label_array(self.labels, self.source))
        if len(self.texts) != len(self.labels):
            raise DataError(
                f"{self.source}: expected one label per text, got {len(self.texts)} texts and "
                f"{len(self.labels)} labels."
            )
        for index, text in enumerate(self.texts):
            if not isinstance(text, str) or not text.strip():
                raise DataError(
                    f"{self.source}: expected a sentence at index {index}, got {text!r}."
                )

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def classes(self) -> np.ndarray:
        """The different labels, sorted, shape (K,)."""
        return np.unique(self.labels)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of texts and labels in their order, as hexadecimal digits.

        The source is left out: a copy of a file under another name is the same data.
        """
        digest = hashlib.sha256(b"int" if self.labels.dtype.kind == "i" else b"str")
        for text, label in zip(self.texts, self.labels.tolist(), strict=True):
            for part in (text, str(label)):
                data = part.encode()
                # The length goes first, so that no two different lists give the same bytes.
                digest.update(len(data).to_bytes(8, "little"))
                digest.update(data)
        return digest.hexdigest()

    def rows(self, indices: Sequence[int] | np.ndarray) -> LabelledTexts:
        """Return the rows at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.intp)
        return LabelledTexts(
            tuple(self.texts[index] for index in chosen.tolist()),
            self.labels[chosen],
            self.source,
            None if self.positions is None else self.positions[chosen],
            self.unit,
        )

    def place(self, index: int) -> str:
        """Return where row `index` came from, for messages: ``reviews.csv, line 7``."""
        if self.positions is None:
            return f"{self.source}, index {index}"
        return f"{self.source}, {self.unit} {self.positions[index]}"

    def check_trainable(self) -> None:
        """Raise `DataError` unless there are at least two classes."""
        if len(self.classes) < 2:
            found = f"only {self.classes[0].item()!r}" if len(self) else "no sentence at all"
            raise DataError(
                f"{self.source}: expected at least two classes to train on, got {found}. "
                "Add sentences of another class, or check which column is the label."
            )

    def check_labels(self, known: Iterable[Any]) -> None:
        """Raise `DataError` for the first label that is not among the `known` ones."""
        allowed = list(known)
        same = set(allowed)
        for index, label in enumerate(self.labels.tolist()):
            if label not in same:
                hint = did_you_mean(str(label), map(str, allowed))
                raise DataError(
                    f"{self.place(index)}: expected one of the labels seen in training "
                    f"({shown(allowed)}), got {label!r}.{hint}"
                )


def contradictions(data: LabelledTexts) -> list[str]:
    """Return a remark if equal sentences have different labels, in a list of one or none."""
    first: dict[str, int] = {}
    again: list[tuple[int, int]] = []  # rows of one text with two labels
    for index, text in enumerate(data.texts):
        earlier = first.setdefault(normal_form(text), index)
        if data.labels[earlier] != data.labels[index]:
            again.append((earlier, index))
    if not again:
        return []
    i, j = again[0]
    return [
        f"{len(again)} of {len(data)} sentences stand there before under another label, the first "
        f"at {data.place(j)} ({data.labels[j].item()!r}) as at {data.place(i)} "
        f"({data.labels[i].item()!r}). One of the labels must be wrong."
    ]


def imbalance(data: LabelledTexts) -> list[str]:
    """Return a remark if a class is much rarer than another, in a list of one or none."""
    classes, counts = np.unique(data.labels, return_counts=True)
    if len(counts) < 2 or counts.max() < IMBALANCE * counts.min():
        return []
    frequent, rare = (repr(classes[k].item()) for k in (counts.argmax(), counts.argmin()))
    return [
        f"The classes are unbalanced: {counts.max()} sentences of {frequent}, {counts.min()} of "
        f"{rare}. Always to say {frequent} is right in {counts.max() / len(data):.0%} of them."
    ]


def missing_values(data: LabelledTexts) -> list[str]:
    """Return a remark if a label looks like a missing value, in a list of one or none."""
    if data.labels.dtype.kind != "U":
        return []
    suspects = [label for label in data.classes.tolist() if label.casefold() in _MISSING]
    if not suspects:
        return []
    index = int(np.flatnonzero(np.isin(data.labels, suspects))[0])
    count = int(np.isin(data.labels, suspects).sum())
    return [
        f"The label{'s' if len(suspects) > 1 else ''} {shown(suspects)} "
        f"({count} of {len(data)} sentences, the first at {data.place(index)}) will be trained as "
        "a class like any other. If the label is missing there, delete those rows."
    ]


def concatenate(parts: Sequence[LabelledTexts], source: str | None = None) -> LabelledTexts:
    """Join data sets in their order (SST-2's three splits, say, before sampling from them all).

    Raises:
        DataError: No part was given, or one has integer and another string labels.
    """
    if not parts:
        raise DataError("No data sets to join. Give at least one.")
    kinds = {part.labels.dtype.kind for part in parts if len(part)}
    if len(kinds) > 1:
        kept = ", ".join(
            f"{p.source}: {'int' if p.labels.dtype.kind == 'i' else 'str'}" for p in parts
        )
        raise DataError(f"Expected labels of one kind in all parts, got {kept}.")
    return LabelledTexts(
        tuple(text for part in parts for text in part.texts),
        np.concatenate([part.labels for part in parts if len(part)] or [parts[0].labels]),
        source or " + ".join(part.source for part in parts),
    )


def check_text(text: object, place: str, *, max_characters: int) -> str:
    """Return `text` if it is a usable sentence; raise `DataError`, naming `place`, if it is not."""
    if is_empty(text):
        raise DataError(f"{place}: the text is empty. Fill it in or delete the row.")
    if not isinstance(text, str):
        raise DataError(
            f"{place}: expected a sentence, got {type(text).__name__} {str(text)[:40]!r}."
        )
    if len(text) > max_characters:
        raise DataError(
            f"{place}: expected at most {max_characters:,} characters in a text, got "
            f"{len(text):,} (it begins {text[:40]!r}). Split it into sentences, or look for a "
            "missing quote."
        )
    if "\0" in text:
        raise DataError(f"{place}: the text holds a NUL character. Remove it.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{place}: character {error.start + 1} of the text is half of a surrogate pair: "
            "no character at all. Write the file again as UTF-8."
        ) from error
    return text


def check_sentences(texts: Sequence[str]) -> list[str]:
    """Return the sentences as a list; raise `DataError` for one that cannot be used."""
    if isinstance(texts, str | bytes):
        raise DataError(f"Expected a list of sentences, got the single one {texts[:40]!r}.")
    sentences = list(texts)
    if not sentences:
        raise DataError("The list of sentences is empty.")
    for index, text in enumerate(sentences):
        check_text(text, f"sentence {index + 1}", max_characters=MAX_CHARACTERS)
    return sentences


def normal_form(text: str) -> str:
    """Return a text without its case, white space and forms of characters, for comparison."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def is_empty(text: object) -> bool:
    """Return whether a text is missing or empty."""
    return text is None or (isinstance(text, str) and not text.strip())


def ranges(numbers: Sequence[int], limit: int = 20) -> str:
    """Return ascending numbers for a message, the first `limit` runs of them: ``3, 7–12``."""
    parts: list[str] = []
    start = 0
    for end in range(1, len(numbers) + 1):
        if end == len(numbers) or numbers[end] != numbers[end - 1] + 1:
            first, last = numbers[start], numbers[end - 1]
            parts.append(str(first) if first == last else f"{first}–{last}")
            start = end
    more = len(parts) - limit
    return ", ".join(parts[:limit]) + (f" and {more} more ranges" if more > 0 else "")


def shown(names: Iterable[object], limit: int = 8) -> str:
    """Return names for a message: the first `limit`, each cut to 40 characters.

    Integers stand without quotes: "2" is another label than 2.
    """
    listed = list(names)
    text = ", ".join(_quoted(name) for name in listed[:limit])
    return text + (f" and {len(listed) - limit} more" if len(listed) > limit else "")


def _quoted(name: object) -> str:
    if isinstance(name, int):
        return str(name)
    text = str(name)
    return repr(text if len(text) <= 40 else text[:37] + "...")


def label_array(labels: object, source: str) -> np.ndarray:
    """Return a read-only copy of labels, (n,), int64 or str.

    Raises:
        DataError: They are no sequence of integers within 64 bits or of strings.
    """
    if problem := label_problem(labels):
        raise DataError(f"{source}: {problem}")
    try:
        array = np.array(labels)
    except ValueError as error:  # nested sequences of different lengths
        raise DataError(f"{source}: expected labels of shape (n,), got {error}.") from error
    if array.ndim != 1:
        raise DataError(f"{source}: expected labels of shape (n,), got {array.shape}.")
    # NumPy has turned Python's integers beyond int64 into uint64, floats or objects.
    whole = array.dtype.kind == "u" or not isinstance(labels, np.ndarray) or array.dtype == object
    values = list(array) if isinstance(labels, np.ndarray) else list(labels)  # type: ignore[call-overload]
    if array.size == 0 and array.dtype.kind not in "iuU":
        array = array.astype(np.int64)
    elif whole and all(isinstance(k, Integral) and not isinstance(k, _BOOLEANS) for k in values):
        for value in values:
            if int(value) not in _INT64:
                raise DataError(
                    f"{source}: expected integer labels from -2**63 to 2**63 - 1, got {value}. "
                    "Use strings."
                )
        array = np.array([int(value) for value in values], dtype=np.int64)
    elif array.dtype.kind == "O" and all(isinstance(label, str) for label in array):
        array = array.astype(np.str_)
    if array.dtype.kind not in "iU":
        raise DataError(f"{source}: expected integers or strings as labels, got {array.dtype}.")
    if array.dtype.kind == "i":
        array = array.astype(np.int64)
    array.flags.writeable = False
    return array
