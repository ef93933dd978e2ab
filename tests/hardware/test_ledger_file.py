"""The ledger's file on disks that hosts share, ledgers of older versions, and who holds a claim."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path

import numpy as np
import psutil
import pytest

from hardware.errors import LedgerError
from hardware.ledger import database
from hardware.ledger.ledger import Ledger, Pace
from hardware.ledger.records import JOB_MOVES, JOB_STATES, given_up_by, is_gone, new_claimant

Mount = namedtuple("Mount", "device mountpoint fstype opts")


def mounted(monkeypatch, *mounts):
    """Let the system have these mounts, (folder, type of file system, options)."""
    found = [Mount("x", str(where), kind, options) for where, kind, options in mounts]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: found)


def journal(path: Path) -> str:
    with sqlite3.connect(path) as db:
        mode = db.execute("PRAGMA journal_mode").fetchone()[0]
    db.close()
    return mode


def new_run(ledger):
    return ledger.create_run(
        plan_hash="x",
        plan_body=b"plan",
        job_seconds=[2.0, 2.0],
        target="ibm:ibm_manila",
        device="ibm_manila",
        local=False,
        budget_seconds=5.0,
    ).id


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("ext4", "rw,relatime", "wal"),
        ("xfs", "rw", "wal"),
        ("NTFS", "rw,fixed", "wal"),
        ("NTFS", "rw,remote", "delete"),
        ("nfs4", "rw", "delete"),
        ("cifs", "rw", "delete"),
        ("fuse.sshfs", "rw", "delete"),
        ("lustre", "rw", "delete"),
        ("9p", "rw", "delete"),
        ("somethingfs", "rw", "delete"),
    ],
)
def test_a_ledger_that_hosts_may_share_has_a_rollback_journal(
    tmp_path, monkeypatch, kind, options, expected
):
    mounted(monkeypatch, ("/", "ext4" if expected == "delete" else "nfs", "rw"),
            (tmp_path, kind, options), (tmp_path / "else", "nfs", "rw"))  # fmt: skip
    path = tmp_path / "folder" / "ledger.sqlite"
    with Ledger(path) as ledger:
        run = new_run(ledger)
    assert journal(path) == expected
    with Ledger(path) as ledger:
        assert ledger.run(run).state == "planned"
    assert journal(path) == expected


def test_a_ledger_on_an_unknown_disk_has_a_rollback_journal(tmp_path, monkeypatch):
    mounted(monkeypatch)
    Ledger(tmp_path / "ledger.sqlite").close()
    assert journal(tmp_path / "ledger.sqlite") == "delete"


def test_mounts_of_memory_count_too(monkeypatch):
    asked = []
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: asked.append(all) or [])
    assert not database.is_local(Path("/"))
    assert asked == [True]


def test_another_process_may_be_about_to_write_a_new_ledger(tmp_path):
    Ledger(tmp_path / "whole.sqlite").close()
    born = tmp_path / "ledger.sqlite"
    born.touch()
    threading.Timer(0.3, lambda: (tmp_path / "whole.sqlite").replace(born)).start()
    with Ledger(born) as ledger:
        assert ledger.runs() == []


def test_the_folders_of_a_new_ledger_are_made(tmp_path):
    Ledger(tmp_path / "new" / "folder" / "ledger.sqlite").close()
    assert (tmp_path / "new" / "folder" / "ledger.sqlite").is_file()


def test_only_damage_is_called_damage(tmp_path):
    def message(text: str) -> str:
        with pytest.raises(LedgerError) as caught, database.guard(tmp_path / "ledger.sqlite"):
            raise sqlite3.OperationalError(text)
        return str(caught.value)

    assert "got a damaged file" in message("database disk image is malformed")
    assert "could not be used: interrupted" in message("interrupted")


def test_the_mount_that_hides_another_counts(tmp_path, monkeypatch):
    mounted(monkeypatch, (tmp_path, "ext4", "rw"), (tmp_path, "nfs", "rw"))
    assert not database.is_local(tmp_path / "ledger.sqlite")


@pytest.fixture
def with_log(tmp_path, monkeypatch) -> Path:
    """Return a ledger with a write-ahead log, on a disk that has become a shared one."""
    path = tmp_path / "ledger.sqlite"
    mounted(monkeypatch, (tmp_path, "ext4", "rw"))
    with Ledger(path) as ledger:
        new_run(ledger)
    assert journal(path) == "wal"
    mounted(monkeypatch, (tmp_path, "nfs", "rw"))
    return path


def test_a_ledger_that_moves_to_a_shared_disk_loses_its_write_ahead_log(with_log):
    with Ledger(with_log) as ledger, Ledger(with_log) as beside:  # neither holds it for itself
        assert len(ledger.runs()) == 1
        new_run(beside)
        assert len(ledger.runs()) == 2
    assert journal(with_log) == "delete"
    assert not list(with_log.parent.glob("*-wal"))


def test_a_ledger_whose_log_is_in_use_is_not_opened_on_a_shared_disk(with_log, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    other = sqlite3.connect(with_log)
    other.execute("BEGIN")
    other.execute("SELECT * FROM runs").fetchall()
    with pytest.raises(LedgerError, match="another process"):
        Ledger(with_log)
    other.close()
    Ledger(with_log).close()
    assert journal(with_log) == "delete"


def test_another_programs_database_keeps_its_log(tmp_path, monkeypatch):
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE recipes (name TEXT)")
    db.close()
    mounted(monkeypatch, (tmp_path, "nfs", "rw"))
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="another program's"):
        Ledger(path)
    assert path.read_bytes() == before


# --- older ledgers ------------------------------------------------------------------------------


@pytest.fixture
def first_version(tmp_path) -> Path:
    """Return a ledger of version 1: one job done without metrics, one the platform lost."""
    path = tmp_path / "ledger.sqlite"
    db = sqlite3.connect(path, isolation_level=None)
    for statement in database.MIGRATIONS[0].split(";"):
        db.execute(statement)
    at = "2026-01-01T00:00:00.000000Z"
    db.execute("INSERT INTO plans VALUES ('x', x'00', ?, ?)", (database.digest(b"\0"), at))
    db.execute(
        "INSERT INTO runs VALUES "
        "('r', 'failed', 'x', 't', 'd', 0, 'tag', NULL, 9, 4, '', '', ?, ?)",
        (at, at),
    )
    for idx, (state, reason) in enumerate(
        [("done", None), ("failed", "the platform no longer knows the job"), ("failed", "broken")]
    ):
        db.execute(
            "INSERT INTO jobs VALUES ('r', ?, ?, 1, 2, 3, ?, 1, ?, NULL, NULL, ?)",
            (idx, state, f"remote-{idx}", reason, at),
        )
        db.execute("INSERT INTO tags VALUES (?, 'r', ?, 1, ?, ?)", (f"tag-{idx}", idx, at, at))
        db.execute(
            "INSERT INTO remote_jobs VALUES (?, ?, 'adopted', 'DONE', ?, ?, ?)",
            (f"remote-{idx}", f"tag-{idx}", [0.0, 0.0, 1.5][idx], at, at),
        )
    blob = database.pack_arrays({"x": np.arange(3)})
    db.execute(
        "INSERT INTO results VALUES ('r', 0, 'remote-0', ?, ?, ?)",
        (blob, database.digest(blob), at),
    )
    db.execute(f"PRAGMA application_id = {int.from_bytes(b'qhld', 'big')}")
    db.execute("PRAGMA user_version = 1")
    db.close()
    return path


def test_a_first_version_is_opened_and_forgets_charges_of_zero_that_nobody_knew(first_version):
    with Ledger(first_version) as ledger:
        run = ledger.run("r")
        assert run.instance is None
        assert [job.state for job in ledger.jobs("r")] == ["done", "unknown", "failed"]
        assert [one for one, _, _ in ledger.uncharged("r")] == ["remote-0", "remote-1"]
        spending = ledger.spending("r")
        assert (spending.charged, spending.in_flight) == (1.5, 6.0)  # 3 s reserved for each
        np.testing.assert_array_equal(ledger.result("r", 0)["x"], np.arange(3))
        with pytest.raises(LedgerError, match="FOREIGN KEY"), ledger.writing() as db:
            db.execute("DELETE FROM jobs WHERE idx = 0")
        assert ledger.reopen("r", budget_seconds=20.0) == 1


def test_rows_that_belong_to_nothing_stop_a_migration(first_version):
    with sqlite3.connect(first_version) as db:
        db.execute("UPDATE tags SET idx = 9 WHERE idx = 2")
    db.close()
    before = first_version.read_bytes()
    with pytest.raises(LedgerError, match="belong to nothing"):
        Ledger(first_version)
    assert first_version.read_bytes()[:100] == before[:100]
    with sqlite3.connect(first_version) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == 1
    db.close()


# --- one table of moves -------------------------------------------------------------------------


@pytest.mark.parametrize("before", JOB_STATES)
def test_the_database_makes_the_moves_of_the_table_and_no_others(tmp_path, before):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        run = new_run(ledger)
        for after in JOB_STATES:
            with ledger.writing() as db:  # whatever the state was
                db.execute("DROP TRIGGER job_moves")
                db.execute("UPDATE jobs SET state = ?", (before,))
                database._enforce_moves(db)
            job = ledger.job(run, 0)
            if after in JOB_MOVES[before]:
                with ledger.writing() as db:
                    db.execute("UPDATE jobs SET state = ?", (after,))
                continue
            with pytest.raises(LedgerError, match="cannot make this move"), ledger.writing() as db:
                db.execute("UPDATE jobs SET state = ?", (after,))
            with pytest.raises(ValueError, match="cannot go"), ledger.writing() as db:
                ledger.move_job(db, job, after)


def test_adopting_moves_by_the_table(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        run = new_run(ledger)
        me = new_claimant()
        job = ledger.leases.claim_next(run, me, 60, Pace()).job
        ledger.accept(job, "first")
        done = ledger.job(run, 0)
        ledger.results.finish(done, {"x": np.zeros(1)})
        assert not ledger.adopt_stray(ledger.job(run, 0), "other", "DONE", job.tag)
        assert not ledger.adopt_instead(done, "other", "DONE")
        assert ledger.job(run, 0).remote_id == "first"
        moved = [event.what for event in ledger.events(run) if event.idx == 0]
        assert moved == ["planned → submitting", "submitting → submitted", "submitted → done"]


# --- who holds a claim --------------------------------------------------------------------------


def claimant_of(pid: int, begun: str) -> str:
    place = new_claimant().rsplit("|", 2)[0]
    return f"{place}|{pid}{begun}|x"


def test_a_process_is_known_by_its_id_and_when_it_began(monkeypatch):
    def kill(*_):
        raise AssertionError("on Windows this is Ctrl-C")

    monkeypatch.setattr(os, "kill", kill)
    me = new_claimant()
    assert not is_gone(me)
    assert not is_gone(claimant_of(os.getpid(), ""))  # as older versions wrote it
    assert is_gone(claimant_of(os.getpid(), ":1"))  # another process had this id
    assert is_gone(None)
    assert not is_gone(f"other-host|{os.getpid()}:1|x")


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="needs Unix processes")
def test_a_process_that_ended_is_gone_even_before_its_parent_looks():
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
        assert is_gone(claimant_of(child.pid, ""))
    assert is_gone(claimant_of(child.pid, ""))


def test_a_process_that_cannot_be_looked_at_is_not_known_to_be_gone(monkeypatch):
    def denied(pid):
        raise psutil.AccessDenied(pid)

    me = new_claimant()
    assert given_up_by(me) == me.rpartition("|")[0] + "|"
    monkeypatch.setattr(psutil, "Process", denied)
    assert not is_gone(me)
