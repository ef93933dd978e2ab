"""The sentence encoder and its cache: right vectors, and never a wrong one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qhead.encoder.cache import CacheWarning, EmbeddingCache, file_sha256
from qhead.encoder.sentence_encoder import DEFAULT_MODEL, SentenceEncoder, TruncationWarning
from qhead.encoder.sentence_models import find_model
from qhead.errors import EncoderError

WORDS = (
    "the",
    "a",
    "film",
    "plot",
    "is",
    "was",
    "good",
    "bad",
    "warm",
    "cold",
    "very",
    "but",
    "and",
)
TEXTS = ["the film is good", "the plot was very bad", "a warm film", "cold but good and warm"]
WIDTH = 12


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a sentence transformer with random weights and a few words."""
    import torch
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("models") / "tiny"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    with torch.random.fork_rng():
        torch.manual_seed(5)
        BertModel(
            BertConfig(
                vocab_size=len(vocabulary),
                hidden_size=WIDTH,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
                max_position_embeddings=24,
            )
        ).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    tokenizer = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 24}
    write_json(folder / "tokenizer_config.json", tokenizer)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 16, "do_lower_case": False})
    write_json(
        folder / "modules.json",
        [
            {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
            {
                "idx": 1,
                "name": "1",
                "path": "1_Pooling",
                "type": "sentence_transformers.models.Pooling",
            },
        ],
    )
    (folder / "1_Pooling").mkdir()
    write_pooling(folder, "mean")
    return folder


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny model that a test may change."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache(tmp_path / "cache")


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def write_pooling(folder: Path, mode: str) -> None:
    config = {"word_embedding_dimension": WIDTH, f"pooling_mode_{mode}_tokens": True}
    if mode != "mean":
        config["pooling_mode_mean_tokens"] = False
    write_json(folder / "1_Pooling" / "config.json", config)


def run(code: str, folder: Path, **options: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, with the cache in `folder`."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "QHEAD_CACHE": str(folder), **options},
        capture_output=True,
        text=True,
        timeout=120,
    )


# The encoder -----------------------------------------------------------------------------------


def test_vectors_are_the_means_of_the_models_token_vectors(tiny: Path) -> None:
    """Checked against the plain transformer, one text at a time, so without padding."""
    import torch
    from transformers import BertModel

    model = BertModel.from_pretrained(tiny)
    model.eval()
    vocabulary = (tiny / "vocab.txt").read_text().split()
    expected = []
    for text in TEXTS:
        ids = [vocabulary.index(word) for word in ("[CLS]", *text.split(), "[SEP]")]
        with torch.inference_mode():
            expected.append(model(torch.tensor([ids])).last_hidden_state[0].mean(0).numpy())
    vectors = SentenceEncoder(tiny, cache=None, batch_size=3).encode(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=2e-6)
    scaled = SentenceEncoder(tiny, cache=None, normalize=True).encode(TEXTS)
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(scaled, expected / lengths, atol=2e-6)


def test_rows_keep_the_order_of_the_texts(tiny: Path, cache: EmbeddingCache) -> None:
    encoder = SentenceEncoder(tiny, cache=cache, batch_size=2)
    encoder.encode(TEXTS[1:3])  # some known, some new, one twice
    calls: list[tuple[int, int]] = []
    vectors = encoder.encode([*TEXTS, TEXTS[0]], progress=lambda *call: calls.append(call))
    assert vectors.shape == (5, WIDTH)
    assert np.array_equal(vectors[0], vectors[4])
    for text, vector in zip(TEXTS, vectors, strict=False):
        alone = SentenceEncoder(tiny, cache=None).encode([text])[0]
        np.testing.assert_allclose(vector, alone, atol=2e-6)
    assert calls == [(2, 5), (5, 5)]


def test_no_texts_give_no_rows_without_loading(tiny: Path) -> None:
    encoder = SentenceEncoder(tiny, cache=None)
    assert encoder.encode([]).shape == (0, WIDTH)
    assert encoder.dimension == WIDTH
    assert not encoder.loaded


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["fine", ""], "index 1, got an empty text"),
        (["fine", " \n"], "index 1, got an empty text"),
        (["fine", 3], "string at index 1, got int"),
        (["fine", None], "string at index 1, got NoneType"),
        ("fine", "a list of texts, got one string"),
        (["fine", "a\ud800"], "index 1, got half of a surrogate"),
    ],
)
def test_bad_texts_are_named(tiny: Path, texts, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        SentenceEncoder(tiny, cache=None).encode(texts)


def test_the_second_run_does_not_load_the_transformer(
    tiny: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = SentenceEncoder(tiny, cache=EmbeddingCache(tmp_path))
    vectors = first.encode(TEXTS)
    assert first.loaded
    assert capfd.readouterr() == ("", ""), "no bar where nobody looks"
    code = (
        "import sys\n"
        "from qhead.encoder.sentence_encoder import SentenceEncoder\n"
        f"encoder = SentenceEncoder({str(tiny)!r})\n"
        f"print(encoder.encode({TEXTS!r}).tobytes().hex())\n"
        "print([name for name in ('torch', 'transformers', 'sentence_transformers')"
        " if name in sys.modules], encoder.loaded)\n"
    )
    second = run(code, tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stdout.split("\n")[:2] == [vectors.tobytes().hex(), "[] False"]


def test_identity_changes_with_all_that_changes_a_vector(copy: Path) -> None:
    def identity(**options) -> str:
        return json.dumps(SentenceEncoder(copy, cache=None, **options).identity, sort_keys=True)

    marks = [identity(), identity(normalize=True), identity(max_seq_length=9)]
    assert identity() == marks[0]
    assert identity(max_seq_length=16) == marks[0], "16 is the model's own limit"
    write_pooling(copy, "max")
    marks.append(identity())
    write_pooling(copy, "mean")
    assert identity() == marks[0]
    (copy / "vocab.txt").write_text((copy / "vocab.txt").read_text().replace("warm", "cool"))
    marks.append(identity())
    weights = copy / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    marks.append(identity())
    assert len(set(marks)) == len(marks)


def test_identity_says_what_the_model_is(tiny: Path) -> None:
    identity = SentenceEncoder(tiny, cache=None).identity
    assert identity["model"] == str(tiny)
    assert identity["weights_sha256"] == file_sha256(tiny / "model.safetensors")
    assert identity["pooling"] == "mean"
    assert identity["modules"] == ["Transformer", "Pooling"]
    assert identity["max_seq_length"] == 16


def test_other_options_never_share_a_vector(copy: Path, cache: EmbeddingCache) -> None:
    """The cache knows the texts under one option; the other options must not see them."""
    plain = SentenceEncoder(copy, cache=cache).encode(TEXTS)
    scaled = SentenceEncoder(copy, cache=cache, normalize=True).encode(TEXTS)
    assert not np.allclose(plain, scaled)
    write_pooling(copy, "max")
    assert not np.allclose(plain, SentenceEncoder(copy, cache=cache).encode(TEXTS))
    write_pooling(copy, "mean")
    moved = copy.rename(copy.with_name("moved"))
    encoder = SentenceEncoder(moved, cache=cache)
    assert np.array_equal(encoder.encode(TEXTS), plain)
    assert not encoder.loaded, "the same model under another name knows its vectors"


def test_long_texts_are_reported_once_also_from_the_cache(
    tiny: Path, cache: EmbeddingCache
) -> None:
    fits, long = " ".join(["good"] * 14), " ".join(["bad"] * 15)  # plus [CLS] and [SEP]: 16, 17
    encoder = SentenceEncoder(tiny, cache=cache)
    with pytest.warns(
        TruncationWarning, match=r"2 of 3 .* 16 tokens .*max_seq_length=24"
    ) as caught:
        encoder.encode([fits, long, long])
    assert len(caught) == 1
    assert encoder.num_truncated == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode([long])  # said already
        SentenceEncoder(tiny, cache=cache, max_seq_length=24).encode([long])
    again = SentenceEncoder(tiny, cache=cache)
    with pytest.warns(TruncationWarning, match="1 of 1"):
        again.encode([long])
    assert not again.loaded
    with pytest.raises(EncoderError, match="at most 24"):
        SentenceEncoder(tiny, cache=None, max_seq_length=25).encode([long])


def test_config_round_trip(tiny: Path, cache: EmbeddingCache) -> None:
    encoder = SentenceEncoder(tiny, cache=cache, normalize=True, batch_size=3, max_seq_length=9)
    config = json.loads(json.dumps(encoder.config()))
    again = SentenceEncoder.from_config(config, cache=cache)
    assert again.config() == encoder.config()
    assert again.identity == encoder.identity
    assert np.array_equal(again.encode(TEXTS), encoder.encode(TEXTS))
    with pytest.raises(EncoderError, match=r"'normalise'.*Did you mean 'normalize'"):
        SentenceEncoder.from_config({"normalise": True})
    with pytest.raises(EncoderError, match="batch_size to be int, got '3'"):
        SentenceEncoder.from_config({"batch_size": "3"})
    with pytest.raises(EncoderError, match="batch_size to be a positive integer, got 0"):
        SentenceEncoder(batch_size=0)


def test_the_installed_model_keeps_known_facts(tmp_path: Path) -> None:
    encoder = SentenceEncoder(cache=EmbeddingCache(tmp_path))
    assert encoder.model == DEFAULT_MODEL
    # The SHA-256 that is published for sentence-transformers/all-MiniLM-L6-v2.
    digest = encoder.identity["weights_sha256"]
    assert digest == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    vectors = encoder.encode(
        ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    )
    assert vectors.shape == (3, 384)
    assert encoder.dimension == 384
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    # The similarities that the documentation of sentence-transformers prints for this example.
    expected = np.array([[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]])
    np.testing.assert_allclose(vectors @ vectors.T, expected, atol=1e-3)


# Which models are taken ------------------------------------------------------------------------


def break_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def own_code(folder: Path, name: str) -> None:
    """Put code into the folder that leaves a trace where it is executed."""
    (folder / name).write_text("open(__file__ + '.executed', 'w').close()\n")


def break_code(folder: Path) -> None:
    own_code(folder, "modeling_own.py")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "modeling_own.Pooling"
    write_json(folder / "modules.json", modules)


def break_path(folder: Path) -> None:
    shutil.copytree(folder / "1_Pooling", folder.parent / "1_Pooling")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = "../1_Pooling"
    write_json(folder / "modules.json", modules)


def break_absolute_path(folder: Path) -> None:
    shutil.copytree(folder / "1_Pooling", folder.parent / "1_Pooling")
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = str(folder.parent / "1_Pooling")
    write_json(folder / "modules.json", modules)


def break_kind(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["type"] = "sentence_transformers.base.modules.Router"
    write_json(folder / "modules.json", modules)


def break_dense(folder: Path) -> None:
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    write_json(folder / "modules.json", modules)
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"pickle")


def break_json(folder: Path) -> None:
    (folder / "modules.json").write_text("[{")


def break_remote_code(folder: Path) -> None:
    own_code(folder, "own.py")
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {
        **config, "model_type": "own",
        "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"},
    })  # fmt: skip
    trust = {"trust_remote_code": True}
    write_json(
        folder / "sentence_bert_config.json", {"config_args": trust, "tokenizer_args": trust}
    )


def break_activation(folder: Path) -> None:
    break_dense(folder)
    (folder / "2_Dense" / "pytorch_model.bin").rename(folder / "2_Dense" / "model.safetensors")
    write_json(folder / "2_Dense" / "config.json", {"activation_function": "os.system"})


def break_named_weights(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "transformers_weights": "other.bin"})


