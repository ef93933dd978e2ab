"""Options of ``qhead train`` as the library declares them: names, types, defaults and help.

They are read from the constructors of the heads and from `TrainingOptions`, so that an option that
is added there is an option of the command line. The sources are parsed and not imported: that takes
15 ms, where torch and Qiskit take seconds before ``--help`` could answer.

Convention of the docstrings that are read here: the first sentence of an entry is its help text,
and ``None: …`` says what stands in for None.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from qhead.heads import HEADS, class_of

#: Options of the library that the command line declares itself.
OWN = ("training", "seed", "validation_fraction")

Verb = TypeVar("Verb", bound=Callable[..., None])

_TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool}


@dataclass(frozen=True)
class Declared:
    """One option as a class declares it.

    Args:
        name: Its name in Python.
        types: Names of its types, ``"int"``, ``"float"``, ``"bool"`` or ``"str"``.
        choices: The words that it may be.
        optional: Whether None is a value.
        default: Its default as text; None where it is None.
        help: First sentence of its entry in the docstring, without the full stop.
        if_none: What the docstring says that stands in for None; empty: nothing.
    """

    name: str
    types: tuple[str, ...]
    choices: tuple[str, ...]
    optional: bool
    default: str | None
    help: str
    if_none: str

    def words(self) -> list[str]:
        """Return the words that the command line takes; "none" where None is not the default."""
        none = ["none"] if self.optional and self.default is not None else []
        return [*self.choices, *none]

    def sentence(self) -> str:
        """Return the help text with the choices and the default."""
        words = self.words()
        if words and set(self.types) - {"str"}:
            words = ["a number", *words]
        choices = f": {' or '.join([', '.join(words[:-1]), words[-1]])}" if words[1:] else ""
        if len(words) == 1:
            choices = f": {words[0]}"
        default = self.default or self.if_none
        return f"{self.help}{choices}" + (f"; default: {default}" if default else "")

    def convert(self, text: str) -> int | float | str:
        """Return the value of a word on the command line; the library checks its range."""
        for name in self.types:
            try:
                return int(text) if name == "int" else float(text) if name == "float" else text
            except ValueError:
                continue
        return text


def head_options() -> dict[str, dict[str, Declared]]:
    """Return name → head → option, for all heads."""
    found: dict[str, dict[str, Declared]] = {}
    for kind in HEADS:
        for each in read_class(*class_of(kind)):
            found.setdefault(each.name, {})[kind] = each
    return found


def training_options() -> dict[str, Declared]:
    """Return name → option of the training."""
    return {each.name: each for each in read_class("qhead.training_options", "TrainingOptions")}


def with_library_options(verb: Verb) -> Verb:
    """Add the options of all heads and of the training to a verb that takes ``**options``."""
    signature = inspect.signature(verb, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    added = [
        *(_parameter(each, _panel(each)) for name, each in head_options().items()
          if name not in OWN),
        *(_parameter({"": each}, "Training") for name, each in training_options().items()
          if name not in OWN),
    ]  # fmt: skip
    verb.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    return verb


def given(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options that were given to a verb, those of the head and those of the training."""
    values = {name: value for name, value in options.items() if value is not None}
    values = {name: None if value == "none" else value for name, value in values.items()}
    training = training_options()
    return (
        {name: value for name, value in values.items() if name not in training},
        {name: value for name, value in values.items() if name in training},
    )


def _panel(declared: dict[str, Declared]) -> str:
    return "Quantum head" if "quantum" in declared else "Classical heads"


def _parameter(declared: dict[str, Declared], panel: str) -> inspect.Parameter:
    """Return the parameter of a verb for an option that one or several heads have."""
    one, *_ = declared.values()
    flag = f"--{one.name.replace('_', '-')}"
    option: dict[str, Any] = {
        "help": _help(declared),
        "rich_help_panel": panel,
        "show_default": False,
    }
    words = [word for each in declared.values() for word in each.words()]
    types = {name for each in declared.values() for name in each.types}
    kind: type = str
    if types == {"bool"}:
        flag, kind = f"{flag}/--no-{flag[2:]}", bool
    elif len(types) == 1 and not words and types <= set(_TYPES):
        kind = _TYPES[next(iter(types))]
    else:
        option["metavar"] = "NUMBER" if types - {"str"} else "WORD"
        option["parser"] = one.convert
        option["autocompletion"] = lambda incomplete: [
            word for word in dict.fromkeys(words) if word.startswith(incomplete)
        ]
    return inspect.Parameter(
        one.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, typer.Option(flag, **option)],
    )


