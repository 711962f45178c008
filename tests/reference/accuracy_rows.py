"""The cases of the accuracy tables for functions of rows: a block is one call with a row."""

import math
from functools import partial

import mpmath
import numpy as np
from mpmath import mpf

import kexue as kx
from reference import combinatorial_softmax, density, entropy, losses, softmax
from reference.accuracy import DIGITS, Case, dot, exactly, with_unit


def log2_of(row):
    return 1 + math.log2(len(row))


def row_of(size, kind="bell", low=2, high=70):
    """A draw of one row of a random length."""
    return lambda d: (getattr(d, kind)(size, d.integer(low, high)),)


def rows_of(count, size, low=2, high=70):
    def draw(d):
        n = d.integer(low, high)
        return tuple(d.bell(size, n) for _ in range(count))

    return draw


# ---- softmaxes and entropies ----


def wide_logits(d):
    n = d.integer(2, 40)
    return (d.uniform(-60, 60, n) if d.dtype == np.float32 else d.uniform(-600, 600, n),)


@exactly
def exact_logsumexp(x):
    return [(mpmath.log(mpmath.fsum(map(mpmath.exp, x))), max(map(abs, x)) + math.log(len(x)))]


@exactly
def exact_softmax_vjp(q, g):
    mean, size = dot(q, g), mpmath.fsum(a * abs(b) for a, b in zip(q, g, strict=True))
    return [(a * (b - mean), a * (abs(b) + size)) for a, b in zip(q, g, strict=True)]


@exactly
def exact_log_softmax_vjp(y, g):
    total, size = mpmath.fsum(g), mpmath.fsum(map(abs, g))
    return [(b - mpmath.exp(a) * total, abs(b) + mpmath.exp(a) * size) for a, b in zip(y, g, strict=True)]


@exactly
def exact_logsumexp_vjp(x, g):
    terms = [mpmath.exp(value) for value in x]
    return [g[0] * term / mpmath.fsum(terms) for term in terms]


def exact_entropy(p):
    value = softmax.entropy(p)
    return [(value, value * log2_of(p))]


def _softmaxes():
    case = partial(Case, "softmax", blocks=60, short=6)
    ranges = [
        ("rows to 70, normal logits times 3", row_of(3)),
        ("rows to 40, -60 to 60, float64 -600 to 600", wide_logits),
    ]
    for where, draw in ranges:
        yield case("softmax", where, draw, kx.softmax, softmax.softmax, promised=(6, 6))
        yield case("log_softmax", where, draw, kx.log_softmax, softmax.log_softmax, promised=(6, 6))
        yield case(
            "logsumexp", where, draw, kx.logsumexp, exact_logsumexp, unit="eps (max |x| + log n)", promised=(6, 6)
        )
    yield case(
        "entropy",
        "rows to 70, weights 2^-20 to 1",
        lambda d: (d.powers(-20, 0, d.integer(2, 70)),),
        kx.entropy,
        exact_entropy,
        unit="eps (1 + log2 n), relative",
        promised=(8, 8),
    )
    for order in (2, 4):
        yield case(
            "taylor_softmax",
            f"order {order}, rows to 40, normal logits times 3",
            row_of(3, high=40),
            partial(kx.taylor_softmax, n=order),
            lambda x, order=order: [(value, value) for value in softmax.taylor_softmax(x, order)],
            unit="eps, relative",
            promised=(2, 45),
        )
    pairs = rows_of(2, 2, high=50)
    yield case(
        "softmax_vjp",
        "rows to 50",
        lambda d: (lambda q, g: (abs(q), g))(*pairs(d)),
        kx.softmax_vjp,
        exact_softmax_vjp,
        unit="eps q (|grad| + mean |grad|)",
    )
    yield case(
        "log_softmax_vjp",
        "rows to 50",
        lambda d: (lambda y, g: (-abs(y), g))(*pairs(d)),
        kx.log_softmax_vjp,
        exact_log_softmax_vjp,
        unit="eps of the sizes of the terms",
    )
    yield case(
        "taylor_softmax_vjp",
        "order 4, rows to 50",
        pairs,
        partial(kx.taylor_softmax_vjp, n=4),
        exact_taylor_vjp,
        unit="eps of the sizes of the terms",
    )
    yield case(
        "logsumexp_vjp",
        "rows to 50",
        lambda d: (d.bell(3, d.integer(2, 50)), d.bell(1, 1)),
        lambda x, g: kx.logsumexp_vjp(x, g[0]),
        exact_logsumexp_vjp,
    )


