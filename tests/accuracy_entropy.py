"""Entropy normalisation against 60 digits:

    python tests/accuracy_entropy.py [--problems 4000] [--seed 0] [--processes 1]

prints the worst relative errors by family of rows, by kind of target, and by the gap to the nearer limit.
tests/python/test_entropy_normalization.py runs a short form.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields

import mpmath
import numpy as np

import kexue as kx
from reference import entropy as reference

KINDS = ("entropy", "perplexity", "fraction", "gap_low", "gap_high")


def _zeros(rng, n):
    p = rng.exponential(size=n) * (rng.random(n) < 0.5)
    p[rng.permutation(n)[:2]] = 1, 2
    return p


def _dominant(rng, n):
    p = 1e-12 * rng.exponential(size=n)
    p[rng.integers(n)] = 1
    return p


def _with_a_hole(rng, n):
    u = 3 * rng.normal(size=n)
    u[rng.permutation(n)[: n // 3]] = -np.inf
    return u


# Rows of weights, and those of logits.
FAMILIES = {
    "dirichlet flat": lambda rng, n: rng.dirichlet(np.ones(n)),
    "dirichlet peaked": lambda rng, n: np.maximum(rng.dirichlet(np.full(n, 0.05)), rng.exponential(1e-40, size=n)),
    "softmax": lambda rng, n: np.exp(2 * rng.normal(size=n)),
    "near uniform": lambda rng, n: 1 + 1e-9 * rng.normal(size=n),
    "nearer uniform": lambda rng, n: 1 + rng.permutation(n) * 2.0**-52,
    "ties": lambda rng, n: np.append(rng.integers(1, 4, size=n - 1), 4).astype(float),
    "zeros": _zeros,
    "subnormal": lambda rng, n: rng.exponential(1e-310, size=n),
    "smallest": lambda rng, n: np.append(rng.integers(1, 40, size=n - 1), 40) * 5e-324,
    "large": lambda rng, n: rng.exponential(1e300, size=n),
    "small": lambda rng, n: rng.exponential(1e-300, size=n),
    "wide": lambda rng, n: 10.0 ** rng.uniform(-320, 308, size=n),
    "dominant": _dominant,
}
LOGIT_FAMILIES = {
    "logits": lambda rng, n: 3 * rng.normal(size=n),
    "logits far": lambda rng, n: 1e6 + rng.normal(size=n),
    "logits huge": lambda rng, n: 1e300 * rng.normal(size=n),
    "logits tiny": lambda rng, n: 1e-200 * rng.normal(size=n),
    "logits with -inf": _with_a_hole,
}
ALL = FAMILIES | LOGIT_FAMILIES


def problem(seed, number):
    """Problem `number` of a run: its family, the row, the target and its kind."""
    rng = np.random.default_rng([seed, number])
    family = list(ALL)[number % len(ALL)]
    kind = KINDS[number // len(ALL) % len(KINDS)]
    n = int(
        rng.choice([2, 3, 4, 5, 7, 8, 9, 16, 17, 33, 64, 100, 300, 500], p=[0.1] * 9 + [0.04, 0.03, 0.01, 0.01, 0.01])
    )
    if family in ("zeros", "logits with -inf"):
        n = max(n, 3)
    row = ALL[family](rng, n)
    s, m = reference.counts(reference.logs_of_weights(row) if family in FAMILIES else list(row))
    whole = np.log(s / m)
    if kind.startswith("gap"):
        target = float(np.exp(rng.uniform(np.log(1e-12), np.log(min(np.log(2), whole / 2)))))
    else:
        entropy = np.log(m) + whole * rng.choice([rng.uniform(1e-4, 1 - 1e-4), 1e-4, 0.5, 1 - 1e-4])
        target = float({"entropy": entropy, "perplexity": np.exp(entropy), "fraction": entropy / np.log(n)}[kind])
    return family, row, target, kind


def normalize(family, row, target, kind, **options):
    function = kx.entropy_normalize if family in FAMILIES else kx.entropy_normalize_logits
    return function(row, target, target_kind=kind, log=True, **options)


@dataclass
class Errors:
    """Of one problem, or the worst of several; all relative."""

    gamma: float = 0.0  # per unit of its condition number, where that is above 1
    gap: float = 0.0  # to the nearer limit, of q ~ p**gamma with this gamma
    q: float = 0.0  # of entries above 1e-290, per unit of 1 - log(q): what the exponential makes of a rounding error
    entropy: float = 0.0  # as reported
    total: float = 0.0  # of q, from 1
    passes: float = 0.0  # n_iter

    def worst(self, other):
        return Errors(*(max(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)))


def examine(family, row, target, kind):
    """The errors of kexue's answer, and the gap to the nearer limit."""
    with mpmath.workdps(60):
        logs = (reference.logs_of_weights if family in FAMILIES else reference.logs_of_logits)(row)
        exact = reference.solve(logs, target, kind)
        q, info = normalize(family, row, target, kind)
        assert info.status == 0, f"status {info.status}"
        assert not (q[[x == -mpmath.inf for x in logs]]).any(), "a zero became positive"
        gap, side = reference.gap_of(logs, target, kind)
        _, low, high = reference.gaps(logs, info.gamma)
        slope = -exact.gamma * reference.moments(logs, exact.gamma)[3]
        condition = max(1.0, float(gap / slope))
        if not kind.startswith("gap"):
            # The target is a rounded number, as are its logarithm or product and the limit: so is the gap to it.
            rounding = 4 * 2.0**-53 * float(max(1, exact.entropy + gap))
            condition = max(condition, rounding / float(slope) / 2.0**-53)
            allowed = max(1.0, rounding / float(gap) / 2.0**-53)
        else:
            allowed = 1.0
        far = [-mpmath.log(x) if x > 0 else mpmath.inf for x in exact.q]
        shares = [
            reference.relative_error(found, x) / (1 + float(f)) / condition
            for found, x, f in zip(q, exact.q, far, strict=True)
            if 0 < x and f < 667
        ]
        errors = Errors(
            gamma=reference.relative_error(info.gamma, exact.gamma) / condition,
            gap=float(abs((high if side == "gap_high" else low) / gap - 1)) / allowed,
            q=max(shares),
            entropy=reference.relative_error(info.entropy, exact.entropy),
            total=abs(float(mpmath.fsum(mpmath.mpf(float(x)) for x in q)) - 1),
            passes=float(info.n_iter),
        )
        return errors, float(gap)


