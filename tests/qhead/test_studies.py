"""Studies: paired rows from trials, knees, records that are read again, and their verbs."""

import dataclasses
import errno
import json
import os
import re

import numpy as np
import pytest
from contracts.sampling_bounds import FALSE_ALARM, shifted
from scipy import stats
from typer.testing import CliRunner

from hardware.circuits.measurement import Measurement
from hardware.devices.backends import fake_backend
from hardware.emulation.calibrated import CalibratedTarget
from hardware.planning.options import PlanOptions
from hardware.planning.planner import plan
from qhead.classifier import TextClassifier
from qhead.cli.app import app
from qhead.data import LabelledTexts
from qhead.encoder.sentence_encoder import SentenceEncoder
from qhead.errors import DataError, HeadError, InputError
from qhead.heads import MLPHead, QuantumHead
from qhead.report.page import render
from qhead.studies.cost import PRICED, DeviceCost
from qhead.studies.noise import STAGES, NoiseStudy, mean_two_qubit_error, study_noise
from qhead.studies.pages import cells, study_page
from qhead.studies.sample import (
    Measured,
    Row,
    bounded_mean,
    draw_sample,
    slope,
    summarise_trials,
)
from qhead.studies.shots import ShotsStudy, study_shots
from qhead.studies.study import RECORD, knee, no_knee, read_study, write_record
from qhead.training_options import TrainingOptions


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QHEAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def data(toy_texts, toy_labels):
    return LabelledTexts(tuple(toy_texts), toy_labels, "toy")


@pytest.fixture(scope="module")
def model(data, toy_model):
    training = TrainingOptions(max_epochs=6, validation_fraction=0.0)
    head = QuantumHead(num_qubits=3, num_layers=1, topology="chain", training=training, seed=1)
    return TextClassifier(SentenceEncoder(toy_model), head).fit(data.texts, data.labels)


@pytest.fixture(scope="module")
def sample(model, data):
    return draw_sample(model, data, sentences=40, others=30, seed=4)


def without_shots(text):
    """Return the record of a study whose second curve has a row without shots."""
    before, others, after = text.rpartition('"others": [')
    return before + others + re.sub(r'"shots": \d+', '"shots": null', after, count=1)


def row(setting, difference, half):
    zeros = dict.fromkeys(
        ("shift", "shift_half_width", "spread", "changed", "changed_half_width", "accuracy",
         "accuracy_half_width"), 0.0,
    )  # fmt: skip
    return Row(
        name="r", systematic=None, slope=None, difference=difference,
        difference_half_width=half, setting=setting, **zeros,
    )  # fmt: skip


def test_a_sample_is_drawn_without_replacement_and_runs_exactly(model, data, sample):
    assert sample.num_scored == 40
    assert sample.workload.num_samples == 60  # at most a quarter of the data to recalibrate on
    assert len(np.unique(sample.workload.values[:, :3], axis=0)) == 60
    assert sample.drawn_from == len(data)
    whole = draw_sample(model, data, sentences=1000, others=0, seed=4)
    assert whole.num_scored == len(data)
    accuracy = (whole.predicted(whole.exact) == whole.labels).mean()
    assert accuracy == pytest.approx(model.score(data.texts, data.labels))
    again = draw_sample(model, data, sentences=40, others=30, seed=4)
    np.testing.assert_array_equal(again.workload.values, sample.workload.values)


def test_what_cannot_be_studied_is_refused(model, data, toy_model):
    with pytest.raises(DataError, match="too few for a study"):
        draw_sample(model, data.rows(range(11)), sentences=5, others=0, seed=0)
    options = TrainingOptions(max_epochs=1)
    mlp = TextClassifier(SentenceEncoder(toy_model), MLPHead(training=options))
    mlp.fit(data.texts, data.labels)
    with pytest.raises(HeadError, match="'mlp' has no circuit"):
        draw_sample(mlp, data, sentences=5, others=0, seed=0)


