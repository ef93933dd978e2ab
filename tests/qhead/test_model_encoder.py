"""Saved models travel: the encoder is found again, and only what changes its vectors counts."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from qhead.classifier import TextClassifier
from qhead.cli.app import app
from qhead.encoder.cache import file_sha256
from qhead.encoder.sentence_encoder import SentenceEncoder
from qhead.encoder.sentence_models import find_model
from qhead.errors import EncoderError, ModelError
from qhead.heads import QuantumHead
from qhead.saving.encoder import EncoderWarning
from qhead.saving.folder import read_model, write_model
from qhead.training import TrainingOptions

HEAD = QuantumHead(num_qubits=2, connectivity=1, encoder_layers=0,
                   training=TrainingOptions(max_epochs=1))  # fmt: skip


@pytest.fixture
def place(tmp_path, toy_model, toy_texts, toy_labels, monkeypatch) -> Path:
    """Return a folder with an encoder and a model, which was given a relative path."""
    place = tmp_path / "place"
    shutil.copytree(toy_model, place / "bodies" / "toy")
    monkeypatch.chdir(place)
    model = TextClassifier(SentenceEncoder("bodies/toy", cache=None), HEAD)
    model.fit(toy_texts, toy_labels).save("models/m")
    return place


def predicts(model: TextClassifier) -> bool:
    return model.predict(["the film was good"]).shape == (1,)


def test_a_model_opens_from_any_working_directory(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert predicts(TextClassifier.load(place / "models" / "m", cache=None))
    monkeypatch.chdir(place / "models")
    assert predicts(TextClassifier.load("m", cache=None))


def test_an_encoder_stays_in_its_folder_when_the_working_directory_changes(
    toy_model, tmp_path, monkeypatch
):
    monkeypatch.chdir(toy_model.parent)
    encoder = SentenceEncoder("toy", cache=None)
    monkeypatch.chdir(tmp_path)
    assert encoder.encode(["the film was good"]).shape == (1, 8)


def test_model_and_encoder_move_together(place, tmp_path):
    moved = place.rename(tmp_path / "elsewhere")
    model = TextClassifier.load(moved / "models" / "m", cache=None)
    assert model.encoder_.folder == moved / "bodies" / "toy"
    assert predicts(model)


def test_the_model_moves_alone(place, tmp_path):
    moved = (place / "models" / "m").rename(tmp_path / "alone")
    assert predicts(TextClassifier.load(moved, cache=None))


def test_another_encoder_in_the_old_place_does_not_hide_the_right_one(place, tmp_path):
    moved = Path(shutil.copytree(place, tmp_path / "copy"))
    config = moved / "bodies" / "toy" / "config_sentence_transformers.json"
    config.write_text(json.dumps({"prompts": {"query": "q: "}}))
    model = TextClassifier.load(moved / "models" / "m", cache=None)
    assert model.encoder_.folder == place / "bodies" / "toy"


def test_a_lost_encoder_is_named_by_its_new_place(place, tmp_path):
    moved = (place / "bodies" / "toy").rename(tmp_path / "new")
    with pytest.raises(EncoderError, match=r"is not .*bodies/toy.*--encoder"):
        TextClassifier.load(place / "models" / "m", cache=None)
    model = TextClassifier.load(place / "models" / "m", encoder=str(moved), cache=None)
    assert predicts(model)


def test_a_model_behind_a_link_finds_the_encoder_that_moved_with_it(place, tmp_path):
    moved = place.rename(tmp_path / "elsewhere")
    (tmp_path / "far" / "off").mkdir(parents=True)
    link = tmp_path / "far" / "off" / "link"
    link.symlink_to(moved / "models" / "m")
    assert predicts(TextClassifier.load(link, cache=None))


def test_a_model_saved_through_a_link_finds_the_encoder_that_moved_with_it(place, tmp_path):
    (tmp_path / "far" / "off").mkdir(parents=True)
    link = tmp_path / "far" / "off" / "models"
    link.symlink_to(place / "models")
    TextClassifier.load(place / "models" / "m", cache=None).save(link / "n")
    moved = place.rename(tmp_path / "elsewhere")
    assert predicts(TextClassifier.load(moved / "models" / "n", cache=None))


def test_a_place_is_named_once(place):
    shutil.rmtree(place / "bodies")
    with pytest.raises(EncoderError) as caught:
        TextClassifier.load(place / "models" / "m", cache=None)
    assert str(caught.value).count("bodies") == 1


def test_an_encoder_may_be_a_path(place, toy_texts, toy_labels):
    model = TextClassifier(Path("bodies/toy"), HEAD).fit(toy_texts, toy_labels)
    model.save("models/n")
    assert predicts(TextClassifier.load("models/n", encoder=Path("bodies/toy"), cache=None))
    with pytest.raises(EncoderError, match="got int"):
        TextClassifier.load("models/n", encoder=5)


def test_an_encoder_that_cannot_be_found_again_is_not_saved(place, toy_texts, toy_labels):
    class Lengths:
        def encode(self, texts, *, progress=None):
            return np.array([[len(text), text.count("o")] for text in texts], dtype=np.float32)

    model = TextClassifier(Lengths(), HEAD).fit(toy_texts, toy_labels)
    with pytest.raises(EncoderError, match="Lengths, which has no config"):
        model.save("models/n")
    assert not (place / "models" / "n").exists()


def test_files_that_change_no_vector_change_no_identity(place):
    folder = place / "bodies" / "toy"
    before = SentenceEncoder(folder, cache=None).identity
    (folder / "notes.txt").write_text("mine")
    (folder / "README.json").write_text("{}")
    (folder / "spare.safetensors").write_bytes(b"not loaded")
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"not loaded")
    for name in ("backup.model", "merges.txt", "vocab.json", "vocab.txt", "added_tokens.json"):
        (folder / name).write_text("{}")
    (folder / "sentence_foo_config.json").write_text('{"max_seq_length": 3}')
    (folder / "eval").mkdir()
    (folder / "eval" / "config.json").write_text("{}")
    settings = folder / "tokenizer.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()), indent=7))
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"__version__": {"sentence_transformers": "9"}})
    )
    first = SentenceEncoder(folder, cache=None).identity
    (folder / "config_sentence_transformers.json").write_text(
        json.dumps({"__version__": {"sentence_transformers": "10"}})
    )
    assert SentenceEncoder(folder, cache=None).identity == first
    (folder / "config_sentence_transformers.json").unlink()
    assert SentenceEncoder(folder, cache=None).identity == before
    assert predicts(TextClassifier.load(place / "models" / "m", cache=None))


@pytest.mark.parametrize(
    ("name", "differs"),
    [("tokenizer.json", "tokenizer or configuration"), ("model.safetensors", "weights")],
)
def test_files_that_change_vectors_are_noticed(place, name, differs):
    path = place / "bodies" / "toy" / name
    content = path.read_bytes()
    changed = content.replace(b"good", b"gaad") if name.endswith("json") else content[:-1] + b"\1"
    assert changed != content
    path.write_bytes(changed)
    with pytest.raises(ModelError, match=f"trained with: other {differs}"):
        TextClassifier.load(place / "models" / "m", cache=None)


def test_weights_divided_otherwise_are_the_same_weights(place):
    """A file written again, with other metadata, holds the tensors that it held."""
    path = place / "bodies" / "toy" / "model.safetensors"
    content = path.read_bytes()
    tensors = load_file(path)
    save_file(tensors, path, metadata={"format": "pt", "by": "another program"})
    assert path.read_bytes() != content
    assert predicts(TextClassifier.load(place / "models" / "m", cache=None))
    (name, tensor), *_ = tensors.items()
    tensor[0, 0] += 1
    save_file({name: tensor}, path)
    with pytest.raises(ModelError, match="other weights"):
        TextClassifier.load(place / "models" / "m", cache=None)


def test_shards_hold_the_weights_that_one_file_held(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    tensors = {name: np.full((2, 3), k, np.float32) for k, name in enumerate("cab")}
    save_file(tensors, folder / "model.safetensors")
    model = find_model(str(folder))
    before, file_hash = model.tensors_sha256(), model.weights_sha256(file_sha256)
    (folder / "model.safetensors").unlink()
    names = {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}
    for file in set(names.values()):
        save_file({n: t for n, t in tensors.items() if names[n] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    assert model.tensors_sha256() == before
    assert model.weights_sha256(file_sha256) != file_hash
    save_file({"b": tensors["b"] + 1}, folder / "model-2.safetensors")
    assert model.tensors_sha256() != before


def test_a_pickle_does_not_hide_behind_weights_that_are_not_loaded(tmp_path):
    """The library falls back to the pickle where the file that it looks for is not there."""
    (tmp_path / "config.json").write_text("{}")
    save_file({"a": np.zeros(2, np.float32)}, tmp_path / "spare.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(EncoderError, match=r"as safetensors .* got pytorch_model\.bin"):
        find_model(str(tmp_path))


@pytest.mark.parametrize("key", ["config_sha256", "settings_sha256"])
def test_a_model_of_an_earlier_version_opens_with_a_warning(place, key):
    """It held a hash over more of the JSON and text files, and the encoder's path as typed."""
    folder = place / "models" / "m"
    stored = read_model(folder)
    record = stored.config["encoder"]
    identity = {k: v for k, v in record["identity"].items() if k not in ("commit",)}
    identity[key] = identity.pop("loaded_settings_sha256")
    del record["tensors_sha256"]
    record["identity"] = identity
    record["config"]["model"] = "bodies/toy"
    del record["relative"]
    write_model(folder, stored, overwrite=True)
    with pytest.warns(EncoderWarning, match="its tokenizer could not be"):
        model = TextClassifier.load(folder, cache=None)
    assert predicts(model)
    model.save(folder, overwrite=True)
    assert predicts(TextClassifier.load(folder, cache=None))
    identity["weights_sha256"] = "0" * 64
    write_model(folder, stored, overwrite=True)
    with pytest.raises(ModelError, match="other weights"):
        TextClassifier.load(folder, cache=None)


