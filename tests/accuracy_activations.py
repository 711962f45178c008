"""The long form of the accuracy tests of the unary activations, with a table of the worst errors.

float32: every number, or every n-th with --step, against the float64 kernel (whose error is 2**-28 of a float32 ulp).
float64: random arguments of all kinds against mpmath, --count for each kind.

    PYTHONPATH=tests:$PYTHONPATH python tests/accuracy_activations.py [--step 1] [--count 20000] [names]
"""

import argparse
import time

import numpy as np

import kexue
from reference import activations as reference
from reference.ulp import ulp_error

NAMES = [f"{name}{suffix}" for name in ("softplus", "swish", "gelu", "gelu_tanh") for suffix in ("", "_grad")]
ZEROS = {"swish_grad": -1.2784645427610737, "gelu_grad": -0.7517915246935645, "gelu_tanh_grad": -0.752461422071016}
CHUNK = 1 << 22


def float32_errors(name, step):
    """The worst error in ulps over all finite numbers, and where."""
    function = getattr(kexue, name)
    worst, where = 0.0, 0.0
    for start in range(0, 1 << 32, CHUNK * step):
        bits = np.arange(start, min(start + CHUNK * step, 1 << 32), step, dtype=np.uint64).astype(np.uint32)
        x = bits.view(np.float32)
        x = x[np.isfinite(x)]
        if x.size == 0:
            continue
        exact = function(x.astype(np.float64))
        _, exponent = np.frexp(exact)
        exponent = np.where(exact == 0, -125, np.maximum(exponent, -125))
        error = np.abs(function(x) - exact) * np.exp2(24.0 - exponent)
        place = int(np.argmax(error))
        assert not np.isnan(error).any()
        if error[place] > worst:
            worst, where = float(error[place]), float(x[place])
    return worst, where


def float64_errors(name, count, rng):
    function, exact = getattr(kexue, name), getattr(reference, name)
    zero = ZEROS.get(name, -1.0)
    bits = rng.integers(0, 1 << 64, size=count, dtype=np.uint64).view(np.float64)
    sign = rng.choice([-1, 1], size=count)
    x = np.concatenate(
        [
            bits[np.isfinite(bits)],
            rng.uniform(-4, 4, size=count),
            rng.uniform(-45, 45, size=count),
            rng.uniform(-760, 40, size=count),
            np.exp(rng.uniform(-40, 7, size=count)) * sign,
            zero * (1 + np.exp(rng.uniform(-37, -1, size=count)) * sign),
        ]
    )
    return max((ulp_error(result, exact(xi)), float(xi)) for result, xi in zip(function(x), x, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--count", type=int, default=20000)
    options = parser.parse_args()
    print(f"{'function':16} {'float32 ulp':>12} {'at':>16} {'float64 ulp':>12} {'at':>24} {'seconds':>8}")
    for name in options.names:
        start = time.perf_counter()
        narrow, narrow_at = float32_errors(name, options.step)
        wide, wide_at = float64_errors(name, options.count, np.random.default_rng(0))
        seconds = time.perf_counter() - start
        print(f"{name:16} {narrow:12.4f} {narrow_at:16.8g} {wide:12.3f} {wide_at:24.17g} {seconds:8.0f}", flush=True)
        assert narrow <= 1 and wide <= 2


if __name__ == "__main__":
    main()
