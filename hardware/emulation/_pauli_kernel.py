"""Compiled loops of `hardware.emulation.pauli_simulator`: one noisy circuit, many parameter sets.

The vector of one parameter set has 4^k components, k the number of digits; a digit stands for one
entangled qubit, with 0, 1, 2, 3 for I, X, Y, Z. `LANES` parameter sets are interleaved as the last
axis. All loops run in the precision of the vector.
"""

from __future__ import annotations

import numba as nb
import numpy as np

from hardware import vectors
from hardware.vectors import add, join, mul, mul_add, store
from hardware.vectors import load_wide as load

LANES = vectors.WIDE
TABLE, DENSE, EXTEND = 0, 1, 2
MATRIX, ROT_X, ROT_Y, ROT_Z = 0, 1, 2, 3
#: The segment of no steps: the identity.
NO_SEGMENT = 0


@nb.njit(cache=True)
def splat(number):  # type: ignore[no-untyped-def]
    """Return a vector that repeats one number."""
    half = vectors.splat(number)
    return join(half, half)


@nb.njit(cache=True)
def _segment_map(out, current, scratch, segment, first, angles, steps, segments, matrices):  # type: ignore[no-untyped-def]
    """Write into ``out`` (12, LANES) rows X, Y, Z (by columns I, X, Y, Z) of a segment's map.

    Lanes hold the rows first, first + 1, … of angles; the last row pads. `current` and `scratch`
    (4, 4, LANES) are working memory.
    """
    last_row = angles.shape[0] - 1
    current[:] = 0.0
    for i in range(4):
        current[i, i, :] = 1.0
    for s in range(segments[segment, 0], segments[segment, 1]):
        kind, index = steps[s, 0], steps[s, 1]
        if kind == MATRIX:
            for i in range(1, 4):
                for j in range(4):
                    for z in range(LANES):
                        scratch[i, j, z] = matrices[index, i, 0] * current[0, j, z]
                    for k in range(1, 4):
                        m = matrices[index, i, k]
                        for z in range(LANES):
                            scratch[i, j, z] += m * current[k, j, z]
            current[1:] = scratch[1:]
        else:
            # A rotation about an axis turns the other two: (y, z), (z, x) or (x, y).
            one = 1 + kind % 3
            two = 1 + (kind + 1) % 3
            for z in range(LANES):
                angle = angles[min(first + z, last_row), index]
                scratch[0, 0, z], scratch[0, 1, z] = np.cos(angle), np.sin(angle)
            for j in range(4):
                for z in range(LANES):
                    u, v = current[one, j, z], current[two, j, z]
                    current[one, j, z] = scratch[0, 0, z] * u - scratch[0, 1, z] * v
                    current[two, j, z] = scratch[0, 1, z] * u + scratch[0, 0, z] * v
    for i in range(3):
        for j in range(4):
            for z in range(LANES):
                out[4 * i + j, z] = current[i + 1, j, z]


@nb.njit(cache=True)
def _extend(r, size, mapped, even):  # type: ignore[no-untyped-def]
    """Append a digit: the qubit is |0⟩ followed by `mapped`."""
    for digit in range(1, 4):
        row = 4 * (digit - 1) * LANES
        bloch = add(load(mapped, row), load(mapped, row + 3 * LANES))
        if even and digit == 2:
            bloch = splat(r.dtype.type(0))
        for i in range(0, size * LANES, LANES):
            store(r, digit * size * LANES + i, mul(bloch, load(r, i)))


@nb.njit(cache=True)
def _row(m, row, x0, x1, x2, x3):  # type: ignore[no-untyped-def]
    """Return one row of a map applied to the four components of a digit."""
    o = 4 * row * LANES
    y = mul_add(load(m, o), x0, mul(load(m, o + LANES), x1))
    return mul_add(load(m, o + 2 * LANES), x2, mul_add(load(m, o + 3 * LANES), x3, y))


