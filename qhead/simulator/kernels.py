"""Compiled loops of the statevector simulator.

Layout. A block holds `LANES` samples side by side: amplitude k of lane l is element
``k * LANES + l`` of a flat array, so whatever the target qubit, the same arithmetic applies to all
elements of a vector and each sample may have angles of its own. A state is one such array (a
*plane*) where all gates are real, two (real and imaginary part) otherwise; a real gate acts on each
plane alone.

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

from qhead.simulator.vectors import LANES, load, mul, mul_add, neg, splat, store

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
def _real(v, target, control, value, m00, m01, m10, m11):  # type: ignore[no-untyped-def]
    """Apply a real matrix to one plane, where the control has the value."""
    bit = LANES << target
    block, first, run = _spans(target, control, value)
    for h in range(first, v.size + first, 2 * block):
        for k in range(h, h + block, 2 * run):
            for i in range(k, k + run, LANES):
                x, y = load(v, i), load(v, i + bit)
                store(v, i, mul_add(m00, x, mul(m01, y)))
                store(v, i + bit, mul_add(m10, x, mul(m11, y)))


@njit(**_OPTIONS)
def _real_back(v, w, target, control, value, m00, m01, m10, m11, acc):  # type: ignore[no-untyped-def]
    """Add w1 v0 - w0 v1 to `acc`, then apply a real matrix to a plane of v and of w."""
    bit = LANES << target
    block, first, run = _spans(target, control, value)
    for h in range(first, v.size + first, 2 * block):
        for k in range(h, h + block, 2 * run):
            for i in range(k, k + run, LANES):
                j = i + bit
                x, y, p, q = load(v, i), load(v, j), load(w, i), load(w, j)
                acc = mul_add(q, x, mul_add(neg(p), y, acc))
                store(v, i, mul_add(m00, x, mul(m01, y)))
                store(v, j, mul_add(m10, x, mul(m11, y)))
                store(w, i, mul_add(m00, p, mul(m01, q)))
                store(w, j, mul_add(m10, p, mul(m11, q)))
    return acc


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
        for plane in range(v.shape[0]):
            if kind == FIXED_REAL:
                a, b, c, d = matrices[g, 0], matrices[g, 2], matrices[g, 4], matrices[g, 6]
                _real(v[plane], target, control, 1, splat(a), splat(b), splat(c), splat(d))
                continue
            x, y = load(cosines, slot * LANES), load(sines, slot * LANES)
            if kind == RY:
                _real(v[plane], target, control, 1, x, neg(y), y, x)
            else:  # RY where the control is 0, RY X where it is 1
                _real(v[plane], target, control, 0, x, neg(y), y, x)
                _real(v[plane], target, control, 1, neg(y), x, x, y)


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
        for plane in range(v.shape[0]):
            if kind == FIXED_REAL:
                a, b, c, d = matrices[g, 0], matrices[g, 2], matrices[g, 4], matrices[g, 6]
                _real(v[plane], target, control, 1, splat(a), splat(c), splat(b), splat(d))
                _real(w[plane], target, control, 1, splat(a), splat(c), splat(b), splat(d))
                continue
            x, y = load(cosines, slot * LANES), load(sines, slot * LANES)
            acc = load(grads, slot * LANES)
            if kind == RY:
                acc = _real_back(v[plane], w[plane], target, control, 1, x, y, neg(y), x, acc)
            else:
                acc = _real_back(v[plane], w[plane], target, control, 0, x, y, neg(y), x, acc)
                acc = _real_back(v[plane], w[plane], target, control, 1, neg(y), x, x, y, acc)
            store(grads, slot * LANES, acc)


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
        cosines: (blocks, slots LANES), of the half angle (the whole one for PHASE).
        sines: likewise.
        out: (blocks, classes LANES); class c is the value of the top log2(classes) qubits.
    """
    m = np.zeros(8 * LANES, states.dtype)
    for b in range(states.shape[0]):
        _forward(states[b], operations, matrices, cosines[b], sines[b], m)
        _class_probabilities(states[b], out[b])


@njit(**_OPTIONS)
def pull_back(  # type: ignore[no-untyped-def]
    finals, weights, operations, matrices, cosines, sines, grads, starts
):
    """Pull R cotangents of the class probabilities back to angles and initial states.

    Args:
        finals: Final states of `probabilities`, kept, (blocks, planes, 2^n LANES).
        weights: (blocks, R, classes LANES).
        grads: Zeros, (blocks, R, slots LANES); receives the derivatives by operation angle.
        starts: (blocks, R, planes, 2^n LANES) or of no size; receives those by initial amplitude.
    """
    m = np.zeros(8 * LANES, finals.dtype)
    v = np.empty_like(finals[0])
    w = np.empty_like(finals[0])
    for b in range(finals.shape[0]):
        for r in range(weights.shape[1]):
            v[:] = finals[b]
            _weigh(v, weights[b, r], w)
            _backward(v, w, operations, matrices, cosines[b], sines[b], grads[b, r], m)
            if starts.size:
                starts[b, r] = 2 * w
