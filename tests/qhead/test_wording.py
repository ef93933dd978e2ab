"""Messages in the words of the command line: errors name their options, verbs spell them."""

import ast
import pickle
import re
from pathlib import Path

import pytest

import hardware
import qhead
from hardware.errors import BusyError, PlanError
from qhead.cli.app import app
from qhead.cli.groups import expanded
from qhead.cli.predict import predict
from qhead.cli.train import train
from qhead.cli.wording import in_options, option_names
from qhead.errors import HeadError
from qhead.heads import make_head
from qhead.heads.quantum import ReadoutWarning


@pytest.mark.parametrize(
    ("python", "named", "shell"),
    [
        ("Name the column (text_column); the", ["text_column"],
         "Name the column (--text-column); the"),
        ("use encoder_qubits=9, or", ["encoder_qubits"], "use --encoder-qubits 9, or"),
        ("or reduction='random'.", ["reduction"], "or --reduction 'random'."),
        ("or encoder_layers=None for", ["encoder_layers"], "or --encoder-layers none for"),
        ("or replace it with overwrite=True.", ["overwrite"], "or replace it with --force."),
        ("num_qubits / num_encoders", ["num_qubits", "num_encoders"],
         "--num-qubits / --num-encoders"),
        ("learning_rate, circuit_learning_rate", ["learning_rate", "circuit_learning_rate"],
         "--learning-rate, --circuit-learning-rate"),
        ("takes a connectivity of 1: use connectivity=1.", ["connectivity"],
         "takes a connectivity of 1: use --connectivity 1."),
        # what the error does not name is the user's own, or Python's
        ("got the columns 'text_column', 'label'", [], "got the columns 'text_column', 'label'"),
        ("num_qubits and text_column", ["text_column"], "num_qubits and --text-column"),
        ("of no verb: num_widgets=3", ["num_widgets"], "of no verb: num_widgets=3"),
    ],
)  # fmt: skip
def test_named_options_are_spelled(python, named, shell):
    assert in_options(python, named, option_names(expanded(train))) == shell


def test_only_options_of_the_verb_itself():
    named = ["num_qubits", "text_column"]
    assert in_options("num_qubits, text_column", named, option_names(expanded(predict))) == (
        "num_qubits, --text-column"
    )


def test_every_verb_has_readable_options():
    for command in app.registered_commands:
        names = option_names(command.callback)
        assert all(option.startswith("--") for option in names.values())
        assert "json" in names


def test_an_error_keeps_the_names_of_its_options():
    with pytest.raises(HeadError, match="num_qubits to be an integer") as caught:
        make_head("quantum", num_qubits=-1)
    assert caught.value.options == ("num_qubits",)
    assert pickle.loads(pickle.dumps(caught.value)).options == ("num_qubits",)
    assert PlanError("no").options == BusyError("no", 3.0).options == ()


def raised():
    """Yield file, line, text and named options of every error and warning that is made."""
    for package in (hardware, qhead):
        for path in sorted(Path(package.__file__).parent.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                made = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
                if re.fullmatch(r"\w+(Error|Warning)", made):
                    text = " ".join(
                        part.value
                        for argument in node.args
                        for part in ast.walk(argument)
                        if isinstance(part, ast.Constant) and isinstance(part.value, str)
                    )
                    given = [ast.unparse(k.value) for k in node.keywords if k.arg == "options"]
                    yield f"{path.name}:{node.lineno}", text, " ".join(given)


def test_every_error_names_the_options_that_it_speaks_of():
    options = {
        name
        for command in app.registered_commands
        for name in option_names(command.callback)
        if "_" in name
    }
    # One says both spellings, for the verb that shows it has no such option.
    said_in_full = "in Python resubmit_unknown=True"
    found = 0
    for place, text, named in raised():
        spoken = set(re.findall(r"(?<![\w.])[a-z_]+(?![\w(])", text)) & options
        if said_in_full in text or spoken == set(ReadoutWarning.options):
            continue
        found += len(spoken)
        assert all(repr(name) in named for name in spoken), (place, spoken)
    assert found > 15, "nothing was met"