def break_options(folder: Path) -> None:
    options = {"model_args": {"use_safetensors": False, "dtype": "float32"}}
    write_json(folder / "sentence_bert_config.json", options)


def break_adapter(folder: Path) -> None:
    write_json(folder / "adapter_config.json", {"base_model_name_or_path": "owner/other"})


def break_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (break_pickle, r"safetensors .*pytorch_model\.bin"),
        (break_dense, r"2_Dense: expected weights as safetensors"),
        (break_code, r"'modeling_own\.Pooling'.*executes third-party code"),
        (break_kind, r"expected modules among Transformer, .*, got Router"),
        (break_path, r"Invalid model path '\.\./1_Pooling'"),
        (break_absolute_path, r"Invalid model path '/.*/1_Pooling'"),
        (break_json, r"modules\.json: cannot be read as JSON"),
        (break_remote_code, "contains custom code"),
        (break_activation, r"expected an activation of torch\.nn, got 'os\.system'"),
        (break_adapter, r"from elsewhere \(adapter_config\.json\)\. Merge"),
        (break_named_weights, r"from elsewhere \(transformers_weights\)"),
        (break_options, r"from elsewhere \(use_safetensors\)"),
        (break_weights, "cannot be loaded"),
    ],
)
def test_unsafe_or_broken_models_are_refused(
    copy: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(copy)
    with pytest.raises(EncoderError, match=message):
        SentenceEncoder(copy, cache=None).encode(TEXTS)
    assert not list(copy.rglob("*.executed"))


def test_code_beside_a_model_that_the_library_knows_stays_unread(tiny: Path, copy: Path) -> None:
    own_code(copy, "own.py")
    config = json.loads((copy / "config.json").read_text())
    write_json(copy / "config.json", {**config, "auto_map": {"AutoModel": "own.Model"}})
    vectors = SentenceEncoder(copy, cache=None).encode(TEXTS)
    assert np.array_equal(vectors, SentenceEncoder(tiny, cache=None).encode(TEXTS))
    assert not list(copy.rglob("*.executed"))


def test_unknown_models_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="does not exist"):
        find_model(str(tmp_path / "nothing"))
    with pytest.raises(EncoderError, match="needs a model of the Hub"):
        find_model(DEFAULT_MODEL, "main")
    with pytest.raises(EncoderError, match="name or folder of a model, got ''"):
        SentenceEncoder("")
    with pytest.raises(EncoderError, match="expected a sentence-transformers model"):
        find_model(str(tmp_path))


