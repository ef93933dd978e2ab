import hashlib
import json
import pydoc
import shutil

import numpy as np
import pytest
from contracts.sampling_bounds import at_most, probability_bounds, shifted
from qiskit import qasm3
from qiskit.quantum_info import Operator
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

from hardware.emulation.rates import ShotsTarget
from hardware.errors import UnknownTargetError
from qhead import (
    MLPHead,
    QuantumHead,
    SentenceEncoder,
    TextClassifier,
    TrainingOptions,
    resolve_target,
)
from qhead.data import LabelledTexts
from qhead.errors import DataError, EncoderError, HeadError, InputError, ModelError
from qhead.simulator import ExactTarget


def quantum(seed=1, **options):
    training = TrainingOptions(
        max_epochs=6, learning_rate=0.1, validation_fraction=0.15, monitor="loss"
    )
    return QuantumHead(num_qubits=2, encoder_layers=2, training=training, seed=seed, **options)


@pytest.fixture(scope="module")
def encoder(toy_model):
    return SentenceEncoder(str(toy_model), cache=False)


@pytest.fixture(scope="module")
def fitted(encoder, toy_texts, toy_labels):
    return TextClassifier(encoder, quantum()).fit(toy_texts, toy_labels)


@pytest.fixture
def saved(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    return tmp_path / "model"


def edit(folder, name, change):
    """Change a JSON file of a model and make the manifest agree, as a forger would."""
    path = folder / name
    content = json.loads(path.read_text())
    change(content)
    replace(folder, name, json.dumps(content).encode())


def replace(folder, name, content):
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    digest = hashlib.sha256(content).hexdigest()
    manifest["files"][name] = {"bytes": len(content), "sha256": digest}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_it_learns_what_can_be_learned(fitted, toy_texts, toy_labels):
    assert fitted.classes_.tolist() == ["minus", "plus"]
    assert fitted.score(toy_texts, toy_labels) > 0.9
    probabilities = fitted.predict_proba(toy_texts[:3])
    assert probabilities.shape == (3, 2)
    assert probabilities.sum(axis=1) == pytest.approx(1)
    labels = fitted.classes_[probabilities.argmax(axis=1)]
    assert fitted.predict(toy_texts[:3]).tolist() == labels.tolist()
    assert fitted.data_["classes"] == {"minus": 34, "plus": 34}


def test_scikit_learn_conventions(encoder):
    model = TextClassifier(encoder, quantum())
    assert set(model.get_params(deep=False)) == {"encoder", "head"}
    assert model.set_params(head__seed=7).head.seed == 7
    copied = clone(TextClassifier(head=quantum(seed=4)))
    assert copied.head.seed == 4
    with pytest.raises(Exception, match="not fitted"):
        model.predict(["the film was good"])


def test_fit_trains_a_clone(encoder, toy_texts, toy_labels):
    head = quantum()
    model = TextClassifier(encoder, head)
    assert model.fit(toy_texts, toy_labels) is model
    assert not hasattr(head, "module_")
    assert model.head_ is not head


@pytest.mark.parametrize("labels", [[0, 1], [5, 7], ["a", "b"]])
def test_labels_keep_their_type(encoder, toy_texts, toy_labels, tmp_path, labels):
    y = np.array(labels)[(toy_labels == "plus").astype(int)]
    head = MLPHead(training=TrainingOptions(max_epochs=2))
    model = TextClassifier(encoder, head).fit(toy_texts, y)
    model.save(tmp_path / "m")
    loaded = TextClassifier.load(tmp_path / "m")
    assert loaded.predict(toy_texts).dtype == model.predict(toy_texts).dtype
    assert loaded.predict(toy_texts).tolist() == model.predict(toy_texts).tolist()
    assert loaded.classes_.tolist() == sorted(labels)


def test_three_classes(encoder, toy_texts, toy_labels):
    y = toy_labels.astype("<U8")
    y[["film" in text for text in toy_texts]] = "film"
    model = TextClassifier(encoder, quantum()).fit(toy_texts, y)
    detailed = model.predict_detailed(toy_texts[:5], "shots:200")
    assert detailed.probabilities.shape == (5, 3)


def test_a_given_validation_set_is_used(encoder, toy_texts, toy_labels):
    model = TextClassifier(encoder, quantum())
    model.fit(toy_texts[:60], toy_labels[:60], validation=(toy_texts[60:], toy_labels[60:]))
    assert model.data_["n"] == 60
    # the best epoch's validation accuracy is that of the kept weights on exactly these sentences
    best = model.head_.history_[model.head_.best_epoch_ - 1]
    kept = model.score(toy_texts[60:], toy_labels[60:])
    assert best.validation_accuracy == pytest.approx(kept)


def test_the_counts_are_those_of_what_was_trained_on(encoder, fitted, toy_texts, toy_labels):
    assert (fitted.data_["n"], fitted.data_["held_back"]) == (68, 12)  # 15 % of 80
    assert sum(fitted.data_["classes"].values()) == 68
    kept = ~fitted.head_.held_back_
    trained = LabelledTexts(
        tuple(np.array(toy_texts)[kept]), toy_labels[kept], "the rows that were trained on"
    )
    assert fitted.data_["fingerprint"] == trained.fingerprint
    head = quantum().set_params(training=TrainingOptions(max_epochs=1, validation_fraction=0))
    whole = TextClassifier(encoder, head).fit(toy_texts, toy_labels)
    assert (whole.data_["n"], whole.data_["held_back"]) == (80, 0)
    assert whole.head_.history_[0].validation_loss is None


@pytest.mark.parametrize("head", [LogisticRegression(), SVC()])
def test_scikit_learn_heads(encoder, toy_texts, toy_labels, tmp_path, head):
    model = TextClassifier(encoder, head).fit(toy_texts, toy_labels)
    assert model.score(toy_texts, toy_labels) > 0.9
    with pytest.raises(ModelError, match="could only be pickled"):
        model.save(tmp_path / "m")
    assert not list(tmp_path.iterdir())
    with pytest.raises(HeadError, match="needs a circuit"):
        model.predict(toy_texts, "shots:10")
    with pytest.raises(InputError, match="no checkpoint"):
        model.fit(toy_texts, toy_labels, checkpoint=tmp_path / "c")


def test_heads_without_probabilities_say_so(encoder, toy_texts, toy_labels):
    model = TextClassifier(encoder, SVC()).fit(toy_texts, toy_labels)
    with pytest.raises(HeadError, match="predict_proba"):
        model.predict_proba(toy_texts)


@pytest.mark.sampled
def test_targets_by_name_and_by_value(fitted, toy_texts):
    exact = fitted.predict_detailed(toy_texts)
    assert exact.decided.all()
    assert (exact.std_errors == 0).all()
    for target in ("exact", ExactTarget()):
        assert np.array_equal(fitted.predict_proba(toy_texts, target), exact.probabilities)
    sampled = fitted.predict_detailed(toy_texts, "shots:4096")
    # the classifier's own seed is the head's: the same call, the same shots
    again = fitted.predict_detailed(toy_texts, ShotsTarget(shots=4096, seed=1))
    assert np.array_equal(sampled.probabilities, again.probabilities)
    assert sampled.target == "shots:4096"
    other = fitted.predict_detailed(toy_texts, ShotsTarget(shots=4096, seed=2))
    assert not np.array_equal(sampled.probabilities, other.probabilities)
    head, vectors = fitted.head_, fitted.embed(toy_texts)
    values = head.expectations(vectors, ExactTarget()).values
    low, high = probability_bounds(values, *head.readout_weights(), 4096)
    fresh = fitted.predict_detailed(toy_texts, ShotsTarget(shots=4096, seed=shifted(2)))
    for found in (sampled, fresh):
        assert ((low <= found.probabilities) & (found.probabilities <= high)).all()
    assert (sampled.std_errors > 0).all()


@pytest.mark.sampled
def test_decided_labels_are_the_exact_ones(fitted, toy_texts):
    exact = fitted.predict(toy_texts)
    target = ShotsTarget(shots=64, seed=shifted(1))
    sampled = fitted.predict_detailed(toy_texts, target)
    wrong = sampled.decided & (sampled.labels != exact)
    assert wrong.sum() <= at_most(0.05, len(toy_texts))
    assert fitted.predict(toy_texts, target).tolist() == sampled.labels.tolist()


def test_evaluation(fitted, toy_texts, toy_labels):
    result = fitted.evaluate(toy_texts, toy_labels)
    assert result.accuracy == fitted.score(toy_texts, toy_labels)
    assert result.n == 80
    assert result.target == "exact"


def test_resolve_target():
    assert resolve_target(None) is None
    assert resolve_target("exact") is None
    target = ShotsTarget(shots=5)
    assert resolve_target(target) is target
    assert resolve_target(" shots:7 ", seed=3) == ShotsTarget(shots=7, seed=3)
    for spec, hint in [("exakt", "'exact'"), ("shotz:3", "'shots'"), ("nosy:1,1", "'noisy'")]:
        with pytest.raises(UnknownTargetError, match=f"Did you mean {hint}"):
            resolve_target(spec)
    with pytest.raises(UnknownTargetError, match="'shots:100'"):
        resolve_target("exact:100")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("one sentence", "a list of sentences"),
        ([], "list of sentences is empty"),
        (["fine", "  "], "sentence 2: the text is empty"),
        (["fine", 3], "sentence 2: expected a sentence"),
        (["x" * 100_000], "at most 20,000 characters"),
    ],
)
def test_bad_texts(fitted, texts, message):
    with pytest.raises(DataError, match=message):
        fitted.predict(texts)


