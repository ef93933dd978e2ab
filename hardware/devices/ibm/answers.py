"""What the platform's answers about jobs, charges and the account's time say, and what they do not.

An answer may lack a field, hold one of another type or an impossible number. What cannot be read is
None: not known, rather than zero or absent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from hardware.devices.asking import LATER, plain
from hardware.errors import UnclearError
from hardware.words import MAX_REASON

#: Names under which the platform has reported what a job was charged, newest first.
USAGE_KEYS = ("qpu_charge_time_seconds", "quantum_seconds", "seconds")
#: What the platform calls a charge that does not change any more. Any other word, or none, is not
#: final: a preliminary charge begins at zero.
_FINAL_CHARGE = ("complete", "completed", "final")
#: More seconds than any account has: 31 years. Sums of them stay finite.
_MAX_SECONDS = 1e9
#: By how much two names of one charge may differ: they are rounded differently.
_ROUNDING = 0.01
_STATES = {"COMPLETED": "DONE", "FAILED": "ERROR", "CANCELED": "CANCELLED"}
#: Code of a job that was stopped at its time limit. The platform calls it cancelled.
_RAN_TOO_LONG = 1305
_PAGE = 20


def seconds(value: object) -> float | None:
    """Return a number of seconds; None for what is no number or cannot be one of seconds."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not -_MAX_SECONDS <= value <= _MAX_SECONDS:  # NaN is in no range, and integers have no end
        return None
    return float(value)


def seconds_left(usage: object) -> float | None:
    """Return the QPU seconds that an account's usage leaves, None where it does not say."""
    left = seconds(usage.get("usage_remaining_seconds")) if isinstance(usage, dict) else None
    return None if left is None else max(left, 0.0)


def final_charge(metrics: object) -> float | None:
    """Return the QPU seconds that a job was charged in the end; None: not known yet.

    Names that disagree leave it unknown.
    """
    usage = metrics.get("usage") if isinstance(metrics, dict) else None
    if not isinstance(usage, dict) or str(usage.get("status")).lower() not in _FINAL_CHARGE:
        return None
    told = [each for key in USAGE_KEYS if (each := seconds(usage.get(key))) is not None]
    if not told or min(told) < 0:
        return None
    agree = all(math.isclose(each, told[0], rel_tol=_ROUNDING) for each in told)
    return told[0] if agree else None


def session_charge(session: object) -> float | None:
    """Return the seconds that a closed session was charged in all; None: not known yet."""
    if not isinstance(session, dict) or str(session.get("state")).lower() != "closed":
        return None
    charged = seconds(session.get("elapsed_time"))
    return None if charged is None or charged < 0 else charged


def job_state(job: object) -> tuple[str, str | None]:
    """Return a job's state in the client's words, and the reason that the platform gives for it.

    Raises:
        UnclearError: It tells no state.
    """
    found = job.get("state") if isinstance(job, dict) else None
    state: Mapping[str, Any] = found if isinstance(found, dict) else {}
    word = state.get("status")
    if not isinstance(word, str):
        raise UnclearError(f"The platform's answer does not say the state of a job. {LATER}")
    status = word.upper()
    status = _STATES.get(status, status)
    code = state.get("reason_code") or state.get("reasonCode")
    said = state.get("reason")
    words = plain(said, MAX_REASON) if isinstance(said, str) else ""
    reason = ": ".join(part for part in (f"error code {code}" if code else "", words) if part)
    if not status.startswith("CANCELLED"):
        return status, reason or None
    if str(code) == str(_RAN_TOO_LONG) or "TOO LONG" in status:
        stopped = "ran longer than maximum execution time"
        return "ERROR", f"{stopped} ({reason})" if reason else stopped
    return "CANCELLED", reason or None


def job_tags(job: object) -> tuple[str, ...] | None:
    """Return a job's tags, None where it does not tell them."""
    tags = job.get("tags") if isinstance(job, dict) else None
    if not isinstance(tags, list):
        return None
    return tuple(tag for tag in tags if isinstance(tag, str))


def job_created(job: Mapping[str, Any]) -> str:
    """Return when a job was created, UTC in ISO 8601; empty where it cannot be read."""
    try:
        when = datetime.fromisoformat(job["created"])
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return when.astimezone(UTC).isoformat(timespec="microseconds")
    except (KeyError, TypeError, ValueError, OverflowError):
        return ""


def all_pages(page: Callable[[int, int], object]) -> list[Any]:
    """Return the entries of a list of jobs, asked for page by page.

    Args:
        page: Returns one page of the list: called with the most entries and how many to skip.

    Raises:
        UnclearError: An answer is no list of jobs.
    """
    entries: list[Any] = []
    while True:
        answer = page(_PAGE, len(entries))
        found = answer.get("jobs") if isinstance(answer, dict) else None
        if not isinstance(answer, dict) or not isinstance(found, list):
            raise UnclearError(
                "The platform was asked for the list of jobs and failed: its answer is cut or "
                f"malformed. {LATER}"
            )
        new = [each for each in found if each not in entries]
        entries += new
        count = answer.get("count")
        if not new or (isinstance(count, int) and len(entries) >= count):
            return entries
