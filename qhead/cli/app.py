"""The program `qhead`: all verbs in their order, with an example of each.

Nothing heavy is imported until a verb runs, so that ``qhead --help`` answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from qhead.cli import (
    backends,
    compare,
    demo,
    evaluate,
    finetune,
    plan,
    predict,
    report,
    runs,
    study,
    submit,
    train,
)
from qhead.cli import collect as collecting
from qhead.cli.groups import Verb
from qhead.cli.guard import guarded
from qhead.cli.terminal import accept_any_character

app = typer.Typer(
    name="qhead",
    help="A quantum-circuit head on a sentence transformer: train it in seconds, see what shots "
    "and gate noise do to it, run it on a device.",
    epilog="First steps: qhead demo. Targets: exact, shots:1024, noisy:P1,P2[,READOUT][:SHOTS], "
    "aer:fez[:SHOTS], fake:fez[:SHOTS], ibm:NAME[:SHOTS], backend:MODULE:FUNCTION[:SHOTS]. Exit "
    "codes: 0 success, 1 the run or the platform failed, 2 invalid usage or input, 3 some rows "
    "have no result yet, 130 interrupted.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

#: Verb → an example of it, in the order of the help.
VERBS: dict[Verb, str] = {
    demo.demo: "qhead demo --out first-look",
    train.train: "qhead train reviews.csv --out model --num-qubits 8 --num-layers 2 --seed 1",
    finetune.finetune: (
        "qhead finetune model reviews.csv --target fake:fez:1024 --budget 120 --out tuned"
    ),
    evaluate.evaluate: "qhead evaluate model test.csv --target noisy:0.001,0.01 --json",
    predict.predict: "qhead predict model reviews.txt --target shots:1024 --format jsonl",
    compare.compare: (
        "qhead compare reviews.csv --heads quantum,mlp,linear --seeds 10 --per-class 32"
    ),
    report.report: "qhead report model --out model.html",
}
DEVICE_VERBS: dict[Verb, str] = {
    plan.plan: "qhead plan model reviews.csv --target fake:fez --out reviews.plan",
    submit.submit: "qhead submit model reviews.csv --target ibm:least_busy --budget 60",
    runs.runs: "qhead runs",
    runs.status: "qhead status 20260101-0123abcd",
    collecting.collect: "qhead collect 20260101-0123abcd --wait inf --out predictions.csv",
    runs.resume: "qhead resume 20260101-0123abcd --budget 120",
    runs.cancel: "qhead cancel 20260101-0123abcd",
    backends.backends: "qhead backends model",
}
STUDIES: dict[Verb, str] = {
    study.shots: "qhead study shots model reviews.csv --out shots-study",
    study.noise: "qhead study noise model reviews.csv --device fez --out noise-study",
}
studies = typer.Typer(
    name="study",
    help="Put a question to a model: how few shots, which errors.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
app.add_typer(studies)
for place, verbs, panel in (
    (app, VERBS, None),
    (app, DEVICE_VERBS, "Devices"),
    (studies, STUDIES, None),
):
    for verb, example in verbs.items():
        place.command(epilog=f"Example: {example}", rich_help_panel=panel)(guarded(verb))


@app.callback(invoke_without_command=True)
def _qhead(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from qhead import __version__

        typer.echo(f"qhead {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; `qhead.__main__.main` does so with an end for every Ctrl-C."""
    accept_any_character()
    app()
