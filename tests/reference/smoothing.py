"""Smoothing by convolution in mpmath, straight from the definitions.

Tails are written without cancellation (or with extra digits), so that 200 bits are plenty for any arguments.
"""

import mpmath

TOO_FAR = 1e6  # mpmath cannot form exp(-z**2 / 2) for z = 1e600


def _number(x):
    return mpmath.mpf(float(x))


def density(kernel, x, scale):
    """k(x)."""
    x, scale = mpmath.mpf(x), mpmath.mpf(scale)
    if kernel == "gaussian":
        return mpmath.npdf(x / scale) / scale
    if kernel == "logistic":
        return scale / (4 * mpmath.cosh(scale * x / 2) ** 2)
    if kernel == "student_t2":
        return scale / (2 * (x * x + scale) ** mpmath.mpf(1.5))
    return scale / (mpmath.pi * (x * x + scale * scale))


def step_tail(kernel, a, scale):
    """1 - K(a) for a >= 0, without cancellation."""
    if kernel == "gaussian":
        z = a / scale
        return mpmath.erfc(z / mpmath.sqrt(2)) / 2 if z < TOO_FAR else mpmath.mpf(0)
    if kernel == "logistic":
        return 1 / (1 + mpmath.exp(scale * a))
    if kernel == "student_t2":
        root = mpmath.sqrt(a * a + scale)
        return scale / (2 * root * (root + a))
    return mpmath.atan2(scale, a) / mpmath.pi


def cdf(kernel, x, scale):
    """K(x)."""
    tail = step_tail(kernel, abs(x), scale)
    return tail if x < 0 else 1 - tail


def ramp_tail(kernel, a, scale):
    """The integral of 1 - K from a >= 0 on, at extra digits where it cancels."""
    if kernel == "gaussian":
        z = a / scale
        if z > TOO_FAR:
            return mpmath.mpf(0)
        # phi(z) - z Phi(-z) loses a factor of z**2.
        with mpmath.extraprec(int(4 * mpmath.log(z + 2, 2)) + 30):
            return scale * (mpmath.npdf(z) - z * mpmath.erfc(z / mpmath.sqrt(2)) / 2)
    if kernel == "logistic":
        return mpmath.log1p(mpmath.exp(-scale * a)) / scale
    if kernel == "student_t2":
        return scale / (2 * (a + mpmath.sqrt(a * a + scale)))
    raise ValueError("diverges")


def ramp(kernel, x, scale):
    """relu * k."""
    return max(x, 0) + ramp_tail(kernel, abs(x), scale)


def _evaluate(function):
    def evaluate(kernel, *arguments):
        with mpmath.workprec(200):
            return function(kernel, *map(_number, arguments))

    return evaluate


@_evaluate
def smooth_relu(kernel, x, scale):
    return ramp(kernel, x, scale)


@_evaluate
def smooth_step(kernel, x, scale):
    return cdf(kernel, x, scale)


@_evaluate
def smooth_abs(kernel, x, scale):
    return abs(x) + 2 * ramp_tail(kernel, abs(x), scale)


@_evaluate
def smooth_sign(kernel, x, scale):
    if kernel == "gaussian":
        return mpmath.erf(x / (scale * mpmath.sqrt(2)))
    if kernel == "logistic":
        return mpmath.tanh(scale * x / 2)
    if kernel == "student_t2":
        return x / mpmath.sqrt(x * x + scale)
    return 2 * mpmath.atan2(x, scale) / mpmath.pi


def smooth_leaky_relu(kernel, x, slope, scale):
    """The value and its largest term."""
    with mpmath.workprec(200):
        x, slope, scale = map(_number, (x, slope, scale))
        tail = ramp_tail(kernel, abs(x), scale)
        sharp = x if x > 0 else slope * x
        return sharp + (1 - slope) * tail, max(abs(sharp), abs(1 - slope) * tail)


