"""Batches and sessions of a run: opened before its first job, closed after its last.

The id is in the ledger before a job goes there. One that was opened by a process that died before
it noted the id has no jobs, so that it never starts and is charged nothing.

A session holds the device and is charged for pauses too. So it is told to take no more jobs as soon
as the last one has been sent, or the next one has to wait, or sending fails or is interrupted: the
platform then ends it with its last job, whether anybody collects the run or not. Jobs that are left
get another session, within what the budget leaves once the charge of this one is known.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial

from hardware.devices.asking import within
from hardware.devices.base import Device, JobRequest
from hardware.errors import BatchClosedError, BudgetError, HardwareError, LedgerError, ServiceError
from hardware.ledger.budget import session_seconds
from hardware.ledger.ledger import Ledger
from hardware.ledger.records import given_up_by, is_gone
from hardware.ledger.spending import told_later

#: How long to wait for a session to be closed, seconds: somebody may have pressed Ctrl-C.
_CLOSING = 15.0
_logger = logging.getLogger(__name__)


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


def close_sessions(
    ledger: Ledger, device: Device, run_id: str, claimant: str | None = None
) -> dict[str, HardwareError]:
    """Let the sessions of a run end, but for one that another process sends a job to.

    Args:
        ledger: The run's ledger.
        device: The run's device.
        run_id: The run.
        claimant: Who sends jobs here.

    Returns:
        Sessions that could not be closed, and why: they are tried again at the next look.
    """
    failed = {}
    for session in ledger.sessions(run_id):
        if session.closed:
            continue
        if ledger.run(run_id).batch_id == session.id:
            if _in_use(ledger, run_id, claimant):
                continue
            ledger.leases.set_batch(run_id, None, session.id)
        try:
            within(partial(device.close_batch, session.id, "session"), _CLOSING)
        except BatchClosedError:
            pass  # it has ended already
        except HardwareError as error:
            failed[session.id] = error
            continue
        ledger.leases.note_session(session.id)
    return failed


def _in_use(ledger: Ledger, run_id: str, claimant: str | None) -> bool:
    """Whether another process is sending a job of a run."""
    return any(
        job.claimant not in (claimant, claimant and given_up_by(claimant))
        and not is_gone(job.claimant)
        for job in ledger.jobs(run_id, "submitting")
    )


def leave_sessions(ledger: Ledger, device: Device, run_id: str, claimant: str) -> None:
    """Let the sessions of a run end before its sender does; say where that fails."""
    failed: dict[str, HardwareError] = {}
    with suppress(LedgerError):  # it must not hide what came before
        failed = close_sessions(ledger, device, run_id, claimant)
    for session, error in failed.items():
        _logger.warning(
            "Session %s of run %s is still open and costs QPU time while it waits, until its time "
            "limit or until it is closed, which was tried and failed (%s): qhead collect %s tries "
            "again.",
            session,
            run_id,
            error,
            run_id,
        )


def close_batch(ledger: Ledger, device: Device, run_id: str) -> None:
    """Let the batch or session of a finished run end."""
    close_sessions(ledger, device, run_id)
    batch = ledger.run(run_id).batch_id
    if batch is None or device.local:
        return
    if ledger.leases.set_batch(run_id, None, batch):
        with suppress(ServiceError):  # it ends by itself after some hours and costs nothing
            device.close_batch(batch)


def learn_charges(ledger: Ledger, device: Device, run_id: str) -> bool:
    """Ask for what ended sessions of a run were charged, where that is not known yet.

    Returns:
        Whether any charge is known now that was not.
    """
    learned = False
    for session in ledger.sessions(run_id):
        if session.charged_seconds is not None or session.id == ledger.run(run_id).batch_id:
            continue
        with suppress(ServiceError):  # it counts with the most that it may be charged
            charged = device.session_charged(session.id)
            if charged is None and session.closed and not ledger.may_have_run(session.id):
                charged = 0.0
            if charged is not None:
                learned |= ledger.leases.note_session(session.id, charged)
    return learned
