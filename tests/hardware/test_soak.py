"""The soaks: whatever goes wrong, alone or together, loses nothing and is paid for once."""

from __future__ import annotations

from random import Random

import pytest
from loopback.mixtures import TROUBLES, meet, mixtures
from loopback.soak import SoakReport, soak


def check(report: SoakReport, jobs: int, kills: int) -> None:
    assert report.kills == kills
    assert report.results == jobs
    assert report.wrong == 0
    assert report.paid_twice == 0
    assert report.elsewhere == 0
    # at least one fault for every twenty requests: some kinds of request are left alone
    assert sum(report.faults.values()) >= report.requests / 20
    platform, ledger = report.charged
    assert ledger == pytest.approx(platform)


def test_a_short_soak():
    check(soak(24, 3, seed=3, queue_seconds=6.0, timeout=250.0), 24, 3)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hundred_jobs_and_ten_kills():
    check(soak(200, 10, seed=1, queue_seconds=8.0, timeout=600.0), 200, 10)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_processes_on_one_run():
    check(soak(80, 8, seed=2, queue_seconds=8.0, timeout=600.0, workers=2), 80, 8)


def meet_all(chosen, seed):
    outcomes = [meet(troubles, seed) for troubles in chosen]
    assert [outcome for outcome in outcomes if outcome.wrong] == []
    assert sum(outcome.faults for outcome in outcomes) >= len(chosen) / 2


def test_each_trouble_meets_another():
    """Each trouble is in one pair at least."""
    order = Random(1).sample(TROUBLES, len(TROUBLES))
    meet_all(list(zip(order[::2], order[1::2], strict=True)), seed=1)


def test_some_triples_of_troubles():
    meet_all(Random(2).sample(list(mixtures(3)), 6), seed=2)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_all_pairs_of_troubles(seed):
    meet_all(list(mixtures(2)), seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_many_triples_of_troubles(seed):
    meet_all(Random(seed).sample(list(mixtures(3)), 300), seed)
