"""Compiled loops of the statevector simulator.

Layout. A block holds `LANES` samples side by side: amplitude k of lane l is element
``k * LANES + l`` of a flat array, so whatever the target qubit, the same arithmetic applies to all
elements of a vector and each sample may have angles of its own. A state is one such array (a
*plane*) where all gates are real, two (real and imaginary part) otherwise.

Technique. Forward once, then the adjoint method (Jones and Gacon 2020, arXiv 2009.02823): carry the
state and the observable applied to it backwards through the inverse gates and read each parameter's
derivative off their overlap. Memory does not grow with depth and the whole gradient costs about
three forward passes, whatever the number of parameters. ``CX(c, t)`` followed by ``RY(t)``, the
cell of the paper's ansatz, is one operation.

The kernels release the interpreter lock; `qhead.simulator.engine` shares blocks among threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from hardware.vectors import (
    LANES,
    WIDE,
    add,
    high,
    join,
    load,
    load_wide,
    low,
    mul,
    mul_add,
    neg,
    renew_with_vectors,
    splat,
    store,
    swap,
)

# Kinds of operation. Those from FIXED_COMPLEX on need two planes.
FIXED_REAL, RY, CX_RY, FIXED_COMPLEX, RX, RZ, PHASE = range(7)

_OPTIONS: dict[str, Any] = {"fastmath": True, "nogil": True, "cache": True}


@njit(**_OPTIONS)
def _spans(target, control, value):  # type: ignore[no-untyped-def]
    """Return (block, first, run): how to walk the pairs whose control qubit has a value.

    Pairs start at ``h + first + 2 run i`` with h a multiple of ``2 block`` and stay within
    ``block``, in runs of ``run`` elements; the partner lies ``LANES << target`` further.
    """
    bit = LANES << target
    if control < 0:
        return bit, 0, bit
    return (
        LANES << max(target, control),
        value * (LANES << control),
        LANES << min(target, control),
    )


@njit(**_OPTIONS)
def _first(p, low_bit, high_bit):  # type: ignore[no-untyped-def]
    """Return the p-th index whose two bits (high_bit 0: only low_bit) are zero."""
    i = 2 * p - (p & (low_bit - 1))
    return 2 * i - (i & (high_bit - 1)) if high_bit else i


@njit(**_OPTIONS)
def _walk(v, target, control):  # type: ignore[no-untyped-def]
    """Return (bit, low_bit, high_bit, control_bit, count) of a plane's pairs of wide vectors.

    Bits are those of the index of a wide vector, whose own bit 0 is inside; qubit 0 as the control
    is told apart by the coefficients, and as the target there are single vectors in place of pairs.
    """
    vectors, bit = v.size // WIDE, (1 << target) >> 1
    control_bit = 0 if control < 1 else 1 << (control - 1)
    if bit and control_bit:
        return bit, min(bit, control_bit), max(bit, control_bit), control_bit, vectors // 4
    one = bit + control_bit
    return bit, one, 0, control_bit, vectors // 2 if one else vectors


@njit(**_OPTIONS)
def _real(v, target, control, value, a, b, c, d):  # type: ignore[no-untyped-def]
    """Apply a real matrix of wide coefficients to one plane, where the control has the value.

    With qubit 0 as the target, `a` holds the diagonal and `b` what is beside it.
    """
    bit, low_bit, high_bit, control_bit, count = _walk(v, target, control)
    if not bit:
        for p in range(count):
            i = WIDE * ((_first(p, low_bit, 0) if low_bit else p) + value * control_bit)
            x = load_wide(v, i)
            store(v, i, mul_add(a, x, mul(b, swap(x))))
        return
    for p in range(count):
        i = WIDE * (_first(p, low_bit, high_bit) + value * control_bit)
        j = i + WIDE * bit
        x, y = load_wide(v, i), load_wide(v, j)
        store(v, i, mul_add(a, x, mul(b, y)))
        store(v, j, mul_add(c, x, mul(d, y)))


@njit(**_OPTIONS)
def _real_back(v, w, target, control, value, a, b, c, d):  # type: ignore[no-untyped-def]
    """As `_real` on a plane of v and one of w; return the overlap w1 v0 - w0 v1 of before, wide."""
    bit, low_bit, high_bit, control_bit, count = _walk(v, target, control)
    # Two sums: one would wait for itself, two multiplications long, at every step.
    plus = minus = join(splat(v.dtype.type(0)), splat(v.dtype.type(0)))
    if not bit:
        for p in range(count):
            i = WIDE * ((_first(p, low_bit, 0) if low_bit else p) + value * control_bit)
            x, y = load_wide(v, i), load_wide(w, i)
            plus = mul_add(y, swap(x), plus)
            store(v, i, mul_add(a, x, mul(b, swap(x))))
            store(w, i, mul_add(a, y, mul(b, swap(y))))
        return join(high(plus), neg(low(plus)))
    for p in range(count):
        i = WIDE * (_first(p, low_bit, high_bit) + value * control_bit)
        j = i + WIDE * bit
        x, y, s, t = load_wide(v, i), load_wide(v, j), load_wide(w, i), load_wide(w, j)
        plus, minus = mul_add(t, x, plus), mul_add(s, y, minus)
        store(v, i, mul_add(a, x, mul(b, y)))
        store(v, j, mul_add(c, x, mul(d, y)))
        store(w, i, mul_add(a, s, mul(b, t)))
        store(w, j, mul_add(c, s, mul(d, t)))
    return add(plus, neg(minus))


@njit(**_OPTIONS)
def _matrices(kind, back, fixed, c, s):  # type: ignore[no-untyped-def]
    """Return a real operation's matrix where the control is 1, or missing, and where it is 0.

    Both by row; of the inverse operation if `back`. `fixed` is a row of ``matrices``, c and s are
    the cosine and sine of half the angle.
    """
    turn = neg(s) if back else s
    if kind == CX_RY:  # RY X is symmetric and so its own inverse
        return (neg(s), c, c, s), (c, neg(turn), turn, c)
    one, zero = splat(fixed.dtype.type(1)), splat(fixed.dtype.type(0))
    off = (one, zero, zero, one)
    if kind == RY:
        return (c, neg(turn), turn, c), off
    up, down = splat(fixed[2]), splat(fixed[4])
    if back:
        up, down = down, up
    return (splat(fixed[0]), up, down, splat(fixed[6])), off


@njit(**_OPTIONS)
def _wide(target, control, on, off):  # type: ignore[no-untyped-def]
    """Return the coefficients that `_real` takes for the matrix `on`, and `off` beside it."""
    if control == 0:  # each vector holds both values of the control
        return join(off[0], on[0]), join(off[1], on[1]), join(off[2], on[2]), join(off[3], on[3])
    if target == 0:
        diagonal, beside = join(on[0], on[3]), join(on[1], on[2])
        return diagonal, beside, diagonal, beside
    return join(on[0], on[0]), join(on[1], on[1]), join(on[2], on[2]), join(on[3], on[3])


@njit(**_OPTIONS)
def _row(ar, ai, xr, xi, br, bi, yr, yi):  # type: ignore[no-untyped-def]
    """Return the real and imaginary part of a x + b y."""
    re = mul_add(ar, xr, mul_add(neg(ai), xi, mul_add(br, yr, mul(neg(bi), yi))))
    im = mul_add(ar, xi, mul_add(ai, xr, mul_add(br, yi, mul(bi, yr))))
    return re, im


@njit(**_OPTIONS)
def _complex(re, im, target, control, m):  # type: ignore[no-untyped-def]
    """Apply a complex matrix, (8 LANES,) elements re, im by row, where the control is 1."""
    ar, ai, br, bi = load(m, 0), load(m, LANES), load(m, 2 * LANES), load(m, 3 * LANES)
    cr, ci, dr, di = (
        load(m, 4 * LANES), load(m, 5 * LANES), load(m, 6 * LANES), load(m, 7 * LANES),
    )  # fmt: skip
    bit = LANES << target
    block, first, run = _spans(target, control, 1)
    for h in range(first, re.size + first, 2 * block):
        for k in range(h, h + block, 2 * run):
            for i in range(k, k + run, LANES):
                j = i + bit
                xr, xi, yr, yi = load(re, i), load(im, i), load(re, j), load(im, j)
                ur, ui = _row(ar, ai, xr, xi, br, bi, yr, yi)
                store(re, i, ur)
                store(im, i, ui)
                ur, ui = _row(cr, ci, xr, xi, dr, di, yr, yi)
                store(re, j, ur)
                store(im, j, ui)


@njit(**_OPTIONS)
def _imaginary(pr, pi, xr, xi, acc):  # type: ignore[no-untyped-def]
    """Return acc + Im(conj(p) x)."""
    return mul_add(pr, xi, mul_add(neg(pi), xr, acc))


@njit(**_OPTIONS)
def _complex_overlap(v, w, kind, target, control, acc):  # type: ignore[no-untyped-def]
    """Return acc + 2 Im <w| G |v> where G generates the operation just applied to v.

    G is X/2 or Z/2 for a rotation and -|1><1| for a phase, where the control is 1.
    """
    bit = LANES << target
    block, first, run = _spans(target, control, 1)
    vr, vi, wr, wi = v[0], v[1], w[0], w[1]
    for h in range(first, vr.size + first, 2 * block):
        for k in range(h, h + block, 2 * run):
            for i in range(k, k + run, LANES):
                j = i + bit
                xr, xi, yr, yi = load(vr, i), load(vi, i), load(vr, j), load(vi, j)
                pr, pi, qr, qi = load(wr, i), load(wi, i), load(wr, j), load(wi, j)
                if kind == RX:
                    acc = _imaginary(pr, pi, yr, yi, _imaginary(qr, qi, xr, xi, acc))
                elif kind == RZ:
                    acc = _imaginary(pr, pi, xr, xi, acc)
                    acc = _imaginary(qr, qi, neg(yr), neg(yi), acc)
                else:
                    acc = _imaginary(qr, qi, neg(yr), neg(yi), acc)
                    acc = _imaginary(qr, qi, neg(yr), neg(yi), acc)
    return acc


@njit(**_OPTIONS)
def _complex_matrix(kind, dagger, fixed, cosines, sines, slot, m):  # type: ignore[no-untyped-def]
    """Write a complex operation's matrices, one a lane, (8 LANES,) elements re, im by row."""
    zero = splat(m.dtype.type(0))
    for i in range(8):
        store(m, i * LANES, zero)
    if kind == FIXED_COMPLEX:
        for i in range(8):
            # Transposing swaps 01 with 10; conjugating negates the imaginary parts.
            j = (i + 2 if i // 2 == 1 else i - 2 if i // 2 == 2 else i) if dagger else i
            number = -fixed[j] if dagger and i % 2 == 1 else fixed[j]
            store(m, i * LANES, splat(number))
        return
    c, s = load(cosines, slot * LANES), load(sines, slot * LANES)
    if dagger:
        s = neg(s)
    if kind == RX:
        store(m, 0, c)
        store(m, 3 * LANES, neg(s))
        store(m, 5 * LANES, neg(s))
        store(m, 6 * LANES, c)
    elif kind == RZ:
        store(m, 0, c)
        store(m, LANES, neg(s))
        store(m, 6 * LANES, c)
        store(m, 7 * LANES, s)
    else:  # PHASE: c and s are of the whole angle
        store(m, 0, splat(m.dtype.type(1)))
        store(m, 6 * LANES, c)
        store(m, 7 * LANES, s)


@njit(**_OPTIONS)
def _forward(v, operations, matrices, cosines, sines, m):  # type: ignore[no-untyped-def]
    """Apply all operations to a state (planes, 2^n LANES)."""
    for g in range(operations.shape[0]):
        kind, target, control, slot = operations[g]
        if kind >= FIXED_COMPLEX:
            _complex_matrix(kind, False, matrices[g], cosines, sines, slot, m)
            _complex(v[0], v[1], target, control, m)
            continue
        x, y = load(cosines, slot * LANES), load(sines, slot * LANES)
        on, off = _matrices(kind, False, matrices[g], x, y)
        for value in range(1 if kind != CX_RY or control == 0 else 0, 2):
            a, b, c, d = _wide(target, control, on if value else off, off)
            for plane in range(v.shape[0]):
                _real(v[plane], target, control, value, a, b, c, d)


@njit(**_OPTIONS)
def _backward(v, w, operations, matrices, cosines, sines, grads, m):  # type: ignore[no-untyped-def]
    """Carry v and w back to the start; grads[slot LANES + lane] += d/d angle."""
    for back in range(operations.shape[0]):
        g = operations.shape[0] - 1 - back
        kind, target, control, slot = operations[g]
        if kind >= FIXED_COMPLEX:
            if kind != FIXED_COMPLEX:
                acc = load(grads, slot * LANES)
                acc = _complex_overlap(v, w, kind, target, control, acc)
                store(grads, slot * LANES, acc)
            _complex_matrix(kind, True, matrices[g], cosines, sines, slot, m)
            _complex(v[0], v[1], target, control, m)
            _complex(w[0], w[1], target, control, m)
            continue
        x, y = load(cosines, slot * LANES), load(sines, slot * LANES)
        on, off = _matrices(kind, True, matrices[g], x, y)
        gap = join(splat(v.dtype.type(0)), splat(v.dtype.type(0)))
        for value in range(1 if kind != CX_RY or control == 0 else 0, 2):
            a, b, c, d = _wide(target, control, on if value else off, off)
            for plane in range(v.shape[0]):
                gap = add(gap, _real_back(v[plane], w[plane], target, control, value, a, b, c, d))
        if kind == FIXED_REAL:
            continue
        total = add(load(grads, slot * LANES), high(gap))
        # Where qubit 0 controls an RY, the lower halves are not turned.
        store(grads, slot * LANES, total if kind == RY and control == 0 else add(total, low(gap)))


@njit(**_OPTIONS)
def _class_probabilities(v, out):  # type: ignore[no-untyped-def]
    """out[class LANES + lane] = probability that the top bits are `class`; v as in `_forward`."""
    classes = out.size // LANES
    run = v.shape[1] // classes
    for k in range(classes):
        total = splat(v.dtype.type(0))
        for plane in range(v.shape[0]):
            x = v[plane]
            for i in range(k * run, (k + 1) * run, LANES):
                amplitude = load(x, i)
                total = mul_add(amplitude, amplitude, total)
        store(out, k * LANES, total)


@njit(**_OPTIONS)
def _weigh(v, weights, w):  # type: ignore[no-untyped-def]
    """w = v scaled by weights[class LANES + lane]: the diagonal cotangent applied to the state."""
    classes = weights.size // LANES
    run = v.shape[1] // classes
    for plane in range(v.shape[0]):
        x, y = v[plane], w[plane]
        for k in range(classes):
            factor = load(weights, k * LANES)
            for i in range(k * run, (k + 1) * run, LANES):
                store(y, i, mul(factor, load(x, i)))


@njit(**_OPTIONS)
def probabilities(states, operations, matrices, cosines, sines, out):  # type: ignore[no-untyped-def]
    """Run each block forward and write its class probabilities.

    Args:
        states: Initial states, overwritten with the final ones, (blocks, planes, 2^n LANES).
        operations: (G, 4) int64 rows kind, target, control or -1, slot.
        matrices: (G, 8) matrices of the fixed operations, re and im by row.
        cosines: (blocks, slots LANES), of the half angle (the whole one for PHASE); one row where
            all blocks share it.
        sines: likewise.
        out: (blocks, classes LANES); class c is the value of the top log2(classes) qubits.
    """
    m = np.zeros(8 * LANES, states.dtype)
    for b in range(states.shape[0]):
        row = min(b, cosines.shape[0] - 1)
        _forward(states[b], operations, matrices, cosines[row], sines[row], m)
        _class_probabilities(states[b], out[b])


@njit(**_OPTIONS)
def pull_back(  # type: ignore[no-untyped-def]
    finals, weights, operations, matrices, cosines, sines, grads, starts, spend
):
    """Pull R cotangents of the class probabilities back to angles and initial states.

    Args:
        finals: Final states of `probabilities`, kept, (blocks, planes, 2^n LANES).
        weights: (blocks, R, classes LANES).
        grads: Zeros, (blocks, R, slots LANES); receives the derivatives by operation angle.
        starts: (blocks, R, planes, 2^n LANES) or of no size; receives those by initial amplitude.
        spend: Let the last row work on the final states themselves.
    """
    m = np.zeros(8 * LANES, finals.dtype)
    rows = weights.shape[1]
    copy = finals[0] if spend and rows == 1 else np.empty_like(finals[0])
    w = np.empty_like(finals[0])
    for b in range(finals.shape[0]):
        row = min(b, cosines.shape[0] - 1)
        c, s = cosines[row], sines[row]
        for r in range(rows):
            v = finals[b]
            if not spend or r < rows - 1:
                copy[:] = v
                v = copy
            _weigh(v, weights[b, r], w)
            _backward(v, w, operations, matrices, c, s, grads[b, r], m)
            if starts.size:
                starts[b, r] = 2 * w


@njit(**_OPTIONS)
def carry_back(finals, w, operations, matrices, cosines, sines, grads):  # type: ignore[no-untyped-def]
    """Carry cotangents of the final states themselves back; arguments as `pull_back` has them.

    Args:
        w: (blocks, planes, 2^n LANES), half the derivatives by the final states; overwritten.
        grads: Zeros, (blocks, slots LANES); receives the derivatives by operation angle.
    """
    m = np.zeros(8 * LANES, finals.dtype)
    v = np.empty_like(finals[0])
    for b in range(finals.shape[0]):
        row = min(b, cosines.shape[0] - 1)
        v[:] = finals[b]
        _backward(v, w[b], operations, matrices, cosines[row], sines[row], grads[b], m)


renew_with_vectors(globals())
