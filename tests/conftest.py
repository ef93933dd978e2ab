"""Options of all tests: the tests that draw run with as many seeds as asked for."""

from __future__ import annotations

import signal

import pytest
from contracts import sampling_bounds


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=1, help="seeds of each test marked 'sampled'")


def pytest_configure() -> None:
    # A shell starts background jobs with Ctrl-C ignored, and processes inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    number = metafunc.config.getoption("seeds")
    if number > 1 and metafunc.definition.get_closest_marker("sampled"):
        metafunc.parametrize("seed_shift", range(number), indirect=True)


@pytest.fixture(autouse=True)
def seed_shift(request: pytest.FixtureRequest) -> int:
    """Move the seeds of a test that draws."""
    shift = getattr(request, "param", 0)
    sampling_bounds.set_shift(shift)
    return shift
