"""Fixtures of the qhead tests: a sentence transformer of a few words, and sentences for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the `contracts` package

GOOD = ("good", "warm", "kind", "bright", "fine")
BAD = ("bad", "cold", "rude", "dull", "poor")
THINGS = ("film", "room", "meal", "song", "host", "tour", "walk", "show")
TOY_WIDTH = 8


@pytest.fixture(scope="session")
def toy_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a static sentence transformer: the mean of its words' vectors."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = ["[UNK]", "the", "was", *GOOD, *BAD, *THINGS]
    rng = np.random.default_rng(3)
    vectors = rng.normal(scale=0.3, size=(len(words), TOY_WIDTH)).astype(np.float32)
    vectors[[words.index(word) for word in GOOD], 0] += 2
    vectors[[words.index(word) for word in BAD], 0] -= 2
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    folder = tmp_path_factory.mktemp("models") / "toy"
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    save_file({"embedding.weight": torch.tensor(vectors)}, folder / "model.safetensors")
    kind = "sentence_transformers.models.StaticEmbedding"
    modules = [{"idx": 0, "name": "0", "path": "", "type": kind}]
    (folder / "modules.json").write_text(json.dumps(modules))
    return folder


@pytest.fixture(scope="session")
def toy_texts() -> list[str]:
    """Return 80 sentences: each thing with each adjective, good and bad ones in turn."""
    adjectives = [word for pair in zip(GOOD, BAD, strict=True) for word in pair]
    return [f"the {thing} was {adjective}" for thing in THINGS for adjective in adjectives]


@pytest.fixture(scope="session")
def toy_labels(toy_texts: list[str]) -> np.ndarray:
    """Return their labels, strings."""
    return np.array(["plus" if text.split()[-1] in GOOD else "minus" for text in toy_texts])


@pytest.fixture(autouse=True)
def no_lines_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log no progress: on a slow machine it would stand between the words that a test expects."""
    monkeypatch.setattr("qhead.progress.FIRST_LINE", 3600.0)


@pytest.fixture
def train_requests(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Return what ``qhead train`` is asked for, in place of training."""
    from qhead.training_options import TrainingOptions

    requests: list[dict[str, Any]] = []

    def note(**fields):
        requests[-1].update(fields)

    def begin(out, **_):
        requests.append({"out": str(out)})

    def read(data, **options):
        note(data=data, **options)
        raise typer.Exit(0)

    def options_of(given):
        held_out = given.pop("validation_fraction")
        note(training_options=dict(given))
        return TrainingOptions(validation_fraction=held_out)

    monkeypatch.setattr("qhead.saving.folder.check_destination", begin)
    monkeypatch.setattr(TrainingOptions, "from_dict", options_of)
    monkeypatch.setattr(
        "qhead.heads.make_head", lambda kind, training, seed, **given: note(head_options=given)
    )
    monkeypatch.setattr("qhead.data.parts.load_parts", read)
    return requests
