"""Every exception of this floor.

HardwareError                   anything this package raises on purpose
├── InvalidInputError           the caller's mistake: nothing was run, nothing was written
│   ├── InvalidWorkloadError    circuit, values and observables do not fit together
│   ├── UnknownTargetError      a target specification that cannot be parsed
│   └── UnknownBackendError     a backend name that no provider knows
├── EmulationError              a local simulation that could not be run as asked
│   └── NoiseNotAppliedError    a noise model that touched no instruction
└── RunError                    a run on a device, real or local, that did not finish

Every message says what was expected, what came, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HardwareError(Exception):
    """Base of all exceptions of `hardware`."""

    #: Exit code of a command that ends with this error.
    exit_code = 1


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
    """A local simulation could not be run as asked."""


class NoiseNotAppliedError(EmulationError):
    """A noise model was asked for but touches no instruction of the circuit."""


class RunError(HardwareError):
    """A run on a device, real or local, did not finish."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known word, or an empty string."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {match[0]!r}?" if match else ""