def test_a_hub_model_is_read_from_the_clients_own_cache(tiny: Path, tmp_path: Path) -> None:
    """The layout is the one that the Hub's client keeps; in a process of its own, offline."""
    repo = tmp_path / "hub" / "models--sentence-transformers--tiny"
    shutil.copytree(tiny, repo / "snapshots" / ("1" * 40))
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("1" * 40)
    code = (
        "from qhead.encoder.sentence_encoder import SentenceEncoder\n"
        "from qhead.errors import EncoderError\n"
        "for name, revision in (('tiny', None), ('sentence-transformers/tiny', '1' * 40),\n"
        "                       ('owner/other', None), ('tiny', 'v2')):\n"
        "    try:\n"
        "        encoder = SentenceEncoder(name, revision=revision, cache=None)\n"
        "        print(encoder.identity['weights_sha256'], encoder.dimension)\n"
        "    except EncoderError as error:\n"
        "        print(error)\n"
    )
    options = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    result = run(code, tmp_path / "cache", **options)
    assert result.returncode == 0, result.stderr
    by_name, by_revision, unknown, other_revision = result.stdout.splitlines()
    assert by_name == by_revision == f"{file_sha256(tiny / 'model.safetensors')} {WIDTH}"
    assert "'owner/other' is not a file or folder on this machine" in unknown
    assert "Check the spelling and the network" in unknown
    assert "at revision 'v2'" in other_revision


