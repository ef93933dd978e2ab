"""``qhead study shots``: how few shots keep the accuracy, and what they cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np

from hardware.checks import check_shots
from hardware.circuits.adaptive import MIN_SHOTS, SHARES, LinearRule
from hardware.emulation.calibrated import CalibratedTarget
from hardware.emulation.emulated import EmulatedTarget
from hardware.emulation.rates import ShotsTarget
from hardware.emulation.sampling import OutcomeTables
from qhead.classifier import TextClassifier
from qhead.data import LabelledTexts
from qhead.progress import counting_bar
from qhead.studies.cost import DeviceCost
from qhead.studies.sample import Measured, Row, Sample, Trial, draw_sample, summarise_trials
from qhead.studies.study import Study, Table, check_options, facts_of, knee, no_knee, points

_ADAPTIVE = (
    "Adaptive: few shots for every sentence and more for those whose label they leave undecided, "
    "in three rounds of a job each; at the mean number of shots."
)


@dataclass(frozen=True)
class ShotsStudy:
    """Options of the study.

    Args:
        shots: Numbers of shots to try.
        sentences: Most sentences to score, drawn at random.
        trials: How often the shots are drawn, each time with another seed.
        device: Fake device whose errors and costs are taken.
        max_loss: Loss of accuracy that the knee rules out, as a share.
    """

    shots: tuple[int, ...] = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
    sentences: int = 500
    trials: int = 10
    device: str = "fez"
    max_loss: float = 0.02

    def __post_init__(self) -> None:
        check_options(
            sentences=self.sentences,
            trials=self.trials,
            max_loss=self.max_loss,
            series={"shots": self.shots},
        )
        for number in self.shots:
            check_shots(number)


def study_shots(
    model: TextClassifier, data: LabelledTexts, options: ShotsStudy, *, name: str, seed: int = 0
) -> Study:
    """Score sentences with ever more shots, with ideal gates and under a device's errors.

    Args:
        model: A classifier with a quantum head.
        data: Labelled sentences.
        options: What to try.
        name: Name of the model in the record.
        seed: Seed of the draw of sentences; trials take it and those after it.

    Raises:
        InputError: The head has no circuit, or the data cannot be used.
        HardwareError: There is no such device, or the circuit does not fit on it.
    """
    device = CalibratedTarget(options.device)  # refuses an unknown name before any work
    sample = draw_sample(model, data, sentences=options.sentences, others=0, seed=seed)
    costs = tuple(DeviceCost.of(sample.scored, options.device, tiles=n) for n in (None, 1))
    settings: dict[str, EmulatedTarget] = {
        "ideal gates": ShotsTarget(),
        f"errors of fake_{device.backend}": device,
    }
    tables, trials = [], []
    with counting_bar("drawing shots") as bar:
        for index, (title, target) in enumerate(settings.items()):
            rows = []
            drawn = target.outcomes(sample.scored)
            for shots in sorted(options.shots, reverse=True):
                row, own = _row(sample, drawn, shots, title, options.trials, seed)
                rows.append(_priced(row, replace(target, shots=shots), costs))
                trials += own
                bar(index * len(options.shots) + len(rows), len(settings) * len(options.shots))
            tables.append(_table(title, rows, options, sample.num_scored))
    # Rounds of shots belong on the device: that is where a shot costs something.
    adaptive = []
    ceilings = [shots for shots in sorted(options.shots) if shots >= MIN_SHOTS]
    with counting_bar("drawing shots in rounds") as bar:
        for ceiling in ceilings:
            row, own = _adaptive(sample, replace(device, shots=ceiling), options.trials, seed)
            adaptive.append(_priced_rounds(row, costs[0]))
            trials += own
            bar(len(adaptive), len(ceilings))
    text = f"{tables[-1].text} {_ADAPTIVE}"
    tables[-1] = replace(tables[-1], text=text, others=tuple(adaptive), others_name="adaptive")
    reference = summarise_trials(sample, Measured("exact", sample.exact[None], [seed]))[0]
    return Study(
        kind="shots",
        facts=facts_of(model, name, data, sample, seed),
        options=asdict(options),
        accuracy=(reference.accuracy, reference.accuracy_half_width),
        tables=tuple(tables),
        trials=tuple(trials),
        notes=(
            f"QPU seconds are the estimate of a plan for 1,000 sentences on fake_{device.backend}, "
            f"on {costs[0].tiles} tiles.",
        ),
    )


def _row(
    sample: Sample, drawn: OutcomeTables, shots: int, title: str, trials: int, seed: int
) -> tuple[Row, list[Trial]]:
    seeds = range(seed, seed + trials)
    measured = Measured.drawn(f"{title}, {shots} shots", drawn, shots, seeds)
    row, own, _ = summarise_trials(sample, measured)
    return replace(row, setting=float(shots), shots=shots), own


def _priced(row: Row, target: EmulatedTarget, costs: tuple[DeviceCost, ...]) -> Row:
    assert row.shots is not None
    tiled, one = (cost.seconds(row.shots) for cost in costs)
    return replace(row, target=target.spec, qpu_seconds=tiled, one_tile_seconds=one)


def _adaptive(
    sample: Sample, target: EmulatedTarget, trials: int, seed: int
) -> tuple[Row, list[Trial]]:
    """Return the row of adaptive shots with the target's as the most; its setting is their mean."""
    rule, seeds = LinearRule(*sample.head.readout_weights()), range(seed, seed + trials)
    runs = [replace(target, seed=each).run_adaptive(sample.scored, rule) for each in seeds]
    measured = Measured(
        f"adaptive, at most {target.shots:,}", np.stack([run.values for run in runs]), seeds
    )
    row, own, _ = summarise_trials(sample, measured)
    spent = [run.decisions.shots.mean() for run in runs if run.decisions is not None]
    return replace(row, setting=float(np.mean(spent)), shots=target.shots), own


def _priced_rounds(row: Row, cost: DeviceCost) -> Row:
    """Return a row of adaptive shots with the seconds of its mean shots, each round a job."""
    assert row.setting is not None
    return replace(row, qpu_seconds=cost.seconds(row.setting) + len(SHARES) * cost.fixed)


def _table(title: str, rows: list[Row], options: ShotsStudy, num_sentences: int) -> Table:
    """Return the table of one curve, its rows from few to many shots."""
    found = knee(rows, options.max_loss)
    if found is None:
        finding = no_knee(options.max_loss, num_sentences)
    else:
        (at,) = (row for row in rows if row.setting == found)
        fewest = "the fewest tried, and" if at is rows[-1] else "the fewest from which on"
        finding = (
            f"The knee is at {found:,.0f} shots: {fewest} the 95 % interval of the difference to "
            f"the exact accuracy rules out a loss of {points(options.max_loss)}. 1,000 sentences "
            f"then take {at.qpu_seconds:.1f} QPU seconds ({at.one_tile_seconds:,.0f} on one tile)."
        )
    return Table(
        title=f"Shots, with {title}",
        text="Every sentence with each number of shots; the same seeds for all numbers.",
        form="curve",
        rows=tuple(reversed(rows)),
        axis="shots",
        finding=finding,
        knee=found,
    )
