"""What the results of a plan say of themselves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hardware.circuits.adaptive import Decisions
from hardware.planning.mitigation import ENOUGH_RANDOMIZATIONS, Mitigation
from hardware.planning.plan import JobPlan
from hardware.words import counted


def result_notes(
    plan: JobPlan,
    values: np.ndarray,
    errors: np.ndarray,
    arrived: np.ndarray,
    decisions: Decisions | None,
) -> tuple[str, ...]:
    """Return sentences on how values came about and what is missing.

    Args:
        plan: Their plan.
        values: Values, shape (N, M), NaN where unknown.
        errors: Standard errors of them, shape (N, M).
        arrived: Rows with a result, shape (N,).
        decisions: Of adaptive shots.
    """
    notes = [f"Run on {counted(len(plan.tiles), 'tile')} of {plan.backend} at the same time."]
    if plan.padding:
        notes.append(f"{plan.padding} slots repeated a row to fill the last set and were dropped.")
    mitigation = plan.options.mitigation
    if mitigation.readout_inversion:
        notes.append("Read-out errors inverted qubit by qubit, as measured in each job.")
    circuits = mitigation.randomizations(plan.options.rounds[0])
    if mitigation.twirls and circuits < ENOUGH_RANDOMIZATIONS:
        notes.append(
            f"The shots are divided among {counted(circuits, 'randomization')}, too few to show "
            f"how much randomizations differ: take {ENOUGH_RANDOMIZATIONS} or more for standard "
            "errors that hold."
        )
    notes += _model_notes(mitigation)
    unknown = np.isnan(values[arrived])
    if unknown.any():
        notes.append(
            f"The client gave no finite value for {int(unknown.sum())} of {unknown.size} "
            f"expectation values, in {int(unknown.any(axis=1).sum())} rows: they are unknown."
        )
    if mitigation.zne_factors and mitigation.twirls and mitigation.extrapolation_degree is not None:
        lacking = np.isnan(errors) & ~np.isnan(values)
        if lacking.any():
            notes.append(
                f"{int(lacking.sum())} of {unknown.size} standard errors are unknown: the results "
                "do not hold how random circuits scatter at each noise factor. Older versions did "
                "not store it, and a single random circuit shows none."
            )
    notes += decisions.notes() if decisions is not None else ()
    if missing := int((~arrived).sum()):
        notes.append(f"{missing} of {plan.num_rows} rows have no result yet.")
    return (*notes, *plan.notes)


def _model_notes(mitigation: Mitigation) -> Iterator[str]:
    """Yield what the client's models did, and what intervals leave out of it."""
    if mitigation.zne_factors:
        names = mitigation.extrapolators
        line = mitigation.extrapolation_degree == 1
        how = "by a straight line" if line else f"by the client's {', '.join(names)}"
        yield f"Extrapolated to zero noise {how}."
        if mitigation.extrapolation_degree is None:
            yield "No interval is known that holds for that: standard errors are unknown."
    if mitigation.samples_noise:
        done = "cancelled" if mitigation.pec_mitigation else "amplified"
        yield (
            f"Gate noise was {done} as it was learned; the standard errors are those of shots and "
            "random circuits, not of what was learned."
        )
