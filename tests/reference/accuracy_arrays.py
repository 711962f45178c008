"""The cases of the accuracy tables for matrices, networks, transport and special functions: a block is one call."""

import itertools
import math
from fractions import Fraction
from functools import partial

import mpmath
import numpy as np
from mpmath import mpf

import kexue as kx
from reference import entropic, gaussians, random_angle, recurrent
from reference.accuracy import DIGITS, EPS, Case, dot, exactly, with_unit

# ---- Gaussians ----


def covariances(d, n):
    """Of integers over 16: the same in both formats, symmetric, and positive definite."""
    roots = [d.integers(-9, 9, n, n).astype(float) for _ in range(2)]
    return [(root @ root.T + 8 * np.eye(n)) / 16 for root in roots]


def factors(d, n):
    return [np.tril(d.integers(-9, 9, n, n).astype(float), -1) / 16 + np.diag(d.powers(-1, 1, n)) for _ in range(2)]


def variances(d, n):
    return [d.powers(-4, 4, n) for _ in range(2)]


FORMS = {"covariance": covariances, "cholesky": factors, "diagonal": variances}


def two_gaussians(form, d, most=4):
    n = d.integer(1, most)
    p, q = (scale.astype(d.dtype) for scale in FORMS[form](d, n))
    return d.bell(1, n), p, d.bell(1, n), q


def condition(form, *scales):
    worst = mpf(1)
    for scale in scales:
        values = mpmath.eigsy(gaussians.covariance(scale, form), eigvals_only=True)
        worst = max(worst, max(values) / min(values))
    return worst


def exact_gaussian(name, form, *pair):
    with mpmath.workdps(50):
        value = getattr(gaussians, name)(*pair, form)
        unit = len(pair[0]) * condition(form, pair[1], pair[3])
        return [(value, unit * (value + (1 if name == "hellinger" else mpmath.sqrt(value))))]


def exact_gaussian_entropy(form, mean, p, *_):
    with mpmath.workdps(50):
        value = gaussians.entropy(p, form)
        return [(value, len(p) * condition(form, p) + 2 * abs(value))]


def exact_gaussian_gradient(name, form, *pair):
    """By differences of 1e-16, whose errors are of 1e-32."""
    with mpmath.workdps(50):
        parts = gaussians.gradient(getattr(gaussians, name), pair, form, dtype=object)
        entries = [mpf(entry) for part in parts for entry in part.ravel()]
        return with_unit(entries, len(pair[0]) * condition(form, pair[1], pair[3]) * max(map(abs, entries)))


def exact_entropy_gradient(form, mean, scale, *_):
    with mpmath.workdps(50):
        (part,) = gaussians.gradient(gaussians.entropy, [scale], form, dtype=object)
        entries = [mpf(entry) for entry in part.ravel()]
        return with_unit(entries, len(mean) * condition(form, scale) * max(map(abs, entries)))


def exact_gaussian_map(form, *pair):
    with mpmath.workdps(50):
        entries = gaussians.ot_map(pair[1], pair[3], form)
        entries = list(np.diag(entries) if form == "diagonal" else entries.ravel())
        return with_unit(entries, len(pair[0]) * condition(form, pair[1], pair[3]) * max(map(abs, entries)))


def _gaussian_gradients(form):
    case = partial(
        Case,
        "gaussians",
        range=f"{form}, 1 to 2 dimensions",
        draw=partial(two_gaussians, form, most=2),
        unit="n condition eps of the largest entry",
        blocks=24,
        short=2,
    )
    for name in ("kl", "bhattacharyya", "hellinger", "w2_squared"):
        function = getattr(kx, f"gaussian_{name.removesuffix('_squared')}_grad")
        options = {"squared": True} if name == "w2_squared" else {}
        yield case(
            f"gaussian_{name}_grad",
            call=partial(function, form=form, **options),
            exact=partial(exact_gaussian_gradient, name, form),
        )
    yield case(
        "gaussian_entropy_grad",
        call=lambda mean, scale, *_: kx.gaussian_entropy_grad(scale, form=form),
        exact=partial(exact_entropy_gradient, form),
    )
    yield case(
        "gaussian_ot_map",
        call=lambda *pair: kx.gaussian_ot_map(*pair, form=form).matrix,
        exact=partial(exact_gaussian_map, form),
    )


