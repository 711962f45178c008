"""Variances of initial weights, orthogonal matrices, and how far random matrices are from orthogonal."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_real, check_broadcast, check_integer, result_dtype
from kexue._errors import KexueValueError, first_bad, require_finite
from kexue._truncated_normal import as_dtype

__all__ = [
    "expected_orthogonality_error",
    "init_variance",
    "marchenko_pastur_edges",
    "orthogonal_init",
    "orthogonality_error",
    "uniform_limits",
    "xavier_std",
]

Scheme = Literal["lecun", "he", "xavier", "ntk", "t5", "t5_symmetric"]

_SCHEMES = ("lecun", "he", "xavier", "ntk", "t5", "t5_symmetric")

# E x^4 / (E x^2)^2.
_KURTOSES = {"normal": 3.0, "uniform": 9 / 5, "rademacher": 1.0}

# Entries of matrices that are converted to float64 at once: 8 MB.
_ENTRIES = 1 << 20


@same_kind
def init_variance(
    fan_in: ArrayLike,
    fan_out: ArrayLike | None = None,
    scheme: Scheme = "lecun",
    *,
    head_dim: ArrayLike | None = None,
) -> np.ndarray | np.generic:
    """The variance of the initial weights of a layer.

    For y_j = sum_i x_i w_ij over m inputs with weights of mean 0, E[y^2] = m E[x^2] E[w^2], whatever the mean of x.

    Parameters
    ----------
    fan_in : array_like
        Inputs of each output, m. Positive; of a convolution, channels times the kernel's size.
    fan_out : array_like, optional
        Outputs that each input goes to, n, positive. "xavier" requires it, the others do not use it.
    scheme : {"lecun", "he", "xavier", "ntk", "t5", "t5_symmetric"}
        "lecun": 1 / m, which keeps the second moment of x. "he": 2 / m, which keeps that of x behind relu, where half
        is left. "xavier": 2 / (m + n), a compromise with the gradients, for which n counts. "ntk": 1; the layer itself
        divides by sqrt(m). "t5" and "t5_symmetric": "lecun" but for the projections to queries and keys, because
        attention does not divide its products by sqrt(head_dim). "t5", as in Hugging Face, takes the variance of
        queries alone, 1 / (m head_dim), and "t5_symmetric" shares it with keys, 1 / (m sqrt(head_dim)) each: the
        products are the same.
    head_dim : array_like, optional
        The size of an attention head, for the weights of queries under "t5" and of queries and keys under
        "t5_symmetric". None for all others: keys under "t5", values, outputs, feed-forward layers.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape of the arguments that the scheme uses. float32 if all floating-point arguments are, else
        float64.

    Raises
    ------
    KexueValueError
        If a size is not positive and finite, `scheme` is none of these, "xavier" lacks `fan_out`, `head_dim` is given
        with a scheme that does not use it, or shapes do not broadcast.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    activation_second_moment : what an activation leaves of E[x^2]; divide by it for a rule like "he".
    uniform_limits : the uniform distribution of a variance.
    truncated_normal : weights of a standard deviation.

    Notes
    -----
    Constant time for each entry.

    References
    ----------
    K. He et al., arXiv:1502.01852. X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward
    neural networks", AISTATS 2010. A. Jacot et al., arXiv:1806.07572. C. Raffel et al., arXiv:1910.10683.
    J. Su, https://kexue.fm/archives/8620.

    Examples
    --------
    >>> import kexue
    >>> [float(kexue.init_variance(512, 2048, scheme)) for scheme in ("lecun", "he", "xavier", "ntk")]
    [0.001953125, 0.00390625, 0.00078125, 1.0]
    >>> float(kexue.init_variance(512, scheme="t5", head_dim=64) * 512 * 64)
    1.0
    """
    if scheme not in _SCHEMES:
        raise KexueValueError(f"scheme must be one of {', '.join(map(repr, _SCHEMES))}, got {scheme!r}")
    m = _sizes("fan_in", fan_in)
    kind = result_dtype(fan_in, fan_out, head_dim)
    if head_dim is not None and not scheme.startswith("t5"):
        raise KexueValueError(f'head_dim goes with the schemes "t5" and "t5_symmetric", not with {scheme!r}')
    # Of every scheme: init_variance(512, "he") would be "lecun" else.
    n = None if fan_out is None else _sizes("fan_out", fan_out)
    if scheme == "xavier":
        if n is None:
            raise KexueValueError('scheme "xavier" needs fan_out')
        check_broadcast(fan_in=m.shape, fan_out=n.shape)
        variance = 2 / (m + n)
    elif scheme == "he":
        variance = 2 / m
    elif scheme == "ntk":
        variance = np.ones_like(m)
    else:
        variance = 1 / m
        if head_dim is not None:
            d = _sizes("head_dim", head_dim)
            check_broadcast(fan_in=m.shape, head_dim=d.shape)
            variance = variance / (d if scheme == "t5" else np.sqrt(d))
    return np.asarray(variance).astype(kind)[()]


@same_kind
def xavier_std(fan_in: ArrayLike, fan_out: ArrayLike | None = None) -> np.ndarray | np.generic:
    """The standard deviation sqrt(2 / (fan_in + fan_out)) of Xavier's initialisation.

    Parameters
    ----------
    fan_in : array_like
        Inputs of the layer, positive.
    fan_out : array_like, optional
        Its outputs; as many as the inputs by default.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape. float32 if all floating-point arguments are, else float64.

    Raises
    ------
    KexueValueError
        If a size is not positive and finite, or the shapes do not broadcast.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    init_variance : its square, and other rules.

    Notes
    -----
    Constant time for each entry.

    References
    ----------
    X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
    J. Su, https://kexue.fm/archives/8747.

    Examples
    --------
    >>> import kexue
    >>> float(kexue.xavier_std(768))
    0.03608439182435161
    """
    m = _sizes("fan_in", fan_in)
    n = m if fan_out is None else _sizes("fan_out", fan_out)
    check_broadcast(fan_in=m.shape, fan_out=n.shape)
    return np.sqrt(2 / (m + n)).astype(result_dtype(fan_in, fan_out))[()]


@same_kind
def uniform_limits(mean: ArrayLike, std: ArrayLike) -> tuple[np.ndarray | np.generic, np.ndarray | np.generic]:
    """The ends of the uniform distribution of a mean and a standard deviation: mean -+ sqrt(3) std.

    Parameters
    ----------
    mean, std : array_like
        Finite, `std` at least 0. They broadcast.

    Returns
    -------
    low, high : ndarray or scalar
        Of the broadcast shape. float32 if all floating-point arguments are, else float64.

    Raises
    ------
    KexueValueError
        If a `mean` is not finite, a `std` negative, infinite or NaN, or the shapes do not broadcast.
    TypeError
        If an argument does not hold real numbers.

    Notes
    -----
    Constant time for each entry.

    References
    ----------
    J. Su, https://kexue.fm/archives/8620.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> low, high = kexue.uniform_limits(0, np.sqrt(kexue.init_variance(300)))
    >>> float(low), float(high)
    (-0.1, 0.1)
    """
    middle, deviation = as_real("mean", mean, dtype=np.float64), as_real("std", std, dtype=np.float64)
    require_finite("mean", middle)
    first_bad("std", deviation, lambda entries: ~((entries >= 0) & np.isfinite(entries)), "is {value}, not a length")
    check_broadcast(mean=middle.shape, std=deviation.shape)
    kind, reach = result_dtype(mean, std), math.sqrt(3) * deviation
    return (middle - reach).astype(kind)[()], (middle + reach).astype(kind)[()]


def orthogonal_init(
    m: int,
    n: int,
    gain: float = 1.0,
    *,
    rng: np.random.Generator | int | None = None,
    dtype: DTypeLike = np.float64,
) -> np.ndarray:
    """A random matrix with orthonormal columns, or rows where there are fewer of these, uniform over all such matrices.

    The distribution is Haar's: it does not change under any rotation from the left or the right. It is that of the Q of
    a Gaussian matrix's QR decomposition with the signs of R's diagonal moved into Q.

    Parameters
    ----------
    m, n : int
        Rows and columns, 0 or more.
    gain : float
        A factor, finite.
    rng : numpy.random.Generator, int or None
        Where random numbers come from, through ``numpy.random.default_rng(rng)``. An integer gives the same result in
        every call.
    dtype : {float64, float32}
        The result's, and that of the computation.

    Returns
    -------
    W : ndarray, shape (m, n)
        W^T W = gain^2 I if m >= n, else W W^T = gain^2 I, up to rounding.

    Raises
    ------
    KexueValueError
        If `m` or `n` is negative, `gain` not finite or beyond the range of `dtype`, or `dtype` another.
    TypeError
        If `m` or `n` is no integer.

    See Also
    --------
    orthogonality_error : how far a matrix is from it.

    Notes
    -----
    With k = min(m, n), it takes 2 max(m, n) k^2 - 2 k^3 / 3 multiplications and additions in LAPACK. Each column of a
    Gaussian matrix is independent of the reflections that the columns before ask for, and stays Gaussian under them, so
    that the reflections can be drawn (Stewart), and no matrix has to be decomposed: half the time of a QR
    decomposition.

    References
    ----------
    G. W. Stewart, "The efficient generation of random orthogonal matrices with an application to condition estimators",
    SIAM Journal on Numerical Analysis 17, 1980, doi:10.1137/0717034. F. Mezzadri, arXiv:math-ph/0609050.
    J. Su, https://kexue.fm/archives/7180.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> W = kexue.orthogonal_init(5, 3, rng=0)
    >>> bool(np.allclose(W.T @ W, np.eye(3), atol=1e-15))
    True
    """
    rows, columns = check_integer("m", m, 0), check_integer("n", n, 0)
    factor = float(as_real("gain", gain, ndim=0, dtype=np.float64))
    if not math.isfinite(factor):
        raise KexueValueError(f"gain must be finite, got {gain}")
    kind = as_dtype(dtype)
    if abs(factor) > float(np.finfo(kind).max):
        raise KexueValueError(f"gain is too large for {kind}: {gain}")
    generator = np.random.default_rng(rng)
    long, short = max(rows, columns), min(rows, columns)
    if short == 0:
        return np.empty((rows, columns), kind)
    frame = _random_frame(long, short, kind, generator)
    frame *= kind.type(factor)
    return frame if rows < columns else frame.T


@same_kind
def orthogonality_error(W: ArrayLike) -> np.ndarray | np.generic:
    """How far the columns of a matrix are from orthonormal: the mean of the squares of W^T W - I.

    Parameters
    ----------
    W : array_like, shape (..., m, n)
        Matrices of finite numbers.

    Returns
    -------
    ndarray or scalar, shape (...)
        float32 for float32 and float16, else float64. With fewer rows than columns it is at least (n - m) / n^2.

    Raises
    ------
    KexueValueError
        If `W` has fewer than two dimensions, no columns, or an entry that is NaN or infinite.
    TypeError
        If `W` does not hold real numbers.

    See Also
    --------
    expected_orthogonality_error : of random matrices.
    orthogonal_init : matrices where it is 0.

    Notes
    -----
    O(m n min(m, n)) for each matrix, in float64: with m < n, the sum of squares is that of W W^T - I and n - m.

    References
    ----------
    J. Su, https://kexue.fm/archives/7180.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> W = np.random.default_rng(0).normal(size=(200, 50)) / np.sqrt(200)
    >>> round(float(kexue.orthogonality_error(W)), 5), float(kexue.expected_orthogonality_error(200, 50))
    (0.00493, 0.0051)
    """
    matrices = as_real("W", W)
    if matrices.ndim < 2:
        raise KexueValueError(f"W must have at least 2 dimensions, but its shape is {matrices.shape}")
    m, n = matrices.shape[-2:]
    if n == 0:
        raise KexueValueError(f"W has no columns: its shape is {matrices.shape}")
    require_finite("W", matrices)
    leading = matrices.shape[:-2]
    flat = matrices.reshape((math.prod(leading), m, n))
    result = np.empty(len(flat))
    group = max(1, _ENTRIES // max(1, m * n, min(m, n) ** 2))
    for start in range(0, len(flat), group):
        part = flat[start : start + group].astype(np.float64, copy=False)
        other = part.swapaxes(-1, -2)
        gram = other @ part if m >= n else part @ other
        diagonal = np.arange(gram.shape[-1])
        gram[:, diagonal, diagonal] -= 1
        result[start : start + group] = np.einsum("bij,bij->b", gram, gram) + max(n - m, 0)
    return (result / n / n).reshape(leading).astype(matrices.dtype)[()]


@same_kind
def expected_orthogonality_error(
    m: ArrayLike, n: ArrayLike, kurtosis: Literal["normal", "uniform", "rademacher"] | ArrayLike = "normal"
) -> np.ndarray | np.generic:
    """The expectation of `orthogonality_error` of a random matrix: (n + kurtosis - 2) / (m n).

    Of m x n matrices with independent entries of mean 0 and variance 1 / m: in high dimensions random vectors are
    nearly orthogonal. Nearly so entry by entry; for singular values see `marchenko_pastur_edges`.

    Parameters
    ----------
    m, n : array_like
        Rows and columns, positive. All arguments broadcast.
    kurtosis : {"normal", "uniform", "rademacher"} or array_like
        E[w^4] / E[w^2]^2 of an entry, at least 1: 3, 9/5 and 1 for the named distributions.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape. float32 if all floating-point arguments are, else float64.

    Raises
    ------
    KexueValueError
        If a size is not positive and finite, a kurtosis below 1 or NaN or an unknown name, or the shapes do not
        broadcast.
    TypeError
        If an argument does not hold real numbers.

    Notes
    -----
    Constant time for each entry. Off the diagonal of W^T W the second moment is 1 / m, on it the variance
    (kurtosis - 1) / m.

    References
    ----------
    J. Su, https://kexue.fm/archives/7180.

    Examples
    --------
    >>> import kexue
    >>> [float(kexue.expected_orthogonality_error(100, 100, name)) for name in ("normal", "uniform", "rademacher")]
    [0.0101, 0.00998, 0.0099]
    """
    rows, columns = _sizes("m", m), _sizes("n", n)
    if isinstance(kurtosis, str):
        if kurtosis not in _KURTOSES:
            names = ", ".join(map(repr, _KURTOSES))
            raise KexueValueError(f"kurtosis must be a number or one of {names}, got {kurtosis!r}")
        kurtosis = _KURTOSES[kurtosis]
    fourth = as_real("kurtosis", kurtosis, dtype=np.float64)
    first_bad("kurtosis", fourth, lambda entries: ~(entries >= 1), "is {value}, but no kurtosis is below 1")
    check_broadcast(m=rows.shape, n=columns.shape, kurtosis=fourth.shape)
    result = (columns + (fourth - 2)) / (rows * columns)
    return np.asarray(result).astype(result_dtype(m, n, kurtosis))[()]


@same_kind
def marchenko_pastur_edges(m: ArrayLike, n: ArrayLike) -> tuple[np.ndarray | np.generic, np.ndarray | np.generic]:
    """Between which limits the singular values of a large random matrix lie: \\|1 - sqrt(n / m)\\| and 1 + sqrt(n / m).

    Of m x n matrices with independent entries of mean 0 and variance 1 / m; with m < n, those that are not 0. They do
    not gather around 1: a square matrix has them all over [0, 2], however large it is.

    Parameters
    ----------
    m, n : array_like
        Rows and columns, positive. They broadcast.

    Returns
    -------
    low, high : ndarray or scalar
        Of the broadcast shape. float32 if all floating-point arguments are, else float64.

    Raises
    ------
    KexueValueError
        If a size is not positive and finite, or the shapes do not broadcast.
    TypeError
        If an argument does not hold real numbers.

    Notes
    -----
    Constant time for each entry.

    References
    ----------
    V. A. Marchenko, L. A. Pastur, "Distribution of eigenvalues for some sets of random matrices", Mathematics of the
    USSR-Sbornik 1, 1967, doi:10.1070/SM1967v001n04ABEH001994.

    Examples
    --------
    >>> import kexue
    >>> [float(edge) for edge in kexue.marchenko_pastur_edges(400, 100)]
    [0.5, 1.5]
    """
    rows, columns = _sizes("m", m), _sizes("n", n)
    check_broadcast(m=rows.shape, n=columns.shape)
    kind, root = result_dtype(m, n), np.sqrt(columns / rows)
    # (m - n) / (m + sqrt(m n)) does not cancel for m near n.
    low = abs(rows - columns) / (rows * (1 + root))
    return np.asarray(low).astype(kind)[()], np.asarray(1 + root).astype(kind)[()]


def _random_frame(long: int, short: int, kind: np.dtype, generator: np.random.Generator) -> np.ndarray:
    """`short` orthonormal rows of `long` entries."""
    from scipy.linalg import get_lapack_funcs

    # Rows are LAPACK's columns. Reflection j takes the Gaussian vector of the entries from j on to a multiple of its
    # first.
    vectors = generator.standard_normal((short, long), kind)
    heads = vectors.diagonal().copy()
    squares = np.square(vectors)
    squares *= np.tri(long, short, dtype=bool).T
    lengths = np.sqrt(squares.sum(axis=1))
    signs = np.where(heads < 0, kind.type(-1), kind.type(1))
    moved = heads + signs * lengths
    moved[moved == 0] = 1  # a vector of zeros: no reflection, the factor below is 0
    factors = np.divide(moved * signs, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    vectors /= moved[:, None]
    (orgqr,) = get_lapack_funcs(("orgqr",), (vectors,))
    _, work, _ = orgqr(vectors.T, factors, lwork=-1, overwrite_a=True)  # asks for the size of the scratch
    columns, _, info = orgqr(vectors.T, factors, lwork=int(work[0]), overwrite_a=True)
    if info:
        raise RuntimeError(f"LAPACK's orgqr failed with {info}")
    rows = columns.T
    # What R's diagonal would be: a reflection takes its vector to the other side.
    rows *= -signs[:, None]
    return rows


def _sizes(name: str, value: ArrayLike) -> np.ndarray:
    sizes = as_real(name, value, dtype=np.float64)
    first_bad(name, sizes, lambda entries: ~((entries > 0) & np.isfinite(entries)), "is {value}, but must be positive")
    return sizes
