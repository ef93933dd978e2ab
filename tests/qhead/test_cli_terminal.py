"""The command line in encodings that cannot hold every character."""

import csv
import io
import json
import sys

import pytest
from loopback.home import private_home
from typer.testing import CliRunner

from qhead.cli import app as cli

QUICK = ["--num-qubits", "2", "--num-layers", "0", "--connectivity", "1", "--max-epochs", "8"]
QUICK += ["--learning-rate", "0.1"]
SENTENCES = "the film was good – 良い\nthe room was bad ☹\n"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    private_home(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture(scope="module")
def data(tmp_path_factory, toy_texts, toy_labels):
    path = tmp_path_factory.mktemp("dåta-文") / "toy–.csv"
    names = {"plus": "gut ☺", "minus": "schlecht → 悪い"}
    rows = [f"{t},{names[k]}" for t, k in zip(toy_texts, toy_labels, strict=True)]
    path.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory, data, toy_model):
    folder = tmp_path_factory.mktemp("modèles") / "quantum–☺"
    options = ["train", data, "--out", folder, "--encoder", toy_model, *QUICK]
    result = CliRunner().invoke(cli.app, list(map(str, options)))
    assert result.exit_code == 0, result.stderr
    return folder


def main(monkeypatch, encoding, *arguments, input=""):
    """Run the command as the shell would, its streams strict in some encoding."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(input.encode())))
        patch.setattr(sys, "argv", ["qhead", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    for stream in streams:
        stream.flush()
    return ended.value.code, *(s.buffer.getvalue().decode(encoding) for s in streams)


VERBS = {
    "evaluate": ["evaluate", "MODEL", "DATA"],
    "evaluate --json": ["evaluate", "MODEL", "DATA", "--target", "shots:64", "--json"],
    "predict": ["predict", "MODEL"],
    "predict --json": ["predict", "MODEL", "--json"],
    "predict on a fake": ["predict", "MODEL", "--target", "fake:manila:100"],
    "report": ["report", "MODEL", "--out", "r–☺.html"],
    "plan": ["plan", "MODEL", "DATA", "--target", "fake:manila:100"],
    "plan --json": ["plan", "MODEL", "DATA", "--target", "fake:manila:100", "--json"],
    "runs": ["runs"],
    "backends": ["backends", "MODEL", "--fakes"],
    "version": ["--version"],
    "help": ["--help"],
    "train --help": ["train", "--help"],
    "plan --help": ["plan", "--help"],
}  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("verb", VERBS)
def test_output_that_the_encoding_cannot_hold(home, model, data, monkeypatch, verb, encoding):
    places = {"MODEL": model, "DATA": data, "r–☺.html": home / "r–☺.html"}
    given = [places.get(each, each) for each in VERBS[verb]]
    code, stdout, stderr = main(monkeypatch, encoding, *given, input=SENTENCES)
    assert code == 0, stderr
    assert stdout
    assert "Traceback" not in stderr
    if "--json" in given:
        assert json.loads(stdout)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_run_s_life_in_a_narrow_encoding(home, model, data, monkeypatch, encoding):
    def verb(*given, code=0):
        ended, stdout, stderr = main(monkeypatch, encoding, *given)
        assert ended == code, stderr
        assert "Traceback" not in stderr
        return stdout

    run = verb("submit", model, data, "--target", "fake:manila:100").strip()
    verb("status", run)
    verb("runs")
    rows = list(csv.DictReader(io.StringIO(verb("collect", run))))
    assert len(rows) == 80
    verb("resume", run)
    verb("collect", "nø–☺", code=2)


def test_rows_say_where_they_are_not_spelled_as_they_came(home, model, monkeypatch):
    _, stdout, stderr = main(monkeypatch, "cp1252", "predict", model, input=SENTENCES)
    rows = list(csv.DictReader(io.StringIO(stdout)))
    assert [row["text"] for row in rows] == [
        "the film was good – \\u826f\\u3044",
        "the room was bad \\u2639",
    ]
    assert rows[0]["label"] == "gut \\u263a"
    assert "4 cells had characters that cp1252 cannot hold" in stderr
    out = home / "labels.csv"
    _, _, stderr = main(monkeypatch, "cp1252", "predict", model, "--out", out, input=SENTENCES)
    assert stderr == ""
    rows = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))))
    assert [row["text"] for row in rows] == SENTENCES.splitlines()
    given = ["predict", model, "--format", "jsonl"]
    _, stdout, _ = main(monkeypatch, "cp1252", *given, input=SENTENCES)
    assert [json.loads(line)["text"] for line in stdout.splitlines()] == SENTENCES.splitlines()
