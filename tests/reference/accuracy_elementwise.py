"""The cases of the accuracy tables for activations and smoothed functions: a block is one array of points."""

from functools import partial

import numpy as np

import kexue as kx
from reference import activations, smoothing
from reference.accuracy import Case

COUNT = 103  # of a block: whole vectors and a rest
ULPS = (1, 2)
EVERYWHERE = "every magnitude, subnormal numbers too"
ZEROS = {"swish_grad": -1.2784645427610737, "gelu_grad": -0.7517915246935645, "gelu_tanh_grad": -0.752461422071016}


def each(function):
    return lambda *columns: [function(*point) for point in zip(*columns, strict=True)]


# ---- activations ----


def _case(name):
    exact = each(getattr(activations, name))
    return partial(Case, "activations", name, call=getattr(kx, name), exact=exact, promised=ULPS, blocks=16)


def _unary(name):
    case = _case(name)
    yield case("-4 to 4", lambda d: (d.uniform(-4, 4, COUNT),))
    yield case("the tails, -110 to 20 in float32, -760 to 40 in float64", _tails)
    yield case(EVERYWHERE, lambda d: (d.finite(COUNT),))
    if name in ZEROS:
        yield case("next to its zero", lambda d: (_near(d, ZEROS[name]),))


def _tails(d):
    return (d.uniform(-110, 20, COUNT) if d.dtype == np.float32 else d.uniform(-760, 40, COUNT),)


def _near(d, zero):
    return (zero * (1 + d.signed_powers(-20 if d.dtype == np.float32 else -48, -2, COUNT).astype(float))).astype(
        d.dtype
    )


def _squareplus(name):
    case = _case(name)
    if name == "squareplus_inverse":
        yield case("y 0.01 to 8, b 1/8 to 8", lambda d: (d.uniform(0.01, 8, COUNT), d.powers(-3, 3, COUNT)))
        yield case(EVERYWHERE, lambda d: (abs(d.finite(COUNT)), abs(d.finite(COUNT))))
    else:
        yield case("x -8 to 8, b 1/8 to 8", lambda d: (d.uniform(-8, 8, COUNT), d.powers(-3, 3, COUNT)))
        yield case(EVERYWHERE, lambda d: (d.finite(COUNT), abs(d.finite(COUNT))))


def _taylor(name):
    # An odd order has a zero, next to which no ulps are promised.
    case = partial(Case, "activations", name, call=getattr(kx, name), exact=each(getattr(activations, name)), blocks=8)
    even = 2 if name == "exp_taylor" else 1
    yield case(
        "orders to 12 without a zero, x -12 to 12",
        lambda d: (d.uniform(-12, 12, COUNT), even + 2 * (d.integers(0, 5, COUNT))),
        promised=ULPS,
    )
    yield case("order 0 to 30, x 0 to 40", lambda d: (d.uniform(0, 40, COUNT), d.integers(0, 30, COUNT)), promised=ULPS)


# ---- smoothed functions ----

KERNELS = ("gaussian", "logistic", "student_t2", "cauchy")
WIDE = "x and scale of 2^-60 to 2^60"
NEAR = "x -6 to 6, scale 1/4 to 4"
# The integral of Cauchy's kernel diverges: it has no ramp.
WITHOUT_CAUCHY = ("relu", "leaky_relu", "abs", "maximum")


def _near_points(d):
    return d.uniform(-6, 6, COUNT), d.powers(-2, 2, COUNT)


def _wide_points(d):
    return d.signed_powers(-60, 60, COUNT), d.powers(-60, 60, COUNT)


def _smooth(name, kernel, *others, unit="ulp", promised=ULPS, draw=_near_points, where=NEAR, blocks=8):
    """Arguments are drawn with the scale last."""
    function, exact = getattr(kx, f"smooth_{name}"), getattr(smoothing, f"smooth_{name}")
    return Case(
        "smoothing",
        f"smooth_{name} {kernel}",
        where,
        draw,
        lambda *arguments: function(*arguments[:-1], kernel=kernel, scale=arguments[-1]),
        each(partial(exact, kernel)),
        unit,
        promised,
        blocks,
    )


def _with_unit_of_steps(kernel, name):
    exact = getattr(smoothing, f"smooth_{name}")
    return lambda x, scale: (exact(kernel, float(x), scale), max(abs(float(x)), 1.0))


def _steps(kernel):
    for name in ("floor", "ceil", "round"):
        function = getattr(kx, f"smooth_{name}")
        yield Case(
            "smoothing",
            f"smooth_{name} {kernel}",
            "x -20 to 20, scale 1/4 to 4",
            lambda d: (d.uniform(-20, 20, 23), d.powers(-2, 2, 23)),
            lambda x, scale, function=function: function(x, kernel=kernel, scale=scale),
            each(_with_unit_of_steps(kernel, name)),
            "eps max(|x|, 1)",
            (1, 4),
            blocks=12,
        )


def _smoothings(kernel):
    names = ("relu", "step", "abs", "sign")
    for name in names:
        if kernel == "cauchy" and name in WITHOUT_CAUCHY:
            continue
        yield _smooth(name, kernel)
        yield _smooth(name, kernel, draw=_wide_points, where=WIDE)
    sums = {"unit": "eps of the largest term", "promised": (1, 4)}
    if kernel != "cauchy":
        yield _smooth(
            "leaky_relu",
            kernel,
            draw=lambda d: (d.uniform(-6, 6, COUNT), d.uniform(0, 1, COUNT), d.powers(-2, 2, COUNT)),
            where="x -6 to 6, slope 0 to 1, scale 1/4 to 4",
            **sums,
        )
        yield _smooth(
            "maximum",
            kernel,
            draw=lambda d: (d.uniform(-6, 6, COUNT), d.uniform(-6, 6, COUNT), d.powers(-2, 2, COUNT)),
            where="x and y -6 to 6, scale 1/4 to 4",
            **sums,
        )
    yield _smooth(
        "clip",
        kernel,
        draw=lambda d: (
            d.uniform(-6, 6, COUNT),
            d.uniform(-3, -1, COUNT),
            d.uniform(0, 4, COUNT),
            d.powers(-2, 2, COUNT),
        ),
        where="x -6 to 6, low -3 to -1, high 0 to 4, scale 1/4 to 4",
        **sums,
    )
    if kernel != "student_t2":  # whose oracle takes seconds for a point: tests/python/test_smoothing.py has some
        yield from _steps(kernel)


def cases():
    for name in ("softplus", "swish", "gelu", "gelu_tanh"):
        yield from _unary(name)
        yield from _unary(f"{name}_grad")
    for suffix in ("", "_grad", "_grad_b", "_inverse"):
        yield from _squareplus(f"squareplus{suffix}")
    yield from _taylor("exp_taylor")
    yield from _taylor("exp_taylor_grad")
    for kernel in KERNELS:
        yield from _smoothings(kernel)
