"""Numbers of things, in words."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return ``1 tile`` or ``1,200 tiles``; nouns that form their plural by an s."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
