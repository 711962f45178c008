"""What is measured of gradients without derivatives, steps by sampling and minimisation."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import mpmath
import numpy as np
from scipy import optimize, special, stats
from workloads import NO_TORCH, Side, Workload, installed, recent

import kexue as kx

# ---- zeroth order ----


def _quartic(x: np.ndarray) -> Any:
    return (np.square(x) * (x + 1)).sum(axis=-1)


@recent
def zeroth_order_gradient(d: int, count: int, vectorized: bool) -> Workload:
    """The same directions on all sides: a generator gives the same normals row by row."""
    x, epsilon = np.linspace(-1, 1, d), 0.1
    options: dict[str, Any] = {"epsilon": epsilon, "n_samples": count, "vectorized": vectorized}

    def loop() -> np.ndarray:
        rng, total = np.random.default_rng(0), np.zeros(d)
        for _ in range(count):
            u = rng.standard_normal(d)
            total += (_quartic(x + epsilon * u) - _quartic(x - epsilon * u)) / (2 * epsilon) * u
        return total / count

    def at_once() -> np.ndarray:
        u = np.random.default_rng(0).standard_normal((count, d))
        return ((_quartic(x + epsilon * u) - _quartic(x - epsilon * u)) / (2 * epsilon)) @ u / count

    sides = {"kexue": Side(lambda: kx.zeroth_order_gradient(_quartic, x, rng=0, **options))}
    sides |= {"NumPy at once": Side(at_once)} if vectorized else {"a loop": Side(loop)}
    return Workload(f"zeroth_order_gradient, {count} of {d}, vectorized={vectorized}", sides, rtol=1e-8, atol=1e-10)


# ---- minimisation ----


def _rosenbrock(x: np.ndarray) -> float:
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def _sphere(x: np.ndarray) -> float:
    return float(x @ x)


def _steps(x: np.ndarray) -> float:
    """Flat but for jumps: what derivatives know nothing of."""
    return float(np.floor(np.abs(x - 0.3) * 20).sum())


FUNCTIONS = {"sphere": _sphere, "Rosenbrock": _rosenbrock, "steps": _steps}


def _start(d: int) -> np.ndarray:
    return np.full(d, -1.5)


def minimizers(function: str, d: int, budget: int, seed: int = 0) -> dict[str, Any]:
    """Calls that spend exactly or nearly as many values, from the same start or in the same box."""
    fun, start = FUNCTIONS[function], _start(d)
    endless = {"xatol": 0.0, "fatol": 0.0, "maxfev": budget, "maxiter": budget}
    population = 4 * d if d > 1 else 5
    return {
        "kexue": lambda: kx.minimize(fun, start, max_nfev=budget, xtol=0.0, rng=seed),
        "kexue, zeroth-order": lambda: kx.minimize(
            fun, start, method="zeroth-order", max_nfev=budget, xtol=0.0, rng=seed
        ),
        "SciPy's Nelder-Mead": lambda: optimize.minimize(fun, start, method="Nelder-Mead", options=endless),
        "SciPy's differential_evolution": lambda: optimize.differential_evolution(
            fun,
            [(-2.0, 2.0)] * d,
            popsize=4,
            maxiter=budget // population - 1,
            tol=0.0,
            atol=0.0,
            polish=False,
            rng=seed,
        ),
    }


@recent
def minimize(function: str, d: int, budget: int) -> Workload:
    """How long as many values take; how good the results are, `bench/README.md` tells: all are below the start's."""
    at_start = FUNCTIONS[function](_start(d))

    def is_lower(found: Any) -> bool:
        assert found.fun == FUNCTIONS[function](found.x)
        return found.fun < at_start

    sides = {name: Side(call, comparable=is_lower) for name, call in minimizers(function, d, budget).items()}
    return Workload(f"minimize, {function} of {d}, {budget} values", sides)


# ---- steps by sampling ----


@recent
def ball_step_length(n: int, kappas: str) -> Workload:
    """Orders and arguments for which SciPy's scaled functions neither overflow nor vanish."""
    rng = np.random.default_rng(0)
    d = rng.integers(1, 100, n)
    kappa = rng.uniform(0.5, 30, n) if kappas == "small" else 10 ** rng.uniform(1.5, 3.5, n)
    few = min(n, 100)

    def by_mpmath() -> list[float]:
        return [
            float(mpmath.besseli(order / 2 + 1, k) / mpmath.besseli(order / 2, k))
            for order, k in zip(d[:few].tolist(), kappa[:few].tolist(), strict=True)
        ]

    sides = {
        "kexue": Side(lambda: kx.ball_step_length(d, kappa), n, lambda r: r[:few]),
        "SciPy's ive": Side(lambda: special.ive(d / 2 + 1, kappa) / special.ive(d / 2, kappa), n, lambda r: r[:few]),
        "mpmath": Side(by_mpmath, few),
    }
    return Workload(f"ball_step_length, {n}, {kappas} kappa", sides, rtol=1e-11)


