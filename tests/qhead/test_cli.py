"""The command line: what it does, and every kind of bad input (exit code 2, nothing written)."""

import csv
import errno
import io
import json
import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from qhead.cli.app import app

QUICK = ["--num-qubits", "2", "--num-layers", "0", "--connectivity", "1", "--max-epochs", "8"]
QUICK += ["--learning-rate", "0.1"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("QHEAD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def data(tmp_path_factory, toy_texts, toy_labels):
    """Return a CSV file of the toy sentences."""
    path = tmp_path_factory.mktemp("data") / "toy.csv"
    rows = [f"{text},{label}" for text, label in zip(toy_texts, toy_labels, strict=True)]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return path


@pytest.fixture(scope="session")
def model(tmp_path_factory, data, toy_model):
    """Return the folder of a quantum model of the toy sentences."""
    folder = tmp_path_factory.mktemp("models") / "quantum"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QHEAD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        result = run("train", data, "--out", folder, "--encoder", toy_model, *QUICK)
    assert result.exit_code == 0, result.stderr
    return folder


def run(*arguments, input=None):
    return CliRunner().invoke(app, [str(a) for a in arguments], input=input)


def refused(folder, *arguments, input=None):
    """Run a bad call: exit code 2, one message on stderr, nothing on stdout or in the folder."""
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    result = run(*arguments, input=input)
    assert result.exit_code == 2, (result.stdout, result.stderr, result.exception)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    return result.stderr


# What it does ------------------------------------------------------------------------------------


def test_train_says_what_came_of_it(data, toy_model, tmp_path):
    result = run(
        "train", data, "--out", tmp_path / "m", "--encoder", toy_model, "--test-fraction", "0.25",
        "--json", "--seed", "5", *QUICK,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["head"]["num_qubits"] == 2
    assert told["data"]["n"] == 48
    assert told["data"]["seed"] == 5
    assert told["validation"]["n"] == 12
    assert told["test"]["n"] == 20
    assert told["epochs"] == 8
    assert json.loads((tmp_path / "m" / "metrics.json").read_text())["test"] == told["test"]
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    assert config["head"]["options"]["seed"] == 5
    assert config["head"]["options"]["training"]["learning_rate"] == 0.1


def test_the_same_seed_trains_the_same_model(data, toy_model, tmp_path):
    for name in ("a", "b"):
        run("train", data, "--out", tmp_path / name, "--encoder", toy_model, "--seed", "3", *QUICK)
    weights = [(tmp_path / name / "head.safetensors").read_bytes() for name in ("a", "b")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize("head", ["mlp", "inspired", "reduced-mlp"])
def test_classical_heads(data, toy_model, tmp_path, head):
    options = ["--head", head, "--max-epochs", "2", "--out", tmp_path / "m"]
    if head == "reduced-mlp":
        options += ["--num-components", "4"]
    result = run("train", data, "--encoder", toy_model, *options)
    assert result.exit_code == 0, result.stderr
    assert "parameters" in result.stdout
    assert not (tmp_path / "m" / "circuit.qasm").exists()


def test_splits_of_their_own_are_used(data, toy_model, tmp_path):
    lines = data.read_text().splitlines()
    (tmp_path / "d").mkdir()
    for name, rows in {
        "train": lines[1:61],
        "validation": lines[61:71],
        "test": lines[71:],
    }.items():
        (tmp_path / "d" / f"{name}.csv").write_text("\n".join([lines[0], *rows]) + "\n")
    result = run(
        "train", tmp_path / "d", "--out", tmp_path / "m", "--encoder", toy_model, "--json", *QUICK
    )
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["data"]["n"], told["validation"]["n"], told["test"]["n"]) == (60, 10, 10)
    scored = run("evaluate", tmp_path / "m", tmp_path / "d", "--json")
    assert json.loads(scored.stdout)["n"] == 10  # the test split
    whole = run("evaluate", tmp_path / "m", tmp_path / "d", "--split", "train", "--json")
    assert json.loads(whole.stdout)["n"] == 60
    stderr = refused(tmp_path, "evaluate", tmp_path / "m", tmp_path / "d", "--split", "tset")
    assert "Did you mean 'test'" in stderr


def test_few_shot_sampling(data, toy_model, tmp_path):
    result = run(
        "train", data, "--out", tmp_path / "m", "--encoder", toy_model, "--json",
        "--per-class", "20", *QUICK,
    )  # fmt: skip
    told = json.loads(result.stdout)
    assert (told["data"]["n"], told["validation"]["n"], told["test"]["n"]) == (34, 6, 40)


def test_few_shot_sampling_from_a_folder_of_splits(data, toy_model, tmp_path):
    lines = data.read_text().splitlines()
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "train.csv").write_text("\n".join(lines[:61]) + "\n")
    (folder / "test.csv").write_text("\n".join([lines[0], *lines[61:]]) + "\n")
    given = ["--encoder", toy_model, "--json", "--per-class", "10", *QUICK]
    told = json.loads(run("train", folder, "--out", tmp_path / "m", *given).stdout)
    assert (told["data"]["n"], told["validation"]["n"], told["test"]["n"]) == (17, 3, 20)
    shutil.copy(folder / "test.csv", folder / "dev.csv")
    told = json.loads(run("train", folder, "--out", tmp_path / "n", *given).stdout)
    assert (told["data"]["n"], told["validation"]["n"], told["test"]["n"]) == (20, 20, 20)


def test_remarks_on_the_data(data, model, toy_model, tmp_path):
    lines = data.read_text().splitlines()
    rows = [line for line in lines[1:] if line.endswith("plus")]
    rows += [line for line in lines[1:] if line.endswith("minus")][:3]
    rows.append(rows[0].upper().replace("PLUS", "minus"))
    path = tmp_path / "odd.csv"
    path.write_text("\n".join([lines[0], *rows]) + "\n")
    given = ["--encoder", toy_model, "--validation-fraction", "0", "--json", *QUICK]
    result = run("train", path, "--out", tmp_path / "m", *given)
    notes = json.loads(result.stdout)["notes"]
    assert "1 of 44 sentences stand there before under another label" in notes[0]
    assert "40 sentences of 'plus', 4 of 'minus'" in notes[1]
    assert result.stderr.splitlines() == [f"Note: {note}" for note in notes]
    result = run("evaluate", model, path, "--json")
    again = json.loads(result.stdout)["notes"][-2:]
    assert again[0] == notes[0]
    assert notes[1] == f"{again[1]} --class-weight balanced gives rare classes more weight."
    assert run("train", data, "--out", tmp_path / "n", *given).stderr == ""


def test_empty_texts_are_left_out_where_the_user_says_so(data, model, toy_model, tmp_path):
    path = tmp_path / "holes.csv"
    path.write_text(data.read_text().replace("\nthe film was good,", "\n,") + ",\n\n\n")
    out = ["--out", tmp_path / "m", "--encoder", toy_model, *QUICK]
    for verb in (["train", path, *out], ["evaluate", model, path], ["predict", model, path]):
        stderr = refused(tmp_path, *verb)
        assert "lines 2, 82: 2 texts are empty" in stderr
        assert "--skip-empty" in stderr
        result = run(*verb, "--skip-empty")
        assert result.exit_code == 0, result.stderr
        assert f"Left out 2 of 81 texts of {path}, which are empty: lines 2, 82." in result.stderr
        if verb[0] == "train":
            shutil.rmtree(tmp_path / "m")
    result = run("predict", model, "--skip-empty", input="good\n\nbad\n\n")
    assert len(result.stdout.splitlines()) == 3
    assert "Left out 1 of 3 texts of standard input, which are empty: line 2." in result.stderr


def test_no_row_is_held_back_unasked(data, toy_model, tmp_path):
    given = ["--encoder", toy_model, "--validation-fraction", "0", *QUICK]
    result = run("train", data, "--out", tmp_path / "a", "--json", *given)
    told = json.loads(result.stdout)
    assert (told["data"]["n"], told["data"]["held_back"]) == (80, 0)
    assert "validation" not in told
    history = json.loads((tmp_path / "a" / "history.json").read_text())
    assert {record["validation_loss"] for record in history["epochs"]} == {None}
    result = run("train", data, "--out", tmp_path / "b", *given)
    assert "trained on 80 sentences" in result.stdout
    assert "kept the weights after epoch" in result.stdout
    result = run("train", data, "--out", tmp_path / "c", "--encoder", toy_model, *QUICK)
    assert "trained on 68 sentences" in result.stdout
    assert "validation: " in result.stdout


def test_duplicates_across_the_split_are_reported(data, toy_model, tmp_path):
    lines = data.read_text().splitlines()
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "train.csv").write_text(data.read_text())
    (tmp_path / "d" / "test.csv").write_text("\n".join([lines[0], *lines[4:8]]) + "\n")
    given = ["--encoder", toy_model, "--validation-fraction", "0.2", *QUICK]
    result = run("train", tmp_path / "d", "--out", tmp_path / "m", *given)
    assert result.exit_code == 0
    # some of the four are held out of the training file for validation
    counts = [int(line.split()[1]) for line in result.stderr.splitlines()]
    assert sum(counts) == 4
    assert "of 4 test sentences also occur in the train set" in result.stderr
    assert "line 2" in result.stderr  # of test.csv


@pytest.mark.parametrize("target", ["exact", "shots:64", "noisy:0.001,0.01,0.02:64"])
def test_evaluate_prints_one_object(data, model, target):
    result = run("evaluate", model, data, "--target", target, "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    low, high = told["accuracy_interval"]
    assert low < told["accuracy"] <= high
    assert told["n"] == 80
    assert told["target"] == target
    assert np.sum(told["confusion"]) == 80
    assert [row["support"] for row in told["per_class"]] == [40, 40]
    assert [row["label"] for row in told["per_class"]] == ["minus", "plus"]
    assert all(0 <= row[name] <= 1 for row in told["per_class"] for name in ("precision", "recall"))
    assert {"f1", "brier", "calibration_error", "data_fingerprint", "seed"} <= set(told)


def test_evaluate_prints_a_table(data, model):
    result = run("evaluate", model, data, "--target", "shots:64")
    assert result.exit_code == 0
    assert "shots:64" in result.stdout
    assert "true label" in result.stdout
    assert "precision" in result.stdout
    assert not [line for line in result.stdout.splitlines() if line != line.rstrip()]


def test_labels_that_read_as_numbers_keep_their_spelling(data, toy_model, tmp_path):
    # trained on strings, for one label is "many"; scored on a file that holds only "1" and "2"
    words = {"minus": "1", "plus": "2"}
    rows = [line.split(",") for line in data.read_text().splitlines()[1:]]
    lines = [f"{text},{words[label]}" for text, label in rows]
    trained = [line if " film " not in line else f"{line.split(',')[0]},many" for line in lines]
    (tmp_path / "train.csv").write_text("\n".join(["text,label", *trained]) + "\n")
    (tmp_path / "test.csv").write_text("\n".join(["text,label", *lines[-10:]]) + "\n")
    run("train", tmp_path / "train.csv", "--out", tmp_path / "m", "--encoder", toy_model, *QUICK)
    result = run("evaluate", tmp_path / "m", tmp_path / "test.csv", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["classes"] == ["1", "2", "many"]


@pytest.mark.parametrize("target", ["exact", "shots:64"])
def test_predict_jsonl(model, target):
    sentences = "the film was good\nthe room was bad\n"
    result = run("predict", model, "--format", "jsonl", "--target", target, input=sentences)
    assert result.exit_code == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    if target == "exact":
        assert [row["label"] for row in rows] == ["plus", "minus"]
    assert all(0.5 <= row["probability"] <= 1 for row in rows)
    assert all((row["std_error"] > 0) == (target != "exact") for row in rows)
    assert list(rows[0]) == ["text", "label", "probability", "std_error", "decided"]
    told = json.loads(run("predict", model, "--json", "--target", target, input=sentences).stdout)
    assert told["predictions"] == rows
    assert (told["model"], told["data"]) == (str(model), "-")
    assert (told["target"], told["seed"], bool(told["notes"])) == (target, 0, target != "exact")


def test_json_goes_to_a_file_too(model, tmp_path):
    out = tmp_path / "labels.json"
    result = run("predict", model, "--json", "--out", out, input="the film was good\n")
    assert result.stdout == ""
    assert [row["label"] for row in json.loads(out.read_text())["predictions"]] == ["plus"]


def test_predict_csv_in_chunks(model, data, toy_texts, tmp_path, monkeypatch):
    whole = run("predict", model, data)
    monkeypatch.setattr("qhead.cli.predict.CHUNK", 7)
    result = run("predict", model, data, "--out", tmp_path / "labels.csv")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert (tmp_path / "labels.csv").read_text() == whole.stdout
    rows = list(csv.DictReader(io.StringIO(whole.stdout)))
    assert [row["text"] for row in rows] == toy_texts
    assert {row["decided"] for row in rows} == {"true"}
    stderr = refused(tmp_path, "predict", model, data, "--out", tmp_path / "labels.csv")
    assert "--force" in stderr
    assert run("predict", model, data, "--out", tmp_path / "labels.csv", "--force").exit_code == 0


def test_cells_that_a_spreadsheet_would_run(model):
    text = '=HYPERLINK("http://x","good")'
    result = run("predict", model, input=text + "\n-5 good\ngood\n")
    cells = [row["text"] for row in csv.DictReader(io.StringIO(result.stdout))]
    assert cells == ["'" + text, "'-5 good", "good"]
    assert "2 cells" in result.stderr
    raw = run("predict", model, "--raw", input=text + "\n")
    assert next(csv.DictReader(io.StringIO(raw.stdout)))["text"] == text
    assert raw.stderr == ""
    jsonl = run("predict", model, "--format", "jsonl", input=text + "\n")
    assert json.loads(jsonl.stdout)["text"] == text


def test_report(model, tmp_path):
    result = run("report", model, "--out", tmp_path / "r.html", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout) == {"report": str(tmp_path / "r.html")}
    assert "<svg" in (tmp_path / "r.html").read_text()
    assert "--force" in refused(tmp_path, "report", model, "--out", tmp_path / "r.html")


def test_no_cache_keeps_nothing(model, tmp_path, monkeypatch):
    monkeypatch.setenv("QHEAD_CACHE", str(tmp_path / "cache"))
    assert run("predict", model, "--no-cache", input="the film was good\n").exit_code == 0
    assert not list(tmp_path.iterdir())
    assert run("predict", model, input="the film was good\n").exit_code == 0
    assert list((tmp_path / "cache").iterdir())


def test_help_and_version():
    for verb in ("demo", "train", "evaluate", "predict", "report"):
        result = run(verb, "--help")
        assert result.exit_code == 0
        assert "Example" in result.stdout
    assert run("--version").stdout == "qhead 0.1.0\n"
    assert run("nonsense").exit_code == 2
    assert run("train").exit_code == 2


# Failures of the machine -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "Not enough memory"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "Not enough memory"),
        (
            OSError(errno.EIO, "Input/output error", "/some/file"),
            "Cannot access /some/file: Input/output",
        ),
        (PermissionError(errno.EACCES, "Permission denied"), "Permission denied"),
        (ImportError("No module named 'pyarrow'", name="pyarrow"), "the package 'pyarrow'"),
    ],
    ids=str,
)
def test_failures_of_the_machine_are_sentences(data, tmp_path, monkeypatch, error, message):
    def failing(*arguments, **options):
        raise error

    monkeypatch.setattr("qhead.data.parts.load_splits", failing)
    result = run("train", data, "--out", tmp_path / "m")
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.stderr


def test_a_fault_of_ours_is_not_dressed_up(data, tmp_path, monkeypatch):
    def failing(*arguments, **options):
        raise RuntimeError("a bug")

    monkeypatch.setattr("qhead.data.parts.load_splits", failing)
    result = run("train", data, "--out", tmp_path / "m")
    assert isinstance(result.exception, RuntimeError)


def test_a_full_standard_output(model, data):
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "qhead", "evaluate", model, data],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=100, check=False,
        )  # fmt: skip
    assert process.returncode == 1
    last = process.stderr.splitlines()[-1]  # progress may stand above, on a slow machine
    assert last == "Error: Cannot write: No space left on device."