# The cache -------------------------------------------------------------------------------------


def rows(count: int, seed: int = 0, width: int = 8) -> tuple[list[str], np.ndarray]:
    values = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    return [f"text {seed} {index}" for index in range(count)], values


def test_what_is_put_is_got(cache: EmbeddingCache) -> None:
    texts, vectors = rows(1300)  # more than one query
    cache.put("space", texts, vectors, [index % 3 == 0 for index in range(1300)])
    found = cache.get("space", [*texts[::-1], "unknown"])
    assert found[-1] is None
    for index, entry in enumerate(found[:-1][::-1]):
        assert entry is not None
        assert np.array_equal(entry.vector, vectors[index])
        assert entry.truncated == (index % 3 == 0)
    assert cache.get("other space", texts) == [None] * 1300
    stats = cache.stats()
    assert (stats.entries, stats.hits, stats.misses) == (1300, 1300, 1301)
    cache.clear()
    assert cache.stats().entries == 0


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "import numpy as np\n"
        "from qhead.encoder.cache import EmbeddingCache\n"
        "cache, who = EmbeddingCache(), int(sys.argv[1])\n"
        "sys.stdin.readline()\n"  # both begin at the same moment, with no file there
        "for i in range(40):\n"
        "    texts = [f'{who} {i} {j}' for j in range(10)] + [f'shared {i}']\n"
        "    values = np.arange(44, dtype=np.float32).reshape(11, 4) + 1000 * i\n"
        "    values[:10] += who\n"
        "    cache.put('space', texts, values)\n"
        "    assert all(entry is not None for entry in cache.get('space', texts))\n"
        "assert cache.enabled\n"
    )
    environment = {**os.environ, "QHEAD_CACHE": str(tmp_path), "PYTHONWARNINGS": "error"}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(who)],
            env=environment,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for who in range(2)
    ]
    outcomes = []
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        outcomes.append((writer.communicate(timeout=120)[1], writer.returncode))
    assert outcomes == [("", 0), ("", 0)]
    cache = EmbeddingCache(tmp_path)
    assert cache.stats().entries == 2 * 40 * 10 + 40
    for who in range(2):
        for i in (0, 17, 39):
            for j, entry in enumerate(cache.get("space", [f"{who} {i} {j}" for j in range(10)])):
                assert entry is not None
                expected = np.arange(4 * j, 4 * j + 4) + 1000 * i + who
                assert np.array_equal(entry.vector, expected)


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.01, 0.02, 0.04])
def test_a_kill_in_the_middle_of_writing_loses_no_finished_batch(
    tmp_path: Path, delay: float
) -> None:
    code = (
        "import itertools\n"
        "import numpy as np\n"
        "from qhead.encoder.cache import EmbeddingCache\n"
        "cache = EmbeddingCache()\n"
        "for i in itertools.count():\n"
        "    texts = [f'{i} {j}' for j in range(1000)]\n"
        "    cache.put('space', texts, np.full((1000, 384), i, dtype=np.float32))\n"
        "    print(i, flush=True)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "QHEAD_CACHE": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    finished = -1
    while finished < 3:
        finished = int(writer.stdout.readline())
    time.sleep(delay)  # a batch takes about 20 ms: the kills land in all parts of one
    writer.send_signal(signal.SIGKILL)
    rest = writer.communicate(timeout=60)[0].split()
    finished = int(rest[-1]) if rest else finished
    cache = EmbeddingCache(tmp_path)
    for i in range(finished + 3):
        found = cache.get("space", [f"{i} {j}" for j in range(1000)])
        complete = all(entry is not None for entry in found)
        assert complete or (i > finished and not any(found)), "half a batch"
        assert all((entry.vector == i).all() for entry in found if entry is not None)
    cache.put("space", *rows(5))  # and it can be written to
    assert cache.enabled


def test_the_oldest_go_first(tmp_path: Path) -> None:
    limit = 1_000_000
    cache = EmbeddingCache(tmp_path, max_bytes=limit)
    again, values = rows(20, seed=1, width=384)
    for batch in range(40):  # 40 x 50 vectors of 1.5 kB: three times the limit
        texts, vectors = rows(50, seed=100 + batch, width=384)
        cache.put("space", texts, vectors)
        assert all(entry is not None for entry in cache.get("space", texts)), batch
        assert cache.stats().bytes <= limit
        cache.put("space", again, values)  # what is written again is young again
    assert all(entry is not None for entry in cache.get("space", [*again, *texts]))
    assert cache.get("space", rows(50, seed=100)[0]) == [None] * 50
    assert cache.path.stat().st_size < 1.2 * limit
    assert cache.stats().entries > 300


def test_reading_writes_nothing(cache: EmbeddingCache) -> None:
    texts, vectors = rows(30)
    cache.put("space", texts, vectors)
    with sqlite3.connect(cache.path) as connection:
        version = "PRAGMA data_version"  # moves with every write of another connection
        before = connection.execute(version).fetchone()
        assert None not in cache.get("space", texts)
        assert connection.execute(version).fetchone() == before
        cache.put("space", texts, vectors)
        assert connection.execute(version).fetchone() != before
    connection.close()


def test_a_lower_limit_shrinks_the_file(tmp_path: Path) -> None:
    texts, vectors = rows(1000, width=384)
    EmbeddingCache(tmp_path).put("space", texts, vectors)
    EmbeddingCache(tmp_path, max_bytes=200_000).put("space", *rows(1, seed=2, width=384))
    assert EmbeddingCache(tmp_path).path.stat().st_size < 240_000
    with pytest.raises(EncoderError, match="at least 65,536 bytes, got 10"):
        EmbeddingCache(tmp_path, max_bytes=10)


@pytest.mark.parametrize("value", [b"123", "text", 7, np.float32("nan").tobytes() * 8])
def test_what_can_be_no_vector_is_a_miss(cache: EmbeddingCache, value: object) -> None:
    texts, vectors = rows(3)
    cache.put("space", texts, vectors)
    with sqlite3.connect(cache.path) as connection:
        connection.execute("UPDATE vectors SET vector = ? WHERE rowid = 2", (value,))
    connection.close()
    assert [entry is None for entry in cache.get("space", texts)] == [False, True, False]
    assert cache.enabled


def test_a_damaged_file_raises_nothing(tmp_path: Path) -> None:
    texts, vectors = rows(60, width=64)
    EmbeddingCache(tmp_path / "whole").put("space", texts, vectors)
    whole = EmbeddingCache(tmp_path / "whole").path.read_bytes()
    rng = np.random.default_rng(8)
    off = 0
    for trial in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), 20):
            damaged[place] ^= int(rng.integers(1, 256))
        cache = EmbeddingCache(tmp_path / str(trial))
        cache.folder.mkdir()
        cache.path.write_bytes(damaged)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheWarning)
            for entry in cache.get("space", texts):
                assert entry is None or np.isfinite(entry.vector).all()
        off += not cache.enabled
    assert 0 < off < 60, "the damage was never met"


