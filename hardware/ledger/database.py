"""The ledger's file: opening, migrating and guarding a SQLite database, and packing arrays.

Every failure of the database becomes a `LedgerError` that says what to do, and a failed transaction
leaves the file as it was.
"""

from __future__ import annotations

import hashlib
import io
import os
import sqlite3
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

from hardware.errors import DamagedResultError, LedgerError
from hardware.ledger.records import JOB_MOVES

#: Marks a database as ours ("qhld"), so that another program's file is not taken for a ledger.
APPLICATION_ID = 0x71686C64
BUSY_SECONDS = 30.0

_V1 = """
CREATE TABLE plans (
    hash TEXT PRIMARY KEY,
    body BLOB NOT NULL,
    checksum TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('planned', 'submitted', 'done', 'failed', 'cancelled')),
    plan_hash TEXT NOT NULL REFERENCES plans (hash),
    target TEXT NOT NULL,
    device TEXT NOT NULL,
    local INTEGER NOT NULL CHECK (local IN (0, 1)),
    tag TEXT NOT NULL UNIQUE,
    batch_id TEXT,
    budget_seconds REAL CHECK (budget_seconds >= 0),
    estimate_seconds REAL NOT NULL,
    versions TEXT NOT NULL,
    calibration TEXT NOT NULL,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;
CREATE TABLE jobs (
    run_id TEXT NOT NULL REFERENCES runs (id),
    idx INTEGER NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('planned', 'submitting', 'submitted', 'done', 'failed', 'cancelled')),
    attempt INTEGER NOT NULL DEFAULT 1,
    estimate_seconds REAL NOT NULL,
    reserved_seconds REAL,
    remote_id TEXT,
    verified INTEGER NOT NULL DEFAULT 0 CHECK (verified IN (0, 1)),
    reason TEXT,
    claimant TEXT,
    lease_until TEXT,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (run_id, idx)
) STRICT;
CREATE TABLE tags (
    tag TEXT PRIMARY KEY,
    run_id TEXT NOT NULL,
    idx INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    sent_at TEXT,
    UNIQUE (run_id, idx, attempt),
    FOREIGN KEY (run_id, idx) REFERENCES jobs (run_id, idx)
) STRICT;
CREATE TABLE remote_jobs (
    remote_id TEXT PRIMARY KEY,
    tag TEXT NOT NULL REFERENCES tags (tag),
    role TEXT NOT NULL CHECK (role IN ('adopted', 'duplicate')),
    status TEXT NOT NULL,
    charged_seconds REAL,
    seen_at TEXT NOT NULL,
    updated_at TEXT NOT NULL
) STRICT;
CREATE TABLE results (
    run_id TEXT NOT NULL,
    idx INTEGER NOT NULL,
    remote_id TEXT NOT NULL REFERENCES remote_jobs (remote_id),
    arrays BLOB NOT NULL,
    checksum TEXT NOT NULL,
    saved_at TEXT NOT NULL,
    PRIMARY KEY (run_id, idx),
    FOREIGN KEY (run_id, idx) REFERENCES jobs (run_id, idx)
) STRICT;
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    at TEXT NOT NULL,
    run_id TEXT NOT NULL REFERENCES runs (id),
    idx INTEGER,
    what TEXT NOT NULL
) STRICT;
CREATE INDEX jobs_by_state ON jobs (state, run_id);
CREATE INDEX remote_by_tag ON remote_jobs (tag);
CREATE INDEX events_by_run ON events (run_id, id);
"""

#: The account's instance of a run; jobs of unknown whereabouts; what each attempt may use, and
#: since when it is in doubt. Version 1 ended jobs that the platform did not know as failed, noting
#: a charge of zero for them and wherever there were no metrics: all zeros are asked for again.
_V2 = """
ALTER TABLE runs ADD COLUMN instance TEXT;
ALTER TABLE tags ADD COLUMN doubt_at TEXT;
ALTER TABLE tags ADD COLUMN reserved_seconds REAL;
CREATE TABLE new_jobs (
    run_id TEXT NOT NULL REFERENCES runs (id),
    idx INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN
        ('planned', 'submitting', 'submitted', 'done', 'unknown', 'failed', 'cancelled')),
    attempt INTEGER NOT NULL DEFAULT 1,
    estimate_seconds REAL NOT NULL,
    reserved_seconds REAL,
    remote_id TEXT,
    verified INTEGER NOT NULL DEFAULT 0 CHECK (verified IN (0, 1)),
    reason TEXT,
    claimant TEXT,
    lease_until TEXT,
    updated_at TEXT NOT NULL,
    PRIMARY KEY (run_id, idx)
) STRICT;
INSERT INTO new_jobs SELECT run_id, idx,
    iif(state = 'failed' AND reason = 'the platform no longer knows the job', 'unknown', state),
    attempt, estimate_seconds, reserved_seconds, remote_id, verified, reason, claimant, lease_until,
    updated_at FROM jobs;
DROP TABLE jobs;
ALTER TABLE new_jobs RENAME TO jobs;
CREATE INDEX jobs_by_state ON jobs (state, run_id);
UPDATE tags SET reserved_seconds = (
    SELECT j.reserved_seconds FROM jobs j
    WHERE j.run_id = tags.run_id AND j.idx = tags.idx AND j.attempt = tags.attempt
);
UPDATE remote_jobs SET charged_seconds = NULL
    WHERE charged_seconds = 0 AND remote_id NOT LIKE 'local:%';
"""