# Messages in the words of the command line -------------------------------------------------------


def test_messages_name_options(data, model, toy_model, tmp_path):
    out = ["--out", tmp_path / "m", "--encoder", toy_model]
    assert "--num-qubits to be an integer" in refused(
        tmp_path, "train", data, *out, "--num-qubits", "0"
    )
    assert "use --encoder-qubits 4" in refused(
        tmp_path,
        "train",
        data,
        *out,
        "--encoder-qubits",
        "3",
        "--reduction",
        "none",
        "--num-qubits",
        "2",
    )
    assert "replace it with --force." in refused(tmp_path, "train", data, "--out", model)
    (tmp_path / "x.csv").write_text("words,label\na,b\n")
    stderr = refused(tmp_path, "train", tmp_path / "x.csv", *out)
    assert "Name the column (--text-column)" in stderr
    (tmp_path / "x.csv").write_text(f"text,label\na,x\n{'good ' * 9000},y\n")
    assert "max_characters" not in refused(tmp_path, "train", tmp_path / "x.csv", *out)


def test_too_few_rows_name_file_and_option(toy_model, tmp_path):
    path = tmp_path / "tiny.csv"
    path.write_text("text,label\na,0\nb,0\nc,1\n")
    given = ["train", path, "--out", tmp_path / "m", "--encoder", toy_model]
    stderr = refused(tmp_path, *given, "--per-class", "2")
    assert stderr.startswith(f"Error: {path}: ")
    assert "--per-class" in stderr
    result = run(*given, *QUICK)
    assert result.exit_code == 0, result.stderr
    assert "no sentence of 1" in result.stderr


