"""What goes wrong, and at which request.

A fault is data; the server applies it. ``after=True`` means that the request has its effect first:
the job is accepted and the caller does not learn of it.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

#: Every kind of request that the double answers.
KINDS = (
    "token",
    "search",
    "catalog",
    "backends",
    "configuration",
    "properties",
    "backend_status",
    "usage",
    "submit",
    "jobs",
    "job",
    "result",
    "metrics",
    "logs",
    "cancel",
    "tags",
    "delete",
    "session_open",
    "session",
    "session_close",
)


@dataclass(frozen=True)
class Reply:
    """An answer with this status and body instead of the real one."""

    status: int
    body: str = '{"errors": [{"code": 0, "message": "injected"}]}'
    headers: tuple[tuple[str, str], ...] = ()
    after: bool = False


@dataclass(frozen=True)
class Drop:
    """The connection is closed without an answer."""

    after: bool = False


@dataclass(frozen=True)
class Slow:
    """The answer's body takes this long after its headers."""

    seconds: float


@dataclass(frozen=True)
class Garble:
    """The answer has status 200 and this body."""

    body: str = "<html>gateway</html>"
    kind: str = "application/json"  # what the header says of it


@dataclass(frozen=True)
class Cut:
    """The answer's headers promise the whole body, of which this share comes; then it breaks off.

    ``lying`` headers promise only what comes, so that the body looks complete.
    """

    share: float = 0.5
    lying: bool = False


@dataclass(frozen=True)
class Change:
    """The answer's JSON is changed by this function before it is sent."""

    edit: Callable[[Any], Any]


@dataclass(frozen=True)
class EndJob:
    """The submitted job is accepted and ends like this, unexecuted unless `paid` seconds say so."""

    status: str  # "Failed" or "Cancelled"
    reason: str = "injected"
    code: int | None = None
    paid: float = 0.0  # seconds


Fault = Reply | Drop | Slow | Garble | Cut | Change | EndJob

#: What the platform answers when the batch of a job no longer takes jobs.
CLOSED_BATCH = Reply(
    400,
    json.dumps({"errors": [{"code": 1217, "message": "Session has been closed."}], "trace": "0"}),
)


@dataclass
class FaultPlan:
    """Faults by (kind of request, how manieth of that kind, counted from 1).

    `always` holds faults that every request of a kind meets until it is removed. At each `every`-th
    request of any kind (0: never) begins a burst of one to `burst` random faults in a row.
    """

    at: dict[tuple[str, int], Fault] = field(default_factory=dict)
    always: dict[str, Fault] = field(default_factory=dict)
    every: int = 0
    burst: int = 1
    random: Random | None = None
    seen: Counter[str] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)
    _left: int = 0  # faults of this burst to come
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        unknown = {kind for kind, _ in self.at} | set(self.always)
        if unknown - set(KINDS):
            raise ValueError(f"Expected request kinds of {KINDS}, got {sorted(unknown)}.")

    def take(self, kind: str) -> Fault | None:
        """Count one request and return the fault that it meets, if any."""
        with self._lock:
            self.seen[kind] += 1
            fault = self.at.get((kind, self.seen[kind])) or self.always.get(kind)
            if fault is None and self.random is not None:
                if self.every and self.seen.total() % self.every == 0:
                    self._left = self.random.randint(1, self.burst)
                if self._left and (fault := random_fault(kind, self.random)) is not None:
                    self._left -= 1
            if fault is not None:
                self.injected[f"{kind}:{type(fault).__name__}"] += 1
            return fault

    def soon(self, kind: str, fault: Fault) -> None:
        """Let the next request of a kind meet a fault."""
        with self._lock:
            self.at[kind, self.seen[kind] + 1] = fault


def random_fault(kind: str, random: Random) -> Fault | None:
    """Return a fault that fits a kind of request; None for kinds that are left alone."""
    brief = (("Retry-After", "1"),)
    if kind == "submit":
        return random.choice(
            [
                Reply(502),
                Reply(502, after=True),
                Drop(),
                Drop(after=True),
                Reply(429),
                Reply(429, headers=brief),
                EndJob("Failed"),
                CLOSED_BATCH,
            ]
        )
    if kind == "result":
        return random.choice([Reply(502), Drop(), Garble(), Slow(0.2)])
    if kind in ("job", "metrics"):
        return random.choice([Reply(500), Reply(503), Drop(), Reply(404), Reply(404)])
    if kind in ("usage", "backend_status", "jobs", "cancel"):
        return random.choice([Reply(500), Reply(503), Drop()])
    if kind in ("session_open", "session", "session_close"):
        return random.choice([Reply(502), Drop()])
    return None
