"""Advice in messages: it exists, it is of this program, and it fits what was given."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from typer.testing import CliRunner

from hardware.words import counted
from qhead.cli.app import app
from qhead.encoder.sentence_encoder import SentenceEncoder

QUICK = ["--num-qubits", "2", "--num-layers", "0", "--connectivity", "1", "--max-epochs", "1"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("QHEAD_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="module")
def data(tmp_path_factory, toy_texts, toy_labels):
    path = tmp_path_factory.mktemp("data") / "toy.csv"
    rows = [f"{text},{label}" for text, label in zip(toy_texts, toy_labels, strict=True)]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def refused(*arguments):
    ended = run(*arguments)
    assert ended.exit_code == 2, (ended.stderr, ended.exception)
    return ended.stderr


def test_a_connectivity_that_the_ring_has_no_room_for(home, data):
    given = ["--num-qubits", "2", "--connectivity", "3"]
    assert refused("train", data, "--out", home / "m", *given) == (
        "Error: A ring of --num-qubits 2 takes a connectivity of at most 1, got 3: use "
        "--connectivity 1.\n"
    )


def test_options_of_another_head(home, data):
    error = refused("train", data, "--out", home / "m", "--head", "inspired", "--num-qubits", "4")
    assert error == (
        "Error: The head 'inspired' has no option --num-qubits. Its options are --num-units, "
        "--seed. Did you mean --num-units?\n"
    )


@pytest.mark.parametrize("place", ["./nowhere", "../nowhere", "/no/where", "~/nowhere"])
def test_a_missing_folder_is_not_looked_for_at_the_hub(home, data, place):
    error = refused("train", data, "--out", home / "m", "--encoder", place)
    assert f"{place} does not exist" in error or f"{place!r} does not exist" in error


@pytest.mark.parametrize("balanced", [True, False])
def test_balanced_weights_are_advised_unless_given(home, toy_model, balanced):
    rows = ["the film was good,plus"] * 60 + ["the film was bad,minus"] * 4
    (home / "rare.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    option = ["--class-weight", "balanced"] if balanced else []
    call = ["train", home / "rare.csv", "--out", home / "m", "--encoder", toy_model, *QUICK]
    ended = run(*call, *option)
    assert ended.exit_code == 0, ended.stderr
    assert "The classes are unbalanced" in ended.stderr
    assert ("--class-weight balanced" in ended.stderr) == (not balanced)
    ended = run("evaluate", home / "m", home / "rare.csv")
    assert "The classes are unbalanced" in ended.stderr
    assert "weight" not in ended.stderr  # evaluate has no such option


def test_a_text_that_is_cut_has_a_remedy_that_exists():
    encoder = SentenceEncoder(max_seq_length=4, cache=False)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        encoder.encode(["the film was good and the room was warm"])
    (message,) = [str(each.message) for each in said]
    assert "Split or shorten them; in Python, SentenceEncoder with max_seq_length=512" in message
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        longer = SentenceEncoder(max_seq_length=512, cache=False)
        assert np.isfinite(longer.encode(["the film was good and the room was warm"])).all()


@pytest.mark.parametrize("verb", ["runs", "train"])
def test_a_number_of_threads_that_is_none_is_refused(home, data, monkeypatch, verb):
    monkeypatch.setenv("QHEAD_NUM_THREADS", "abc")
    error = refused(*(["runs"] if verb == "runs" else ["train", data, "--out", home / "m"]))
    assert "Expected QHEAD_NUM_THREADS to be a number from 1" in error


def test_matplotlib_does_not_speak_where_home_is_read_only(home, data, toy_model):
    assert run("train", data, "--out", home / "m", "--encoder", toy_model, *QUICK).exit_code == 0
    away = {"HOME": os.devnull, "XDG_CONFIG_HOME": os.devnull, "XDG_CACHE_HOME": os.devnull}
    environment = {k: v for k, v in os.environ.items() if k != "MPLCONFIGDIR"} | away
    ended = subprocess.run(
        [sys.executable, "-m", "qhead", "report", home / "m"],
        capture_output=True, text=True, timeout=300, env=environment,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "atplotlib" not in ended.stderr


def test_one_is_singular():
    assert [counted(n, "tile") for n in (0, 1, 2, 1200)] == [
        "0 tiles", "1 tile", "2 tiles", "1,200 tiles",
    ]  # fmt: skip
