"""What the platform says of jobs, charges and time, in forms that nobody promised."""

from __future__ import annotations

import pytest
from loopback import Change, Cloud, Drop, EndJob, FaultPlan, Reply
from loopback.bench import Bench, assert_paid_once, plan

from hardware.devices.ibm.answers import (
    final_charge,
    job_created,
    job_state,
    job_tags,
    seconds,
    seconds_left,
)
from hardware.errors import UnclearError

pytestmark = pytest.mark.usefixtures("quick_retries")

STOPPED = "ran longer than maximum execution time"
NO_RESULT = [Reply(404), Reply(500), Reply(400), Reply(204), Drop()]


# --- jobs that failed ---------------------------------------------------------------------------


@pytest.mark.parametrize("result", NO_RESULT)
@pytest.mark.parametrize(
    ("ending", "state", "reason"),
    [
        (EndJob("Failed", "boom", 6000), "failed", "error code 6000: boom"),
        (
            EndJob("Cancelled", "Ran too long.", 1305),
            "failed",
            f"{STOPPED} (error code 1305: Ran too long)",
        ),
        (EndJob("Cancelled", "", 1305), "failed", f"{STOPPED} (error code 1305)"),
        (EndJob("Failed", ""), "failed", "failed without a reason"),
        (EndJob("Cancelled", ""), "cancelled", ""),
    ],
)
def test_a_job_that_ended_badly_ends_without_its_result(tmp_path, ending, state, reason, result):
    faults = FaultPlan({("submit", 1): ending}, always={"result": result})
    with Bench(tmp_path, faults=faults) as bench:
        run = bench.submit(plan(1))
        bench.cloud.wait_idle()
        status = bench.collect(run)
        (job,) = bench.ledger.jobs(run)
        assert (job.state, status.finished) == (state, True)
        assert reason in (job.reason or "")
        assert "None" not in str(status.problems)


def test_what_a_failed_job_left_is_its_reason_where_the_state_has_none(tmp_path):
    with Bench(tmp_path, faults=FaultPlan({("submit", 1): EndJob("Failed", "")})) as bench:
        run = bench.submit(plan(1))
        bench.collect(run)
        assert bench.ledger.jobs(run)[0].reason == "injected"  # of "Traceback: injected"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"status": "Completed"}, ("DONE", None)),
        ({"status": "failed", "reason": "x", "reasonCode": 7}, ("ERROR", "error code 7: x")),
        ({"status": "Cancelled", "reason_code": "1305"}, ("ERROR", f"{STOPPED} (error code 1305)")),
        ({"status": "Cancelled - Ran too long"}, ("ERROR", STOPPED)),
        ({"status": "Cancelled", "reason_code": 1}, ("CANCELLED", "error code 1")),
        ({"status": "Canceled", "reason": 5}, ("CANCELLED", None)),
        ({"status": "Paused"}, ("PAUSED", None)),
    ],
)
def test_states_and_reasons(state, expected):
    assert job_state({"state": state}) == expected


@pytest.mark.parametrize("job", [None, [], {}, {"state": None}, {"state": {"status": 3}}])
def test_a_job_that_tells_no_state_is_unclear(job):
    with pytest.raises(UnclearError):
        job_state(job)


# --- lists --------------------------------------------------------------------------------------


def without_tags(tags):
    def edit(body):
        for job in body["jobs"]:
            job.pop("tags")
            if tags != "missing":
                job["tags"] = tags
        return body

    return Change(edit)


@pytest.mark.parametrize("tags", ["missing", None, [], "a string"])
def test_a_list_without_tags_loses_no_job(tmp_path, tags):
    faults = FaultPlan({("submit", 1): Drop(after=True)}, always={"jobs": without_tags(tags)})
    with Bench(tmp_path, faults=faults) as bench:
        run = bench.submit(plan(2))
        assert bench.collect(run).state == "done"
        assert_paid_once(bench)


def test_tags_that_nobody_tells_leave_it_unclear_whose_a_job_is(tmp_path):
    def edit(body):
        body.pop("tags")
        return body

    with Bench(tmp_path) as bench:
        run = bench.submit(plan(1))
        tag = bench.ledger.run(run).tag
        bench.faults.always |= {"jobs": without_tags(None), "job": Change(edit)}
        for fault in (Change(edit), Reply(404)):
            bench.faults.always["job"] = fault
            with pytest.raises(UnclearError, match="tags"):
                bench.device.find(tag)
        assert len(bench.cloud.jobs) == 1


