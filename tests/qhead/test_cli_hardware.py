"""The verbs around devices: on fakes, and over a double of the platform; every kind of misuse."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import sqlite3
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
import requests
from contracts.sampling_bounds import probability_bounds, shifted
from loopback import Cloud, EndJob, FaultPlan, Loopback, Reply
from loopback.home import private_home
from qiskit_ibm_runtime import QiskitRuntimeService
from typer.testing import CliRunner

from hardware.devices.backends import fake_backend
from hardware.devices.ibm.account import least_busy
from hardware.emulation.fake import FakeTarget
from hardware.ledger.ledger import Ledger
from hardware.planning.plan_file import dump_plan, finished, load_plan
from hardware.runs import listing
from qhead import Run, TextClassifier
from qhead.cli.app import app
from qhead.errors import InputError
from qhead.runs.metadata import RunMetadata, SentenceSource
from qhead.runs.predictions import row_numbers
from qhead.simulator.target import ExactTarget

QUICK = ["--num-qubits", "2", "--num-layers", "0", "--connectivity", "1", "--max-epochs", "8"]
QUICK += ["--learning-rate", "0.1"]
SHOTS = 200
FAKE = f"fake:manila:{SHOTS}"
IBM = f"ibm:ibm_manila:{SHOTS}"


def run(*arguments, input=None):
    return CliRunner().invoke(app, [str(a) for a in arguments], input=input)


def told(*arguments, code=0):
    """Run a verb with --json and return its object."""
    result = run(*arguments, "--json")
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    return json.loads(result.stdout)


def rows_of(result):
    return list(csv.DictReader(io.StringIO(result.stdout)))


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def sentences(tmp_path_factory, toy_texts, toy_labels):
    """Return a CSV file of twelve sentences with labels."""
    path = tmp_path_factory.mktemp("data") / "twelve.csv"
    pairs = list(zip(toy_texts, toy_labels, strict=True))[:12]
    path.write_text("\n".join(["text,label", *(f"{t},{k}" for t, k in pairs)]) + "\n")
    return path


def train(folder, cache, toy_model, toy_texts, toy_labels, *options):
    data = folder.parent / f"{folder.name}.csv"
    pairs = zip(toy_texts, toy_labels, strict=True)
    data.write_text("\n".join(["text,label", *(f"{t},{k}" for t, k in pairs)]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QHEAD_CACHE", str(cache))
        result = run("train", data, "--out", folder, "--encoder", toy_model, *options)
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory, cache, toy_model, toy_texts, toy_labels):
    """Return the folder of a quantum model of two qubits."""
    folder = tmp_path_factory.mktemp("models") / "quantum"
    return train(folder, cache, toy_model, toy_texts, toy_labels, *QUICK)


@pytest.fixture(autouse=True)
def home(tmp_path, cache, monkeypatch):
    """Give every test a home of its own, without an account; return the ledger's path."""
    return private_home(tmp_path / "home", monkeypatch, cache=cache)


@contextmanager
def platform(*names, faults=None, **cloud):
    """Run the double and save an account on it, as a user does."""
    with Loopback(Cloud(names or ("ibm_manila",), **cloud), faults) as double, double.addresses():
        QiskitRuntimeService.save_account(**double.account(), overwrite=True)
        yield double


def submitted(*arguments):
    """Submit and return the run's id."""
    result = run("submit", *arguments)
    assert result.exit_code == 0, (result.stderr, result.exception)
    return result.stdout.strip()


def contents(ledger):
    """Return everything in a ledger."""
    if not ledger.exists():
        return None
    with sqlite3.connect(ledger) as db:
        dump = list(db.iterdump())
    db.close()
    return dump


def refused(ledger, *arguments, code=2):
    """Run a bad call: its exit code, one message on stderr, no stdout, the ledger as it was."""
    before = contents(ledger)
    result = run(*arguments)
    assert result.exit_code == code, (result.stdout, result.stderr, result.exception)
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in result.stderr
    assert contents(ledger) == before
    return result.stderr


# plan --------------------------------------------------------------------------------------------


def test_a_plan_tells_what_a_run_takes_and_touches_nothing(model, sentences, home):
    plan = told("plan", model, sentences, "--target", FAKE)
    assert plan["tiles"] == 2  # disjoint pairs on five qubits in a row
    assert plan["jobs"] == 1
    assert plan["executions"] == 6 * SHOTS  # twelve sentences on two tiles
    assert plan["payload_bytes"] > 0
    # one PUB of two seconds; each execution waits 250 µs and runs for some more
    assert 2 + 6 * SHOTS * 250e-6 < plan["qpu_seconds"] < 2 + 6 * SHOTS * 300e-6
    assert len({qubit for tile in plan["tile_qubits"] for qubit in tile}) == 4
    one = told("plan", model, sentences, "--target", "fake:manila", "--shots", SHOTS, "--tiles", 1)
    assert (one["tiles"], one["executions"], one["target"]) == (1, 12 * SHOTS, FAKE)
    assert not home.exists()


def test_the_plan_as_a_table(model, sentences):
    result = run("plan", model, sentences, "--target", FAKE)
    assert result.exit_code == 0
    for words in ("expected error", "QPU seconds, estimated", "executions", "1,200", "payload"):
        assert words in result.stdout


def test_overhead_of_mitigation_shows_in_the_plan(model, sentences):
    plain = told("plan", model, sentences, "--target", FAKE)
    given = ["--readout-inversion", "--recalibrate", sentences]
    more = told("plan", model, sentences, "--target", FAKE, *given)
    assert more["rows"] == 24
    assert (more["sentences"], more["recalibration_sentences"]) == (12, 12)
    assert more["executions"] == 12 * SHOTS + 2 * SHOTS  # two circuits of read-out
    assert more["pubs"] == plain["pubs"] + 2
    zne = told("plan", model, sentences, "--target", FAKE, "--zne", "1,3,5")
    assert zne["executions"] == 3 * plain["executions"]


