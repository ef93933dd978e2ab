from __future__ import annotations

from hardware.ledger.records import RunRecord, Spending
from hardware.runs.progress import RunStatus
from qhead.runs.predictions import explain_missing


def finished(**problems: str) -> RunStatus:
    record = RunRecord(
        "r1", "done", "", "", "", False, "", None, None, 0.0, "{}", "{}", "", "", None
    )
    told = {int(job[1:]): why for job, why in problems.items()}
    return RunStatus(record, {"done": 2}, Spending(0.0, 0.0, 0.0), told)


def test_a_value_that_the_client_does_not_have_is_not_asked_for_again() -> None:
    said = explain_missing([4], 8, finished())
    assert "no finite value" in said
    assert "collect" not in said
    assert "qhead collect r1" in explain_missing([4], 8, finished(j1="it is damaged."))
