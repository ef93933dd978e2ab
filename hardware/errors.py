"""Every exception of this floor.

HardwareError                   anything this package raises on purpose
├── InvalidInputError           the caller's mistake: nothing was run, nothing was written
│   ├── InvalidWorkloadError    circuit, values and observables do not fit together
│   ├── UnknownTargetError      a target specification that cannot be parsed
│   ├── UnknownBackendError     a backend name that no provider knows
│   ├── PlanError               a plan that cannot be made, or one that was changed since
│   ├── BudgetError             a budget that is missing, negative or too small
│   ├── UnknownRunError         a run that the ledger does not know
│   └── RunStateError           a run that is in no state for what was asked
├── EmulationError              a local simulation that could not be run as asked
│   ├── NoiseNotAppliedError    a noise model that touched no instruction
│   └── UnsupportedCircuitError a circuit outside what the emulation covers
├── LedgerError                 a ledger that cannot be read or written; it is as it was
│   └── DamagedResultError      a stored result that has changed; it can be fetched again
└── RunError                    a run on a device, real or local, that did not finish
    ├── AccountError            no login, or one that is no longer accepted; resumable
    │   ├── NoAccountError      no account is saved on this machine
    │   └── LoginServiceError   the login service failed: the account may be fine; resumable
    └── ServiceError            the platform did not answer as it should; resumable
        ├── BusyError           it takes no more jobs now: nothing was sent
        ├── RefusedError        it will not take this job
        ├── BatchClosedError    the batch takes no more jobs
        ├── UnclearError        no answer, or a useless one: the request may have had its effect
        ├── VanishedError       it does not know the job
        └── BadResultError      the result does not fit the request; it can be fetched again

Every message says what was expected, what came, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HardwareError(Exception):
    """Base of all exceptions of `hardware`."""

    #: Exit code of a command that ends with this error.
    exit_code = 1
    #: True if the request that failed surely had no effect: it was not sent, or this answers the
    #: only one that was. The client repeats requests, and what refuses the second says nothing of
    #: the first.
    sure = False

    def __init__(self, message: str = "", *, options: Iterable[str] = ()) -> None:
        super().__init__(message)
        #: Options that the message names as Python spells them (``num_qubits=4``).
        self.options = tuple(options)


class InvalidInputError(HardwareError, ValueError):
    """The caller's input cannot be used. Nothing was run and nothing was written."""

    exit_code = 2


class InvalidWorkloadError(InvalidInputError):
    """Circuit, parameter values and observables do not fit together."""


class UnknownTargetError(InvalidInputError):
    """A target specification that cannot be parsed."""


class UnknownBackendError(InvalidInputError):
    """A backend name that no provider knows."""


class EmulationError(HardwareError):
    """A local simulation failed."""


class NoiseNotAppliedError(EmulationError):
    """A noise model affects no instruction of the circuit."""


class PlanError(InvalidInputError):
    """No plan meets the options, or a plan was changed after it was made."""


class BudgetError(InvalidInputError):
    """The budget is missing, negative or too small for what remains to be done."""


class UnknownRunError(InvalidInputError):
    """The ledger does not know this run."""


class RunStateError(InvalidInputError):
    """The run's state does not allow the request, e.g. to resume a cancelled run."""


class LedgerError(HardwareError):
    """The ledger cannot be read or written. It is as it was."""

    exit_code = 2


class DamagedResultError(LedgerError):
    """A stored result is not what was stored. Collecting its run fetches it again."""


class UnsupportedCircuitError(EmulationError):
    """A circuit that the chosen way of emulation does not cover."""


class RunError(HardwareError):
    """A run on a device, real or local, did not finish."""


class AccountError(RunError):
    """The login is missing or no longer accepted. The run can be resumed after a new one."""

    exit_code = 2


class NoAccountError(AccountError):
    """No account is saved on this machine."""


class LoginServiceError(AccountError):
    """The login service failed or did not answer. The account may be fine; try again later."""

    exit_code = 1


class ServiceError(RunError):
    """The platform did not answer as it should. The run can be resumed."""


class BusyError(ServiceError):
    """The platform takes no more jobs now; nothing was sent."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        #: Seconds after which the platform asks to be tried again, where it said so.
        self.retry_after = retry_after


class RefusedError(ServiceError):
    """The platform will not take this job."""


class BatchClosedError(ServiceError):
    """The batch takes no more jobs."""


class UnclearError(ServiceError):
    """No answer came, or a useless one: the request may or may not have had its effect."""


class VanishedError(ServiceError):
    """The platform does not know the job."""


class BadResultError(ServiceError):
    """A result does not fit its request: cut or of another job. It can be fetched again."""

    #: The answer as it came, where one did.
    received: str | None = None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known word, or an empty string."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {match[0]!r}?" if match else ""
