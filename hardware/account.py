"""Ask the platform through the client, safely.

The client leaves three things to its caller. It falls back to sending the raw API key when the
account service is down, with no more than a warning; it may wait for ever for an answer; and it
raises exceptions of a dozen unrelated classes, some of which hide the status in their context.
Here the warning is an error before anything is sent, every call has a deadline, and each failure
becomes one of `hardware.errors`.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from ibm_cloud_sdk_core import ApiException  # type: ignore[import-untyped]
from qiskit.exceptions import QiskitError
from qiskit_ibm_runtime import QiskitRuntimeService
from qiskit_ibm_runtime.accounts import AccountNotFoundError, InvalidAccountError
from qiskit_ibm_runtime.exceptions import (
    IBMInputValueError,
    IBMNotAuthorizedError,
    RuntimeJobNotFound,
)

from hardware.errors import (
    AccountError,
    BatchClosedError,
    BudgetError,
    BusyError,
    HardwareError,
    RefusedError,
    UnclearError,
    VanishedError,
)
from hardware.records import scrub

T = TypeVar("T")

_RAW_KEY = "Unable to retrieve IBM Cloud access token"
_NO_TIME = ("This instance has met its usage limit", "There is currently no more time available")
_BATCH_CLOSED = 1217
_TIMED_OUT = 408
_CODE = re.compile(r"\"code\"\s*:\s*(\d+)|Error code:? (\d+)")
_STATUS = re.compile(r"\b(\d{3}) (?:Client|Server) Error\b")
_PENDING = re.compile(r"(?:pending|concurrent) jobs", re.IGNORECASE)
_ESCAPED = re.compile(r"\\+(?=['\"])")
_CLOSED = re.compile(r"session (?:is|has been) closed", re.IGNORECASE)

#: What the client is known to raise, ill-formed answers included.
_CLIENT_ERRORS = (
    QiskitError,
    requests.RequestException,
    ApiException,
    UserWarning,
    InvalidAccountError,
    AccountNotFoundError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OSError,
)


@contextmanager
def guarded() -> Iterator[None]:
    """Turn the client's two costly warnings into errors, whatever the caller's filters say.

    They are raised before the request that they speak of is sent. That on the raw key stays an
    error for the rest of the process: a call that nobody waits for any more may still go on.
    """
    warnings.filterwarnings("error", message=_RAW_KEY)
    with warnings.catch_warnings():
        for message in (_RAW_KEY, *_NO_TIME):
            warnings.filterwarnings("error", message=message)
        yield


def open_service(**options: Any) -> QiskitRuntimeService:
    """Open the client on the account that the user saved with it.

    Args:
        options: Passed to `QiskitRuntimeService`; none for the saved account.

    Raises:
        AccountError: No account is saved, or the platform does not accept it.
    """
    with guarded():
        try:
            return ask(lambda: QiskitRuntimeService(**options), 120.0)
        except (RefusedError, UnclearError) as error:
            raise AccountError(
                f"Expected to log in with the saved account, but: {error} "
                "Save a valid account, or try again later."
            ) from error


def ask(request: Callable[[], T], seconds: float, label: str | None = None) -> T:
    """Call the client, wait for its answer at most so many seconds, and sort out its failures.

    Args:
        request: Calls the client.
        seconds: How long to wait.
        label: Name under which `going_on` knows the call.

    Raises:
        HardwareError: As `translate` says; `UnclearError` when the time is up.
    """
    try:
        return within(request, seconds, label)
    except HardwareError:
        raise
    except _CLIENT_ERRORS as error:
        raise translate(error) from error


#: Calls with a label that have not ended; they outlive the objects that made them.
_going: dict[str, threading.Thread] = {}


def going_on(label: str) -> bool:
    """Whether a call that nobody waits for any more still goes on in this process."""
    thread = _going.get(label)
    return thread is not None and thread.is_alive()


def within(function: Callable[[], T], seconds: float, label: str | None = None) -> T:
    """Return the value of a function, or give up waiting for it.

    The call goes on in a thread that nobody waits for: a hanging download cannot be interrupted.

    Raises:
        UnclearError: The time is up.
    """
    values: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            values.append(function())
        except BaseException as error:  # handed to the caller's thread, which raises it
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True, name="qhead-request")
    if label is not None:
        _going[label] = thread
    thread.start()
    thread.join(seconds)
    if label is not None and not thread.is_alive():
        _going.pop(label, None)
    if errors:
        raise errors[0]
    if not values:
        raise UnclearError(f"Expected an answer from the platform within {seconds:g} s, got none.")
    return values[0]


def translate(error: BaseException) -> HardwareError:
    """Return what a failure of the client means.

    Returns:
        AccountError: No valid login; also where the raw key would have been sent.
        BudgetError: The account has no QPU time left.
        BusyError: Too many requests or pending jobs: not accepted, to be tried again.
        BatchClosedError, VanishedError, RefusedError: As their names say; not accepted.
        UnclearError: Anything else, in particular all lost connections and server errors.
    """
    chain = _chain(error)
    meaning = _meaning(chain)
    meaning.sure = isinstance(error, UserWarning) or _had_no_effect(chain)
    return meaning


#: Where the client asks before it sends a job.
_BEFORE_SENDING = ("/usage", "/status")


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
        if isinstance(answer, requests.Response) and 400 <= answer.status_code < 500:
            retries = getattr(answer.raw, "retries", None)
            return answer.status_code != _TIMED_OUT and retries is not None and not retries.history
    return False


def _meaning(chain: list[BaseException]) -> HardwareError:
    text = scrub(_together(chain))[:600]
    if any(_RAW_KEY in str(link) for link in chain):
        return AccountError(
            "Expected an access token from the account service, which does not answer; nothing was "
            "sent, in particular not the raw API key. Try again later; a run "
            "that has begun can be resumed."
        )
    if any(part in str(link) for link in chain for part in _NO_TIME):
        return BudgetError(
            "Expected QPU time left in the account, got none: nothing was sent. Try again once "
            "the account has time; a run that has begun can be resumed."
        )
    if any(
        isinstance(link, (IBMNotAuthorizedError, InvalidAccountError, AccountNotFoundError))
        for link in chain
    ):
        return AccountError(
            f"Expected a valid login, but the platform or the client says: {text} "
            "Save a valid account and try again; a run that has begun can be resumed."
        )
    return _by_status(chain, text)


def _together(chain: list[BaseException]) -> str:
    """Return what a chain of exceptions says, each thing once: the client wraps its own words."""
    said: dict[str, str] = {}
    for link in chain:
        text = _ESCAPED.sub("", str(link))  # the client quotes what it wraps, again and again
        said.setdefault(text.strip(" .'\""), text)
    return " ".join(
        text
        for bare, text in said.items()
        if not any(bare in other for other in said if other != bare)
    )


def _by_status(chain: list[BaseException], text: str) -> HardwareError:
    status, answer = _status(chain)
    code = next((int(a or b) for a, b in _CODE.findall(text) if int(a or b)), None)
    if status == 401:
        return AccountError(f"Expected a valid login, got: {text}")
    if code == _BATCH_CLOSED or _CLOSED.search(text):
        return BatchClosedError(f"The batch takes no more jobs: {text}")
    if status == 429 or (status in (400, 403) and _PENDING.search(text)):
        return BusyError(f"The platform takes no more jobs now: {text}", _retry_after(answer))
    if status == 404 or any(isinstance(link, RuntimeJobNotFound) for link in chain):
        return VanishedError(f"The platform does not know it: {text}")
    if isinstance(chain[0], IBMInputValueError) or (
        status and 400 <= status < 500 and status != _TIMED_OUT
    ):
        return RefusedError(f"The platform or the client refuses it: {text}")
    return UnclearError(f"The platform did not answer as it should: {text}")


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
        if isinstance(answer, requests.Response):
            return answer.status_code, answer
    for link in chain:
        status = getattr(link, "status_code", -1)
        if isinstance(status, int) and status > 0:
            return status, None
        if match := _STATUS.search(str(link)):
            return int(match.group(1)), None
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
