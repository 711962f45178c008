"""The 2-Wasserstein distance of Gaussians, its gradient, and the optimal map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_real
from kexue._errors import KexueValueError
from kexue._gaussian_arguments import PAIR, Form, as_gaussians, check_batches, evaluate, of_each_form
from kexue._lazy import is_lazy

__all__ = ["GaussianMap", "gaussian_ot_map", "gaussian_w2", "gaussian_w2_grad"]

_W2 = of_each_form("gaussian_w2")
_W2_SQUARED = of_each_form("gaussian_w2_squared")
_W2_SQUARED_GRAD = of_each_form("gaussian_w2_squared_grad")
_OT_MAP = of_each_form("gaussian_ot_map")


@same_kind
def gaussian_w2(
    mean_p: ArrayLike,
    cov_p: ArrayLike,
    mean_q: ArrayLike,
    cov_q: ArrayLike,
    *,
    squared: bool = False,
    form: Form = "covariance",
    out: np.ndarray | None = None,
) -> np.ndarray | np.generic:
    """The 2-Wasserstein (Frechet, Bures) distance of p = N(mean_p, cov_p) and q = N(mean_q, cov_q).

    Parameters
    ----------
    mean_p, mean_q : array_like, shape (..., n)
        Means. float16 and float32 alone give float32; any float64, or nothing but integers and bool, float64.
    cov_p, cov_q : array_like, shape (..., n, n), or (..., n) if diagonal
        By `form`; positive semidefinite. Leading dimensions broadcast, also with those of the means.
    squared : bool
        Give the square of the distance, |mean_p - mean_q|^2 + trace(Sp + Sq - 2 (Sp^1/2 Sq Sp^1/2)^1/2).
    form : {"covariance", "cholesky", "diagonal"}
        What stands for a covariance matrix: itself; its lower triangular Cholesky factor; the variances, if it is
        diagonal.
    out : ndarray, shape (...), optional
        Where the result goes.

    Returns
    -------
    ndarray or scalar, shape (...)
        Never negative; in the units of the samples (squared: of their squares).

    Raises
    ------
    KexueValueError
        If a matrix is not symmetric (to 1e-8 of its largest variance, float32: 1e-4) or has an eigenvalue that is
        negative by more than rounding, a factor is not lower triangular, a variance is negative, an entry is not
        finite, or shapes do not do.
    OverflowError
        If terms of a result overflow with different signs.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    gaussian_w2_grad : its gradient.
    gaussian_ot_map : the map that moves p to q at this cost.
    gaussian_kl, gaussian_hellinger
    emd2 : between samples.

    Notes
    -----
    The trace of the square root is the sum of the singular values of Lq^T Lp, with S = L L^T for both: no square root
    of a matrix is taken, and no small singular value is squared, so that nearly singular matrices do no harm. Where p
    and q are close, the terms cancel; there the distance is |Lp - Lq U| with the best orthogonal U, which does not.
    O(n^3), several pairs side by side in the processor's vectors.

    References
    ----------
    D. C. Dowson, B. V. Landau, "The Frechet distance between multivariate normal distributions", 1982,
    doi:10.1016/0047-259X(82)90077-X; C. R. Givens, R. M. Shortt, 1984, doi:10.1307/mmj/1029003026; kexue.fm, post 8512.

    Examples
    --------
    >>> import kexue
    >>> float(kexue.gaussian_w2([0.0], [[1.0]], [3.0], [[25.0]]))
    5.0
    >>> kexue.gaussian_w2([0.0, 0.0], [1.0, 4.0], [0.0, 0.0], [[9.0, 1.0], [0.0, 0.0]], squared=True, form="diagonal")
    array([5., 5.])
    """
    function = _squared if squared else _distance
    return evaluate(
        function,
        _W2_SQUARED if squared else _W2,
        PAIR,
        (mean_p, cov_p, mean_q, cov_q),
        form,
        out=out,
        semidefinite=("cov_p", "cov_q"),
    )


def _distance(*values: np.ndarray, form: Form) -> np.ndarray | np.generic:
    return gaussian_w2(*values, form=form)


def _squared(*values: np.ndarray, form: Form) -> np.ndarray | np.generic:
    return gaussian_w2(*values, squared=True, form=form)


@same_kind
def gaussian_w2_grad(
    mean_p: ArrayLike,
    cov_p: ArrayLike,
    mean_q: ArrayLike,
    cov_q: ArrayLike,
    *,
    squared: bool = False,
    form: Form = "covariance",
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The gradient of `gaussian_w2` by each of its arguments.

    Parameters
    ----------
    mean_p, mean_q : array_like, shape (..., n)
        Means.
    cov_p, cov_q : array_like, shape (..., n, n), or (..., n) if diagonal
        By `form`, positive definite: at a singular matrix the distance has no gradient. Leading dimensions broadcast.
    squared : bool
        Of the squared distance.
    form : {"covariance", "cholesky", "diagonal"}
        As in `gaussian_w2`.

    Returns
    -------
    grad_mean_p, grad_cov_p, grad_mean_q, grad_cov_q : ndarray
        One gradient for each item of the batch, of the shape of the argument broadcast to it. By a covariance matrix
        it is the symmetric G with df = trace(G dcov); by a factor L the lower triangle of 2 G L; by variances the
        diagonal of G. Where the distance is 0, it has a kink as |x| has, and all are 0.

    Raises
    ------
    KexueValueError
        As in `gaussian_w2`, and if a matrix is singular.
    OverflowError
        If terms of a result overflow with different signs.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    gaussian_w2, gaussian_ot_map

    Notes
    -----
    Of the squared distance, with D = mean_p - mean_q and T the optimal map from p to q, T' from q to p: 2 D, I - T,
    -2 D, I - T'; of the distance, these over twice the distance. O(n^3).

    References
    ----------
    A. Takatsu, "Wasserstein geometry of Gaussian measures", 2011, https://projecteuclid.org/euclid.ojm/1326291215;
    kexue.fm, post 8512.

    Examples
    --------
    >>> import kexue
    >>> kexue.gaussian_w2_grad([1.0], [[4.0]], [0.0], [[1.0]], squared=True)
    (array([2.]), array([[0.5]]), array([-2.]), array([[-1.]]))
    >>> kexue.gaussian_w2_grad([0.0], [4.0], [0.0], [1.0], form="diagonal")
    (array([0.]), array([0.25]), array([-0.]), array([-0.5]))
    """
    arguments = (mean_p, cov_p, mean_q, cov_q)
    function = _squared_grad if squared else _distance_grad
    gradients = evaluate(function, _W2_SQUARED_GRAD, PAIR, arguments, form)
    if squared or is_lazy(*arguments):
        return gradients
    distance = np.asarray(gaussian_w2(*arguments, form=form))
    # Divided, not multiplied by an inverse, which is infinite for the smallest distances.
    divisor = np.where(distance > 0, distance, np.inf)
    for gradient in gradients:
        gradient /= divisor[(...,) + (None,) * (gradient.ndim - divisor.ndim)]
        gradient *= 0.5
    return gradients


