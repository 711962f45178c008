"""The scale of attention's logits that keeps the entropy of its weights."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_real
from kexue._errors import KexueValueError, first_bad

_BASE_LENGTH = 512  # where the entropy-invariant scale is 1 / sqrt(d)


@same_kind
def entropy_invariant_scale(
    n: ArrayLike, d: int, *, kappa: float | None = None, base_length: int = _BASE_LENGTH, min_length: int = 1
) -> np.ndarray | np.generic:
    """The scale of logits at which attention over n keys has about the entropy it has over others: kappa log(n) / d.

    Parameters
    ----------
    n : array_like of int
        How many keys a query sees.
    d : int
        The dimension of queries and keys.
    kappa : float, optional
        By default sqrt(d) / log(base_length), which makes the scale 1 / sqrt(d) for `base_length` keys.
    base_length : int
        At least 2.
    min_length : int
        Fewer keys count as so many. One key has scale 0 otherwise, and needs none.

    Returns
    -------
    ndarray or scalar of float64, shape as `n`

    Raises
    ------
    KexueValueError
        If a number is out of range.

    Notes
    -----
    The growth of entropy with n is reduced, not removed: for keys on a sphere in 64 dimensions it falls from 4.15 nats
    between 64 and 4096 keys to 3.52.

    References
    ----------
    J. Su, "From entropy invariance to the scale of attention", Scientific Spaces, 2021, https://kexue.fm/archives/8823.

    Examples
    --------
    >>> import kexue
    >>> (kexue.entropy_invariant_scale([64, 512, 4096], 64) * 8).round(6)
    array([0.666667, 1.      , 1.333333])
    """
    counts = as_real("n", n)
    first_bad("n", counts, lambda values: ~(values >= 0), "is {value}, not a number of keys")
    for name, value, least in (("d", d, 1), ("base_length", base_length, 2), ("min_length", min_length, 1)):
        if not value >= least:
            raise KexueValueError(f"{name} must be at least {least}, got {value!r}")
    if kappa is None:
        kappa = math.sqrt(d) / math.log(base_length)
    elif not math.isfinite(kappa):
        raise KexueValueError(f"kappa must be finite, got {kappa!r}")
    return (kappa / d * np.log(np.maximum(counts.astype(np.float64), min_length)))[()]