@nb.njit(cache=True)
def _pass(r, t, size, a, b, ma, mb, destination, factor):  # type: ignore[no-untyped-def]
    """Apply one-qubit maps to digits a and b, then a signed and scaled permutation of the pair."""
    sa, sb = LANES << (2 * a), LANES << (2 * b)
    low, high = min(sa, sb), max(sa, sb)
    for top in range(0, size * LANES, 4 * high):
        for middle in range(top, top + high, 4 * low):
            for base in range(middle, middle + low, LANES):
                for i in range(4):
                    o, to = base + i * sb, 4 * i * LANES
                    x0, x1, x2, x3 = (
                        load(r, o), load(r, o + sa), load(r, o + 2 * sa), load(r, o + 3 * sa),
                    )  # fmt: skip
                    store(t, to, x0)
                    store(t, to + LANES, _row(ma, 0, x0, x1, x2, x3))
                    store(t, to + 2 * LANES, _row(ma, 1, x0, x1, x2, x3))
                    store(t, to + 3 * LANES, _row(ma, 2, x0, x1, x2, x3))
                for j in range(4):
                    to = j * LANES
                    x0, x1, x2, x3 = (
                        load(t, to), load(t, to + 4 * LANES), load(t, to + 8 * LANES),
                        load(t, to + 12 * LANES),
                    )  # fmt: skip
                    d0, d1, d2, d3 = (
                        destination[j], destination[4 + j], destination[8 + j], destination[12 + j],
                    )  # fmt: skip
                    store(r, _at(base, d0, sa, sb), mul(splat(factor[j]), x0))
                    y1, y2, y3 = (
                        _row(mb, 0, x0, x1, x2, x3), _row(mb, 1, x0, x1, x2, x3),
                        _row(mb, 2, x0, x1, x2, x3),
                    )  # fmt: skip
                    store(r, _at(base, d1, sa, sb), mul(splat(factor[4 + j]), y1))
                    store(r, _at(base, d2, sa, sb), mul(splat(factor[8 + j]), y2))
                    store(r, _at(base, d3, sa, sb), mul(splat(factor[12 + j]), y3))


@nb.njit(cache=True)
def _at(base, pair, sa, sb):  # type: ignore[no-untyped-def]
    """Return where a component of a pair of digits is."""
    return base + (pair & 3) * sa + (pair >> 2) * sb