def _distance_grad(*values: np.ndarray, form: Form) -> tuple[np.ndarray, ...]:
    return gaussian_w2_grad(*values, form=form)


def _squared_grad(*values: np.ndarray, form: Form) -> tuple[np.ndarray, ...]:
    return gaussian_w2_grad(*values, squared=True, form=form)


@dataclass(frozen=True, eq=False)
class GaussianMap:
    """The optimal map of `gaussian_ot_map`: x -> mean_q + T (x - mean_p). Call it with points.

    Attributes
    ----------
    matrix : ndarray, shape (..., n, n), or (..., n) if diagonal
        T, symmetric and positive semidefinite; its diagonal, if the covariances are diagonal.
    mean_p, mean_q : ndarray, shape (..., n)
        The means of the Gaussians it is between.
    diagonal : bool
        Whether `matrix` holds diagonals.
    offset : ndarray, shape (..., n)
        mean_q - T mean_p: the map is x -> T x + offset.

    Examples
    --------
    >>> import kexue
    >>> move = kexue.gaussian_ot_map([0.0, 0.0], [1.0, 4.0], [1.0, 1.0], [9.0, 4.0], form="diagonal")
    >>> move.matrix, move.offset
    (array([3., 1.]), array([1., 1.]))
    >>> move([[0.0, 0.0], [2.0, 5.0]])
    array([[1., 1.],
           [7., 6.]])
    """

    matrix: np.ndarray
    mean_p: np.ndarray
    mean_q: np.ndarray
    diagonal: bool = False

    def _multiply(self, vectors: np.ndarray) -> np.ndarray:
        if self.diagonal:
            return self.matrix * vectors
        if self.matrix.ndim == 2:
            return vectors @ self.matrix  # it is symmetric
        return np.matmul(self.matrix, vectors[..., None])[..., 0]

    @property
    def offset(self) -> np.ndarray:
        return self.mean_q - self._multiply(self.mean_p)

    def __call__(self, x: ArrayLike) -> np.ndarray:
        """Move points.

        Parameters
        ----------
        x : array_like, shape (..., n)
            Points; the leading dimensions broadcast with those of the map. A batch of b maps takes k points through
            each of them as an array of shape (k, b, n), or (k, 1, n) where the points are the same.

        Returns
        -------
        ndarray, shape (..., n)
        """
        points = as_real("x", x)
        n = self.mean_p.shape[-1]
        if points.ndim == 0 or points.shape[-1] != n:
            raise KexueValueError(
                f"x must have shape (..., {n}), as the map's means have, but its shape is {points.shape}"
            )
        return self.mean_q + self._multiply(points - self.mean_p)