def test_jobs_within_a_limit(model, sentences):
    limit = ["--executions-per-job", 2 * SHOTS]
    assert told("plan", model, sentences, "--target", FAKE, *limit)["jobs"] == 3


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_picture_of_the_chip(model, sentences, tmp_path, kind):
    picture = tmp_path / f"chip.{kind}"
    assert told("plan", model, sentences, "--target", FAKE, "--picture", picture)
    beginning = {"png": b"\x89PNG", "svg": b"<?xml"}[kind]
    assert picture.read_bytes().startswith(beginning)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "fake:manilla"], "Did you mean 'manila'"),
        (["--target", "aer:manila"], "Did you mean 'fake:manila'"),
        (["--target", "exact"], "Expected a device"),
        (["--target", "fake:manila:many"], "whole number of shots"),
        (["--target", "fake:manila:0"], "at least one shot"),
        (["--target", f"fake:manila:{'9' * 5000}"], "got a number of 5000 digits"),
        (["--target", "fake:manila:1000000001"], "at most 1,000,000,000 shots"),
        (["--target", FAKE, "--tiles", "9" * 5000], "'auto' or a number"),
        (["--target", FAKE, "--tiles", "-1"], "'auto' or a number"),
        (["--target", FAKE, "--shots", "7"], "shots are given twice"),
        (["--target", FAKE, "--shots", "0"], "at least one shot, got 0 in --shots"),
        (["--target", FAKE, "--randomizations", "8"], "add --twirl-gates"),
        (["--target", "fake:armonk"], "at most the device's 1 qubits"),
        (["--target", FAKE, "--tiles", "9"], "ask for fewer than 9"),
        (["--target", FAKE, "--tiles", "some"], "'auto' or a number"),
        (["--target", FAKE, "--zne", "1,3", "--readout-inversion"], "cannot be combined"),
        (["--target", FAKE, "--decoupling", "YY"], "XX, XpXm or XY4"),
        (["--target", FAKE, "--picture", "chip.gif"], ".png or .svg"),
        (["--target", "ibm:ibm_manila"], "account"),
        (["--target", FAKE, "--recalibrate", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_plans_that_cannot_be_made(model, sentences, home, options, message):
    assert message in refused(home, "plan", model, sentences, *options)


def test_a_head_without_a_circuit_has_no_plan(
    sentences, home, tmp_path, cache, toy_model, toy_texts, toy_labels
):
    options = ["--head", "mlp", "--max-epochs", "1"]
    folder = train(tmp_path / "mlp", cache, toy_model, toy_texts, toy_labels, *options)
    stderr = refused(home, "plan", folder, sentences, "--target", FAKE)
    assert "Train a model with a quantum head" in stderr


@pytest.mark.filterwarnings("ignore:Qiskit backend .* has no QubitProperties")
def test_any_backend_of_a_python_function_is_a_target(
    model, sentences, home, tmp_path, monkeypatch
):
    (tmp_path / "laboratory.py").write_text(
        "from qiskit.providers.fake_provider import GenericBackendV2\n"
        "def make():\n"
        "    return GenericBackendV2(4, basis_gates=['r', 'rz', 'rxx'], noise_info=False)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    target = "backend:laboratory:make:20"
    assert "unknown" in run("plan", model, sentences, "--target", target).stdout
    run_id = submitted(model, sentences, "--target", target)
    rows = run("collect", run_id, "--wait", "inf").stdout.splitlines()
    assert len(rows) == 13
    assert "backend:my.module:make" in refused(
        home, "plan", model, sentences, "--target", "backend:laboratory:make()"
    )


# submit and collect on a fake --------------------------------------------------------------------


def test_a_run_gives_what_the_library_gives(model, sentences, toy_texts, home):
    result = run("submit", model, sentences, "--target", FAKE)
    assert result.exit_code == 0, result.stderr
    assert result.stderr.startswith(f"Cost: {FAKE}: 2 tiles, 1 job,")
    run_id = result.stdout.strip()
    status = told("status", run_id[:12])
    assert (status["state"], status["rows"], status["rows_missing"]) == ("submitted", 12, 12)
    collected = run("collect", run_id)
    assert collected.exit_code == 0, collected.stderr
    rows = rows_of(collected)
    loaded = TextClassifier.load(model)
    # the same device without a ledger
    expected = loaded.predict_detailed(toy_texts[:12], FakeTarget.of("manila", SHOTS, seed=0))
    assert [row["text"] for row in rows] == toy_texts[:12]
    assert [row["label"] for row in rows] == expected.labels.tolist()
    assert [int(row["row"]) for row in rows] == list(range(1, 13))
    found = [float(row["probability"]) for row in rows]
    np.testing.assert_allclose(found, expected.winning, rtol=1e-5)
    assert told("status", run_id)["rows_missing"] == 0
    again = told("collect", run_id, "--offline")
    assert again["missing"] == []
    assert [row["label"] for row in again["predictions"]] == expected.labels.tolist()
    refused = run("collect", run_id, "--offline", "--account", "work")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--offline asks no platform, so an account" in refused.stderr


def test_a_plan_file_is_the_run_that_it_says(model, sentences, tmp_path, home):
    kept = tmp_path / "twelve.plan"
    plan = told("plan", model, sentences, "--target", FAKE, "--out", kept)
    first = submitted("--plan", kept)
    second = submitted(model, sentences, "--target", FAKE)
    with Ledger(home) as ledger:
        assert {each.plan_hash for each in ledger.runs()} == {plan["key"]}
    rows = [rows_of(run("collect", each)) for each in (first, second)]
    assert rows[0] == rows[1]


def test_a_plan_file_is_refused_where_anything_changed(model, sentences, tmp_path, home, toy_texts):
    kept = tmp_path / "twelve.plan"
    told("plan", model, sentences, "--target", FAKE, "--out", kept)
    assert "exists" in refused(home, "plan", model, sentences, "--target", FAKE, "--out", kept)
    assert "without --shots" in refused(home, "submit", "--shots", 5, "--plan", kept)
    stderr = refused(home, "submit", model, write(tmp_path / "o.txt", toy_texts), "--plan", kept)
    assert "others or in another order" in stderr
    other = shutil.copytree(model, tmp_path / "other")
    (other / "config.json").write_text((other / "config.json").read_text() + " ")
    stderr = refused(home, "submit", other, "--plan", kept)
    assert "changed since" in stderr
    assert "config.json" in stderr
    edited = tmp_path / "edited.plan"
    with zipfile.ZipFile(kept) as archive, zipfile.ZipFile(edited, "w") as new:
        for name in archive.namelist():
            data = archive.read(name)
            if name == "plan.json":
                data = data.replace(b'"num_rows":12', b'"num_rows":11')
                assert b'"num_rows":11' in data
            new.writestr(name, data)
    assert "changed or damaged" in refused(home, "submit", "--plan", edited)
    assert "no such file" in refused(home, "submit", "--plan", tmp_path / "none.plan").lower()


def test_a_plan_file_warns_where_the_sentences_changed(model, tmp_path, toy_texts, home):
    file, kept = write(tmp_path / "new.txt", toy_texts[:4]), tmp_path / "four.plan"
    told("plan", model, file, "--target", FAKE, "--out", kept)
    assert "Warning" not in run("submit", "--plan", kept).stderr
    write(file, toy_texts[1:5])
    result = run("submit", "--plan", kept)
    assert result.exit_code == 0
    warning, cost, _ = result.stderr.splitlines()  # before anything is sent
    assert warning.startswith("Warning: Expected the 4 sentences")
    assert "plan again" in warning
    assert cost.startswith("Cost:")
    file.write_bytes(b"")
    assert "the file is empty" in run("submit", "--plan", kept).stderr
    file.unlink()
    assert "Warning" not in run("submit", "--plan", kept).stderr


def write(path, texts):
    path.write_text("\n".join(texts) + "\n")
    return path


def test_no_sentence_is_stored(model, sentences, home):
    run_id = submitted(model, sentences, "--target", FAKE)
    run("collect", run_id)
    with Ledger(home) as ledger:
        body = ledger.plan_body(run_id)
    parts = [home.read_bytes(), body]
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        parts += [archive.read(name) for name in archive.namelist()]
    assert any(b"twelve.csv" in part for part in parts)
    assert not any(b"the film" in part for part in parts)


def test_rows_go_by_numbers_where_the_sentences_changed(model, tmp_path, toy_texts, home):
    file = write(tmp_path / "new.txt", toy_texts[:4])
    run_id = submitted(model, file, "--target", FAKE)
    write(file, toy_texts[1:5])
    result = run("collect", run_id)
    assert result.exit_code == 0
    assert "Expected the 4 sentences of the run" in result.stderr
    assert list(rows_of(result)[0]) == ["row", "label", "probability", "std_error", "decided"]
    moved = write(tmp_path / "moved.txt", toy_texts[:4])
    assert rows_of(run("collect", run_id, "--data", moved))[3]["text"] == toy_texts[3]
    assert "others" in refused(home, "collect", run_id, "--data", file)
    file.unlink()
    assert run("collect", run_id).exit_code == 0


def test_a_run_is_collected_from_anywhere(model, tmp_path, monkeypatch, toy_texts, home):
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    shutil.copytree(model, here / "m")
    write(here / "new.txt", toy_texts[:4])
    monkeypatch.chdir(here)
    again = ["--recalibrate", "new.txt"]
    told("plan", "m", "new.txt", "--target", FAKE, *again, "--out", "a.plan")
    made = load_plan((here / "a.plan").read_bytes())
    noted = RunMetadata.of(made, "it")
    assert noted.recalibration.texts.source == noted.data.source == str(here / "new.txt")
    run_id = submitted("m", "new.txt", "--target", FAKE)
    monkeypatch.chdir(there)
    result = run("collect", run_id)
    assert result.exit_code == 0, result.stderr
    assert [row["text"] for row in rows_of(result)] == toy_texts[:4]
    assert run("submit", "--plan", here / "a.plan").exit_code == 0


@pytest.mark.parametrize("source", ["-", "demo:sentiment", "owner/data"])
def test_what_is_no_path_is_noted_as_it_was_said(source):
    assert SentenceSource.of(["a"], source, None, None).source == source


def test_a_run_becomes_labels_without_its_model(model, sentences, tmp_path, home):
    mine = shutil.copytree(model, tmp_path / "mine")
    run_id = submitted(mine, sentences, "--target", FAKE)
    whole = rows_of(run("collect", run_id, mine))
    weights = mine / "head.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    stderr = refused(home, "collect", run_id, mine)  # not the run's model any more
    assert "changed since" in stderr
    assert "head.safetensors" in stderr
    assert rows_of(run("collect", run_id)) == whole
    shutil.rmtree(mine)
    assert "name its folder" in refused(home, "collect", run_id, mine)
    assert rows_of(run("collect", run_id)) == whole


def test_a_run_of_the_previous_version_takes_its_model_s_read_out(model, sentences, tmp_path, home):
    mine = shutil.copytree(model, tmp_path / "mine")
    run_id = submitted(mine, sentences, "--target", FAKE)
    with Ledger(home) as ledger:
        plan = load_plan(ledger.plan_body(run_id))
        about = {k: v for k, v in plan.about.items() if k != "readout"} | {"version": 1}
        old = finished(replace(plan, about=about))
        other = ledger.create_run(
            plan_hash=old.key, plan_body=dump_plan(old), job_seconds=old.job_seconds,
            target=old.target, device=old.backend, local=True, budget_seconds=None,
        ).id  # fmt: skip
    whole = rows_of(run("collect", run_id))
    assert rows_of(run("collect", other, "--wait", "inf")) == whole
    shutil.rmtree(mine)
    assert "name its folder" in refused(home, "collect", other)
    assert rows_of(run("collect", other, model)) == whole
    with pytest.raises(InputError, match="readout=model"):
        Run.open(other).predictions()
    found = Run.open(other).predictions(readout=TextClassifier.load(model).readout())
    assert found.missing == ()


def test_standard_input_goes_to_a_device_too(model, toy_texts):
    lines = "\n".join(toy_texts[:3]) + "\n"
    result = run("submit", model, "-", "--target", FAKE, input=lines)
    assert result.exit_code == 0
    assert len(rows_of(run("collect", result.stdout.strip()))) == 3


def test_collected_rows_in_a_file(model, sentences, tmp_path, home):
    run_id = submitted(model, sentences, "--target", FAKE)
    out = tmp_path / "rows.jsonl"
    assert run("collect", run_id, "--out", out, "--format", "jsonl").exit_code == 0
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["row"] for record in records] == list(range(1, 13))
    assert "exists" in refused(home, "collect", run_id, "--out", out)
    assert "csv or jsonl" in refused(home, "collect", run_id, "--format", "xml")
    assert "zero or more" in refused(home, "collect", run_id, "--wait", "-1")


@pytest.mark.sampled
def test_recalibration_brings_predictions_back_to_the_exact_ones(model, sentences, toy_texts):
    # 8 % of the two-qubit gates of this device fail and its read-out is worse: ⟨Z⟩ shrinks.
    given = ["--target", "fake:yorktown:8000", "--recalibrate", sentences]
    given += ["--seed", shifted(0)]
    run_id = submitted(model, sentences, *given)
    exact = TextClassifier.load(model).predict_proba(toy_texts[:12])

    def distance(*options):
        rows = told("collect", run_id, *options)
        assert len(rows["predictions"]) == 12
        labels = TextClassifier.load(model).classes_.tolist()
        places = [labels.index(row["label"]) for row in rows["predictions"]]
        given = np.array([row["probability"] for row in rows["predictions"]])
        return np.abs(given - exact[np.arange(12), places]).mean(), rows["notes"]

    refitted, notes = distance()
    trained, _ = distance("--no-recalibration")
    # The refit leaves shot noise, a mean of twelve deviations of 0.003 each; the noise moves the
    # trained read-out's probabilities by 0.05, and half of it is more than eight of those away.
    assert refitted < 0.5 * trained
    assert "Read-out refitted on 12 sentences." in notes


# runs, status, resume, cancel --------------------------------------------------------------------


def test_runs_are_listed_and_unknown_ones_refused(model, sentences, home):
    assert told("runs")["runs"] == []
    assert not home.exists()
    assert "no ledger yet" in refused(home, "status", "20260101-abc")
    run_id = submitted(model, sentences, "--target", FAKE)
    (listed,) = told("runs")["runs"]
    assert (listed["run"], listed["state"], listed["charged_seconds"]) == (run_id, "submitted", 0)
    assert listed["estimated_seconds"] > 2
    assert run_id in run("runs").stdout
    nearly = run_id[:-1] + ("0" if run_id[-1] != "0" else "1")
    for verb in ("status", "collect", "resume", "cancel"):
        assert f"Did you mean '{run_id}'" in refused(home, verb, nearly)


def test_a_cancelled_run_is_resumed_only_expressly(model, sentences, home):
    run_id = submitted(model, sentences, "--target", FAKE)
    assert told("cancel", run_id)["state"] == "cancelled"
    assert "--resubmit-cancelled" in (error := refused(home, "resume", run_id))
    assert "cost" not in error  # of a local fake
    collected = run("collect", run_id)
    assert rows_of(collected) == []
    assert "12 of 12 rows are missing: 1–12" in collected.stderr
    assert "--resubmit-cancelled" in collected.stderr
    assert told("resume", run_id, "--resubmit-cancelled")["jobs"]["submitted"] == 1
    assert len(rows_of(run("collect", run_id))) == 12
    assert "done" in refused(home, "cancel", run_id)
    assert told("resume", run_id)["state"] == "done"


def test_a_lost_job_is_looked_for_and_sent_again_only_expressly(model, sentences, home):
    run_id = submitted(model, sentences, "--target", FAKE)
    with Ledger(home) as ledger:
        ledger.end(ledger.job(run_id, 0), "unknown", "the platform does not know it any more")
        ledger.finalize(run_id)
    offline = run("collect", run_id, "--offline")
    assert f"qhead resume {run_id} --resubmit-unknown" in offline.stderr
    assert "paid" not in offline.stderr  # a local fake
    assert told("status", run_id)["jobs"]["unknown"] == 1
    assert len(rows_of(run("collect", run_id))) == 12  # it was there after all
    assert told("resume", run_id, "--resubmit-unknown")["state"] == "done"


def test_a_job_that_the_platform_lost_is_sent_again_only_expressly(model, sentences):
    with platform() as double:
        run_id = submitted(model, sentences, "--target", IBM, "--budget", "60")
        double.cloud.wait_idle()
        double.cloud.jobs.clear()
        lost = told("collect", run_id, "--wait", "5", code=1)
        assert lost["jobs"]["unknown"] == 1
        assert told("resume", run_id)["jobs"]["unknown"] == 1
        assert not double.cloud.jobs
        again = told("resume", run_id, "--resubmit-unknown", "--budget", "200")
        assert again["jobs"]["unknown"] == 0
        assert len(double.cloud.jobs) == 1
        rows = told("collect", run_id, "--wait", "inf")
        assert (rows["state"], rows["missing"]) == ("done", [])


def test_a_charge_that_is_not_known_is_not_zero(model, sentences):
    faults = FaultPlan(always={"metrics": Reply(404)})
    with platform(faults=faults) as double:
        run_id = submitted(model, sentences, "--target", IBM, "--budget", "60")
        assert told("status", run_id)["charged_seconds"] == 0  # nothing has ended
        rows = told("collect", run_id, "--wait", "inf")
        assert rows["state"] == "done"
        for listed in (rows, told("status", run_id), told("runs")["runs"][0]):
            assert listed["charged_seconds"] is None
            assert (listed["known_charged_seconds"], listed["jobs_with_unknown_charge"]) == (0, 1)
        for verb in (("status", run_id), ("runs",)):
            assert "unknown" in run(*verb).stdout
        faults.always.clear()
        assert told("collect", run_id)["charged_seconds"] == pytest.approx(double.cloud.consumed)
        assert "unknown" not in run("status", run_id).stdout.replace("not known yet", "")
        assert told("status", run_id)["jobs_with_unknown_charge"] == 0


@pytest.mark.parametrize("answer", ["{}", "[]", "null", '{"devices": null}', '{"devices": {}}'])
@pytest.mark.parametrize("target", [IBM, "ibm:least_busy:200"])
def test_what_is_no_list_of_devices_is_no_empty_account(model, sentences, home, answer, target):
    with platform(faults=FaultPlan(always={"backends": Reply(200, answer)})):
        message = refused(home, "plan", model, sentences, "--target", target, code=1)
        assert "malformed" in message
    with platform(faults=FaultPlan(always={"backends": Reply(200, '{"devices": []}')})):
        refused(home, "plan", model, sentences, "--target", target, code=2)


def test_reasons_end_with_one_full_stop(model, sentences, home):
    run_id = submitted(model, sentences, "--target", FAKE)
    with Ledger(home) as ledger:
        ledger.end(ledger.job(run_id, 0), "failed", "it ended badly.")
        ledger.finalize(run_id)
    message = run("collect", run_id, "--offline").stderr
    assert "job 0: it ended badly. " in message
    assert ".." not in message


def test_a_run_that_was_not_planned_here(model, sentences, home):
    run_id = submitted(model, sentences, "--target", FAKE)
    with Ledger(home) as ledger:
        bare = finished(replace(load_plan(ledger.plan_body(run_id)), about={}))
        other = ledger.create_run(
            plan_hash=bare.key, plan_body=dump_plan(bare), job_seconds=bare.job_seconds,
            target=bare.target, device=bare.backend, local=True, budget_seconds=None,
        )  # fmt: skip
    assert "was not planned by qhead" in refused(home, "collect", other.id)
    assert told("status", other.id)["rows"] == 12


@pytest.mark.parametrize("harm", ["damaged", "newer", "foreign"])
def test_a_ledger_that_cannot_be_used(model, sentences, home, harm):
    run_id = submitted(model, sentences, "--target", FAKE)
    if harm == "damaged":
        home.write_bytes(b"SQLite format 3\0" + b"\xff" * 4000)
    else:
        with sqlite3.connect(home) as db:
            pragma = {"newer": "user_version = 99", "foreign": "application_id = 7"}[harm]
            db.execute(f"PRAGMA {pragma}")
        db.close()
    before = home.read_bytes()
    for arguments in (
        ["submit", model, sentences, "--target", FAKE], ["runs"], ["status", run_id],
        ["collect", run_id], ["resume", run_id], ["cancel", run_id],
    ):  # fmt: skip
        result = run(*arguments)
        assert result.exit_code == 2, arguments
        assert "Error: Expected a ledger" in result.stderr
        assert "Traceback" not in result.stderr
        assert home.read_bytes() == before


# the blocking form on a fake ---------------------------------------------------------------------


def test_predict_and_evaluate_on_a_fake(model, sentences, toy_texts, home):
    predicted = run("predict", model, sentences, "--target", FAKE)
    assert predicted.exit_code == 0, predicted.stderr
    rows = rows_of(predicted)
    assert list(rows[0]) == ["text", "label", "probability", "std_error", "decided"]
    assert [row["text"] for row in rows] == toy_texts[:12]
    scored = told("evaluate", model, sentences, "--target", FAKE)
    truth = [line.split(",")[1] for line in sentences.read_text().splitlines()[1:]]
    right = sum(row["label"] == label for row, label in zip(rows, truth, strict=True))
    assert scored["accuracy"] == right / 12
    assert (scored["n"], scored["missing"]) == (12, [])
    listed = told("runs")["runs"]
    assert [each["state"] for each in listed] == ["done", "done"]
    assert scored["run"] == listed[0]["run"]
    later = told("evaluate", model, sentences, "--run", scored["run"])
    assert later["confusion"] == scored["confusion"]
    assert all(line.startswith("Note: ") for line in predicted.stderr.splitlines())  # no bar


def test_a_fake_rehearses_the_budget(model, sentences, home, tmp_path):
    estimate = told("plan", model, sentences, "--target", FAKE)["qpu_seconds"]
    for verb in ("submit", "predict", "evaluate"):
        given = [verb, model, sentences, "--target", FAKE, "--budget"]
        stderr = refused(home, *given, f"{estimate / 2:.3f}")
        assert f"got one of about {estimate:.2f} s on the real device" in stderr
        result = run(*given, "120")
        assert result.exit_code == 0, result.stderr
        assert "charges nothing: the budget of 120 s was only compared" in result.stderr
    plan = tmp_path / "twelve.plan"
    run("plan", model, sentences, "--target", FAKE, "--out", plan)
    assert run("submit", "--plan", plan, "--budget", "0").exit_code == 2


def test_empty_texts_that_were_left_out_stay_out(model, sentences, home, tmp_path):
    path = tmp_path / "holes.csv"
    lines = sentences.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1], ",x", *lines[2:4]]) + "\n")
    refusal = run("submit", model, path, "--target", FAKE)
    assert (refusal.exit_code, "--skip-empty" in refusal.stderr) == (2, True)
    sent = run("submit", model, path, "--target", FAKE, "--skip-empty")
    assert sent.exit_code == 0, sent.stderr
    rows = rows_of(run("collect", sent.stdout.strip()))
    assert [row["text"] for row in rows] == [line.split(",")[0] for line in lines[1:4]]
    plan = tmp_path / "holes.plan"
    result = run("plan", model, path, "--target", FAKE, "--skip-empty", "--out", plan)
    assert result.exit_code == 0, result.stderr
    again = run("submit", "--plan", plan)
    assert again.exit_code == 0
    assert "Warning" not in again.stderr
    assert "--skip-empty" in refused(home, "submit", "--plan", plan, "--skip-empty")


