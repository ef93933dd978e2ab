"""Rows of the ledger as values, the words for their states, and the moves between them."""

from __future__ import annotations

import os
import socket
import sqlite3
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import psutil

from hardware.devices.base import PROVIDER

RunState = Literal["planned", "submitted", "done", "failed", "cancelled"]
JobState = Literal["planned", "submitting", "submitted", "done", "unknown", "failed", "cancelled"]

RUN_MOVES: dict[str, tuple[str, ...]] = {
    "planned": ("submitted", "failed", "cancelled"),
    "submitted": ("done", "failed", "cancelled"),
    "failed": ("submitted", "cancelled"),
    "cancelled": ("submitted",),
    "done": ("failed",),
}
#: All moves of a job; the database enforces them. ``unknown``: sent, and neither a look nor a
#: search by tag finds it any more. A job that is planned, unknown, failed or cancelled becomes
#: submitted when one is found under its tag, and a submitted one when another counts instead. One
#: that was given up becomes done when its result is in hand after all, and one that is done fails
#: when its stored result is damaged and the platform does not give it again.
JOB_MOVES: dict[str, tuple[str, ...]] = {
    "planned": ("submitting", "submitted", "cancelled"),
    "submitting": ("submitted", "planned", "failed", "cancelled"),
    "submitted": ("submitted", "done", "unknown", "failed", "cancelled"),
    "unknown": ("submitted", "planned", "cancelled", "done"),
    "failed": ("planned", "submitted", "done"),
    "cancelled": ("planned", "submitted", "done"),
    "done": ("failed",),
}
JOB_STATES: tuple[JobState, ...] = get_args(JobState)


@dataclass(frozen=True)
class RunRecord:
    """One run as the ledger holds it. Times are UTC, ISO 8601."""

    id: str
    state: RunState
    plan_hash: str
    target: str
    device: str
    local: bool
    tag: str
    batch_id: str | None
    budget_seconds: float | None
    estimate_seconds: float
    versions: str  # JSON object
    calibration: str  # JSON object
    created_at: str
    updated_at: str
    instance: str | None  # SHA-256 of the account's instance; None: local, or an older ledger
    later_seconds: float | None = None  # at most, of rounds still to be decided on; None: no more

    @property
    def awaits_round(self) -> bool:
        """Whether another round of adaptive shots may follow once all jobs are done."""
        return self.later_seconds is not None and self.state in ("planned", "submitted")

    @property
    def never_charged(self) -> bool:
        """Whether its provider never tells what a job was charged; see `PROVIDER`."""
        return self.instance is not None and self.instance.startswith(PROVIDER)


@dataclass(frozen=True)
class JobRecord:
    """One job of a run as the ledger holds it."""

    run_id: str
    idx: int
    state: JobState
    attempt: int
    tag: str
    sent_at: str | None
    doubt_at: str | None  # since when it is in doubt whether the platform has it
    estimate_seconds: float
    reserved_seconds: float | None  # its share of the budget while it is under way
    remote_id: str | None
    verified: bool  # looked for a second job under its tag
    reason: str | None
    claimant: str | None
    lease_until: str | None
    updated_at: str


@dataclass(frozen=True)
class SessionRecord:
    """One session of a run as the ledger holds it. Seconds."""

    id: str
    reserved_seconds: float  # what it may be charged at most
    charged_seconds: float | None  # None: not known yet
    closed: bool  # takes no more jobs


@dataclass(frozen=True)
class Spending:
    """QPU seconds of a run: charged so far, and estimated for what is under way and to come.

    Of sessions it is their whole time that is charged.
    """

    charged: float
    in_flight: float
    to_come: float


@dataclass(frozen=True)
class Event:
    """One line of a run's history."""

    at: str
    idx: int | None
    what: str


def run_record(row: sqlite3.Row) -> RunRecord:
    """Return a row of `runs` as a value."""
    return RunRecord(**{**dict(row), "local": bool(row["local"])})


def job_record(row: sqlite3.Row) -> JobRecord:
    """Return a row of `jobs` joined to its tag as a value."""
    return JobRecord(**{**dict(row), "verified": bool(row["verified"])})


def iso(seconds: float) -> str:
    """Return seconds since the epoch as UTC text that sorts like time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _place() -> str:
    """Name this host and its process space: only there does a process id mean anything."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return f"{socket.gethostname()}{space}"


def new_claimant() -> str:
    """Return a name for this process under which it holds claims."""
    pid = os.getpid()
    return f"{_place()}|{pid}:{_begun(psutil.Process(pid))}|{uuid.uuid4().hex}"


def given_up_by(claimant: str) -> str:
    """Return the claimant of requests that a process no longer waits for: the process itself."""
    return f"{claimant.rpartition('|')[0]}|"


def _begun(process: psutil.Process) -> str:
    """Return when a process began: it tells processes with one id apart.

    Linux keeps it relative to the boot. As a time of day it would move when the clock is set, and a
    process that lives be taken for another.
    """
    try:
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return f"{process.create_time():.2f}"


def is_gone(claimant: str | None) -> bool:
    """Whether the process behind a claim is known to have ended."""
    if not claimant:
        return True
    place, who, _ = claimant.rsplit("|", 2)
    if place != _place():
        return False
    pid, _, begun = who.partition(":")  # older ledgers have the id alone
    try:
        process = psutil.Process(int(pid))
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return bool(begun) and _begun(process) != begun
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
