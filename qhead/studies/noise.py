"""``qhead study noise``: which error costs how much, one on top of the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from hardware.checks import check_shots, is_whole
from hardware.circuits.measurement import Measurement
from hardware.circuits.readout import AffineReadout, recalibrate
from hardware.emulation.emulated import DEFAULT_SHOTS
from hardware.emulation.fake import FakeTarget
from hardware.emulation.noise import check_probability
from hardware.emulation.rates import NoisyTarget, ShotsTarget
from hardware.emulation.stages import Stage, StagedTarget, mean_channels
from hardware.errors import InvalidInputError
from hardware.planning.mitigation import Mitigation
from hardware.planning.options import PlanOptions
from hardware.workload import Workload
from qhead.classifier import TextClassifier
from qhead.data import LabelledTexts
from qhead.errors import InputError
from qhead.progress import counting_bar
from qhead.studies.cost import DeviceCost
from qhead.studies.sample import Measured, Row, Sample, Trial, draw_sample, summarise_trials
from qhead.studies.study import Study, Table, check_options, facts_of, knee, no_knee, points

#: The rows of the waterfall that are emulated, by what their last kind of error is called.
STAGES = {
    Stage.ONE_QUBIT: "one-qubit errors",
    Stage.TWO_QUBIT: "two-qubit errors",
    Stage.READOUT: "read-out errors",
    Stage.ROUTING: "routing",
    Stage.IDLE: "idle time",
}
#: Fewest sentences that a read-out can be refitted on.
_FIT = 3
#: Slope below which no number of shots is stated that would make up for the contraction.
_ERASED = 0.05


@dataclass(frozen=True)
class NoiseStudy:
    """Options of the study.

    Args:
        shots: Shots of every sentence.
        two_qubit_errors: Depolarising parameters of two-qubit gates to try.
        sentences: Most sentences to score, drawn at random.
        recalibration: Most other sentences to refit the read-out on, at most a quarter of DATA.
        trials: How often everything is run, each time with another seed.
        device: Fake device whose errors and costs are taken.
        max_loss: Loss of accuracy that the knee rules out, as a share.
    """

    shots: int = DEFAULT_SHOTS
    two_qubit_errors: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 2e-3, 3e-3, 5e-3, 0.01, 0.02, 0.03)
    sentences: int = 500
    recalibration: int = 60
    trials: int = 5
    device: str = "fez"
    max_loss: float = 0.02

    def __post_init__(self) -> None:
        check_options(
            sentences=self.sentences,
            trials=self.trials,
            max_loss=self.max_loss,
            series={"two_qubit_errors": self.two_qubit_errors},
        )
        if not is_whole(self.recalibration) or self.recalibration < _FIT:
            raise InputError(
                f"Expected 'recalibration' to be at least {_FIT} sentences, got "
                f"{self.recalibration!r}.",
                options=["recalibration"],
            )
        check_shots(self.shots)
        for rate in self.two_qubit_errors:
            check_probability(rate, "a two-qubit error")


def study_noise(
    model: TextClassifier, data: LabelledTexts, options: NoiseStudy, *, name: str, seed: int = 0
) -> Study:
    """Switch a device's errors on one after the other, and vary the two-qubit error alone.

    Args:
        model: A classifier with a quantum head.
        data: Labelled sentences.
        options: What to try.
        name: Name of the model in the record.
        seed: Seed of the draw of sentences; trials take it and those after it.

    Raises:
        InputError: The head has no circuit, or the data cannot be used.
        HardwareError: There is no such device, the circuit does not fit on it, or is too wide for
            its noisy state to be computed.
    """
    device = FakeTarget(options.device).backend  # refuses an unknown name before any work
    sample = draw_sample(
        model, data, sentences=options.sentences, others=options.recalibration, seed=seed
    )
    tiled, one = (DeviceCost.of(sample.scored, device, tiles=n) for n in (None, 1))
    seeds = range(seed, seed + options.trials)
    num_runs = 3 * len(seeds)
    budget = _Budget(sample, options, device, seeds)
    with counting_bar("switching errors on") as bar:
        total = 1 + len(STAGES) + num_runs + len(options.two_qubit_errors)
        for done, _ in enumerate(budget.run(), 1):
            bar(done, total)
        sweep = []
        for rate in options.two_qubit_errors:
            sweep.append(_at_rate(sample, rate, options, seeds, tiled))
            bar(total - len(options.two_qubit_errors) + len(sweep), total)
    waterfall = _waterfall(budget.rows, device, tiled, one, options)
    rows = [row for row, _ in sweep]
    reference = budget.rows[0]
    return Study(
        kind="noise",
        facts=facts_of(model, name, data, sample, seed),
        options=asdict(options),
        accuracy=(reference.accuracy, reference.accuracy_half_width),
        tables=(waterfall, _curve(rows, options, device, sample)),
        trials=(*budget.trials, *(trial for _, own in sweep for trial in own)),
        notes=budget.notes(tiled),
    )


class _Budget:
    """The waterfall as it grows: rows, trials, and each sentence's share of right labels."""

    def __init__(
        self, sample: Sample, options: NoiseStudy, device: str, seeds: Sequence[int]
    ) -> None:
        self.sample, self.options, self.device, self.seeds = sample, options, device, seeds
        self.rows: list[Row] = []
        self.trials: list[Trial] = []
        self._before: np.ndarray | None = None
        self._left_out: tuple[str, ...] = ()

    def run(self) -> Iterator[None]:
        """Measure all settings; yields whenever one, or one run on the device, is done."""
        sample, shots, scored = self.sample, self.options.shots, self.sample.scored
        exact = sample.exact[: sample.num_scored]
        self._add(Measured("exact", exact[np.newaxis], [self.seeds[0]], exact), "exact")
        # It differs from itself by nothing, whatever the number of sentences.
        self.rows[0] = replace(self.rows[0], difference_half_width=0.0, changed_half_width=0.0)
        ideal = ShotsTarget(shots=shots)
        drawn = ideal.outcomes(scored)
        self._add(Measured.drawn("shots", drawn, shots, self.seeds), ideal.spec)
        yield
        for stage, name in STAGES.items():
            target = StagedTarget(self.device, stage=stage, shots=shots)
            drawn = target.outcomes(scored)
            spec = target.spec if stage is Stage.IDLE else None
            self._add(Measured.drawn(name, drawn, shots, self.seeds), spec)
            yield
        mitigation = Mitigation(readout_inversion=True)
        runs = {
            "fake device, one tile": PlanOptions(shots=shots, tiles=1),
            "tiled": PlanOptions(shots=shots),
            "read-out inverted": PlanOptions(shots=shots, mitigation=mitigation),
        }
        for name, plan_options in runs.items():
            values, errors = [], []
            for seed in self.seeds:
                target_ = FakeTarget(self.device, replace(plan_options, seed=seed))
                found = target_.run(sample.workload)
                values.append(found.values)
                errors.append(found.std_errors)
                yield
            self._add(Measured(name, np.stack(values)[:, : sample.num_scored], self.seeds), None)
        try:
            refitted = [self._recalibrated(*pair) for pair in zip(values, errors, strict=True)]
        except InvalidInputError as error:  # too little signal: a finding, and not the study's end
            self._left_out = (f"The step 'recalibrated' is left out. {error}",)
        else:
            self._add(Measured("recalibrated", np.stack(refitted), self.seeds), None)

    def _add(self, measured: Measured, spec: str | None) -> None:
        row, trials, self._before = summarise_trials(self.sample, measured, self._before)
        shots = None if measured.name == "exact" else self.options.shots
        self.rows.append(replace(row, target=spec, shots=shots))
        self.trials += trials

    def _recalibrated(self, values: np.ndarray, errors: np.ndarray) -> np.ndarray:
        """Return the values (N, M) as the refitted read-out sees them."""
        n, num_observables = self.sample.num_scored, values.shape[1]
        identity = AffineReadout(np.eye(num_observables), np.zeros(num_observables))
        fitted = recalibrate(identity, values[n:], self.sample.exact[n:], errors[n:])
        return np.asarray(values[:n] @ fitted.weight.T + fitted.bias)

    def notes(self, tiled: DeviceCost) -> tuple[str, ...]:
        """Return what the numbers do not tell."""
        return (
            "Before routing every gate has the mean error of its kind on the device's best tile. "
            "Left out of all emulations: crosstalk, leakage, drift, coherent errors.",
            f"QPU seconds are the estimate of a plan for 1,000 sentences, on {tiled.tiles} tiles.",
            *self._left_out,
        )


