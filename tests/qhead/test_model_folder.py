import hashlib
import json
import os
import resource
from contextlib import contextmanager

import numpy as np
import pytest

from qhead.errors import InputError, ModelError
from qhead.files import atomic_file
from qhead.saving.folder import (
    FORMAT_VERSION,
    MANIFEST,
    StoredModel,
    check_destination,
    read_model,
    write_model,
)


def model(value: float = 1.0) -> StoredModel:
    return StoredModel(
        config={"head": {"kind": "mlp"}, "note": "größer"},
        tensors={"weight": np.full((3, 2), value), "bias": np.arange(3.0)},
        circuit="OPENQASM 3.0;\n",
        history={"epochs": [{"epoch": 1, "validation_loss": None}], "best_epoch": 1},
        metrics={"accuracy": 0.75},
        data={"n": 4},
        versions={"qhead": "0"},
    )


@contextmanager
def file_size_limit(limit):
    """Let every write beyond `limit` bytes fail, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def rewrite(folder, name, content: bytes):
    """Replace a file and make the manifest agree, as a forger would."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.fixture
def folder(tmp_path):
    write_model(tmp_path / "model", model())
    return tmp_path / "model"


def test_round_trip(folder):
    read, wrote = read_model(folder), model()
    assert read.config == wrote.config
    assert set(read.tensors) == {"weight", "bias"}
    assert np.array_equal(read.tensors["weight"], wrote.tensors["weight"])
    assert (read.circuit, read.history, read.metrics) == (
        wrote.circuit,
        wrote.history,
        wrote.metrics,
    )
    assert (read.data, read.versions) == (wrote.data, wrote.versions)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_model_without_circuit(tmp_path):
    write_model(tmp_path / "m", StoredModel(config={}, tensors={"w": np.ones(1)}))
    assert read_model(tmp_path / "m").circuit is None
    assert not (tmp_path / "m" / "circuit.qasm").exists()


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "head.safetensors",
        "circuit.qasm",
        "history.json",
        "metrics.json",
        "data.json",
        "versions.json",
        "manifest.json",
    ],
)
def test_any_flipped_bit_is_found(folder, name):
    path = folder / name
    content = bytearray(path.read_bytes())
    position = content.index(b"sha256") if name == MANIFEST else len(content) // 2
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=name if name != MANIFEST else "expected"):
        read_model(folder)


@pytest.mark.parametrize("name", ["config.json", "head.safetensors", "circuit.qasm"])
def test_truncated_and_missing_files(folder, name):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(ModelError, match=f"{len(content)} bytes .* got {len(content) - 1} bytes"):
        read_model(folder)
    (folder / name).unlink()
    with pytest.raises(ModelError, match="No such file"):
        read_model(folder)


def test_newer_formats_ask_for_an_upgrade(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["format_version"] = FORMAT_VERSION + 1
    manifest["files"] = "told in another way there"
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="Upgrade qhead"):
        read_model(folder)


@pytest.mark.parametrize("version", [None, 0, "1", True, 1.5])
def test_senseless_versions(folder, version):
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | {"format_version": version}))
    with pytest.raises(ModelError, match="expected a format version"):
        read_model(folder)


def test_config_and_manifest_agree_on_the_version(folder):
    rewrite(folder, "config.json", b'{"format_version": 7}')
    with pytest.raises(ModelError, match=r"as in manifest\.json, got 7"):
        read_model(folder)


@pytest.mark.parametrize(
    "name", ["../secret.json", "/etc/passwd", "a/b", "..", ".hidden", "", "x\n", "a\\b", MANIFEST]
)
def test_names_that_leave_the_folder(folder, name):
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = {"bytes": 1, "sha256": "0" * 64}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="plain names"):
        read_model(folder)


def test_links_are_not_followed(folder, tmp_path):
    outside = tmp_path / "outside.json"
    outside.write_bytes((folder / "config.json").read_bytes())
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(outside)
    with pytest.raises(ModelError, match="a link, which could lead out"):
        read_model(folder)


def test_pipes_and_folders_do_not_hang_the_reader(folder):
    (folder / "metrics.json").unlink()
    os.mkfifo(folder / "metrics.json")
    with pytest.raises(ModelError, match="regular file"):
        read_model(folder)
    (folder / "metrics.json").unlink()
    (folder / "metrics.json").mkdir()
    with pytest.raises(ModelError, match="regular file"):
        read_model(folder)


