"""The law of random angles, and norms and inner products of projections, in mpmath from their series and integrals."""

import mpmath
from mpmath import mpf

DIGITS = 40


def constant(n):
    return mpmath.gamma(mpf(n) / 2) / (mpmath.gamma(mpf(n - 1) / 2) * mpmath.sqrt(mpmath.pi))


def pdf(n, theta):
    with mpmath.workdps(DIGITS):
        return constant(n) * mpmath.sin(mpf(theta)) ** (n - 2)


def below(n, theta):
    """P(angle <= theta) for theta <= pi/2, the tail that does not cancel."""
    with mpmath.workdps(DIGITS):
        theta = mpf(theta)
        scale = n * mpmath.cos(theta) ** 2
    # Near pi/2: a half less a series, of digits enough for what cancels. Elsewhere a series in the sine.
    if scale < 1000 and mpmath.cos(theta) < 0.7:
        with mpmath.workdps(DIGITS + int(scale / 4) + 20):
            cosine = mpmath.cos(theta)
            term = total = mpf(1)
            k = 0
            while term > total * mpf(10) ** -mpmath.mp.dps:
                term *= (mpf(n) / 2 + k) / (mpf(3) / 2 + k) * cosine**2
                total += term
                k += 1
            return mpf(1) / 2 - constant(n) * cosine * (1 - cosine**2) ** (mpf(n - 1) / 2) * total
    with mpmath.workdps(DIGITS):
        sine, cosine = mpmath.sin(theta), mpmath.cos(theta)
        term = total = mpf(1)
        k = 0
        while term > total * mpf(10) ** -30:
            term *= (mpf(n) / 2 + k) / (mpf(n + 1) / 2 + k) * sine**2
            total += term
            k += 1
        return constant(n) * sine ** (n - 1) * cosine / (n - 1) * total


def central_moment(n, order):
    with mpmath.workdps(DIGITS):
        reach = min(mpmath.pi / 2, 40 / mpmath.sqrt(n))
        points = [0, reach / 8, reach / 4, reach / 2, reach]
        return 2 * constant(n) * mpmath.quad(lambda t: mpmath.cos(t) ** (n - 2) * t**order, points)


def tilted_entropy(n):
    """h_n by Bessel functions."""
    with mpmath.workdps(DIGITS):
        nu = mpf(n) / 2 - 1
        bessel = mpmath.besseli(nu, n)
        log_mean = mpmath.loggamma(nu + 1) + nu * mpmath.log(mpf(2) / n) + mpmath.log(bessel)
        return log_mean - n * mpmath.besseli(nu + 1, n) / bessel


def norm_deviation(n, eps):
    """P(| ||u||^2 - 1 | >= eps) for u of an even number n of N(0, 1/n): both tails of chi-square as sums."""
    with mpmath.workdps(DIGITS):
        a = n // 2
        total = mpf(0)
        for sign in (1, -1):
            x = a * (1 + sign * mpf(eps))
            # P is the sum over k >= a of exp(-x) x^k / k!, Q that over k < a; both from the largest term on.
            term = mpmath.exp((a - (sign > 0)) * mpmath.log(x) - x - mpmath.loggamma(a + (sign < 0)))
            k, last = a - (sign > 0), term * mpf(10) ** -30
            while term > last:
                total += term
                term *= k / x if sign > 0 else x / (k + 1)
                k -= sign
        return total