def test_labels_that_are_integers_have_no_quotes(toy_model, toy_texts, toy_labels, tmp_path):
    lines = [f"{t},{int(k == 'plus')}" for t, k in zip(toy_texts, toy_labels, strict=True)]
    (tmp_path / "d.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    given = ["--out", tmp_path / "m", "--encoder", toy_model, "--head", "mlp", "--max-epochs", "1"]
    assert run("train", tmp_path / "d.csv", *given).exit_code == 0
    (tmp_path / "e.csv").write_text("text,label\na,9\nb,0\n")
    stderr = refused(tmp_path, "evaluate", tmp_path / "m", tmp_path / "e.csv")
    assert "(0, 1), got 1 other: 9." in stderr
    (tmp_path / "e.csv").write_text("text,label\na,many\nb,0\n")
    stderr = refused(tmp_path, "evaluate", tmp_path / "m", tmp_path / "e.csv")
    assert "(0, 1), got 1 other: 'many'." in stderr


@pytest.mark.parametrize("out", ["/proc/xx", "/proc/xx/yy", "/dev/null/m", "long"])
def test_a_place_that_takes_no_model_is_refused_first(data, toy_model, tmp_path, monkeypatch, out):
    def read(*arguments, **options):
        raise AssertionError("the data was read")

    monkeypatch.setattr("qhead.data.parts.load_splits", read)
    place = tmp_path / ("m" * 250) if out == "long" else out
    assert "Cannot write" in refused(
        tmp_path, "train", data, "--out", place, "--encoder", toy_model
    )
    monkeypatch.setattr("qhead.data.loading.load_unlabelled", read)
    refused(tmp_path, "predict", tmp_path, "x.txt", "--out", place)


# Bad data ----------------------------------------------------------------------------------------

LONG = "good " * 20_000

BAD_DATA = {
    "missing": (None, "toy.csv"),
    "empty": (b"", "empty"),
    "header only": (b"text,label\n", "no rows"),
    "wrong columns": (b"words,kind\na,b\nc,d\n", "text column"),
    "one class": (b"text,label\na,x\nb,x\n", "two classes"),
    "empty sentence": (b"text,label\na,x\n  ,y\n", "line 3: the text is empty"),
    "long sentence": (f"text,label\na,x\n{LONG},y\n".encode(), "100,000"),
    "no UTF-8": (b"text,label\na,x\n\xff\xfe,y\n", "UTF-8"),
    "ragged": (b"text,label\na,x\nb\n", "line 3"),
    "few": (b"text,label\na,x\n", "at least two classes"),
}


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_training_data(kind, toy_model, tmp_path):
    content, message = BAD_DATA[kind]
    path = tmp_path / "toy.csv"
    if content is not None:
        path.write_bytes(content)
    stderr = refused(tmp_path, "train", path, "--out", tmp_path / "m", "--encoder", toy_model)
    assert any(word in stderr for word in message.split("|")), stderr
    assert "toy.csv" in stderr or kind == "few"


@pytest.mark.parametrize("kind", ["missing", "empty", "wrong columns", "empty sentence",
                                  "long sentence", "no UTF-8"])  # fmt: skip
@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_bad_data_for_a_model(kind, verb, model, tmp_path):
    content, message = BAD_DATA[kind]
    path = tmp_path / "toy.csv"
    if content is not None:
        path.write_bytes(content)
    out = ["--out", tmp_path / "labels.csv"] if verb == "predict" else []
    stderr = refused(tmp_path, verb, model, path, *out)
    assert any(word in stderr for word in message.split("|")), stderr


def test_a_label_unseen_in_training(model, tmp_path):
    path = tmp_path / "toy.csv"
    path.write_text("text,label\nthe film was good,plus\nthe film was bad,minis\na b,other\n")
    stderr = refused(tmp_path, "evaluate", model, path)
    assert "line 3" in stderr
    assert "'minis'" in stderr
    assert "'other'" in stderr
    assert "Did you mean 'minus'" in stderr


def test_bad_sentences_from_a_pipe(model, tmp_path):
    assert "line 2" in refused(tmp_path, "predict", model, input="good\n\nbad\n")
    assert "standard input" in refused(tmp_path, "predict", model, input="")


# Bad options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--encoder-qubits", "3", "--reduction", "none"], "reduction"),
        (["--num-qubits", "0"], "--num-qubits"),
        (["--num-qubits", "3", "--num-encoders", "2"], "multiple of --num-encoders"),
        (["--topology", "rng"], "Did you mean 'ring'"),
        (["--head", "quantm"], "Did you mean 'quantum'"),
        (["--head", "mlp"], "has no option --num-qubits"),
        (["--learning-rate", "-1"], "--learning-rate"),
        (["--max-epochs", "0"], "--max-epochs"),
        (["--class-weight", "balance"], "Did you mean 'balanced'"),
        (["--validation-fraction", "1.5"], "--validation-fraction"),
        (["--test-fraction", "0.9"], "--test-fraction"),
        (["--per-class", "41"], "at least 41"),
        (["--per-class", "20", "--test-fraction", "0.1"], "--per-class"),
        (["--text-column", "txt"], "Did you mean 'text'"),
        (["--encoder", "/no/such/folder"], "/no/such/folder"),
    ],
)
def test_bad_training_options(data, toy_model, tmp_path, options, message):
    given = ["--encoder", toy_model, *QUICK, *options]
    stderr = refused(tmp_path, "train", data, "--out", tmp_path / "m", *given)
    assert message in stderr, stderr


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("shots:0", "at least one shot"),
        ("shots:-3", "at least one shot"),
        ("shots:many", "whole number"),
        ("shots", "shots:N"),
        ("noisy:1.5,0.01", "1.5"),
        ("noisy:0.1,-0.01", "-0.01"),
        ("noisy:0.1,nan", "nan"),
        ("noisy:0.1", "noisy:P1,P2"),
        ("shot:10", "Did you mean 'shots'"),
        ("exakt", "Did you mean 'exact'"),
        ("aer:fes", "Did you mean 'fez'"),
        ("", "exact"),
    ],
)
@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_bad_targets(verb, model, data, tmp_path, target, message):
    stderr = refused(tmp_path, verb, model, data, "--target", target)
    assert message in stderr, stderr


