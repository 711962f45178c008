"""Layer and RMS normalisation of rows in long double, as they are written."""

import numpy as np


def _wide(*arrays):
    return [np.asarray(array, dtype=np.longdouble) for array in arrays]


def normalized(x, eps, center):
    """The normalised rows and the deviations they were divided by."""
    (x,) = _wide(x)
    if center:
        x = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((x**2).mean(axis=-1, keepdims=True) + np.longdouble(eps))
    return x / deviation, deviation


def layer_norm(x, gamma=1, beta=0, eps=1e-5):
    gamma, beta = _wide(gamma, beta)
    return normalized(x, eps, True)[0] * gamma + beta


def rms_norm(x, gamma=1, eps=1e-5):
    (gamma,) = _wide(gamma)
    return normalized(x, eps, False)[0] * gamma


def _gradients(x, grad, gamma, eps, center):
    h, deviation = normalized(x, eps, center)
    grad, gamma = _wide(grad, gamma)
    d = gamma * grad
    by_h = d - d.mean(axis=-1, keepdims=True) if center else d
    by_x = (by_h - h * (d * h).mean(axis=-1, keepdims=True)) / deviation
    rows = tuple(range(h.ndim - 1))
    return by_x, (grad * h).sum(axis=rows), grad.sum(axis=rows)


def layer_norm_vjp(x, grad, gamma=1, eps=1e-5):
    return _gradients(x, grad, gamma, eps, True)


def rms_norm_vjp(x, grad, gamma=1, eps=1e-5):
    return _gradients(x, grad, gamma, eps, False)[:2]
