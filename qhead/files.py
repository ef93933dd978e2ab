"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO

from qhead.errors import InputError


def disk_full(error: OSError) -> bool:
    """Return whether an operation failed for want of space."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[str]]:
    """Yield a text file that becomes `path` where the block succeeds and vanishes where it fails.

    Raises:
        InputError: The disk refuses; `path` is as it was before.
    """
    path = path.absolute()
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file. Choose another name.")
    check_parent(path)
    with replacing(path) as partial, partial.open("x", encoding="utf-8", newline="") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a partial file's name; that file becomes `path`, an absolute one, after the block.

    Raises:
        InputError: The disk refuses; `path` is as it was before.
    """
    partial = _partial(path)
    try:
        with new_parents(path.parent):
            try:
                yield partial
                partial.replace(path)
                sync_folder(path.parent)
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"Cannot write {path}: {error.strerror or error}. Nothing was changed; "
            + ("free some space" if disk_full(error) else "choose another place")
            + " and try again."
        ) from error


@contextmanager
def new_parents(parent: Path) -> Iterator[None]:
    """Make the missing parents, and remove them again where the block fails."""
    missing = [path for path in (parent, *parent.parents) if not path.exists()]
    try:
        parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in missing:  # innermost first; one that others use by now stays
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


@contextmanager
def partial_folder(folder: Path) -> Iterator[Path]:
    """Yield a new sibling folder that is gone afterwards unless it was renamed away."""
    partial = _partial(folder)
    partial.mkdir()
    try:
        yield partial
    finally:
        if partial.exists():
            shutil.rmtree(partial)


def check_parent(path: Path) -> None:
    """Raise an `InputError` where the nearest existing parent is no folder to write to.

    A folder is made there for a moment: the permissions alone do not tell of file systems that are
    read-only or of another kind, nor of names that are too long.
    """
    parent = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    try:
        partial = _partial(parent / path.name)
        partial.mkdir()
        partial.rmdir()
    except OSError as error:
        raise InputError(
            f"Cannot write {path}: {error.strerror or error} ({parent}). Choose another place."
        ) from error


def _partial(path: Path) -> Path:
    """Return a name beside `path` for what is not complete yet."""
    return path.with_name(f".{path.name}.partial-{secrets.token_hex(4)}")


def check_new(path: Path | None, *, force: bool) -> None:
    """Raise an `InputError` unless `path` can be written; worth a call before any work."""
    if path is None:
        return
    if path.is_dir():
        raise InputError(f"{path} is a folder, not a file. Choose another name.")
    if os.path.lexists(path) and not force:
        raise InputError(f"{path} already exists. Choose another name, or replace it with --force.")
    check_parent(path)


def is_occupied(folder: Path) -> bool:
    """Return whether there is anything at this path but an empty folder."""
    if not folder.is_dir():
        return os.path.lexists(folder)
    return folder.is_symlink() or any(folder.iterdir())


def free_name(path: Path, suffix: str) -> Path:
    """Return the first path beside `path` that is free: ``NAME.suffix``, ``NAME.suffix-2`` …"""
    path = path.resolve() if path.name in ("", "..") else path
    names = (f"{path.name}.{suffix}" + ("" if n == 1 else f"-{n}") for n in count(1))
    return next(p for p in (path.with_name(name) for name in names) if not os.path.lexists(p))


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and wait until it is on the disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