@exactly
def exact_taylor_vjp(x, g):
    """Of order 4; each entry is a slope's share times a difference."""
    values, slopes = ([softmax.exp_taylor(a, n) for a in x] for n in (4, 3))
    total = mpmath.fsum(values)
    mean = dot(values, g) / total
    size = mpmath.fsum(value * abs(b) for value, b in zip(values, g, strict=True)) / total
    return [
        (slope / total * (b - mean), abs(slope) / total * (abs(b) + size)) for slope, b in zip(slopes, g, strict=True)
    ]


# ---- entropy normalisation ----


def entropy_problem(d):
    p = d.powers(-8, 0, d.integer(3, 24))
    return p, float(d.uniform(0.2, 0.8, 1)[0])


def entropy_solution(p, fraction):
    with mpmath.workdps(DIGITS):
        s, m = entropy.counts(entropy.logs_of_weights(p))
        target = math.log(m) + fraction * math.log(s / m)
        return entropy.solve(entropy.logs_of_weights(p), target)


def normalize(p, fraction):
    s, m = len(p), int((p == p.max()).sum())
    q, info = kx.entropy_normalize(p, math.log(m) + fraction * math.log(s / m), log=True)
    return q, info


def exact_powers(p, fraction):
    return [(q, q * (1 - mpmath.log(q))) for q in entropy_solution(p, fraction).q]


def exact_gamma(p, fraction):
    gamma = entropy_solution(p, fraction).gamma
    return [(gamma, gamma)]


def _entropy_normalizations():
    case = partial(Case, "entropy", blocks=24, short=3, draw=entropy_problem)
    where = "rows to 24, weights 2^-8 to 1, entropies in between"
    yield case(
        "entropy_normalize", where, call=lambda *a: normalize(*a)[0], exact=exact_powers, unit="eps q (1 - log q)"
    )
    yield case(
        "entropy_normalize gamma",
        where,
        call=lambda *a: normalize(*a)[1].gamma,
        exact=exact_gamma,
        unit="eps, relative",
        promised=(None, 450),
    )


# ---- losses ----


def scores_and_targets(d):
    n = d.integer(2, 40)
    return d.bell(4, n), d.choose(0.3, n).astype(d.dtype)


def exact_zlpr(s, t):
    return [losses.zlpr(s, t, digits=DIGITS)[0]]


def exact_zlpr_grad(s, t):
    return losses.zlpr(s, t, digits=DIGITS)[1]


def with_gradient(function, **options):
    return lambda *arguments: function(*arguments, return_grad=True, **options)[1]


def scores_and_id(d):
    s = d.bell(4, d.integer(2, 40))
    return s, d.integer(0, len(s) - 1)


@exactly
def exact_softmax_loss(s, target):
    return [mpmath.log(mpmath.fsum(mpmath.exp(x - s[target]) for x in s))]


@exactly
def exact_rank(s, t):
    value = losses.pairwise_rank(s, t, digits=DIGITS)
    return [(value, max([value, *map(abs, s)]))]


@exactly
def exact_symmetric_kl(s, t):
    p, q = mpmath.fsum(map(mpmath.exp, s)), mpmath.fsum(map(mpmath.exp, t))
    value = mpmath.fsum((mpmath.exp(x) / p - mpmath.exp(y) / q) * (x - y) for x, y in zip(s, t, strict=True))
    return [(value, value)]


def cosines_and_labels(d):
    n = d.integer(3, 30)
    return d.uniform(-1, 1, n), d.integers(0, 3, n)


@exactly
def exact_cosent(c, labels):
    pairs = [(i, k) for i in range(len(c)) for k in range(len(c)) if labels[i] > labels[k]]
    terms = [mpmath.exp(20 * (c[k] - c[i])) for i, k in pairs]
    total = 1 + mpmath.fsum(terms)
    slopes = [mpf(0)] * len(c)
    for (i, k), term in zip(pairs, terms, strict=True):
        slopes[k] += 20 * term / total
        slopes[i] -= 20 * term / total
    loss = mpmath.log(total)
    unit = max(mpf(1), loss, 20 * (max(c) - min(c)))
    return loss, slopes, unit


