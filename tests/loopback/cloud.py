"""What the platform knows: jobs, batches, the account's allowance; and a device that works."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from loopback.execution import run_job
from loopback.faults import EndJob

FINAL = ("Completed", "Failed", "Cancelled")
_SUBJOB_SECONDS = 2.0


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@dataclass
class Job:
    """One accepted job and what became of it."""

    id: str
    tags: tuple[str, ...]
    backend: str
    params: dict[str, Any]
    session_id: str | None
    max_seconds: float | None
    private: bool
    ready_at: float  # monotonic seconds at which the queue lets it through
    ending: EndJob | None = None
    accepted_at: float = field(default_factory=time.monotonic)
    created: str = field(default_factory=_now)
    status: str = "Queued"
    reason: str | None = None
    code: int | None = None
    result: str | None = ""
    executions: int = 0
    paid: float = 0.0  # seconds charged
    digest: str = ""

    def as_json(self, with_params: bool) -> dict[str, Any]:
        """Return the job as the platform describes it."""
        state: dict[str, Any] = {"status": self.status}
        if self.reason:
            state |= {"reason": self.reason}
        if self.code:
            state |= {"reason_code": self.code}
        body = {
            "id": self.id,
            "backend": self.backend,
            "state": state,
            "status": self.status,
            "program": {"id": "executor"},
            "created": self.created,
            "tags": list(self.tags),
            "session_id": self.session_id,
            "private": self.private,
        }
        return body | ({"params": self.params} if with_params and not self.private else {})


class Cloud:
    """The platform's memory and its one device, which works through the queue in order.

    Args:
        devices: Names of the devices on offer, e.g. ``("ibm_manila",)``.
        seed: Seed of the device: equal jobs give equal results under an equal seed.
        queue_seconds: How long a job waits at least before it runs.
        pending_cap: Most jobs that may wait or run at a time.
        allowance: Seconds of QPU time that the account owns.
        listing_seconds: How long an accepted job is missing from the list of jobs.
        upload_seconds: How long a job's upload takes, before it is accepted.
        slowness: What a job is charged, over its items' and executions' own time.
        usage_key: Name under which the platform reports what a job was charged.
        offers_sessions: Whether the account's plan has sessions.
        pause_seconds: What a session is charged beside its jobs.
    """

    def __init__(
        self,
        devices: Sequence[str] = ("ibm_manila",),
        *,
        seed: int = 7,
        queue_seconds: float = 0.0,
        pending_cap: int | None = None,
        allowance: float = 600.0,
        listing_seconds: float = 0.0,
        upload_seconds: float = 0.0,
        slowness: float = 1.0,
        usage_key: str = "qpu_charge_time_seconds",
        offers_sessions: bool = True,
        pause_seconds: float = 0.0,
    ) -> None:
        self.devices = tuple(devices)
        self.seed = seed
        self.queue_seconds = queue_seconds
        self.pending_cap = pending_cap
        self.allowance = allowance
        self.listing_seconds = listing_seconds
        self.upload_seconds = upload_seconds
        self.slowness = slowness
        self.usage_key = usage_key
        self.offers_sessions = offers_sessions
        self.pause_seconds = pause_seconds
        self.jobs: dict[str, Job] = {}
        self.sessions: dict[str, dict[str, Any]] = {}
        self.held = False
        self.uploading = threading.Event()  # cleared: uploads stall
        self.uploading.set()
        self.changed = threading.Condition()
        self._stop = False
        self._worker = threading.Thread(target=self._work, name="loopback-device", daemon=True)
        self._worker.start()

    # --- what tests ask -------------------------------------------------------------------------

    def hold(self) -> None:
        """Let nothing out of the queue until `release`."""
        self.held = True

    def release(self) -> None:
        """Let the queue move again."""
        with self.changed:
            self.held = False
            self.changed.notify_all()

    def wait_idle(self, timeout: float = 30.0) -> None:
        """Wait until every job has ended."""
        with self.changed:
            if not self.changed.wait_for(lambda: not self._pending(), timeout):
                raise TimeoutError(f"{len(self._pending())} jobs still pending.")

    @property
    def consumed(self) -> float:
        """Seconds charged in all."""
        ours = [one["id"] for one in self.sessions.values() if one["mode"] == "dedicated"]
        alone = sum(job.paid for job in self.jobs.values() if job.session_id not in ours)
        return alone + sum(self.elapsed(each) for each in ours)

    def elapsed(self, session_id: str) -> float:
        """Seconds that a session is charged so far; nothing before its first job."""
        paid = [job.paid for job in self.jobs.values() if job.session_id == session_id]
        return sum(paid) + self.pause_seconds if any(paid) else 0.0

    def charges(self) -> Counter[str]:
        """How often each piece of work was executed and charged, by its content."""
        return Counter(job.digest for job in self.jobs.values() if job.executions)

    def charges_by_tag(self) -> Counter[str]:
        """How many charged executions carry each tag."""
        paid = [job for job in self.jobs.values() if job.paid]
        return Counter(tag for job in paid for tag in job.tags)

    # --- what the interface does ----------------------------------------------------------------

    def accept(self, body: dict[str, Any], ending: EndJob | None) -> Job:
        """Put a job in the queue."""
        with self.changed:
            job = Job(
                id=f"d{uuid.uuid4().hex[:19]}",
                tags=tuple(body.get("tags", ())),
                backend=body["backend"],
                params=body["params"],
                session_id=body.get("session_id"),
                max_seconds=body.get("cost"),
                private=body.get("private", False),
                ready_at=time.monotonic() + self.queue_seconds,
                ending=ending,
            )
            self.jobs[job.id] = job
            self.changed.notify_all()
            return job

    def full(self) -> bool:
        """Whether another job would exceed the cap on pending jobs."""
        with self.changed:
            return self.pending_cap is not None and len(self._pending()) >= self.pending_cap

    def find(
        self, tags: Sequence[str], session: str | None, pending: bool | None, ascending: bool
    ) -> list[Job]:
        """Return the jobs that carry all tags, newest first unless `ascending`."""
        with self.changed:
            found = [
                job
                for job in self.jobs.values()
                if set(tags) <= set(job.tags)
                and time.monotonic() >= job.accepted_at + self.listing_seconds
                and (session is None or job.session_id == session)
                and (pending is None or (job.status not in FINAL) == pending)
            ]
        return found if ascending else found[::-1]

    def cancel(self, job: Job) -> bool:
        """Cancel a job; False where it has ended already."""
        with self.changed:
            if job.status in FINAL:
                return False
            job.status, job.reason = "Cancelled", "Job was cancelled by the user."
            self.changed.notify_all()
            return True

    def session_json(self, session_id: str) -> dict[str, Any] | None:
        """Return a session or batch as the platform describes it; it ends with its last job."""
        with self.changed:
            session = self.sessions.get(session_id)
            if session is None:
                return None
            waiting = any(job.session_id == session_id for job in self._pending())
            if not session["accepting_jobs"] and not waiting:
                session["state"] = "closed"
            return session | {"elapsed_time": self.elapsed(session_id)}

    def _end_session(self, job: Job) -> None:
        """Close the session of a job that has ended where its time is up."""
        session = self.sessions.get(job.session_id or "")
        if session is None or session["mode"] != "dedicated" or not session["max_ttl"]:
            return
        if self.elapsed(session["id"]) >= session["max_ttl"]:
            session["accepting_jobs"] = False
            for other in self._pending():
                if other.session_id == session["id"]:
                    other.status, other.reason = "Cancelled", "The session's time is up."

    def usage_json(self) -> dict[str, Any]:
        """Return the account's allowance as the platform describes it."""
        consumed = self.consumed
        return {
            "instance_id": "loopback",
            "usage_consumed_seconds": consumed,
            "usage_allocation_seconds": self.allowance,
            "usage_limit_reached": consumed >= self.allowance,
            "pending_jobs": len(self._pending()),
        }

    def metrics_json(self, job: Job) -> dict[str, Any]:
        """Return what a job was charged as the platform describes it."""
        done = job.status in FINAL
        usage = {self.usage_key: job.paid, "status": "complete" if done else "pending"}
        return {"timestamps": {"created": job.created}, "usage": usage}

    def stop(self) -> None:
        """Stop the device."""
        with self.changed:
            self._stop = True
            self.changed.notify_all()
        self._worker.join(timeout=10)

    # --- the device -----------------------------------------------------------------------------

    def _pending(self) -> list[Job]:
        return [job for job in self.jobs.values() if job.status not in FINAL]

    def _next(self) -> Job | None:
        queued = [job for job in self.jobs.values() if job.status == "Queued"]
        ready = [job for job in queued if job.ready_at <= time.monotonic()]
        return ready[0] if ready and not self.held else None

    def _work(self) -> None:
        while True:
            with self.changed:
                while not self._stop and (job := self._next()) is None:
                    self.changed.wait(0.02)
                if self._stop:
                    return
                assert job is not None
                job.status = "Running"
            self._run(job)

    def _run(self, job: Job) -> None:
        ending = job.ending
        if ending is None:
            outcome = run_job(job.params, self.seed, job.backend)
            seconds = outcome.circuits * _SUBJOB_SECONDS + outcome.seconds
            seconds *= self.slowness
            if job.max_seconds is not None and seconds > job.max_seconds:
                ending = EndJob("Cancelled", "Ran too long.", 1305, paid=float(job.max_seconds))
        with self.changed:
            if job.status != "Running":  # cancelled under way
                job.paid = _SUBJOB_SECONDS
            elif ending is not None:
                job.status, job.reason, job.code = ending.status, ending.reason, ending.code
                job.result, job.paid = "Traceback: injected", ending.paid
            else:
                job.digest, job.result = outcome.digest, outcome.result
                job.executions, job.paid = outcome.executions, seconds
                job.status = "Completed"
            self._end_session(job)
            self.changed.notify_all()
