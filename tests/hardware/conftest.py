"""Fixtures of the hardware tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the `loopback` package


@pytest.fixture(autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep every test's calibrations apart from others' and from the user's."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("QHEAD_CACHE", str(folder))
    return folder


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the client retry as often as always, but without its 15 seconds of waiting."""
    monkeypatch.setattr("urllib3.util.retry.Retry.get_backoff_time", lambda self: 0.0)