def exact_log_esp(s, k):
    value = combinatorial_softmax.exact(s, k, marginals=False)[0]
    return [(value, 1 + float(np.sort(abs(s))[-k:].sum()))]


def exact_esp_marginals(s, k):
    return [(share, share) for share in combinatorial_softmax.exact(s, k)[1]]


def scores_and_size(d):
    s = d.bell(3, d.integer(2, 14))
    return s, d.integer(1, len(s) - 1)


def scores_and_set(d):
    s, targets = d.bell(3, d.integer(6, 14)), d.integer(1, 3)
    return s, (np.arange(len(s)) % 4 < 1).astype(d.dtype) * (np.arange(len(s)) < 4 * targets)


@exactly
def exact_combinatorial(s, t):
    k = sum(map(int, t))
    ordered = sorted(map(abs, s))[-k:]
    own = [a for a, b in zip(s, t, strict=True) if b]
    value = combinatorial_softmax.exact(s, k, marginals=False)[0] - mpmath.fsum(own)
    return [(value, 1 + mpmath.fsum(ordered) + mpmath.fsum(map(abs, own)))]


@exactly
def exact_info_nce(c):
    n = len(c)
    rows = [mpmath.log(mpmath.fsum(mpmath.exp((c[i][j] - c[i][i]) * 20) for j in range(n))) for i in range(n)]
    return [(mpmath.fsum(rows) / n, mpf(40))]


def _losses():
    case = partial(Case, "losses", blocks=60, short=6)
    where = "rows to 40, normal scores times 4"
    yield case("zlpr_loss", where, scores_and_targets, kx.zlpr_loss, exact_zlpr, promised=(4, 4))
    yield case(
        "zlpr_loss gradient", where, scores_and_targets, with_gradient(kx.zlpr_loss), exact_zlpr_grad, promised=(8, 8)
    )
    pairs = rows_of(2, 2, high=40)
    two = "rows to 40, two sets of normal scores times 2"
    kl = kx.zlpr_symmetric_kl
    yield case(
        "zlpr_symmetric_kl", two, pairs, kl, lambda s, t: [losses.symmetric_kl(s, t, digits=DIGITS)], promised=(8, 8)
    )
    yield case("softmax_symmetric_kl", two, pairs, kx.softmax_symmetric_kl, exact_symmetric_kl, unit="eps, relative")
    yield case(
        "pairwise_rank_loss",
        where,
        scores_and_targets,
        kx.pairwise_rank_loss,
        exact_rank,
        unit="eps of the loss and the scores",
    )
    yield case("softmax_loss", where, scores_and_id, kx.softmax_loss, exact_softmax_loss, promised=(6, 6))
    unit = "eps max(1, loss, scale times the cosines' range)"
    cosines = "rows to 30, cosines -1 to 1, scale 20"
    yield case(
        "cosent_loss",
        cosines,
        cosines_and_labels,
        kx.cosent_loss,
        lambda c, labels: (lambda loss, _, unit: [(loss, unit)])(*exact_cosent(c, labels)),
        unit=unit,
        promised=(4, 4),
    )
    yield case(
        "cosent_loss gradient",
        cosines,
        cosines_and_labels,
        with_gradient(kx.cosent_loss),
        lambda c, labels: (lambda _, slopes, unit: with_unit(slopes, 20 * unit))(*exact_cosent(c, labels)),
        unit="20 " + unit,
        promised=(4, 4),
    )
    sets = "rows to 14, normal scores times 3"
    yield case(
        "log_esp", sets, scores_and_size, kx.log_esp, exact_log_esp, unit="eps (1 + sum of the k largest |s|)",
        promised=(8, 8),
    )  # fmt: skip
    yield case(
        "log_esp gradient", sets, scores_and_size, with_gradient(kx.log_esp), exact_esp_marginals, unit="eps, relative"
    )
    yield case(
        "combinatorial_softmax_loss",
        "rows of 6 to 14, normal scores times 3, 1 to 3 targets",
        scores_and_set,
        kx.combinatorial_softmax_loss,
        exact_combinatorial,
        unit="eps (1 + sum of |s| of the k largest and the targets)",
    )
    yield case(
        "info_nce_loss",
        "10 x 10 cosines -1 to 1, temperature 1/20",
        lambda d: (d.uniform(-1, 1, 10, 10),),
        kx.info_nce_loss,
        exact_info_nce,
        unit="eps times 40, the exponents' range",
    )


