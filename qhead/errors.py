"""Every exception of `qhead`.

QheadError                      anything this package raises on purpose
└── InputError                  the caller's mistake: nothing was run, nothing was written
    ├── DataError               a data set that cannot be used: file, line and reason
    ├── EncoderError            a sentence encoder that cannot be loaded or fed
    ├── HeadError               options of a head that do not fit together or to the data
    └── ModelError              a model folder that cannot be read or written

`hardware.errors` holds those of the floor below; `did_you_mean` lives there too.
Every message says what was expected, what came, and what to do.
"""

from __future__ import annotations


class QheadError(Exception):
    """Base of all exceptions of `qhead`."""

    #: Exit code of a command that ends with this error.
    exit_code = 1


class InputError(QheadError, ValueError):
    """The caller's input cannot be used. Nothing was run and nothing was written."""

    exit_code = 2


class DataError(InputError):
    """A data set that cannot be used."""


class EncoderError(InputError):
    """A sentence encoder that cannot be loaded or fed."""


class HeadError(InputError):
    """Options of a head that do not fit together or do not fit the data."""


class ModelError(InputError):
    """A model folder that cannot be read or written."""
