"""From exceptions to exit codes: a user's mistake is a sentence on stderr, never a traceback."""

from __future__ import annotations

import errno
import functools
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from hardware.errors import HardwareError
from hardware.threads import num_threads
from qhead.cli.config import read_config
from qhead.cli.groups import Fields, Verb, expanded
from qhead.cli.terminal import log_on_stderr
from qhead.cli.wording import in_options, option_names
from qhead.errors import InputError, QheadError

_log = logging.getLogger(__name__)

FAILED = 1
MISSING_ROWS = 3
INTERRUPTED, BROKEN_PIPE = 130, 141  # 128 + the signal's number, as shells have it


def _use_config(context: typer.Context, path: Path | None) -> Path | None:
    """Let the options in a file stand in for the verb's defaults."""
    if path is not None and not context.resilient_parsing:
        try:
            context.default_map = read_config(path, context)
        except InputError as error:
            complain("Error", str(error))
            raise typer.Exit(error.exit_code) from None
    return path


@dataclass(frozen=True)
class Common:
    """Options that every verb has."""

    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="TOML file with options of this verb; the command line wins.",
            is_eager=True,
            callback=_use_config,
            show_default=False,
        ),
    ] = None
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say more about what happens.")
    ] = False
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print results, warnings and errors only.")
    ] = False

    @property
    def level(self) -> int:
        """The level from which on messages are shown; ``--quiet`` wins."""
        shown = logging.DEBUG if self.verbose else logging.INFO
        return logging.WARNING if self.quiet else shown


def guarded(verb: Verb) -> Verb:
    """Give a verb its groups of options, those that every verb has, and its exit codes.

    1 for a failed run or a failing platform, 2 for invalid usage or input, 3 where rows are
    missing, 130 and 141 for signals.
    """
    own, common = expanded(verb), Fields(Common)
    signature = inspect.signature(own)

    @functools.wraps(verb)
    def call(**options: Any) -> None:
        given = common.build({each.name: options.pop(each.name) for each in common.parameters()})
        with warnings.catch_warnings(), log_on_stderr(given.level):
            warnings.showwarning = functools.partial(_show_warning, call)
            try:
                threads = num_threads()  # what the environment says is checked before any work
                _log.debug("qhead %s, %d threads", version("qhead"), threads)
                own(**options)
                sys.stdout.flush()
            except (QheadError, HardwareError) as error:
                _complain_to_user("Error", error, call)
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

    call.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *common.parameters()]
    )
    return call


def complain(kind: str, message: str) -> None:
    """Write one message to stderr, without markup and without wrapping; notes not if quiet."""
    if kind == "Note":
        _log.info("Note: %s", message)
    else:
        print(f"{kind}: {message}", file=sys.stderr)


@contextmanager
def naming_the_run() -> Iterator[None]:
    """Say which run a failure left in the ledger, so that it can be carried on."""
    try:
        yield
    except HardwareError as error:
        if (run_id := getattr(error, "run_id", None)) is not None:
            complain(
                "Note",
                f"run {run_id} is in the ledger as far as it went. qhead collect {run_id} carries "
                f"on later; qhead collect {run_id} --offline gives what has arrived.",
            )
        raise


def _complain_to_user(kind: str, problem: Any, verb: Verb) -> None:
    """Write an error or a warning to stderr, the options that it names spelled as the verb's."""
    named = getattr(problem, "options", ())
    complain(kind, in_options(str(problem), named, option_names(verb)) if named else str(problem))


def _sentence(error: Exception) -> str:
    """Return a failure of the machine as a sentence; "" for a bug of this project."""
    if isinstance(error, MemoryError) or "not enough memory" in str(error):  # torch's: RuntimeError
        return (
            "Not enough memory. Use a smaller head, fewer sentences at once, or a larger machine."
        )
    if isinstance(error, ImportError):
        package = "a package" if error.name is None else f"the package {error.name!r}"
        return (
            f"Cannot import {package}: {error}. Install it, or reinstall qhead with its "
            "dependencies."
        )
    if isinstance(error, OSError) and error.errno == errno.EBADF and error.filename is None:
        return "Standard output is closed. Open it, or write to a file with --out if possible."
    if isinstance(error, OSError):
        what = "Cannot write" if error.filename is None else f"Cannot access {error.filename}"
        return f"{what}: {error.strerror or error}."
    return ""


def _by_interrupt(error: BaseException | None) -> bool:
    """Return whether Ctrl-C made an import fail: compiled modules raise ImportError for it."""
    while isinstance(error, ImportError):
        error = error.__cause__ or error.__context__
    return isinstance(error, KeyboardInterrupt)


def _give_up_stdout() -> None:
    """Redirect a standard output that fails, so that the flush at exit does not fail again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(
    verb: Verb,
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    """Show this project's warnings as sentences; those of libraries are for their developers."""
    if category.__module__.split(".")[0] in ("qhead", "hardware"):
        _complain_to_user("Warning", message, verb)