def test_a_hub_model_is_opened_at_the_commit_it_was_trained_with(toy_model, tmp_path):
    """The layout is that of the Hub's client; ``main`` moves on to other weights in between."""
    old, new = "1" * 40, "2" * 40
    repo = tmp_path / "hub" / "models--owner--toy"
    for commit in (old, new):
        shutil.copytree(toy_model, repo / "snapshots" / commit)
    weights = repo / "snapshots" / new / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(old)
    code = f"""
from pathlib import Path
from qhead.classifier import TextClassifier
from qhead.encoder.cache import file_sha256
from qhead.encoder.sentence_encoder import SentenceEncoder
from qhead.errors import ModelError
from qhead.heads import MLPHead
from qhead.training import TrainingOptions

texts = ["the film was good", "the film was bad"] * 4
head = MLPHead(training=TrainingOptions(max_epochs=1))
model = TextClassifier(SentenceEncoder("owner/toy", cache=None), head).fit(texts, [1, 0] * 4)
model.save("m")
Path({str(repo / "refs" / "main")!r}).write_text({new!r})
print(TextClassifier.load("m", cache=None).encoder_.revision)
print(TextClassifier.load("m", revision={old!r}, cache=None).encoder_.revision)
try:
    TextClassifier.load("m", revision="main", cache=None)
except ModelError as error:
    print(error)
"""
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    recorded, given, refused = result.stdout.splitlines()
    assert recorded == given == old
    assert "other weights" in refused
    assert read_model(tmp_path / "m").config["encoder"]["config"]["revision"] == old