#: Sessions of runs, which are charged as a whole. A reservation is what one may be charged at most.
_V3 = """
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES runs (id),
    reserved_seconds REAL NOT NULL,
    charged_seconds REAL,
    closed INTEGER NOT NULL DEFAULT 0 CHECK (closed IN (0, 1)),
    opened_at TEXT NOT NULL
) STRICT;
CREATE INDEX sessions_by_run ON sessions (run_id);
"""

#: Rounds of adaptive shots: each makes a run's plan longer. `later_seconds` is what the rounds that
#: are still to be decided on may take, NULL where there are none.
_V4 = """
ALTER TABLE runs ADD COLUMN later_seconds REAL;
CREATE TABLE rounds (
    run_id TEXT NOT NULL REFERENCES runs (id),
    number INTEGER NOT NULL,
    plan_hash TEXT NOT NULL REFERENCES plans (hash),
    decided_at TEXT NOT NULL,
    PRIMARY KEY (run_id, number)
) STRICT;
"""

#: Statements that lead from each schema version to the next; the first makes an empty file one.
MIGRATIONS: tuple[str, ...] = (_V1, _V2, _V3, _V4)
SCHEMA_VERSION = len(MIGRATIONS)

#: What SQLite and its module say of a file that was changed by others.
_DAMAGE = ("not a database", "malformed", "Could not decode to UTF-8")
#: How long the first opening of a new ledger may take, in seconds.
_BIRTH_SECONDS = 3.0
#: File systems that no other host can reach behind this one's back. On any other, NFS and SMB above
#: all, a write-ahead log is unsafe.
_LOCAL = (
    *("apfs", "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfs", "jfs", "ntfs"),
    *("ntfs3", "overlay", "ramfs", "refs", "reiserfs", "tmpfs", "ufs", "vfat", "xfs", "zfs"),
)


def default_path() -> Path:
    """Return ``$QHEAD_LEDGER``, or ``qhead/ledger.sqlite`` in the user's data folder."""
    if named := os.environ.get("QHEAD_LEDGER"):
        return Path(named).expanduser()
    base = os.environ.get("XDG_DATA_HOME")
    folder = Path(base) if base else Path.home() / ".local" / "share"
    return folder / "qhead" / "ledger.sqlite"