# ---- vectors ----


@exactly
def exact_cosine(u, v):
    return [(dot(u, v) / mpmath.sqrt(dot(u, u) * dot(v, v)), log2_of(u))]


@exactly
def exact_cosine_vjp(u, v, g):
    nu, nv = mpmath.sqrt(dot(u, u)), mpmath.sqrt(dot(v, v))
    c = dot(u, v) / (nu * nv)
    first = [g[0] * (b / nv - c * a / nu) / nu for a, b in zip(u, v, strict=True)]
    second = [g[0] * (a / nu - c * b / nv) / nv for a, b in zip(u, v, strict=True)]
    size = abs(g[0]) * log2_of(u)
    return with_unit(first, size / nu) + with_unit(second, size / nv)


@exactly
def exact_normalized(x):
    norm = mpmath.sqrt(dot(x, x))
    return [(a / norm, abs(a / norm) * log2_of(x)) for a in x]


@exactly
def exact_normalized_vjp(x, g):
    norm = mpmath.sqrt(dot(x, x))
    y = [a / norm for a in x]
    unit = log2_of(x) * mpmath.sqrt(dot(g, g)) / norm
    return with_unit([(b - a * dot(y, g)) / norm for a, b in zip(y, g, strict=True)], unit)


@exactly
def exact_layer_norm(x, gamma, beta):
    mean = mpmath.fsum(x) / len(x)
    deviation = mpmath.sqrt(mpmath.fsum((a - mean) ** 2 for a in x) / len(x) + mpf(1e-5))
    h = [(a - mean) / deviation for a in x]
    unit = log2_of(x)
    return [(c * a + b, unit * (abs(c) * (1 + abs(a)) + abs(b))) for a, c, b in zip(h, gamma, beta, strict=True)]


@exactly
def exact_rms_norm(x, gamma):
    size = mpmath.sqrt(dot(x, x) / len(x) + mpf(1e-5))
    return [(c * a / size, abs(c * a / size) * log2_of(x)) for a, c in zip(x, gamma, strict=True)]


@exactly
def exact_layer_norm_vjp(x, grad, gamma):
    n = len(x)
    mean = mpmath.fsum(x) / n
    deviation = mpmath.sqrt(mpmath.fsum((a - mean) ** 2 for a in x) / n + mpf(1e-5))
    h, by_h = [(a - mean) / deviation for a in x], [a * b for a, b in zip(grad, gamma, strict=True)]
    middle, slope, unit = mpmath.fsum(by_h) / n, dot(by_h, h) / n, log2_of(x) * max(map(abs, by_h)) / deviation
    by_x = [((b - middle - a * slope) / deviation, unit * (1 + abs(a))) for a, b in zip(h, by_h, strict=True)]
    return by_x + [(a * b, log2_of(x) * (1 + abs(a)) * abs(b)) for a, b in zip(h, grad, strict=True)]


@exactly
def exact_rms_norm_vjp(x, grad, gamma):
    size = mpmath.sqrt(dot(x, x) / len(x) + mpf(1e-5))
    h, by_h = [a / size for a in x], [a * b for a, b in zip(grad, gamma, strict=True)]
    slope, unit = dot(by_h, h) / len(x), log2_of(x) * max(map(abs, by_h)) / size
    by_x = [((b - a * slope) / size, unit * (1 + abs(a))) for a, b in zip(h, by_h, strict=True)]
    return by_x + [(a * b, log2_of(x) * abs(a * b)) for a, b in zip(h, grad, strict=True)]


@exactly
def exact_fwht(x, orthonormal=False):
    values = list(x)
    half = 1
    while half < len(values):
        for start in range(0, len(values), 2 * half):
            for i in range(start, start + half):
                values[i], values[i + half] = values[i] + values[i + half], values[i] - values[i + half]
        half *= 2
    factor = 1 / mpmath.sqrt(len(x)) if orthonormal else 1
    return with_unit([v * factor for v in values], math.log2(len(x)) * mpmath.fsum(map(abs, x)) * factor)


