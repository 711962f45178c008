"""Entropy, Kullback-Leibler divergence, Bhattacharyya and Hellinger distance of Gaussians, with their gradients."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._gaussian_arguments import PAIR, Form, evaluate, of_each_form

__all__ = [
    "gaussian_bhattacharyya",
    "gaussian_bhattacharyya_grad",
    "gaussian_entropy",
    "gaussian_entropy_grad",
    "gaussian_hellinger",
    "gaussian_hellinger_grad",
    "gaussian_kl",
    "gaussian_kl_grad",
]

_ENTROPY = of_each_form("gaussian_entropy")
_ENTROPY_GRAD = of_each_form("gaussian_entropy_grad")
_KL = of_each_form("gaussian_kl")
_KL_GRAD = of_each_form("gaussian_kl_grad")
_BHATTACHARYYA = of_each_form("gaussian_bhattacharyya")
_BHATTACHARYYA_GRAD = of_each_form("gaussian_bhattacharyya_grad")
_HELLINGER = of_each_form("gaussian_hellinger")
_HELLINGER_GRAD = of_each_form("gaussian_hellinger_grad")


@same_kind
def gaussian_entropy(
    cov: ArrayLike, *, form: Form = "covariance", out: np.ndarray | None = None
) -> np.ndarray | np.generic:
    """The differential entropy of N(mean, cov) in nats: n/2 (1 + log(2 pi)) + 1/2 log det cov. No mean has a say in it.

    Parameters
    ----------
    cov : array_like, shape (..., n, n), or (..., n) if diagonal
        By `form`. float16 and float32 give float32; float64, integers and bool, float64.
    form : {"covariance", "cholesky", "diagonal"}
        What stands for a covariance matrix: itself; its lower triangular Cholesky factor; the variances, if it is
        diagonal.
    out : ndarray, shape (...), optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar, shape (...)
        -inf for a factor or variances with a zero on the diagonal; 0 for n = 0.

    Raises
    ------
    KexueValueError
        If a matrix is not symmetric or not positive definite (which one, which pivot), a factor is not lower
        triangular or has a negative diagonal entry, an entry is not finite, or shapes do not do.
    TypeError
        If `cov` does not hold real numbers.

    See Also
    --------
    gaussian_entropy_grad : its gradient.
    entropy : of discrete distributions.

    Notes
    -----
    O(n^3 / 6) for each matrix, several matrices side by side in the processor's vectors; linear in the other forms'
    entries.

    References
    ----------
    T. M. Cover, J. A. Thomas, "Elements of Information Theory", 2005, doi:10.1002/047174882X, theorem 8.4.1.

    Examples
    --------
    >>> import kexue
    >>> round(float(kexue.gaussian_entropy([[2.0, 0.5], [0.5, 1.5]])), 12)
    3.343677522249
    >>> kexue.gaussian_entropy([[1.0, 1.0], [4.0, 9.0]], form="diagonal")
    array([2.83787707, 4.62963654])
    """
    return evaluate(
        gaussian_entropy,
        _ENTROPY,
        ("cov",),
        (cov,),
        form,
        out=out,
        semidefinite=() if form == "covariance" else ("cov",),
    )


@same_kind
def gaussian_entropy_grad(cov: ArrayLike, *, form: Form = "covariance") -> np.ndarray:
    """The gradient of `gaussian_entropy`: cov^-1 / 2 by a covariance matrix.

    Parameters
    ----------
    cov : array_like, shape (..., n, n), or (..., n) if diagonal
        By `form`, positive definite.
    form : {"covariance", "cholesky", "diagonal"}
        As in `gaussian_entropy`.

    Returns
    -------
    ndarray, shape of cov
        By a covariance matrix the symmetric G with dH = trace(G dcov); by a factor L the lower triangle of 2 G L; by
        variances the diagonal of G.

    Raises
    ------
    KexueValueError
        As in `gaussian_entropy`, and if a diagonal has a zero.
    TypeError
        If `cov` does not hold real numbers.

    See Also
    --------
    gaussian_entropy

    Notes
    -----
    O(n^3).

    References
    ----------
    kexue.fm, post 8512.

    Examples
    --------
    >>> import kexue
    >>> kexue.gaussian_entropy_grad([[2.0, 0.0], [0.0, 4.0]])
    array([[0.25 , 0.   ],
           [0.   , 0.125]])
    >>> kexue.gaussian_entropy_grad([2.0, 4.0], form="diagonal")
    array([0.25 , 0.125])
    """
    return evaluate(gaussian_entropy_grad, _ENTROPY_GRAD, ("cov",), (cov,), form)


@same_kind
def gaussian_kl(
    mean_p: ArrayLike,
    cov_p: ArrayLike,
    mean_q: ArrayLike,
    cov_q: ArrayLike,
    *,
    form: Form = "covariance",
    out: np.ndarray | None = None,
) -> np.ndarray | np.generic:
    """The Kullback-Leibler divergence KL(p || q) of p = N(mean_p, cov_p) from q = N(mean_q, cov_q), in nats.

    Parameters
    ----------
    mean_p, mean_q : array_like, shape (..., n)
        Means. float16 and float32 alone give float32; any float64, or nothing but integers and bool, float64.
    cov_p, cov_q : array_like, shape (..., n, n), or (..., n) if diagonal
        By `form`. Leading dimensions broadcast, also with those of the means.
    form : {"covariance", "cholesky", "diagonal"}
        What stands for a covariance matrix: itself; its lower triangular Cholesky factor; the variances, if it is
        diagonal.
    out : ndarray, shape (...), optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar, shape (...)
        Never negative, and 0 where p = q. inf for a factor or variances of p with a zero on the diagonal.

    Raises
    ------
    KexueValueError
        If a matrix is not symmetric (to 1e-8 of its largest variance, float32: 1e-4) or not positive definite (which
        one, which pivot), a factor is not lower triangular or its diagonal is not positive, an entry is not finite,
        or shapes do not do.
    OverflowError
        If terms of a result overflow with different signs.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    gaussian_kl_grad : its gradient.
    gaussian_bhattacharyya, gaussian_hellinger, gaussian_w2

    Notes
    -----
    With S = L L^T for both: (|Lq^-1 (mean_p - mean_q)|^2 + |Lq^-1 Lp|^2 - n) / 2 - sum(log(diag Lp / diag Lq)), as a
    sum of terms that are not negative, so that small divergences keep their digits. About n^3 / 2 operations for a
    pair, several pairs side by side in the processor's vectors.

    References
    ----------
    S. Kullback, R. A. Leibler, "On Information and Sufficiency", 1951, doi:10.1214/aoms/1177729694; kexue.fm, post
    8512.

    Examples
    --------
    >>> import kexue
    >>> p = [1.0, 2.0], [[2.0, 0.5], [0.5, 1.5]]
    >>> round(float(kexue.gaussian_kl(*p, [0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])), 12)
    2.744199544161
    >>> kexue.gaussian_kl([[0.0], [1.0]], [[1.0], [4.0]], [0.0], [1.0], form="diagonal")
    array([0.        , 1.30685282])
    """
    return evaluate(
        gaussian_kl,
        _KL,
        PAIR,
        (mean_p, cov_p, mean_q, cov_q),
        form,
        out=out,
        semidefinite=() if form == "covariance" else ("cov_p",),
    )


@same_kind
def gaussian_kl_grad(
    mean_p: ArrayLike, cov_p: ArrayLike, mean_q: ArrayLike, cov_q: ArrayLike, *, form: Form = "covariance"
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The gradient of `gaussian_kl` by each of its arguments.

    Parameters
    ----------
    mean_p, mean_q : array_like, shape (..., n)
        Means.
    cov_p, cov_q : array_like, shape (..., n, n), or (..., n) if diagonal
        By `form`, positive definite. Leading dimensions broadcast.
    form : {"covariance", "cholesky", "diagonal"}
        As in `gaussian_kl`.

    Returns
    -------
    grad_mean_p, grad_cov_p, grad_mean_q, grad_cov_q : ndarray
        One gradient for each item of the batch, of the shape of the argument broadcast to it. By a covariance matrix
        it is the symmetric G with df = trace(G dcov); by a factor L the lower triangle of 2 G L; by variances the
        diagonal of G.

    Raises
    ------
    KexueValueError
        As in `gaussian_kl`, and if a diagonal has a zero.
    OverflowError
        If terms of a result overflow with different signs.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    gaussian_kl

    Notes
    -----
    With D = mean_p - mean_q: Sq^-1 D, (Sq^-1 - Sp^-1) / 2, -Sq^-1 D and (Sq^-1 - Sq^-1 (Sp + D D^T) Sq^-1) / 2. O(n^3).

    References
    ----------
    kexue.fm, post 8512.

    Examples
    --------
    >>> import kexue
    >>> kexue.gaussian_kl_grad([1.0], [[2.0]], [0.0], [[1.0]])
    (array([1.]), array([[0.25]]), array([-1.]), array([[-1.]]))
    """
    return evaluate(gaussian_kl_grad, _KL_GRAD, PAIR, (mean_p, cov_p, mean_q, cov_q), form)


