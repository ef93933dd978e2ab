"""Every request of every verb meets every fault: exit code, words, ledger and money afterwards.

By default each request of each verb meets one fault, in turns; ``QHEAD_MATRIX=all`` runs the whole
matrix.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re

import pytest
from loopback import Change, Cloud, Cut, Drop, FaultPlan, Garble, Loopback, Reply
from loopback.home import private_home
from qiskit_ibm_runtime import QiskitRuntimeService
from typer.testing import CliRunner

from hardware.ledger.ledger import Ledger
from qhead.cli.app import app

ROWS, SHOTS = 6, 64
#: What the platform, or what stands between, can do to any request.
FAULTS = {
    "server error": Reply(500),
    "maintenance": Reply(503, "<html>https://cloud.ibm.com is in maintenance</html>"),
    "unauthorised": Reply(401),
    "forbidden": Reply(403),
    "not found": Reply(404),
    "conflict": Reply(409),
    "too many": Reply(429, headers=(("Retry-After", "0"),)),
    "dropped": Drop(),
    "cut": Cut(),
    "page": Garble("<html>gateway</html>", "text/html"),
    "half": Cut(lying=True),
    "null": Garble("null"),
    "list": Garble("[1]"),
    "empty object": Garble("{}"),
    "text": Garble('"text"'),
    "deep": Garble("[" * 5000 + "]" * 5000),
    "other types": Change(lambda body: {name: [None] for name in body} if body else body),
}
VERBS = ("plan", "submit", "collect", "resume", "cancel", "backends")
KINDS = {
    "plan": ("token", "search", "catalog", "backends", "configuration", "properties", "usage"),
    "submit": (
        "token", "search", "backends", "configuration", "properties", "usage", "backend_status",
        "session_open", "submit", "jobs",
    ),
    "collect": ("token", "backends", "configuration", "jobs", "job", "result", "metrics"),
    "resume": ("token", "backends", "jobs"),
    "cancel": ("token", "backends", "jobs", "job", "cancel", "session", "session_close"),
    "backends": (
        "token", "search", "backends", "configuration", "properties", "backend_status", "usage",
    ),
}  # fmt: skip
CELLS = [(verb, kind) for verb in VERBS for kind in KINDS[verb]]
#: What must not reach a terminal: addresses, classes, texts of libraries, account names.
LEAKS = re.compile(
    r"Traceback|https?:|\w+(?:Error|Exception|Warning)\b|qiskit|urllib|requests\.|Max retries|"
    r"HTTP\w*Pool|Connection\w*\(|<html|NoneType|Expecting|object is not|crn:|loopback-api"
)


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def model(tmp_path_factory, toy_model, toy_texts, toy_labels):
    """Return the folder of a quantum model of two qubits."""
    folder = tmp_path_factory.mktemp("matrix")
    pairs = zip(toy_texts, toy_labels, strict=True)
    (folder / "data.csv").write_text("text,label\n" + "".join(f"{t},{k}\n" for t, k in pairs))
    options = ["--num-qubits", 2, "--num-layers", 0, "--connectivity", 1, "--max-epochs", 2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QHEAD_CACHE", str(folder / "cache"))
        result = run(
            "train", folder / "data.csv", "--out", folder / "model", "--encoder", toy_model,
            *options,
        )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    (folder / "six.txt").write_text("\n".join(toy_texts[:ROWS]) + "\n")
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path, model, monkeypatch):
    patience = {"settle": 0.02, "busy": 0.01, "patience": 0.1, "poll": (0.01, 0.05), "tries": 2}
    return private_home(tmp_path, monkeypatch, cache=model / "cache", **patience)


def faults_of(index: int) -> list[str]:
    """Return the faults that a cell meets."""
    names = list(FAULTS)
    if os.environ.get("QHEAD_MATRIX") == "all":
        return names
    return [names[index % len(names)]]


def arguments_of(verb, model, run_id):
    planned = [model / "model", model / "six.txt", "--target", f"ibm:ibm_manila:{SHOTS}"]
    planned += ["--tiles", 1, "--executions-per-job", 3 * SHOTS]  # two jobs
    return {
        "plan": ["plan", *planned],
        "submit": ["submit", *planned, "--budget", 60],
        "backends": ["backends", model / "model"],
    }.get(verb, [verb, run_id])


def check_words(result, *, codes=(0, 1, 2, 3)):
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code in codes, (result.exit_code, result.stderr)
    assert not LEAKS.search(result.stderr), result.stderr
    if result.exit_code:
        assert re.search(r"^(Error|Note): ", result.stderr, re.MULTILINE), result.stderr


def check_money(home, double, *, cancelled):
    """Finish what was begun: one result a row, each job paid once, and the ledger knows it."""
    with Ledger(home) as ledger:
        runs = ledger.runs()
    if not runs:
        assert double.cloud.consumed == 0
        return
    (record,) = runs
    if not cancelled:
        resumed = run("resume", record.id)
        assert resumed.exit_code == 0, resumed.stderr
    double.cloud.wait_idle()
    collected = run("collect", record.id, "--wait", "20")
    assert collected.exit_code in ((0, 3) if cancelled else (0,)), collected.stderr
    if not cancelled:
        rows = list(csv.DictReader(io.StringIO(collected.stdout)))
        assert [int(row["row"]) for row in rows] == list(range(1, ROWS + 1))
    assert all(times == 1 for times in double.cloud.charges().values())
    told = json.loads(run("status", record.id, "--json").stdout)
    assert told["charged_seconds"] == pytest.approx(double.cloud.consumed)


@pytest.mark.parametrize("index", range(len(CELLS)), ids=[f"{v}-{k}" for v, k in CELLS])
def test_no_fault_leaks_or_costs(model, home, index):
    verb, kind = CELLS[index]
    for name in faults_of(index):
        home.unlink(missing_ok=True)
        with Loopback(Cloud(), FaultPlan()) as double, double.addresses():
            QiskitRuntimeService.save_account(**double.account(), overwrite=True)
            run_id = ""
            if verb in ("collect", "resume", "cancel"):
                if verb != "collect":
                    double.cloud.hold()
                sent = run(*arguments_of("submit", model, ""))
                assert sent.exit_code == 0, sent.stderr
                run_id = sent.stdout.strip()
                if verb == "collect":
                    double.cloud.wait_idle()
            double.faults.always[kind] = FAULTS[name]
            result = run(*arguments_of(verb, model, run_id))
            try:
                check_words(result)
                double.faults.always.clear()
                double.cloud.release()
                if verb != "plan" and verb != "backends":
                    check_money(home, double, cancelled=verb == "cancel")
            except AssertionError as error:
                raise AssertionError(f"{verb}, {kind}, {name}: {result.stderr}") from error
            assert double.raw_key_requests == 0
            assert any(each.startswith(f"{kind}:") for each in double.faults.injected), kind
