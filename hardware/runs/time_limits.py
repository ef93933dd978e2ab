"""Tell jobs that the platform cancelled at a time limit from those that somebody cancelled."""

from __future__ import annotations

from hardware.devices.base import Device
from hardware.errors import UnclearError
from hardware.ledger.budget import cap_seconds
from hardware.ledger.ledger import Ledger

#: The platform may tell a session's time in whole seconds.
_ROUNDING = 1.0


class NotToldError(UnclearError):
    """The platform has not told yet how long a session took."""


def reached_limit(ledger: Ledger, device: Device, run_id: str) -> str | None:
    """Return which session or batch of a run the platform has ended by its time, in words.

    Jobs of it that had not started are cancelled then, though nobody cancelled them. None if there
    is no such session or batch.

    Raises:
        NotToldError: A session may still turn out to be one.
        AccountError, ServiceError: The platform cannot be asked.
    """
    run, sessions = ledger.run(run_id), ledger.sessions(run_id)
    if not sessions:
        if run.batch_id is None or device.session_charged(run.batch_id) is None:
            return None
        # This program closes the batch of a run after its last job.
        return f"the platform closed batch {run.batch_id}, as at its time limit,"
    longest = max(cap_seconds(job.estimate_seconds) for job in ledger.jobs(run_id))
    untold = None
    for one in sessions:
        charged = one.charged_seconds
        if charged is None:
            charged = device.session_charged(one.id)
        limit = one.reserved_seconds - longest  # see `hardware.ledger.budget.session_seconds`
        if not charged:  # zero is told before the charge is counted
            untold = one.id
        elif charged >= limit - _ROUNDING:
            return f"session {one.id} reached its time limit"
    if untold is not None:
        raise NotToldError(f"The platform has not told yet how long session {untold} took.")
    return None