def test_bad_labels(fitted, encoder, toy_texts, toy_labels):
    with pytest.raises(DataError, match="one label per text"):
        TextClassifier(encoder).fit(toy_texts, toy_labels[:-1])
    with pytest.raises(DataError, match="at least two classes"):
        TextClassifier(encoder).fit(toy_texts, ["one"] * len(toy_texts))
    with pytest.raises(DataError, match="integers or strings"):
        TextClassifier(encoder).fit(toy_texts, np.linspace(0, 1, len(toy_texts)))
    with pytest.raises(DataError, match="'zero'"):
        fitted.score(toy_texts[:2], ["plus", "zero"])
    with pytest.raises(DataError, match="'zero'"):
        TextClassifier(encoder).fit(
            toy_texts, toy_labels, validation=(["the film was good"], ["zero"])
        )
    with pytest.raises(DataError, match="2 labels, one per sentence"):
        fitted.score(toy_texts[:2], ["plus"])


def test_embeddings_that_are_not_finite(toy_texts, toy_labels):
    class Broken:
        def encode(self, texts, *, progress=None):
            return np.full((len(texts), 4), np.nan, dtype=np.float32)

    with pytest.raises(EncoderError, match="NaN or infinity for 80 of 80"):
        TextClassifier(Broken()).fit(toy_texts, toy_labels)


