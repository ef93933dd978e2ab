"""Compiled loops of `hardware.emulation.pauli_simulator`: one noisy circuit, many parameter sets.

The vector of one parameter set has 4^k components, k the number of qubits entangled so far; qubit q
is base-4 digit ``digits[q]`` with 0, 1, 2, 3 for I, X, Y, Z. `LANES` parameter sets are interleaved
as the last axis.
"""

from __future__ import annotations

import numba as nb
import numpy as np

LANES = 8
TABLE, DENSE = 0, 1
MATRIX, ROT_X, ROT_Y, ROT_Z = 0, 1, 2, 3


@nb.njit(cache=True)
def _segment_map(out, segment, lane, angles, steps, segments, matrices):  # type: ignore[no-untyped-def]
    """Write into ``out[:, lane]`` rows X, Y, Z (by columns I, X, Y, Z) of a segment's map."""
    current = np.zeros((4, 4))
    scratch = np.zeros((4, 4))
    for i in range(4):
        current[i, i] = 1.0
    for s in range(segments[segment, 0], segments[segment, 1]):
        kind, index = steps[s, 0], steps[s, 1]
        if kind == MATRIX:
            for i in range(4):
                for j in range(4):
                    total = 0.0
                    for k in range(4):
                        total += matrices[index, i, k] * current[k, j]
                    scratch[i, j] = total
            for i in range(4):
                for j in range(4):
                    current[i, j] = scratch[i, j]
        else:
            c, s_ = np.cos(angles[index]), np.sin(angles[index])
            # A rotation about an axis turns the other two: (y, z), (z, x) or (x, y).
            first = 1 + kind % 3
            second = 1 + (kind + 1) % 3
            for j in range(4):
                u, v = current[first, j], current[second, j]
                current[first, j] = c * u - s_ * v
                current[second, j] = s_ * u + c * v
    for i in range(3):
        for j in range(4):
            out[4 * i + j, lane] = current[i + 1, j]


@nb.njit(cache=True)
def _identity(out):  # type: ignore[no-untyped-def]
    out[:] = 0.0
    for i in range(3):
        out[4 * i + i + 1] = 1.0


@nb.njit(cache=True)
def _extend(r, size, mapped):  # type: ignore[no-untyped-def]
    """Append a digit: the qubit is |0⟩ followed by `mapped`."""
    for digit in range(1, 4):
        row = 4 * (digit - 1)
        for i in range(size):
            for lane in range(LANES):
                bloch = mapped[row, lane] + mapped[row + 3, lane]
                r[digit * size + i, lane] = bloch * r[i, lane]


@nb.njit(cache=True, fastmath=True)
def _pass(r, size, a, b, ma, mb, destination, factor):  # type: ignore[no-untyped-def]
    """Apply one-qubit maps to digits a and b, then a signed and scaled permutation of the pair."""
    sa, sb = 1 << (2 * a), 1 << (2 * b)
    low, high = min(sa, sb), max(sa, sb)
    t = np.empty((16, LANES))
    for top in range(0, size, 4 * high):
        for middle in range(top, top + high, 4 * low):
            for base in range(middle, middle + low):
                for i in range(4):
                    o = base + i * sb
                    for z in range(LANES):
                        x0, x1, x2, x3 = r[o, z], r[o + sa, z], r[o + 2 * sa, z], r[o + 3 * sa, z]
                        t[4 * i, z] = x0
                        t[4 * i + 1, z] = (
                            ma[0, z] * x0 + ma[1, z] * x1 + ma[2, z] * x2 + ma[3, z] * x3
                        )
                        t[4 * i + 2, z] = (
                            ma[4, z] * x0 + ma[5, z] * x1 + ma[6, z] * x2 + ma[7, z] * x3
                        )
                        t[4 * i + 3, z] = (
                            ma[8, z] * x0 + ma[9, z] * x1 + ma[10, z] * x2 + ma[11, z] * x3
                        )
                for j in range(4):
                    d0, d1, d2, d3 = (
                        destination[j], destination[4 + j], destination[8 + j], destination[12 + j],
                    )  # fmt: skip
                    f0, f1, f2, f3 = factor[j], factor[4 + j], factor[8 + j], factor[12 + j]
                    o0 = base + (d0 & 3) * sa + (d0 >> 2) * sb
                    o1 = base + (d1 & 3) * sa + (d1 >> 2) * sb
                    o2 = base + (d2 & 3) * sa + (d2 >> 2) * sb
                    o3 = base + (d3 & 3) * sa + (d3 >> 2) * sb
                    for z in range(LANES):
                        x0, x1, x2, x3 = t[j, z], t[4 + j, z], t[8 + j, z], t[12 + j, z]
                        r[o0, z] = f0 * x0
                        r[o1, z] = f1 * (
                            mb[0, z] * x0 + mb[1, z] * x1 + mb[2, z] * x2 + mb[3, z] * x3
                        )
                        r[o2, z] = f2 * (
                            mb[4, z] * x0 + mb[5, z] * x1 + mb[6, z] * x2 + mb[7, z] * x3
                        )
                        r[o3, z] = f3 * (
                            mb[8, z] * x0 + mb[9, z] * x1 + mb[10, z] * x2 + mb[11, z] * x3
                        )


