"""Text for people: numbers of things, and what others wrote without its secrets."""

from __future__ import annotations

import re

_SECRET = re.compile(
    r"crn:[^\s\"'<>]+|crn%3A[^\s\"'<>]+|(?:bearer|apikey)\s+[\w.~+/=-]+"
    r"|access_token=[^\s&\"']+",
    re.IGNORECASE,
)
#: Longest text of others that is kept, characters.
MAX_REASON = 2000


def counted(number: int, noun: str) -> str:
    """Return ``1 tile`` or ``1,200 tiles``; nouns that form their plural by an s."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def size(num_bytes: int) -> str:
    """Return ``0.24 MB`` or ``31 kB``."""
    return f"{num_bytes / 1e6:.2f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:.0f} kB"


def scrub(text: str) -> str:
    """Return text without account names, tokens and keys, cut to a sensible length."""
    return _SECRET.sub("[removed]", text)[:MAX_REASON]