def test_encoders_and_heads_that_are_none(encoder, toy_texts, toy_labels):
    with pytest.raises(EncoderError, match="SentenceEncoder"):
        TextClassifier(encoder=3).fit(toy_texts, toy_labels)
    for head in (QuantumHead, "quantum"):
        with pytest.raises(HeadError, match="Expected a head"):
            TextClassifier(encoder, head).fit(toy_texts, toy_labels)


def test_a_loaded_model_predicts_the_same_to_the_bit(fitted, saved, toy_texts):
    loaded = TextClassifier.load(saved)
    assert np.array_equal(loaded.predict_proba(toy_texts), fitted.predict_proba(toy_texts))
    assert np.array_equal(
        loaded.predict_proba(toy_texts, "shots:50"), fitted.predict_proba(toy_texts, "shots:50")
    )
    assert loaded.head_.history_ == fitted.head_.history_
    assert loaded.head_.best_epoch_ == fitted.head_.best_epoch_
    assert loaded.data_ == fitted.data_
    assert loaded.versions_ == fitted.versions_
    # saving it again gives the same files
    loaded.save(saved.with_name("again"))
    for path in saved.iterdir():
        assert (saved.with_name("again") / path.name).read_bytes() == path.read_bytes()


def test_the_encoder_must_be_the_one_trained_with(saved, toy_model, tmp_path, toy_texts):
    moved = tmp_path / "moved"
    shutil.copytree(toy_model, moved)
    other = SentenceEncoder(str(moved), cache=False)
    assert TextClassifier.load(saved, encoder=other).predict(toy_texts[:2]).shape == (2,)
    with pytest.raises(ModelError, match="other normalisation"):
        TextClassifier.load(saved, encoder=SentenceEncoder(str(moved), normalize=True, cache=False))
    edit(saved, "config.json", lambda c: c["encoder"]["config"].update(model=str(tmp_path / "no")))
    assert TextClassifier.load(saved).predict(toy_texts[:2]).shape == (2,)  # by its relative path
    edit(saved, "config.json", lambda c: c["encoder"].update(relative="../no"))
    with pytest.raises(EncoderError):
        TextClassifier.load(saved)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("head"),
        lambda c: c.pop("encoder"),
        lambda c: c.update(encoder=[]),
        lambda c: c.update(labels={"type": "float", "values": [1.0, 2.0]}),
        lambda c: c["labels"].update(values=["minus"]),
        lambda c: c["labels"].update(values=["plus", "minus"]),
        lambda c: c["labels"].update(values=["minus", 3]),
        lambda c: c["labels"].update(type="integer"),
        lambda c: c.update(num_features=9),
        lambda c: c.update(num_features="8"),
        lambda c: c["head"].update(kind="nonsense"),
        lambda c: c["head"]["options"].update(num_qubits=0),
        lambda c: c["head"]["options"].update(num_qubits=4),
        lambda c: c["head"]["options"].update(nonsense=1),
        lambda c: c["head"]["options"].update(training={"nonsense": 1}),
        lambda c: c["head"].update(options=3),
        lambda c: c.update(num_features=10**12),
        lambda c: c["labels"].update(type="integer", values=[0, 10**30]),
        lambda c: c["head"]["options"].update(num_qubits=1_000_000),
        lambda c: c["head"]["options"].update(num_layers=10_000),
        lambda c: c["head"]["options"].update(num_layers=1000),
        lambda c: c["head"]["options"].update(num_reuploads=1000, num_layers=100),
        lambda c: c["head"]["options"].update(bias_amplitude=10**400),
        lambda c: c["head"]["options"].update(encoder_layers=10**6),
        lambda c: c["head"].update(kind="mlp", options={"hidden": 10**12}),
        lambda c: c["head"].update(kind="inspired", options={"num_units": 10**9}),
        lambda c: c["head"].update(kind="reduced_mlp", options={"num_components": 10**10}),
        lambda c: c["encoder"].update(config="x"),
        lambda c: c["encoder"].update(config=None),
        lambda c: c["encoder"].update(config=[["model", "x"]]),
        lambda c: c["encoder"].update(identity="x"),
    ],
)  # fmt: skip
def test_configurations_that_do_not_fit(saved, change):
    edit(saved, "config.json", change)
    with pytest.raises(ModelError):
        TextClassifier.load(saved)


