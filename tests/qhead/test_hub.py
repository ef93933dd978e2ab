"""Copies of the Hub's repositories: one that lacks files is completed, or spoken of."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from qhead import hub
from qhead.data import load_splits

COMMIT = "3" * 40
FILES = {"train.csv": "text,label\na,1\nb,0\n", "test.csv": "text,label\nc,1\n", "card.md": "x"}


@pytest.fixture
def client(tmp_path, monkeypatch) -> SimpleNamespace:
    """Return a double of the Hub's client: its cache, what it was asked, whether it is online."""
    cache = tmp_path / "datasets--owner--moods" / "snapshots" / COMMIT
    state = SimpleNamespace(cache=cache, online=True, fetched=[], listed=[])

    def snapshot_download(repo, *, repo_type, revision, allow_patterns, local_files_only=False):
        if local_files_only:
            if not cache.is_dir():
                raise LocalEntryNotFoundError("nothing cached")
            return str(cache)
        if not state.online:
            raise OfflineModeIsEnabled("offline")
        state.fetched.append(revision)
        cache.mkdir(parents=True, exist_ok=True)
        for name, content in FILES.items():
            if any(Path(name).match(pattern) for pattern in allow_patterns):
                (cache / name).write_text(content)
        return str(cache)

    def repo_info(self, repo, *, repo_type, revision):
        if not state.online:
            raise OfflineModeIsEnabled("offline")
        state.listed.append(revision)
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in FILES])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub.HfApi, "repo_info", repo_info)
    monkeypatch.setattr(hub, "_checked", set())
    return state


def cached(client: SimpleNamespace, *names: str) -> None:
    client.cache.mkdir(parents=True)
    for name in names:
        (client.cache / name).write_text(FILES[name])


def test_a_partial_copy_is_completed_at_its_own_commit(client):
    cached(client, "train.csv")
    assert list(load_splits("owner/moods")) == ["train", "test"]
    assert client.fetched == [COMMIT]


def test_a_complete_copy_is_asked_for_once_and_not_fetched(client):
    cached(client, "train.csv", "test.csv")
    for _ in range(3):
        assert list(load_splits("owner/moods")) == ["train", "test"]
    assert (client.fetched, client.listed) == ([], [COMMIT])


def test_offline_a_copy_that_may_be_partial_is_spoken_of(client):
    cached(client, "train.csv")
    client.online = False
    with pytest.warns(hub.PartialCopyWarning, match=r"has train\.csv\. The Hub did not say"):
        assert list(load_splits("owner/moods")) == ["train"]


def test_what_was_never_fetched_is_fetched(client):
    assert list(load_splits("owner/moods")) == ["train", "test"]
    assert client.fetched == [None]
    shutil.rmtree(client.cache)
    client.online = False
    with pytest.raises(ValueError, match="fetching it as a dataset"):
        load_splits("owner/moods")
