"""Where files of the user's are kept, and how."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """Return ``$QHEAD_CACHE``, or ``qhead`` in the user's cache folder; nothing is created.

    That is ``$XDG_CACHE_HOME`` or ``~/.cache``.
    """
    if named := os.environ.get("QHEAD_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qhead"


def write_private(path: Path, body: bytes) -> None:
    """Write a file that the user alone can read, complete or not at all; folders are created.

    Raises:
        OSError: The disk refuses.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