def test_jobs_of_others_are_left_alone_where_the_filter_is_overlooked(tmp_path):
    with Bench(tmp_path) as bench:
        first, second = (bench.submit(plan(1)) for _ in range(2))
        listed = []

        def edit(body):
            jobs = [job.as_json(with_params=False) for job in bench.cloud.jobs.values()]
            listed.append(len(jobs))
            return {"jobs": jobs, "count": len(jobs)}

        bench.faults.always["jobs"] = Change(edit)
        found = bench.device.find(bench.ledger.run(first).tag)
        assert [job.id for job in found] == [bench.ledger.jobs(first)[0].remote_id]
        assert listed == [2]
        assert second != first


def test_pending_are_jobs_of_the_tag_and_those_that_tell_none(tmp_path):
    def edit(body):
        first, second, third = (dict(body["jobs"][0]) for _ in range(3))
        second |= {"id": "untold", "tags": []}
        third |= {"id": "foreign", "tags": ["another"]}
        return {"jobs": [first, second, third], "count": 3}

    with Bench(tmp_path, Cloud(queue_seconds=30.0)) as bench:
        run = bench.submit(plan(1))
        bench.faults.always["jobs"] = Change(edit)
        (job,) = bench.ledger.jobs(run)
        assert bench.device.pending(job.tag) == {job.remote_id, "untold"}


STRANGE = [
    None,
    "junk",
    {"id": "x1"},
    {"id": "x2", "backend": "ibm_gone", "created": "2026-01-01", "tags": []},
    {"id": "x3", "backend": None, "created": None, "tags": None, "state": None},
    {"backend": "ibm_manila"},
    {"id": 5, "tags": ["another"]},
]


@pytest.mark.parametrize("entry", STRANGE)
def test_an_entry_that_cannot_be_read_leaves_the_others_readable(tmp_path, entry):
    def edit(body):
        return {"jobs": [entry, *body["jobs"]], "count": body["count"] + 1}

    with Bench(tmp_path) as bench:
        bench.faults.always["jobs"] = Change(edit)
        run = bench.submit(plan(2))
        assert bench.collect(run).state == "done"
        assert len(bench.device.find(bench.ledger.run(run).tag)) == 2
        assert_paid_once(bench)


@pytest.mark.parametrize("job_id", [None, "", 5])
def test_an_entry_under_our_tag_without_an_id_is_not_lost_silently(tmp_path, job_id):
    def edit(body):
        for job in body["jobs"]:
            job["id"] = job_id
        return body

    with Bench(tmp_path) as bench:
        run = bench.submit(plan(1))
        bench.faults.always["jobs"] = Change(edit)
        with pytest.raises(UnclearError, match="without its id"):
            bench.device.find(bench.ledger.run(run).tag)


@pytest.mark.parametrize("created", ["yesterday", None, 7, 10**400, "missing"])
def test_a_date_that_cannot_be_read_only_ranks(tmp_path, created):
    def edit(body):
        for job in body["jobs"]:
            job.pop("created") if created == "missing" else job.update(created=created)
        return body

    with Bench(tmp_path) as bench:
        bench.faults.always["jobs"] = Change(edit)
        run = bench.submit(plan(2))
        assert bench.collect(run).state == "done"
        assert_paid_once(bench)