def _help(declared: dict[str, Declared]) -> str:
    """Return the help text; where heads have an option of one name, what each means by it."""
    if set(declared) <= {"", "quantum"}:
        text = next(iter(declared.values())).sentence()
    else:
        text = ". ".join(f"{kind}: {each.sentence()}" for kind, each in declared.items())
    return f"{text}."


# --- reading the sources --------------------------------------------------------------------------


def read_class(module: str, name: str) -> Iterator[Declared]:
    """Yield the options of a class: its constructor's, or the fields of a dataclass.

    Args:
        module: Where it is defined.
        name: The class.
    """
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    (node,) = (each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == name)
    entries = _entries(ast.get_docstring(node) or "")
    for option, annotation, default in _declarations(node):
        types, choices = _types(annotation)
        yield Declared(
            name=option,
            types=tuple(types),
            choices=tuple(choices),
            optional="None" in ast.unparse(annotation),
            default=_shown(default),
            help=_first_sentence(entries.get(option, "")),
            if_none=_stand_in(entries.get(option, "")),
        )


def _declarations(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr, ast.expr]]:
    """Yield name, annotation and default of each option of a class."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            for each, default in zip(item.args.kwonlyargs, item.args.kw_defaults, strict=True):
                assert each.annotation is not None
                assert default is not None
                yield each.arg, each.annotation, default
            return
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value:
            yield item.target.id, item.annotation, item.value


def _types(annotation: ast.expr) -> tuple[list[str], list[str]]:
    """Return the names of the types of an annotation, and the words of its literals."""
    if isinstance(annotation, ast.BinOp):  # X | Y
        left, right = _types(annotation.left), _types(annotation.right)
        return [*left[0], *right[0]], [*left[1], *right[1]]
    if isinstance(annotation, ast.Subscript):  # Literal[...]
        words = (
            annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        )
        return ["str"], [ast.literal_eval(word) for word in words]
    name = ast.unparse(annotation)
    return ([] if name == "None" else [name]), []


def _shown(default: ast.expr) -> str | None:
    """Return a default as text: a value, or the name of a constant (``math.pi``)."""
    if isinstance(default, ast.Attribute):
        return default.attr
    value = ast.literal_eval(default)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return None if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _entries(docstring: str) -> dict[str, str]:
    """Return name → text of the entries under ``Args:`` or ``Attributes:``, each in one line."""
    section = re.search(r"^(?:Args|Attributes):\n((?:^ .*\n|^\n)+)", docstring + "\n", re.MULTILINE)
    if section is None:
        return {}
    entries = re.split(r"^ {4}(\w+): ", section[1], flags=re.MULTILINE)[1:]
    return {
        name: " ".join(text.split()) for name, text in zip(entries[::2], entries[1::2], strict=True)
    }


def _first_sentence(text: str) -> str:
    """Return an entry up to its first full stop, in the words of the command line."""
    return _plain(re.split(r"\.(?:\s|$)", text, maxsplit=1)[0])


def _stand_in(text: str) -> str:
    """Return what an entry says after ``None:``, up to the full stop or semicolon."""
    found = re.search(r"\bNone: (.+?)(?:[.;](?:\s|$)|$)", text)
    return _plain(found[1]) if found else ""


def _plain(text: str) -> str:
    """Return a docstring's text without its quotes; options are spelled as on the command line."""
    text = re.sub(r"`+\"?(\w+)\"?`+", lambda found: _spelled(found[1]), text)
    return text.replace('"', "")


def _spelled(name: str) -> str:
    return f"--{name.replace('_', '-')}" if "_" in name else name
