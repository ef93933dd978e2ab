"""The demonstration as a user sees it, once, with the sentence transformer that ships."""

import json

import pytest
from typer.testing import CliRunner

from qhead.cli.app import app
from qhead.errors import InputError
from qhead.studies.demo import CONTROLS, TARGETS, quantum_head


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    # The user's own cache is used, as everywhere: a second run of the tests is quicker.
    out = tmp_path_factory.mktemp("demo") / "out"
    result = CliRunner().invoke(app, ["demo", "--out", str(out), "--json"])
    assert result.exit_code == 0, result.stderr
    return out, json.loads(result.stdout)


def test_every_head_and_target_is_scored(demo):
    _, told = demo
    rows = told["rows"]
    assert [row["target"] for row in rows[: len(TARGETS)]] == list(TARGETS)
    assert [row["head"] for row in rows[: len(TARGETS)]] == ["quantum"] * len(TARGETS)
    assert [row["head"] for row in rows[len(TARGETS) :]] == list(CONTROLS)
    for row in rows:
        low, high = row["accuracy_interval"]
        assert low < row["accuracy"] < high
        assert row["n"] == told["counts"]["test"] == 156
    equal = next(row for row in rows if row["head"].startswith("equal-parameter"))
    assert equal["parameters"] <= rows[0]["parameters"]


def test_every_head_beats_chance(demo):
    _, told = demo
    assert told["chance"] == 0.5
    # Six standard errors of a coin over 156 throws are 0.24.
    assert all(row["accuracy"] > 0.7 for row in told["rows"])


def test_the_numbers_come_before_the_files(tmp_path, monkeypatch):
    def failing(page, path):
        raise InputError("Expected space, got none.")

    class Found:
        """What the demonstration of another test would have found."""

        model = None

    monkeypatch.setattr("qhead.studies.demo.demonstrate", lambda **options: Found)
    monkeypatch.setattr("qhead.cli.demo._record", lambda *given: {"rows": [1]})
    monkeypatch.setattr("qhead.cli.demo._table", lambda result: "the table")
    monkeypatch.setattr("qhead.studies.demo.demonstration_page", lambda result: None)
    monkeypatch.setattr("qhead.report.page.write", failing)
    Found.model = type("Saved", (), {"save": staticmethod(lambda *given, **options: None)})
    written = json.dumps(
        {"rows": [1], "report": f"{tmp_path}/out/report.html", "model": f"{tmp_path}/out/model"},
        indent=2,
    )
    for option, expected in (([], "the table\n"), (["--json"], f"{written}\n")):
        result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "out"), *option])
        assert result.exit_code == 2
        assert result.stdout == expected
        assert result.stderr == "Error: Expected space, got none.\n"


def test_emulations_say_what_acted(demo):
    _, told = demo
    noisy = next(row for row in told["rows"] if row["target"].startswith("noisy"))
    assert any("errors attached" in note for note in noisy["notes"])
    fez = next(row for row in told["rows"] if row["target"].startswith("aer"))
    assert any("crosstalk" in note for note in fez["notes"])


def test_the_report_and_the_model_are_there(demo):
    out, told = demo
    html = (out / "report.html").read_text()
    for target in TARGETS:
        assert target in html
    assert html.count("<svg") == 5  # the circuit, and two plots for wide and narrow pages each
    assert "at\u00a095\u00a0%, n\u00a0=\u00a0156" in html  # no line ends within
    assert told["model"] == str(out / "model")
    runner = CliRunner()
    sentences = "What a wonderful evening, we loved it.\nAwful service, rude and slow.\n"
    result = runner.invoke(app, ["predict", str(out / "model"), "--json"], input=sentences)
    labels = [row["label"] for row in json.loads(result.stdout)["predictions"]]
    assert labels == ["positive", "negative"]
    assert runner.invoke(app, ["report", str(out / "model")]).exit_code == 0


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "report.html").write_text("my own")
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "not replaced" in result.stderr
    assert (tmp_path / "report.html").read_text() == "my own"


def test_the_circuit_needs_no_routing():
    bonds = {
        tuple(sorted(qubit._index for qubit in gate.qubits))
        for gate in quantum_head(0).circuit.data
        if len(gate.qubits) == 2
    }
    assert bonds == {(0, 1), (1, 2), (2, 3)}
