"""What is measured of initialisation."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from scipy import integrate, linalg, stats
from workloads import Side, Workload, installed, recent, without_torch

import kexue as kx


def _spread(values: Any) -> np.ndarray:
    """What random entries have in common."""
    array = np.asarray(values, dtype=np.float64)
    return np.array([array.mean(), array.std(), array.min(), array.max()])


@recent
def truncated_normal(n: int, dtype: str, a: float = -2.0, b: float = 2.0) -> Workload:
    """Entries of nominal standard deviation 1."""
    kind = np.dtype(dtype)
    rng, theirs = np.random.default_rng(0), np.random.default_rng(1)
    sides = {
        "kexue": Side(
            lambda: kx.truncated_normal(n, a=a, b=b, rng=rng, correct_std=False, dtype=kind), comparable=_spread
        ),
        "SciPy": Side(lambda: stats.truncnorm.rvs(a, b, size=n, random_state=theirs), comparable=_spread),
        "standard_normal": Side(lambda: theirs.standard_normal(n, kind), comparable=None),
    }
    torch: Any = installed("torch")
    if torch is not None:
        out = torch.empty(n, dtype=getattr(torch, dtype))
        sides["torch"] = Side(lambda: torch.nn.init.trunc_normal_(out, a=a, b=b), comparable=_spread)
    name = f"truncated_normal, {n} in [{a:g}, {b:g}] {dtype}"
    return Workload(name, sides, rtol=0.01, atol=0.01, absent=without_torch())


def _gram(matrix: Any) -> np.ndarray:
    array = np.asarray(matrix, dtype=np.float64)
    return array.T @ array if array.shape[0] >= array.shape[1] else array @ array.T


@recent
def orthogonal_init(m: int, n: int, dtype: str) -> Workload:
    kind = np.dtype(dtype)
    rng = np.random.default_rng(0)

    def decompose() -> np.ndarray:
        q, r = linalg.qr(rng.standard_normal((m, n), kind), mode="economic", overwrite_a=True, check_finite=False)
        return q * np.copysign(1, r.diagonal())

    sides = {"kexue": Side(lambda: kx.orthogonal_init(m, n, rng=rng, dtype=kind), comparable=_gram)}
    if m >= n:
        sides["SciPy's qr"] = Side(decompose, comparable=_gram)
    torch: Any = installed("torch")
    if torch is not None:
        out = torch.empty(m, n, dtype=getattr(torch, dtype))
        sides["torch"] = Side(lambda: torch.nn.init.orthogonal_(out), comparable=_gram)
    name = f"orthogonal_init, {m}x{n} {dtype}"
    absent = without_torch()
    return Workload(name, sides, rtol=0, atol=1e-12 if dtype == "float64" else 1e-4, absent=absent)


@recent
def orthogonality_error(m: int, n: int, dtype: str) -> Workload:
    W = np.random.default_rng(0).standard_normal((m, n)).astype(dtype) / np.sqrt(m, dtype=dtype)
    eye = np.eye(n, dtype=dtype)
    sides = {
        "kexue": Side(lambda: kx.orthogonality_error(W)),
        "NumPy": Side(lambda: np.mean((W.T @ W - eye) ** 2)),
    }
    return Workload(
        f"orthogonality_error, {m}x{n} {dtype}", sides, rtol=1e-4 if dtype == "float32" else 1e-11, operations=m * n * n
    )


@recent
def truncated_normal_moments(function: str, n: int) -> Workload:
    """Of intervals around 0, where SciPy's formulas hold."""
    rng = np.random.default_rng(0)
    a = rng.uniform(-3, -0.5, n)
    b = a + rng.uniform(1.0, 4.0, n)
    law = stats.truncnorm(a, b)
    call, other = {
        "truncated_normal_mean": (kx.truncated_normal_mean, law.mean),
        "truncated_normal_variance": (kx.truncated_normal_variance, law.var),
        "effective_truncated_std": (partial(kx.effective_truncated_std, 1.0), law.std),
    }[function]
    return Workload(f"{function}, {n}", {"kexue": Side(lambda: call(a, b)), "SciPy": Side(other)}, atol=1e-10)


