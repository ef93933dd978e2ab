"""Change one operator, comparison, constant or sign of a file at a time and see which tests notice.

Works on a copy of the tree, so nothing here is touched. The tests run once without a change, to see
which of them reach which line; each change then meets the tests that reach it, the quickest first,
as many as fit into ``--seconds``: a change that none of these notices has survived.
Prints each change that these all pass, and how many there were; exits with 1 if one survived that
``scripts/mutants.toml`` does not list as equivalent, with the reason.

    python scripts/mutants.py                             # every file of mutants.toml
    python scripts/mutants.py hardware/circuits/intervals.py
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import threading
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_suffix(".toml")
# What takes long to import is imported once, before the forks.
HEAVY = (
    "scipy.stats",
    "sklearn.linear_model",
    "qiskit_ibm_runtime",
    "qiskit_aer",
    "typer",
    "torch",
)
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
            other = node.value + 1 if node.value + 1 != node.value else 2 * node.value
            return lambda: setattr(node, "value", other)
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
    """Return the nodes whose change no caller can see.

    Annotations, decorators, messages, and ``strict`` of `zip`, which guards what holds anyway.
    """
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
        if isinstance(node, ast.Raise) or (isinstance(node, ast.keyword) and node.arg == "strict"):
            parts.append(node)
        for part in parts:
            found |= set(ast.walk(part)) if part is not None else set()
    return found


class Mutant(NamedTuple):
    """A file with one change: its text, what was changed, in which line, and the lines' numbers."""

    text: str
    change: str
    line: str
    lines: range


def mutants(source: str) -> Iterator[Mutant]:
    """Yield each mutant of a file."""
    tree = ast.parse(source)
    left_alone, bodies = silent(tree), _bodies_of_defaults(tree)
    for index, node in enumerate(ast.walk(tree)):
        if node in left_alone or change(node) is None:
            continue
        other = copy.deepcopy(tree)
        changed = list(ast.walk(other))[index]
        before = ast.unparse(changed)
        apply = change(changed)
        assert apply is not None
        apply()
        lines = bodies.get(node) or range(node.lineno, (node.end_lineno or node.lineno) + 1)
        line = source.splitlines()[node.lineno - 1].strip()
        yield Mutant(ast.unparse(other), f"{before} -> {ast.unparse(changed)}", line, lines)


def _bodies_of_defaults(tree: ast.AST) -> dict[ast.AST, range]:
    """Return the lines of a function by the nodes of its defaults, which run at import."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            body = range(node.body[0].lineno, (node.end_lineno or node.lineno) + 1)
            defaults = [*node.args.defaults, *node.args.kw_defaults]
            found |= {part: body for each in defaults if each for part in ast.walk(each)}
    return found


@dataclass
class Reach:
    """Notes, as a pytest plugin, which tests run which lines of some files, and their seconds."""

    files: dict[str, str]
    lines: dict[str, dict[str, set[int]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(set))
    )
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    test: str = ""

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        """Note a line of one of the files; frames of others are left alone."""
        file = self.files.get(frame.f_code.co_filename)
        if file is None:
            return None
        self.lines[file][self.test].add(frame.f_lineno)
        return self.trace

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Note what one test and its fixtures run under the test's name."""
        self.test = item.nodeid
        try:
            return (yield)
        finally:
            self.test = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up the time of a test's three phases."""
        self.seconds[report.nodeid] += report.duration

    def tests_of(self, file: str, lines: range, most_seconds: float) -> list[str]:
        """Return the tests that reach any of some lines, the quickest first.

        Lines that run at import are of every test that reaches the file.
        """
        reached = self.lines.get(file, {})
        at_import = not reached.get("", set()).isdisjoint(lines)
        found = [
            test
            for test, seen in reached.items()
            if test and (at_import or not seen.isdisjoint(lines))
        ]
        found.sort(key=lambda test: self.seconds.get(test, 0.0))
        total = accumulate(self.seconds.get(test, 0.0) for test in found)
        return [test for test, spent in zip(found, total, strict=True) if spent < most_seconds]


