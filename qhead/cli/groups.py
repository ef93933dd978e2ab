"""Groups of options: one parameter of a verb's function, several options of its command line.

A parameter whose annotation is a dataclass becomes the options that the dataclass declares; one
annotated with a `Group` becomes what that makes of itself.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from inspect import Parameter
from typing import Any, Protocol, get_args, get_type_hints, runtime_checkable

Verb = Callable[..., None]


@runtime_checkable
class Group(Protocol):
    """Several options that a verb's function takes as one value."""

    def parameters(self) -> list[Parameter]:
        """Return the parameters that declare the options to Typer."""

    def build(self, values: dict[str, Any]) -> Any:
        """Return the one value, from the value of each option by its parameter's name."""


@dataclass(frozen=True)
class Fields:
    """The fields of a dataclass, annotated as options.

    Args:
        kind: The dataclass; it is built anew from the options.
    """

    kind: type

    def parameters(self) -> list[Parameter]:
        """Return a parameter a field."""
        hints = get_type_hints(self.kind, include_extras=True)
        return [option(each.name, hints[each.name], each.default) for each in fields(self.kind)]

    def build(self, values: dict[str, Any]) -> Any:
        """Return the dataclass."""
        return self.kind(**values)


def option(name: str, annotation: Any, default: Any = None) -> Parameter:
    """Return the parameter of an option."""
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def expanded(verb: Verb) -> Verb:
    """Return a verb with the options of its groups in their place."""
    signature = inspect.signature(verb, eval_str=True)
    groups: dict[str, tuple[Group, list[str]]] = {}
    parameters: list[Parameter] = []
    for name, parameter in signature.parameters.items():
        group = _group(parameter.annotation)
        own = [parameter] if group is None else group.parameters()
        if group is not None:
            groups[name] = (group, [each.name for each in own])
        parameters += own

    @functools.wraps(verb)
    def call(**values: Any) -> None:
        for name, (group, names) in groups.items():
            values[name] = group.build({each: values.pop(each) for each in names})
        verb(**values)

    call.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[each.replace(kind=Parameter.KEYWORD_ONLY) for each in parameters]
    )
    return call


def _group(annotation: Any) -> Group | None:
    if isinstance(annotation, type) and is_dataclass(annotation):
        return Fields(annotation)
    marks = [each for each in get_args(annotation) if isinstance(each, Group)]
    return marks[0] if marks else None
