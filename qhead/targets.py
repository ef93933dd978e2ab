"""From a target's specification to the target: `exact` here, all others from `hardware`."""

from __future__ import annotations

from hardware.errors import UnknownTargetError, did_you_mean
from hardware.targets import SYNTAX, ExecutionTarget, parse_target

EXACT = "exact"


def resolve_target(
    target: ExecutionTarget | str | None, *, seed: int | None = 0
) -> ExecutionTarget | None:
    """Return the target of a specification, or None for ``exact``, the head's own simulation.

    Args:
        target: ``exact``, ``shots:1024``, ``noisy:P1,P2[,READOUT][:SHOTS]``, ``aer:NAME[:SHOTS]``,
            a target, which is returned as it is, or None, which is exact.
        seed: Seed of the target's shots; None draws fresh ones every time.

    Raises:
        UnknownTargetError: There is no such target; the message names the nearest that is.
        UnknownBackendError: No such backend.
        InvalidInputError: A number in the specification is out of its range.
    """
    if target is None or not isinstance(target, str):
        if target is not None and not hasattr(target, "spec"):
            raise UnknownTargetError(
                f"Expected a target or its specification, e.g. 'shots:1024', got {target!r:.60}."
            )
        return target
    kind, _, rest = target.strip().partition(":")
    if kind == EXACT:
        if rest:
            raise UnknownTargetError(
                f"Expected {EXACT!r} alone, which takes no shots, got {target!r}. "
                f"For shots say 'shots:{rest}'."
            )
        return None
    if kind not in SYNTAX:
        known = (EXACT, *SYNTAX)
        raise UnknownTargetError(
            f"Expected a target such as {', '.join((EXACT, *SYNTAX.values()))}, got {target!r}."
            f"{did_you_mean(kind, known)}"
        )
    return parse_target(target, seed=seed)
