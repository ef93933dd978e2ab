"""Checks of single option values: each returns a plain Python value or raises `HeadError`."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardware.errors import did_you_mean
from qhead.errors import HeadError


def number(
    name: str, value: Any, *, low: float, high: float = math.inf, strict: bool = False
) -> float:
    """Return `value` as a float of at least `low` (above it if `strict`) and below `high`."""
    found = math.nan
    if isinstance(value, Real) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # an integer beyond every float
            found = float(value)
    if not low <= found < high or (strict and found == low):
        bounds = f"{'above' if strict else 'at least'} {low:g}"
        bounds += f" and below {high:g}" if high < math.inf else ""
        raise HeadError(
            f"Expected {name} to be a finite number {bounds}, got {value!r}.", options=[name]
        )
    return found


def count(name: str, value: Any, *, low: int = 1, high: int | None = None) -> int:
    """Return `value` as an int of at least `low` and, where `high` is given, at most that."""
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole or value < low or (high is not None and value > high):
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise HeadError(
            f"Expected {name} to be an integer {bounds}, got {value!r}.", options=[name]
        )
    return int(value)


def at_most(name: str, value: int, high: int, what: str) -> None:
    """Check that `value` is at most `high`, which is `what`."""
    if value > high:
        message = f"Expected {name} to be at most {high}, {what}, got {value}."
        raise HeadError(message, options=f"{name} {what}".split())


def label_problem(labels: Any) -> str | None:
    """Return what NumPy would change in labels silently, in a sentence; None if nothing.

    It would turn ``[1, "x"]`` into two strings, ``[1, True]`` into two ones and ``["a", "a\\0"]``
    into one label. Half a surrogate pair could not be written into any file.
    """
    if isinstance(labels, np.ndarray) and labels.dtype.kind not in "OU":
        return None
    try:
        listed = labels.ravel().tolist() if isinstance(labels, np.ndarray) else list(labels)
    except TypeError:
        return None  # no sequence: others say so
    for label in dict.fromkeys(label for label in listed if isinstance(label, str)):
        if "\0" in label:
            return f"The label {label!r:.40} holds a NUL character. Remove it."
        try:
            label.encode()
        except UnicodeEncodeError:
            return (
                f"The label {label!r:.40} holds half of a surrogate pair: no character at all. "
                "Write the label again as UTF-8."
            )
    kinds = {
        "an integer" if isinstance(k, Integral) and not isinstance(k, bool | np.bool_)
        else "a string" if isinstance(k, str)
        else type(k).__name__: k
        for k in reversed(listed)
    }  # fmt: skip
    if len(kinds) < 2 or not {"an integer", "a string"} & set(kinds):
        return None
    found = " and ".join(f"{kind} ({value!r:.40})" for kind, value in sorted(kinds.items()))
    return (
        f"Expected labels of one kind, all integers or all strings, got {found}. Convert them all."
    )


def sample_weights(values: Any, n: int) -> NDArray[np.float64] | None:
    """Return weights of n samples, (n,) float64 from 0 to 1, or None for None.

    Only their ratios count: all are scaled by one power of two, which is exact, so that sums of
    the largest numbers stay finite.

    Raises:
        HeadError: They are not n finite numbers of at least 0, or all are 0.
    """
    if values is None:
        return None
    try:
        weights = np.array(values, dtype=np.float64)  # a copy: the caller's stay as they are
    except (TypeError, ValueError) as error:
        raise HeadError(f"Expected sample_weight to be numbers, got {values!r:.60}.") from error
    if weights.shape != (n,):
        raise HeadError(
            f"Expected sample_weight of shape ({n},), one number per sample, got {weights.shape}."
        )
    if not np.isfinite(weights).all() or weights.min() < 0:
        raise HeadError("Expected sample_weight to be finite numbers of at least 0.")
    if not weights.any():
        raise HeadError("Sample weights must contain at least one non-zero number.")
    return np.ldexp(weights, -int(np.frexp(weights.max())[1]))


def data_set(name: str, value: Any, parts: Sequence[str], optional: Sequence[str] = ()) -> None:
    """Check that `value` is a tuple or list of `parts`, and of no more than `optional` besides."""
    most = len(parts) + len(optional)
    if not isinstance(value, tuple | list) or not len(parts) <= len(value) <= most:
        forms = f"({', '.join(parts)})"
        if optional:
            forms += f" or ({', '.join([*parts, *optional])})"
        found = f"{len(value)} parts" if isinstance(value, tuple | list) else type(value).__name__
        raise HeadError(f"Expected {name} to be {forms}, got {found}.")


def choice(name: str, value: Any, known: Sequence[str | None]) -> None:
    """Check that `value` is one of `known`."""
    if not isinstance(value, str | None) or value not in known:
        hint = did_you_mean(str(value), [word for word in known if word])
        words = ", ".join(map(repr, known))
        raise HeadError(
            f"Expected {name} to be one of {words}, got {value!r}.{hint}", options=[name]
        )
