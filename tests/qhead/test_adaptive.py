"""Adaptive shots of a model's sentences: from Python and from the shell."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from loopback import Cloud, Loopback
from loopback.home import private_home
from qiskit_ibm_runtime import QiskitRuntimeService
from typer.testing import CliRunner

from hardware import AdaptiveShots, LinearRule, PlanOptions
from hardware.errors import InvalidInputError, PlanError
from hardware.targets import parse_target
from qhead import QuantumHead, Run, TextClassifier, TrainingOptions
from qhead.cli.app import app
from qhead.errors import InputError
from qhead.prediction import predict_head

#: So strict that two shots decide on nothing, and so loose that the rest does on most.
STRICT = AdaptiveShots((2, 126, 384), 0.001)
OPTIONS = PlanOptions(shots=512, adaptive=STRICT, tiles=2, seed=3)
N = 10


@pytest.fixture(scope="session")
def trained(toy_model, toy_texts, toy_labels):
    head = QuantumHead(num_qubits=2, training=TrainingOptions(max_epochs=60, learning_rate=0.1))
    return TextClassifier(encoder=toy_model, head=head).fit(toy_texts, toy_labels)


@pytest.fixture(scope="session")
def saved(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "quantum"
    trained.save(folder)
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    return private_home(tmp_path / "home", monkeypatch)


@pytest.fixture
def texts(toy_texts):
    return toy_texts[:N]


def test_a_run_becomes_labels_without_the_model_in_any_process(trained, texts):
    run = trained.submit(texts, "fake:manila", OPTIONS)
    opened = Run.open(run.id)
    waiting = opened.collect(0)
    assert waiting.missing == ()
    assert waiting.rounds_under_way
    assert not waiting.prediction.decided.any()
    found = opened.collect(texts=texts)
    assert (found.status.state, found.rounds_under_way) == ("done", False)
    plan = opened.plan
    readout = trained.readout()
    np.testing.assert_array_equal(plan.rule.weight, readout.weight)
    assert plan.num_rounds in (2, 3)
    decisions = opened.expectations().decisions
    assert decisions.decided.any()
    np.testing.assert_array_equal(found.prediction.decided, decisions.decided)
    np.testing.assert_array_equal(found.prediction.labels, readout.classes[decisions.winners])
    assert any(note.startswith("Adaptive shots: 2 for 10 rows, 126 more") for note in
               found.prediction.notes)  # fmt: skip
    again = trained.predict_detailed(texts, "fake:manila:512", adaptive=STRICT)
    assert set(again.notes) & set(found.prediction.notes)


def test_a_plan_expects_rounds_by_exact_values(trained, texts):
    plan = trained.plan(texts, "fake:manila", OPTIONS)
    assert [each.shots for each in plan.rounds] == [2, 126, 384]
    rows = [each.rows for each in plan.rounds]
    assert rows[0] == N
    assert N >= rows[1] > rows[2] >= 0
    assert plan.expected_seconds <= plan.cost.qpu_seconds


@pytest.mark.parametrize("target", ["shots:512", "noisy:0.001,0.01:512", "aer:manila:512"])
def test_local_targets_run_rounds(trained, texts, target):
    found = trained.predict_detailed(texts, target, adaptive=STRICT)
    head = trained.head_
    weight, bias = head.readout_weights()
    where = parse_target(target, seed=head.seed)
    alone = where.run_adaptive(
        head.workload(trained.embed(texts)), LinearRule(weight, bias), STRICT
    )
    np.testing.assert_array_equal(found.decided, alone.decisions.decided)
    np.testing.assert_array_equal(found.labels, trained.classes_[alone.decisions.winners])
    assert set(alone.decisions.shots.tolist()) <= {128, 512}
    labels = trained.predict(texts, target, adaptive=STRICT)
    np.testing.assert_array_equal(labels, found.labels)
    plain = trained.predict_detailed(texts, target, adaptive=False)
    assert not any("Adaptive" in note for note in plain.notes)


def test_what_has_no_shots_or_is_refitted_takes_no_rounds(trained, texts, toy_texts):
    with pytest.raises(InputError, match="'exact'"):
        trained.predict(texts, adaptive=True)
    with pytest.raises(InputError, match="'exact'"):
        predict_head(trained.head_, trained.embed(texts), adaptive=STRICT)
    with pytest.raises(PlanError, match="recalibrate"):
        trained.plan(texts, "fake:manila", OPTIONS, recalibrate=toy_texts[20:30])
    with pytest.raises(InvalidInputError, match="512 shots together"):
        trained.predict(texts, "shots:500", adaptive=STRICT)


def run(*arguments, input=None):
    return CliRunner().invoke(app, [str(a) for a in arguments], input=input)


@pytest.fixture
def data(tmp_path, toy_texts, toy_labels):
    path = tmp_path / "some.csv"
    pairs = zip(toy_texts[:N], toy_labels[:N], strict=True)
    path.write_text("\n".join(["text,label", *(f"{t},{k}" for t, k in pairs)]) + "\n")
    return path


ROUNDS = ("--rounds", "2,126,384", "--error-rate", "0.001")


def test_the_shell_plans_submits_and_collects_rounds(saved, data, tmp_path):
    planned = run("plan", saved, data, "--target", "fake:manila", *ROUNDS)
    assert planned.exit_code == 0, planned.stderr
    assert "rounds, error rate 0.001" in planned.stdout
    assert "QPU seconds, expected" in planned.stdout
    told = json.loads(run("plan", saved, data, "--target", "fake:manila", *ROUNDS, "--json").stdout)
    assert [each["shots"] for each in told["rounds"]] == [2, 126, 384]
    assert told["qpu_seconds"] == pytest.approx(
        sum(each["most"]["qpu_seconds"] for each in told["rounds"])
    )
    file = tmp_path / "x.plan"
    assert (
        run("plan", saved, data, "--target", "fake:manila", *ROUNDS, "--out", file).exit_code == 0
    )
    both = run("submit", "--plan", file, "--adaptive")
    assert both.exit_code == 2
    assert "--adaptive" in both.stderr
    sent = run("submit", "--plan", file)
    assert sent.exit_code == 0, sent.stderr
    assert "expected" in sent.stderr
    name = sent.stdout.strip()
    first = run("collect", name)
    assert first.exit_code == 3
    assert "Rounds are still to come" in first.stderr
    assert len(list(csv.DictReader(io.StringIO(first.stdout)))) == N
    last = run("collect", name, "--wait", "inf")
    assert last.exit_code == 0, last.stderr
    assert "Adaptive shots: 2 for 10 rows" in last.stderr
    stands = json.loads(run("status", name, "--json").stdout)
    assert (stands["state"], stands["later_rounds_seconds"]) == ("done", None)
    assert run("submit", saved, data, "--target", "fake:manila", "--adaptive").exit_code == 0


def test_the_shell_predicts_and_evaluates_in_rounds(saved, data):
    for target in ("shots:512", "fake:manila:512"):
        found = run("evaluate", saved, data, "--target", target, "--adaptive")
        assert found.exit_code == 0, found.stderr
        assert "Adaptive shots: 32 for" in found.stdout
        found = run("predict", saved, data, "--target", target, "--adaptive", "--json")
        assert found.exit_code == 0, found.stderr
        assert any("Adaptive shots: 32 for" in note for note in json.loads(found.stdout)["notes"])
    for verb in (("predict", saved, data), ("evaluate", saved, data)):
        refused = run(*verb, "--adaptive")
        assert refused.exit_code == 2
        assert "--adaptive" in refused.stderr
    refused = run("plan", saved, data, "--target", "fake:manila:100", *ROUNDS)
    assert refused.exit_code == 2
    assert "Traceback" not in refused.stderr


def test_the_shell_stops_before_a_round_that_the_budget_does_not_cover(saved, data):
    with Loopback(Cloud(("ibm_manila",))) as double, double.addresses():
        QiskitRuntimeService.save_account(**double.account(), overwrite=True)
        target = ("--target", "ibm:ibm_manila")
        told = json.loads(run("plan", saved, data, *target, *ROUNDS, "--json").stdout)
        assert told["advised_budget"] >= told["qpu_seconds"]
        budget = told["rounds"][0]["most"]["qpu_seconds"] + 1
        sent = run("submit", saved, data, *target, *ROUNDS, "--budget", budget)
        assert sent.exit_code == 0, sent.stderr
        assert "stops before a round that does not fit" in sent.stderr
        name = sent.stdout.strip()
        found = run("collect", name, "--wait", "30")
        assert found.exit_code == 0, found.stderr
        assert f"Round 2 of run {name} was not sent" in found.stderr
        assert len(list(csv.DictReader(io.StringIO(found.stdout)))) == N
        assert len(double.cloud.charges()) == 1
        more = run("resume", name, "--budget", told["advised_budget"])
        assert more.exit_code == 0, more.stderr
        found = run("collect", name, "--wait", "30")
        assert found.exit_code == 0, found.stderr
        assert "126 more for 10" in found.stderr
        assert set(double.cloud.charges().values()) == {1}