@nb.njit(cache=True)
def _even_pass(r, t, size, a, b, ma, mb, destination, factor, odd_digits, odd):  # type: ignore[no-untyped-def]
    """Do as `_pass` for components with an even number of Y, where the maps mix no Y with I, X, Z.

    `odd_digits` says which components have an odd number of Y within the block, `odd` whether the
    digits outside have. Other components are neither read nor written.
    """
    sa, sb = LANES << (2 * a), LANES << (2 * b)
    low, high = min(sa, sb), max(sa, sb)
    a10, a11, a13, a22 = load(ma, 0), load(ma, LANES), load(ma, 3 * LANES), load(ma, 6 * LANES)
    a30, a31, a33 = load(ma, 8 * LANES), load(ma, 9 * LANES), load(ma, 11 * LANES)
    b10, b11, b13, b22 = load(mb, 0), load(mb, LANES), load(mb, 3 * LANES), load(mb, 6 * LANES)
    b30, b31, b33 = load(mb, 8 * LANES), load(mb, 9 * LANES), load(mb, 11 * LANES)
    for top in range(0, size * LANES, 4 * high):
        for middle in range(top, top + high, 4 * low):
            for base in range(middle, middle + low, LANES):
                one_y = odd_digits[base // LANES] != odd  # the pair has one Y, else none or two
                for i in range(4):
                    o, to = base + i * sb, 4 * i * LANES
                    if (i == 2) == one_y:
                        x0, x1, x3 = load(r, o), load(r, o + sa), load(r, o + 3 * sa)
                        y1 = mul_add(a10, x0, mul_add(a11, x1, mul(a13, x3)))
                        y3 = mul_add(a30, x0, mul_add(a31, x1, mul(a33, x3)))
                        store(t, to, x0)
                        store(t, to + LANES, y1)
                        store(t, to + 3 * LANES, y3)
                    else:
                        store(t, to + 2 * LANES, mul(a22, load(r, o + 2 * sa)))
                for j in range(4):
                    to = j * LANES
                    if (j == 2) == one_y:
                        x0, x1, x3 = (
                            load(t, to), load(t, to + 4 * LANES), load(t, to + 12 * LANES),
                        )  # fmt: skip
                        y1 = mul_add(b10, x0, mul_add(b11, x1, mul(b13, x3)))
                        y3 = mul_add(b30, x0, mul_add(b31, x1, mul(b33, x3)))
                        d0, d1, d3 = destination[j], destination[4 + j], destination[12 + j]
                        store(r, _at(base, d0, sa, sb), mul(splat(factor[j]), x0))
                        store(r, _at(base, d1, sa, sb), mul(splat(factor[4 + j]), y1))
                        store(r, _at(base, d3, sa, sb), mul(splat(factor[12 + j]), y3))
                    else:
                        y2 = mul(b22, load(t, to + 8 * LANES))
                        store(
                            r, _at(base, destination[8 + j], sa, sb),
                            mul(splat(factor[8 + j]), y2),
                        )  # fmt: skip


@nb.njit(cache=True)
def _dense(r, t, size, a, b, matrix):  # type: ignore[no-untyped-def]
    """Apply a (16, 16) map to digits a and b."""
    sa, sb = LANES << (2 * a), LANES << (2 * b)
    low, high = min(sa, sb), max(sa, sb)
    for top in range(0, size * LANES, 4 * high):
        for middle in range(top, top + high, 4 * low):
            for base in range(middle, middle + low, LANES):
                for k in range(16):
                    store(t, k * LANES, load(r, _at(base, k, sa, sb)))
                for k in range(16):
                    total = mul(splat(matrix[k, 0]), load(t, 0))
                    for j in range(1, 16):
                        if matrix[k, j] != 0.0:
                            total = mul_add(splat(matrix[k, j]), load(t, j * LANES), total)
                    store(r, _at(base, k, sa, sb), total)


@nb.njit(cache=True)
def _contract(r, blocks, stride, mapped):  # type: ignore[no-untyped-def]
    """Reduce the top remaining digit to (I, Z) after `mapped`; compacts in place."""
    run = stride * LANES
    for block in range(blocks):
        source, target = block * 4 * run, block * 2 * run
        for i in range(0, run, LANES):
            o = source + i
            x0, x1, x2, x3 = (
                load(r, o), load(r, o + run), load(r, o + 2 * run), load(r, o + 3 * run),
            )  # fmt: skip
            store(r, target + i, x0)
            store(r, target + run + i, _row(mapped, 2, x0, x1, x2, x3))


@nb.njit(cache=True)
def _enumerate(digits, count, offset, odd):  # type: ignore[no-untyped-def]
    """List all components of some digits: where each is in the vector, and if its Y are odd."""
    offset[0], odd[0] = 0, False
    for k in range(count):
        for digit in range(1, 4):
            for i in range(1 << (2 * k)):
                offset[(digit << (2 * k)) + i] = offset[i] + (digit << (2 * digits[k]))
                odd[(digit << (2 * k)) + i] = odd[i] != (digit == 2)


@nb.njit(cache=True)
def _run_pass(  # type: ignore[no-untyped-def]
    r, block, t, which, maps, ops, passes, digits, leaving, dense, destinations, factors, even,
    offset, odd, outer_offset, outer_odd,
):  # fmt: skip
    """Take every block of one pass from the vector, apply the pass's gates, put it back."""
    num_before, num_after = passes[which, 2], passes[which, 3]
    _enumerate(digits[which], num_after, offset, odd)
    _enumerate(digits[which, num_after:], passes[which, 4], outer_offset, outer_odd)
    summed_out = 0
    for k in range(num_after):
        summed_out |= 3 * leaving[which, k] << (2 * k)
    for outer in range(1 << (2 * passes[which, 4])):
        start, outer_is_odd = outer_offset[outer], outer_odd[outer]
        for i in range(1 << (2 * num_before)):
            if not even or odd[i] == outer_is_odd:
                store(block, i * LANES, load(r, (start + offset[i]) * LANES))
        size = 1 << (2 * num_before)
        for op in range(passes[which, 0], passes[which, 1]):
            kind, a, b, table = ops[op, 0], ops[op, 1], ops[op, 2], ops[op, 5]
            ma, mb = maps[ops[op, 3]], maps[ops[op, 4]]
            if kind == EXTEND:
                _extend(block, size, ma, even)
                size *= 4
            elif kind == DENSE:
                _pass(block, t, size, a, b, ma, mb, destinations[0], factors[0])
                _dense(block, t, size, a, b, dense[table])
            elif even:
                _even_pass(
                    block, t, size, a, b, ma, mb, destinations[table], factors[table], odd,
                    outer_is_odd,
                )  # fmt: skip
            else:
                _pass(block, t, size, a, b, ma, mb, destinations[table], factors[table])
        for i in range(size):
            if not i & summed_out and (not even or odd[i] == outer_is_odd):
                store(r, (start + offset[i]) * LANES, load(block, i * LANES))


@nb.njit(cache=True)
def _finish(r, first, num_rows, maps, final, slots, even, offset, odd, moments, single):  # type: ignore[no-untyped-def]
    """Write the expectation values of `evolve` from the final vector."""
    left = np.flatnonzero(slots >= 0)
    order = left[np.argsort(slots[left])]
    _enumerate(slots[order], order.size, offset, odd)
    for i in range(1 << (2 * order.size)):  # digits that have left leave gaps
        if even and odd[i]:
            r[i] = 0.0  # was never written
        else:
            r[i] = r[offset[i]]
    blocks = 1
    for digit in range(order.size - 1, -1, -1):
        _contract(r, blocks, 1 << (2 * digit), maps[final[order[digit]]])
        blocks *= 2
    for lane in range(min(LANES, num_rows - first)):
        for i in range(blocks):
            moments[first + lane, i] = r[i, lane]
        for qubit in range(slots.size):
            mapped = maps[final[qubit]]
            single[first + lane, qubit] = mapped[8, lane] + mapped[11, lane]


@nb.njit(cache=True, nogil=True)
def evolve(  # type: ignore[no-untyped-def]
    start, stop, r, angles, ops, passes, digits, leaving, steps, segments, matrices, dense,
    destinations, factors, even, final, slots, moments, single,
):  # fmt: skip
    """Evolve groups `start` … `stop` - 1 of `LANES` rows each, in the precision of `r`.

    See `hardware.emulation.pauli_simulator.PauliProgram` and `pauli_passes.Passes` for the arrays.
    Writes the groups' rows of `moments` (N, 2^m), the expectation values of the Z strings on the
    qubits that are left in the vector (top digit slowest), and of `single` (N, n), <Z> of every
    qubit that was never entangled. `r` (4^k, `LANES`) belongs to the caller's thread.
    """
    left = np.sum(slots >= 0)
    largest_block = largest_outer = 1
    for which in range(passes.shape[0]):
        largest_block = max(largest_block, 1 << (2 * passes[which, 3]))
        largest_outer = max(largest_outer, 1 << (2 * passes[which, 4]))
    most = max(largest_block, 1 << (2 * left))
    offset, odd = np.empty(most, np.int64), np.empty(most, np.bool_)
    outer_offset, outer_odd = np.empty(largest_outer, np.int64), np.empty(largest_outer, np.bool_)
    block, t = np.zeros((largest_block, LANES), r.dtype), np.empty((16, LANES), r.dtype)
    maps = np.empty((segments.shape[0], 12, LANES), r.dtype)
    current, scratch = np.empty((4, 4, LANES)), np.empty((4, 4, LANES))
    for group in range(start, stop):
        for segment in range(segments.shape[0]):
            _segment_map(
                maps[segment], current, scratch, segment, group * LANES, angles, steps, segments,
                matrices,
            )  # fmt: skip
        r[0] = 1.0
        for which in range(passes.shape[0]):
            _run_pass(
                r, block, t, which, maps, ops, passes, digits, leaving, dense, destinations,
                factors, even, offset, odd, outer_offset, outer_odd,
            )  # fmt: skip
        _finish(
            r, group * LANES, angles.shape[0], maps, final, slots, even, offset, odd, moments,
            single,
        )  # fmt: skip


vectors.renew_with_vectors(globals())