@pytest.mark.parametrize(
    "option", [["--budget", "5"], ["--tiles", "2"], ["--recalibrate", "x.csv"]]
)
def test_options_of_devices_mean_nothing_elsewhere(model, sentences, home, option):
    stderr = refused(home, "predict", model, sentences, "--target", "shots:10", *option)
    assert f"{option[0]} with a device" in stderr


def test_the_score_of_another_run_s_sentences_is_refused(model, sentences, tmp_path, home):
    run_id = submitted(model, sentences, "--target", FAKE)
    run("collect", run_id)
    lines = sentences.read_text().splitlines()
    other = write(tmp_path / "other.csv", [lines[0], *lines[2:]])
    assert "others" in refused(home, "evaluate", model, other, "--run", run_id)
    stderr = refused(home, "evaluate", model, sentences, "--target", FAKE, "--run", run_id)
    assert "without a target" in stderr


def test_an_interrupted_wait_leaves_the_run_to_be_collected(model, sentences, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("hardware.runs.runner.collect", interrupted)
        result = run("predict", model, sentences, "--target", FAKE)
    assert result.exit_code == 130
    (listed,) = told("runs")["runs"]
    assert f"qhead collect {listed['run']}" in result.stderr
    assert len(rows_of(run("collect", listed["run"]))) == 12


def test_an_interrupted_collect_says_how_to_carry_on(model, sentences, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    run_id = submitted(model, sentences, "--target", FAKE)
    with monkeypatch.context() as patch:
        patch.setattr("hardware.runs.runner.collect", interrupted)
        result = run("collect", run_id[:12], "--wait", "inf")
    assert result.exit_code == 130
    assert result.stdout == ""
    assert f"run {run_id} goes on: qhead collect {run_id}, or qhead cancel" in result.stderr
    assert len(rows_of(run("collect", run_id))) == 12


# the platform ------------------------------------------------------------------------------------


def test_the_budget_that_a_plan_advises_is_accepted(model, sentences, tmp_path):
    out = tmp_path / "a.plan"
    with platform():
        shown = run("plan", model, sentences, "--target", IBM, "--out", out, "--force").stdout
        plan = told("plan", model, sentences, "--target", IBM)
        assert 0 < plan["qpu_seconds"] % 1 < 0.5  # a rounded figure would be too low
        assert plan["advised_budget"] == math.ceil(plan["qpu_seconds"]) == 3
        assert f"--plan {out} --budget 3" in " ".join(shown.split())
        below = f"{plan['qpu_seconds']:.1f}"
        result = run("submit", "--plan", out, "--budget", below)
        assert result.exit_code == 2
        assert "give --budget 3 or more" in result.stderr
        run_id = submitted("--plan", out, "--budget", plan["advised_budget"])
        assert told("collect", run_id, "--wait", "inf")["state"] == "done"


def test_a_plan_shows_what_the_device_has_charged_so_far(model, sentences, home):
    with platform(slowness=1.2) as double:
        plan = told("plan", model, sentences, "--target", IBM)
        assert plan["charge_ratio"] is plan["refitted_seconds"] is None
        shown = run("plan", model, sentences, "--target", IBM).stdout
        assert "unknown: no finished job" in shown
        assert not home.exists()  # a plan writes no ledger
        limit = ["--executions-per-job", 2 * SHOTS]
        three = submitted(model, sentences, "--target", IBM, "--budget", 60, *limit)
        assert told("runs")["charge_ratios"] == {"ibm_manila": None}
        assert "ibm_manila has charged an unknown share" in run("runs").stdout
        told("collect", three, "--wait", "inf")
        plan = told("plan", model, sentences, "--target", IBM)
        ratio = plan["charge_ratio"]
        assert ratio["jobs"] == 3
        charged = double.cloud.consumed / told("runs")["runs"][0]["estimated_seconds"]
        assert ratio["mean"] == pytest.approx(charged) == pytest.approx(1.2, rel=0.01)
        assert ratio["low"] <= ratio["mean"] <= ratio["high"]
        assert plan["refitted_seconds"] == pytest.approx(plan["qpu_seconds"] * ratio["mean"])
        assert plan["advised_budget"] == math.ceil(plan["qpu_seconds"] * ratio["high"])
        assert told("runs")["charge_ratios"]["ibm_manila"] == ratio
        words = "1.20 times the estimate (1.20 to 1.20 for one more job, 95 % confidence)"
        for verb in (["plan", model, sentences, "--target", IBM], ["runs"]):
            assert "1.20 times the estimate" in run(*verb).stdout
        result = run("submit", model, sentences, "--target", IBM, "--budget", 3)
        assert f"ibm_manila has charged {words}, known from 3 jobs" in result.stderr
        assert "no finished job" not in run("plan", model, sentences, "--target", FAKE).stdout


@pytest.mark.sampled
def test_a_run_on_the_platform(model, sentences, toy_texts):
    with platform(seed=shifted(7)) as double:
        plan = told("plan", model, sentences, "--target", IBM)
        assert plan["remaining_seconds"] == 600
        assert double.faults.seen["submit"] == 0
        run_id = submitted(model, sentences, "--target", IBM, "--budget", plan["qpu_seconds"])
        (listed,) = told("runs")["runs"]
        assert listed["estimated_seconds"] == pytest.approx(plan["qpu_seconds"])
        assert listed["budget_seconds"] == pytest.approx(plan["qpu_seconds"])
        rows = told("collect", run_id, "--wait", "inf")
        assert (rows["state"], rows["missing"]) == ("done", [])
        # the double charges by the plan's rule, but for the circuits' own duration
        assert rows["charged_seconds"] == pytest.approx(plan["qpu_seconds"], rel=0.1)
        assert double.faults.seen["submit"] == 1
    loaded = TextClassifier.load(model)
    # the double's device is noiseless
    exact = loaded.head_.expectations(loaded.embed(toy_texts[:12]), ExactTarget()).values
    low, high = probability_bounds(exact, *loaded.head_.readout_weights(), SHOTS)
    labels = loaded.classes_.tolist()
    for idx, row in enumerate(rows["predictions"]):
        place = labels.index(row["label"])
        assert low[idx, place] <= row["probability"] <= high[idx, place]
    # everything is known: nobody is asked any more
    assert told("collect", run_id)["state"] == "done"


def test_plans_by_a_calibration_that_was_kept(model, sentences, home, tmp_path, monkeypatch):
    monkeypatch.setenv("QHEAD_CACHE", str(tmp_path / "cache"))
    call = [model, sentences, "--target", IBM, "--no-cache"]
    with platform() as double:
        stderr = refused(home, "plan", *call, "--offline")
        assert "No calibration" in stderr
        online = told("plan", *call)
        asked = dict(double.faults.seen)
        offline = told("plan", *call, "--offline")
        assert dict(double.faults.seen) == asked
        assert (offline["key"], offline["remaining_seconds"]) == (online["key"], None)
        double.faults.always["token"] = Reply(503)
        found = told("plan", *call)  # nobody answers: what is known stands in, and says so
        assert found["key"] == online["key"]
        assert any("could not be reached" in note for note in found["notes"])
        refused(home, "submit", *call, "--budget", "120", code=1)
        assert double.faults.seen["submit"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--instance", "elsewhere"], "elsewhere"),
        (["--account", "work"], "'work'"),
        (["--channel", "ibm_cluod"], "Did you mean 'ibm_cloud'?"),
    ],
)
def test_an_account_is_chosen_or_refused(model, sentences, home, options, message):
    with platform() as double:
        call = [model, sentences, "--target", IBM, *options]
        paid = ["--budget", "120"]
        for verb, more in (("plan", []), ("submit", paid), ("predict", paid)):
            assert message in refused(home, verb, *call, *more)
        assert double.faults.seen["submit"] == 0
        named = ["--instance", double.account()["instance"]]
        assert told("plan", model, sentences, "--target", IBM, *named)["backend"] == "ibm_manila"
    stderr = refused(home, "predict", model, sentences, *options)
    assert "with a device" in stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--account", "nope", "--instance", "x"], "Expected --account, --instance with"),
        (["--channel", "ibm_cloud"], "Expected --channel with"),
    ],
)
def test_an_account_means_nothing_to_a_fake(model, sentences, home, tmp_path, options, named):
    kept, sent = tmp_path / "p.plan", ("submit", "--plan", tmp_path / "p.plan")
    told("plan", model, sentences, "--target", FAKE, "--tiles", 1, "--out", kept)
    run_id = submitted(*sent[1:])
    call = [model, sentences, "--target", FAKE]
    for arguments in (
        ["plan", *call], ["plan", *call, "--offline"], ["submit", *call], sent,
        ["predict", *call], ["evaluate", *call],
        ["collect", run_id], ["resume", run_id], ["cancel", run_id], ["backends", "--fakes"],
    ):  # fmt: skip
        stderr = refused(home, *arguments, *options)
        assert stderr.startswith(f"Error: {named} a device of the platform, ibm:NAME, got fake:")
    assert told("collect", run_id)["missing"] == []


