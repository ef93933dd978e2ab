"""Compiled loops of `hardware.emulation.trajectories`: many random runs of one circuit at once.

A state is an array (planes, 2^n · `LANES`): amplitude k of lane l is element ``k * LANES + l``,
each lane is one shot, and there is a second plane, the imaginary part, only where a gate needs it.
Between two-qubit gates each qubit has a *segment* of one-qubit steps, errors among them, which
becomes one 2 × 2 matrix a lane. States are not normalised; shots are drawn from ratios.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from hardware.vectors import WIDE, add, mul, mul_add, neg, renew_with_vectors, store
from hardware.vectors import load_wide as load

LANES = WIDE
CX, CZ = 0, 1
MATRIX, ROT_X, ROT_Y, ROT_Z, PAULI, DAMPING = 0, 1, 2, 3, 4, 5
#: Squares added up in single precision before they go to a larger sum.
_RUN = 64


@nb.njit(cache=True)
def _quad(p, low, high):  # type: ignore[no-untyped-def]
    """Return the p-th index whose bits `low` and `high` are zero."""
    i = 2 * p - (p & (low - 1))
    return 2 * i - (i & (high - 1))


@nb.njit(cache=True)
def _turned(m, o, xr, xi, yr, yi):  # type: ignore[no-untyped-def]
    """Return the real and imaginary part of row o of a complex matrix applied to x, y."""
    a, b = load(m, 4 * o * LANES), load(m, (4 * o + 1) * LANES)
    c, d = load(m, (4 * o + 2) * LANES), load(m, (4 * o + 3) * LANES)
    re = mul_add(a, xr, mul_add(neg(b), xi, mul_add(c, yr, mul(neg(d), yi))))
    im = mul_add(a, xi, mul_add(b, xr, mul_add(c, yi, mul(d, yr))))
    return re, im


@nb.njit(cache=True)
def _row(m, o, x, y):  # type: ignore[no-untyped-def]
    """Return row o of a real matrix applied to x, y."""
    return mul_add(load(m, 4 * o * LANES), x, mul(load(m, (4 * o + 2) * LANES), y))


@nb.njit(cache=True)
def _real_gate(v, kind, a, b, ma, mb):  # type: ignore[no-untyped-def]
    """Apply real matrices to qubits a and b of one plane, then CX (control a) or CZ."""
    sa, sb = LANES << a, LANES << b
    low, high = min(sa, sb) // LANES, max(sa, sb) // LANES
    for p in range(v.size // LANES // 4):
        i = _quad(p, low, high) * LANES
        x0, x1, y0, y1 = load(v, i), load(v, i + sa), load(v, i + sb), load(v, i + sa + sb)
        x0, x1 = _row(ma, 0, x0, x1), _row(ma, 1, x0, x1)
        y0, y1 = _row(ma, 0, y0, y1), _row(ma, 1, y0, y1)
        store(v, i, _row(mb, 0, x0, y0))
        store(v, i + sb, _row(mb, 1, x0, y0))
        x1, y1 = _row(mb, 0, x1, y1), _row(mb, 1, x1, y1)
        if kind == CX:
            store(v, i + sa, y1)
            store(v, i + sa + sb, x1)
        else:
            store(v, i + sa, x1)
            store(v, i + sa + sb, neg(y1))


@nb.njit(cache=True)
def _complex_gate(re, im, kind, a, b, ma, mb):  # type: ignore[no-untyped-def]
    """Do as `_real_gate` for complex matrices and both planes."""
    sa, sb = LANES << a, LANES << b
    low, high = min(sa, sb) // LANES, max(sa, sb) // LANES
    for p in range(re.size // LANES // 4):
        i = _quad(p, low, high) * LANES
        j = i + sb
        for k in (i, j):
            xr, xi, yr, yi = load(re, k), load(im, k), load(re, k + sa), load(im, k + sa)
            ur, ui = _turned(ma, 0, xr, xi, yr, yi)
            wr, wi = _turned(ma, 1, xr, xi, yr, yi)
            store(re, k, ur)
            store(im, k, ui)
            store(re, k + sa, wr)
            store(im, k + sa, wi)
        for k in (i, i + sa):
            xr, xi, yr, yi = load(re, k), load(im, k), load(re, k + sb), load(im, k + sb)
            ur, ui = _turned(mb, 0, xr, xi, yr, yi)
            wr, wi = _turned(mb, 1, xr, xi, yr, yi)
            if k != i and kind == CX:
                ur, ui, wr, wi = wr, wi, ur, ui
            if k != i and kind == CZ:
                wr, wi = neg(wr), neg(wi)
            store(re, k, ur)
            store(im, k, ui)
            store(re, k + sb, wr)
            store(im, k + sb, wi)


@nb.njit(cache=True)
def _apply(v, kind, a, b, ma, mb):  # type: ignore[no-untyped-def]
    if v.shape[0] == 1:
        _real_gate(v[0], kind, a, b, ma, mb)
    else:
        _complex_gate(v[0], v[1], kind, a, b, ma, mb)


@nb.njit(cache=True)
def _single(v, qubit, m):  # type: ignore[no-untyped-def]
    """Apply a matrix to one qubit."""
    bit = 1 << qubit
    for p in range(v.shape[1] // LANES // 2):
        i = (2 * p - (p & (bit - 1))) * LANES
        j = i + bit * LANES
        if v.shape[0] == 1:
            x, y = load(v[0], i), load(v[0], j)
            store(v[0], i, _row(m, 0, x, y))
            store(v[0], j, _row(m, 1, x, y))
        else:
            xr, xi, yr, yi = load(v[0], i), load(v[1], i), load(v[0], j), load(v[1], j)
            ur, ui = _turned(m, 0, xr, xi, yr, yi)
            wr, wi = _turned(m, 1, xr, xi, yr, yi)
            store(v[0], i, ur)
            store(v[1], i, ui)
            store(v[0], j, wr)
            store(v[1], j, wi)


@nb.njit(cache=True)
def _reduced(v, qubit, part, out):  # type: ignore[no-untyped-def]
    """Write ρ00, ρ11, Re ρ01 and Im ρ01 of one qubit, not normalised, to out (4, LANES)."""
    bit, count = 1 << qubit, v.shape[1] // LANES // 2
    out[:] = 0.0
    for start in range(0, count, _RUN):
        part[:4] = 0.0
        p00, p11, c, d = load(part, 0), load(part, 0), load(part, 0), load(part, 0)
        for p in range(start, min(start + _RUN, count)):
            i = (2 * p - (p & (bit - 1))) * LANES
            j = i + bit * LANES
            for plane in range(v.shape[0]):
                x, y = load(v[plane], i), load(v[plane], j)
                p00, p11, c = mul_add(x, x, p00), mul_add(y, y, p11), mul_add(x, y, c)
            if v.shape[0] == 2:
                d = mul_add(load(v[1], i), load(v[0], j), d)
                d = mul_add(neg(load(v[0], i)), load(v[1], j), d)
        store(part, 0, p00)
        store(part, LANES, p11)
        store(part, 2 * LANES, c)
        store(part, 3 * LANES, d)
        for k in range(4):
            for z in range(LANES):
                out[k, z] += part[k, z]


@nb.njit(cache=True)
def _step(m, kind, index, angles, matrices):  # type: ignore[no-untyped-def]
    """Return a step that has no chance in it, times the 2 × 2 matrix m."""
    s = np.empty((2, 2), np.complex128)
    if kind == MATRIX:
        s[:] = matrices[index]
    else:
        cos, sin = np.cos(angles[index] / 2), np.sin(angles[index] / 2)
        s[0, 0] = s[1, 1] = cos
        s[0, 1] = s[1, 0] = -1j * sin
        if kind == ROT_Y:
            s[0, 1], s[1, 0] = -sin, sin
        elif kind == ROT_Z:
            s[0, 1] = s[1, 0] = 0.0
            s[0, 0], s[1, 1] = cos - 1j * sin, cos + 1j * sin
    return _product(s, m)


@nb.njit(cache=True)
def _product(s, m):  # type: ignore[no-untyped-def]
    out = np.empty((2, 2), np.complex128)
    for i in range(2):
        for j in range(2):
            out[i, j] = s[i, 0] * m[0, j] + s[i, 1] * m[1, j]
    return out


@nb.njit(cache=True)
def _error(kind, code, jump, gamma):  # type: ignore[no-untyped-def]
    """Return a Pauli matrix, Y without its i so that real states stay real, or damping."""
    e = np.zeros((2, 2), np.complex128)
    if kind == PAULI:
        if code == 0 or code == 3:
            e[0, 0], e[1, 1] = 1.0, 1.0 if code == 0 else -1.0
        else:
            e[0, 1], e[1, 0] = 1.0 if code == 1 else -1.0, 1.0
    elif jump:
        e[0, 1] = 1.0
    else:
        e[0, 0], e[1, 1] = 1.0, np.sqrt(1.0 - gamma)
    return e


@nb.njit(cache=True)
def _matrix(segment, shot, rho, lane, codes, chances, angles, steps, segments, matrices, gammas):  # type: ignore[no-untyped-def]
    """Return the matrix of a segment in one shot; shot -1 is the run without any event.

    `rho` (4, LANES) is the qubit's state before, read only where damping may act.
    """
    m = np.eye(2, dtype=np.complex128)
    for s in range(segments[segment, 0], segments[segment, 1]):
        kind, index = steps[s, 0], steps[s, 1]
        if kind < PAULI:
            m = _step(m, kind, index, angles, matrices)
        elif kind == PAULI:
            if shot >= 0 and codes[shot, index]:
                m = _product(_error(kind, codes[shot, index], False, 0.0), m)
        else:
            jump = False
            if shot >= 0 and chances[shot, index] < 1.0:
                off = complex(rho[2, lane], rho[3, lane])
                weights = np.empty(2)
                for i in range(2):
                    cross = m[i, 0] * off * m[i, 1].conjugate()
                    weights[i] = (
                        abs(m[i, 0]) ** 2 * rho[0, lane] + abs(m[i, 1]) ** 2 * rho[1, lane]
                        + 2 * cross.real
                    )  # fmt: skip
                jump = chances[shot, index] * (weights[0] + weights[1]) < weights[1]
            m = _product(_error(kind, 0, jump, gammas[index]), m)
    return m


@nb.njit(cache=True)
def _put(m, lane, out):  # type: ignore[no-untyped-def]
    for i in range(2):
        for j in range(2):
            out[4 * i + 2 * j, lane] = m[i, j].real
            out[4 * i + 2 * j + 1, lane] = m[i, j].imag


@nb.njit(cache=True)
def _events(segment, shots, codes, chances, steps, segments):  # type: ignore[no-untyped-def]
    """Return 0 where no shot has an event in a segment, 2 where one may be damped, else 1."""
    found = 0
    for s in range(segments[segment, 0], segments[segment, 1]):
        kind, index = steps[s, 0], steps[s, 1]
        for shot in shots:
            if kind == PAULI and codes[shot, index]:
                found = max(found, 1)
            elif kind == DAMPING and chances[shot, index] < 1.0:
                found = 2
    return found


@nb.njit(cache=True)
def _prepare(  # type: ignore[no-untyped-def]
    v, qubit, segment, shots, out, base, rho, part, codes, chances, angles, steps, segments,
    matrices, gammas,
):  # fmt: skip
    """Write the lanes' matrices of a segment to `out` (8, LANES)."""
    events = _events(segment, shots, codes, chances, steps, segments)
    out[:] = base[segment]
    if events == 2:
        _reduced(v, qubit, part, rho)
    if events:
        for lane in range(LANES):
            m = _matrix(
                segment, shots[lane], rho, lane, codes, chances, angles, steps, segments,
                matrices, gammas,
            )  # fmt: skip
            _put(m, lane, out)
    return events


