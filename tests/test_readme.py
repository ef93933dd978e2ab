"""The README's code runs, its commands exist, its links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qhead.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_blocks_run(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert "billing" in capsys.readouterr().out
    assert (tmp_path / "support-model" / "head.safetensors").is_file()


def commands() -> set[str]:
    text = "\n".join(blocks(""))
    return set(re.findall(r"^qhead (\w+)", text, flags=re.M))


@pytest.mark.parametrize("verb", sorted(commands()))
def test_commands_exist(verb: str) -> None:
    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0, result.output


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in re.findall(r"^make (\w+)", README, flags=re.M):
        assert re.search(rf"^{name}:", makefile, flags=re.M), name


def test_named_files_exist() -> None:
    named = set(re.findall(r"\]\((?!http)([^)#]+)\)", README))
    named |= set(re.findall(r"`((?:qhead|hardware|scripts|tests|docs)/[\w./]+)`", README))
    named |= set(re.findall(r"python (scripts/\w+\.py)", README))
    assert named
    for name in named:
        assert (ROOT / name).exists(), name
