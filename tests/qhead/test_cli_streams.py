"""What goes where: standard streams that are closed, files named by --out, notes on stderr."""

import io
import json
import os
import subprocess
import sys

import pytest
from loopback.home import private_home
from typer.testing import CliRunner

from qhead.cli.app import app
from qhead.data import load_unlabelled
from qhead.errors import DataError

QUICK = ["--num-qubits", "2", "--num-layers", "0", "--connectivity", "1", "--max-epochs", "4"]
FAKE = "fake:manila:100"
SENTENCES = "the film was good\nthe room was bad\n"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    private_home(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture(scope="module")
def model(tmp_path_factory, toy_model, toy_texts, toy_labels):
    folder = tmp_path_factory.mktemp("streams")
    rows = [f"{text},{label}" for text, label in zip(toy_texts, toy_labels, strict=True)]
    (folder / "toy.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    ended = run("train", folder / "toy.csv", "--out", folder / "m", "--encoder", toy_model, *QUICK)
    assert ended.exit_code == 0, ended.stderr
    return folder / "m"


def run(*arguments, input=None):
    return CliRunner().invoke(app, [str(a) for a in arguments], input=input)


def shell(redirection, *arguments):
    """Run the command in a shell that closes a stream."""
    line = f'exec "$@" {redirection}'
    command = ["sh", "-c", line, "sh", sys.executable, "-m", "qhead", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ)


def test_a_closed_standard_input_is_a_sentence(model):
    ended = shell("<&-", "predict", model)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "Error: Standard input is closed. Name a file of sentences, or pipe them in.\n"
    )


@pytest.mark.parametrize("verb", ["predict", "predict --json", "evaluate", "plan", "submit"])
def test_a_closed_standard_output_is_a_sentence(home, model, verb):
    name, *json_too = verb.split()
    data = model.parent / "toy.csv"
    target = ["--target", FAKE] if name in ("plan", "submit") else []
    ended = shell(">&-", name, model, data, *target, *json_too)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "Error: Standard output is closed." in ended.stderr


def test_an_answer_in_a_file_needs_no_standard_output(home, model):
    ended = shell(">&-", "predict", model, model.parent / "toy.csv", "--out", home / "rows.csv")
    assert ended.returncode == 0, ended.stderr
    assert len((home / "rows.csv").read_text().splitlines()) == 81


def test_messages_to_a_closed_standard_error_do_not_go_to_standard_output(home, model):
    ended = shell("2>&-", "submit", model, model.parent / "toy.csv", "--target", FAKE)
    assert ended.returncode == 0
    assert len(ended.stdout.split()) == 1  # the run's id alone


def test_json_goes_to_the_file_that_out_names(home, model):
    data = model.parent / "toy.csv"
    submitted = run("submit", model, data, "--target", FAKE)
    found = {}
    for name, call in {
        "collect": ("collect", submitted.stdout.strip(), "--wait", "inf"),
        "predict": ("predict", model, data),
    }.items():
        ended = run(*call, "--json", "--out", home / name)
        assert (ended.exit_code, ended.stdout) == (0, ""), ended.stderr
        found[name] = json.loads((home / name).read_text())
    assert {len(each["predictions"]) for each in found.values()} == {80}


def test_rows_come_with_the_target_s_notes_on_standard_error(model):
    target = "noisy:0.001,0.01"
    told = json.loads(run("predict", model, "--target", target, "--json", input=SENTENCES).stdout)
    assert told["notes"]
    ended = run("predict", model, "--target", target, input=SENTENCES)
    assert [line for line in ended.stderr.splitlines() if line.startswith("Note: ")] == [
        f"Note: {note}" for note in told["notes"]
    ]
    assert len(ended.stdout.splitlines()) == 3


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


def test_a_terminal_is_told_that_sentences_are_awaited(monkeypatch, caplog):
    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO(SENTENCES.encode())))
    with caplog.at_level("INFO", "qhead"):
        assert len(load_unlabelled("-")) == 2
    assert "Reading sentences from the terminal" in caplog.text
    assert "Ctrl-D" in caplog.text


def test_a_closed_stream_object_is_an_error_of_the_data(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match="closed"):
        load_unlabelled("-")


@pytest.mark.parametrize("verb", [["predict"], ["plan", "-", "--target", FAKE]])
def test_a_missing_model_is_reported_before_sentences_are_read(home, monkeypatch, verb):
    def read(*arguments, **options):
        raise AssertionError("standard input was read")

    monkeypatch.setattr("qhead.data.loading._standard_input", read)
    name, *rest = verb
    ended = run(name, home / "nowhere", *rest)
    assert ended.exit_code == 2
    assert "nowhere" in ended.stderr


def test_a_foreign_file_as_checkpoint_is_not_to_be_removed(home, model):
    data = model.parent / "toy.csv"
    ended = run("train", data, "--out", home / "new", "--checkpoint", data, *QUICK)
    assert ended.exit_code == 2
    assert "is not a training checkpoint of qhead" in ended.stderr
    assert "another file" in ended.stderr
    assert "emove" not in ended.stderr


@pytest.mark.parametrize("by_interrupt", [True, False])
def test_no_failed_import_reaches_the_terminal_as_a_traceback(home, monkeypatch, by_interrupt):
    def fail(*arguments, **options):
        try:
            raise KeyboardInterrupt if by_interrupt else ValueError
        except BaseException as error:
            raise ImportError('generic_type: type "x" is already registered!') from error

    monkeypatch.setattr("hardware.runs.run.list_runs", fail)
    ended = run("runs")
    assert ended.exit_code == (130 if by_interrupt else 1)
    assert ("Interrupted." if by_interrupt else "Cannot import a package") in ended.stderr


def test_a_run_is_named_where_standard_output_is_full(home, model):
    data = model.parent / "toy.csv"
    ended = shell(">/dev/full", "submit", model, data, "--target", "fake:manila:20")
    assert ended.returncode == 1
    assert "No space left" in ended.stderr
    (listed,) = json.loads(run("runs", "--json").stdout)["runs"]
    assert f"qhead collect {listed['run']}" in ended.stderr