def test_lists_in_a_file_are_those_of_the_command_line(model, sentences, tmp_path, home):
    path, call = tmp_path / "run.toml", ["plan", model, sentences, "--target", FAKE, "--tiles", 1]
    path.write_text('tags = ["a", "b c"]\nzne = [1, 3]\nzne_extrapolator = ["linear"]\n')
    flags = ["--tags", "a,b c", "--zne", "1,3", "--zne-extrapolator", "linear"]
    assert told(*call, "--config", path)["key"] == told(*call, *flags)["key"]
    for content, message in (
        ('tags = ["a,b"]', "tags to be a list of texts in quotes, without commas in them"),
        ("tags = [1]", "tags to be a list of texts"),
        ("zne = []", "zne to be a list of numbers, got []"),
        ('zne = ["1"]', "zne to be a list of numbers"),
        ("zne = [true, 3]", "zne to be a list of numbers"),
        ("zne = [[1], 3]", "zne to be a list of numbers"),
        ('mode = ["job"]', "mode to be a number or a text in quotes, got ['job']"),
        ("shots = [100]", "shots to be a whole number, got [100]"),
    ):
        path.write_text(content)
        assert f"{path}: expected {message}" in refused(home, *call, "--config", path)
    path.write_text('heads = ["linear", "nope"]')
    assert "'nope'" in refused(home, "compare", sentences, "--config", path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tags", "a,b,a"], "Expected each tag once, got 'a' repeated."),
        (["--tags", ",".join("abcdefghi")], "Expected at most 8 tags, got 9: a, b, "),
        (
            ["--pec-mitigation", "--pec-max-overhead", "0.5"],
            "Expected an overhead of one or more, or --pec-max-overhead none for any, got 0.5.",
        ),
    ],
)
def test_messages_say_what_the_command_line_takes(model, sentences, home, options, message):
    stderr = refused(home, "plan", model, sentences, "--target", FAKE, *options)
    assert message in stderr
    assert "None" not in stderr


