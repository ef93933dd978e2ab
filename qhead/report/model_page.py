"""The report of one saved model, from what its folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hardware.words import counted
from qhead.classifier import TextClassifier
from qhead.heads import TorchHead
from qhead.report import figures
from qhead.report.page import Fact, Page, Row
from qhead.saving.records import read_metrics


def model_page(model: TextClassifier, name: str) -> Page:
    """Return the page of a fitted or loaded model.

    Raises:
        ModelError: The scores that the model carries are not of this version.
    """
    head = model.head_
    evaluations = read_metrics(model.metrics_)
    rows = [
        Row(
            f"{head.kind}, {part} set (n = {result.n})",
            result,
            head.num_parameters,
            result.seconds,
            head.training_seconds_,
            subject=part == "test",
        )
        for part, result in evaluations.items()
    ]
    return Page(
        title=f"qhead: {name}",
        summary=f"A {head.kind} head on {model.encoder_.config()['model']}, trained on "
        f"{counted(model.data_['n'], 'sentence')}.",
        key_figures=head_figures(head),
        rows=rows,
        rows_caption="Wilson's 95 % interval. The validation set chose the weights: its score is "
        "too high an estimate; that of a test set is not.",
        curves=curves({head.kind: head}),
        confusions=[(f"{part} set", result) for part, result in evaluations.items()],
        circuit=drawing(head),
        circuit_caption=circuit_caption(head),
        facts=[*training_facts(model), *version_facts(model.versions_)],
    )


def head_figures(head: TorchHead) -> list[Fact]:
    """Return the key figures of a fitted head."""
    summary = head.summary()
    facts = [Fact("trainable parameters", f"{summary.num_parameters:,}")]
    if summary.num_qubits is not None:
        facts.append(Fact("qubits", str(summary.num_qubits)))
        facts.append(
            Fact(
                "circuit depth",
                str(summary.depth),
                summary.two_qubit_gates,
            )
        )
    if head.training_seconds_ is not None:
        epochs = counted(len(head.history_), "epoch")
        facts.append(Fact("training", f"{head.training_seconds_:.1f} s", epochs))
    return facts


def curves(heads: Mapping[str, Any]) -> str:
    """Return the training curves of the heads that have a history, the first one's losses too."""
    histories = {
        name: head.history_ for name, head in heads.items() if getattr(head, "history_", ())
    }
    if not histories:
        return ""
    first = heads[next(iter(histories))]
    return figures.training_curves(histories, first.best_epoch_)


def drawing(head: Any) -> figures.Drawing | None:
    """Return the picture of a head's circuit, None for a head without one."""
    circuit = getattr(head, "circuit", None)
    return None if circuit is None else figures.circuit(circuit)


def circuit_caption(head: Any) -> str:
    """Say how the drawn circuit is built, None-safe for heads without one."""
    if getattr(head, "circuit", None) is None:
        return ""
    return (
        f"{head.num_reuploads} × [RY(x) on every qubit, then PQC1 with weights u], then PQC2 with "
        f"weights v; L = {head.num_layers}, C = {head.connectivity}, {head.topology}. "
        f"Z is read on {counted(head.num_measured_, 'qubit')}, beginning with qubit 0. "
        "The encoders that make the angles x are simulated and not drawn."
    )


def training_facts(model: TextClassifier) -> list[Fact]:
    """Return what the model was trained on and how."""
    data, options = model.data_, model.head_.config()["options"]
    training = options.pop("training") or {}
    counts = data.get("classes", {})
    held = f", {data['held_back']} more held back" if data.get("held_back") else ""
    facts = [
        Fact("data", f"{data.get('source')}, trained on {data.get('n')} sentences{held}"),
        Fact("classes", ", ".join(f"{label}: {count}" for label, count in counts.items())),
        Fact("data fingerprint", str(data.get("fingerprint"))),
        Fact("encoder", str(model.encoder_.config()["model"])),
        Fact("head", _listed(options)),
    ]
    if training:
        facts.append(Fact("training", _listed(training)))
    return facts


def version_facts(versions: Mapping[str, str]) -> list[Fact]:
    """Return the versions of Python and the packages as one fact."""
    return [Fact("versions", ", ".join(f"{name} {number}" for name, number in versions.items()))]


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in options.items() if value is not None)
