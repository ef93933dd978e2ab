"""Heads beside each other: the same rows for all, paired intervals, a control."""

import json

import numpy as np
import pytest
from scipy import stats
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from typer.testing import CliRunner

from qhead.cli.app import app
from qhead.errors import DataError, HeadError
from qhead.heads import HEADS, num_trainable_parameters
from qhead.studies.comparison import (
    HEAD_MAKERS,
    HeadScore,
    compare_heads,
    half_width,
    head_makers,
    summarise,
)


@pytest.fixture(scope="module")
def blobs():
    """Return two classes of 60 points each that a line separates well, not perfectly."""
    rng = np.random.default_rng(0)
    y = np.repeat(["minus", "plus"], 60)
    X = rng.normal(size=(120, 4)).astype(np.float32)
    X[:, 0] += np.where(y == "plus", 1.5, -1.5)
    return X, y


class Recorder(DummyClassifier):
    """Notes what it is trained on."""

    seen: list = []  # noqa: RUF012

    def fit(self, X, y):
        self.seen.append((np.asarray(X).copy(), np.asarray(y).copy()))
        self.coef_, self.intercept_ = np.zeros(1), np.zeros(1)
        return super().fit(X, y)


@pytest.fixture
def seen(monkeypatch):
    monkeypatch.setattr(Recorder, "seen", [])
    return lambda: Recorder.seen


TWO = {"one": lambda seed, shape, k: Recorder(), "two": lambda seed, shape, k: Recorder()}


@pytest.mark.parametrize("options", [{}, {"per_class": 10}, {"test_fraction": 0.5}])
def test_all_heads_see_the_same_rows_and_no_test_row(blobs, seen, options):
    X, y = blobs
    rows = compare_heads(X, y, TWO, seeds=(3, 4, 5), **options)
    assert [(r.seed, r.head) for r in rows] == [(s, h) for s in (3, 4, 5) for h in ("one", "two")]
    fits = seen()
    for one, two in zip(fits[::2], fits[1::2], strict=True):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
    assert not np.array_equal(fits[0][0], fits[2][0])  # another seed, another draw
    share = {"per_class": 20, "test_fraction": 60}.get(next(iter(options), ""), 90)
    assert {(row.num_train, row.num_test) for row in rows} == {(share, 120 - share)}
    for X_train, _ in fits:
        assert len(X_train) == share


def test_a_test_set_of_its_own_is_used_whole(blobs, seen):
    X, y = blobs
    rows = compare_heads(X, y, TWO, seeds=(0, 1), test=(X[:7], y[:7]))
    assert {(row.num_train, row.num_test) for row in rows} == {(120, 7)}
    rows = compare_heads(X, y, TWO, seeds=(0, 1), test=(X[:7], y[:7]), per_class=5)
    assert {(row.num_train, row.num_test) for row in rows} == {(10, 7)}


def test_the_control_shuffles_labels_and_nothing_else(blobs, seen):
    X, y = blobs
    compare_heads(X, y, TWO, seeds=(0, 1))
    compare_heads(X, y, TWO, seeds=(0, 1), shuffled=True)
    plain, control = seen()[:4], seen()[4:]
    for (X_plain, y_plain), (X_control, y_control) in zip(plain, control, strict=True):
        np.testing.assert_array_equal(X_plain, X_control)
        assert sorted(y_plain) == sorted(y_control)
        assert not np.array_equal(y_plain, y_control)
    for one, two in zip(control[::2], control[1::2], strict=True):
        np.testing.assert_array_equal(one[1], two[1])  # the same shuffle for all heads
    compare_heads(X, y, TWO, seeds=(0, 1), shuffled=True)
    np.testing.assert_array_equal(seen()[8][1], control[0][1])  # and in the next run


def test_a_head_that_learns_does_so_and_the_control_does_not(blobs):
    X, y = blobs
    heads = {"linear": lambda seed, shape, k: LogisticRegression()}
    X_test = np.vstack([X] * 5)  # chance within six standard errors of 120 coins
    learnt = compare_heads(X, y, heads, seeds=range(4), test=(X_test, np.tile(y, 5)))
    assert min(row.accuracy for row in learnt) > 0.85
    assert all(row.parameters == 5 for row in learnt)
    assert all(row.f1 == pytest.approx(row.accuracy, abs=0.02) for row in learnt)


