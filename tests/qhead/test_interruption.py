"""Ctrl-C and checkpoints of whole heads: what an interrupted training leaves, and who hears of it.

Interrupts are real signals: a process sends SIGINT to itself at the end of an epoch.
"""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from qhead.errors import CheckpointError
from qhead.heads import MLPHead, QuantumHead
from qhead.training import TrainingOptions

OPTIONS = TrainingOptions(max_epochs=3, batch_size=16)
SMALL = {"num_qubits": 4, "encoder_layers": 0, "connectivity": 2, "training": OPTIONS}
START = """
    import json, os, signal, sys
    import numpy as np
    from qhead.heads import MLPHead, select_on_validation
    from qhead.training import TrainingOptions

    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 6)).astype(np.float32)
    y = np.arange(40) % 2

    def interrupt(record, total):
        if record.epoch == 3:
            os.kill(os.getpid(), signal.SIGINT)

    fits = []

    class Head(MLPHead):
        def fit(self, X, y, **options):
            fits.append(self)
            return super().fit(X, y, progress=interrupt, **options)

    head = Head(training=TrainingOptions(max_epochs=9))
"""
END = """
    except KeyboardInterrupt:
        heads = [len(fit.history_) for fit in fits], fits[0].stopped_, fits[0].predict(X).shape
        print(json.dumps(heads))
    else:
        print("swallowed")
"""
CALLERS = {
    "fit": "head.fit(X, y)",
    "cross_val_score": (
        "from sklearn.model_selection import cross_val_score; cross_val_score(head, X, y, cv=3)"
    ),
    "GridSearchCV": (
        "from sklearn.model_selection import GridSearchCV; "
        "GridSearchCV(head, {'hidden': [0, 2]}, cv=2).fit(X, y)"
    ),
    "select_on_validation": "select_on_validation([head, head], X, y, X, y)",
}


def python(code):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("caller", CALLERS)
def test_ctrl_c_reaches_the_caller_and_the_interrupted_head_keeps_its_best(caller):
    """With cross-validation the clones that were never fitted would have been, one by one."""
    result = python(f"{START}\n    try:\n        {CALLERS[caller]}\n{END}")
    assert result.stderr == ""
    assert json.loads(result.stdout) == [[3], "interrupted", [40]]


def test_ctrl_c_in_the_demo_writes_nothing(tmp_path):
    code = f"""
        import os, signal
        from contextlib import contextmanager
        import qhead.studies.demo as demonstration
        from qhead.cli.app import app

        @contextmanager
        def bar(description):
            def interrupt(record, total):
                if record.epoch == 2:
                    os.kill(os.getpid(), signal.SIGINT)
            yield interrupt

        demonstration.training_bar = bar
        app(["demo", "--out", {str(tmp_path / "demo")!r}])
    """
    result = python(code)
    assert result.returncode == 130, result.stderr
    assert result.stderr.splitlines()[-1] == "Interrupted."
    assert not list(tmp_path.iterdir())


def test_ctrl_c_in_train_saves_the_best_and_says_where(tmp_path, toy_model, toy_texts, toy_labels):
    data, out = tmp_path / "data.csv", tmp_path / "model"
    rows = (f"{text},{label}" for text, label in zip(toy_texts, toy_labels, strict=True))
    data.write_text("text,label\n" + "\n".join(rows) + "\n")
    code = f"""
        import os, signal
        from contextlib import contextmanager
        import qhead.training_run as train
        from qhead.cli.app import app

        @contextmanager
        def bar(description):
            def interrupt(record, total):
                if record.epoch == 2:
                    os.kill(os.getpid(), signal.SIGINT)
            yield interrupt

        train.training_bar = bar
        app(["train", {str(data)!r}, "--out", {str(out)!r}, "--encoder", {str(toy_model)!r},
             "--head", "mlp", "--no-cache"])
    """
    result = python(code)
    assert result.returncode == 130, result.stderr
    assert "after epoch 2." in result.stderr
    assert f"saved in {out}" in result.stderr
    history = json.loads((out / "history.json").read_text())
    assert (history["stopped"], len(history["epochs"])) == ("interrupted", 2)


@pytest.mark.parametrize("module", ["typer", "qhead.training_run", "qhead.classifier"])
@pytest.mark.parametrize(
    "happens",
    [
        "os.kill(os.getpid(), signal.SIGINT)",
        "exec('os.kill(os.getpid(), signal.SIGINT); time.sleep(9)')",
        "try: raise KeyboardInterrupt\n"
        "except KeyboardInterrupt as stop: raise ImportError('initialization failed') from stop",
    ],
    ids=["signal", "signal in code from a string", "interrupted extension module"],
)
def test_ctrl_c_during_an_import_ends_in_a_line_and_an_exit_code(tmp_path, module, happens):
    code = textwrap.dedent(f"""
        import os, signal, sys, time

        class Finder:
            def find_spec(self, name, path, target=None):
                if name == {module!r}:
                    exec({happens!r})
                    time.sleep(9)

        sys.meta_path.insert(0, Finder())
        sys.argv = ["qhead", "train", "data.csv", "--out", {str(tmp_path / "m")!r}]
        from qhead.__main__ import main
        main()
    """)
    result = python(code)
    assert result.stderr == "Interrupted.\n"
    assert result.returncode == 130


def problem(n=24, num_features=7):
    rng = np.random.default_rng(3)
    return rng.normal(size=(n, num_features)).astype(np.float32), np.arange(n) % 2


CHANGES = [
    {"topology": "chain"},
    {"num_reuploads": 2},
    {"shared": False},
    {"angle_scale": 1.0},
    {"bias_amplitude": 0.5},
    {"center": True},
    {"readout": "probabilities"},
    {"initial_spread": 0.2},
    {"encoder_spread": 0.2},
    {"start": "random"},
    {"training": TrainingOptions(max_epochs=3, batch_size=16, weight_decay=0.1)},
    {"seed": 4},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_a_checkpoint_never_resumes_another_head(tmp_path, change):
    """Most of these leave every tensor's shape, and the initial weights, as they were."""
    path = tmp_path / "c.safetensors"
    options = {**SMALL, "seed": 1}
    QuantumHead(**options).fit(*problem(), checkpoint=path)
    content = path.read_bytes()
    other = QuantumHead(**(options | change))
    with pytest.raises(CheckpointError, match="belongs to another training"):
        other.fit(*problem(), checkpoint=path)
    assert not hasattr(other, "module_")
    assert path.read_bytes() == content
    epochs = []
    again = QuantumHead(**options).fit(
        *problem(), checkpoint=path, progress=lambda record, _: epochs.append(record)
    )
    assert not epochs
    assert len(again.history_) == 3


def test_a_checkpoint_never_resumes_another_version(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    MLPHead(training=OPTIONS).fit(*problem(), checkpoint=path)
    monkeypatch.setattr("qhead.heads.module_head.version", lambda name: "999.1")
    with pytest.raises(CheckpointError, match=r"versions\.torch \(was \d+, now 999\)"):
        MLPHead(training=OPTIONS).fit(*problem(), checkpoint=path)


def test_a_checkpoint_never_resumes_another_circuit(tmp_path, monkeypatch):
    """The same options of a version that builds another circuit from them."""
    path = tmp_path / "c.safetensors"
    QuantumHead(**SMALL).fit(*problem(), checkpoint=path)
    original = QuantumHead.build_circuit
    monkeypatch.setattr(QuantumHead, "build_circuit", lambda *args: original(*args).reverse_bits())
    with pytest.raises(CheckpointError, match="circuits_sha256"):
        QuantumHead(**SMALL).fit(*problem(), checkpoint=path)