def _gaussians():
    for form in FORMS:
        draw = partial(two_gaussians, form)
        case = partial(Case, "gaussians", range=f"{form}, 1 to 4 dimensions", draw=draw, blocks=40, short=6)
        for name in ("kl", "bhattacharyya", "hellinger", "w2", "w2_squared"):
            function = getattr(kx, f"gaussian_{name.removesuffix('_squared')}")
            options = {"squared": True} if name == "w2_squared" else {}
            yield case(
                f"gaussian_{name}",
                call=partial(function, form=form, **options),
                exact=partial(exact_gaussian, name, form),
                unit="n condition eps (1 + x)" if name == "hellinger" else "n condition eps (x + sqrt(x))",
                promised=(None, None if name.startswith("w2") else 4),
            )
        yield case(
            "gaussian_entropy",
            call=lambda mean, p, *_, form=form: kx.gaussian_entropy(p, form=form),
            exact=partial(exact_gaussian_entropy, form),
            unit="eps (n condition + 2 |x|)",
            promised=(None, 4),
        )
        yield from _gaussian_gradients(form)


# ---- kernels, attention, recurrent networks ----


def kernel_matrices(d):
    n = d.integer(4, 12)
    return tuple(np.maximum(m, m.T) for m in (d.uniform(0, 1, n, n), d.uniform(0, 1, n, n)))


@exactly
def exact_hsic(K, L):
    n = len(K)
    product = mpmath.fsum(dot(*pair) for pair in zip(K, L, strict=True))
    rows_k, rows_l = [mpmath.fsum(row) for row in K], [mpmath.fsum(row) for row in L]
    value = product - 2 * dot(rows_k, rows_l) / n + mpmath.fsum(rows_k) * mpmath.fsum(rows_l) / n**2
    return [(value / n**2, product / n**2)]


@exactly
def exact_hsic_unbiased(K, L):
    n = len(K)
    K, L = ([[0 if i == j else row[j] for j in range(n)] for i, row in enumerate(matrix)] for matrix in (K, L))
    product = mpmath.fsum(dot(*pair) for pair in zip(K, L, strict=True))
    rows_k, rows_l = [mpmath.fsum(row) for row in K], [mpmath.fsum(row) for row in L]
    totals = mpmath.fsum(rows_k) * mpmath.fsum(rows_l) / ((n - 1) * (n - 2))
    value = product + totals - 2 * dot(rows_k, rows_l) / (n - 2)
    return [(value / (n * (n - 3)), product / (n * (n - 3)))]


def points(d):
    return d.bell(1, 6, 4), d.bell(1, 5, 4)


@exactly
def exact_rbf(X, Y):
    values = []
    for x, y in itertools.product(X, Y):
        exponent = mpf(0.25) * mpmath.fsum((a - b) ** 2 for a, b in zip(x, y, strict=True))
        sizes = mpf(0.25) * (dot(x, x) + dot(y, y))
        values.append((mpmath.exp(-exponent), mpmath.exp(-exponent) * (1 + sizes)))
    return values


def attention_arrays(count):
    return lambda d: (d.bell(1, 4, 4), d.bell(1, 6, 4), *(d.bell(1, 6 if i == 0 else 4, 3) for i in range(count)))


def attention_weights(Q, K):
    """Rows of the softmax of Q K^T / 2: the square root of four columns is two."""
    rows = []
    for q in Q:
        terms = [mpmath.exp(dot(q, k) / 2) for k in K]
        rows.append([term / mpmath.fsum(terms) for term in terms])
    return rows


def columns(matrix):
    return [list(column) for column in zip(*matrix, strict=True)]


@exactly
def exact_attention(Q, K, V):
    largest = max(abs(v) for row in V for v in row)
    return [(dot(row, column), largest) for row in attention_weights(Q, K) for column in columns(V)]


