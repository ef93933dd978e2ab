"""From exceptions to exit codes: a user's mistake is a sentence on stderr, never a traceback."""

from __future__ import annotations

import errno
import functools
import os
import sys
import warnings
from collections.abc import Callable
from typing import ParamSpec

import typer

from hardware.errors import HardwareError
from hardware.threads import num_threads
from qhead.commands.terminal import log_on_stderr
from qhead.errors import QheadError

FAILED = 1
MISSING_ROWS = 3
INTERRUPTED, BROKEN_PIPE = 130, 141  # 128 + the signal's number, as shells have it

P = ParamSpec("P")


def exit_codes(verb: Callable[P, None]) -> Callable[P, None]:
    """Give a verb its exit codes.

    1 for a failed run or a failing platform, 2 for a bad call, 3 where rows are missing, 130 and
    141 for signals.
    """

    @functools.wraps(verb)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        with warnings.catch_warnings(), log_on_stderr():
            warnings.showwarning = functools.partial(_show_warning, verb)
            try:
                num_threads()  # what the environment says is checked before any work
                verb(*args, **kwargs)
                sys.stdout.flush()
            except (QheadError, HardwareError) as error:
                _complain_to_user("Error", str(error), verb)
                raise typer.Exit(error.exit_code) from None
            except KeyboardInterrupt:
                print("Interrupted.", file=sys.stderr)
                raise typer.Exit(INTERRUPTED) from None
            except BrokenPipeError:
                _give_up_stdout()  # the reader has gone (``| head``)
                raise typer.Exit(BROKEN_PIPE) from None
            except (OSError, MemoryError, ImportError, RuntimeError) as error:
                if _by_interrupt(error):
                    print("Interrupted.", file=sys.stderr)
                    raise typer.Exit(INTERRUPTED) from None
                if not (sentence := _sentence(error)):
                    raise
                complain("Error", sentence)
                _give_up_stdout()
                raise typer.Exit(FAILED) from None

    return guarded


def complain(kind: str, message: str) -> None:
    """Write one message to stderr, without markup and without wrapping."""
    print(f"{kind}: {message}", file=sys.stderr)


def _complain_to_user(kind: str, message: str, verb: Callable[..., None]) -> None:
    from qhead.commands.wording import in_options, option_names

    complain(kind, in_options(message, option_names(verb)))


def _sentence(error: Exception) -> str:
    """Return what a failure of the machine is, in a sentence; "" for what is a fault of ours."""
    if isinstance(error, MemoryError) or "not enough memory" in str(error):  # torch's: RuntimeError
        return (
            "Expected enough memory, got too little. Take a smaller head or fewer sentences at "
            "once, or a larger machine."
        )
    if isinstance(error, ImportError):
        package = "a package" if error.name is None else f"the package {error.name!r}"
        return (
            f"Cannot import {package}: {error}. Try again; if that fails too, install it, or "
            "install qhead again with all it depends on."
        )
    if isinstance(error, OSError) and error.errno == errno.EBADF and error.filename is None:
        return "Standard output is closed. Open it, or give --out FILE where the verb has it."
    if isinstance(error, OSError):
        named = "" if error.filename is None else f" with {error.filename}"
        return f"Expected the system to work{named}, got: {error.strerror or error}."
    return ""


def _by_interrupt(error: BaseException | None) -> bool:
    """Return whether an import failed by Ctrl-C: compiled modules make an ImportError of it."""
    while isinstance(error, ImportError):
        error = error.__cause__ or error.__context__
    return isinstance(error, KeyboardInterrupt)


def _give_up_stdout() -> None:
    """Where standard output takes no more, keep the interpreter's own flush from meeting that."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(
    verb: Callable[..., None],
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    """Show our own warnings as sentences; those of libraries are for their developers."""
    if category.__module__.split(".")[0] in ("qhead", "hardware"):
        _complain_to_user("Warning", str(message), verb)
