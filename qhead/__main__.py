"""The program itself: ``qhead`` and ``python -m qhead``.

The command line is imported inside, so that Ctrl-C has one end at any moment: a line and an exit
code, whatever is being imported.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130  # 128 + the signal's number, as shells have it


def main() -> None:
    """Run the command line."""
    try:
        from qhead.cli.app import main as run

        run()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            # Typer ends without a word if the verb has not begun; the verb itself has said so.
            _leave(said=getattr(end.__context__, "__cause__", None) is None)
        raise
    except BaseException as error:
        if _interrupted(error):
            _leave(said=False)
        raise


def _interrupted(error: BaseException | None) -> bool:
    """Return whether Ctrl-C is behind an error: extension modules turn it into an ImportError."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _leave(*, said: bool) -> None:
    """End the process with the exit code of an interruption.

    Not by `sys.exit`: if the signal came in code that was compiled from a string (a dataclass is),
    Python would still end the process by the signal.
    """
    signal.signal(signal.SIGINT, _leave_now)
    if not said:
        print("Interrupted.", file=sys.stderr)
    atexit._run_exitfuncs()
    _leave_now()


def _leave_now(number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            continue  # the reader has gone
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
