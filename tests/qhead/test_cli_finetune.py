"""``qhead finetune``: priced, run, interrupted, refused."""

from __future__ import annotations

import json
import os
import signal

import pytest
from loopback.home import private_home
from typer.testing import CliRunner

from hardware.ledger.ledger import Ledger
from qhead import Finetuning, TextClassifier
from qhead.cli.app import app

FAKE = "fake:manila:64"


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def model(tmp_path_factory, toy_model, toy_texts, toy_labels):
    folder = tmp_path_factory.mktemp("finetune")
    pairs = zip(toy_texts, toy_labels, strict=True)
    (folder / "data.csv").write_text("text,label\n" + "".join(f"{t},{k}\n" for t, k in pairs))
    result = run(
        "train", folder / "data.csv", "--out", folder / "model", "--encoder", toy_model,
        "--num-qubits", 2, "--max-epochs", 2, "--no-cache",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    return private_home(tmp_path, monkeypatch)


def call(model, out, *more, target=FAKE):
    return run(
        "finetune", model / "model", model / "data.csv", "--target", target, "--out", out,
        "--max-epochs", 2, "--learning-rate", 0.1, *more,
    )  # fmt: skip


def test_a_dry_run_prices_and_runs_nothing(model, home):
    result = run("finetune", model / "model", model / "data.csv", "--target", FAKE, "--dry-run")
    assert result.exit_code == 0, result.stderr
    assert "QPU seconds a step" in result.stdout
    price = json.loads(
        run(
            "finetune", model / "model", model / "data.csv", "--target", FAKE,
            "--dry-run", "--json", "--method", "spsa",
        ).stdout
    )  # fmt: skip
    assert price["rows_per_sentence"] == 3
    assert price["qpu_seconds"] == pytest.approx(3 * price["epoch_seconds"], rel=0.5)
    assert not home.exists()
    emulated = run("finetune", model / "model", model / "data.csv", "--dry-run", "--json")
    assert json.loads(emulated.stdout)["qpu_seconds"] is None


def test_a_training_on_a_fake_device_is_saved_and_told(model, tmp_path, home):
    result = call(model, tmp_path / "tuned", "--json", "--budget", 100)
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    tuned = TextClassifier.load(tmp_path / "tuned")
    assert (tuned.data_["finetuned"]["runs"] == told["runs"]) or told["best_epoch"] == 0
    with Ledger(home) as ledger:
        assert {run.id for run in ledger.runs()} == set(told["runs"])
    assert sorted(path.name for path in tmp_path.glob("tuned*")) == ["tuned"]
    again = call(model, tmp_path / "tuned")
    assert again.exit_code == 2
    assert "--force" in again.stderr


def test_an_emulation_needs_no_budget(model, tmp_path):
    result = call(model, tmp_path / "tuned", "--method", "spsa", target="noisy:0.001,0.01:100")
    assert result.exit_code == 0, result.stderr
    assert "after epoch 2: " in result.stdout
    assert (tmp_path / "tuned").is_dir()


def test_ctrl_c_saves_the_best_and_the_same_command_carries_on(model, tmp_path, home, monkeypatch):
    whole = Finetuning.run

    def interrupted(self, *, progress, **options):
        def stop(record, planned):
            progress(record, planned)
            os.kill(os.getpid(), signal.SIGINT)

        return whole(self, progress=stop, **options)

    monkeypatch.setattr(Finetuning, "run", interrupted)
    result = call(model, tmp_path / "tuned")
    assert result.exit_code == 130, result.stderr
    assert "stopped after epoch 1" in result.stderr
    assert "The same command carries on." in result.stderr
    assert (tmp_path / "tuned.interrupted").is_dir()
    assert not (tmp_path / "tuned").exists()
    with Ledger(home) as ledger:
        before = len(ledger.runs())
    monkeypatch.setattr(Finetuning, "run", whole)
    result = call(model, tmp_path / "tuned", "--json")
    assert result.exit_code == 0, result.stderr
    with Ledger(home) as ledger:
        assert len(ledger.runs()) == len(json.loads(result.stdout)["runs"])
        assert before < len(ledger.runs())
    assert not list(tmp_path.glob("tuned.checkpoint*"))


@pytest.mark.parametrize(
    ("more", "target", "said"),
    [
        (["--budget", "0.5"], FAKE, "within the budget of 0.5 s"),
        ([], "ibm:ibm_manila", "needs a budget"),
        (["--tiles", "1"], "shots:64", "planned for devices"),
        (["--budget", "5"], "shots:64", "emulations charge nothing"),
        (["--method", "adam"], FAKE, "method"),
        (["--max-epochs", "0"], FAKE, "--max-epochs"),
    ],
)
def test_mistakes_are_refused_before_anything_runs(model, tmp_path, home, more, target, said):
    result = call(model, tmp_path / "tuned", *more, target=target)
    assert result.exit_code == 2, result.stderr
    assert said in result.stderr
    assert list(tmp_path.glob("tuned*")) == []
    assert not home.exists() or not Ledger(home).runs()


def test_out_is_needed_unless_nothing_runs(model):
    result = run("finetune", model / "model", model / "data.csv", "--target", FAKE)
    assert result.exit_code == 2
    assert "--out is missing" in result.stderr
