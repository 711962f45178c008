"""What is measured of importance weights: bounds, their gradients, estimates of a log-density."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special, stats
from workloads import NO_TORCH, Side, Workload, installed, recent

import kexue as kx


def _tolerance(dtype: str) -> dict[str, float]:
    return {"rtol": 1e-11, "atol": 1e-12} if dtype == "float64" else {"rtol": 2e-5, "atol": 1e-5}


@recent
def log_weights(rows: int, samples: int, dtype: str) -> np.ndarray:
    rng = np.random.default_rng([rows, samples])
    return (3 * rng.standard_normal((rows, samples)) - 80).astype(dtype)


@recent
def reduction(name: str, rows: int, samples: int, dtype: str) -> Workload:
    """A number, or a gradient, for each row of log-weights."""
    given = log_weights(rows, samples, dtype)
    upstream = log_weights(rows, 1, dtype)[:, 0].copy()
    pairs = {
        "elbo": (lambda: kx.elbo(given), lambda: given.mean(axis=1)),
        "iwae_bound": (
            lambda: kx.iwae_bound(given),
            lambda: special.logsumexp(given, axis=1) - math.log(samples),
        ),
        "iwae_bound_grad": (lambda: kx.iwae_bound_grad(given), lambda: special.softmax(given, axis=1)),
        "iwae_bound_vjp": (
            lambda: kx.iwae_bound_vjp(given, upstream),
            lambda: special.softmax(given, axis=1) * upstream[:, None],
        ),
        "effective_sample_size": (
            lambda: kx.effective_sample_size(given),
            lambda: np.exp(2 * special.logsumexp(given, axis=1) - special.logsumexp(2 * given, axis=1)),
        ),
    }
    kexue, expression = pairs[name]
    sides, absent = {"kexue": Side(kexue), "SciPy": Side(expression)}, {}
    torch = installed("torch")
    if torch is None:
        absent["torch"] = NO_TORCH
    else:
        weights, slopes = torch.from_numpy(given), torch.from_numpy(upstream)
        functions = {
            "elbo": lambda: weights.mean(1),
            "iwae_bound": lambda: torch.logsumexp(weights, 1) - math.log(samples),
            "iwae_bound_grad": lambda: torch.softmax(weights, 1),
            "iwae_bound_vjp": lambda: torch.softmax(weights, 1) * slopes[:, None],
            "effective_sample_size": lambda: 1 / torch.softmax(weights, 1).square().sum(1),
        }
        sides["torch"] = Side(functions[name])
    # SciPy's sizes have lost some digits to the sums of log-weights, which are far from 0.
    tolerance = _tolerance(dtype) if name != "effective_sample_size" else {"rtol": 500 * _tolerance(dtype)["rtol"]}
    return Workload(
        f"{name}, {rows}x{samples} {dtype}",
        sides,
        **tolerance,
        absent=absent,
        bytes_moved=given.nbytes * (2 if name.startswith("iwae_bound_") else 1),
    )


@recent
def importance_log_weights(count: int, dtype: str) -> Workload:
    """kexue looks for NaN and infinities; NumPy adds."""
    parts = log_weights(3, count, dtype)
    sides = {
        "kexue": Side(lambda: kx.importance_log_weights(*parts)),
        "NumPy": Side(lambda: parts[0] + parts[1] - parts[2]),
    }
    return Workload(
        f"importance_log_weights, {count} {dtype}", sides, **_tolerance(dtype), bytes_moved=4 * parts[0].nbytes
    )


@recent
def gaussian_logpdf_diag(count: int, d: int, dtype: str) -> Workload:
    rng = np.random.default_rng([count, d])
    x, mean = rng.standard_normal((2, count, d)).astype(dtype)
    std = rng.uniform(0.5, 2, size=d).astype(dtype)
    sides = {
        "kexue": Side(lambda: kx.gaussian_logpdf_diag(x, mean, std)),
        "SciPy": Side(lambda: stats.norm.logpdf(x, mean, std).sum(axis=1)),
    }
    absent = {}
    torch = installed("torch")
    if torch is None:
        absent["torch"] = NO_TORCH
    else:
        points, means, deviations = (torch.from_numpy(array) for array in (x, mean, std))
        sides["torch"] = Side(lambda: torch.distributions.Normal(means, deviations).log_prob(points).sum(1))
    return Workload(
        f"gaussian_logpdf_diag, {count}x{d} {dtype}",
        sides,
        **_tolerance(dtype),
        absent=absent,
        bytes_moved=x.nbytes + mean.nbytes,
    )


@recent
def log_density_estimate(n_samples: int, latent: int, width: int) -> Workload:
    """A linear decoder. NumPy has all samples at once; torch too, with its distributions."""
    rng = np.random.default_rng([latent, width])
    weights = rng.standard_normal((width, latent)) / math.sqrt(latent)
    x = weights @ rng.standard_normal(latent) + 0.5 * rng.standard_normal(width)
    precision = np.eye(latent) + 4 * weights.T @ weights
    mean, std = np.linalg.solve(precision, 4 * weights.T @ x), 1.2 / np.sqrt(np.diag(precision))

    def kexue() -> float:
        decoder = lambda z: (z @ weights.T, 0.5)  # noqa: E731
        return kx.log_density_estimate(x, decoder, (0.0, 1.0), (mean, std), n_samples=n_samples, rng=0).estimate

    def log_normal(points: np.ndarray, mean: Any, std: Any) -> np.ndarray:
        logs = -0.5 * ((points - mean) / std) ** 2 - np.log(std) - 0.5 * math.log(2 * math.pi)
        return logs.sum(axis=1)

    def expression() -> float:
        z = mean + std * np.random.default_rng(0).standard_normal((n_samples, latent))
        logs = log_normal(x, z @ weights.T, 0.5) + log_normal(z, 0.0, 1.0) - log_normal(z, mean, std)
        return special.logsumexp(logs) - math.log(n_samples)

    sides = {"kexue": Side(kexue), "NumPy": Side(expression)}
    absent = {}
    torch = installed("torch")
    if torch is None:
        absent["torch"] = NO_TORCH
    else:
        normal = torch.distributions.Normal
        matrix, means, deviations, observed = (torch.from_numpy(array) for array in (weights.T.copy(), mean, std, x))

        def with_torch() -> Any:
            proposal = normal(means, deviations)
            z = proposal.sample((n_samples,))
            logs = normal(z @ matrix, 0.5).log_prob(observed).sum(1) + normal(0.0, 1.0).log_prob(z).sum(1)
            return torch.logsumexp(logs - proposal.log_prob(z).sum(1), 0) - math.log(n_samples)

        # Of its own random numbers.
        sides["torch"] = Side(with_torch, comparable=None)
    title = f"log_density_estimate, {n_samples} samples of {latent}, {width} observed"
    return Workload(title, sides, rtol=1e-11, absent=absent)
