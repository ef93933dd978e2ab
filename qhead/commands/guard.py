"""From exceptions to exit codes: a user's mistake is a sentence on stderr, never a traceback."""

from __future__ import annotations

import errno
import functools
import inspect
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from hardware.errors import HardwareError
from hardware.threads import num_threads
from qhead.commands.config import read_config
from qhead.commands.terminal import log_on_stderr
from qhead.commands.wording import in_options, option_names
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


#: Options that every verb has.
_COMMON = {
    "config": Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="TOML file with options of this verb; the command line wins.",
            is_eager=True,
            callback=_use_config,
            show_default=False,
        ),
    ],
    "verbose": Annotated[
        bool, typer.Option("--verbose", "-v", help="Say more about what happens.")
    ],
    "quiet": Annotated[
        bool, typer.Option("--quiet", "-q", help="Print results, warnings and errors only.")
    ],
}


def exit_codes(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb its exit codes, and the options that every verb has.

    1 for a failed run or a failing platform, 2 for invalid usage or input, 3 where rows are
    missing, 130 and 141 for signals.
    """

    @functools.wraps(verb)
    def guarded(*args: Any, **options: Any) -> None:
        options.pop("config", None)  # `_use_config` has read it
        level = _level(verbose=options.pop("verbose", False), quiet=options.pop("quiet", False))
        with warnings.catch_warnings(), log_on_stderr(level):
            warnings.showwarning = functools.partial(_show_warning, verb)
            try:
                threads = num_threads()  # what the environment says is checked before any work
                _log.debug("qhead %s, %d threads", version("qhead"), threads)
                verb(*args, **options)
                sys.stdout.flush()
            except (QheadError, HardwareError) as error:
                _complain_to_user("Error", error, verb)
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

    signature = inspect.signature(verb, eval_str=True)
    common = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None if name == "config" else False,
            annotation=annotation,
        )
        for name, annotation in _COMMON.items()
    ]
    parameters = [*signature.parameters.values(), *common]
    guarded.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return guarded


def _level(*, verbose: bool, quiet: bool) -> int:
    """Return the level from which on messages are shown; ``--quiet`` wins."""
    return logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO


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


def _complain_to_user(kind: str, problem: Any, verb: Callable[..., None]) -> None:
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
        what = "The system failed" if error.filename is None else f"Cannot access {error.filename}"
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
    verb: Callable[..., None],
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
