"""The error of a floating-point result in units of the last place of the exact value."""

import mpmath
import numpy as np

# dtype -> (bits of the significand, exponent of the smallest subnormal)
_FORMATS = {np.dtype(np.float32): (24, -149), np.dtype(np.float64): (53, -1074)}


def ulp_error(result, exact) -> float:
    """|result - exact| in ulps of `exact` (an mpf) in the precision of `result` (a NumPy scalar).

    Below the normal range the ulp is the smallest subnormal. An infinity is right where `exact` rounds to it.
    """
    bits, smallest = _FORMATS[result.dtype]
    if mpmath.isnan(exact) or mpmath.isinf(exact) or np.isnan(result):
        same = np.isnan(result) if mpmath.isnan(exact) else mpmath.mpf(float(result)) == exact
        return 0.0 if same else np.inf
    largest = mpmath.mpf(float(np.finfo(result.dtype).max))
    if np.isinf(result):
        half_step = mpmath.ldexp(1, mpmath.frexp(largest)[1] - bits - 1)
        return 0.0 if np.sign(result) * exact >= largest + half_step else np.inf
    exponent = max(mpmath.frexp(exact)[1] - bits, smallest) if exact else smallest
    return float(abs(mpmath.mpf(float(result)) - exact) / mpmath.ldexp(1, exponent))