def smooth_maximum(kernel, x, y, scale):
    """The value and its largest term."""
    with mpmath.workprec(200):
        x, y, scale = map(_number, (x, y, scale))
        tail = ramp_tail(kernel, abs(x - y), scale)
        return max(x, y) + tail, max(abs(max(x, y)), tail)


def smooth_clip(kernel, x, low, high, scale):
    """The value and its largest term: for Cauchy's kernel the larger bound."""
    with mpmath.workprec(400):
        x, low, high, scale = map(_number, (x, low, high, scale))
        sharp = min(max(x, low), high)
        if kernel == "cauchy":

            def even(u):
                return (u * mpmath.atan2(u, scale) - scale * mpmath.log(u * u + scale * scale) / 2) / mpmath.pi

            return (low + high) / 2 + even(x - low) - even(x - high), max(abs(low), abs(high))
        first, second = (ramp_tail(kernel, abs(x - bound), scale) for bound in (low, high))
        return sharp + first - second, max(abs(sharp), first, second)


def smooth_floor(kernel, x, scale):
    """From whichever of its sums is short, or the closed form for Cauchy's kernel."""
    with mpmath.workprec(110):
        x, scale = mpmath.mpf(x), _number(scale)  # x may have more bits than a float
        two_pi = 2 * mpmath.pi
        whole = mpmath.floor(x)
        rest = x - whole
        if kernel == "cauchy":
            r = mpmath.exp(-two_pi * scale)
            angle = two_pi * rest
            return x - 0.5 + mpmath.atan2(r * mpmath.sin(angle), 1 - r * mpmath.cos(angle)) / mpmath.pi
        width = {"gaussian": scale, "logistic": 3 / scale, "student_t2": mpmath.sqrt(scale)}[kernel]
        if width > 0.4:
            total, m = x - 0.5, 1
            while True:
                w = two_pi * m
                if kernel == "gaussian":
                    transform = mpmath.exp(-((w * scale) ** 2) / 2)
                elif kernel == "logistic":
                    transform = (w * mpmath.pi / scale) / mpmath.sinh(w * mpmath.pi / scale)
                else:
                    transform = w * width * mpmath.besselk(1, w * width)
                total += transform * mpmath.sin(w * rest) / (mpmath.pi * m)
                if transform < 1e-25:
                    return total
                m += 1
        if kernel == "student_t2":
            # 1 - K(y) = -sum_{n > 0} binomial(-1/2, n) (b / y**2)**n / 2, summed over y by Hurwitz' zeta.
            last = 6 + int(6 * width)
            total = whole - step_tail(kernel, rest, scale)
            for j in range(1, last + 1):
                total += step_tail(kernel, j - rest, scale) - step_tail(kernel, j + rest, scale)
            for n in range(1, 25):
                zetas = mpmath.zeta(2 * n, last + 1 - rest) - mpmath.zeta(2 * n, last + 1 + rest)
                total -= mpmath.binomial(-0.5, n) * scale**n * zetas / 2
            return total
        total, j = whole - step_tail(kernel, rest, scale), 1
        while True:
            below, above = step_tail(kernel, j - rest, scale), step_tail(kernel, j + rest, scale)
            total += below - above
            if below < 1e-30:
                return total
            j += 1


def smooth_ceil(kernel, x, scale):
    with mpmath.workprec(110):  # a minus sign rounds, too
        return -smooth_floor(kernel, -_number(x), scale)


def smooth_round(kernel, x, scale):
    with mpmath.workprec(110):
        return smooth_floor(kernel, _number(x) + 0.5, scale)


def convolve(function, kernel, x, scale, breakpoints):
    """(function * k)(x) by mpmath's quadrature, for functions that are smooth between the breakpoints."""
    points = [-mpmath.inf, *sorted({*breakpoints, float(x)}), mpmath.inf]
    return mpmath.quad(lambda y: function(y) * density(kernel, x - y, scale), points)