def test_a_time_limit_has_no_effect_on_a_fake(model, sentences):
    limited = ["--mode", "batch", "--max-time", 60]
    result = run("submit", model, sentences, "--target", FAKE, "--tiles", 1, *limited)
    assert result.exit_code == 0
    assert "have no effect: mode, max_time." in result.stderr


def test_the_devices_whose_calibrations_are_kept_are_listed_offline(
    model, sentences, tmp_path, monkeypatch
):
    monkeypatch.setenv("QHEAD_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(listing, "fake_names", lambda: ("belem",))  # ranking all takes minutes
    none = run("backends", "--offline")
    assert none.exit_code == 0
    assert "Note: fakes only. No calibration is kept in" in none.stderr
    with platform() as double:
        told("plan", model, sentences, "--target", IBM, "--tiles", 1)
        asked = double.faults.seen.copy()
        (kept, *others) = told("backends", "--offline")["backends"]
        ranked = told("backends", model, "--offline", "--no-cache")["backends"]
        assert double.faults.seen == asked
        elsewhere = run("backends", "--offline", "--account", "work")
        assert elsewhere.exit_code == 2
        assert "'work'" in elsewhere.stderr
    assert (kept["target"], kept["num_qubits"], kept["queue"]) == ("ibm:ibm_manila", 5, None)
    assert datetime.fromisoformat(kept["calibrated_at"]) < datetime.now(UTC)
    assert not any("calibrated_at" in other for other in others)
    (found,) = (each for each in ranked if each["target"] == "ibm:ibm_manila")
    assert 0 < found["expected_error"] < 1
    (path,) = (tmp_path / "empty" / "calibrations").iterdir()
    table = run("backends", "--offline").stdout
    assert re.search(r"ibm:ibm_manila .* \d[\d,]* (minute|hour|day)s? old", table)
    path.write_bytes(b"")
    broken = run("backends", "--offline")
    assert f"{path.name} cannot be used" in broken.stderr


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ([], "needs a budget"),
        (["--budget", "-1"], "zero or more"),
        (["--budget", "nan"], "zero or more"),
        (["--budget", "1"], "within the budget of 1 s"),
    ],
)
def test_budgets_that_send_nothing(model, sentences, home, budget, message):
    with platform() as double:
        for verb in ("submit", "predict", "evaluate"):
            stderr = refused(home, verb, model, sentences, "--target", IBM, *budget)
            assert message in stderr
        assert double.faults.seen["submit"] == 0
    assert not home.exists()


