"""Every exception of `qhead`.

QheadError                      anything this package raises on purpose
├── TrainingError               a training that diverged
├── MissingRowsError            rows of a run have no result yet, or none that can be used
└── InputError                  the caller's mistake: nothing was run, nothing was written
    ├── DataError               a data set that cannot be used: file, line and reason
    ├── EncoderError            a sentence encoder that cannot be loaded or fed
    ├── HeadError               options of a head that do not fit together or to the data
    ├── SimulationError         a circuit or values that the exact simulator cannot run
    ├── CheckpointError         a training checkpoint that is damaged or of another training
    └── ModelError              a model folder that cannot be read or written

KeyboardInterrupt
└── TrainingInterrupted         Ctrl-C after the first epoch: the head holds its best weights

`hardware.errors` holds those of the floor below; `did_you_mean` lives there too.
Every message says what was expected, what came, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable


class QheadError(Exception):
    """Base of all exceptions of `qhead`."""

    #: Exit code of a command that ends with this error.
    exit_code = 1

    def __init__(self, message: str = "", *, options: Iterable[str] = ()) -> None:
        super().__init__(message)
        #: Options that the message names as Python spells them (``num_qubits=4``).
        self.options = tuple(options)


class TrainingError(QheadError):
    """Training diverged: a loss or a weight is not finite. The best weights so far are kept."""


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during a training, after at least one epoch. The best weights so far are kept."""

    def __init__(self) -> None:
        super().__init__("The training was interrupted.")


class MissingRowsError(QheadError):
    """Rows of a run have no result yet, or none that can be used."""

    exit_code = 3


class InputError(QheadError, ValueError):
    """The caller's input cannot be used. Nothing was run and nothing was written."""

    exit_code = 2


class DataError(InputError):
    """A data set that cannot be used."""


class EncoderError(InputError):
    """A sentence encoder that cannot be loaded or fed."""


class HeadError(InputError):
    """Options of a head that do not fit together or do not fit the data."""


class CheckpointError(InputError):
    """A training checkpoint that is damaged, not writable, or belongs to another training."""


class SimulationError(InputError):
    """A circuit or values that the exact simulator cannot run."""


class ModelError(InputError):
    """A model folder that cannot be read or written."""
