"""``--config FILE``: options of a verb from a TOML file.

Keys are the options' names without the dashes, ``max-epochs`` or ``max_epochs``; an option that
takes several takes a list (``zne = [1, 3]``). Those at the top
are of the verb that is run; a table ``[train]`` holds those of that verb, so that one file may
serve several. What is given on the command line wins.
"""

from __future__ import annotations

import inspect
import tomllib
from pathlib import Path
from typing import Any, get_args

import typer

from hardware.errors import did_you_mean
from qhead.cli.wording import option_names
from qhead.errors import InputError

#: What may stand in the file for an option of a type, and how a message calls it.
_KINDS: dict[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text in quotes"),
    Path: ((str,), "a path in quotes"),
}
_WORD_OR_NUMBER = ((int, float, str), "a number or a text in quotes")
#: The same for the elements of an option that takes several, by what its help calls its value.
_LISTS: dict[str | None, tuple[tuple[type, ...], str]] = {
    "NUMBERS": ((int, float), "a list of numbers"),
    "WORDS": ((str,), "a list of texts in quotes, without commas in them"),
}


def read_config(path: Path, context: typer.Context) -> dict[str, Any]:
    """Return parameter → value of the verb that is run.

    Args:
        path: The TOML file.
        context: Of the verb.

    Raises:
        InputError: The file cannot be read, or holds an unknown key or a value of another type.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise InputError(f"{path} is not a TOML file: {error}.") from error
    verb = context.command.name or ""
    verbs = getattr(context.parent and context.parent.command, "commands", {})
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    for table in tables:
        if table not in verbs:
            raise InputError(f"{path}: qhead has no verb {table!r}.{did_you_mean(table, verbs)}")
    given = {key: value for key, value in content.items() if key not in tables}
    parameters = _parameters(context)
    values: dict[str, Any] = {}
    for level in (given, tables.get(verb, {})):
        names = [key.replace("_", "-") for key in level]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"{path}: {twice[0]} is given twice, once with an underscore.")
    for key, value in {**given, **tables.get(verb, {})}.items():
        name = key.replace("_", "-")
        if name not in parameters:
            hint = did_you_mean(name, parameters)
            raise InputError(f"{path}: qhead {verb} has no option {key!r}.{hint}")
        parameter = parameters[name]
        values[parameter.name] = _checked(value, parameter, where=f"{path}: expected {key}")
    return values


def _parameters(context: typer.Context) -> dict[str, inspect.Parameter]:
    """Return key → parameter of a verb: its options' names on the command line, its arguments'."""
    callback = context.command.callback
    assert callback is not None
    options = option_names(callback)
    return {
        options.get(name, name).lstrip("-").replace("_", "-"): parameter
        for name, parameter in inspect.signature(callback, eval_str=True).parameters.items()
        if name != "config"
    }


def _checked(value: Any, parameter: inspect.Parameter, *, where: str) -> Any:
    """Return a value as the command line would have it."""
    annotation, declared = get_args(parameter.annotation)
    (kind,) = {*(get_args(annotation) or (annotation,))} - {type(None)}
    several = getattr(declared, "metavar", None)
    if isinstance(value, list) and several in _LISTS:
        return _joined(value, *_LISTS[several], where=where)
    mixed = getattr(declared, "parser", None) is not None
    types, words = _WORD_OR_NUMBER if mixed else _KINDS[kind]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise InputError(f"{where} to be {words}, got {value!r}.")
    least = getattr(declared, "min", None)
    if least is not None and value < least:
        raise InputError(f"{where} to be at least {least}, got {value!r}.")
    return str(value) if mixed else value


def _joined(values: list[Any], types: tuple[type, ...], words: str, *, where: str) -> str:
    """Return a list as a word of the command line, with commas between its elements."""
    good = all(
        isinstance(each, types) and not isinstance(each, bool) and "," not in str(each)
        for each in values
    )
    if not good or not values:
        raise InputError(f"{where} to be {words}, got {values!r}.")
    return ",".join(map(str, values))
