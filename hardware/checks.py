"""Checks of single values that several wings share."""

from __future__ import annotations

import math
from numbers import Integral, Real

from hardware.errors import InvalidInputError, UnknownTargetError

#: Most shots of a run. Counts would hold far more; nothing that takes more is finished.
MAX_SHOTS = 10**9


def is_whole(value: object) -> bool:
    """Return whether a value is an integer of Python or NumPy; truth values are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Return whether a value is a finite real number."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def check_shots(
    shots: int, *, where: str = "", error: type[InvalidInputError] = InvalidInputError
) -> int:
    """Return `shots` if it is between one and `MAX_SHOTS`.

    Args:
        shots: Shots of each row and measurement setting.
        where: What is said after the number, e.g. ``" in 'shots:0'"``.
        error: What is raised.

    Raises:
        InvalidInputError: It is not, or no whole number.
    """
    if not is_whole(shots):
        raise error(f"Expected at least one shot, a whole number, got {shots!r}{where}.")
    if not shots >= 1:
        raise error(f"Expected at least one shot, got {shots}{where}.")
    if shots > MAX_SHOTS:
        raise error(f"Expected at most {MAX_SHOTS:,} shots, got {shots}{where}.")
    return shots


def parse_shots(text: str, spec: str) -> int:
    """Return the shots that a specification of a target or device ends with.

    Raises:
        UnknownTargetError: It is no whole number.
        InvalidInputError: Below one or above `MAX_SHOTS`.
    """
    digits = text.lstrip("+-").lstrip("0")
    # Python reads no number of thousands of digits.
    if digits.isdecimal() and len(digits) > len(str(MAX_SHOTS)):
        raise InvalidInputError(
            f"Expected at most {MAX_SHOTS:,} shots, got a number of {len(digits)} digits."
        )
    try:
        shots = int(text)
    except ValueError:
        raise UnknownTargetError(
            f"Expected a whole number of shots, got {text!r} in {spec!r}."
        ) from None
    return check_shots(shots, where=f" in {spec!r}")