def test_a_classical_head_on_a_target(data, toy_model, tmp_path):
    options = ["--head", "mlp", "--max-epochs", "1"]
    run("train", data, "--out", tmp_path / "m", "--encoder", toy_model, *options)
    stderr = refused(tmp_path, "evaluate", tmp_path / "m", data, "--target", "shots:5")
    assert "needs a circuit" in stderr


def test_nan_embeddings(data, toy_model, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(toy_model, broken)
    weights = load_file(broken / "model.safetensors")
    weights["embedding.weight"][:] = np.nan
    save_file(weights, broken / "model.safetensors")
    stderr = refused(tmp_path, "train", data, "--out", tmp_path / "m", "--encoder", broken)
    assert "NaN" in stderr


def test_bad_formats(model, data, tmp_path):
    stderr = refused(tmp_path, "predict", model, data, "--format", "jsonlines")
    assert "Did you mean 'jsonl'" in stderr


# Bad model folders -------------------------------------------------------------------------------


@pytest.fixture
def broken(model, tmp_path):
    return shutil.copytree(model, tmp_path / "broken")


def every_verb(folder, model, data):
    return [
        refused(folder, "evaluate", model, data),
        refused(folder, "predict", model, data),
        refused(folder, "report", model),
    ]


@pytest.mark.parametrize("name", ["head.safetensors", "config.json", "circuit.qasm"])
def test_a_flipped_byte(broken, data, tmp_path, name):
    content = bytearray((broken / name).read_bytes())
    content[-10] ^= 4
    (broken / name).write_bytes(content)
    assert all("damaged or changed" in stderr for stderr in every_verb(tmp_path, broken, data))


def test_a_newer_version(broken, data, tmp_path):
    manifest = json.loads((broken / "manifest.json").read_text())
    (broken / "manifest.json").write_text(json.dumps(manifest | {"format_version": 2}))
    assert all("Upgrade qhead" in stderr for stderr in every_verb(tmp_path, broken, data))


def test_a_path_that_leaves_the_folder(broken, data, tmp_path):
    manifest = json.loads((broken / "manifest.json").read_text())
    manifest["files"]["../toy.csv"] = {"bytes": 1, "sha256": "0"}
    (broken / "manifest.json").write_text(json.dumps(manifest))
    assert all("plain names" in stderr for stderr in every_verb(tmp_path, broken, data))


def test_no_model(data, tmp_path):
    assert all(
        "does not exist" in stderr for stderr in every_verb(tmp_path, tmp_path / "none", data)
    )


def test_models_and_other_folders_are_not_overwritten(model, data, toy_model, tmp_path):
    given = ["--encoder", toy_model, *QUICK]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat").write_text("miaow")
    for out, force in [(model, []), (tmp_path / "photos", []), (tmp_path / "photos", ["--force"])]:
        refused(out, "train", data, "--out", out, *given, *force)
    copy = shutil.copytree(model, tmp_path / "copy")
    assert run("train", data, "--out", copy, *given, "--seed", "9", "--force").exit_code == 0
    assert json.loads((copy / "data.json").read_text())["seed"] == 9


@contextmanager
def full_disk():
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_while_saving(model, data, toy_model, tmp_path, monkeypatch):
    from qhead import classifier

    write = classifier.write_model

    def write_on_a_full_disk(*arguments, **options):
        with full_disk():
            write(*arguments, **options)

    monkeypatch.setattr(classifier, "write_model", write_on_a_full_disk)
    given = ["--encoder", toy_model, *QUICK]
    stderr = refused(tmp_path, "train", data, "--out", tmp_path / "a" / "m", *given)
    assert "free some space" in stderr
    copy = shutil.copytree(model, tmp_path / "copy")
    refused(tmp_path, "train", data, "--out", copy, *given, "--force")
    monkeypatch.undo()
    assert run("evaluate", copy, data, "--no-cache").exit_code == 0


def test_a_disk_that_is_full_while_predicting(model, data, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    stderr = refused(tmp_path, "predict", model, data, "--out", tmp_path / "x.csv", "--no-cache")
    assert "free some space" in stderr


# Interruptions -----------------------------------------------------------------------------------


def test_ctrl_c_before_training(data, toy_model, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("qhead.data.parts.load_splits", interrupted)
    result = run("train", data, "--out", tmp_path / "m", "--encoder", toy_model)
    assert result.exit_code == 130
    assert result.stderr == "Interrupted.\n"
    assert not list(tmp_path.iterdir())


def test_ctrl_c_in_training_keeps_the_best_so_far(data, toy_model, tmp_path, monkeypatch):
    @contextmanager
    def bar(description):
        def interrupt(record, total):
            if record.epoch == 2:
                raise KeyboardInterrupt

        yield interrupt

    monkeypatch.setattr("qhead.training_run.training_bar", bar)
    result = run("train", data, "--out", tmp_path / "m", "--encoder", toy_model, *QUICK)
    assert result.exit_code == 130
    assert "best weights" in result.stderr
    history = json.loads((tmp_path / "m" / "history.json").read_text())
    assert history["stopped"] == "interrupted"
    assert len(history["epochs"]) == 2
    assert run("evaluate", tmp_path / "m", data).exit_code == 0


def during_training(monkeypatch, act):
    """Call `act` after the second epoch."""

    @contextmanager
    def bar(description):
        yield lambda record, total: act() if record.epoch == 2 else None

    monkeypatch.setattr("qhead.training_run.training_bar", bar)


def test_ctrl_c_leaves_the_model_that_force_would_replace(data, model, tmp_path, monkeypatch):
    def interrupt():
        raise KeyboardInterrupt

    old = tmp_path / "m"
    shutil.copytree(model, old)
    before = {path.name: path.read_bytes() for path in old.iterdir()}
    during_training(monkeypatch, interrupt)
    for suffix in ("interrupted", "interrupted-2"):
        ended = run("train", data, "--out", old, "--force", *QUICK, "--head", "quantum", "--json")
        assert ended.exit_code == 130
        assert {path.name: path.read_bytes() for path in old.iterdir()} == before
        beside = tmp_path / f"m.{suffix}"
        assert json.loads((beside / "history.json").read_text())["stopped"] == "interrupted"
        assert json.loads(ended.stdout)["model"] == str(beside)
        assert f"saved in {beside}. {old} is unchanged." in ended.stderr


def test_a_model_whose_place_was_taken_is_saved_beside_it(data, model, tmp_path, monkeypatch):
    during_training(monkeypatch, lambda: shutil.copytree(model, tmp_path / "m"))
    ended = run("train", data, "--out", tmp_path / "m", *QUICK)
    assert ended.exit_code == 2
    assert f"The new model is saved in {tmp_path / 'm.new'}." in ended.stderr
    for name in ("head.safetensors", "history.json"):
        assert (tmp_path / "m" / name).read_bytes() == (model / name).read_bytes()
    assert run("evaluate", tmp_path / "m.new", data).exit_code == 0


def qhead(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "qhead", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_reader_that_goes_away(model, data):
    process = qhead("predict", model, data)
    process.stdout.close()  # as ``| head`` does
    stderr = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 141
    assert "Traceback" not in stderr
    assert "Exception" not in stderr


def test_a_bad_call_in_a_process_of_its_own(tmp_path):
    process = qhead("evaluate", tmp_path / "none", "x.csv", cwd=tmp_path)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert stdout == ""
    assert stderr.startswith("Error: ")
    assert not list(tmp_path.iterdir())