@exactly
def exact_attention_vjp(Q, K, V, G):
    P = attention_weights(Q, K)
    by_scores = []
    for row, g in zip(P, G, strict=True):
        slopes = [dot(g, v) for v in V]
        by_scores.append([p * (slope - dot(row, slopes)) / 2 for p, slope in zip(row, slopes, strict=True)])
    values = []
    for left, right in ((by_scores, K), (columns(by_scores), Q), (columns(P), G)):
        part = [dot(row, column) for row in left for column in columns(right)]
        values += with_unit(part, max(map(abs, part)))
    return values


@exactly
def exact_linear_attention(Q, K, V):
    largest = max(abs(v) for row in V for v in row)
    values = []
    for q in Q:
        weights = [dot(q, k) for k in K]
        values += [(dot(weights, column) / mpmath.fsum(weights), largest) for column in columns(V)]
    return values


def network(gates):
    def draw(d):
        n, inputs = 3, 2
        return d.bell(1, 12, inputs), d.bell(0.5, inputs, gates * n), d.bell(0.5, n, gates * n), d.bell(1, gates * n)

    return draw


def exact_states(step):
    @exactly
    def evaluate(x, W, U, b):
        zeros = [mpf(0)] * 3
        return [(v, mpf(1)) for row in recurrent.states(step, x, zeros, zeros, W, U, b)[0] for v in row]

    return evaluate


def _arrays():
    case = partial(Case, "arrays", blocks=40, short=5)
    where = "4 to 12 points, symmetric, entries 0 to 1"
    unit = "eps of the mean of K L"
    yield case("hsic_from_kernels", where, kernel_matrices, kx.hsic_from_kernels, exact_hsic, unit=unit)
    yield case(
        "hsic_from_kernels_unbiased",
        where,
        kernel_matrices,
        kx.hsic_from_kernels_unbiased,
        exact_hsic_unbiased,
        unit=unit,
    )
    yield case(
        "rbf_kernel",
        "normal points in 4 dimensions, gamma 1/4",
        points,
        partial(kx.rbf_kernel, gamma=0.25),
        exact_rbf,
        unit="eps k (1 + gamma (|x|^2 + |y|^2))",
        arithmetic="NumPy",
    )
    small, largest = "4 queries, 6 keys, normal, 4 columns", "eps of the largest value"
    yield case("attention", small, attention_arrays(1), kx.attention, exact_attention, unit=largest)
    yield case(
        "attention_vjp",
        small,
        attention_arrays(2),
        kx.attention_vjp,
        exact_attention_vjp,
        unit="eps of the largest entry of each gradient",
    )
    yield case(
        "linear_attention",
        "4 queries, 6 keys, positive features, 4 columns",
        lambda d: (d.uniform(0.1, 2, 4, 4), d.uniform(0.1, 2, 6, 4), d.bell(1, 6, 3)),
        kx.linear_attention,
        exact_linear_attention,
        unit=largest,
    )
    steps = "12 steps of 3 units"
    for name, gates, step in (
        ("simple_rnn", 1, recurrent.tanh_step),
        ("lstm", 4, recurrent.lstm_step),
        ("gru", 3, recurrent.gru_step),
    ):
        function = getattr(kx, name)
        call = (lambda *a, function=function: function(*a)[0]) if name == "lstm" else function
        yield case(name, steps, network(gates), call, exact_states(step), unit="eps, absolute")


# ---- transport ----


def square_costs(d):
    n = d.integer(2, 5)
    return (d.uniform(0, 1, n, n),)


def exact_assignment(M):
    costs = [[Fraction(float(c)) for c in row] for row in M]
    n = len(costs)
    best = min(sum(costs[i][j] for i, j in enumerate(order)) for order in itertools.permutations(range(n))) / n
    with mpmath.workdps(DIGITS):
        value = mpf(best.numerator) / best.denominator
        return [(value, value)]


@exactly
def exact_wmd(x, y):
    n = len(x)
    costs = [[mpmath.sqrt(mpmath.fsum((a - b) ** 2 for a, b in zip(u, v, strict=True))) for v in y] for u in x]
    best = min(mpmath.fsum(costs[i][j] for i, j in enumerate(order)) for order in itertools.permutations(range(n))) / n
    return [(best, best)]


