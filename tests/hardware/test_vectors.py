"""Compiled functions that were kept on disk are not used after their intrinsics have changed."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from hardware.emulation import _pauli_kernel, _trajectory_kernel
from qhead.simulator import kernels

MODULE = """
import numba
from hardware.vectors import renew_with_vectors

@numba.njit(cache=True)
def double(x):
    return 2 * x
{renewal}
print(double(21), sum(double.stats.cache_hits.values()))
"""


def run(tmp_path: Path, renewal: str) -> str:
    (tmp_path / "module.py").write_text(MODULE.format(renewal=renewal))
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "module.py")],
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or done.stderr


@pytest.mark.parametrize("renewal", ["", "renew_with_vectors(globals())"])
def test_what_an_older_version_kept_is_not_read(tmp_path: Path, renewal: str) -> None:
    assert run(tmp_path, renewal) == "42 0"
    assert run(tmp_path, renewal) == "42 1"
    (index,) = tmp_path.rglob("*.nbi")
    index.write_bytes(pickle.dumps(numba.__version__) + b"types of a module that has moved")
    if renewal:
        assert run(tmp_path, renewal) == "42 0"
        assert run(tmp_path, renewal) == "42 1"
    else:
        assert "UnpicklingError" in run(tmp_path, renewal)


@pytest.mark.parametrize("module", [kernels, _pauli_kernel, _trajectory_kernel])
def test_all_compiled_functions_are_renewed(module: object) -> None:
    found = [
        function._cache._cache_file._version
        for function in vars(module).values()
        if hasattr(getattr(function, "_cache", None), "_cache_file")
    ]
    assert len(found) > 5
    assert all(len(version.split()) == 2 for version in found)
