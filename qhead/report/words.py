"""Numbers of things in a sentence."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return ``1 epoch``, ``2 epochs``, ``1,024 epochs``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
