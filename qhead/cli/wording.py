"""Messages in the words of the command line.

Everything below the command line speaks Python (``text_column``, ``encoder_qubits=9``), for it is a
library too. Its errors carry the names of the options that they speak of; at the command line's
door these are spelled as the verb takes them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args

#: Parameters that the command line calls otherwise.
_CALLED = {"overwrite": "force"}


def option_names(verb: Callable[..., Any]) -> dict[str, str]:
    """Return parameter → option of a verb: ``{"text_column": "--text-column"}``."""
    found = {}
    for name, parameter in inspect.signature(verb, eval_str=True).parameters.items():
        for declared in get_args(parameter.annotation)[1:]:
            # Within Annotated, Typer's first argument is no default but the first of the names.
            named = (
                getattr(declared, "default", None),
                *(getattr(declared, "param_decls", ()) or ()),
            )
            options = [o for o in named if isinstance(o, str) and o.startswith("--")]
            if options:
                found[name] = options[0].partition("/")[0]
    return found


def in_options(message: str, named: Iterable[str], options: Mapping[str, str]) -> str:
    """Return a message with the parameters that it names spelled as a verb's options.

    ``num_qubits`` becomes ``--num-qubits``, ``topology='ring'`` ``--topology 'ring'`` and
    ``overwrite=True`` and ``'seed'`` ``--force`` and ``--seed``, None as a value ``none``; a single
    word without a value or quotation marks (a topology) stays a word.
    """
    for name in sorted(named, key=len, reverse=True):  # a name may be part of a longer one
        option = options.get(_CALLED.get(name, name))
        if option is not None:
            message = message.replace(f"{name}=True", option)
            message = message.replace(f"{name}=None", f"{option} none")
            message = message.replace(f"{name}=", f"{option} ")
            message = message.replace(f"'{name}'", option)
            message = message.replace(name, option) if "_" in name else message
    return message
