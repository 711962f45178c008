"""Recurrent networks unit by unit, in whatever numbers they are given: floats, mpmath's or complex ones.

A network is a function `step(x, h, c, W, U, b)` of lists that returns the next h and c; W[k][j], U[k][j] and b[j]
have a block of columns for each gate.
"""

import cmath
import math

import mpmath


def _tanh(v):
    if isinstance(v, mpmath.mpf):
        return mpmath.tanh(v)
    return cmath.tanh(v) if isinstance(v, complex) else math.tanh(v)


def _sigma(v):
    return (1 + _tanh(v / 2)) / 2


def _affine(values, matrix, columns):
    return [sum(value * row[j] for value, row in zip(values, matrix, strict=True)) for j in columns]


def _gate(number, n, x, h, W, U, b, function):
    columns = range(number * n, (number + 1) * n)
    from_x, from_h = _affine(x, W, columns), _affine(h, U, columns)
    return [function(p + q + b[j]) for p, q, j in zip(from_x, from_h, columns, strict=True)]


def tanh_step(x, h, c, W, U, b):
    return _gate(0, len(h), x, h, W, U, b, _tanh), c


def relu_step(x, h, c, W, U, b):
    return _gate(0, len(h), x, h, W, U, b, lambda v: v if (v.real if isinstance(v, complex) else v) > 0 else 0 * v), c


def lstm_step(x, h, c, W, U, b):
    n = len(h)
    f, i, o = (_gate(k, n, x, h, W, U, b, _sigma) for k in (0, 1, 3))
    g = _gate(2, n, x, h, W, U, b, _tanh)
    cell = [f[k] * c[k] + i[k] * g[k] for k in range(n)]
    return [o[k] * _tanh(cell[k]) for k in range(n)], cell


def gru_step(x, h, c, W, U, b):
    n = len(h)
    z, r = (_gate(k, n, x, h, W, U, b, _sigma) for k in (0, 1))
    new = _gate(2, n, x, [r[k] * h[k] for k in range(n)], W, U, b, _tanh)
    return [(1 - z[k]) * h[k] + z[k] * new[k] for k in range(n)], c


def gru_single_gate_step(x, h, c, W, U, b):
    n = len(h)
    z = _gate(0, n, x, h, W, U, b, _sigma)
    new = _gate(1, n, x, [z[k] * h[k] for k in range(n)], W, U, b, _tanh)
    return [(1 - z[k]) * h[k] + z[k] * new[k] for k in range(n)], c


def gru_after_step(x, h, c, W, U, b, d):
    n = len(h)
    z, r = (_gate(k, n, x, h, W, U, b, _sigma) for k in (0, 1))
    columns = range(2 * n, 3 * n)
    from_x, from_h = _affine(x, W, columns), _affine(h, U, columns)
    new = [_tanh(from_x[k] + b[2 * n + k] + r[k] * (from_h[k] + d[k])) for k in range(n)]
    return [(1 - z[k]) * new[k] + z[k] * h[k] for k in range(n)], c


def gru_proposal_step(x, h, c, W, U, b):
    n = len(h)
    z, r = (_gate(k, n, x, h, W, U, b, _sigma) for k in (0, 1))
    new = _gate(2, n, x, h, W, U, b, _tanh)
    cell = [(1 - z[k]) * c[k] + z[k] * new[k] for k in range(n)]
    return [r[k] * cell[k] for k in range(n)], cell


def states(step, x, h, c, *weights):
    """All h and all c of a sequence."""
    hs, cs = [], []
    for row in x:
        h, c = step(row, h, c, *weights)
        hs.append(h)
        cs.append(c)
    return hs, cs


def log_singular_values(matrices, digits=40, steps=None):
    """Of the products J_t ... J_1, for the steps that are asked for, by mpmath."""
    wanted = {len(matrices)} if steps is None else set(steps)
    values = []
    with mpmath.workdps(digits):
        product = mpmath.eye(len(matrices[0]))
        for t, matrix in enumerate(matrices, 1):
            product = mpmath.matrix([[mpmath.mpf(float(v)) for v in row] for row in matrix]) * product
            if t in wanted:
                singular = mpmath.svd_r(product, compute_uv=False)
                values.append([float(mpmath.log(v)) if v > 0 else -math.inf for v in singular])
    return values
