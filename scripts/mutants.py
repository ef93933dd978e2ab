"""Change one operator, comparison, constant or sign of a file at a time and see which tests notice.

Works on a copy of the tree, so nothing here is touched. Prints each change that all given tests
pass, and how many there were; exits with 1 if one survived that ``--known`` does not list.

    python scripts/mutants.py hardware/intervals.py tests/hardware/test_intervals.py
"""

from __future__ import annotations

import argparse
import ast
import copy
import multiprocessing
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import scipy.stats  # noqa: F401 (what takes long to import is imported once, before the forks)

ROOT = Path(__file__).parents[1]
LEFT_OUT = (".git", ".venv", ".hypothesis", ".*_cache", "__pycache__", "build", "dist")

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
NAMES = {"maximum": "minimum", "max": "min", "argmax": "argmin", "all": "any"}
NAMES |= {new: old for old, new in NAMES.items()}


def change(node: ast.AST) -> Callable[[], None] | None:
    """Return what changes a node in place, or None for a node that is left alone."""
    match node:
        case ast.Compare():
            return lambda: node.ops.__setitem__(0, COMPARISONS[type(node.ops[0])]())
        case ast.BinOp() | ast.AugAssign() if type(node.op) in OPERATORS:
            return lambda: setattr(node, "op", OPERATORS[type(node.op)]())
        case ast.Constant(value=bool()):
            return lambda: setattr(node, "value", not node.value)
        case ast.Constant(value=int() | float()):
            return lambda: setattr(node, "value", node.value + 1)
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert()):
            return lambda: setattr(node, "op", ast.UAdd())
        case ast.BoolOp():
            other = ast.Or if isinstance(node.op, ast.And) else ast.And
            return lambda: setattr(node, "op", other())
        case ast.IfExp():
            return lambda: node.__dict__.update(body=node.orelse, orelse=node.body)
        case ast.Attribute() if node.attr in NAMES:
            return lambda: setattr(node, "attr", NAMES[node.attr])
    return None


def silent(tree: ast.AST) -> set[ast.AST]:
    """Return the nodes whose change no caller can see: annotations, decorators, messages."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            parts += [node.returns, *(each.annotation for each in arguments)]
        if isinstance(node, ast.ClassDef):
            parts += node.decorator_list
        if isinstance(node, ast.AnnAssign):
            parts.append(node.annotation)
        if isinstance(node, ast.Raise):
            parts.append(node)
        for part in parts:
            found |= set(ast.walk(part)) if part is not None else set()
    return found


def mutants(source: str) -> Iterator[tuple[str, str]]:
    """Yield each mutant's text and what was changed in it."""
    tree = ast.parse(source)
    left_alone = silent(tree)
    for index, node in enumerate(ast.walk(tree)):
        if node in left_alone or change(node) is None:
            continue
        other = copy.deepcopy(tree)
        changed = list(ast.walk(other))[index]
        before = ast.unparse(changed)
        apply = change(changed)
        assert apply is not None
        apply()
        line = getattr(node, "lineno", 0)
        yield ast.unparse(other), f"line {line}: {before}  ->  {ast.unparse(changed)}"


def survives(tree: Path, tests: list[str], seconds: float) -> bool:
    """Return whether all tests pass in a tree, in a process of their own."""
    child = multiprocessing.get_context("fork").Process(target=_run, args=(tree, tests))
    child.start()
    child.join(seconds)
    if child.exitcode is None:
        child.kill()
        child.join()
    if child.exitcode in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(f"Found no tests to run in {', '.join(tests)}.")
    return child.exitcode == 0


def _run(tree: Path, tests: list[str]) -> None:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(tree))
    os.chdir(tree)
    os._exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests]))


def main() -> int:
    """Try all mutants of one file and print the survivors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="the file to change, relative to the repository")
    parser.add_argument("tests", nargs="+", help="test files that must notice")
    parser.add_argument("--known", type=int, default=0, help="survivors known to be equivalent")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for each mutant")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
        source = (ROOT / given.file).read_text(encoding="utf-8")
        if not survives(tree, given.tests, given.timeout):
            raise SystemExit("The tests fail without a change.")
        tried, survived = 0, 0
        for text, what in mutants(source):
            (tree / given.file).write_text(text, encoding="utf-8")
            tried += 1
            if survives(tree, given.tests, given.timeout):
                survived += 1
                print(f"survived, {what}", flush=True)
    print(f"{tried} mutants of {given.file}, {survived} survived")
    return int(survived > given.known)


if __name__ == "__main__":
    sys.exit(main())
