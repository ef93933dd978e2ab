"""Options of verbs as the library declares them: names, types, defaults and help.

They are read from the constructors of the heads and from the dataclasses of options, so that an
option that is added there is an option of the command line. The sources are parsed and not
imported: that takes 15 ms, where torch and Qiskit take seconds before ``--help`` could answer.

Convention of the docstrings that are read here: the first sentence of an entry is its help text,
and ``None: …`` says what stands in for None.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any

import typer

from qhead.cli.groups import option
from qhead.heads import HEADS, class_of

#: Options of the library that the command line declares itself.
OWN = ("training", "seed", "validation_fraction")

_TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}
_LISTS: dict[str, type] = {
    "tuple[float, ...]": float,
    "tuple[int, ...]": int,
    "tuple[str, ...]": str,
}


@dataclass(frozen=True)
class Declared:
    """One option as a class declares it.

    Args:
        name: Its name in Python.
        types: Names of its types: ``"int"``, ``"float"``, ``"bool"``, ``"str"``, or a tuple of one.
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

    @property
    def readable(self) -> bool:
        """Whether a word on the command line can say it."""
        return set(self.types) <= {*_TYPES, *_LISTS}

    def convert(self, text: str) -> Any:
        """Return the value of a word on the command line; the library checks its range.

        Raises:
            typer.BadParameter: It is no list of numbers.
        """
        # A text that may be one word or several is several where it has commas.
        for name in sorted(self.types, key=lambda name: (name in _LISTS) != ("," in text)):
            try:
                if name in _LISTS:
                    return tuple(_LISTS[name](part.strip()) for part in text.split(","))
                return _TYPES[name](text)
            except ValueError:
                continue
        if set(self.types) & set(_LISTS):
            raise typer.BadParameter(f"expected numbers with commas between them, got {text!r}.")
        return text