@nb.njit(cache=True)
def _weigh(v, measured, part, out):  # type: ignore[no-untyped-def]
    """Write the weights of the outcomes of the measured qubits to out (2^m, LANES)."""
    out[:] = 0.0
    for k in range(v.shape[1] // LANES):
        total = mul(load(v[0], k * LANES), load(v[0], k * LANES))
        if v.shape[0] == 2:
            total = add(total, mul(load(v[1], k * LANES), load(v[1], k * LANES)))
        store(part, 0, total)
        outcome = 0
        for bit in range(measured.size):
            outcome |= ((k >> measured[bit]) & 1) << bit
        for z in range(LANES):
            out[outcome, z] += part[0, z]


@nb.njit(cache=True)
def _draw(weights, lane, chance):  # type: ignore[no-untyped-def]
    """Return an outcome by its weight."""
    left = chance * weights[:, lane].sum()
    last = 0
    for outcome in range(weights.shape[0]):
        if weights[outcome, lane] > 0.0:
            last = outcome
            left -= weights[outcome, lane]
            if left < 0.0:
                break
    return last


@nb.njit(cache=True, nogil=True)
def run(  # type: ignore[no-untyped-def]
    start, stop, clean, work, order, first, codes, chances, draws, angles, gates, steps, segments,
    matrices, gammas, final, measured, outcomes, shares,
):  # fmt: skip
    """Run batches `start` … `stop` - 1 of `LANES` shots; the batch after the last is the clean run.

    See `hardware.emulation.trajectories.TrajectoryProgram` for the arrays. `order` lists the shots
    with events by `first`, the gate before which the first event happens. Up to there all shots
    share one state, `clean`, which is carried along; `work` is a second one. Writes the outcomes
    of these shots, and by the clean run the `shares` (2^m,) of the outcomes of all other shots.
    """
    num_gates, nobody = gates.shape[0], np.full(LANES, -1)
    base = np.empty((segments.shape[0], 8, LANES), clean.dtype)
    ma, mb = np.empty((8, LANES), clean.dtype), np.empty((8, LANES), clean.dtype)
    rho, part = np.zeros((4, LANES)), np.zeros((4, LANES), clean.dtype)
    one = np.zeros((8, LANES), clean.dtype)
    one[0], one[6] = 1.0, 1.0
    weights = np.empty((1 << measured.size, LANES))
    for segment in range(segments.shape[0]):
        m = _matrix(segment, -1, rho, 0, codes, chances, angles, steps, segments, matrices, gammas)
        for lane in range(LANES):
            _put(m, lane, base[segment])
    clean[:] = 0.0
    clean[0, :LANES] = 1.0
    reached = 0
    batches = -(-order.size // LANES)
    for batch in range(start, stop):
        shots, begin = nobody, num_gates
        if batch < batches:
            places = np.minimum(np.arange(batch * LANES, (batch + 1) * LANES), order.size - 1)
            shots = order[places]
            begin = min(num_gates, first[shots[0]])
        while reached < begin:
            kind, a, b, sa, sb = gates[reached]
            _apply(clean, kind, a, b, base[sa], base[sb])
            reached += 1
        work[:] = clean
        for g in range(begin, num_gates):
            kind, a, b, sa, sb = gates[g]
            _prepare(
                work, a, sa, shots, ma, base, rho, part, codes, chances, angles, steps, segments,
                matrices, gammas,
            )  # fmt: skip
            if _events(sb, shots, codes, chances, steps, segments) == 2:
                _single(work, a, ma)  # what happens to b depends on what has happened to a
                ma[:] = one
            _prepare(
                work, b, sb, shots, mb, base, rho, part, codes, chances, angles, steps, segments,
                matrices, gammas,
            )  # fmt: skip
            _apply(work, kind, a, b, ma, mb)
        for qubit in measured:
            if batch < batches:
                _prepare(
                    work, qubit, final[qubit], shots, ma, base, rho, part, codes, chances, angles,
                    steps, segments, matrices, gammas,
                )  # fmt: skip
            else:
                ma[:] = base[final[qubit]]
            _single(work, qubit, ma)
        _weigh(work, measured, part, weights)
        if batch == batches:
            shares[:] = weights[:, 0]
            continue
        for lane in range(min(LANES, order.size - batch * LANES)):
            outcomes[shots[lane]] = _draw(weights, lane, draws[shots[lane]])


renew_with_vectors(globals())