def test_intervals_are_student_s_of_the_paired_differences():
    accuracies = {"a": [0.80, 0.90, 0.70, 0.85], "b": [0.78, 0.89, 0.69, 0.81]}
    rows = [
        HeadScore(head, seed, value, value / 2, 10 + seed, 1.0, 5, 5)
        for seed in range(4)
        for head, value in ((head, values[seed]) for head, values in accuracies.items())
    ]
    a, b = summarise(rows)
    assert (a.head, a.difference, a.difference_half_width) == ("a", None, None)
    gaps = np.array(accuracies["b"]) - np.array(accuracies["a"])
    expected = stats.ttest_1samp(gaps, 0).confidence_interval(0.95)
    assert b.difference == pytest.approx(gaps.mean())
    assert b.difference - b.difference_half_width == pytest.approx(expected.low)
    assert b.difference + b.difference_half_width == pytest.approx(expected.high)
    expected = stats.ttest_1samp(accuracies["a"], 0).confidence_interval(0.95)
    assert a.accuracy + a.accuracy_half_width == pytest.approx(expected.high)
    assert a.f1_half_width == pytest.approx(a.accuracy_half_width / 2)
    assert b.parameters == 13
    assert summarise(rows, "b")[0].difference == pytest.approx(-gaps.mean())
    assert np.isnan(half_width([1.0]))


def test_heads_by_name():
    assert list(head_makers(["linear", " reduced-mlp"])) == ["linear", "reduced_mlp"]
    with pytest.raises(HeadError, match=r"got 'quantun'\. Did you mean 'quantum'"):
        head_makers(["quantun"])
    assert set(HEADS) <= set(HEAD_MAKERS)


def test_the_equal_parameter_head_is_no_larger_than_the_quantum_head(blobs):
    X, y = blobs
    sizes = {
        name: num_trainable_parameters(HEAD_MAKERS[name](0, (30, 4), 2).fit(X[::4], y[::4]))
        for name in ("quantum", "reduced_mlp")
    }
    assert 0.5 * sizes["quantum"] < sizes["reduced_mlp"] <= sizes["quantum"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seeds": (0,)}, "at least 2 seeds"),
        ({"seeds": (1, 1)}, "at least 2 seeds"),
        ({"seeds": (0, 1), "test_fraction": 0.0}, "test_fraction above 0"),
        ({"seeds": (0, 1), "per_class": 60}, "left to test on"),
        ({"seeds": (0, 1), "per_class": 61}, "per_class"),
    ],
)
def test_what_cannot_be_compared(blobs, options, message):
    with pytest.raises(DataError, match=message):
        compare_heads(*blobs, TWO, **options)


# The verb ----------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path, toy_texts, toy_labels, monkeypatch):
    monkeypatch.setenv("QHEAD_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "toy.csv"
    rows = [f"{text},{label}" for text, label in zip(toy_texts, toy_labels, strict=True)]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return path


def compare(*arguments):
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_the_verb_prints_a_table_or_one_object(data, toy_model):
    given = [data, "--encoder", toy_model, "--heads", "linear,svc", "--seeds", 3, "--per-class", 10]
    ended = compare(*given)
    assert ended.exit_code == 0, ended.stderr
    assert "20 sentences to train on, 60 to test on, 3 seeds" in ended.stdout
    assert "− linear, %" in ended.stdout
    ended = compare(*given, "--control", "--json", "--seed", 7)
    told = json.loads(ended.stdout)
    assert told["seeds"] == [7, 8, 9]
    assert (told["train"], told["test"], told["reference"], told["chance"]) == (
        20,
        60,
        "linear",
        0.5,
    )
    assert [row["head"] for row in told["heads"]] == ["linear", "svc"]
    assert told["heads"][0]["difference"] is None
    for part in ("heads", "control"):
        rows = [HeadScore(**row) for row in told["rows"][part]]
        assert len(rows) == 6
        assert [row["accuracy"] for row in told[part]] == [s.accuracy for s in summarise(rows)]
    assert told["heads"][0]["accuracy"] > 0.8 > told["control"][0]["accuracy"]


def test_splits_of_their_own_are_said_to_leave_the_seeds_alone(data, toy_model, tmp_path):
    lines = data.read_text().splitlines()
    folder = tmp_path / "splits"
    folder.mkdir()
    (folder / "train.csv").write_text("\n".join(lines[:61]) + "\n")
    (folder / "test.csv").write_text("\n".join([lines[0], *lines[61:]]) + "\n")
    given = [folder, "--encoder", toy_model, "--heads", "linear", "--seeds", 2]
    ended = compare(*given)
    assert "60 sentences to train on, 20 to test on" in ended.stdout
    assert "All seeds share the data set's own splits" in ended.stderr
    assert "All seeds" not in compare(*given, "--per-class", 10).stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--heads", "quantun"], "Did you mean 'quantum'?"),
        (["--per-class", "1000"], "--per-class"),
        (["--test-fraction", "1.5"], "--test-fraction"),
        (["--seeds", "1"], "--seeds"),
    ],
)
def test_bad_calls(data, options, message):
    ended = compare(data, *options)
    assert ended.exit_code == 2
    assert ended.stdout == ""
    assert message in ended.stderr


def test_a_head_is_compared_once():
    with pytest.raises(HeadError, match="'linear' is named twice"):
        head_makers(["linear", "svc", "linear"])
    ended = CliRunner().invoke(
        app, ["compare", "demo:support", "--per-class", "5", "--test-fraction", "0.3"]
    )
    assert ended.exit_code == 2
    assert "Use either --test-fraction or --per-class" in ended.stderr