def _run(seed, numbers):
    worst = {}
    for number in numbers:
        family, row, target, kind = problem(seed, number)
        try:
            errors, gap = examine(family, row, target, kind)
        except Exception as error:
            message = f"seed {seed}, problem {number}, {family}, n = {row.size}, {kind} {target}"
            raise RuntimeError(message) from error
        decade = f"gap 1e{3 * int(np.floor(np.log10(gap) / 3)):+03d}"
        for name in (family, kind, decade, "all"):
            worst[name] = worst.get(name, Errors()).worst(errors)
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    parts = [range(start, options.problems, 20) for start in range(20)]
    worst = {}
    with ProcessPoolExecutor(options.processes) as pool:
        for part in pool.map(_run, [options.seed] * 20, parts):
            for name, errors in part.items():
                worst[name] = worst.get(name, Errors()).worst(errors)
    names = [field.name for field in fields(Errors)]
    print(f"{options.problems} problems, worst relative errors of each family, kind of target and size of the gap")
    print(f"{'':18}" + "".join(f"{name:>10}" for name in names))
    decades = sorted(name for name in worst if name.startswith("gap 1e"))
    for name in [*ALL, *KINDS, *decades, "all"]:
        if name in worst:
            print(f"{name:18}" + "".join(f"{getattr(worst[name], field):10.1e}" for field in names))


if __name__ == "__main__":
    main()