@pytest.mark.parametrize(
    "part",
    ["qhead.heads.quantum_options.reuploading_circuit", "qhead.heads.amplitudes.ansatz"],
)
def test_a_model_of_other_circuits_is_refused(saved, monkeypatch, part):
    assert TextClassifier.load(saved)
    build = pydoc.locate(part)
    monkeypatch.setattr(part, lambda *sizes, **options: build(*sizes, **options).reverse_ops())
    with pytest.raises(ModelError, match=r"builds other circuits.*versions\.json"):
        TextClassifier.load(saved)
    # a model that was saved before circuits were hashed
    edit(saved, "config.json", lambda c: c.pop("circuits_sha256"))
    assert TextClassifier.load(saved)


def test_the_circuit_file_holds_the_head_s_circuit(fitted, saved):
    circuit, read = fitted.head_.circuit, qasm3.load(saved / "circuit.qasm")
    values = {p.name: 0.1 * (i + 1) for i, p in enumerate(circuit.parameters)}
    plain = {f"_{name[:-1].replace('[', '_')}_": value for name, value in values.items()}
    bound = circuit.assign_parameters(values)
    assert Operator(read.assign_parameters(plain)).equiv(Operator(bound))


@pytest.mark.parametrize(
    "text", ["", "nonsense", "OPENQASM 3.0;\nqubit[1000000000] q;", "OPENQASM 3.0;\nqubit[2] q;"]
)
def test_the_circuit_file_is_for_other_programs(fitted, saved, toy_texts, text):
    replace(saved, "circuit.qasm", text.encode())
    loaded = TextClassifier.load(saved)
    assert np.array_equal(loaded.predict_proba(toy_texts), fitted.predict_proba(toy_texts))
    assert loaded.head_.circuits_sha256() == fitted.head_.circuits_sha256()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda h: h["epochs"].append({"nonsense": 1}), r"epochs\.\d\.epoch is missing"),
        (lambda h: h["epochs"][0].update(nonsense=1), "epochs.0.nonsense is not a field"),
        (lambda h: h.update(nonsense=1), "nonsense is not a field of this version"),
        (lambda h: h.update(epochs=3), "epochs should be a valid array, got 3"),
        (lambda h: h.update(epochs=["x"]), "epochs.0 should be"),
        (lambda h: h["epochs"][1].update(train_loss="low"), "train_loss should be .*, got 'low'"),
        (lambda h: h["epochs"][1].update(train_loss="1"), "train_loss should be"),
        (lambda h: h["epochs"][1].update(train_loss=True), "train_loss should be"),
        (lambda h: h["epochs"][1].update(train_loss=None), "train_loss should be .*, got None"),
        (lambda h: h["epochs"][1].update(validation_loss="low"), "validation_loss should be"),
        (lambda h: h["epochs"][1].update(validation_accuracy=[1]), "validation_accuracy should be"),
        (lambda h: h["epochs"][1].update(epoch=7), "not numbered from 1"),
        (lambda h: h["epochs"][1].update(epoch=2.0), "epochs.1.epoch should be a valid integer"),
        (lambda h: h.update(best_epoch="2"), "best_epoch should be a valid integer"),
        (lambda h: h.update(best_epoch=99), r"has \d epochs, best_epoch is 99"),
        (lambda h: h.update(best_epoch=0), "best_epoch is 0"),
        (lambda h: h.update(stopped="at noon"), "stopped should be 'completed', .*, got 'at noon'"),
        (lambda h: h.update(stopped=[]), "stopped should be"),
        (lambda h: h.update(seconds="long"), "seconds should be"),
        (lambda h: h.update(seconds=10**400), "seconds should be a finite number"),
        (lambda h: h.update(seconds=json.loads("[" * 500 + "]" * 500)), "nested too deeply"),
    ],
)  # fmt: skip
def test_histories_that_are_none(saved, change, fault):
    edit(saved, "history.json", change)
    with pytest.raises(ModelError, match=rf"history\.json: .*{fault}.*\. Restore") as caught:
        TextClassifier.load(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda m: m.update(test="good"), "test should be an object, got 'good'"),
        (lambda m: m.update(test={"accuracy": 1}), "test.accuracy_interval is missing"),
        (lambda m: m["test"].update(nonsense=1), "test.nonsense is not a field"),
        (lambda m: m["test"].update(accuracy="1"), "test.accuracy should be"),
        (lambda m: m["test"].update(accuracy_interval=[0.5]), "test.accuracy_interval.1 is"),
        (lambda m: m["test"].update(accuracy_interval=3), "test.accuracy_interval should be"),
        (lambda m: m["test"].update(confusion=[[1, 2]]), "does not fit its classes"),
        (lambda m: m["test"].update(confusion=[[1, 2], [3]]), "does not fit its classes"),
        (lambda m: m["test"].update(confusion=[[1, 2], [3, "x"]]), "test.confusion.1.1 should be"),
        (lambda m: m["test"].update(confusion=[[1, 2], [3, -1]]), "test.confusion.1.1 should be"),
        (lambda m: m["test"].update(classes=5), "test.classes should be"),
        (lambda m: m["test"].update(classes=[[], {}]), "test.classes.0"),
        (lambda m: m["test"].update(notes="n"), "test.notes should be"),
        (lambda m: m["test"].update(target=3), "test.target should be"),
        (lambda m: m["test"].update(n="80"), "test.n should be"),
        (lambda m: m["test"].update(n=-80), "test.n should be"),
        (lambda m: m["test"].update(undecided=-1), "test.undecided should be"),
        (lambda m: m["test"].update(seconds="80"), "test.seconds should be"),
    ],
)  # fmt: skip
def test_scores_that_are_none(fitted, toy_texts, toy_labels, tmp_path, change, fault):
    scores = {"test": fitted.evaluate(toy_texts, toy_labels).as_dict()}
    fitted.metrics_ = scores
    fitted.save(tmp_path / "model")
    fitted.metrics_ = {}
    assert TextClassifier.load(tmp_path / "model").metrics_.keys() == {"test"}
    edit(tmp_path / "model", "metrics.json", change)
    with pytest.raises(ModelError, match=rf"metrics\.json: .*{fault}"):
        TextClassifier.load(tmp_path / "model")


