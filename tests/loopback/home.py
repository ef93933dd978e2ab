"""A user's home for one test: a ledger, a cache and saved accounts of its own, and no waiting."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from hardware.ledger.ledger import Pace
from hardware.runs.policy import Policy

_ACCOUNTS = "qiskit_ibm_runtime.accounts.management._DEFAULT_ACCOUNT_CONFIG_JSON_FILE"


def private_home(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, cache: Path | None = None, **policy: object
) -> Path:
    """Make a folder the home of what runs now, and return the path of its ledger.

    Args:
        folder: An empty folder.
        monkeypatch: Undoes it all.
        cache: A cache of embeddings to share; None: one in the folder.
        policy: What the runs' pace and patience differ in from quick ones.
    """
    for name in [name for name in os.environ if name.startswith("QISKIT_IBM_")]:
        monkeypatch.delenv(name)
    if cache is not None:
        shutil.rmtree(cache / "calibrations", ignore_errors=True)  # of other tests' doubles
    ledger = folder / "ledger.sqlite"
    monkeypatch.setenv("QHEAD_LEDGER", str(ledger))
    monkeypatch.setenv("QHEAD_CACHE", str(cache or folder / "cache"))
    monkeypatch.setattr(_ACCOUNTS, str(folder / "accounts.json"))
    quick = {"settle": 0.05, "busy": 0.05, "patience": 0.2, "poll": (0.02, 0.1), **policy}
    monkeypatch.setattr("hardware.runs.run.POLICY", Policy(pace=Pace(), **quick))
    monkeypatch.setattr("urllib3.util.retry.Retry.get_backoff_time", lambda self: 0.0)
    return ledger