def test_more_than_the_account_has_is_refused(model, sentences, home):
    with platform(allowance=1.0) as double:
        result = run("submit", model, sentences, "--target", IBM, "--budget", "60")
        assert result.exit_code == 2
        assert "time left" in result.stderr
        assert double.faults.seen["submit"] == 0
    with Ledger(home) as ledger:
        assert ledger.runs() == []


def test_a_failed_job_is_missing_until_it_is_resumed(model, sentences, home):
    faults = FaultPlan({("submit", 2): EndJob("Failed")})
    limit = ["--executions-per-job", 2 * SHOTS]
    with platform(faults=faults) as double:
        run_id = submitted(model, sentences, "--target", IBM, "--budget", "60", *limit)
        collected = run("collect", run_id, "--wait", "inf")
        assert collected.exit_code == 1
        assert [int(row["row"]) for row in rows_of(collected)] == [1, 2, 3, 4, 9, 10, 11, 12]
        assert "4 of 12 rows are missing: 5–8" in collected.stderr
        assert f"qhead resume {run_id}" in collected.stderr
        whole = ["evaluate", model, sentences, "--run", run_id]
        assert "--partial" in refused(home, *whole, code=1)
        part = told(*whole, "--partial")
        assert (part["n"], part["missing"]) == (8, [5, 6, 7, 8])
        assert told("resume", run_id)["jobs"]["submitted"] == 1
        assert told("collect", run_id, "--wait", "inf")["missing"] == []
        assert max(double.cloud.charges().values()) == 1  # nothing was paid for twice
    assert told(*whole)["n"] == 12