@same_kind
def gaussian_bhattacharyya(
    mean_p: ArrayLike,
    cov_p: ArrayLike,
    mean_q: ArrayLike,
    cov_q: ArrayLike,
    *,
    form: Form = "covariance",
    out: np.ndarray | None = None,
) -> np.ndarray | np.generic:
    """The Bhattacharyya distance -log(integral of sqrt(p q)) of p = N(mean_p, cov_p) and q = N(mean_q, cov_q).

    Parameters
    ----------
    mean_p, mean_q : array_like, shape (..., n)
        Means. float16 and float32 alone give float32; any float64, or nothing but integers and bool, float64.
    cov_p, cov_q : array_like, shape (..., n, n), or (..., n) if diagonal
        By `form`. Leading dimensions broadcast, also with those of the means.
    form : {"covariance", "cholesky", "diagonal"}
        What stands for a covariance matrix: itself; its lower triangular Cholesky factor; the variances, if it is
        diagonal.
    out : ndarray, shape (...), optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar, shape (...)
        Never negative, and 0 where p = q. exp(-distance) is the Bhattacharyya coefficient. inf where a factor or
        variances have a zero on the diagonal, unless those of both have it.

    Raises
    ------
    KexueValueError
        If a matrix is not symmetric (to 1e-8 of its largest variance, float32: 1e-4) or not positive definite (which
        one, which pivot), a factor is not lower triangular or its diagonal is not positive, an entry is not finite,
        or shapes do not do.
    OverflowError
        If terms of a result overflow with different signs.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    gaussian_bhattacharyya_grad : its gradient.
    gaussian_hellinger : sqrt(1 - exp(-distance)), which is a metric.
    gaussian_kl, gaussian_w2

    Notes
    -----
    With S = (Sp + Sq) / 2 and D = mean_p - mean_q: D^T S^-1 D / 8 + log(det S / sqrt(det Sp det Sq)) / 2. About n^3
    operations for a pair, several pairs side by side in the processor's vectors.

    References
    ----------
    T. Kailath, "The Divergence and Bhattacharyya Distance Measures in Signal Selection", 1967,
    doi:10.1109/TCOM.1967.1089532; kexue.fm, post 8512.

    Examples
    --------
    >>> import kexue
    >>> p, q = ([1.0, 2.0], [[2.0, 0.5], [0.5, 1.5]]), ([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
    >>> round(float(kexue.gaussian_bhattacharyya(*p, *q)), 12)
    0.475487808712
    >>> kexue.gaussian_bhattacharyya([0.0], [1.0], [[0.0], [2.0]], [1.0], form="diagonal")
    array([0. , 0.5])
    """
    return evaluate(gaussian_bhattacharyya, _BHATTACHARYYA, PAIR, (mean_p, cov_p, mean_q, cov_q), form, out=out)