def rows_from_afar(d):
    n = d.integer(2, 100)
    return (d.bell(1, n) + d.integer(0, 1) * 1000).astype(d.dtype), d.bell(1, n), d.bell(1, n)


def _vectors():
    case = partial(Case, "vectors", blocks=60, short=6)
    eps, where = "eps (1 + log2 n)", "rows to 70"
    yield case("cosine_pairs", where, rows_of(2, 1), kx.cosine_pairs, exact_cosine, unit=eps, promised=(4, 4))
    yield case(
        "cosine_pairs_vjp",
        where,
        lambda d: (*rows_of(2, 1)(d), d.bell(1, 1)),
        lambda u, v, g: kx.cosine_pairs_vjp(u, v, g[0]),
        exact_cosine_vjp,
        unit=f"{eps} |grad| / |u|",
        promised=(8, 8),
    )
    yield case("l2_normalize", where, rows_of(1, 1), kx.l2_normalize, exact_normalized, unit=f"{eps}, relative")
    yield case(
        "l2_normalize_vjp",
        where,
        rows_of(2, 1),
        kx.l2_normalize_vjp,
        exact_normalized_vjp,
        unit=f"{eps} |grad| / |x|",
    )
    yield case(
        "layer_norm",
        "rows to 100, of mean 0 and 1000",
        rows_from_afar,
        kx.layer_norm,
        exact_layer_norm,
        unit=f"{eps} (|gamma| (1 + |h|) + |beta|)",
        promised=(4, 4),
    )
    yield case(
        "rms_norm",
        "rows to 100, of mean 0 and 1000",
        lambda d: rows_from_afar(d)[:2],
        kx.rms_norm,
        exact_rms_norm,
        unit=f"{eps}, relative",
        promised=(4, 4),
    )
    for name, exact in (("layer_norm_vjp", exact_layer_norm_vjp), ("rms_norm_vjp", exact_rms_norm_vjp)):
        yield case(
            name,
            "rows to 100, of mean 0 and 1000",
            rows_from_afar,
            lambda x, grad, gamma, name=name: getattr(kx, name)(x, grad, gamma)[:2],
            exact,
            unit=f"{eps} of the sizes of the terms",
        )
    for name, orthonormal in (("fwht", False), ("fwht orthonormal", True)):
        yield case(
            name,
            "2 to 256 entries",
            lambda d: (d.bell(1, 2 ** d.integer(1, 8)),),
            partial(kx.fwht, orthonormal=orthonormal),
            lambda x, orthonormal=orthonormal: exact_fwht(x, orthonormal),
            unit="eps log2 n of the sum of sizes",
            promised=(1, 1) if not orthonormal else (None, None),
        )


# ---- densities ----


def exact_bound(w):
    return [(density.iwae_bound(w), float(abs(w).max()) + math.log(len(w)))]


def exact_mean(w):
    return [(density.elbo(w), float(abs(w.astype(float)).mean()))]


def _densities():
    case = partial(Case, "density", draw=row_of(5), range="rows to 70, normal log-weights times 5", blocks=60, short=6)
    yield case(
        function="iwae_bound",
        call=kx.iwae_bound,
        exact=exact_bound,
        unit="eps (max |log w| + log M)",
        promised=(6, 6),
    )
    yield case(function="iwae_bound_grad", call=kx.iwae_bound_grad, exact=density.iwae_bound_grad)
    yield case(
        function="iwae_bound_vjp",
        draw=lambda d: (d.bell(5, d.integer(2, 70)), d.bell(1, 1)),
        call=lambda w, g: kx.iwae_bound_vjp(w, g[0]),
        exact=lambda w, g: [mpf(float(g[0])) * share for share in density.iwae_bound_grad(w)],
    )
    yield case(function="elbo", call=kx.elbo, exact=exact_mean, unit="eps of the mean size", arithmetic="NumPy")
    yield case(
        function="effective_sample_size",
        call=kx.effective_sample_size,
        exact=lambda w: [density.effective_sample_size(w)],
        arithmetic="NumPy",
    )


def cases():
    for family in (_softmaxes, _entropy_normalizations, _losses, _vectors, _densities):
        yield from family()