def test_predict_says_which_rows_are_missing(model, sentences, toy_texts, monkeypatch):
    from hardware.planning.options import JobLimits

    monkeypatch.setattr(JobLimits.__init__, "__defaults__", (2 * SHOTS, 10800.0, 40 << 20))
    with platform(faults=FaultPlan({("submit", 1): EndJob("Failed")})):
        result = run("predict", model, sentences, "--target", IBM, "--budget", "60")
    assert result.exit_code == 1
    rows = rows_of(result)
    assert [row["text"] for row in rows] == toy_texts[:12]  # each in its place
    assert [row["label"] == "" for row in rows] == [True] * 4 + [False] * 8
    assert "4 of 12 rows are missing: 1–4" in result.stderr


def test_resuming_keeps_to_the_budget(model, sentences, home):
    faults = FaultPlan({("submit", 1): EndJob("Failed", paid=2.0)})
    with platform(faults=faults):
        run_id = submitted(model, sentences, "--target", IBM, "--budget", "2.5")
        assert run("collect", run_id, "--wait", "inf").exit_code == 1
        assert "zero or more" in refused(home, "resume", run_id, "--budget", "-3")
        result = run("resume", run_id)
        assert result.exit_code == 2
        assert "larger budget" in result.stderr
        assert told("resume", run_id, "--budget", "6")["budget_seconds"] == 6
        assert told("collect", run_id, "--wait", "inf")["missing"] == []