@same_kind
def gaussian_ot_map(
    mean_p: ArrayLike, cov_p: ArrayLike, mean_q: ArrayLike, cov_q: ArrayLike, *, form: Form = "covariance"
) -> GaussianMap:
    """The optimal transport map (for squared distances) from p = N(mean_p, cov_p) to q = N(mean_q, cov_q).

    Parameters
    ----------
    mean_p, mean_q : array_like, shape (..., n)
        Means. float16 and float32 alone give float32; any float64, or nothing but integers and bool, float64.
    cov_p, cov_q : array_like, shape (..., n, n), or (..., n) if diagonal
        By `form`; that of p positive definite, that of q at least semidefinite. Leading dimensions broadcast.
    form : {"covariance", "cholesky", "diagonal"}
        What stands for a covariance matrix: itself; its lower triangular Cholesky factor; the variances, if it is
        diagonal.

    Returns
    -------
    GaussianMap
        A function of points, with its `matrix` T and its `offset`: if x has the distribution p, T x + offset has q.

    Raises
    ------
    KexueValueError
        If cov_p is not positive definite (which one, which pivot), cov_q has an eigenvalue that is negative by more
        than rounding, a matrix is not symmetric, a factor is not lower triangular, an entry is not finite, or shapes
        do not do.
    OverflowError
        If terms of a result overflow with different signs.
    TypeError
        If an argument does not hold real numbers, or is a Dask array.

    See Also
    --------
    gaussian_w2 : the cost of the map.
    emd : the plan between samples.

    Notes
    -----
    T = Sp^-1/2 (Sp^1/2 Sq Sp^1/2)^1/2 Sp^-1/2, the one symmetric T >= 0 with T Sp T = Sq, from Cholesky factors and a
    singular value decomposition: Lp^-T V s V^T Lp^-1 with Lq^T Lp = U s V^T. O(n^3).

    References
    ----------
    M. Knott, C. S. Smith, "On the optimal mapping of distributions", 1984, doi:10.1007/BF00934745; kexue.fm, post 8512.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> cov_p, cov_q = [[2.0, 0.5], [0.5, 1.5]], [[1.0, 0.0], [0.0, 1.0]]
    >>> move = kexue.gaussian_ot_map([1.0, 2.0], cov_p, [0.0, 0.0], cov_q)
    >>> bool(np.allclose(move.matrix @ cov_p @ move.matrix, cov_q))
    True
    >>> move([1.0, 2.0])
    array([0., 0.])
    """
    if is_lazy(mean_p, cov_p, mean_q, cov_q):
        raise TypeError("gaussian_ot_map does not take Dask arrays: compute them first")
    from_p, scale_p, to_q, scale_q = arrays = as_gaussians(PAIR, (mean_p, cov_p, mean_q, cov_q), form)
    check_batches(PAIR, arrays, form)
    matrix = evaluate(gaussian_ot_map, _OT_MAP, ("cov_p", "cov_q"), (scale_p, scale_q), form, semidefinite=("cov_q",))
    return GaussianMap(matrix, from_p.copy(), to_q.copy(), diagonal=form == "diagonal")
