"""Messages in the words of the command line, and failures of the machine as sentences."""

import pytest

from qhead.cli import app, predict, train
from qhead.commands.wording import in_options, option_names


@pytest.mark.parametrize(
    ("python", "shell"),
    [
        ("Name the column (text_column); the", "Name the column (--text-column); the"),
        ("use encoder_qubits=9, or choose", "use --encoder-qubits 9, or choose"),
        ("or reduction='random'.", "or --reduction random."),
        ("Lower per_class, or bring", "Lower --per-class, or bring"),
        ("or replace it with overwrite=True.", "or replace it with --force."),
        ("Expected num_qubits to be", "Expected --num-qubits to be"),
        ("num_qubits / num_encoders", "--num-qubits / --num-encoders"),
        ("validation_fraction + test_fraction", "--validation-fraction + --test-fraction"),
        ("got learning_rate=-0.5.", "got --learning-rate -0.5."),
        # nothing of the command line, or the user's own words
        ("choose a topology, a reduction and a head", "choose a topology, a reduction and a head"),
        ("got the columns 'text_column', 'label'", "got the columns 'text_column', 'label'"),
        ("it begins 'my num_qubits, see'", "it begins 'my num_qubits, see'"),
        ("/data/text_column.csv, line 2: text", "/data/text_column.csv, line 2: text"),
        ("num_qubits/x.csv", "num_qubits/x.csv"),
        ("text_column.csv", "text_column.csv"),
        ("hidden=None, center=True", "hidden=None, --center"),
        ("Service.save(overwrite=True), and", "Service.save(overwrite=True), and"),
        ("save(model, overwrite=True) or overwrite=True", "save(model, overwrite=True) or --force"),
        ("the encoder's max_seq_length isn't", "the encoder's max_seq_length isn't"),
    ],
)  # fmt: skip
def test_names_become_options(python, shell):
    assert in_options(python, option_names(train.__wrapped__)) == shell


def test_only_options_of_the_verb_itself():
    assert in_options("num_qubits, text_column", option_names(predict.__wrapped__)) == (
        "num_qubits, --text-column"
    )


def test_every_verb_has_readable_options():
    for command in app.registered_commands:
        names = option_names(command.callback.__wrapped__)
        assert all(option.startswith("--") for option in names.values())
        assert "json" in names
