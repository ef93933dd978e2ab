"""Messages in the words of the command line.

Everything below the command line speaks Python (``text_column``, ``encoder_qubits=9``), for it is a
library too. At its door the names of a verb's own options are spelled as that verb takes them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, get_args

#: What Python says otherwise than by an option's name.
_PHRASES = {
    "overwrite=True": "--force",
    "resubmit_cancelled=True": "--resubmit-cancelled",
}

# Quoted words are the user's own: columns, labels, sentences.
_QUOTED = r"""(?<!\w)'[^'\n]*'|(?<!\w)"[^"\n]*\""""
_NAME = (
    r"""(?<![\w'"/.~-])(?P<name>[a-z]+(?:_[a-z]+)*)"""
    r"""(?:=(?P<value>'[^'\n]*'|[\w.+-]*\w))?(?![\w/'"-]|\.\w)"""
)
# Calls in Python are advice to be typed there.
_CALL = r"(?<![\w/])[A-Za-z_]\w*(?:\.\w+)*\([^()\n]*\)"
_WORDS = re.compile(f"{_QUOTED}|{_CALL}|{_NAME}")


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


def in_options(message: str, options: dict[str, str]) -> str:
    """Return a message with the parameters of a verb spelled as its options.

    Translated are names of several words (``text_column``), and a name of any kind with a value
    (``reduction='pca'`` becomes ``--reduction pca``). Words in quotes and
    Python's own calls (``save_account(overwrite=True)``) are left alone.
    """

    def spelled(found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        if found[0] in _PHRASES:
            return _PHRASES[found[0]]
        if name not in options or (value is None and "_" not in name) or value == "None":
            return found[0]
        return (
            options[name] if value in (None, "True") else f"{options[name]} {value.strip(chr(39))}"
        )

    return _WORDS.sub(spelled, message)