def test_a_row_by_hand(sample):
    """Errors are put in by hand: every number of the row follows in closed form."""
    truth = sample.labels.copy()
    truth[:10] = truth[:10][::-1]  # the exact head is wrong where the two classes change places
    sample = dataclasses.replace(sample, labels=truth)
    exact = sample.exact[: sample.num_scored]
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.4, (3, *exact.shape))
    values = 0.5 * exact + 0.1 + noise
    measured = Measured("by hand", values, [7, 8, 9], 0.5 * exact + 0.1)
    before = np.full(sample.num_scored, 0.25)
    found, trials, share = summarise_trials(sample, measured, before)
    errors = values - exact
    assert found.shift == pytest.approx((0.1 - 0.5 * exact).mean())
    assert found.spread == pytest.approx(errors.std())
    assert found.systematic == pytest.approx((0.5 * exact).std())
    assert found.slope == pytest.approx(0.5)
    weight, bias = sample.head.readout_weights()
    labels = sample.head.classes_[(values @ weight.T + bias).argmax(axis=2)]
    true = sample.head.classes_[(exact @ weight.T + bias).argmax(axis=1)]
    assert 0 < found.changed < 1
    assert found.changed != 1 - found.accuracy
    assert found.changed == pytest.approx((labels != true).mean())
    assert found.accuracy == pytest.approx((labels == sample.labels).mean())
    assert found.difference == pytest.approx(found.accuracy - (true == sample.labels).mean())
    assert found.step == pytest.approx(found.accuracy - 0.25)
    np.testing.assert_allclose(share, (labels == sample.labels).mean(axis=0))
    assert [trial.seed for trial in trials] == [7, 8, 9]
    assert np.mean([trial.accuracy for trial in trials]) == pytest.approx(found.accuracy)


def test_differences_are_paired_by_sentence(sample):
    """Two settings that differ in one sentence have a narrower interval than unpaired ones."""
    exact = sample.exact[: sample.num_scored]
    changed = exact.copy()
    changed[0] = -changed[0] * 5
    found, _, _ = summarise_trials(sample, Measured("one", changed[np.newaxis], [0]))
    unpaired = np.hypot(found.accuracy_half_width, found.accuracy_half_width)
    assert abs(found.difference) <= 1 / sample.num_scored + 1e-12
    assert found.difference_half_width < 0.8 * unpaired or found.accuracy in (0.0, 1.0)


@pytest.mark.parametrize("chance", [0.0, 0.01, 0.1])
def test_intervals_of_differences_hold_where_few_labels_change(chance):
    rng = np.random.default_rng(shifted(11))
    n, draws, missed = 60, 2000, 0
    for _ in range(draws):
        lost, gained = rng.random(n) < chance, rng.random(n) < chance / 4
        mean, half = bounded_mean(gained.astype(float) - lost, -1.0)
        missed += abs(mean - (chance / 4 - chance)) > half
    assert missed <= stats.binom.isf(FALSE_ALARM, draws, 0.05)


def test_the_slope_pools_observables_around_their_own_means():
    exact = np.array([[0.1, 0.9], [0.3, 0.5], [0.2, 0.7]])
    assert slope(exact, 0.8 * exact + np.array([0.4, -0.3])) == pytest.approx(0.8)
    assert slope(np.ones((3, 2)), exact) is None


def test_the_knee_is_the_last_setting_before_the_first_loss():
    rows = [row(8, 0, 0.01), row(4, -0.01, 0.005), row(2, -0.01, 0.02), row(1, 0, 0.001)]
    assert knee(rows, 0.02) == 4  # 2 is too wide, and what comes after it does not count
    assert knee(rows, 0.05) == 1
    assert knee(rows, 0.005) is None
    assert "never narrower than ± 3.2 points" in no_knee(0.02, 150)
    assert "sentence" not in no_knee(0.02, 5000)