def in_a_child(tree: Path, seconds: float | None, body: Callable[[], int]) -> int | None:
    """Return the exit code of a function run in a fork, None if it took too long."""

    def run() -> None:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        sys.path.insert(0, str(tree))
        os.chdir(tree)
        os._exit(body())

    child = multiprocessing.get_context("fork").Process(target=run)
    child.start()
    child.join(seconds)
    if child.exitcode is None:
        child.kill()
        child.join()
        return None
    return child.exitcode


def run_tests(tests: Sequence[str], plugins: Sequence[object] = ()) -> int:
    """Run tests until the first fails and return pytest's exit code."""
    options = ("-x", "-q", "-p", "no:cacheprovider", "-m", "not slow")
    return int(pytest.main([*options, *tests], plugins=list(plugins)))


def reach(tree: Path, files: Sequence[str], tests: Sequence[str]) -> Reach:
    """Run the tests without a change and return which lines each of them reaches."""
    notes = tree.parent / "reach.json"

    def run() -> int:
        plugin = Reach({str(tree / file): file for file in files})
        threading.settrace(plugin.trace)
        sys.settrace(plugin.trace)
        code = run_tests(tests, [plugin])
        sys.settrace(None)
        lines = {
            file: {test: sorted(seen) for test, seen in each.items()}
            for file, each in plugin.lines.items()
        }
        notes.write_text(json.dumps([lines, plugin.seconds]), encoding="utf-8")
        return code

    if in_a_child(tree, None, run) != 0:
        raise SystemExit(f"Without a change these fail, or hold no test: {', '.join(tests)}.")
    lines, seconds = json.loads(notes.read_text(encoding="utf-8"))
    sets = {file: {test: set(seen) for test, seen in each.items()} for file, each in lines.items()}
    return Reach({}, sets, seconds)


def examine(
    tree: Path, file: str, reached: Reach, equivalent: set[tuple[str, str]], most_seconds: float
) -> bool:
    """Try all mutants of one file, print the survivors and return whether there were none."""
    source = (tree / file).read_text(encoding="utf-8")
    # The others' bytecode is there since the first run; a mutant's would be taken for the next.
    sys.dont_write_bytecode = True
    for cached in (tree / file).parent.glob(f"__pycache__/{Path(file).stem}.*"):
        cached.unlink()
    tried, known, survived = 0, 0, 0
    for mutant in mutants(source):
        tried += 1
        if (mutant.line, mutant.change) in equivalent:
            known += 1
            continue
        judges = reached.tests_of(file, mutant.lines, most_seconds)
        (tree / file).write_text(mutant.text, encoding="utf-8")
        if judges and in_a_child(tree, 5 * most_seconds, partial(run_tests, judges)) != 0:
            continue
        survived += 1
        unreached = "" if judges else " (no test reaches it)"
        where = f"{file}:{mutant.lines.start}"
        print(f"{where}: survived: {mutant.change}{unreached}\n    {mutant.line}", flush=True)
    (tree / file).write_text(source, encoding="utf-8")
    sys.dont_write_bytecode = False
    print(f"{file}: {tried} mutants, {known} equivalent, {survived} survived", flush=True)
    return not survived


def main() -> int:
    """Try all mutants of the files asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", help=f"files of {TABLE.name} to change, or all")
    parser.add_argument("--tests", nargs="+", help="tests that must notice, not the table's")
    parser.add_argument("--seconds", type=float, default=60.0, help="of tests for each mutant")
    given = parser.parse_args()
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    equivalent = defaultdict(set)
    for row in table["equivalent"]:
        equivalent[row["file"]].add((row["line"], row["change"]))
    groups = [(row["files"], given.tests or row["tests"]) for row in table["group"]]
    if given.files:
        if unknown := set(given.files) - {file for files, _ in groups for file in files}:
            parser.error(f"{TABLE.name} does not name {', '.join(sorted(unknown))}.")
        groups = [
            ([each for each in files if each in given.files], tests) for files, tests in groups
        ]
    for name in HEAVY:
        importlib.import_module(name)
    clean = True
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder).resolve() / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
        for files, tests in groups:
            if not files:
                continue
            reached = reach(tree, files, tests)
            for file in files:
                clean &= examine(tree, file, reached, equivalent[file], given.seconds)
    return int(not clean)


if __name__ == "__main__":
    sys.exit(main())
