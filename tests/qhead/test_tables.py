"""Tables on narrow screens and in pipes: nothing cut, nothing broken."""

import io

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from qhead.cli.evaluate import confusion_table, evaluation_table
from qhead.cli.show import console, show_table
from qhead.evaluation import Evaluation, evaluate_prediction
from qhead.prediction import exact_prediction

RUN = "20260101-0123abcd"


def evaluation(num_classes: int) -> Evaluation:
    rng = np.random.default_rng(0)
    classes = np.array([f"class-number-{k}" for k in range(num_classes)])
    probabilities = rng.dirichlet(np.ones(num_classes), size=500)
    prediction = exact_prediction(probabilities, classes)
    return evaluate_prediction(prediction, classes[rng.integers(num_classes, size=500)], classes)


def drawn(width: int, *tables: Table) -> str:
    file = io.StringIO()
    screen = Console(file=file, width=width, markup=False, highlight=False, force_terminal=False)
    for table in tables:
        show_table(screen, table)
    return file.getvalue()


def runs_table() -> Table:
    table = Table(title="runs in /a/long/path/to/the/ledger.sqlite")
    for name in ("run", "state", "target", "estimated s"):
        table.add_column(name, overflow="fold")
    table.add_row(RUN, "submitted", "fake:manila:4096", "1234.5")
    return table


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_every_number_and_id_is_whole_at_any_width(width: int) -> None:
    result = evaluation(3)
    text = drawn(width, evaluation_table(result, title="m on d"), confusion_table(result))
    text += drawn(width, runs_table())
    low, high = (f"{100 * bound:.1f}" for bound in result.accuracy_interval)
    for whole in (f"{low} – {high} %", f"{result.brier:.3f}", RUN, "1234.5", "calibration error"):
        assert whole in text
    assert "…" not in text
    assert "runs in /a/long/path/to/the/ledger.sqlite\n" in text


def test_a_list_names_the_column_of_each_number() -> None:
    assert drawn(40, runs_table()) == (
        "runs in /a/long/path/to/the/ledger.sqlite\n"
        f"run {RUN}\n  state: submitted\n  target: fake:manila:4096\n  estimated s: 1234.5\n"
    )


def test_a_pipe_gets_a_table_of_twenty_classes_whole(capsys: pytest.CaptureFixture[str]) -> None:
    result = evaluation(20)
    show_table(console(), confusion_table(result))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "true label ↓, predicted label →"
    header = next(line for line in lines if "class-number-0" in line)
    for name in result.classes:
        assert name in header
    rows = [line for line in lines if line.startswith("│")]
    assert len(rows) == 20
    for line, counts in zip(rows, result.confusion, strict=True):
        found = [int(cell) for cell in line.strip("│").split("│")[1:]]
        assert found == list(counts)
