"""Every option of every verb reaches what it is for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import qhead

QHEAD = Path(qhead.__file__).parent
VERBS = sorted([QHEAD / "cli.py", *(QHEAD / "commands").glob("*.py")])
#: Parameters that a caller outside this project prescribes.
PRESCRIBED = {("_show_warning", name) for name in ("filename", "lineno", "file", "line")}


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path):
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]


def unread(function):
    """Return the parameters that a function's body never reads."""
    arguments = function.args
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
