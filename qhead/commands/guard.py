"""From exceptions to exit codes: a user's mistake is a sentence on stderr, never a traceback."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable
from typing import ParamSpec

import typer

from hardware.errors import HardwareError
from qhead.errors import QheadError

INTERRUPTED, BROKEN_PIPE = 130, 141  # 128 + the signal's number, as shells have it

P = ParamSpec("P")


def exit_codes(verb: Callable[P, None]) -> Callable[P, None]:
    """Give a verb its exit codes: 2 for a bad call, 1 for a failed run, 130 and 141 for signals."""

    @functools.wraps(verb)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            try:
                verb(*args, **kwargs)
                sys.stdout.flush()
            except (QheadError, HardwareError) as error:
                complain("Error", str(error))
                raise typer.Exit(error.exit_code) from None
            except KeyboardInterrupt:
                print("Interrupted.", file=sys.stderr)
                raise typer.Exit(INTERRUPTED) from None
            except BrokenPipeError:
                # The reader has gone (``| head``). The interpreter's own flush at its end must not
                # meet the broken pipe again.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(BROKEN_PIPE) from None

    return guarded


def complain(kind: str, message: str) -> None:
    """Write one message to stderr, without markup and without wrapping."""
    print(f"{kind}: {message}", file=sys.stderr)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    """Show our own warnings as sentences; those of libraries are for their developers."""
    if category.__module__.split(".")[0] in ("qhead", "hardware"):
        complain("Warning", str(message))
