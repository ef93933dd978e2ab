"""Imports on demand, and imports that Ctrl-C must not cut short."""

from __future__ import annotations

import importlib
import signal
import sys
import threading
from collections.abc import Callable, Mapping
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


def on_demand(
    package: str, exports: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package that imports its names when first used.

    Args:
        package: The package's own name.
        exports: Public name → module that defines it.
    """

    def getattr_(name: str) -> Any:
        if name not in exports:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(exports[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def dir_() -> list[str]:
        return sorted({*exports, *getattr(sys.modules[package], "__all__", ())})

    return getattr_, dir_
