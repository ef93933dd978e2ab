"""Imports that Ctrl-C must not cut short."""

from __future__ import annotations

import importlib
import signal
import threading
from typing import Any


def import_whole(name: str) -> Any:
    """Import a module and return it; a Ctrl-C meanwhile is raised when it is there.

    Compiled modules turn a `KeyboardInterrupt` in their initialisation into an `ImportError`, which
    Qiskit's test for optional packages takes for "not installed". The interrupt would be lost, and
    the half-initialised module could not be imported again in this process.

    Raises:
        ImportError: The module cannot be imported.
        KeyboardInterrupt: SIGINT arrived.
    """
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        return importlib.import_module(name)  # an interrupt does not arrive here, or is heard else
    arrived = False

    def remember(number: int, frame: object) -> None:
        nonlocal arrived
        arrived = True

    signal.signal(signal.SIGINT, remember)
    try:
        module = importlib.import_module(name)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if arrived:
            raise KeyboardInterrupt
    return module