@dataclass(frozen=True)
class Library:
    """Options of the library as a group of a verb's: those that were given, by name.

    Args:
        classes: Class → its module; options of one name that several have are one option.
        panel: Panel of the help, from the classes that have an option.
        left_out: Options that the verb declares itself, or does not offer.
        flags: Options that the command line calls otherwise.
    """

    classes: Mapping[str, tuple[str, str]]
    panel: Callable[[Collection[str]], str]
    left_out: Collection[str] = ()
    flags: Mapping[str, str] = field(default_factory=dict)

    def declared(self) -> dict[str, dict[str, Declared]]:
        """Return name → class → option."""
        found: dict[str, dict[str, Declared]] = {}
        for kind, place in self.classes.items():
            for each in read_class(*place):
                if each.name not in self.left_out and each.readable:
                    found.setdefault(each.name, {})[kind] = each
        return found

    def parameters(self) -> list[Parameter]:
        """Return a parameter an option."""
        return [
            _parameter(name, each, self.flags.get(name), self.panel(each))
            for name, each in self.declared().items()
        ]

    def build(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the options that were given; the word "none" is None."""
        return {
            name: None if value == "none" else value
            for name, value in values.items()
            if value is not None
        }


#: Options of the constructors of all heads.
HEAD_OPTIONS = Library(
    {kind: class_of(kind) for kind in HEADS},
    lambda kinds: "Quantum head" if "quantum" in kinds else "Classical heads",
    OWN,
)
#: Options of the training.
TRAINING_OPTIONS = Library(
    {"": ("qhead.training_options", "TrainingOptions")}, lambda _: "Training", OWN
)
#: Options of a training where the circuit runs.
FINETUNING_OPTIONS = Library(
    {"": ("qhead.finetuning.options", "FinetuningOptions")}, lambda _: "Training", OWN
)
#: Options of plans and of mitigation.
PLAN_OPTIONS = Library(
    {
        name: (f"hardware.{module}", name)
        for name, module in (
            ("PlanOptions", "planning.options"),
            ("JobLimits", "planning.options"),
            ("AdaptiveShots", "circuits.adaptive"),
            ("Mitigation", "planning.mitigation"),
        )
    },
    lambda kinds: "Mitigation" if "Mitigation" in kinds else "Shots, tiles and jobs",
    ("seed", "tiles", "solver_seconds", "optimization_level", "seconds", "payload_bytes"),
    {
        "executions": "--executions-per-job",
        "dynamical_decoupling": "--decoupling",
        "num_randomizations": "--randomizations",
        "zne_factors": "--zne",
    },
)


def _parameter(
    name: str, declared: Mapping[str, Declared], flag: str | None, panel: str
) -> Parameter:
    """Return the parameter of a verb for an option that one or several classes have."""
    one, *_ = declared.values()
    flag = flag or f"--{name.replace('_', '-')}"
    more: dict[str, Any] = {
        "help": _help(declared),
        "rich_help_panel": panel,
        "show_default": False,
    }
    words = [word for each in declared.values() for word in each.words()]
    types = {each for one in declared.values() for each in one.types}
    kind: type = str
    if types == {"bool"}:
        flag, kind = f"{flag}/--no-{flag[2:]}", bool
    elif len(types) == 1 and not words and types <= set(_TYPES) - {"str"}:
        kind = _TYPES[next(iter(types))]
    else:
        noun = "NUMBER" if types - {"str", "tuple[str, ...]"} else "WORD"
        more["metavar"] = f"{noun}S" if types & set(_LISTS) else noun
        more["parser"] = one.convert
        more["autocompletion"] = lambda incomplete: [
            word for word in dict.fromkeys(words) if word.startswith(incomplete)
        ]
    return option(name, Annotated[kind | None, typer.Option(flag, **more)])


def _help(declared: Mapping[str, Declared]) -> str:
    """Return the help text; where heads have an option of one name, what each means by it."""
    if set(declared) == {"quantum"} or not set(declared) <= set(HEADS):
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
    tree = _source(module)
    aliases = {
        each.targets[0].id: each.value
        for each in tree.body
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name)
    }
    (node,) = (each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == name)
    entries = _entries(ast.get_docstring(node) or "")
    for option_name, annotation, default in _declarations(node):
        types, choices = _types(annotation, aliases)
        yield Declared(
            name=option_name,
            types=tuple(types),
            choices=tuple(choices),
            optional="None" in ast.unparse(annotation),
            default=_shown(default),
            help=_first_sentence(entries.get(option_name, "")),
            if_none=_stand_in(entries.get(option_name, "")),
        )


@cache
def _source(module: str) -> ast.Module:
    """Return a module's source, parsed; several classes and verbs read the same one."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


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


def _types(annotation: ast.expr, aliases: Mapping[str, ast.expr]) -> tuple[list[str], list[str]]:
    """Return the names of the types of an annotation, and the words of its literals."""
    if isinstance(annotation, ast.Name):
        annotation = aliases.get(annotation.id, annotation)
    if isinstance(annotation, ast.BinOp):  # X | Y
        left, right = _types(annotation.left, aliases), _types(annotation.right, aliases)
        return [*left[0], *right[0]], [*left[1], *right[1]]
    if ast.unparse(annotation).startswith("Literal["):
        assert isinstance(annotation, ast.Subscript)
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
    try:
        value = ast.literal_eval(default)
    except ValueError:
        return None  # a factory
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == ():
        return None
    if isinstance(value, tuple):
        return ",".join(f"{each:g}" if isinstance(each, float) else str(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


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
    return _plain(re.split(r"\.(?:\s|$)|; None: ", text, maxsplit=1)[0])


def _stand_in(text: str) -> str:
    """Return what an entry says after ``None:``, up to the full stop or semicolon."""
    found = re.search(r"\bNone: (.+?)(?:[.;](?:\s|$)|$)", text)
    return _plain(found[1]) if found else ""


def _plain(text: str) -> str:
    """Return a docstring's text without its quotes; options are spelled as on the command line."""
    text = re.sub(r"`+\"?(\w+)\"?`+", lambda found: _spelled(found[1]), text)
    return text.replace('"', "")


def _spelled(name: str) -> str:
    return f"--{name.replace('_', '-')}" if "_" in name and name.islower() else name
