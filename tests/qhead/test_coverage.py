"""The table of coverage, in a reduced form: no line may fall below what is promised."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "scripts" / "interval_coverage.py"


@pytest.fixture(scope="module")
def coverage():
    spec = importlib.util.spec_from_file_location("coverage_table", PATH)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_no_line_of_the_table_falls_below_94_percent(coverage):
    lines = list(coverage.table(reduced=True))
    stages = {line.stage.split(",")[0] for line in lines}
    assert {"counts → ⟨Z⟩", "estimator's ⟨Z⟩", "own shots", "shared shots"} <= stages
    for line in lines:
        if line.how == "exact":
            assert line.coverage >= 0.94, line
        else:  # sampled under a fixed seed: 40,000 draws in the full table
            assert line.coverage >= 0.93, line


@pytest.mark.parametrize("shots", [16, 17, 23, 200, 1000, 8192])
def test_single_qubits_cover_95_percent_everywhere(coverage, shots):
    assert coverage.worst_of_z(shots)[0] >= 0.95


def test_the_table_sees_an_interval_that_is_too_short(coverage, monkeypatch):
    value, error = coverage.z_of_counts(200)
    monkeypatch.setattr(coverage, "z_of_counts", lambda shots: (value, 0.9 * error))
    assert coverage.worst_of_z(200)[0] < 0.94
