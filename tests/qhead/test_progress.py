import io
import subprocess
import sys

from rich.console import Console

from qhead.progress import counting_bar, training_bar
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
