"""Embeddings on disk: one SQLite file, one row a vector.

Why SQLite, and not a file a vector or one large array: a row appears in a transaction, so that a
process killed at any moment leaves either the whole batch or none of it; several processes may
write at once (write-ahead log, waiting their turn); thousands of vectors are read by a few queries;
and the oldest can be deleted without touching the rest. Reading writes nothing.

The key of a row is SHA-256 over the *space* (everything about the encoder that changes a vector)
and the text.

Each call opens the file and closes it again: the object holds no connection, so that threads may
share it and a process may fork. The file must be on a local disk (SQLite's write-ahead log does not
work over a network); the environment variable QHEAD_CACHE moves it.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import sqlite3
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hardware.folders import cache_folder
from qhead.encoder.cache_file import bytes_used, connect, count_entries, give_back, transaction
from qhead.errors import EncoderError

DEFAULT_MAX_BYTES = 2 * 1024**3

# A file of another version of the tables has another name and is left alone.
_FILE = "embeddings-v2.sqlite"
_KEYS_PER_QUERY = 500  # SQLite's oldest limit on variables is 999
_KEPT_AFTER_EVICTION = 0.9
# A file changed within this time may change again without a new time stamp.
_SETTLED_NS = 2_000_000_000


class CacheWarning(UserWarning):
    """The cache cannot be used and has turned itself off; everything else goes on."""


class CachedVector(NamedTuple):
    """One embedding, and whether the encoder saw only the beginning of its text."""

    vector: np.ndarray  # (d,) float32
    truncated: bool


@dataclass(frozen=True)
class CacheStats:
    """State of the file, and what this object has done with it so far."""

    folder: Path
    enabled: bool
    entries: int
    bytes: int  # in use within the file
    max_bytes: int
    hits: int
    misses: int


class EmbeddingCache:
    """A size-bounded, crash-safe store of embeddings, shared by all processes of a user.

    Args:
        folder: Where the file lies; None: QHEAD_CACHE, or else ``qhead`` in the user's cache folder
            (XDG_CACHE_HOME or ``~/.cache``). Nothing is read or written before the first use.
        max_bytes: Above this size the oldest vectors go. The file may exceed it by one
            batch, and by the log beside it.

    Raises:
        EncoderError: `max_bytes` is too small to hold anything.
    """

    def __init__(
        self, folder: str | os.PathLike[str] | None = None, max_bytes: int = DEFAULT_MAX_BYTES
    ) -> None:
        if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 2**16:
            raise EncoderError(
                f"Expected the cache to be allowed at least {2**16:,} bytes, got {max_bytes!r}."
            )
        self.folder = cache_folder() if folder is None else Path(folder)
        self.max_bytes = max_bytes
        self.enabled = True
        self._hits = self._misses = 0

    @property
    def path(self) -> Path:
        """The file of the cache."""
        return self.folder / _FILE

    def get(self, space: str, texts: Sequence[str]) -> list[CachedVector | None]:
        """Return the vector of each text, or None where it is not known.

        Args:
            space: Name of everything about the encoder that changes a vector.
            texts: n texts.
        """
        keys = [_key(space, text) for text in texts]
        found: dict[bytes, CachedVector] = {}
        with self._off_on_failure(), self._connection() as connection:
            for start in range(0, len(keys), _KEYS_PER_QUERY):
                found |= self._read(connection, keys[start : start + _KEYS_PER_QUERY])
        result = [found.get(key) for key in keys]
        hits = sum(item is not None for item in result)
        self._hits += hits
        self._misses += len(result) - hits
        return result

    def put(
        self,
        space: str,
        texts: Sequence[str],
        vectors: np.ndarray,
        truncated: Sequence[bool] | None = None,
    ) -> None:
        """Store one vector a text, all or none; older ones of the same texts are replaced.

        Args:
            space: As for `get`.
            texts: n texts.
            vectors: Shape (n, d), float32.
            truncated: Whether the encoder saw only the beginning of each text; None: of none.
        """
        flags = [False] * len(texts) if truncated is None else truncated
        rows = [
            (_key(space, text), np.asarray(vector, dtype="<f4").tobytes(), int(flag))
            for text, vector, flag in zip(texts, vectors, flags, strict=True)
        ]
        with self._off_on_failure(), self._connection() as connection:
            with transaction(connection):
                connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)
                evicted = self._evict(connection)
            if evicted:
                give_back(connection)

    def file_sha256(self, path: Path) -> str:
        """Return the SHA-256 of a file, which is read again only if it has changed.

        Unchanged means: same path, size, modification time (ns) and inode.
        """
        state = path.stat()
        seen = (str(path), state.st_size, state.st_mtime_ns, state.st_ino)
        with self._off_on_failure(), self._connection() as connection:
            row = connection.execute(
                "SELECT sha256 FROM file_hashes"
                " WHERE path = ? AND size = ? AND mtime_ns = ? AND inode = ?",
                seen,
            ).fetchone()
            if row is not None:
                return str(row[0])
        digest = file_sha256(path)
        if time.time_ns() - state.st_mtime_ns > _SETTLED_NS:
            with self._off_on_failure(), self._connection() as connection, transaction(connection):
                connection.execute(
                    "INSERT OR REPLACE INTO file_hashes VALUES (?, ?, ?, ?, ?)", (*seen, digest)
                )
        return digest

    def stats(self) -> CacheStats:
        """Return the number of entries, their size and the hits so far."""
        entries = size = 0
        with self._off_on_failure(), self._connection() as connection:
            entries, size = count_entries(connection), bytes_used(connection)
        counts = (self._hits, self._misses)
        return CacheStats(self.folder, self.enabled, entries, size, self.max_bytes, *counts)

    def clear(self) -> None:
        """Delete all vectors."""
        with self._off_on_failure(), self._connection() as connection:
            connection.execute("DELETE FROM vectors")
            give_back(connection)

    def _read(
        self, connection: sqlite3.Connection, keys: Sequence[bytes]
    ) -> dict[bytes, CachedVector]:
        marks = ",".join("?" * len(keys))
        query = f"SELECT key, vector, truncated FROM vectors WHERE key IN ({marks})"
        found = {}
        for key, data, truncated in connection.execute(query, keys):
            # A row of a damaged file may hold anything; what can be no vector is not there.
            if isinstance(data, bytes) and len(data) % 4 == 0:
                vector = np.frombuffer(data, dtype="<f4").astype(np.float32)
                if np.isfinite(vector).all():
                    found[key] = CachedVector(vector, bool(truncated))
        return found

    def _evict(self, connection: sqlite3.Connection) -> bool:
        """Delete the oldest rows until the rest fits; return whether any went."""
        before = entries = count_entries(connection)
        while entries and (size := bytes_used(connection)) > self.max_bytes:
            surplus = 1 - _KEPT_AFTER_EVICTION * self.max_bytes / size
            connection.execute(
                "DELETE FROM vectors WHERE rowid IN"
                " (SELECT rowid FROM vectors ORDER BY rowid LIMIT ?)",
                (math.ceil(entries * surplus),),
            )
            entries = count_entries(connection)
        return entries < before

    @contextlib.contextmanager
    def _off_on_failure(self) -> Iterator[None]:
        """Turn the cache off, with one warning, where the file or its disk does not cooperate."""
        if not self.enabled:
            with contextlib.suppress(_Off):
                yield
            return
        try:
            yield
        except (OSError, sqlite3.Error, UnicodeDecodeError) as error:  # the last: damaged names
            self.enabled = False
            warnings.warn(
                f"The embedding cache {self.path} is turned off ({error}); sentences are embedded "
                "afresh. Free some space, make the folder writable, delete the file if it is "
                "damaged, or choose another folder with QHEAD_CACHE.",
                CacheWarning,
                stacklevel=4,
            )

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        if not self.enabled:
            raise _Off
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with connect(self.path) as connection:
            yield connection


class _Off(Exception):
    """The cache is off: leave the block."""


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _key(space: str, text: str) -> bytes:
    # The space has no NUL, so that no other pair of space and text gives the same bytes.
    return hashlib.sha256(space.encode() + b"\0" + text.encode()).digest()