def test_scores_that_are_none_are_not_saved(fitted, tmp_path, toy_texts, toy_labels):
    nan = fitted.evaluate(toy_texts, toy_labels).as_dict() | {"brier": float("nan")}
    for scores in ({"accuracy": 0.5}, {"test": object()}, {"test": nan}):
        fitted.metrics_ = scores
        with pytest.raises(ModelError, match=r"metrics\.json: "):
            fitted.save(tmp_path / "model")
    fitted.metrics_ = {}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.json", {"n": "many"}),
        ("data.json", {"classes": {"a": "x"}}),
        ("data.json", {"classes": [1]}),
        ("data.json", {"source": 3}),
        ("versions.json", {"qhead": 1}),
    ],
)
def test_other_records_that_are_none(saved, name, content):
    replace(saved, name, json.dumps(content).encode())
    with pytest.raises(ModelError, match=rf"{name}: \w+.* should be"):
        TextClassifier.load(saved)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (np.array([2**63 + 5, 1], dtype=np.uint64), r"from -2\*\*63 to 2\*\*63 - 1"),
        ([2**63 + 5, -1], r"from -2\*\*63 to 2\*\*63 - 1"),
        (np.array([2**70, 1], dtype=object), r"from -2\*\*63 to 2\*\*63 - 1"),
        (["a", "a\0"], "NUL character"),
        (["\ud800", "b"], "surrogate pair"),
        ([["a"], ["b"]], r"shape \(n,\)"),
        ([["a"], ["b", "c"]], r"shape \(n,\)"),
    ],
)
def test_labels_that_numpy_would_change_are_refused(fitted, encoder, pair, message, toy_texts):
    texts = toy_texts[:12]
    labels = np.tile(pair, 6) if isinstance(pair, np.ndarray) else pair * 6
    for call in (TextClassifier(encoder, quantum()).fit, fitted.score, fitted.evaluate):
        with pytest.raises(DataError, match=message):
            call(texts, labels)


def test_integers_of_every_kind_are_labels(encoder, toy_texts, toy_labels):
    for dtype in (object, np.uint64, np.int8):
        labels = np.where(toy_labels == "plus", 3, 7).astype(dtype)
        model = TextClassifier(encoder, quantum()).fit(toy_texts, labels)
        assert model.classes_.dtype == np.int64
        assert model.classes_.tolist() == [3, 7]
        assert model.evaluate(toy_texts, labels).accuracy == model.score(toy_texts, labels)


def test_a_validation_set_is_texts_and_labels(encoder, toy_texts, toy_labels):
    for wrong in ((toy_texts,), (toy_texts, toy_labels, None), "texts"):
        with pytest.raises(HeadError, match=r"validation to be \(texts, labels\)"):
            TextClassifier(encoder, quantum()).fit(toy_texts, toy_labels, validation=wrong)
