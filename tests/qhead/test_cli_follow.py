"""``qhead predict --follow``: a row for every line, as soon as the line is there."""

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from loopback.home import private_home
from typer.testing import CliRunner

from qhead.cli.app import app
from qhead.data import MAX_CHARACTERS
from qhead.follow import _BLOCK, _MAX_LINE, _arriving, follow
from qhead.predictor import Predictor
from qhead.targets import resolve_target

QUICK = ["--num-qubits", "2", "--num-layers", "0", "--connectivity", "1", "--max-epochs", "2"]
EMPTY = dict.fromkeys(("text", "label", "probability", "std_error", "decided"))


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    private_home(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture(scope="module")
def model(tmp_path_factory, toy_model, toy_texts, toy_labels):
    folder = tmp_path_factory.mktemp("follow")
    rows = [f"{text},{label}" for text, label in zip(toy_texts, toy_labels, strict=True)]
    (folder / "toy.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QHEAD_CACHE", str(folder / "cache"))
        ended = run(
            "train", folder / "toy.csv", "--out", folder / "m", "--encoder", toy_model, *QUICK
        )
    assert ended.exit_code == 0, ended.stderr
    return folder / "m"


def run(*arguments, input=None):
    return CliRunner().invoke(app, [str(a) for a in arguments], input=input)


class Pieces(io.BytesIO):
    """A stream from which each read takes no more than a few bytes."""

    def __init__(self, data, size):
        super().__init__(data)
        self.size = size

    def read1(self, size=-1):
        return super().read1(min(size, self.size))


@pytest.mark.parametrize("form", [[], ["--format", "jsonl"], ["--raw"]])
@pytest.mark.parametrize("target", ["exact", "shots:40", "noisy:0.01,0.02:40"])
def test_the_rows_are_those_of_predict(model, toy_texts, form, target):
    lines = "\n".join([*toy_texts[:12], "=the film, was good", "the show was ünkind"]) + "\n"
    options = [*form, "--target", target, "--seed", "5"]
    whole, followed = (
        run("predict", model, *options, *more, input=lines) for more in ([], ["--follow"])
    )
    assert (whole.exit_code, followed.exit_code) == (0, 0), followed.stderr
    assert followed.stdout == whole.stdout
    assert followed.stderr == whole.stderr  # the target's notes, cells that were escaped


@pytest.mark.parametrize("size", [1, 7, 100, 10**6])
def test_the_shots_of_a_line_do_not_depend_on_when_it_came(model, toy_texts, size):
    """Equal lines have shots of their own, the same however the lines are batched."""
    predictor, target = Predictor.load(model), resolve_target("shots:400", seed=2)
    data = "".join(f"{text}\n" for text in [toy_texts[0]] * 6 + toy_texts[:6]).encode()
    rows = [row for row, _ in follow(predictor, Pieces(data, size), target)]
    assert rows == [row for row, _ in follow(predictor, io.BytesIO(data), target)]
    assert len({row["probability"] for row in rows[:6]}) > 1


BAD = {
    b"": "line 2: the text is empty",
    b"  \t": "line 2: the text is empty",
    b"caf\xe9": "line 2: expected UTF-8, got byte 0xe9 at offset 3.",
    b"a\0b": "line 2: the text holds a NUL character",
    b"x" * (MAX_CHARACTERS + 1): "line 2: expected at most 20,000 characters in a text, got 20,001",
    b"x" * (_MAX_LINE + 2 * _BLOCK): "line 2: expected at most 20,000 characters in a text, got ",
    "é".encode() * (_MAX_LINE // 2 + 9): "line 2: expected at most 20,000 characters in a text",
}


@pytest.mark.parametrize("bad", BAD, ids=[f"{len(b)} {b[:4]!r}" for b in BAD])
def test_a_line_that_is_no_sentence_does_not_end_the_stream(model, bad):
    lines = b"\xef\xbb\xbfthe film was good\r\n" + bad + b"\r\nthe room was bad"
    ended = run("predict", model, "--follow", "--format", "jsonl", input=lines)
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [row["text"] for row in rows] == ["the film was good", None, "the room was bad"]
    assert rows[1] == EMPTY
    assert ended.stderr.startswith(f"Error: standard input, {BAD[bad]}")
    assert "1 line of standard input has no label" in ended.stderr.splitlines()[-1]
    assert ended.exit_code == 2
    table = list(csv.reader(io.StringIO(run("predict", model, "--follow", input=lines).stdout)))
    assert [row[0] for row in table] == ["text", "the film was good", "", "the room was bad"]
    assert table[2] == [""] * 5


def test_empty_lines_are_left_out_at_the_user_s_word(model):
    ended = run("predict", model, "--follow", "--skip-empty", input="\nthe film was good\n\n\n")
    assert len(ended.stdout.splitlines()) == 2
    assert (ended.exit_code, ended.stderr) == (0, "")


def test_no_line_is_no_row(model):
    ended = run("predict", model, "--follow", input="")
    assert (ended.exit_code, ended.stdout) == (0, "text,label,probability,std_error,decided\n")


def test_a_line_without_an_end_takes_bounded_memory():
    class Endless(io.RawIOBase):
        blocks = 200

        def read1(self, size):
            self.blocks -= 1
            return b"x" * size if self.blocks > 0 else b""

    (lines,) = _arriving(Endless())
    assert [len(line) for line in lines] == [_MAX_LINE + 1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--target", "fake:manila"], "--follow answers at once, and 'fake:manila' plans and"),
        (["--target", "ibm:best"], "--follow answers at once, and 'ibm:best' plans and sends"),
        (["--out", "rows.csv"], "Leave out --out;"),
        (["--json"], "Leave out --json;"),
        (["--text-column", "a"], "Leave out --text-column;"),
        (["texts.txt"], "Leave out FILE;"),
        (["--target", "shots:0"], "shots"),
        (["--budget", "3"], "--budget"),
    ],
)
def test_what_a_stream_cannot_go_with_is_refused(model, options, words):
    ended = run("predict", model, "--follow", *options, input="the film was good\n")
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert words in ended.stderr


@pytest.fixture
def process(model):
    command = [sys.executable, "-m", "qhead", "predict", str(model), "--follow"]
    pipe = subprocess.PIPE
    started = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=os.environ
    )
    watchdog = threading.Timer(240, started.kill)  # or a row that does not come is waited for
    watchdog.start()
    yield started
    watchdog.cancel()
    started.kill()
    started.wait()
    for stream in (started.stdin, started.stdout, started.stderr):
        with contextlib.suppress(BrokenPipeError):
            stream.close()


def ask(process, line):
    process.stdin.write(line)
    process.stdin.flush()
    return process.stdout.readline()


def test_each_line_is_answered_before_the_next_is_there(process):
    assert process.stdout.readline() == "text,label,probability,std_error,decided\n"
    for text in ("the film was good", "the room was bad", "the meal was kind"):
        assert ask(process, f"{text}\n").startswith(f"{text},")
    process.stdin.close()
    assert process.wait(60) == 0


def test_ctrl_c_ends_it_as_any_verb(process):
    process.stdout.readline()
    ask(process, "the film was good\n")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr.read() == "Interrupted.\n"


def test_a_reader_that_has_gone_ends_it_as_any_verb(process):
    process.stdout.readline()
    process.stdout.close()
    process.stdin.write("the film was good\n")
    process.stdin.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == ""
