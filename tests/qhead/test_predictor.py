"""A saved model that only predicts: the classifier's numbers and refusals, without its imports."""

import hashlib
import json
import os
import pydoc
import subprocess
import sys

import numpy as np
import pytest

from hardware.errors import BudgetError
from qhead import MLPHead, QuantumHead, SentenceEncoder, TextClassifier, TrainingOptions
from qhead.errors import HeadError, ModelError
from qhead.heads.inference import QuantumInference
from qhead.predictor import Predictor
from qhead.saving.folder import MANIFEST

ONCE = TrainingOptions(max_epochs=1)
HEADS = {
    "narrow": QuantumHead(num_qubits=2, encoder_layers=1, training=ONCE),
    "projected": QuantumHead(
        num_qubits=4, num_encoders=2, connectivity=1, encoder_layers=1, encoder_qubits=3,
        reduction="random", readout="probabilities", num_measured=2, shared=False, center=True,
        angle_scale=2.0, training=ONCE, seed=3,
    ),
    "no bias": QuantumHead(
        num_qubits=5, connectivity=1, encoder_layers=None, bias_amplitude=0, reading="B",
        num_layers=1, topology="full", num_measured=3, num_reuploads=3, training=ONCE,
    ),
    "without a circuit": MLPHead(training=ONCE),
}  # fmt: skip


def save(folder, head, toy_model, texts, labels):
    TextClassifier(encoder=str(toy_model), head=head).fit(texts, labels).save(folder)
    return folder


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QHEAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def saved(tmp_path, toy_model, toy_texts, toy_labels):
    return save(tmp_path / "m", HEADS["narrow"], toy_model, toy_texts, toy_labels)


@pytest.mark.parametrize("name", HEADS)
def test_the_numbers_are_the_classifier_s_to_the_last_bit(
    name, tmp_path, toy_model, toy_texts, toy_labels
):
    folder = save(tmp_path / "m", HEADS[name], toy_model, toy_texts, toy_labels)
    whole, light = TextClassifier.load(folder), Predictor.load(folder)
    quantum = HEADS[name].kind == "quantum"
    assert isinstance(light.head_, QuantumInference) == quantum
    np.testing.assert_array_equal(light.classes_, whole.classes_)
    for target in ("exact", "shots:50") if quantum else ("exact",):
        one = whole.predict_detailed(toy_texts, target)
        other = light.predict_detailed(toy_texts, target)
        np.testing.assert_array_equal(other.probabilities, one.probabilities)
        np.testing.assert_array_equal(other.std_errors, one.std_errors)
        np.testing.assert_array_equal(other.labels, one.labels)
        assert (other.target, other.notes) == (one.target, one.notes)


def test_inference_follows_the_torch_module(tmp_path, toy_model, toy_texts, toy_labels):
    """The module in single precision is the oracle: training and inference compute one function."""
    import torch

    for name in ("projected", "no bias"):
        folder = save(tmp_path / name, HEADS[name], toy_model, toy_texts, toy_labels)
        whole = TextClassifier.load(folder)
        embeddings = whole.embed(toy_texts)
        with torch.no_grad():
            logits = whole.head_.module_(torch.tensor(embeddings)).numpy()
        light = Predictor.load(folder).head_
        values = light.expectations(embeddings, light.exact).values
        np.testing.assert_allclose(light.logits_from(values), logits, atol=2e-5)


def forge(folder, change):
    """Change config.json and make the manifest agree."""
    config = json.loads((folder / "config.json").read_text())
    change(config)
    replace(folder, "config.json", json.dumps(config).encode())


