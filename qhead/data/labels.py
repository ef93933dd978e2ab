"""From a column of labels, in any format, to integers or strings: one rule for all formats."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence

import numpy as np

from qhead.errors import DataError

# "007" and "+1" stay strings: as integers they could not be written back as they came. "1.0" is
# what programs make of an integer in a column of floats.
_WHOLE = re.compile(r"(0|-?[1-9][0-9]*|-0(?=\.))(?:\.0+)?")
_DECIMAL = re.compile(r"-?[0-9]+\.[0-9]+")
_BOOLEAN = {"true": "True", "false": "False"}
_INT64 = range(-(2**63), 2**63)

_log = logging.getLogger(__name__)


def read_labels(values: Sequence[object], places: Sequence[str]) -> np.ndarray:
    """Return one column's labels, (n,) int64 or str, whatever format it was read from.

    All integers, as ``1`` or ``1.0``, are integers. All ``true`` or ``false``, in any case or as
    booleans, are the strings ``True`` and ``False``. All else are strings as they are spelled. What
    is changed by this is logged once.

    Args:
        values: n labels as the file's format has them.
        places: Where each one stands, for messages.

    Raises:
        DataError: A label is missing, NaN or no integer, boolean or string; numbers that are not
            all whole; booleans or floats beside other kinds.
    """
    spelled = [check_label(value, place) for value, place in zip(values, places, strict=True)]
    _check_kinds(values, places)
    labels = _parsed(spelled, places)
    for value, label, place in zip(values, labels.tolist(), places, strict=True):
        if str(value) != str(label) or isinstance(value, bool):
            _log.info("%s: the label %s is read as %r; others alike.", place, value, label)
            break
    return labels


def canonical(spelled: str) -> str:
    """Return the spelling under which labels of different files are compared: 1 for 1.0."""
    whole = _WHOLE.fullmatch(spelled)
    return str(int(whole[1])) if whole else _BOOLEAN.get(spelled.lower(), spelled)


def check_label(label: object, place: str) -> str:
    """Return `label` as it is spelled; raise `DataError`, naming `place`, if it cannot be one."""
    if label is None or (isinstance(label, str) and not label.strip()):
        raise DataError(f"{place}: the label is empty. Fill it in or delete the row.")
    if isinstance(label, float) and math.isnan(label):
        raise DataError(f"{place}: the label is NaN. Fill it in or delete the row.")
    if isinstance(label, float) and not label.is_integer():
        raise _not_whole(str(label), place)
    if not isinstance(label, str | int | float):
        raise DataError(
            f"{place}: expected an integer, a boolean or a string as label, got "
            f"{type(label).__name__} {str(label)[:40]}."
        )
    spelled = str(int(label)) if isinstance(label, float) else str(label)
    if spelled != spelled.strip():
        # Stripped silently, ' good' and 'good' would be one class; left alone, they would be two.
        raise DataError(
            f"{place}: the label {spelled!r} begins or ends with white space. Remove it."
        )
    if not spelled.isprintable():
        raise DataError(
            f"{place}: the label {spelled[:40]!r} holds characters that cannot be printed."
        )
    return spelled


def _check_kinds(values: Sequence[object], places: Sequence[str]) -> None:
    """Refuse booleans beside anything else, and floats beside strings."""
    kinds = {type(value): (value, place) for value, place in zip(values, places, strict=True)}
    if len(kinds) < 2 or not (bool in kinds or {float, str} <= set(kinds)):
        return
    found = " and ".join(
        f"{kind.__name__} {value!r:.40} ({place})" for kind, (value, place) in kinds.items()
    )
    raise DataError(f"Expected labels of one kind, got {found}. Convert them all.")


def _parsed(spelled: Sequence[str], places: Sequence[str]) -> np.ndarray:
    if not spelled:
        return np.array([], dtype=np.str_)
    if all(label.lower() in _BOOLEAN for label in spelled):
        return np.array([_BOOLEAN[label.lower()] for label in spelled])
    matches = [_WHOLE.fullmatch(label) for label in spelled]
    numbers = [int(match[1]) for match in matches if match]
    if len(numbers) == len(spelled) and all(number in _INT64 for number in numbers):
        return np.array(numbers, dtype=np.int64)
    if len(numbers) < len(spelled) and all(
        match or _DECIMAL.fullmatch(label) for label, match in zip(spelled, matches, strict=True)
    ):
        index = matches.index(None)
        raise _not_whole(spelled[index], places[index])
    return np.array(spelled, dtype=np.str_)


def _not_whole(number: str, place: str) -> DataError:
    return DataError(
        f"{place}: expected an integer or a string as label, got the number {number}. Labels are "
        f"classes: round the numbers, or write each class as a word ('{number} stars')."
    )
