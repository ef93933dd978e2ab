"""Standard output and error: characters that they cannot hold, and lines of `logging`."""

from __future__ import annotations

import codecs
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

#: What our own words are spelled with where the encoding has no such character.
_PLAIN = {
    "–": "-", "—": "-", "−": "-", "→": "->", "↓": "v", "·": "*", "×": "x", "±": "+/-",
    "…": "...", "⟨": "<", "⟩": ">", "“": '"', "”": '"', "‘": "'", "’": "'", "\u00a0": " ",
    "•": "*", "≤": "<=", "≥": ">=",
}  # fmt: skip
_HANDLER = "qhead.plain"


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    """Spell what an encoding cannot hold in ASCII; what has no such spelling as its number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    spelled = (_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in part)
    return "".join(spelled), error.end


def occupy_closed_streams() -> None:
    """Put something in the place of standard streams that are closed (``qhead … >&-``).

    Otherwise the next file to be opened, a ledger say, gets the stream's number, and `print` to a
    closed standard error goes to standard output. Reading or writing what was closed stays an
    error; only messages to a closed standard error are dropped.
    """
    if sys.stdin is None:
        os.open(os.devnull, os.O_WRONLY)  # the lowest free number: 0
    if sys.stdout is None:
        descriptor = os.open(os.devnull, os.O_RDONLY)
        sys.stdout = open(descriptor, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        descriptor = os.open(os.devnull, os.O_RDWR)
        sys.stderr = open(descriptor, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def accept_any_character() -> None:
    """Let standard output and error spell in ASCII what their encoding cannot hold."""
    occupy_closed_streams()
    codecs.register_error(_HANDLER, _plain)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # not on streams that tests put there
        if reconfigure is not None:
            reconfigure(errors=_HANDLER)


def encoding_of(stream: IO[str]) -> str:
    """Return a stream's encoding; one in memory holds every character, as UTF-8 does."""
    return getattr(stream, "encoding", None) or "utf-8"


def is_unicode(stream: IO[str]) -> bool:
    """Return whether a stream holds every character."""
    return encoding_of(stream).lower().startswith("utf")


def holds(text: str, stream: IO[str]) -> bool:
    """Return whether a stream can hold a text as it is."""
    if is_unicode(stream):
        return True
    try:
        text.encode(encoding_of(stream))
    except UnicodeEncodeError:
        return False
    return True


class _ToStderr(logging.Handler):
    """Writes to the standard error of the moment, in the form of the command line's messages."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = "" if record.levelno < logging.WARNING else f"{record.levelname.capitalize()}: "
        print(kind + record.getMessage(), file=sys.stderr, flush=True)


@contextmanager
def log_on_stderr(level: int = logging.INFO) -> Iterator[None]:
    """Show what our packages log, from a level up, on standard error."""
    handler = _ToStderr()
    loggers = [logging.getLogger(name) for name in ("qhead", "hardware")]
    before = [logger.level for logger in loggers]
    # It says where it keeps its cache if the home folder is read-only.
    drawing = logging.getLogger("matplotlib")
    drawing_level = drawing.level
    drawing.setLevel(logging.ERROR)
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(level)
    try:
        yield
    finally:
        drawing.setLevel(drawing_level)
        for logger, level in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
