"""Threads that share work."""

from __future__ import annotations

import threading

import pytest

from hardware import threads


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_every_block_is_worked_on_once(count: int) -> None:
    seen: list[int] = []
    threads.share(lambda part: seen.extend(range(part.start, part.stop)), 7, count)
    assert sorted(seen) == list(range(7))


def test_a_slice_that_no_thread_has_begun_is_done_by_the_caller() -> None:
    """The pool's only thread is held up, as by another process that holds its core."""
    release, begun = threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        release.wait(60)

    pool = threads._pool(1, threads.os.getpid())
    held = pool.submit(hold)
    assert begun.wait(60)
    workers: list[int] = []
    try:
        threads.share(lambda part: workers.append(threading.get_ident()), 2, 2)
    finally:
        release.set()
    held.result()
    assert workers == [threading.get_ident()] * 2


def test_an_error_of_any_slice_is_raised_when_all_have_ended() -> None:
    ended: list[int] = []

    def work(part: slice) -> None:
        if part.start == 2:
            raise ValueError("two")
        ended.append(part.start)

    with pytest.raises(ValueError, match="two"):
        threads.share(work, 4, 4)
    assert sorted(ended) == [0, 1, 3]