@nb.njit(cache=True, fastmath=True)
def _dense(r, size, a, b, matrix):  # type: ignore[no-untyped-def]
    """Apply a (16, 16) map to digits a and b."""
    sa, sb = 1 << (2 * a), 1 << (2 * b)
    low, high = min(sa, sb), max(sa, sb)
    t = np.empty((16, LANES))
    for top in range(0, size, 4 * high):
        for middle in range(top, top + high, 4 * low):
            for base in range(middle, middle + low):
                for k in range(16):
                    for z in range(LANES):
                        t[k, z] = r[base + (k & 3) * sa + (k >> 2) * sb, z]
                for k in range(16):
                    o = base + (k & 3) * sa + (k >> 2) * sb
                    for z in range(LANES):
                        r[o, z] = 0.0
                    for j in range(16):
                        m = matrix[k, j]
                        if m != 0.0:
                            for z in range(LANES):
                                r[o, z] += m * t[j, z]


@nb.njit(cache=True, fastmath=True)
def _contract(r, blocks, stride, mapped, keep):  # type: ignore[no-untyped-def]
    """Reduce the top remaining digit to (I, Z) after `mapped`, or to I alone; compacts in place."""
    for block in range(blocks):
        source = block * 4 * stride
        target = block * (2 if keep else 1) * stride
        for i in range(stride):
            for z in range(LANES):
                x0, x1 = r[source + i, z], r[source + stride + i, z]
                x2, x3 = r[source + 2 * stride + i, z], r[source + 3 * stride + i, z]
                r[target + i, z] = x0
                if keep:
                    r[target + stride + i, z] = (
                        mapped[8, z] * x0 + mapped[9, z] * x1 + mapped[10, z] * x2
                        + mapped[11, z] * x3
                    )  # fmt: skip


@nb.njit(cache=True)
def _maps(out, segment, first, angles, steps, segments, matrices):  # type: ignore[no-untyped-def]
    """Fill the lanes with the maps of rows first, first + 1, …; the last row pads."""
    for lane in range(LANES):
        row = min(first + lane, angles.shape[0] - 1)
        _segment_map(out, segment, lane, angles[row], steps, segments, matrices)


@nb.njit(cache=True)
def _evolve_lanes(  # type: ignore[no-untyped-def]
    r, first, angles, ops, steps, segments, matrices, dense, destinations, factors, digits, final,
    wanted, moments, single,
):  # fmt: skip
    ma, mb = np.empty((12, LANES)), np.empty((12, LANES))
    plain, ones = np.arange(16), np.ones(16)
    num_rows = angles.shape[0]
    r[0, :] = 1.0
    size = 1
    for op in range(ops.shape[0]):
        a, b = digits[ops[op, 1]], digits[ops[op, 2]]
        _maps(ma, ops[op, 3], first, angles, steps, segments, matrices)
        _maps(mb, ops[op, 4], first, angles, steps, segments, matrices)
        # Digits are numbered in the order of first use, so a new one is always the next.
        for digit, mapped in ((a, ma), (b, mb)):
            if size == 1 << (2 * digit):
                _extend(r, size, mapped)
                _identity(mapped)
                size *= 4
        if ops[op, 0] == TABLE:
            _pass(r, size, a, b, ma, mb, destinations[ops[op, 5]], factors[ops[op, 5]])
        else:
            _pass(r, size, a, b, ma, mb, plain, ones)
            _dense(r, size, a, b, dense[ops[op, 5]])
    blocks = 1
    num_digits = 0
    for qubit in range(digits.size):
        num_digits = max(num_digits, digits[qubit] + 1)
    for digit in range(num_digits - 1, -1, -1):
        for qubit in range(digits.size):
            if digits[qubit] == digit:
                _maps(ma, final[qubit], first, angles, steps, segments, matrices)
                _contract(r, blocks, 1 << (2 * digit), ma, wanted[qubit])
                if wanted[qubit]:
                    blocks *= 2
    for lane in range(min(LANES, num_rows - first)):
        for i in range(blocks):
            moments[first + lane, i] = r[i, lane]
    for qubit in range(digits.size):
        if digits[qubit] < 0:
            _maps(ma, final[qubit], first, angles, steps, segments, matrices)
            for lane in range(min(LANES, num_rows - first)):
                single[first + lane, qubit] = ma[8, lane] + ma[11, lane]


@nb.njit(cache=True, nogil=True)
def evolve(  # type: ignore[no-untyped-def]
    first, last, scratch, angles, ops, steps, segments, matrices, dense, destinations, factors,
    digits, final, wanted, moments, single,
):  # fmt: skip
    """Evolve groups `first` … `last` - 1 of `LANES` rows each.

    See `hardware.emulation.pauli_simulator.PauliProgram` for the arrays. Writes the groups' rows of
    `moments` (N, 2^m), the expectation values of the Z strings on the wanted entangled qubits (top
    digit slowest), and of `single` (N, n), <Z> of every qubit that is never entangled. `scratch`
    (4^k, `LANES`) belongs to the caller's thread.
    """
    for group in range(first, last):
        _evolve_lanes(
            scratch, group * LANES, angles, ops, steps, segments, matrices, dense, destinations,
            factors, digits, final, wanted, moments, single,
        )  # fmt: skip
