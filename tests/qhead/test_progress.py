import io
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from rich.console import Console

from hardware.ledger.records import RunRecord, Spending
from hardware.runs.progress import RunStatus
from qhead.cli.runs import _charged as charged
from qhead.progress import counting_bar, duration, run_progress, training_bar, waiting
from qhead.training import EpochRecord


def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)


def record(epoch, accuracy=0.76):
    return EpochRecord(epoch, 0.512, None if accuracy is None else 0.6, accuracy, 0.01, 0.1)


def test_training_bar_shows_epoch_loss_accuracy_and_time_left():
    console = terminal()
    with training_bar("quantum head", console) as progress:
        for epoch in (1, 2, 3):
            progress(record(epoch), 25)
    drawn = console.file.getvalue()
    for words in ("quantum head", "3/25", "loss 0.512", "validation 76.0%", ":"):
        assert words in drawn


def test_training_bar_without_a_validation_set():
    console = terminal()
    with training_bar(console=console) as progress:
        progress(record(1, None), 2)
    assert "loss 0.512" in console.file.getvalue()
    assert "validation" not in console.file.getvalue()


def test_counting_bar():
    console = terminal()
    with counting_bar("embedding", console) as progress:
        progress(32, 100)
    assert "32/100" in console.file.getvalue()


def status(local=False, uncharged=0, open_charges=0, **jobs):
    run = RunRecord(
        "r1", "submitted", "", "", "", local, "", None, None, 0.0, "{}", "{}", "", "", None
    )
    return RunStatus(
        run, jobs, Spending(1.5, 0.0, 0.0), uncharged=uncharged, open_charges=open_charges
    )


def test_a_charge_that_is_not_told_is_shown_as_unknown():
    for known, shown in (
        ({}, "1.5"),
        ({"uncharged": 1}, "1.5 + unknown"),
        ({"open_charges": 1}, "1.5 + unknown"),
        ({"local": True}, "none, local"),
    ):
        assert charged(status(done=1, **known)) == shown
    nothing = replace(status(done=1, open_charges=1), spending=Spending(0.0, 20.0, 0.0))
    assert charged(nothing) == "unknown"


def test_the_bar_of_a_run_shows_its_jobs_and_the_seconds_used():
    console = terminal()
    with run_progress(True, "run r1", 5, console) as report:
        report(status(planned=1, submitting=1, submitted=1, done=1, failed=1, uncharged=1))
    drawn = console.file.getvalue()
    assert "2/5" in drawn  # ended
    assert "1 to send, 2 under way, 1 done, 1 failed, 1.5 s + unknown used" in drawn
    console = terminal()
    with run_progress(True, "run r1", 2, console) as report:
        report(status(done=2, open_charges=1))
    assert "1.5 s + unknown used" in console.file.getvalue()
    console = terminal()
    with run_progress(True, "run r1", 2, console) as report:
        report(status(local=True, submitted=2))
    assert "2 under way, 0 done" in console.file.getvalue()
    assert "used" not in console.file.getvalue()


def test_progress_of_a_run_is_the_caller_s_own_or_none():
    seen = []
    with run_progress(seen.append, "run r1", 1) as report:
        report(status(done=1))
    assert seen == [status(done=1)]
    with run_progress(False, "run r1", 1) as report:
        assert report is None


def test_a_notebook_with_widgets_has_a_bar(monkeypatch):
    import qhead.progress as progress

    class Notebook:
        is_jupyter = True

    monkeypatch.setattr(progress, "Console", Notebook)
    for found in (True, False):
        monkeypatch.setattr(progress, "find_spec", lambda name, found=found: found or None)
        assert progress._is_screen(None) == found


def lines_of(caplog):
    return [each.getMessage() for each in caplog.records if each.name == "qhead.progress"]


@pytest.fixture
def impatient(monkeypatch, caplog):
    """Log at once, and let a test wait for the next line."""
    monkeypatch.setattr("qhead.progress.FIRST_LINE", 0.01)
    monkeypatch.setattr("qhead.progress.NEXT_LINE", 0.01)
    caplog.set_level("INFO", "qhead.progress")

    def wait(words, patience=60.0):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            if any(words in line for line in lines_of(caplog)):
                return
            time.sleep(0.005)
        raise AssertionError((words, lines_of(caplog)))

    return wait


def test_without_a_terminal_lines_say_rows_rate_and_time_left(impatient, caplog):
    with counting_bar("embedding", Console(file=io.StringIO())) as count:
        impatient("embedding: 0 s so far")
        count(10_300, 41_200)
        impatient("10,300 of 41,200")
    line = next(line for line in lines_of(caplog) if "10,300" in line)
    assert re.search(
        r"^embedding: 10,300 of 41,200, \S+ a second, about .* left, \d+ s so far$", line
    )
    assert lines_of(caplog)[-1].startswith("embedding: 10,300 of 41,200")
    assert lines_of(caplog)[-1].endswith("s in all")


def test_waits_that_cannot_say_how_far_they_are_are_shown_too(impatient):
    with waiting("planning 9 rows", Console(file=io.StringIO())):
        impatient("planning 9 rows: 0 s so far")


def test_a_run_is_logged_without_a_guess_of_the_time_left(impatient, caplog):
    with run_progress(True, "run r1", 5, Console(file=io.StringIO())) as report:
        report(status(submitted=4, done=1))
        impatient("run r1: 1 of 5 jobs, 4 under way, 1 done, 1.5 s used, 0 s so far")
    assert not any("left" in line for line in lines_of(caplog))


def test_training_is_logged_with_its_figures(impatient):
    with training_bar("quantum", Console(file=io.StringIO())) as progress:
        progress(record(3), 25)
        impatient("3 of 25 epochs")
        impatient("loss 0.512")


def test_what_is_quick_logs_nothing(caplog):
    caplog.set_level("INFO", "qhead.progress")
    with counting_bar("embedding", Console(file=io.StringIO())) as count:
        count(1, 2)
    assert lines_of(caplog) == []


def test_an_error_ends_the_lines(impatient, caplog):
    def interrupted():
        with waiting("x", Console(file=io.StringIO())):
            impatient("x: ")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not [t for t in threading.enumerate() if t.name == "qhead-progress"]
    assert not any("in all" in line for line in lines_of(caplog))


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (465, "7:45 min"), (3723, "1:02:03")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_nothing_is_drawn_where_there_is_no_terminal():
    console = Console(file=io.StringIO())
    with training_bar(console=console) as progress, counting_bar("x", console) as count:
        progress(record(1), 2)
        count(1, 2)
    assert console.file.getvalue() == ""


def test_nothing_is_drawn_in_a_pipe_even_if_colour_is_forced():
    code = (
        "from qhead.progress import counting_bar\n"
        "with counting_bar('x') as progress: progress(1, 2)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        env={"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"},
    )
    assert done.stdout == done.stderr == b""