def test_costs_are_those_of_plans(sample):
    rows = sample.workload.rows(np.resize(np.arange(60), PRICED))
    for tiles in (None, 1):
        cost = DeviceCost.of(sample.workload, "fez", tiles=tiles)
        made = plan(rows, fake_backend("fez"), PlanOptions(shots=300, tiles=tiles)).cost
        assert cost.seconds(300) == pytest.approx(made.qpu_seconds, rel=1e-9)
        assert cost.tiles == made.tiles


def test_the_marked_two_qubit_error_is_the_calibration_s(sample):
    """λ of a mean infidelity e of two qubits is 16/15 of the process infidelity 5e/4: 4e/3."""
    found = mean_two_qubit_error(sample.workload, "fez")
    settings = Measurement.of(sample.workload.observables).settings
    (placed,) = CalibratedTarget("fez").prepare_settings(sample.workload.circuit, settings)
    cz, circuit = fake_backend("fez").target["cz"], placed.circuit
    errors = []
    for step in circuit.get_instructions("cz"):
        where = tuple(placed.physical[circuit.find_bit(qubit).index] for qubit in step.qubits)
        errors.append(cz[where].error)
    assert found == pytest.approx(4 / 3 * np.mean(errors), rel=0.01)


@pytest.fixture(scope="module")
def shots_study(model, data):
    options = ShotsStudy(shots=(400, 25, 100), sentences=60, trials=4)
    return study_shots(model, data, options, name="toy", seed=shifted(2))


@pytest.fixture(scope="module")
def noise_study(model, data):
    options = NoiseStudy(
        shots=500, two_qubit_errors=(0.2, 0.01), sentences=60, recalibration=20, trials=2,
        max_loss=0.3,
    )  # fmt: skip
    return study_noise(model, data, options, name="toy", seed=shifted(2))


def test_one_sentence_whose_signal_is_gone_is_still_a_study(model, data, tmp_path):
    same = LabelledTexts(data.texts[:1] * 12, data.labels[:1].repeat(12), "toy")
    options = NoiseStudy(shots=16, two_qubit_errors=(0.01,), sentences=1, trials=1)
    study = study_noise(model, same, options, name="toy")
    write_record(study, tmp_path)
    again = read_study(tmp_path)
    assert json.dumps(again.as_dict()) == json.dumps(study.as_dict())
    waterfall = again.tables[0]
    assert waterfall.rows[-1].name == "read-out inverted"
    assert "'recalibrated' is left out" in again.notes[-1]
    assert {each.shift_half_width for each in waterfall.rows} == {None}
    columns, rows = cells(waterfall)
    assert not any("±" in each[columns.index("shift of ⟨Z⟩")] for each in rows)
    assert "nan" not in render(study_page(again, "toy"))


@pytest.mark.parametrize("number", [3, 7, 12])
def test_one_sentence_many_times_has_no_slope(model, data, number):
    same = LabelledTexts(data.texts[:1] * 15, data.labels[:1].repeat(15), "toy")
    alike = draw_sample(model, same, sentences=number, others=3, seed=0)
    exact = alike.exact[:number]
    assert slope(exact, exact + np.linspace(0, 0.1, number)[:, None]) is None


@pytest.mark.sampled
def test_shots_spread_as_their_closed_form_says(model, data, shots_study):
    ideal, device = shots_study.tables
    sample = draw_sample(model, data, sentences=60, others=0, seed=shifted(2))
    assert [each.setting for each in ideal.rows] == [25, 100, 400]
    for each in ideal.rows:
        assert each.shift == pytest.approx(0, abs=1e-9)
        variance = (1 - sample.exact**2) / each.setting
        # Squared errors have a mean of `variance`, and at most the shots' fourth moment around it.
        count = 4 * sample.exact.size
        fourth = (3 * variance**2 + variance / each.setting**2).mean()
        slack = np.sqrt(fourth / count / (FALSE_ALARM * 100))
        assert abs(each.spread**2 - variance.mean()) < slack
    assert all(0 < each.slope < 1 for each in device.rows)
    assert [each.target for each in device.rows] == ["aer:fez:25", "aer:fez:100", "aer:fez:400"]
    assert [each.shots for each in device.others] == [100, 400]  # 25 are too few for three rounds
    for each in device.others:
        assert each.shots / 32 - 1 < each.setting < each.shots
        assert each.qpu_seconds > 0
    assert not ideal.others
    assert ideal.rows[0].one_tile_seconds > ideal.rows[0].qpu_seconds > 0