def off_with_one_warning(cache: EmbeddingCache, tiny: Path) -> None:
    encoder = SentenceEncoder(tiny, cache=cache)
    with pytest.warns(CacheWarning, match="turned off") as caught:
        vectors = encoder.encode(TEXTS)
    assert len(caught) == 1
    encoder.encode(["a film"])  # warnings are errors here: it is not said again
    assert not cache.enabled
    assert np.array_equal(vectors, SentenceEncoder(tiny, cache=None).encode(TEXTS))


def test_an_unusable_folder_turns_the_cache_off(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    off_with_one_warning(EmbeddingCache(tmp_path / "file" / "cache"), tiny)


def test_a_file_of_another_program_turns_the_cache_off(tiny: Path, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    cache.path.write_text("this is no database, and long enough to look like a page" * 100)
    off_with_one_warning(cache, tiny)
    assert cache.path.read_text().startswith("this is no database")


def test_a_newer_file_turns_the_cache_off(tiny: Path, tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    with sqlite3.connect(cache.path) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    off_with_one_warning(cache, tiny)


def test_a_full_disk_turns_the_cache_off(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the write fails in the same place."""
    code = (
        "import resource, warnings\n"
        "import numpy as np\n"
        "from qhead.encoder.cache import EmbeddingCache\n"
        "cache = EmbeddingCache()\n"
        "cache.put('space', ['a'], np.ones((1, 384), dtype=np.float32))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    for i in range(3):\n"
        "        texts = [f'{i} {j}' for j in range(500)]\n"
        "        cache.put('space', texts, np.ones((500, 384), dtype=np.float32))\n"
        "print(len(caught), caught[0].category.__name__, cache.enabled)\n"
    )
    result = run(code, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["1", "CacheWarning", "False"]
    cache = EmbeddingCache(tmp_path)
    assert cache.get("space", ["a"])[0] is not None, "what was there before is there still"


def test_the_hash_of_a_file_is_taken_again_only_if_it_changed(
    cache: EmbeddingCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    fresh = cache.file_sha256(path)  # too fresh to be remembered
    os.utime(path, ns=(0, 10**18))
    assert cache.file_sha256(path) == fresh
    reads: list[Path] = []

    def counting(path: Path) -> str:
        reads.append(path)
        return file_sha256(path)

    monkeypatch.setattr("qhead.encoder.cache.file_sha256", counting)
    assert cache.file_sha256(path) == fresh
    assert reads == []
    path.write_bytes(b"two")
    os.utime(path, ns=(0, 10**18 + 1))
    assert cache.file_sha256(path) == file_sha256(path) != fresh
    assert reads == [path]


def test_the_default_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.delenv("QHEAD_CACHE", raising=False)
    assert EmbeddingCache().folder == Path("/somewhere/qhead")
    monkeypatch.setenv("QHEAD_CACHE", "/elsewhere")
    assert EmbeddingCache().folder == Path("/elsewhere")
    assert not Path("/elsewhere").exists()  # nothing happens before the first use
