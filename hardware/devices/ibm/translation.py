"""What the failures of the platform and of its client mean, in words of our own.

The client raises exceptions of a dozen unrelated classes, some of which hide the status in their
context. Neither addresses nor the client's texts reach a message; what the platform says of its
refusal does, without markup and secrets.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests
from ibm_cloud_sdk_core import ApiException  # type: ignore[import-untyped]
from qiskit_ibm_runtime.accounts import AccountNotFoundError, InvalidAccountError
from qiskit_ibm_runtime.exceptions import (
    IBMInputValueError,
    IBMNotAuthorizedError,
    RuntimeJobNotFound,
)
from urllib3.exceptions import HTTPError

from hardware.devices.asking import LATER, plain
from hardware.errors import (
    AccountError,
    BatchClosedError,
    BudgetError,
    BusyError,
    HardwareError,
    LoginServiceError,
    NoAccountError,
    RefusedError,
    UnclearError,
    VanishedError,
)

RAW_KEY = "Unable to retrieve IBM Cloud access token"
NO_TIME = ("This instance has met its usage limit", "There is currently no more time available")
_BATCH_CLOSED = (1216, 1217)
_TOO_MANY_JOBS = 3458
#: Statuses with which the platform answers before it accepts a job, in errors of its own, whose
#: codes have four digits or more.
_REFUSALS = (400, 401, 403, 404, 409, 422, 429)
_FIRST_CODE = 1000
_TIMED_OUT = 408
#: Where the client asks before it sends a job.
_BEFORE_SENDING = ("/usage", "/status")
#: Answers to a submission that say that the account has used up what it may use.
_USED_UP = (402, 409)
_CODE = re.compile(r"\"code\"\s*:\s*(\d+)|Error code:? (\d+)")
_STATUS = re.compile(r"\b(\d{3}) (?:Client|Server) Error\b|too many (\d{3}) error responses")
_PENDING = re.compile(
    r"(?:pending|concurrent|queued|running|active) jobs|too many jobs|jobs in (?:the |your )?queue",
    re.IGNORECASE,
)
_CLOSED = re.compile(
    r"\b(?:session|batch)\b.{0,40}\b(?:closed|ended|expired|inactive|not found|not known|"
    r"not accepting|not active|no longer|does not exist)\b",
    re.IGNORECASE,
)
_LIMIT = re.compile(r"usage limit|limit on usage|quota|no more time|allocation", re.IGNORECASE)


def translate(
    error: BaseException, what: str = "for an answer", *, sending: bool = False
) -> HardwareError:
    """Return what a failure of the client means.

    Args:
        error: The client's exception.
        what: What the platform was asked.
        sending: Whether the request sent work.

    Returns:
        NoAccountError, AccountError: No account, or no valid login.
        LoginServiceError: The login service failed; also where the raw key would have been sent.
        BudgetError: The account has no QPU time left; only where work was sent, or by a warning.
        BusyError: Too many requests or pending jobs: not accepted, to be tried again.
        BatchClosedError, VanishedError, RefusedError: As their names say; not accepted.
        UnclearError: Anything else, in particular all lost connections and server errors.
    """
    chain = _chain(error)
    meaning = _meaning(chain, what, sending)
    meaning.sure = isinstance(error, UserWarning) or _had_no_effect(chain)
    return meaning


def _had_no_effect(chain: list[BaseException]) -> bool:
    """Whether no job can have been sent: see `HardwareError.sure`."""
    for link in chain:
        request = getattr(link, "request", None)
        if not isinstance(request, requests.PreparedRequest):
            continue
        path = urlsplit(str(request.url)).path
        if request.method == "GET" and path.endswith(_BEFORE_SENDING):
            return True
        answer = getattr(link, "response", None)
        if isinstance(answer, requests.Response):
            retries = getattr(answer.raw, "retries", None)
            only = retries is not None and not retries.history
            return only and answer.status_code in _REFUSALS and _is_the_platforms(answer.text)
    return False


def _is_the_platforms(body: str) -> bool:
    """Whether an answer is an error of the platform, which numbers them, and not of a gateway.

    A gateway may answer in its place after the platform has accepted the request.
    """
    try:
        found = json.loads(body)
        codes = [int(each["code"]) for each in found["errors"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
    return bool(codes) and all(code >= _FIRST_CODE for code in codes)


def _meaning(chain: list[BaseException], what: str, sending: bool) -> HardwareError:
    status, answer = _status(chain)
    if any(RAW_KEY in str(link) for link in chain):
        return _login_failed(chain, status, answer)
    if any(part in str(link) for link in chain for part in NO_TIME):
        return _used_up("")
    if any(isinstance(link, AccountNotFoundError) for link in chain):
        return NoAccountError("No account is saved on this machine.")
    refused = any(isinstance(link, IBMNotAuthorizedError) for link in chain)
    if status == 401 or (refused and status is None):
        return AccountError(
            f"The platform does not accept the login{_said(chain, answer)}. Save a valid account "
            "and try again; a run that has begun can be resumed."
        )
    invalid = any(isinstance(link, InvalidAccountError) for link in chain)
    # With a cause that has no status, what failed is the way to the login service or its answer.
    if invalid and (status in (400, 403) or (status is None and len(chain) == 1)):
        return AccountError(
            f"The platform or the client does not accept the account{_said(chain, answer)}. Save a "
            "valid account and try again; a run that has begun can be resumed."
        )
    return _by_status(chain, status, answer, what, sending)


def _login_failed(
    chain: list[BaseException], status: int | None, answer: requests.Response | None
) -> HardwareError:
    """Return why there is no access token. Nothing was sent."""
    if status in (400, 401, 403):
        return AccountError(
            f"The login service does not accept the API key (HTTP {status})"
            f"{_said(chain, answer)}. Nothing was sent. Save a valid account and try again; a run "
            "that has begun can be resumed."
        )
    return LoginServiceError(
        f"The login service gave no access token ({_cause(chain, status)}). Nothing was sent, in "
        f"particular not the raw API key. {LATER}"
    )


def _used_up(said: str) -> BudgetError:
    return BudgetError(
        f"The account has reached its limit on usage{said}: nothing was sent. Try again once the "
        "account has time; a run that has begun can be resumed."
    )


def _by_status(
    chain: list[BaseException],
    status: int | None,
    answer: requests.Response | None,
    what: str,
    sending: bool,
) -> HardwareError:
    text = " ".join(str(link) for link in chain)
    said = _said(chain, answer)
    code = next((int(a or b) for a, b in _CODE.findall(text) if int(a or b)), None)
    if code in _BATCH_CLOSED or _CLOSED.search(text):
        return BatchClosedError(f"The batch takes no more jobs{said}.")
    # By code first: the same limit is told in many words.
    crowded = code == _TOO_MANY_JOBS or _PENDING.search(text)
    if status == 429 or (status in (400, 403, 409) and crowded):
        return BusyError(f"The platform takes no more requests now{said}.", _retry_after(answer))
    limited = status is not None and 400 <= status < 500 and _LIMIT.search(text)
    if sending and (status in _USED_UP or limited):
        return _used_up(said)
    if status == 404 or any(isinstance(link, RuntimeJobNotFound) for link in chain):
        return VanishedError(f"The platform was asked {what} and does not know it{said}.")
    if isinstance(chain[0], IBMInputValueError) or (
        status and 400 <= status < 500 and status != _TIMED_OUT
    ):
        http = "" if status is None else f" (HTTP {status})"
        return RefusedError(f"The platform was asked {what} and refuses{http}{said}.")
    return UnclearError(
        f"The platform was asked {what} and failed: {_cause(chain, status)}. {LATER}"
    )


def _cause(chain: list[BaseException], status: int | None) -> str:
    """Return what went wrong on the way, in words of our own."""
    if status is not None:
        return f"server error {status}" if status >= 500 else f"HTTP {status}"
    if any(isinstance(link, (requests.Timeout, TimeoutError)) for link in chain):
        return "no answer in time"
    if any(isinstance(link, MemoryError) for link in chain):
        return "the answer is larger than this machine's memory"
    if _network(chain):
        return "the connection was lost or not made"
    return "its answer is cut or malformed"


def _network(chain: list[BaseException]) -> bool:
    """Return whether a connection failed, rather than an answer."""
    return any(
        isinstance(link, (requests.ConnectionError, HTTPError, ConnectionError))
        or (isinstance(link, requests.RequestException) and not isinstance(link, ValueError))
        or "Connection aborted" in str(link)
        for link in chain
    )


def _said(chain: list[BaseException], answer: requests.Response | None) -> str:
    """Return the platform's own words, ready to follow a sentence, or nothing.

    Its errors are JSON objects of a few known forms. Where the client refused, its words are taken.
    """
    words = ""
    if answer is not None:
        words = _message(answer.text)
    elif isinstance(chain[0], IBMInputValueError):
        words = str(chain[0]).strip("'\" ")
    cleaned = plain(words)
    return f": {cleaned}" if cleaned else ""


def _message(body: str) -> str:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if isinstance(found, dict):
        errors = found.get("errors")
        first = errors[0] if isinstance(errors, list) and errors else found.get("error")
        for place in (first, found):
            if isinstance(place, dict):
                for name in ("message", "errorMessage"):
                    if isinstance(place.get(name), str):
                        return str(place[name])
    return ""


def _chain(error: BaseException) -> list[BaseException]:
    """Return an exception, its cause or context, and theirs: the client hides the status there."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or link.__context__
    return chain


def _status(chain: list[BaseException]) -> tuple[int | None, requests.Response | None]:
    for link in chain:
        answer = getattr(link, "response", None)
        if isinstance(link, ApiException):
            answer = link.http_response
        if isinstance(answer, requests.Response):
            return answer.status_code, answer
    for link in chain:
        status = getattr(link, "status_code", -1)
        if isinstance(status, int) and status > 0:
            return status, None
        if match := _STATUS.search(str(link)):
            return int(match[1] or match[2]), None
    return None, None


def _retry_after(answer: requests.Response | None) -> float | None:
    if answer is None or not (value := answer.headers.get("Retry-After")):
        return None
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None