def mean_two_qubit_error(workload: Workload, device: str) -> float:
    """Return the depolarising parameter λ that has the mean infidelity of a tile's two-qubit gates.

    Args:
        workload: Its circuit is placed on the device.
        device: Name of the fake device.
    """
    target = StagedTarget(device)
    settings = Measurement.of(workload.observables).settings
    errors = mean_channels(target.prepare_settings(workload.circuit, settings))
    channels = [each for each in errors.values() if each and each.num_qubits == 2]
    # The process fidelity of a channel is the mean of its transfer matrix's diagonal.
    process = float(np.mean([np.diag(each.transfer_matrix()).mean() for each in channels]))
    return (1.0 - process) * 16 / 15


def _waterfall(
    rows: list[Row], device: str, tiled: DeviceCost, one: DeviceCost, options: NoiseStudy
) -> Table:
    """Return the table of the waterfall, with costs where a row is a run on the device."""
    seconds = {"fake device, one tile": one, "tiled": tiled}
    priced = [
        replace(row, qpu_seconds=seconds[row.name].seconds(options.shots))
        if row.name in seconds
        else row
        for row in rows
    ]
    steps = [row for row in priced[2:] if row.systematic is not None]
    growth = [
        (row.systematic or 0.0) ** 2 - (before.systematic or 0.0) ** 2
        for before, row in zip(priced[1:], steps, strict=False)
    ]
    largest = steps[int(np.argmax(growth))]
    last = priced[-1]
    return Table(
        title="What it costs in accuracy",
        text=f"Errors of fake_{device} are switched on one after the other, "
        f"{options.shots:,} shots, {options.trials} trials. The last rows go through the whole "
        "submit path: planned, run by the client's own primitives, unpacked.",
        form="steps",
        rows=tuple(priced),
        finding=f"The largest step in ⟨Z⟩ is {largest.name}. In the end {100 * last.changed:.1f} % "
        f"of the labels differ from the exact ones and the accuracy by "
        f"{100 * last.difference:+.1f} ± {100 * last.difference_half_width:.1f} points.",
    )


