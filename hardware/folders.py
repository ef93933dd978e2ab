"""Where files of the user's are kept."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return ``$QHEAD_CACHE``, or ``qhead`` in the user's cache folder; nothing is created.

    That is ``$XDG_CACHE_HOME`` or ``~/.cache``.
    """
    if named := os.environ.get("QHEAD_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qhead"