@pytest.mark.sampled
def test_the_waterfall_adds_up(noise_study):
    waterfall, sweep = noise_study.tables
    names = [each.name for each in waterfall.rows]
    assert names[:2] == ["exact", "shots"]
    assert names[2:7] == list(STAGES.values())
    exact, shots, *_, idle, one, tiled, inverted, recalibrated = waterfall.rows
    assert (exact.difference, exact.changed, exact.difference_half_width) == (0, 0, 0)
    assert idle.target == "aer:fez:500"
    slopes = [each.slope for each in waterfall.rows[1:5]]
    assert slopes == sorted(slopes, reverse=True)  # errors of gates and read-out take some signal
    # The fake device on one tile has the distribution of the last emulation: only shots differ.
    assert abs(one.slope - idle.slope) < 0.05
    assert abs(recalibrated.slope - 1) < abs(tiled.slope - 1)
    assert abs(inverted.shift) < 0.05
    assert one.qpu_seconds > tiled.qpu_seconds > 0
    total = sum(each.step for each in waterfall.rows[1:])
    assert total == pytest.approx(recalibrated.difference, abs=1e-12)
    assert shots.systematic == pytest.approx(0, abs=1e-9)
    assert [each.setting for each in sweep.rows] == [0.01, 0.2]
    mild, strong = sweep.rows
    assert 1 > mild.slope > strong.slope
    assert strong.qpu_seconds > mild.qpu_seconds
    assert mild.target == "noisy:0,0.01:500"


@pytest.mark.parametrize("name", ["shots_study", "noise_study"])
def test_a_record_is_read_as_it_was_written(name, request, tmp_path):
    study = request.getfixturevalue(name)
    write_record(study, tmp_path)
    again = read_study(tmp_path)
    assert json.dumps(again.as_dict()) == json.dumps(study.as_dict())
    html = render(study_page(again, "toy"))
    assert html.count("<svg") == 2 * len(study.tables)  # for wide and for narrow pages
    for table in study.tables:
        columns, rows = cells(table)
        assert {len(each) for each in rows} == {len(columns)}
        assert table.title in html


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-20], "is not JSON"),
        (lambda text: text.replace('"version": 1', '"version": 2'), "version 2"),
        (lambda text: "[]", "version None"),
        (lambda text: text.replace('"spread"', '"sprat"', 1), "is damaged"),
        (lambda text: text.replace('"accuracy": 0.', '"accuracy": "0.', 1), "is not JSON"),
        (lambda text: re.sub(r'"slope": [\d.e-]+', '"slope": NaN', text, count=1), "finite number"),
        (lambda text: text.replace('"setting": 25.0', '"setting": null', 1), "has no setting"),
        (lambda text: without_shots(text), "has no shots"),
    ],
)
def test_a_damaged_record_is_refused(shots_study, tmp_path, change, message):
    path = write_record(shots_study, tmp_path)
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
    with pytest.raises(InputError, match=message):
        read_study(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sentences": 0}, "sentences"),
        ({"trials": -1}, "trials"),
        ({"max_loss": 0.0}, "max_loss"),
        ({"shots": ()}, "different numbers"),
        ({"shots": (16, 16)}, "different numbers"),
        ({"shots": (16, 0)}, "at least one shot"),
    ],
)
def test_options_are_checked_at_the_door(options, message):
    with pytest.raises(ValueError, match=message):
        ShotsStudy(**options)


