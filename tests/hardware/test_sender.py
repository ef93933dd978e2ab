"""Single steps of the sender and the collector of a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from loopback import EndJob, FaultPlan
from loopback.bench import QUICK, Bench, plan, sender_of

from hardware.devices.base import RemoteJob
from hardware.errors import BusyError, UnclearError, VanishedError
from hardware.runs.collection import Collector

pytestmark = pytest.mark.usefixtures("quick_retries")


def test_a_round_looks_at_one_pending_job_and_brings_in_nothing(tmp_path):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(3))
        with sender_of(bench, run, plan(3)) as sender:
            collector, before = Collector(sender), bench.faults.seen["job"]
            assert not collector.look_once()
            assert bench.faults.seen["job"] == before + 1
            bench.cloud.release()
            bench.cloud.wait_idle()
            assert collector.look_once()
            assert bench.states(run) == ["done"] * 3
            assert not collector.look_once()


def test_a_busy_platform_is_not_asked_before_it_wants_to_be(tmp_path):
    with Bench(tmp_path) as bench:
        made = plan(1)
        bench.cloud.hold()
        run = bench.submit(plan(1))
        bench.cloud.jobs.clear()
        bench.ledger.end(bench.ledger.jobs(run)[0], "failed", "injected")
        bench.ledger.reopen(run, budget_seconds=2000.0)
        with sender_of(bench, run, made) as sender:
            sender.waits.refused(BusyError("full", 3600.0), sender.clock.monotonic())
            claim = sender.send_pending(patience=0.0)
            assert claim.blocked == "the platform is busy: full"
            assert 3590.0 < claim.wait_seconds <= 3600.0
            assert bench.states(run) == ["planned"]
        bench.cloud.release()


@pytest.mark.parametrize(
    ("state", "status", "run_cancelled", "counts"),
    [
        ("failed", "DONE", False, True),
        ("failed", "QUEUED", False, True),
        ("failed", "ERROR", False, False),
        ("failed", "CANCELLED", False, False),
        ("failed", "DONE", True, True),
        ("failed", "QUEUED", True, False),
        ("cancelled", "QUEUED", True, True),  # where it is to have its result after all
        ("cancelled", "ERROR", True, False),
    ],
)
def test_which_stray_jobs_count(tmp_path, state, status, run_cancelled, counts):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(2))
        job = bench.ledger.jobs(run)[0]
        bench.ledger.end(job, state, "injected")
        if run_cancelled:
            bench.ledger.cancel(run)
        stray = RemoteJob("stray", (job.tag,), "2026-01-01", status)
        bench.device.job_status = lambda job_id: stray
        with sender_of(bench, run, plan(2)) as sender:
            assert sender.adopt_stray(bench.ledger.job(run, 0), stray, job.tag) == counts
        assert (bench.ledger.job(run, 0).remote_id == "stray") == counts
        bench.cloud.release()


def test_a_job_that_has_vanished_is_not_called_another_runs(tmp_path):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(1))
        job = bench.ledger.jobs(run)[0]

        def gone(job_id):
            raise VanishedError("gone")

        bench.device.job_status = gone
        with sender_of(bench, run, plan(1)) as sender:
            assert not sender.search.is_foreign(job)
        bench.cloud.release()


def test_a_list_that_ignores_its_filter_is_not_believed(tmp_path):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(3))
        with sender_of(bench, run, plan(3)) as sender:
            collector = Collector(sender)
            collector._filtered = False  # as after a look at a job that had ended and was listed
            before = bench.faults.seen["job"]
            assert not collector.look_once()
            assert bench.faults.seen["job"] == before + 3
        bench.cloud.release()


@pytest.mark.parametrize("jobs", [2, 3])
def test_another_pending_job_is_looked_at_each_time(tmp_path, jobs):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(jobs))
        look, looked = bench.device.job_status, []
        bench.device.job_status = lambda job_id: looked.append(job_id) or look(job_id)
        with sender_of(bench, run, plan(jobs)) as sender:
            collector = Collector(sender)
            for _ in range(jobs):
                collector.look_once()
        assert sorted(looked) == sorted(bench.cloud.jobs)
        bench.cloud.release()


def test_a_job_is_given_up_for_now_after_as_many_tries_as_the_policy_says(tmp_path):
    with Bench(tmp_path) as bench:
        run = bench.submit(plan(1))
        bench.cloud.wait_idle()

        def fails(job_id):
            raise UnclearError("lost")

        bench.device.job_status = fails
        with sender_of(bench, run, plan(1)) as sender:
            collector = Collector(sender)
            for number in range(QUICK.tries):
                assert not collector.troubled(0), number
                assert collector._is_last_try(0) == (number == QUICK.tries - 1)
                collector.look_once()
            assert collector.troubled(0)
            assert collector.problems == {0: "lost"}


def test_a_job_is_verified_before_its_result_is_brought_in(tmp_path):
    with Bench(tmp_path) as bench:
        run = bench.submit(plan(1))
        bench.cloud.wait_idle()
        bench.ledger.mark_verified(bench.ledger.jobs(run)[0], False)
        with sender_of(bench, run, plan(1)) as sender:
            assert Collector(sender).look_once()
        (job,) = bench.ledger.jobs(run)
        assert (job.state, bool(job.verified)) == ("done", True)


def test_a_job_that_is_seen_is_in_doubt_no_more(tmp_path):
    with Bench(tmp_path) as bench:
        run = bench.submit(plan(1))
        bench.cloud.wait_idle()
        bench.ledger.leases.doubt(bench.ledger.jobs(run)[0])
        assert bench.ledger.jobs(run)[0].doubt_at is not None
        with sender_of(bench, run, plan(1)) as sender:
            assert Collector(sender).look_once()
        assert bench.ledger.jobs(run)[0].doubt_at is None


def test_what_ended_without_a_result_is_listed_no_more(tmp_path):
    with Bench(tmp_path, faults=FaultPlan({("submit", 1): EndJob("Failed")})) as bench:
        run = bench.submit(plan(2))
        bench.collect(run)
        failed, done = bench.ledger.jobs(run)
        with sender_of(bench, run, plan(2)) as sender:
            assert sender.search.listed(failed) == []
            assert [one.id for one, _ in sender.search.listed(done)] == [done.remote_id]


def test_a_sender_trusts_no_list_that_lacks_the_runs_other_jobs(tmp_path):
    with Bench(tmp_path) as bench:
        run = bench.submit(plan(2))
        bench.cloud.wait_idle()
        first, second = bench.ledger.jobs(run)
        bench.ledger.leases.trust(first)
        with bench.cloud.changed:
            bench.cloud.jobs.clear()
        with sender_of(bench, run, plan(2)) as sender:
            with pytest.raises(UnclearError, match="not sent again"):
                sender.search.find(second, wait=True)
            sender.search.trusts_lists = True
            assert sender.search.find(second, wait=True) == []


@pytest.mark.parametrize(
    ("statuses", "counts"),
    [
        (["RUNNING"], "listed-0"),
        (["ERROR"], None),
        (["ERROR", "RUNNING"], "listed-1"),
        (["RUNNING", "DONE"], "listed-1"),
        (["RUNNING", "CANCELLED"], "listed-0"),
    ],
)
def test_which_listed_job_stands_for_one_that_may_have_been_sent(tmp_path, statuses, counts):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(1))
        job = bench.ledger.jobs(run)[0]
        bench.ledger.leases.doubt(job)
        listed = [
            RemoteJob(f"listed-{k}", (job.tag,), f"2026-01-0{k + 1}", status)
            for k, status in enumerate(statuses)
        ]
        bench.device.find = lambda tag: listed
        bench.device.job_status = lambda job_id: listed[int(job_id.removeprefix("listed-"))]
        with sender_of(bench, run, plan(1)) as sender:
            accepted = []
            sender._accepted = lambda job, one, tag=None: accepted.append(one.id)
            job = bench.ledger.job(run, 0)
            assert sender._was_sent(job) == (counts is not None)
            assert accepted == ([] if counts is None else [counts])
            if len(listed) > 1:  # a search after a failure ranks them by what they are now
                accepted.clear()
                sender._adopt(job, [replace(one, status="") for one in listed])
                assert accepted == [counts]
        useless = {one.id for one in listed if one.status in ("ERROR", "CANCELLED")}
        noted = bench.ledger.remote_states(run)
        assert {one for one in noted if one.startswith("listed")} == useless
        bench.cloud.release()


@pytest.mark.parametrize(
    ("own", "counts", "cancelled"),
    [
        ("RUNNING", "second", ["second", "own"]),
        ("ERROR", "second", ["second"]),  # it has ended: nothing is left to cancel
        ("DONE", "own", ["second"]),  # both are paid for; the first one stays
    ],
)
def test_a_second_job_that_is_done_counts_for_one_that_is_not(tmp_path, own, counts, cancelled):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(1))
        job = bench.ledger.jobs(run)[0]
        names = {job.remote_id: "own", "second": "second"}
        states = {"own": own, "second": "DONE"}
        asked = []

        def cancel(job_id):
            asked.append(names[job_id])
            return False

        bench.device.cancel = cancel
        bench.device.job_status = lambda job_id: RemoteJob(
            job_id, (job.tag,), "2026-01-01", states[names[job_id]]
        )
        with sender_of(bench, run, plan(1)) as sender:
            sender.drop_duplicate(job, "second")
        assert names[bench.ledger.job(run, 0).remote_id] == counts
        assert asked == cancelled
        bench.cloud.release()


@pytest.mark.parametrize("status", ["RUNNING", "DONE", "ERROR", "CANCELLED"])
def test_a_listed_job_counts_for_one_that_the_platform_does_not_know(tmp_path, status):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(1))
        (job,) = bench.ledger.jobs(run)
        bench.ledger.mark_verified(job)
        other = RemoteJob("other", (job.tag,), "2026-01-01", status)

        def look(job_id):
            if job_id != "other":
                raise VanishedError("gone")
            return other

        bench.device.job_status = look
        bench.device.find = lambda tag: [other]
        bench.device.pending = lambda tag: set()
        with sender_of(bench, run, plan(1)) as sender:
            collector = Collector(sender)
            assert not collector.look_once()
        useful = status in ("RUNNING", "DONE")
        assert (bench.ledger.job(run, 0).remote_id == "other") == useful
        assert ("does not know job" in collector.problems.get(0, "")) == (not useful)
        assert bench.ledger.remote_states(run)["other"] == status  # its charge counts either way
        bench.cloud.release()


@pytest.mark.parametrize("cancelled", [True, False])
@pytest.mark.parametrize("status", ["RUNNING", "DONE", "UNKNOWN"])
def test_a_lost_job_that_is_seen_again_is_withdrawn_only_from_a_cancelled_run(
    tmp_path, cancelled, status
):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(1))
        (job,) = bench.ledger.jobs(run)
        bench.ledger.end(job, "unknown", "injected")
        if cancelled:
            bench.ledger.cancel(run)
        bench.device.job_status = lambda job_id: RemoteJob(job_id, (), "", status)
        with sender_of(bench, run, plan(1)) as sender:
            withdrawn = []
            sender.withdraw = withdrawn.append
            Collector(sender).reconsider()
        assert len(withdrawn) == (cancelled and status == "RUNNING")
        assert (bench.ledger.job(run, 0).state == "submitted") == (status != "UNKNOWN")
        bench.cloud.release()


def test_a_device_that_cannot_be_searched_has_no_stray_jobs(tmp_path):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(1))
        bench.device.abilities = replace(bench.device.abilities, searchable=False)
        with sender_of(bench, run, plan(1)) as sender:
            assert Collector(sender).adopt_orphans() == 0
        bench.cloud.release()


def test_a_listed_job_with_none_of_a_runs_tags_is_left_alone(tmp_path):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(1))
        of_run = bench.ledger.run(run).tag
        bench.device.find = lambda tag: [RemoteJob("foreign", (of_run, "x"), "", "RUNNING")]
        with sender_of(bench, run, plan(1)) as sender:
            assert Collector(sender).adopt_orphans() == 0
        assert "foreign" not in bench.ledger.remote_states(run)
        bench.cloud.release()


@pytest.mark.parametrize("state", ["unknown", "cancelled"])
def test_jobs_that_are_found_are_counted(tmp_path, state):
    with Bench(tmp_path) as bench:
        run = bench.submit(plan(3))
        bench.cloud.wait_idle()
        for job in bench.ledger.jobs(run):
            bench.ledger.end(job, state, "injected")
        if state == "cancelled":
            bench.ledger.cancel(run)
        with sender_of(bench, run, plan(3)) as sender:
            assert Collector(sender).reconcile() == 3
            assert Collector(sender).reconcile() == 0
        assert bench.states(run) == ["submitted"] * 3


@pytest.mark.parametrize(("listed", "late"), [(True, False), (False, True), (False, False)])
def test_a_job_is_verified_by_a_list_or_by_time(tmp_path, listed, late):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(1))
        (job,) = bench.ledger.jobs(run)
        bench.ledger.mark_verified(job, False)
        bench.ledger.end(job, "failed", "injected")
        found = [RemoteJob(job.remote_id, (job.tag,), "", "QUEUED")] if listed else []
        bench.device.find = lambda tag: found
        with sender_of(bench, run, plan(1)) as sender:
            sender.waits.unverified = lambda job: 0.0 if late else 1.0
            Collector(sender).adopt_orphans()
        assert bool(bench.ledger.job(run, 0).verified) == (listed or late)
        bench.cloud.release()


@pytest.mark.parametrize(
    ("state", "status", "dropped"),
    [
        ("submitted", "QUEUED", True),  # nobody wants it: it is cancelled
        ("submitted", "DONE", True),  # it has come first: it takes the other's place
        ("failed", "RUNNING", True),
        ("failed", "DONE", False),  # paid for, and only its charge is of interest
        ("failed", "ERROR", False),
    ],
)
def test_which_duplicates_are_dropped_while_charges_are_learned(tmp_path, state, status, dropped):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(2))
        job, other = bench.ledger.jobs(run)
        bench.ledger.note_duplicate(job, "second", "QUEUED", job.tag)
        if state == "failed":
            bench.ledger.end(job, "failed", "injected")
        bench.ledger.end(other, "unknown", "injected")  # no duplicate, whatever becomes of it
        bench.device.job_status = lambda job_id: RemoteJob(job_id, (job.tag,), "", status)
        with sender_of(bench, run, plan(2)) as sender:
            asked = []
            sender.drop_duplicate = lambda job, remote_id: asked.append(remote_id)
            assert Collector(sender).learn_charges() == 0
        assert asked == ["second"] * dropped
        bench.cloud.release()


def test_a_platform_that_lists_nothing_now_has_found_nothing(tmp_path):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(1))

        def fails(tag):
            raise UnclearError("lost")

        bench.device.find = fails
        with sender_of(bench, run, plan(1)) as sender:
            assert Collector(sender).reconcile() == 0
        bench.cloud.release()


def test_a_failed_jobs_own_listing_and_one_that_is_being_sent_are_no_strays(tmp_path):
    with Bench(tmp_path) as bench:
        bench.cloud.hold()
        run = bench.submit(plan(2))
        failed, sending = bench.ledger.jobs(run)
        bench.ledger.end(sending, "failed", "injected")
        bench.ledger.reopen(run, budget_seconds=2000.0)
        sending = bench.ledger.leases.claim_next(run, "me", 60.0, QUICK.pace).job
        bench.ledger.end(failed, "failed", "injected")
        listed = [
            RemoteJob(failed.remote_id, (failed.tag,), "", "RUNNING"),
            RemoteJob("another", (sending.tag,), "", "RUNNING"),
        ]
        bench.device.find = lambda tag: listed
        with sender_of(bench, run, plan(2)) as sender:
            assert Collector(sender).adopt_orphans() == 0
        assert bench.states(run) == ["failed", "submitting"]
        assert "another" not in bench.ledger.remote_states(run)
        bench.cloud.release()


@pytest.mark.parametrize("error", [VanishedError("gone"), UnclearError("lost")])
def test_a_deleted_result_is_advised_to_be_made_again(tmp_path, monkeypatch, error):
    with Bench(tmp_path) as bench:
        run = bench.submit(plan(1))
        bench.collect(run)
        monkeypatch.setattr("hardware.runs.collection.unusable", lambda *_, **__: {0: "Damaged."})

        def fails(job_id, request):
            raise error

        bench.device.fetch = fails
        with sender_of(bench, run, plan(1)) as sender:
            collector = Collector(sender)
            collector.refetch_damaged()
        assert ("submit the plan as a new run" in collector.problems[0]) == (str(error) == "gone")