def exact_line(x, y):
    """Of m and n equal weights: pieces of lcm(m, n) equal parts, in order."""
    x, y = (sorted(Fraction(float(v)) for v in row) for row in (x, y))
    parts = math.lcm(len(x), len(y))
    total = sum((x[i * len(x) // parts] - y[i * len(y) // parts]) ** 2 for i in range(parts)) / parts
    with mpmath.workdps(DIGITS):
        value = mpf(total.numerator) / total.denominator
        return [(value, value)]


def _transport():
    case = partial(Case, "transport", blocks=60, short=8, unit="eps, relative")
    yield case(
        "emd2",
        "2 to 5 equal weights a side, costs 0 to 1",
        square_costs,
        lambda M: kx.emd2(None, None, M),
        exact_assignment,
        promised=(None, 450359),
    )
    yield case(
        "emd2_1d",
        "to 8 equal weights a side, squared distances",
        lambda d: (d.bell(1, d.integer(1, 8)), d.bell(1, d.integer(1, 8))),
        kx.emd2_1d,
        exact_line,
    )
    yield case(
        "sinkhorn2",
        "2 to 4 equal weights a side, reg 1/16 to 2, tol 1e-9",
        entropic_problem,
        lambda M, reg: kx.sinkhorn2(None, None, M, float(reg[0])),
        exact_entropic_cost,
        unit="1e-9 of the costs' range",
        promised=(None, 100),
        blocks=16,
        short=2,
        dtypes=("float64",),
    )
    yield case(
        "wmd",
        "2 to 5 equal words a side, 3 dimensions",
        lambda d: (lambda n: (d.bell(1, n, 3), d.bell(1, n, 3)))(d.integer(2, 5)),
        kx.wmd,
        exact_wmd,
    )


def entropic_problem(d):
    m, n = d.integer(2, 4), d.integer(2, 4)
    return (d.uniform(0, 1, m, n), d.powers(-4, 1, 1))


def exact_entropic_cost(M, reg):
    m, n = M.shape
    solution = entropic.solve(np.full(m, 1 / m), np.full(n, 1 / n), M, float(reg[0]), digits=50)
    return [(mpf(solution.cost), 1e-9 * float(M.max() - M.min()) / EPS["float64"])]


# ---- special functions ----


def exact_ball_step(d, kappa):
    with mpmath.workdps(50):
        half, k = mpf(d) / 2, mpf(kappa)
        value = mpmath.besseli(half + 1, k) / mpmath.besseli(half, k)
        return [(value, value)]


def interval(d):
    low = float(d.uniform(-6, 6, 1)[0])
    return low, low + float(d.powers(-8, 3, 1)[0])


def exact_truncated_variance(low, high):
    with mpmath.workdps(80):
        a, b = mpf(low), mpf(high)
        mass = (mpmath.erfc(a / mpmath.sqrt(2)) - mpmath.erfc(b / mpmath.sqrt(2))) / 2
        mean = (mpmath.npdf(a) - mpmath.npdf(b)) / mass
        value = 1 + (a * mpmath.npdf(a) - b * mpmath.npdf(b)) / mass - mean**2
        return [(value, value)]


def exact_angle(n, theta):
    value = random_angle.below(n, theta) if theta <= math.pi / 2 else 1 - random_angle.below(n, mpmath.pi - theta)
    return [(value, value)]


def _special():
    case = partial(Case, "special", blocks=80, short=8, unit="eps, relative", arithmetic="NumPy", dtypes=("float64",))
    yield case(
        "ball_step_length",
        "1 to 1000 dimensions, kappa 1/1024 to 1024",
        lambda d: (d.integer(1, 1000), float(d.powers(-10, 10, 1)[0])),
        kx.ball_step_length,
        exact_ball_step,
        promised=(None, 9),
    )
    yield case(
        "truncated_normal_variance",
        "from -6 to 6, widths 1/256 to 8",
        interval,
        kx.truncated_normal_variance,
        exact_truncated_variance,
        promised=(None, 45),
    )
    yield case(
        "random_angle cdf",
        "2 to 100 dimensions, 1/2 to 2.6",
        lambda d: (d.integer(2, 100), float(d.uniform(0.5, 2.6, 1)[0])),
        lambda n, theta: kx.random_angle(n).cdf(theta),
        exact_angle,
        promised=(None, 1351),
    )


def cases():
    for family in (_gaussians, _arrays, _transport, _special):
        yield from family()
