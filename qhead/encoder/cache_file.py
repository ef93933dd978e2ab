"""The SQLite file under the embedding cache: opened, created once, used in transactions."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

_SCHEMA = (
    "CREATE TABLE vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL, truncated INTEGER NOT NULL)",
    "CREATE TABLE file_hashes (path TEXT PRIMARY KEY, size INTEGER NOT NULL,"
    " mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL, sha256 TEXT NOT NULL)",
)
_VERSION = 2
_WAIT_SECONDS = 30.0


@contextlib.contextmanager
def connect(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection to the file, which is created if it is not there, and close it.

    Raises:
        sqlite3.Error: The file cannot be opened or belongs to something else.
    """
    # Transactions are begun by hand (isolation_level None): the module would begin them late.
    connection = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None)
    try:
        _prepare(connection)
        yield connection
    finally:
        connection.close()


def _prepare(connection: sqlite3.Connection) -> None:
    """Set a connection up, and make the tables where the file is new."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    if _version(connection) == 0:
        _create(connection)
    if _version(connection) != _VERSION:
        raise sqlite3.DatabaseError("the file belongs to another program or version")
    # In WAL mode this cannot corrupt the file; a power failure may cost the last vectors.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA journal_size_limit = 16777216")


def _create(connection: sqlite3.Connection) -> None:
    """Make the tables. Another process may be doing the same at this moment."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            # Both are kept in the file; the first must precede the first table. The change to WAL
            # does not wait for a lock as other statements do, hence the loop.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            break
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    with transaction(connection):
        if _version(connection) == 0 and not _tables(connection):
            for statement in _SCHEMA:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {_VERSION}")


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Do all of the block, waiting for other writers, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        # After a full disk SQLite may have rolled back already.
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _tables(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0])


def count_entries(connection: sqlite3.Connection) -> int:
    """Return the number of vectors."""
    return int(connection.execute("SELECT count(*) FROM vectors").fetchone()[0])


def bytes_used(connection: sqlite3.Connection) -> int:
    """Return the size of the pages that hold something."""
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def give_back(connection: sqlite3.Connection) -> None:
    """Hand the pages of deleted rows back to the disk."""
    # Not `execute`, which would step the statement once, and so free a single page.
    connection.executescript("PRAGMA incremental_vacuum")
