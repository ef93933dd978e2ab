"""Pairs and triples of troubles on one small run: whatever meets, every job ends with one result,
none is paid for twice, and the ledger's charge is the platform's.

A trouble is a fault at a request, a platform that is slow or forgetful, a process that dies, or a
login to the wrong account. The budget is the estimate; more is given only after a refusal that the
charges and reservations explain.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from unittest import mock

import numpy as np

from hardware.errors import BudgetError, HardwareError, RunError, RunStateError
from hardware.ledger.budget import cap_seconds
from hardware.ledger.ledger import Pace
from hardware.planning.plan import JobPlan
from hardware.runs.policy import Policy
from loopback.answers import OTHER_CRN
from loopback.bench import Bench
from loopback.cloud import Cloud
from loopback.faults import CLOSED_BATCH, Drop, EndJob, Fault, FaultPlan, Garble, Reply
from loopback.plans import tiny_plan

JOBS = 2
#: Rounds of collecting and resuming within which a run must end once nothing goes wrong any more.
ROUNDS = 12
#: The round from which on nothing that lasts goes wrong.
CALM = 2
#: Longer than any listing of the double, shorter than its slow uploads.
SETTLE = 0.5
POLICY = Policy(
    pace=Pace(max_pending=3),
    settle=SETTLE,
    busy=0.02,
    patience=1.0,
    tries=2,
    poll=(0.02, 0.05),
)


class DiedError(BaseException):
    """The process ended here."""


@dataclass(frozen=True)
class Trouble:
    """Something that goes wrong.

    Args:
        name: What.
        kind: Kind of request that it meets, if it is a fault.
        fault: The fault.
        lasting: Whether all requests of that kind meet it, for the first rounds.
        cloud: Options of the platform that it changes.
        act: What else happens: called with the bench before the run begins, or between rounds.
    """

    name: str
    kind: str | None = None
    fault: Fault | None = None
    lasting: bool = False
    cloud: tuple[tuple[str, float], ...] = ()
    begin: Callable[[Bench, Random], None] | None = None
    between: Callable[[Bench, str], None] | None = None


def _die(after: bool) -> Callable[[Bench, Random], None]:
    def begin(bench: Bench, random: Random) -> None:
        send, left = bench.device.send, random.randrange(JOBS)

        def send_or_die(*request: object) -> str:
            nonlocal left
            left -= 1
            if left != -1:
                return send(*request)
            if after:
                send(*request)
            raise DiedError

        bench.device.send = send_or_die

    return begin


def _wrong_account(bench: Bench, run: str) -> None:
    bench.login(crn=OTHER_CRN)
    try:
        for verb in ("collect", "resume"):
            try:
                bench.verb(verb, run)
            except RunStateError:
                continue
            raise AssertionError(f"{verb} took another account's device.")
    finally:
        bench.login()


def _forget(bench: Bench, run: str) -> None:
    """Let the platform know none of its jobs for one collect, as in an outage.

    Not before it has listed one: then nobody can tell it from a platform that never took any.
    """
    if not any(job.verified for job in bench.ledger.jobs(run)):
        return
    with bench.cloud.changed:
        jobs = dict(bench.cloud.jobs)
        bench.cloud.jobs.clear()
    try:
        bench.collect(run, timeout=3 * SETTLE)
        bench.resume(run)
    except HardwareError:
        pass  # what it says is not the question here
    finally:
        with bench.cloud.changed:
            bench.cloud.jobs |= jobs


def _log_in_again(bench: Bench, run: str) -> None:
    bench.login()


GATEWAY, TAKEN = Reply(502), Reply(502, after=True)
TROUBLES: tuple[Trouble, ...] = (
    Trouble("submit: gateway error", "submit", GATEWAY),
    Trouble("submit: gateway error after acceptance", "submit", TAKEN),
    Trouble("submit: dropped", "submit", Drop()),
    Trouble("submit: dropped after acceptance", "submit", Drop(after=True)),
    Trouble("submit: too many requests", "submit", Reply(429)),
    Trouble("submit: refused", "submit", Reply(400)),
    Trouble("submit: login not accepted", "submit", Reply(401)),
    Trouble("submit: batch closed", "submit", CLOSED_BATCH),
    Trouble("submit: answer unreadable", "submit", Garble()),
    Trouble("job fails", "submit", EndJob("Failed")),
    Trouble("job fails and is charged", "submit", EndJob("Failed", paid=1.0)),
    Trouble("status: 404 once", "job", Reply(404)),
    Trouble("status: 404 always", "job", Reply(404), lasting=True),
    Trouble("status: 500 always", "job", Reply(500), lasting=True),
    Trouble("list: dropped", "jobs", Drop()),
    Trouble("list: 500 always", "jobs", Reply(500), lasting=True),
    Trouble("result: unreadable", "result", Garble()),
    Trouble("result: 404", "result", Reply(404)),
    Trouble("metrics: 404 once", "metrics", Reply(404)),
    Trouble("metrics: 404 always", "metrics", Reply(404), lasting=True),
    Trouble("usage: 500", "usage", Reply(500)),
    Trouble("batch cannot be opened", "session_open", Drop()),
    Trouble("listed late", cloud=(("listing_seconds", 0.3),)),
    Trouble("uploads slower than the delay", cloud=(("upload_seconds", 0.7),)),
    Trouble("dies before a submission", begin=_die(False), between=_log_in_again),
    Trouble("dies after a submission", begin=_die(True), between=_log_in_again),
    Trouble("wrong account", between=_wrong_account),
    Trouble("platform forgets for a while", between=_forget),
)


@dataclass(frozen=True)
class Outcome:
    """What a mixture led to. `wrong` names what must not be; nothing in the good case."""

    troubles: tuple[str, ...]
    seed: int
    wrong: tuple[str, ...]
    faults: int


def mixtures(size: int) -> Iterator[tuple[Trouble, ...]]:
    """Return all sets of `size` troubles, the same one twice included."""
    return itertools.combinations_with_replacement(TROUBLES, size)


def meet(troubles: tuple[Trouble, ...], seed: int) -> Outcome:
    """Let a run meet troubles at requests that the seed chooses, and carry it to its end."""
    random = Random(f"{seed}{[one.name for one in troubles]}")
    faults = _faults(troubles, random)
    options = dict(pair for one in troubles for pair in one.cloud)
    cloud, other = Cloud(queue_seconds=random.choice([0.0, 0.4]), **options), Cloud()
    quick = mock.patch("urllib3.util.retry.Retry.get_backoff_time", return_value=0.0)
    with tempfile.TemporaryDirectory() as folder, quick:
        bench = Bench(Path(folder), cloud, faults, POLICY, other=other)
        with bench:
            wrong = _carry(bench, troubles, random)
        wrong += [f"{len(other.jobs)} jobs in another account"] if other.jobs else []
    named = tuple(one.name for one in troubles)
    return Outcome(named, seed, tuple(wrong), faults.injected.total())


def _faults(troubles: tuple[Trouble, ...], random: Random) -> FaultPlan:
    plan = FaultPlan()
    for one in troubles:
        if one.kind is None or one.fault is None:
            continue
        if one.lasting:
            plan.always[one.kind] = one.fault
            continue
        at = random.randint(1, 3)
        while (one.kind, at) in plan.at:
            at += 1  # one fault right behind the other
        plan.at[one.kind, at] = one.fault
    return plan


def _carry(bench: Bench, troubles: tuple[Trouble, ...], random: Random) -> list[str]:
    plan = tiny_plan(jobs=JOBS, rows=random.randint(1, 3))
    budget = sum(plan.job_seconds)
    for one in troubles:
        if one.begin is not None:
            one.begin(bench, random)
    if any(one.fault == TAKEN for one in troubles):
        bench.cloud.hold()
    run = _submit(bench, plan, budget)
    for number in range(ROUNDS):
        if number == CALM:
            bench.faults.always.clear()
        if number < CALM:
            for one in troubles:
                if one.between is not None:
                    one.between(bench, run)
        try:
            status = bench.resume(run, budget_seconds=budget)
            _release(bench, run, number)
            status = bench.collect(run, timeout=1.0 if bench.cloud.held else 20.0)
        except BudgetError:
            if number >= CALM:
                budget += max(plan.job_seconds)
        except DiedError:
            bench.login()
        except RunError:
            continue
        else:
            settled = status.state == "done" and status.spending.in_flight == 0
            if settled and number >= CALM:
                return _check(bench, run, plan)
    spent = bench.ledger.spending(run)
    states, problems = bench.states(run), dict(status.problems)
    return [f"not at its end: {states}, {spent}, budget {budget}, {problems}"]


def _release(bench: Bench, run: str, number: int) -> None:
    """Let the queue move once no second job can run unseen.

    The client makes one by itself when the answer is lost in a gateway. If it runs before anybody
    can look, nobody can prevent that.
    """
    jobs = bench.ledger.jobs(run)
    if number >= CALM and all(job.state != "submitted" or job.verified for job in jobs):
        bench.cloud.release()


def _submit(bench: Bench, plan: JobPlan, budget: float) -> str:
    for _ in range(ROUNDS):
        try:
            return bench.submit(plan, budget=budget)
        except DiedError:
            bench.login()
        except HardwareError:
            pass
        if runs := bench.ledger.runs():
            return runs[0].id
    raise AssertionError("The run could not begin.")


def _check(bench: Bench, run: str, plan: JobPlan) -> list[str]:
    wrong = []
    charges = bench.cloud.charges()
    if len(charges) != len(plan.jobs) or set(charges.values()) != {1}:
        wrong.append(f"paid {sorted(charges.values())} times for {len(plan.jobs)} jobs")
    spent = bench.ledger.spending(run).charged
    if not np.isclose(spent, bench.cloud.consumed):
        wrong.append(f"ledger {spent} s, platform {bench.cloud.consumed} s")
    margins = sum(cap_seconds(seconds) - seconds for seconds in plan.job_seconds)
    if bench.cloud.consumed > bench.ledger.run(run).budget_seconds + margins:
        wrong.append(f"{bench.cloud.consumed} s over the budget")
    results, expected = bench.results(run), _expected(plan)
    if results.keys() != expected.keys() or any(
        not np.array_equal(results[idx]["0/t0"], expected[idx]) for idx in expected
    ):
        wrong.append("results differ from an undisturbed run's")
    return wrong


_calm: dict[int, dict[int, np.ndarray]] = {}


def _expected(plan: JobPlan) -> dict[int, np.ndarray]:
    """Return the bits of an undisturbed run."""
    if plan.num_rows not in _calm:
        with tempfile.TemporaryDirectory() as folder, Bench(Path(folder)) as bench:
            run = bench.submit(plan)
            bench.collect(run)
            results = bench.results(run)
        _calm[plan.num_rows] = {idx: arrays["0/t0"] for idx, arrays in results.items()}
    return _calm[plan.num_rows]
