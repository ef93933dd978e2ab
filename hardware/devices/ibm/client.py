"""Ask the platform through the client, safely.

The client leaves four things to its caller. It falls back to sending the raw API key when the
login service is down, with no more than a warning; it may wait for ever for an answer; it raises
exceptions of a dozen unrelated classes; and some failures it only logs, returning an empty list.
Here the warning is an error before anything is sent, every call has a deadline, and each failure
becomes one of `hardware.errors` (see `hardware.devices.ibm.translation`).
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from qiskit.providers.exceptions import QiskitBackendNotFoundError
from qiskit_ibm_runtime import QiskitRuntimeService

from hardware.devices.asking import within
from hardware.devices.ibm.translation import NO_TIME, RAW_KEY, translate
from hardware.errors import (
    AccountError,
    BusyError,
    HardwareError,
    LoginServiceError,
    RefusedError,
    UnclearError,
    VanishedError,
)

T = TypeVar("T")

_CLIENT = "qiskit_ibm_runtime"
#: Where the client logs failures that it does not raise.
_SILENT = (f"{_CLIENT}.qiskit_runtime_service", f"{_CLIENT}.utils.backend_decoder")

_heard = threading.local()


class _Listener(logging.Filter):
    """Notes the failures that the client logs in place of raising them; lets through as before."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Note the exception that is being handled, if any."""
        error = sys.exception()
        if error is None and record.name.endswith("backend_decoder"):
            error = ValueError(record.getMessage())
        if error is not None and hasattr(_heard, "errors"):
            _heard.errors.append(error)
        return logging.getLogger(_CLIENT).isEnabledFor(record.levelno)


def _listen() -> None:
    for name in _SILENT:
        logger = logging.getLogger(name)
        if not any(isinstance(each, _Listener) for each in logger.filters):
            logger.setLevel(logging.WARNING)
            logger.addFilter(_Listener())


@contextmanager
def guarded() -> Iterator[None]:
    """Turn the client's two costly warnings into errors, whatever the caller's filters say.

    They are raised before the request that they speak of is sent. That on the raw key stays an
    error for the rest of the process: a call that nobody waits for any more may still go on.
    """
    warnings.filterwarnings("error", message=RAW_KEY)
    with warnings.catch_warnings():
        for message in (RAW_KEY, *NO_TIME):
            warnings.filterwarnings("error", message=message)
        yield


def open_service(**options: Any) -> QiskitRuntimeService:
    """Open the client on the account that the user saved with it.

    Args:
        options: Passed to `QiskitRuntimeService`; none for the saved account.

    Raises:
        NoAccountError: No account is saved.
        LoginServiceError: The login service failed; the account may be fine.
        AccountError: The platform does not accept the account.
    """
    with guarded():
        try:
            return ask(lambda: QiskitRuntimeService(**options), 120.0, "to log in")
        except (BusyError, UnclearError) as error:
            raise LoginServiceError(str(error)) from error
        except (RefusedError, VanishedError) as error:
            raise AccountError(f"{error} Save a valid account and try again.") from error


def ask(
    request: Callable[[], T],
    seconds: float,
    what: str = "for an answer",
    *,
    label: str | None = None,
    sending: bool = False,
    unheard: list[HardwareError] | None = None,
) -> T:
    """Call the client, wait a limited time for its answer, and sort out its failures.

    Whatever the client raises comes from the answer or from the way to it, so all of it is
    translated: an answer may be cut or malformed in more ways than a list of classes foresees.

    Args:
        request: The call.
        seconds: How long to wait.
        what: What the platform is asked, for messages: "for the list of devices".
        label: Name under which `hardware.devices.asking.going_on` knows the call.
        sending: Whether the request sends work, so that it can meet a limit on usage.
        unheard: Gets the failures that the client logged in place of raising them.

    Raises:
        HardwareError: As `translate` says; `UnclearError` when the time is up.
    """
    _listen()
    logged: list[BaseException] = []

    def heard() -> T:
        _heard.errors = logged
        return request()

    try:
        value = within(heard, seconds, what, label)
    except HardwareError:
        raise
    except Exception as error:
        # An unknown name and a list that could not be read look the same, but for what was logged.
        cause = logged[0] if isinstance(error, QiskitBackendNotFoundError) and logged else error
        raise translate(cause, what, sending=sending) from error
    if unheard is not None:
        unheard.extend(translate(each, what) for each in logged)
    return value