def test_sizes_are_bounded(folder):
    with (folder / "metrics.json").open("r+b") as file:
        file.truncate(1 << 40)  # sparse: takes no space
    with pytest.raises(ModelError, match="at most 16777216 bytes, got 1099511627776"):
        read_model(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", b"\xff\xfe", "is not JSON"),
        ("config.json", b"[1]", "expected a JSON object"),
        ("history.json", b"[]", "expected a JSON object"),
        ("metrics.json", b'{"accuracy": NaN}', "NaN is not JSON"),
        ("metrics.json", b"[" * 100_000, "is not JSON"),
        ("head.safetensors", b"\x80\x04K\x01.", "does not hold what its name says"),
        ("circuit.qasm", b"\xff", "does not hold what its name says"),
    ],
)
def test_contents_are_checked_though_the_hashes_agree(folder, name, content, message):
    rewrite(folder, name, content)
    with pytest.raises(ModelError, match=message):
        read_model(folder)


def test_incomplete_models(folder):
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["files"]["head.safetensors"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=r"lacks head\.safetensors"):
        read_model(folder)


def test_what_is_no_model(tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        read_model(tmp_path / "none")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="is a file"):
        read_model(tmp_path / "file")
    with pytest.raises(ModelError, match="has no manifest"):
        read_model(tmp_path)
    (tmp_path / MANIFEST).write_text('{"format": "other"}')
    with pytest.raises(ModelError, match="manifest of a qhead-model"):
        read_model(tmp_path)


def test_a_model_is_replaced_only_on_request(folder):
    with pytest.raises(ModelError, match="overwrite=True"):
        write_model(folder, model(2.0))
    assert read_model(folder).tensors["weight"][0, 0] == 1
    write_model(folder, model(2.0), overwrite=True)
    assert read_model(folder).tensors["weight"][0, 0] == 2
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_other_folders_are_never_overwritten(folder, tmp_path):
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match=r"not the model's: notes\.txt"):
        write_model(folder, model(), overwrite=True)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat").write_text("miaow")
    with pytest.raises(ModelError, match="never overwritten"):
        write_model(tmp_path / "photos", model(), overwrite=True)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(ModelError, match="a link"):
        write_model(tmp_path / "link", model(), overwrite=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ModelError, match="a file"):
        write_model(tmp_path / "file", model(), overwrite=True)
    with pytest.raises(InputError, match="Cannot write"):
        check_destination(tmp_path / "file" / "model")
    assert (folder / "notes.txt").read_text() == "mine"


def test_empty_and_nested_destinations(tmp_path):
    (tmp_path / "empty").mkdir()
    write_model(tmp_path / "empty", model())
    write_model(tmp_path / "a" / "b" / "c", model())
    assert read_model(tmp_path / "a" / "b" / "c").metrics == {"accuracy": 0.75}


@pytest.mark.parametrize("limit", [0, 60, 300])  # at the first file, at later ones
def test_a_full_disk_leaves_nothing_half_written(folder, tmp_path, limit):
    with file_size_limit(limit), pytest.raises(ModelError, match="free some space"):
        write_model(folder, model(2.0), overwrite=True)
    assert read_model(folder).tensors["weight"][0, 0] == 1
    with file_size_limit(limit), pytest.raises(ModelError, match="Nothing was changed"):
        write_model(tmp_path / "x" / "new", model())
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_failed_rename_brings_the_old_model_back(folder, monkeypatch):
    rename = type(folder).rename

    def failing(self, target):
        if ".partial-" in self.name:
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(type(folder), "rename", failing)
    with pytest.raises(ModelError, match="Input/output error"):
        write_model(folder, model(2.0), overwrite=True)
    monkeypatch.undo()
    assert read_model(folder).tensors["weight"][0, 0] == 1
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_replacement_cut_short_is_told(folder):
    folder.rename(folder.with_name(".model.replaced-00"))
    with pytest.raises(ModelError, match=r"kept in .*\.model\.replaced-00"):
        read_model(folder)


def test_nan_is_not_saved(tmp_path):
    bad = StoredModel(config={}, tensors={}, metrics={"accuracy": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        write_model(tmp_path / "m", bad)
    assert not list(tmp_path.iterdir())


def test_atomic_file(tmp_path):
    path = tmp_path / "new" / "out.csv"
    with atomic_file(path) as file:
        file.write("a\r\n")
    assert path.read_bytes() == b"a\r\n"
    with pytest.raises(KeyError), atomic_file(path) as file:
        file.write({}["b"])
    with file_size_limit(0), pytest.raises(InputError, match="free some space"):  # noqa: SIM117
        with atomic_file(path) as file:
            file.write("b")
    assert path.read_bytes() == b"a\r\n"
    assert [entry.name for entry in path.parent.iterdir()] == ["out.csv"]
    with pytest.raises(InputError, match="is a folder"), atomic_file(tmp_path):
        pass
