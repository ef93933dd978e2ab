"""What every verb has: ``--config``, ``--verbose``, ``--quiet``, ``-h`` and completion."""

import logging
import os
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from qhead.cli.app import app


def train(*options):
    return CliRunner().invoke(app, ["train", *map(str, options)])


def test_a_file_stands_in_for_options_and_the_command_line_wins(tmp_path, train_requests):
    path = tmp_path / "run.toml"
    path.write_text(
        'data = "demo:support"\nout = "m"\nmax-epochs = 7\nbatch_size = 9\nlearning-rate = 1\n'
        'encoder-layers = "none"\nencoder-qubits = 6\nshared = false\nskip-empty = true\n'
        'seed = 3\n[evaluate]\ntarget = "shots:10"\n[train]\nseed = 4\nridge = 0.5\n'
    )
    assert train("--config", path, "--max-epochs", 8).exit_code == 0
    (request,) = train_requests
    assert (request["data"], request["out"], request["seed"]) == ("demo:support", "m", 4)
    assert request["skip_empty"] is True
    assert request["training_options"] == {
        "max_epochs": 8, "batch_size": 9, "learning_rate": 1.0, "ridge": 0.5,
    }  # fmt: skip
    assert request["head_options"] == {"encoder_layers": None, "encoder_qubits": 6, "shared": False}
    # the name of a short run on the command line, in any place
    assert train("demo:reviews", "--out", "n", "--config", path).exit_code == 0
    assert (train_requests[1]["data"], train_requests[1]["out"]) == ("demo:reviews", "n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("max-epohcs = 3", "qhead train has no option 'max-epohcs'. Did you mean 'max-epochs'?"),
        ("target = 'exact'", "qhead train has no option 'target'."),
        ("config = 'x'", "qhead train has no option 'config'."),
        ("max-epochs = 'many'", "expected max-epochs to be a whole number, got 'many'."),
        ("max-epochs = 2.5", "expected max-epochs to be a whole number, got 2.5."),
        ("max_epochs = true", "expected max_epochs to be a whole number, got True."),
        ("ridge = '1'", "expected ridge to be a number, got '1'."),
        ("shared = 'no'", "expected shared to be true or false, got 'no'."),
        ("text-column = 3", "expected text-column to be a text in quotes, got 3."),
        ("out = 3", "expected out to be a path in quotes, got 3."),
        ("encoder-qubits = [1]", "expected encoder-qubits to be a number or a text in quotes"),
        ("seed = -1", "expected seed to be at least 0, got -1."),
        ("[trian]\nseed = 1", "qhead has no verb 'trian'. Did you mean 'train'?"),
        ("seed 1", "is not a TOML file"),
        (b"seed = \xff", "is not a TOML file"),
    ],
    ids=str,
)
def test_bad_files_are_named_with_the_key(tmp_path, train_requests, content, message):
    path = tmp_path / "run.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    ended = train("demo:support", "--out", "m", "--config", path)
    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"Error: {path}")
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert train_requests == []


def test_a_file_that_cannot_be_read(tmp_path, train_requests):
    ended = train("demo:support", "--out", "m", "--config", tmp_path / "none.toml")
    assert ended.exit_code == 2
    message = f"Error: Cannot read {tmp_path / 'none.toml'}: No such file or directory.\n"
    assert ended.stderr == message
    assert train_requests == []


def test_every_verb_takes_the_common_options():
    for command in app.registered_commands:
        verb = command.name or command.callback.__name__
        text = CliRunner().invoke(app, [verb, "-h"]).stdout
        for option in ("--config", "--verbose", "-v", "--quiet", "-q", "--help", "-h"):
            assert option in text, verb


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        ([], ["Note: a note", "an info", "Warning: a warning"]),
        (["-v"], ["a detail", "Note: a note", "an info", "Warning: a warning"]),
        (["--quiet"], ["Warning: a warning"]),
        (["-v", "-q"], ["Warning: a warning"]),
    ],
)
def test_how_much_is_said(monkeypatch, flags, shown):
    from qhead.cli.guard import complain

    def speak(*place, **options):
        log = logging.getLogger("hardware.anything")
        log.debug("a detail")
        complain("Note", "a note")
        log.info("an info")
        log.warning("a warning")
        raise typer.Exit(0)

    monkeypatch.setattr("qhead.saving.folder.check_destination", speak)
    ended = train("demo:support", "--out", "m", *flags)
    said = ended.stderr.splitlines()
    if "-v" in flags and "-q" not in flags:
        assert said.pop(0).startswith("qhead 0.1.0, ")
    assert said == shown


def complete(words):
    """Return what bash would offer for the last of the words."""
    environment = {
        **os.environ, "_QHEAD_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1),
    }  # fmt: skip
    code = "import sys; sys.argv[0] = 'qhead'; from qhead.cli.app import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    return ended.stdout.split()


def test_completion_of_verbs_options_and_words():
    assert "train" in complete(["qhead", "tr"])
    assert complete(["qhead", "train", "--max-e"]) == ["--max-epochs"]
    assert complete(["qhead", "train", "--schedule", "co"]) == ["cosine", "constant"]
    assert complete(["qhead", "train", "--head", "q"]) == ["quantum"]


def test_an_option_that_is_spelled_twice_is_refused(tmp_path, train_requests):
    path = tmp_path / "run.toml"
    path.write_text("max-epochs = 1\nmax_epochs = 2\n")
    ended = train("demo:support", "--out", "m", "--config", path)
    assert ended.exit_code == 2
    assert "max-epochs is given twice" in ended.stderr
    assert train_requests == []
    path.write_text("max-epochs = 1\n[train]\nmax_epochs = 2\n")  # the verb's own table wins
    assert train("demo:support", "--out", "m", "--config", path).exit_code == 0
    assert train_requests[0]["training_options"] == {"max_epochs": 2}