def _density(x: float) -> float:
    return math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def _by_scipy(power: int) -> float:
    def integrand(x: float) -> float:
        return float(np.sin(max(x, 0.0))) ** power * _density(x)

    return integrate.quad(integrand, -38, 38, points=[0.0], epsabs=0, epsrel=1e-12, limit=200)[0]


@recent
def activation_moments(function: str) -> Workload:
    """Of a function with a kink, sin(max(x, 0))."""

    def fn(x: np.ndarray) -> np.ndarray:
        return np.sin(np.maximum(x, 0))

    calls = {
        "activation_moments": (
            lambda: (lambda found: [found.mean, found.second_moment])(kx.activation_moments(fn)),
            lambda: [_by_scipy(1), _by_scipy(2)],
        ),
        "activation_second_moment": (lambda: kx.activation_second_moment(fn), lambda: _by_scipy(2)),
        "normalized_activation": (
            lambda: kx.normalized_activation(fn).scale,
            lambda: 1 / math.sqrt(_by_scipy(2)),
        ),
    }
    ours, theirs = calls[function]
    return Workload(f"{function} of sin(relu(x))", {"kexue": Side(ours), "SciPy's quad": Side(theirs)})


# Formulas: each beside its line of NumPy, on arguments that take an array where the function does.
_SIZES = np.arange(1, 4097, dtype=np.float64)
_FORMULAS = {
    "init_variance": (
        lambda: kx.init_variance(_SIZES, 768, "xavier"),
        lambda: 2 / (_SIZES + 768),
    ),
    "xavier_std": (lambda: kx.xavier_std(_SIZES), lambda: np.sqrt(1 / _SIZES)),
    "uniform_limits": (
        lambda: kx.uniform_limits(0.0, _SIZES),
        lambda: (-math.sqrt(3) * _SIZES, math.sqrt(3) * _SIZES),
    ),
    "expected_orthogonality_error": (
        lambda: kx.expected_orthogonality_error(768, _SIZES),
        lambda: (_SIZES + 1) / (768 * _SIZES),
    ),
    "marchenko_pastur_edges": (
        lambda: kx.marchenko_pastur_edges(_SIZES, 768),
        lambda: (abs(1 - np.sqrt(768 / _SIZES)), 1 + np.sqrt(768 / _SIZES)),
    ),
    "selu_constants": (kx.selu_constants, lambda: (1.0507009873554805, 1.6732632423543772)),
    "post_norm_weights": (
        lambda: kx.post_norm_weights(1000)[1],
        lambda: 2.0 ** (-0.5 * (1000 - np.arange(1000))),
    ),
    "residual_branch_weights": (
        lambda: kx.residual_branch_weights(1000, "post").branches,
        lambda: 2.0 ** (-0.5 * (1000 - np.arange(1000))),
    ),
    "pre_norm_variance": (lambda: kx.pre_norm_variance(_SIZES, 0.5), lambda: 1 + 0.5 * _SIZES),
    "linear_warmup": (
        lambda: kx.linear_warmup(_SIZES, 1000, 1e-3),
        lambda: 1e-3 * np.minimum(1, _SIZES / 1000),
    ),
    "adam_expected_update": (
        lambda: kx.adam_expected_update(1.0, _SIZES, 1e-3),
        lambda: 1e-3 / np.sqrt(_SIZES),
    ),
    "embedding_logit_std": (lambda: kx.embedding_logit_std(_SIZES, 0.02), lambda: 0.02 * np.sqrt(_SIZES)),
}


@recent
def formula(function: str) -> Workload:
    ours, theirs = _FORMULAS[function]
    return Workload(function, {"kexue": Side(ours), "NumPy": Side(theirs)}, atol=1e-12)