VERBS = {
    "evaluate": ["evaluate", "{model}", "{data}"],
    "predict": ["predict", "{model}", "{data}"],
    "report": ["report", "{model}", "--out", "{out}", "--force"],
    "plan": ["plan", "{model}", "{data}", "--target", "fake:manila:16"],
    "submit": ["submit", "{model}", "{data}", "--target", "fake:manila:16"],
    "backends": ["backends", "{model}", "--fakes"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_opens_a_model_takes_the_encoders_place(
    verb, place, tmp_path, toy_texts, toy_labels, monkeypatch
):
    monkeypatch.setenv("QHEAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("QHEAD_LEDGER", str(tmp_path / "ledger"))
    data = tmp_path / "data.csv"
    rows = (f"{t},{k}" for t, k in zip(toy_texts[:4], toy_labels, strict=False))
    data.write_text("text,label\n" + "\n".join(rows) + "\n")
    moved = (place / "bodies" / "toy").rename(tmp_path / "new")
    names = {"model": place / "models" / "m", "data": data, "out": tmp_path / "page.html"}
    arguments = [word.format(**names) for word in VERBS[verb]]
    lost = CliRunner().invoke(app, arguments)
    assert lost.exit_code == 2
    assert "Give its folder (--encoder)" in lost.stderr
    found = CliRunner().invoke(app, [*arguments, "--encoder", str(moved)])
    assert found.exit_code == 0, found.stderr
    wrong = CliRunner().invoke(app, [*arguments, "--encoder", str(moved), "--revision", "v2"])
    assert wrong.exit_code == 2
    assert "needs a model of the Hub" in wrong.stderr
    if verb == "submit":
        run_id = found.stdout.split()[0]
        # The plan has what makes labels: no encoder is needed any more.
        found = CliRunner().invoke(app, ["collect", run_id, "--wait", "inf"])
        assert found.exit_code == 0, found.stderr
        assert len(found.stdout.splitlines()) == 5


def test_vectors_are_those_of_the_encoder_given(place):
    model = TextClassifier.load(place / "models" / "m", cache=None)
    given = SentenceEncoder(place / "bodies" / "toy", cache=None)
    same = TextClassifier.load(place / "models" / "m", encoder=given)
    assert same.encoder_ is given
    np.testing.assert_array_equal(model.embed(["the"]), same.embed(["the"]))
