"""The code of the README and the pages runs, their commands exist, their links lead somewhere."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qhead.cli.app import app

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}


def blocks(language: str, *pages: Path) -> list[str]:
    text = "\n".join(TEXTS[page] for page in pages or PAGES)
    every = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.M | re.S)
    return [block for named, block in every if named == language]


@pytest.mark.parametrize("code", blocks("python"))
def test_python_blocks_run_and_run_again(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QHEAD_LEDGER", str(tmp_path / "ledger.sqlite"))
    for _ in range(2):
        exec(compile(code, "README.md", "exec"), {})
    said = capsys.readouterr().out
    assert ("billing" in said) == ("print" in code)
    assert (tmp_path / "support-model").is_dir() == ("model.save" in code)
    assert (tmp_path / "ledger.sqlite").is_file() == ("fake:" in code)


def test_commands_run_as_printed(tmp_path: Path) -> None:
    """All but those of make, in their order, in one shell and an empty folder."""
    lines = [
        line
        for block in blocks("", README)
        for line in block.splitlines()
        if line.startswith(("qhead ", "echo "))
    ]
    assert sum("fake:fez" in line for line in lines) >= 2
    assert not any("ibm:" in line for line in lines)  # who has no account runs all of them
    start = f'set -euo pipefail\nqhead() {{ "{sys.executable}" -m qhead "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-c", start + "\n".join(lines)],
        cwd=tmp_path,
        env={**os.environ, "QHEAD_LEDGER": str(tmp_path / "ledger.sqlite")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 361
    assert (tmp_path / "model.html").is_file()
    assert (tmp_path / "chip.svg").is_file()


def commands() -> set[str]:
    text = "\n".join([*blocks(""), *blocks("text")])
    return set(re.findall(r"^qhead (\w+)", text, flags=re.M))


@pytest.mark.parametrize("verb", sorted(commands()))
def test_commands_exist(verb: str) -> None:
    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0, result.output


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in re.findall(r"^make (\w+)", TEXTS[README], flags=re.M):
        assert re.search(rf"^{name}:", makefile, flags=re.M), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    links = set(re.findall(r"\]\((?!http)([^)#]+)\)", TEXTS[page]))
    named = set(re.findall(r"`((?:qhead|hardware|scripts|tests|docs)/[\w./]+)`", TEXTS[page]))
    named |= set(re.findall(r"python (scripts/\w+\.py)", TEXTS[page]))
    assert links | named
    for name in links:
        assert (page.parent / name).exists(), name
    for name in named:
        assert (ROOT / name).exists(), name


def test_no_script_hides_a_package() -> None:
    """A script's folder comes first on its path: scripts/coverage.py would be numba's coverage."""
    found = {spec.name for spec in importlib.metadata.distributions()}
    assert "coverage" in found  # of the development dependencies
    for script in (ROOT / "scripts").glob("*.py"):
        assert script.stem not in found, script
