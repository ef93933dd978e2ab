"""The scripts that are meant to be copied run as printed, on fakes."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from contracts.sampling_bounds import assert_means
from qiskit.quantum_info import SparsePauliOp, Statevector

from qhead import QuantumHead, Run, TextClassifier, TrainingOptions, load_texts
from qhead.errors import DataError

FOLDER = Path(__file__).parents[1] / "scripts"
COPIED = ("rehearse", "submit_and_collect", "own_circuit")


def script(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # where dataclasses look
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Give every test a ledger and a cache of its own."""
    monkeypatch.setenv("QHEAD_LEDGER", str(tmp_path / "ledger.sqlite"))
    monkeypatch.setenv("QHEAD_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("name", COPIED)
def test_scripts_to_copy_are_short(name):
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) <= 66


def test_a_rehearsal_scores_one_head_on_every_target(capsys):
    script("rehearse").main(
        ["--per-class", "8", "--rows", "6", "--shots", "64", "--backend", "manila"]
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0].partition(":")[0] for line in lines] == [
        "exact", "shots", "noisy", "aer", "fake",
    ]  # fmt: skip
    assert all(re.search(r"accuracy \d+\.\d% \(.* labels changed, \d+ too close", x) for x in lines)
    assert "0 labels changed, 0 too close" in lines[0]


def test_what_is_submitted_today_is_collected_and_labelled_later(home, capsys):
    data = load_texts("demo:support")
    head = QuantumHead(num_measured=2, training=TrainingOptions(max_epochs=2), seed=1)
    model = TextClassifier(head=head).fit(data.texts[:60], data.labels[:60])
    model.save(home / "model")
    file = home / "new.txt"
    file.write_text("\n".join(data.texts[60:65]) + "\n")
    call = [str(home / "model"), str(file)]
    main = script("submit_and_collect").main
    main([*call, "--target", "fake:manila:64"])
    said = capsys.readouterr()
    run_id = (home / "new.txt.run").read_text().strip()
    assert f"Submitted run {run_id}" in said.out
    assert said.err.count("Cost: fake:manila:64") == 1
    for path in sorted((home / "model").iterdir()):
        path.unlink()  # the labels do not need it
    main(call)
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[2].partition("  (too")[0] for row in rows] == list(data.texts[60:65])
    assert [row[0] for row in rows] == Run.open(run_id).predictions().prediction.labels.tolist()
    file.write_text("\n".join(data.texts[61:66]) + "\n")
    with pytest.raises(DataError, match="others or in another order"):
        main(call)


@pytest.mark.sampled
def test_any_circuit_goes_through_plan_ledger_and_result(capsys):
    module = script("own_circuit")
    module.main(["--target", "fake:manila:256", "--rows", "3", "--qubits", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"fake:manila:256: \d tiles, 1 job, .*QPU seconds; tiles at", lines[0])
    assert Run.open(re.match(r"Run (\S+): submitted", lines[1])[1]).record.state == "done"
    means = [[float(word) for word in re.findall(r"[+-]\d\.\d{3}", row)] for row in lines[2:]]
    circuit = module.my_circuit(2)
    values = np.random.default_rng(0).uniform(-np.pi, np.pi, (3, 2))
    states = [Statevector(circuit.assign_parameters(row)) for row in values]
    exact = [[s.expectation_value(SparsePauliOp(z)).real for z in ("IZ", "ZZ")] for s in states]
    assert_means(np.array(means), np.array(exact), 256, bias=0.25)


def benchmark(monkeypatch):
    """Return the benchmark as a module, with none of the peers."""
    monkeypatch.syspath_prepend(FOLDER)
    module = importlib.import_module("benchmark")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    return module


def test_a_step_is_timed_beside_the_stock_network_and_agrees_with_it(monkeypatch):
    rows = benchmark(monkeypatch).measure("3x5", 2)
    assert [(row["what"].split()[0], row["precision"]) for row in rows] == [
        ("qhead", "single"), ("qhead", "double"), ("stock", "double"),
    ]  # fmt: skip
    assert all(0 < row["least_ms"] <= row["median_ms"] for row in rows)
    assert [row["ratio"] for row in rows][:2] == [1, 1]
    assert 1e-9 < rows[0]["deviation"] < 1e-5
    assert rows[2]["deviation"] < 1e-6  # what the connector rounds to


def test_a_peer_that_finds_something_else_ends_the_benchmark(monkeypatch):
    module = benchmark(monkeypatch)
    right = module.stock

    def wrong(case, samples):
        step, seconds = right(case, samples)
        return lambda: tuple(table * 1.001 for table in step()), seconds

    monkeypatch.setattr(module, "stock", wrong)
    with pytest.raises(RuntimeError, match=r"stock .* deviates by 1.0e-03"):
        module.measure("3x5", 1)


@pytest.mark.sampled
def test_the_table_of_trainings_under_noise_in_a_reduced_form(home, capsys):
    """All arms on one small draw, paired by seed."""
    place = home / "rows.json"
    small = ["demo:reviews", "--per-class", "16", "--epochs", "1", "--test", "40"]
    script("finetuning_table").main(
        [*small, "--seeds", "2", "--heads", "default", "--targets", "noisy:0.0005,0.005,0.01:64",
         "--json", str(place)]
    )  # fmt: skip
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| demo")]
    arms = [row.split("|")[3].strip() for row in rows]
    assert arms == [
        "nothing", "recalibrated", "read-out refitted", "trained on, exactly",
        "trained on, exactly, then recalibrated", "fine-tuned, shift",
        "fine-tuned, shift, then recalibrated", "fine-tuned, SPSA",
    ]  # fmt: skip
    assert all(re.search(r"\d\.\d\d ± \d+\.\d\d", row) for row in rows)
    scores = json.loads(place.read_text())
    assert len(scores) == 2 * len(arms)
    assert all(0 <= each["accuracy"] <= 1 and each["loss"] > 0 for each in scores)
