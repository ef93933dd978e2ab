"""The soak: faults at every tenth request and kill -9 in between lose nothing and pay once."""

from __future__ import annotations

import pytest
from loopback.soak import SoakReport, soak


def check(report: SoakReport, jobs: int, kills: int) -> None:
    assert report.kills == kills
    assert report.results == jobs
    assert report.wrong == 0
    assert report.paid_twice == 0
    # at least one fault for every twenty requests: some kinds of request are left alone
    assert sum(report.faults.values()) >= report.requests / 20
    platform, ledger = report.charged
    assert ledger == pytest.approx(platform)


def test_a_short_soak():
    check(soak(24, 3, seed=3, queue_seconds=6.0, timeout=55.0), 24, 3)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hundred_jobs_and_ten_kills():
    check(soak(200, 10, seed=1, queue_seconds=8.0, timeout=600.0), 200, 10)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_on_one_run():
    check(soak(80, 8, seed=2, queue_seconds=8.0, timeout=600.0, workers=2), 80, 8)