@contextmanager
def guard(path: Path) -> Iterator[None]:
    """Turn a failure of the database at `path` into a `LedgerError` with a remedy."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise LedgerError(f"{_explain(path, error)} The ledger is as it was.") from error


def _explain(path: Path, error: Exception) -> str:
    text = str(error)
    read_only = "readonly" in text or "read-only" in text.lower()
    # SQLite cannot open its files beside the ledger's on a read-only file system, and says so.
    shut = "unable to open" in text and path.exists() and not os.access(path.parent, os.W_OK)
    if read_only or shut or isinstance(error, PermissionError):
        remedy = "make it and its folder writable, or name another with QHEAD_LEDGER"
        return f"Expected a writable ledger at {path}, got a read-only one: {remedy}."
    if "full" in text or "No space left" in text:
        return f"Expected room for the ledger at {path}, got a full disk: free some space."
    if "locked" in text:
        return f"Expected the ledger at {path} to be free, but another process holds it: try again."
    if "unable to open" in text:
        return f"Expected a ledger file at {path}, which cannot be opened: check the folder."
    if any(sign in text for sign in _DAMAGE):
        return (
            f"Expected a ledger at {path}, got a damaged file ({text}): restore a copy, or move it "
            "away and name the runs' jobs by their tags on the platform."
        )
    return f"The ledger at {path} could not be used: {text}."


def connect(path: Path) -> sqlite3.Connection:
    """Open the ledger at `path`, make it if it is absent and bring it to this schema version.

    Raises:
        LedgerError: It is newer than this program, damaged, read-only or no ledger at all.
    """
    with guard(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_size(path)
        db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        with guard(path):
            db.row_factory = sqlite3.Row
            # A power cut must not take back a row whose request has left.
            db.execute("PRAGMA synchronous = FULL")
            shared = not is_local(path)
            if shared and path.exists() and _has_wal(path):
                _leave_wal(db, path)
            _migrate(db, path, "DELETE" if shared else "WAL")
            db.execute("PRAGMA foreign_keys = ON")  # off while tables are made anew
            _enforce_moves(db)
    except BaseException:
        db.close()
        raise
    return db


def _check_size(path: Path) -> None:
    """Refuse an empty file: what was in it is lost, and a new ledger would hide that."""
    until = time.monotonic() + _BIRTH_SECONDS
    while path.is_file() and not path.stat().st_size:
        if time.monotonic() > until:  # else another process may be about to write it
            raise LedgerError(
                f"Expected a ledger at {path}, got an empty file: restore a copy, or remove the "
                "file if there never was anything in it."
            )
        time.sleep(0.05)


def is_local(path: Path) -> bool:
    """Whether a file lies on a file system of this host alone, as far as that is known."""
    parts = path.resolve().parts
    found = ""
    longest = 0
    for mount in psutil.disk_partitions(all=True):
        at = Path(mount.mountpoint).parts
        if parts[: len(at)] == at and len(at) >= longest:  # a later mount hides an earlier one
            longest = len(at)
            found = "remote" if "remote" in mount.opts.split(",") else mount.fstype.lower()
    return found in _LOCAL


def _has_wal(path: Path) -> bool:
    """Whether a database has a write-ahead log, by its header: asking SQLite would open that."""
    with path.open("rb") as file:
        return file.read(19)[18:] == b"\x02"


def _leave_wal(db: sqlite3.Connection, path: Path) -> None:
    """Give a ledger a rollback journal instead of a write-ahead log.

    The log's index is memory that processes share, which those of two hosts cannot.
    """
    db.execute("PRAGMA locking_mode = EXCLUSIVE")  # without that memory
    _version(db, path)  # refuses what is not ours
    db.execute("PRAGMA journal_mode = DELETE")
    db.execute("PRAGMA locking_mode = NORMAL")
    _version(db, path)  # the next access gives the lock up


def _enforce_moves(db: sqlite3.Connection) -> None:
    """Let the database refuse all moves of jobs that the table has not, whoever makes them."""
    allowed = " ".join(
        f"WHEN '{state}' THEN NEW.state IN ({', '.join(repr(one) for one in moves)})"
        for state, moves in JOB_MOVES.items()
    )
    db.execute(
        "CREATE TEMP TRIGGER job_moves BEFORE UPDATE OF state ON jobs "
        f"WHEN NOT CASE OLD.state {allowed} ELSE 0 END "
        "BEGIN SELECT RAISE(ABORT, 'a job cannot make this move'); END"
    )


def _migrate(db: sqlite3.Connection, path: Path, journal: str) -> None:
    version = _version(db, path)
    if version == SCHEMA_VERSION:
        return
    if not version:
        db.execute(f"PRAGMA journal_mode = {journal}")
    with transaction(db):
        for step in range(_version(db, path), SCHEMA_VERSION):  # read again: now nobody else writes
            for statement in filter(None, map(str.strip, MIGRATIONS[step].split(";"))):
                db.execute(statement)
        if db.execute("PRAGMA foreign_key_check").fetchone():
            raise LedgerError(
                f"The ledger at {path} holds rows that belong to nothing: it is damaged; restore a "
                "copy. The ledger is as it was."
            )
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _version(db: sqlite3.Connection, path: Path) -> int:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    owner = int(db.execute("PRAGMA application_id").fetchone()[0])
    empty = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if owner != APPLICATION_ID and not empty:
        raise LedgerError(
            f"Expected a ledger at {path}, got another program's database: name another file with "
            "QHEAD_LEDGER."
        )
    if version > SCHEMA_VERSION:
        raise LedgerError(
            f"Expected a ledger of schema version {SCHEMA_VERSION} or older at {path}, got "
            f"{version}: it was made by a newer qhead; update this one. The ledger is as it was."
        )
    return version


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Run statements that all hold or none, shut off from other writers from the start."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def pack_arrays(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays by name as compressed npz bytes, without pickle.

    Raises:
        ValueError: An array holds Python objects.
    """
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise ValueError(f"Expected plain numbers in {name!r}, got dtype {array.dtype}.")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack_arrays(blob: bytes, checksum: str, where: str) -> dict[str, np.ndarray]:
    """Return the arrays of `pack_arrays`.

    Raises:
        DamagedResultError: The bytes are not those that were stored.
    """
    if digest(blob) != checksum:
        raise DamagedResultError(
            f"Expected {where} as it was stored, got other bytes: the ledger's file is damaged; "
            "restore a copy, or collect the run again."
        )
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise DamagedResultError(
            f"Expected arrays in {where}, got {error}: collect the run again."
        ) from error


def digest(blob: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(blob).hexdigest()
