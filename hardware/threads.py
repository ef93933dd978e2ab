"""Plain threads around compiled kernels that release the interpreter lock.

Not an OpenMP region: these start without compiling a parallel version of the kernel, live beside
torch's own OpenMP, and survive a fork. A process that has entered GNU OpenMP once kills any forked
child that enters it again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

from hardware.errors import InvalidInputError

#: More threads than this are a mistake in the environment.
MAX_THREADS = 4096


def num_threads() -> int:
    """Return the number of threads used: ``QHEAD_NUM_THREADS``, or the cores available.

    Raises:
        InvalidInputError: The variable is set to anything but a number from 1 to `MAX_THREADS`.
    """
    asked = os.environ.get("QHEAD_NUM_THREADS", "")
    if asked:
        if asked.isdecimal() and len(asked) <= 9 and 1 <= int(asked) <= MAX_THREADS:
            return int(asked)
        raise InvalidInputError(
            f"Expected QHEAD_NUM_THREADS to be a number from 1 to {MAX_THREADS}, got "
            f"{asked[:40]!r}. Set it to the number of threads, or unset it to use all cores."
        )
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    # The process is part of the key: the threads of a pool do not live on in a forked child.
    return ThreadPoolExecutor(threads, thread_name_prefix="qhead-kernel")


def share(work: Callable[[slice], None], blocks: int, threads: int) -> None:
    """Run `work` over blocks 0 … `blocks` - 1, in one contiguous slice for each thread.

    The caller's thread does the first slice itself, and then each that no thread has begun: where
    other processes hold the cores, a thread may wait for longer than the work takes. `work` must
    not call `share`, since all calls use one pool; its kernels should release the interpreter lock.
    An exception of any slice is raised when all have ended.
    """
    threads = max(1, min(threads, blocks))
    if threads == 1:
        work(slice(0, blocks))
        return
    edges = [blocks * thread // threads for thread in range(threads + 1)]
    parts = [slice(first, last) for first, last in pairwise(edges)]
    pool = _pool(threads - 1, os.getpid())
    futures = [pool.submit(work, part) for part in parts[1:]]
    try:
        work(parts[0])
        for future, part in zip(futures, parts[1:], strict=True):
            if future.cancel():
                work(part)
    finally:
        errors = [future.exception() for future in futures if not future.cancelled()]
    for error in errors:
        if error is not None:
            raise error