@same_kind
def gaussian_bhattacharyya_grad(
    mean_p: ArrayLike, cov_p: ArrayLike, mean_q: ArrayLike, cov_q: ArrayLike, *, form: Form = "covariance"
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The gradient of `gaussian_bhattacharyya` by each of its arguments.

    Parameters
    ----------
    mean_p, mean_q : array_like, shape (..., n)
        Means.
    cov_p, cov_q : array_like, shape (..., n, n), or (..., n) if diagonal
        By `form`, positive definite. Leading dimensions broadcast.
    form : {"covariance", "cholesky", "diagonal"}
        As in `gaussian_bhattacharyya`.

    Returns
    -------
    grad_mean_p, grad_cov_p, grad_mean_q, grad_cov_q : ndarray
        One gradient for each item of the batch, of the shape of the argument broadcast to it. By a covariance matrix
        it is the symmetric G with df = trace(G dcov); by a factor L the lower triangle of 2 G L; by variances the
        diagonal of G.

    Raises
    ------
    KexueValueError
        As in `gaussian_bhattacharyya`, and if a diagonal has a zero.
    OverflowError
        If terms of a result overflow with different signs.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    gaussian_bhattacharyya

    Notes
    -----
    S^-1 D / 4, (S^-1 - Sp^-1) / 4 - S^-1 D D^T S^-1 / 16, and the same for q with -D. O(n^3).

    References
    ----------
    kexue.fm, post 8512.

    Examples
    --------
    >>> import kexue
    >>> kexue.gaussian_bhattacharyya_grad([1.0], [[1.0]], [0.0], [[1.0]])
    (array([0.25]), array([[-0.0625]]), array([-0.25]), array([[-0.0625]]))
    """
    return evaluate(gaussian_bhattacharyya_grad, _BHATTACHARYYA_GRAD, PAIR, (mean_p, cov_p, mean_q, cov_q), form)


@same_kind
def gaussian_hellinger(
    mean_p: ArrayLike,
    cov_p: ArrayLike,
    mean_q: ArrayLike,
    cov_q: ArrayLike,
    *,
    form: Form = "covariance",
    out: np.ndarray | None = None,
) -> np.ndarray | np.generic:
    """The Hellinger distance sqrt(1 - integral of sqrt(p q)) of p = N(mean_p, cov_p) and q = N(mean_q, cov_q).

    Parameters
    ----------
    mean_p, mean_q : array_like, shape (..., n)
        Means. float16 and float32 alone give float32; any float64, or nothing but integers and bool, float64.
    cov_p, cov_q : array_like, shape (..., n, n), or (..., n) if diagonal
        By `form`. Leading dimensions broadcast, also with those of the means.
    form : {"covariance", "cholesky", "diagonal"}
        What stands for a covariance matrix: itself; its lower triangular Cholesky factor; the variances, if it is
        diagonal.
    out : ndarray, shape (...), optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar, shape (...)
        In [0, 1], and 0 where p = q.

    Raises
    ------
    KexueValueError
        If a matrix is not symmetric (to 1e-8 of its largest variance, float32: 1e-4) or not positive definite (which
        one, which pivot), a factor is not lower triangular or its diagonal is not positive, an entry is not finite,
        or shapes do not do.
    OverflowError
        If terms of a result overflow with different signs.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    gaussian_hellinger_grad : its gradient.
    gaussian_bhattacharyya, gaussian_kl, gaussian_w2

    Notes
    -----
    sqrt(-expm1(-B)) with the Bhattacharyya distance B, so that small distances keep their digits. About n^3
    operations for a pair, several pairs side by side in the processor's vectors.

    References
    ----------
    T. Kailath, "The Divergence and Bhattacharyya Distance Measures in Signal Selection", 1967,
    doi:10.1109/TCOM.1967.1089532; kexue.fm, post 8512.

    Examples
    --------
    >>> import kexue
    >>> p, q = ([1.0, 2.0], [[2.0, 0.5], [0.5, 1.5]]), ([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
    >>> round(float(kexue.gaussian_hellinger(*p, *q)), 12)
    0.615157077911
    >>> kexue.gaussian_hellinger([0.0], [1.0], [[0.0], [2.0], [200.0]], [1.0], form="diagonal").round(6)
    array([0.      , 0.627271, 1.      ])
    """
    return evaluate(gaussian_hellinger, _HELLINGER, PAIR, (mean_p, cov_p, mean_q, cov_q), form, out=out)


@same_kind
def gaussian_hellinger_grad(
    mean_p: ArrayLike, cov_p: ArrayLike, mean_q: ArrayLike, cov_q: ArrayLike, *, form: Form = "covariance"
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The gradient of `gaussian_hellinger` by each of its arguments.

    Parameters
    ----------
    mean_p, mean_q : array_like, shape (..., n)
        Means.
    cov_p, cov_q : array_like, shape (..., n, n), or (..., n) if diagonal
        By `form`, positive definite. Leading dimensions broadcast.
    form : {"covariance", "cholesky", "diagonal"}
        As in `gaussian_hellinger`.

    Returns
    -------
    grad_mean_p, grad_cov_p, grad_mean_q, grad_cov_q : ndarray
        One gradient for each item of the batch, of the shape of the argument broadcast to it. By a covariance matrix
        it is the symmetric G with df = trace(G dcov); by a factor L the lower triangle of 2 G L; by variances the
        diagonal of G. All are 0 where p = q: the distance has a kink there, as |x| has.

    Raises
    ------
    KexueValueError
        As in `gaussian_hellinger`, and if a diagonal has a zero.
    OverflowError
        If terms of a result overflow with different signs.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    gaussian_hellinger

    Notes
    -----
    exp(-B) / (2 distance) times the gradient of the Bhattacharyya distance B. O(n^3).

    References
    ----------
    kexue.fm, post 8512.

    Examples
    --------
    >>> import kexue
    >>> [g.round(6).tolist() for g in kexue.gaussian_hellinger_grad([1.0], [[1.0]], [0.0], [[1.0]])]
    [[0.321809], [[-0.080452]], [-0.321809], [[-0.080452]]]
    """
    return evaluate(gaussian_hellinger_grad, _HELLINGER_GRAD, PAIR, (mean_p, cov_p, mean_q, cov_q), form)