def test_a_run_is_cancelled_in_the_queue(model, sentences):
    with platform() as double:
        double.cloud.hold()
        run_id = submitted(model, sentences, "--target", IBM, "--budget", "60")
        waiting = told("collect", run_id, code=3)
        assert (waiting["state"], len(waiting["missing"])) == ("submitted", 12)
        shown = run("status", run_id).stdout
        assert "QPU seconds reserved, under way or not known yet" in shown
        assert "QPU seconds reserved, jobs to come" in shown
        assert told("cancel", run_id)["state"] == "cancelled"
        double.cloud.release()
        assert double.cloud.consumed == 0


def test_devices_are_chosen_by_queue_or_error(model, sentences):
    with platform("ibm_manila", "ibm_yorktown") as double:
        listed = told("backends", model)
        mine = [each["target"] for each in listed["backends"] if each["queue"] is not None]
        assert mine == ["ibm:ibm_manila", "ibm:ibm_yorktown"]  # the better one first
        errors = [each["expected_error"] for each in listed["backends"]]
        assert errors == sorted(errors)
        assert listed["remaining_seconds"] == 600
        assert listed["account"] is None
        best = told("plan", model, sentences, "--target", f"ibm:best:{SHOTS}")
        assert best["target"] == IBM
        idle = told("plan", model, sentences, "--target", "ibm:least_busy")
        assert idle["backend"] == "ibm_manila"
        assert double.faults.seen["submit"] == 0


def test_the_shortest_queue_is_chosen():
    class Waiting:
        def __init__(self, name, number):
            self.name, self.number = name, number

        def status(self):
            if self.number is None:
                raise requests.ConnectionError("no answer")
            return self  # of which `pending_jobs` is asked

        @property
        def pending_jobs(self):
            return self.number

    queues = {"c": 5, "b": 2, "a": None, "d": 2}
    assert least_busy([Waiting(*each) for each in queues.items()]) == "b"


def test_without_an_account_there_are_fakes(model):
    fake_backend.cache_clear()  # a backend warns when it is read
    result = run("backends")
    assert result.exit_code == 0
    assert result.stderr.startswith("Note: fakes only.")
    assert len(result.stderr.splitlines()) == 1
    assert "fake:fez" in result.stdout
    assert "save_account" in result.stderr
    assert "not intended" not in result.stdout + result.stderr  # what a fake says of itself


def test_an_unknown_device_and_a_revoked_account(model, sentences, home):
    with platform() as double:
        stderr = refused(home, "plan", model, sentences, "--target", "ibm:ibm_manilla")
        assert "Did you mean 'ibm_manila'" in stderr
        wide = refused(home, "plan", model, sentences, "--target", IBM, "--tiles", "3")
        assert "ask for fewer than 3" in wide
        run_id = submitted(model, sentences, "--target", IBM, "--budget", "60")
        double.revoked = True
        for arguments in (
            ["plan", model, sentences, "--target", IBM],
            ["submit", model, sentences, "--target", IBM, "--budget", "60"],
            ["collect", run_id], ["resume", run_id],
        ):  # fmt: skip
            result = run(*arguments)
            assert result.exit_code == 2, (arguments, result.stderr, result.exception)
            assert "does not accept the login" in result.stderr
            assert "Traceback" not in result.stderr
        double.revoked = False
        assert told("collect", run_id, "--wait", "inf")["missing"] == []


def test_a_plan_file_for_the_platform(model, sentences, tmp_path, home):
    kept = tmp_path / "twelve.plan"
    with platform() as double:
        told("plan", model, sentences, "--target", IBM, "--out", kept)
        assert "needs a budget" in refused(home, "submit", "--plan", kept)
        run_id = submitted("--plan", kept, "--budget", "60")
        assert told("collect", run_id, "--wait", "inf")["missing"] == []
        assert double.faults.seen["submit"] == 1
    with platform("ibm_yorktown"):
        assert "ibm_yorktown" in refused(home, "submit", "--plan", kept, "--budget", "60")


# small parts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("indices", "text"),
    [((0,), "1"), ((0, 1, 2, 5), "1–3, 6"), ((3, 7, 8), "4, 8–9"), ((), "")],
)
def test_row_numbers(indices, text):
    assert row_numbers(indices) == text


def test_every_verb_has_help():
    for verb in ("plan", "submit", "runs", "status", "collect", "resume", "cancel", "backends"):
        result = run(verb, "--help")
        assert result.exit_code == 0
        assert f"Example: qhead {verb}" in " ".join(result.stdout.split())