def test_noise_options_are_checked_at_the_door():
    for options in ({"two_qubit_errors": (1.5,)}, {"recalibration": 2}, {"shots": 0}):
        with pytest.raises(ValueError, match="Expected"):
            NoiseStudy(**options)


# The verbs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    place = tmp_path_factory.mktemp("saved") / "model"
    model.save(place)
    return place


@pytest.fixture(scope="module")
def file(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "toy.csv"
    lines = [f"{text},{label}" for text, label in zip(data.texts, data.labels, strict=True)]
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


SHOTS = ("--shots", "16,64", "--sentences", 20, "--trials", 2)


def test_a_study_is_kept_and_reported(folder, file, tmp_path):
    out = tmp_path / "study"
    ended = run("study", "shots", folder, file, *SHOTS, "--out", out, "--json")
    assert ended.exit_code == 0, ended.stderr
    record = json.loads(ended.stdout)
    assert [row["setting"] for row in record["tables"][0]["rows"]] == [16, 64]
    assert len(record["trials"]) == 2 * 2 * 2 + 2  # 16 shots are too few for rounds
    assert json.loads((out / RECORD).read_text())["tables"] == record["tables"]
    first = (out / "report.html").read_text()
    ended = run("report", out, "--json")
    assert ended.exit_code == 0, ended.stderr
    assert (tmp_path / "study.html").read_text() == first
    page = tmp_path / "model.html"
    ended = run("report", folder, "--study", out, "--out", page)
    assert ended.exit_code == 0, ended.stderr
    assert "Shots, with ideal gates" in page.read_text()
    text = (out / RECORD).read_text()
    (out / RECORD).write_text(text.replace('"fingerprint of the weights": "', '"weights": "'))
    ended = run("report", folder, "--study", out, "--out", page, "--force")
    assert ended.exit_code == 2
    assert "of another model" in ended.stderr
    ended = run("report", out, "--study", out, "--force")
    assert ended.exit_code == 2
    assert "leave --study out" in ended.stderr
    refused = run("study", "shots", folder, file, *SHOTS, "--out", out)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    replaced = run("study", "shots", folder, file, *SHOTS, "--out", out, "--force")
    assert replaced.exit_code == 0, replaced.stderr
    assert "knee" in replaced.stdout or "rule out" in replaced.stdout


def test_a_disk_that_fills_up_costs_the_files_and_not_the_numbers(
    folder, file, tmp_path, monkeypatch
):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("qhead.files.os.fsync", full)
    options = ("--shots", "16", "--sentences", 12, "--trials", 1, "--json")
    ended = run("study", "shots", folder, file, *options, "--out", tmp_path / "new" / "study")
    assert ended.exit_code == 2
    assert "free some space" in ended.stderr
    record = json.loads(ended.stdout)
    assert [row["setting"] for row in record["tables"][0]["rows"]] == [16]
    assert not {"report", "record"} & set(record)
    assert not (tmp_path / "new").exists()


def test_the_noise_study_prints_its_tables(folder, file):
    options = ("--shots", 64, "--sentences", 20, "--recalibration", 10, "--trials", 1)
    ended = run("study", "noise", folder, file, *options, "--two-qubit-errors", "0.01")
    assert ended.exit_code == 0, ended.stderr
    for word in ("read-out errors", "routing", "recalibrated", "two-qubit error"):
        assert word in ended.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("shots", "--device", "fes"), "Did you mean 'fez'"),
        (("noise", "--device", "nowhere"), "fake backend"),
        (("noise", "--recalibration", "2"), "--recalibration"),
        (("shots", "--trials", "0"), "--trials"),
        (("shots", "--shots", "many"), "expected numbers"),
    ],
)
def test_bad_calls_end_with_2_and_a_sentence(folder, file, options, message):
    kind, *rest = options
    ended = run("study", kind, folder, file, *rest)
    assert ended.exit_code == 2
    assert message in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr


def test_a_folder_that_is_no_study_is_a_model_s_for_report(tmp_path):
    ended = run("report", tmp_path)
    assert ended.exit_code == 2
