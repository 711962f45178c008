"""Entropy, divergences, Wasserstein distance and optimal map of Gaussians against 120 digits:

    python tests/accuracy_gaussians.py [--problems 4000] [--seed 0] [--processes 1]

prints the worst error of each function by family of covariance matrices, in units of what is allowed: with dimension n,
the larger condition number c of both matrices, and the exact value x,

    kl, bhattacharyya    4 n c eps (x + sqrt(x)) + (n c eps)^2
    hellinger            4 n c eps (1 + x)
    entropy              4 n c eps + 8 eps |x|
    w2                   1e-10 x + 4 n eps sqrt(trace Sp + trace Sq), for any condition
    map                  T Sp T - Sq: 100 n c eps |Sq|, in the Frobenius norm

tests/python/test_gaussians.py runs a short form.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor

import mpmath
import numpy as np

import kexue as kx
from reference import gaussians as reference

EPS = 2.0**-52


def symmetric(matrix):
    return np.tril(matrix) + np.tril(matrix, -1).T


def turned(rng, spectrum):
    directions = np.linalg.qr(rng.normal(size=(len(spectrum), len(spectrum))))[0]
    return symmetric(directions * spectrum @ directions.T)


def of_condition(exponent):
    return lambda rng, n: [turned(rng, 10.0 ** -rng.uniform(0, exponent, n)) for _ in range(2)]


def close(rng, n):
    first = turned(rng, 10.0 ** -rng.uniform(0, 3, n))
    return first, first * (1 + 10.0 ** -rng.uniform(1, 15)) + 10.0 ** -rng.uniform(1, 15) * np.eye(n)


def one_entry(rng, n):
    first = turned(rng, 10.0 ** -rng.uniform(0, 3, n))
    second, i = first.copy(), rng.integers(n)
    second[i, i] += 10.0 ** -rng.uniform(0, 17)
    return first, second


def clusters(rng, n):
    return [turned(rng, 10.0 ** rng.choice([0.0, -4.0, -8.0, -13.0], n)) for _ in range(2)]


def graded(rng, n):
    scales, factor = 10.0 ** rng.uniform(-8, 8, (2, n, 1)), rng.normal(size=(2, n, 2 * n))
    return [symmetric(s * (f @ f.T) * s.T) for s, f in zip(scales, factor, strict=True)]


def exactly_singular(rng, n):
    points = rng.integers(-9, 10, size=(2, n, max(1, n - 2))).astype(float)
    return points @ points.swapaxes(-1, -2)


def diagonal(rng, n):
    return [np.diag(10.0 ** rng.uniform(-10, 0, n) * (rng.random(n) < 0.8)) for _ in range(2)]


FAMILIES = {
    "condition 3": of_condition(0.5),
    "condition 1e3": of_condition(3),
    "condition 1e6": of_condition(6),
    "condition 1e9": of_condition(9),
    "close": close,
    "one entry": one_entry,
    "condition 1e14": of_condition(14),
    "clusters": clusters,
    "graded": graded,
    "singular": exactly_singular,
    "diagonal": diagonal,
}
ONLY_W2 = ("condition 1e14", "clusters", "graded", "singular", "diagonal")
FUNCTIONS = ("kl", "bhattacharyya", "hellinger", "entropy", "w2", "map")


def problem(seed, number):
    """Problem `number` of a run: its family and the two Gaussians."""
    rng = np.random.default_rng([seed, number])
    family = list(FAMILIES)[number % len(FAMILIES)]
    n = int(rng.integers(1, 8))
    cov_p, cov_q = FAMILIES[family](rng, n)
    scale = 10.0 ** rng.choice([0, 0, 0, -100, 100])
    mean_p = rng.normal(size=n) * 10.0 ** rng.uniform(-12, 2) * np.sqrt(scale) * rng.integers(2)
    return family, (mean_p, scale * cov_p, np.zeros(n), scale * cov_q)


def examine(family, pair):
    """The errors of kexue's answers, by function, in units of what is allowed."""
    mean_p, cov_p, mean_q, cov_q = pair
    n, errors = len(mean_p), {}
    with mpmath.workdps(120):
        # Below zero by rounding, a matrix is not a covariance matrix: there is nothing to compare with.
        if all(min(mpmath.eigsy(mpmath.matrix(cov.tolist()), eigvals_only=True)) >= 0 for cov in (cov_p, cov_q)):
            exact = reference.w2(*pair)
            allowed = 1e-10 * exact + 4 * n * EPS * mpmath.sqrt(np.trace(cov_p) + np.trace(cov_q))
            error = abs(kx.gaussian_w2(*pair) - exact)
            errors["w2"] = float(error / allowed) if error else 0.0
    if family in ONLY_W2:
        return errors
    unit = n * EPS * max(np.linalg.cond(cov_p), np.linalg.cond(cov_q))
    for name in ("kl", "bhattacharyya", "hellinger"):
        exact = getattr(reference, name)(*pair)
        near = 1 if name == "hellinger" else mpmath.sqrt(exact)
        error = abs(getattr(kx, f"gaussian_{name}")(*pair) - exact)
        errors[name] = float(error / (4 * unit * (exact + near) + unit**2))
    exact = reference.entropy(cov_p)
    errors["entropy"] = float(abs(kx.gaussian_entropy(cov_p) - exact) / (4 * unit + 8 * EPS * abs(exact)))
    matrix = kx.gaussian_ot_map(*pair).matrix
    moved = np.array(reference.numbers(matrix) @ reference.numbers(cov_p) @ reference.numbers(matrix))
    rest = (moved - reference.numbers(cov_q)).astype(float)
    errors["map"] = float(np.linalg.norm(rest / np.abs(cov_q).max()) / np.linalg.norm(cov_q / np.abs(cov_q).max()))
    errors["map"] /= 100 * unit
    return errors


def _run(seed, numbers):
    worst = {}
    for number in numbers:
        family, pair = problem(seed, number)
        try:
            errors = examine(family, pair)
        except Exception as error:
            raise RuntimeError(f"seed {seed}, problem {number}, {family}, n = {len(pair[0])}") from error
        for name, error in errors.items():
            worst[family, name] = max(worst.get((family, name), 0.0), error)
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    parts = [range(start, options.problems, 20) for start in range(20)]
    worst = {}
    with ProcessPoolExecutor(options.processes) as pool:
        for part in pool.map(_run, [options.seed] * 20, parts):
            for key, error in part.items():
                worst[key] = max(worst.get(key, 0.0), error)
    print(f"{options.problems} problems, worst errors in units of what is allowed")
    print(f"{'':16}" + "".join(f"{name:>14}" for name in FUNCTIONS))
    for family in FAMILIES:
        cells = (f"{worst[family, name]:14.4f}" if (family, name) in worst else f"{'':14}" for name in FUNCTIONS)
        print(f"{family:16}" + "".join(cells))


if __name__ == "__main__":
    main()