def _sample(n: int, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, d)), rng.normal(size=n), rng.normal(size=n)


@recent
def mgs(function: str, n: int, d: int) -> Workload:
    deltas, losses, log_q = _sample(n, d)
    alpha, mean = 0.3, np.full(d, 0.1)
    proposal = kx.gaussian_mixture_proposal(mean, 0.5)
    laws = [stats.multivariate_normal(centre, 0.25) for centre in (np.zeros(d), mean)]

    def weights() -> np.ndarray:
        return special.softmax(-losses / alpha - log_q)

    def step() -> np.ndarray:
        found = np.random.default_rng(0)
        moved = found.random(n) >= 0.5
        u = found.standard_normal((n, d)) * 0.5
        u[moved] += mean
        values = np.square(u).sum(axis=1)
        here, there = np.square(u / 0.5).sum(axis=1), np.square((u - mean) / 0.5).sum(axis=1)
        return special.softmax(-values / alpha - np.logaddexp(-here / 2, -there / 2)) @ u

    calls = {
        "mgs_weights": (lambda: kx.mgs_weights(losses, log_q, alpha), weights),
        "mgs_step": (lambda: kx.mgs_step(deltas, losses, log_q, alpha), lambda: weights() @ deltas),
        "gaussian_mixture_proposal": (
            lambda: proposal.log_density(deltas),
            lambda: np.logaddexp(*(math.log(0.5) + law.logpdf(deltas) for law in laws)),
        ),
        "boltzmann_step": (
            lambda: (
                kx.boltzmann_step(
                    lambda x: np.square(x).sum(axis=1),
                    np.zeros(d),
                    alpha,
                    proposal,
                    n_samples=n,
                    vectorized=True,
                    rng=0,
                ).step
            ),
            step,
        ),
    }
    ours, theirs = calls[function]
    peer = "SciPy" if function == "gaussian_mixture_proposal" else "NumPy and SciPy"
    return Workload(f"{function}, {n} of {d}", {"kexue": Side(ours), peer: Side(theirs)}, rtol=1e-9, atol=1e-11)


# ---- policies ----


@recent
def policy_gradient(function: str, n: int, d: int) -> Workload:
    scores, rewards, _ = _sample(n, d)

    def gradient() -> np.ndarray:
        return (rewards - rewards.mean()) @ scores / (n - 1)

    def baseline() -> np.ndarray:
        sizes = np.square(scores).sum(axis=1)
        return (sizes @ rewards) / sizes.sum()

    ours, theirs = {
        "policy_gradient": (lambda: kx.policy_gradient(scores, rewards), gradient),
        "optimal_baseline": (lambda: kx.optimal_baseline(scores, rewards), baseline),
    }[function]
    return Workload(f"{function}, {n} of {d}", {"kexue": Side(ours), "NumPy": Side(theirs)}, atol=1e-12)


@recent
def argmax_gradient(function: str, rows: int, n: int) -> Workload:
    """Of a softmax policy, or of an argmax smoothed by Gaussian noise."""
    rng = np.random.default_rng(0)
    logits, rewards = rng.normal(size=(rows, n)), rng.normal(size=(rows, n))

    def softmax() -> np.ndarray:
        p = special.softmax(logits, axis=1)
        return p * (rewards - (p * rewards).sum(axis=1, keepdims=True))

    def probit() -> np.ndarray:
        """sum_j A_ij (r_i - r_j) with all pairs, by the trapezoidal rule."""
        u = np.arange(-12.0, 12.0, 1 / 16)[:, None]
        result = np.empty((rows, n))
        for row in range(rows):
            density, share = stats.norm.pdf(u - logits[row]), special.ndtr(u - logits[row])
            hazards = density / share
            pairs = (hazards * share.prod(axis=1)[:, None] / 16).T @ hazards
            result[row] = (pairs * (rewards[row][:, None] - rewards[row])).sum(axis=1)
        return result

    absent: dict[str, str] = {}
    if function == "softmax_policy_gradient":
        sides = {"kexue": Side(lambda: kx.softmax_policy_gradient(logits, rewards)), "SciPy": Side(softmax)}
        torch: Any = installed("torch")
        if torch is None:
            absent["torch"] = NO_TORCH
        else:
            s, r = torch.from_numpy(logits).requires_grad_(), torch.from_numpy(rewards)
            sides["torch"] = Side(lambda: torch.autograd.grad((torch.softmax(s, 1) * r).sum(), s)[0].numpy())
    else:
        call = partial(kx.smoothed_argmax_gradient, logits, rewards, noise="gaussian")
        sides = {"kexue": Side(call), "NumPy": Side(probit)}
    return Workload(f"{function}, {rows} x {n}", sides, rtol=1e-8, atol=1e-12, absent=absent)
