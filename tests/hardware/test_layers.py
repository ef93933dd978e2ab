from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hardware

ROOT = Path(hardware.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Names of the packages that a module imports anywhere, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_hardware_stands_on_its_own(path: Path) -> None:
    assert not imported(path) & {"qhead", "torch", "sentence_transformers", "pickle"}


def test_every_module_can_be_imported_first() -> None:
    # A cycle shows only where it is entered at the wrong end.
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    for loaded in [m for m in sys.modules if m.startswith('hardware')]:\n"
        "        del sys.modules[loaded]\n"
        "    importlib.import_module(f'hardware.{name}')\n"
    )
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in MODULES
        if path.stem != "__init__"
    ]
    subprocess.run([sys.executable, "-c", code, *names], check=True)


def test_the_package_itself_imports_nothing_heavy() -> None:
    code = "import sys, hardware; print(any(m in sys.modules for m in ('numpy', 'qiskit')))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