def replace(folder, name, content):
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    digest = hashlib.sha256(content).hexdigest()
    manifest["files"][name] = {"bytes": len(content), "sha256": digest}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def retensor(folder, change):
    from safetensors.numpy import load, save

    tensors = load((folder / "head.safetensors").read_bytes())
    change(tensors)
    replace(folder, "head.safetensors", save(tensors))


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: forge(f, lambda c: c["head"]["options"].update(nonsense=1)),
        lambda f: forge(f, lambda c: c["head"]["options"].update(num_qubits=3)),
        lambda f: forge(f, lambda c: c["head"]["options"].update(num_qubits=10**6)),
        lambda f: forge(f, lambda c: c["head"]["options"].update(seed=-1)),
        lambda f: forge(f, lambda c: c["head"]["options"]["training"].update(max_epochs=0)),
        lambda f: forge(f, lambda c: c["head"].update(more=1)),
        lambda f: forge(f, lambda c: c.update(num_features=9)),
        lambda f: forge(f, lambda c: c.update(num_features=True)),
        lambda f: forge(f, lambda c: c["labels"].update(values=["plus", "minus"])),
        lambda f: forge(f, lambda c: c["labels"].update(values=["plus"])),
        lambda f: forge(f, lambda c: c["labels"].update(type="float")),
        lambda f: retensor(f, lambda t: t["readout.bias"].fill(np.nan)),
        lambda f: retensor(f, lambda t: t.update({"readout.bias": np.zeros(2)})),
        lambda f: retensor(f, lambda t: t.update({"step.weight": np.zeros(1, np.float32)})),
        lambda f: retensor(f, lambda t: t.pop("amplitudes.scale")),
        lambda f: replace(f, "history.json", b'{"best_epoch": 7}'),
        lambda f: replace(f, "metrics.json", b'{"test": 1}'),
    ],
)
def test_what_the_classifier_refuses_is_refused_in_the_same_words(saved, damage):
    damage(saved)
    with pytest.raises(ModelError) as whole:
        TextClassifier.load(saved)
    with pytest.raises(ModelError) as light:
        Predictor.load(saved)
    assert str(light.value) == str(whole.value)


@pytest.mark.parametrize(
    "part", ["qhead.heads.quantum_options.reuploading_circuit", "qhead.heads.inference.ansatz"]
)
def test_a_model_of_other_circuits_is_refused(saved, monkeypatch, part):
    build = pydoc.locate(part)
    monkeypatch.setattr(part, lambda *sizes, **options: build(*sizes, **options).reverse_ops())
    with pytest.raises(ModelError, match=r"builds other circuits.*versions\.json"):
        Predictor.load(saved)


def test_embeddings_that_cannot_be_run_and_devices_are_refused(saved):
    light = Predictor.load(saved)
    for shape in ((0, 8), (2, 9), (8,)):
        with pytest.raises(HeadError, match=r"shape \(n, 8\), n >= 1, got"):
            light.head_.predict_proba(np.ones(shape))
    with pytest.raises(BudgetError):
        light.predict_detailed(["the film was good"], "ibm:ibm_fez")


LIGHT = {"qiskit", "numba"}
HEAVY = ("torch", "sklearn", "qiskit_machine_learning", "sentence_transformers", "transformers",
         "pandas", "matplotlib", "scipy.stats", "sympy", "qiskit_ibm_runtime", "qiskit_aer",
         "qiskit", "numba")  # fmt: skip
#: What a verb may import of these, by its arguments.
ALLOWED = {
    "--help": set(),
    "predict --help": set(),
    "predict MODEL TEXTS": LIGHT,
    "predict MODEL --follow": LIGHT,
    "predict MODEL TEXTS --target noisy:0.001,0.01": LIGHT,
    "predict MODEL TEXTS --target shots:16": {
        "qiskit",
        "numba",
        "qiskit_aer",
        "qiskit_ibm_runtime",
    },
    "runs": LIGHT,
}
CALL = """
import sys
from qhead.__main__ import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(*(name for name in sys.argv.pop().split(",") if name in sys.modules), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def standard(tmp_path_factory):
    """Return a model on the standard encoder, and sentences whose embeddings are cached."""
    folder = tmp_path_factory.mktemp("standard")
    texts = [f"sentence {i}" for i in range(24)]
    encoder = SentenceEncoder()
    vectors = np.random.default_rng(0).normal(size=(24, encoder.dimension))
    encoder.cache.put(encoder._space, texts, vectors)
    model = TextClassifier(encoder=encoder, head=HEADS["narrow"]).fit(texts, np.arange(24) % 2)
    model.save(folder / "MODEL")
    (folder / "TEXTS").write_text("\n".join(texts))
    return folder


@pytest.mark.parametrize("call", ALLOWED)
def test_a_verb_imports_no_more_than_it_needs(standard, call):
    environment = {**os.environ, "QHEAD_LEDGER": str(standard / "ledger.sqlite")}
    ended = subprocess.run(
        [sys.executable, "-c", CALL.replace("sys.argv.pop()", repr(",".join(HEAVY))),
         *call.split()],
        cwd=standard, input=(standard / "TEXTS").read_text(), capture_output=True, text=True,
        timeout=300, env=environment,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout
    assert set(ended.stderr.splitlines()[-1].split()) <= ALLOWED[call], ended.stderr