def test_dates_sort_like_time():
    texts = ["2026-01-01T00:30:00+01:00", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.5"]
    dates = [job_created({"created": text}) for text in texts]
    assert dates == sorted(dates)
    assert len({len(date) for date in dates}) == 1


@pytest.mark.parametrize("count", ["total", None, "missing"])
def test_a_list_of_several_pages_is_read_to_its_end(tmp_path, count):
    def edit(body):
        if count != "total":
            body.pop("count")
        return body | {"count": None} if count is None else body

    with Bench(tmp_path) as bench:
        run = bench.submit(plan(1))
        bench.cloud.wait_idle()
        (job,) = bench.cloud.jobs.values()
        for number in range(44):
            other = type(job)(**{**vars(job), "id": f"{job.id}{number}"})
            bench.cloud.jobs[other.id] = other
        bench.faults.always["jobs"] = Change(edit)
        assert len(bench.device.find(bench.ledger.run(run).tag)) == 45


@pytest.mark.parametrize("body", [None, [], {}, {"jobs": None}, {"jobs": {}, "count": 0}])
def test_what_is_no_list_of_jobs_is_unclear(tmp_path, body):
    with Bench(tmp_path) as bench:
        bench.faults.always["jobs"] = Change(lambda _: body)
        with pytest.raises(UnclearError, match="malformed"):
            bench.device.find("a-tag")


# --- seconds ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"quantum_seconds": 2.5, "status": "complete"}, 2.5),
        ({"seconds": 2, "status": "Completed"}, 2.0),
        ({"quantum_seconds": 0, "status": "complete"}, 0.0),
        ({"qpu_charge_time_seconds": 2.02, "quantum_seconds": 2.021, "status": "complete"}, 2.02),
        ({"qpu_charge_time_seconds": None, "quantum_seconds": 2.0, "status": "complete"}, 2.0),
        # preliminary
        ({"quantum_seconds": 2.5}, None),
        ({"quantum_seconds": 2.5, "status": None}, None),
        ({"quantum_seconds": 2.5, "status": "Pending"}, None),
        ({"quantum_seconds": 2.5, "status": "in_progress"}, None),
        # no number of seconds
        ({"qpu_charge_time_seconds": 0, "quantum_seconds": 2.02, "status": "complete"}, None),
        ({"quantum_seconds": True, "status": "complete"}, None),
        ({"quantum_seconds": "2", "status": "complete"}, None),
        ({"quantum_seconds": -1, "status": "complete"}, None),
        ({"quantum_seconds": float("nan"), "status": "complete"}, None),
        ({"quantum_seconds": 1e308, "status": "complete"}, None),
        ({"quantum_seconds": 10**400, "status": "complete"}, None),
        ({"status": "complete"}, None),
        (None, None),
        ([], None),
    ],
)
def test_only_a_final_charge_is_one(usage, expected):
    assert final_charge({"usage": usage}) == expected
    assert final_charge(usage) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3.0), (2.5, 2.5), (-5.0, 0.0), (0, 0.0), (1e9, 1e9),
        (True, None), ("3", None), (None, None), (10**400, None), (-(10**400), None),
        (float("inf"), None), (float("nan"), None), (1.1e9, None),
    ],
)  # fmt: skip
def test_seconds_left(value, expected):
    assert seconds_left({"usage_remaining_seconds": value}) == expected
    assert seconds_left([value]) is None
    assert seconds_left({}) is None


def test_seconds_may_be_negative_where_the_caller_minds():
    assert seconds(-1e9) == -1e9
    assert seconds(-1.1e9) is None


def test_tags_are_words():
    assert job_tags({"tags": ["a", 3, None, "b"]}) == ("a", "b")
    assert job_tags({"tags": "ab"}) is None
    assert job_tags(None) is None


def charging(*usages):
    """Return a change of metrics: one of these usages after the other, the last for good."""
    left = list(usages)

    def edit(body):
        usage = left.pop(0) if len(left) > 1 else left[0]
        paid = body["usage"]["qpu_charge_time_seconds"]
        usage = {key: paid if value == "paid" else value for key, value in usage.items()}
        return body | {"usage": usage}

    return Change(edit)


FINAL = {"quantum_seconds": "paid", "status": "complete"}


@pytest.mark.parametrize(
    "first",
    [
        {"quantum_seconds": 0},
        {"quantum_seconds": 0, "status": "in_progress"},
        {"quantum_seconds": 1, "status": "Pending"},
        {"quantum_seconds": 1, "status": None},
        {"quantum_seconds": 0, "status": "complete"},
        {"qpu_charge_time_seconds": 0, "quantum_seconds": "paid", "status": "complete"},
        {"quantum_seconds": 10**400, "status": "complete"},
        {"quantum_seconds": 1e308, "status": "complete"},
    ],
)
def test_a_charge_that_is_not_final_is_asked_for_again(tmp_path, first):
    with Bench(tmp_path) as bench:
        run = bench.submit(plan(1))
        bench.faults.always["metrics"] = charging(first)
        assert bench.collect(run).state == "done"
        before = bench.ledger.spending(run)
        assert before.charged == 0
        assert before.in_flight > 0
        bench.faults.always["metrics"] = charging(FINAL)
        bench.collect(run)
        after = bench.ledger.spending(run)
        assert (after.charged, after.in_flight) == (pytest.approx(bench.cloud.consumed), 0)


def test_a_job_that_was_cancelled_in_the_queue_may_cost_nothing(tmp_path):
    with Bench(tmp_path, Cloud()) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(1))
        bench.cancel(run)
        bench.collect(run)
        assert bench.ledger.uncharged(run) == []
        assert bench.ledger.spending(run).charged == 0
