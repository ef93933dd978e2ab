"""Every option of every verb reaches what it is for."""

from __future__ import annotations

import ast
import inspect
import math
import re
from dataclasses import is_dataclass
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from typer.main import get_command_from_info
from typer.testing import CliRunner

import qhead
from qhead.cli.app import app
from qhead.cli.generated import OWN
from qhead.errors import HeadError
from qhead.heads import HEADS, make_head
from qhead.training import TrainingOptions

QHEAD = Path(qhead.__file__).parent
VERBS = sorted((QHEAD / "cli").glob("*.py"))
#: Parameters that a caller outside this project prescribes.
PRESCRIBED = {("_show_warning", name) for name in ("filename", "lineno", "file", "line")}


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path):
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]


def unread(function):
    """Return the parameters that a function's body never reads."""
    arguments = function.args
    if len(function.body) == 1 and isinstance(function.body[0], ast.Expr):
        return set()  # of a protocol: a docstring alone
    given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    given += [each for each in (arguments.vararg, arguments.kwarg) if each]
    inside = [node for part in function.body for node in ast.walk(part)]
    read = {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    read |= {ast.unparse(n.target) for n in inside if isinstance(n, ast.AugAssign)}
    names = {each.arg for each in given} - read - {"self", "cls"}
    return {name for name in names if (function.name, name) not in PRESCRIBED}


@pytest.mark.parametrize("path", VERBS, ids=lambda path: path.stem)
def test_no_option_is_parsed_and_dropped(path):
    assert {each.name: unread(each) for each in functions(path) if unread(each)} == {}


def fields(path):
    """Yield (class, field) of the records in which options travel."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef) and any(
            "dataclass" in ast.unparse(d) for d in node.decorator_list
        ):
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    yield node.name, item.target.id


def test_no_option_is_recorded_and_never_read():
    read = {
        node.attr
        for path in QHEAD.rglob("*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    found = [each for path in VERBS for each in fields(path)]
    assert len(found) > 20
    assert [each for each in found if each[1] not in read] == []


# Options that are read from the library -----------------------------------------------------------


def library():
    """Yield (owner, field, its type, its default) of every option of the heads and of training."""
    for owner in [*(HEADS[kind] for kind in HEADS), TrainingOptions]:
        hints = get_type_hints(owner if is_dataclass(owner) else owner.__init__)
        for name, field in inspect.signature(owner).parameters.items():
            if name not in OWN:
                yield owner, name, hints[name], field.default


def members(hint):
    """Return the parts of a union but None."""
    parts = (hint,) if get_origin(hint) is Literal else get_args(hint) or (hint,)
    return set(parts) - {type(None)}


def written(default):
    if isinstance(default, bool):
        return "yes" if default else "no"
    if default == math.pi:
        return "pi"
    return f"{default:g}" if isinstance(default, float) else default


def options_of(verb):
    (command,) = [c for c in app.registered_commands if c.callback.__name__ == verb]
    return {each.name: each for each in get_command_from_info(
        command, pretty_exceptions_short=False, rich_markup_mode=None
    ).params}  # fmt: skip


def test_every_field_of_the_library_is_an_option_of_train():
    options = options_of("train")
    found = list(library())
    assert len(found) > 35
    for owner, name, hint, default in found:
        option = options[name]
        flag = "--" + name.replace("_", "-")
        assert option.opts == [flag], (owner, name)
        kinds = members(hint)
        assert (kinds == {bool}) == (option.secondary_opts == [f"--no-{flag[2:]}"])
        shown = option.help
        assert len(shown) > 10
        assert shown.endswith(".")
        if default is None:
            assert "default: " in shown, f"say in the docstring what None: stands for in {name}"
        else:
            assert f"default: {written(default)}" in shown, (owner, name)
        for word in words(hint):
            assert re.search(rf"\b{word}\b", shown), (name, word)


def words(hint):
    literals = [part for part in members(hint) if get_origin(part) is Literal]
    return [word for literal in literals for word in get_args(literal)]


def test_every_option_arrives_with_its_value(train_requests):
    wanted = {}
    for owner, name, hint, _ in library():
        sample = {bool: False, int: 3, float: 0.5}
        wanted[name] = (*words(hint), *(sample[kind] for kind in members(hint) if kind in sample))[
            0
        ]
        assert wanted[name] is not None, (owner, name)
    call = ["train", "demo:support", "--out", "m"]
    for name, value in wanted.items():
        flag = "--" + name.replace("_", "-")
        call += [f"--no-{flag[2:]}"] if value is False else [flag, str(value)]
    ended = CliRunner().invoke(app, call)
    assert ended.exit_code == 0, (ended.stderr, ended.exception)
    (request,) = train_requests
    assert {**request["head_options"], **request["training_options"]} == wanted
    assert set(request["training_options"]) <= set(TrainingOptions.__dataclass_fields__)


def test_none_is_none_and_no_option_is_no_value(train_requests):
    call = [
        "train",
        "demo:support",
        "--out",
        "m",
        "--reduction",
        "none",
        "--encoder-layers",
        "none",
    ]
    assert CliRunner().invoke(app, [*call, "--encoder-qubits", "7"]).exit_code == 0
    assert train_requests[0]["head_options"] == {
        "reduction": None, "encoder_layers": None, "encoder_qubits": 7,
    }  # fmt: skip
    assert train_requests[0]["training_options"] == {}


@pytest.mark.parametrize("kind", HEADS)
def test_the_words_of_the_help_are_those_that_the_library_takes(kind):
    for owner, name, hint, _ in library():
        if owner is not HEADS[kind]:
            continue
        for part in members(hint):
            if known := words(part):
                with pytest.raises(HeadError) as error:
                    make_head(kind, **{name: "nonsense"})
                for word in re.findall(r"'(\w+)'", str(error.value).split(" got ")[0]):
                    assert word in known, (name, word)


def test_lists_of_numbers_are_read_or_refused():
    call = ["plan", "m", "d.csv", "--target", "fake:fez", "--zne"]
    ended = CliRunner().invoke(app, [*call, "1,three"])
    assert ended.exit_code == 2
    assert "expected numbers with commas" in ended.stderr
    ended = CliRunner().invoke(app, [*call, "1, 1.05"])  # read: refused for what they are
    assert "noise factors of which the largest is at least 1.1" in ended.stderr
