"""How far random projections change squared distances, for every kind, beside the law of Gaussian ones:

    python tests/accuracy_projection.py [--rows 200] [--columns 4096] [--draws 50] [--seed 0]

prints | |y - y'|^2 / |x - x'|^2 - 1 | over all pairs of rows and all draws: the quantiles that a Gaussian projection
exceeds with probability 5% and 0.1%, the largest, and how many pairs in a million are beyond what a Gaussian one
exceeds in one of a million. The first table is for 256 dimensions, of rows that are dense and rows of 5 non-zeros, with
normal values and with ones; the second for other dimensions and numbers of non-zeros of "osnap", for pairs of columns:
rows of 1 non-zero.

tests/python/test_random_projection.py runs a short form.
"""

import argparse
import math

import numpy as np
from scipy.optimize import brentq
from scipy.sparse import csr_array
from scipy.special import gammainc, gammaincc

import kexue as kx

QUANTILES = (0.95, 0.999)
CASES = {
    "gaussian": {"kind": "gaussian"},
    "rademacher": {"kind": "rademacher"},
    "srht": {"kind": "srht"},
    "osnap, 32": {"kind": "osnap", "nonzeros": 32},
    "osnap, 16": {"kind": "osnap", "nonzeros": 16},
    "osnap, 8 (default)": {"kind": "osnap"},
    "osnap, 4": {"kind": "osnap", "nonzeros": 4},
    "osnap, 2": {"kind": "osnap", "nonzeros": 2},
    "countsketch": {"kind": "countsketch"},
    "sparse, achlioptas": {"kind": "sparse", "density": "achlioptas"},
    "sparse, li (default)": {"kind": "sparse"},
}


def exceeded(n, probability):
    """The change that a Gaussian projection to n dimensions exceeds with this probability."""

    def excess(change):
        tails = gammaincc(n / 2, n * (1 + change) / 2) + gammainc(n / 2, n * max(1 - change, 0) / 2)
        return tails - probability

    return brentq(excess, 0, 100, xtol=1e-12)


def few(rng, rows, columns, nonzeros, values):
    where = np.array([rng.choice(columns, nonzeros, replace=False) for _ in range(rows)])
    starts = np.arange(0, rows * nonzeros + 1, nonzeros)
    return csr_array((values(rows * nonzeros), where.ravel(), starts), shape=(rows, columns))


def squared_distances(X):
    product = X @ X.T
    product = product.toarray() if hasattr(product, "toarray") else product
    squares = product.diagonal()
    return (squares[:, None] + squares - 2 * product)[np.triu_indices(len(squares), 1)]


def changes(X, draws, seed, n, options):
    before = squared_distances(X)
    kept = before > 0
    found = [
        squared_distances(kx.random_projection(X, n, rng=[seed, draw], **options))[kept] / before[kept] - 1
        for draw in range(draws)
    ]
    return abs(np.concatenate(found))


def cells(change, n):
    beyond = (change > exceeded(n, 1e-6)).mean() * 1e6
    return "".join(f"{value:7.3f}" for value in (*np.quantile(change, QUANTILES), change.max())) + f"{beyond:8.0f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--draws", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    data = {
        "dense rows": rng.normal(size=(options.rows, options.columns)),
        "5 non-zeros": few(rng, options.rows, options.columns, 5, lambda size: rng.normal(size=size)),
        "5 ones": few(rng, options.rows, options.columns, 5, np.ones),
    }
    n = 256
    law = "".join(f"{exceeded(n, 1 - quantile):7.3f}" for quantile in QUANTILES)
    print(f"{options.rows} rows of {options.columns} columns, {options.draws} projections to {n} dimensions")
    print(f"law of one pair, gaussian: {law}, in one of a million {exceeded(n, 1e-6):.3f}")
    print(f"{'':22}" + "".join(f"{name:>29} |" for name in data))
    print(f"{'':22}" + f"{'95%':>7}{'99.9%':>7}{'most':>7}{'beyond':>8} |" * len(data))
    for name, case in CASES.items():
        found = (cells(changes(X, options.draws, options.seed, n, case), n) for X in data.values())
        print(f"{name:22}" + "".join(found), flush=True)

    pairs = few(rng, options.rows, options.columns, 1, np.ones)
    print('\nrows of 1 non-zero: 99.9% by dimension, for "osnap" with factor * sqrt(dimension) non-zeros')
    factors = (0.125, 0.25, 0.5, 1.0, 2.0)
    print(f"{'dimension':>10}{'law':>8}" + "".join(f"{factor:>8}" for factor in factors))
    for n in (16, 64, 256, 1024, 4096):
        row = f"{n:10}{exceeded(n, 1e-3):8.3f}"
        for factor in factors:
            case = {"kind": "osnap", "nonzeros": min(n, math.ceil(factor * math.sqrt(n)))}
            row += f"{np.quantile(changes(pairs, options.draws, options.seed, n, case), 0.999):8.3f}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