def _at_rate(
    sample: Sample, rate: float, options: NoiseStudy, seeds: Sequence[int], cost: DeviceCost
) -> tuple[Row, list[Trial]]:
    target = NoisyTarget(0.0, rate, shots=options.shots)
    drawn = target.outcomes(sample.scored)
    measured = Measured.drawn(f"two-qubit error {rate:g}", drawn, options.shots, seeds)
    row, trials, _ = summarise_trials(sample, measured)
    seconds = None
    if row.slope is not None and row.slope > _ERASED:
        # A contraction by the slope is made up for by 1/slope² times the shots.
        seconds = cost.seconds(options.shots / row.slope**2)
    made = replace(row, setting=rate, target=target.spec, shots=options.shots, qpu_seconds=seconds)
    return made, trials


def _curve(rows: list[Row], options: NoiseStudy, device: str, sample: Sample) -> Table:
    rows = sorted(rows, key=lambda row: row.setting or 0.0)
    found = knee(rows, options.max_loss)
    today = mean_two_qubit_error(sample.scored, device)
    if found is None:
        finding = no_knee(options.max_loss, sample.num_scored)
    else:
        all_good = found == rows[-1].setting
        largest = "the largest tried, and" if all_good else "the largest up to which"
        finding = (
            f"The knee is at a two-qubit error of {found:g}: {largest} the 95 % interval of the "
            "difference to the exact accuracy rules out a loss of "
            f"{points(options.max_loss)}. The mean on the best tile of fake_{device} is "
            f"{today:.2g}."
        )
    return Table(
        title="Two-qubit error",
        text="Two-qubit gates alone have an error: depolarising, by its parameter λ (4/3 of the "
        "infidelity that calibrations state); nothing is routed. QPU seconds: with as many shots "
        "as make up for the smaller signal.",
        form="curve",
        rows=tuple(rows),
        axis="two-qubit error λ",
        finding=finding,
        knee=found,
        marks={f"fake_{device}": today},
    )
