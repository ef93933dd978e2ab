"""Wait a limited time for a provider's answer, and quote what it says."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TypeVar

from hardware.errors import UnclearError
from hardware.words import scrub

T = TypeVar("T")

LATER = "Try again later; a run that has begun can be resumed."
_ADDRESS = re.compile(r"\(?\b(?:https?|wss?)://\S+|\b\S+\.(?:com|net|cloud)(?:[:/]\S*)?", re.I)
_MARKUP = re.compile(r"^\s*<|<(?:html|body|head|!doctype)", re.IGNORECASE)


def plain(text: str, length: int = 300) -> str:
    """Return foreign text fit for a message: one line, without addresses, secrets and markup.

    Of a Traceback the last line is kept, which says what happened.
    """
    text = scrub(text).strip()
    if _MARKUP.search(text):
        return ""
    if "Traceback (most recent call last)" in text:
        text = text.splitlines()[-1]
    text = _ADDRESS.sub("", text.replace("Traceback:", ""))
    line = " ".join(text.split())[:length].strip(" .,:")
    for quote in "'\"":  # a pair of quotation marks stays, a lone one at an end goes
        if line.count(quote) % 2:
            line = line.removeprefix(quote) if line.startswith(quote) else line.removesuffix(quote)
    return line.strip(" .,:")


#: Calls with a label that have not ended; they outlive the objects that made them.
_going: dict[str, threading.Thread] = {}


def going_on(label: str) -> bool:
    """Whether a call that nobody waits for any more still goes on in this process."""
    thread = _going.get(label)
    return thread is not None and thread.is_alive()


def within(
    function: Callable[[], T], seconds: float, what: str = "for an answer", label: str | None = None
) -> T:
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
        error = errors[0]
        context = error.__context__
        try:
            raise error
        finally:
            # Raised while the caller handles another failure, it would have lost what hides the
            # status of this request, and got that of the other.
            error.__context__ = context
    if not values:
        raise UnclearError(
            f"The platform was asked {what} and did not answer within {seconds:g} s. {LATER}"
        )
    return values[0]
