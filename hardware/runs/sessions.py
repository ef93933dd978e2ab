"""Batches and sessions of a run: opened before its first job, closed after its last.

The id is in the ledger before a job goes there. One that was opened by a process that died before
it noted the id has no jobs, so that it never starts and is charged nothing.

A session holds the device and is charged for pauses too. So it is told to take no more jobs as soon
as the last one has been sent: the platform then ends it with that job, whether anybody collects the
run or not. Jobs that the account's pace holds back are sent when the run is collected; until then
the session waits, and is paid for, up to its time limit or until the platform finds it idle.
"""

from __future__ import annotations

from contextlib import suppress

from hardware.devices.base import Device, JobRequest
from hardware.errors import BatchClosedError, BudgetError, ServiceError
from hardware.ledger.budget import session_seconds
from hardware.ledger.ledger import Ledger
from hardware.ledger.spending import told_later


def batch_for(ledger: Ledger, device: Device, run_id: str, request: JobRequest) -> str | None:
    """Return the batch or session of a run for its next job, opened where there is none yet.

    None in job mode, for a single job whose mode is free, and for local devices.

    Raises:
        BudgetError: The budget has no room for a session.
        AccountError, ServiceError: None could be opened; no job was sent.
    """
    mode = request.mode
    if mode is None:
        several = len(ledger.jobs(run_id)) > 1
        mode = "batch" if several and device.abilities.batches else "job"
    if device.local or mode == "job":
        return None
    known = ledger.run(run_id).batch_id
    if known is not None:
        return known
    limit, most = request.max_time, None
    if mode == "session":
        limit, most = _session_limit(ledger, device, run_id, request.max_time)
    opened = device.open_batch(mode, limit)
    if ledger.leases.set_batch(run_id, opened, None, most):
        return opened
    device.close_batch(opened, mode)  # another process was quicker
    return ledger.run(run_id).batch_id


def _session_limit(
    ledger: Ledger, device: Device, run_id: str, max_time: int | None
) -> tuple[int, float]:
    """Return the time limit of a run's next session and the most that it can be charged, seconds.

    Raises:
        BudgetError: What the run has used, earlier sessions included, leaves too little.
    """
    close_sessions(ledger, device, run_id)
    learn_charges(ledger, device, run_id)
    to_send = [job.estimate_seconds for job in ledger.jobs(run_id, "planned", "submitting")]
    budget = ledger.run(run_id).budget_seconds
    assert budget is not None, "a real device has a budget"
    used = 0.0
    if ledger.sessions(run_id):
        spent = ledger.spending(run_id)
        used = spent.charged + spent.in_flight
    try:
        return session_seconds(budget - used, to_send, max_time)
    except BudgetError as error:
        later = told_later(ledger.sessions(run_id))
        raise BudgetError(f"{error}{later}", options=error.options) from error


def close_sessions(ledger: Ledger, device: Device, run_id: str) -> None:
    """Let the sessions of a run end that get no more jobs of it.

    A platform that cannot be asked is asked again at the next look at the run.
    """
    for session in ledger.sessions(run_id):
        if session.closed:
            continue
        if ledger.run(run_id).batch_id == session.id:
            if ledger.jobs(run_id, "planned", "submitting"):
                continue
            if not ledger.leases.set_batch(run_id, None, session.id):
                continue
        try:
            device.close_batch(session.id, "session")
        except BatchClosedError:
            pass  # it has ended already
        except ServiceError:
            continue
        ledger.leases.note_session(session.id)


def close_batch(ledger: Ledger, device: Device, run_id: str) -> None:
    """Let the batch or session of a finished run end."""
    close_sessions(ledger, device, run_id)
    batch = ledger.run(run_id).batch_id
    if batch is None or device.local:
        return
    if ledger.leases.set_batch(run_id, None, batch):
        with suppress(ServiceError):  # it ends by itself after some hours and costs nothing
            device.close_batch(batch)


def learn_charges(ledger: Ledger, device: Device, run_id: str) -> None:
    """Ask for what ended sessions of a run were charged, where that is not known yet."""
    for session in ledger.sessions(run_id):
        if session.charged_seconds is not None or session.id == ledger.run(run_id).batch_id:
            continue
        with suppress(ServiceError):  # it counts with the most that it may be charged
            if (charged := device.session_charged(session.id)) is not None:
                ledger.leases.note_session(session.id, charged)
