"""Random projection as a transformer."""

from __future__ import annotations

import warnings
from typing import Any, Literal, Self

import numpy as np
from numpy.random import Generator, RandomState
from numpy.typing import ArrayLike
from scipy.linalg import pinv
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import DataDimensionalityWarning
from sklearn.utils import Tags, check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from kexue import KexueValueError, RandomProjectionMap, jl_min_dim
from kexue.sklearn._fitting import columns_kept_on_failure
from kexue.sklearn._jobs import count_jobs


class RandomProjection(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Projects to fewer dimensions by a random matrix, which is drawn in `fit` and mostly not stored.

    Parameters
    ----------
    n_components : int or "auto"
        The dimension to project to. "auto" is `kexue.jl_min_dim` of the rows and `eps`; where that is more than X has
        columns, as many as it has, with a warning.
    kind : {"gaussian", "rademacher", "sparse", "srht", "countsketch", "osnap"}
        As in `kexue.random_projection`.
    eps : float
        For "auto": the largest change of a squared distance, relative to it.
    density : float, "achlioptas" or "li", optional
        For "sparse".
    nonzeros : int, optional
        For "osnap".
    compute_inverse_components : bool
        Store the pseudo-inverse in `fit`. Without it, `inverse_transform` has the same result from the
        projection's adjoint, and stores n_components x n_components numbers.
    random_state : int, RandomState, Generator or None
        An integer gives the projection of ``kexue.random_projection(..., rng=random_state)``.
    n_jobs : int, optional
        Threads: -1 is all processors, -2 all but one; None is the number of `kexue.threads`.

    Attributes
    ----------
    projection_ : kexue.RandomProjectionMap
        The projection.
    n_components_ : int
    components_ : ndarray or csr_array, shape (n_components_, n_features_in_)
        Its matrix, made when it is asked for; CSR for "sparse", "countsketch" and "osnap".
    inverse_components_ : ndarray, shape (n_features_in_, n_components_)
        If `compute_inverse_components`.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        If X had names.

    See Also
    --------
    kexue.random_projection : the function, which says what kinds there are.

    Notes
    -----
    It takes float32 and float64, dense and CSR; the result is dense.

    Examples
    --------
    >>> import numpy as np
    >>> from kexue.sklearn import RandomProjection
    >>> X = np.random.default_rng(0).normal(size=(30, 5000))
    >>> model = RandomProjection(400, kind="srht", random_state=0)
    >>> model.fit_transform(X).shape
    (30, 400)
    """

    def __init__(
        self,
        n_components: int | Literal["auto"] = "auto",
        *,
        kind: Literal["gaussian", "rademacher", "sparse", "srht", "countsketch", "osnap"] = "gaussian",
        eps: float = 0.1,
        density: float | Literal["achlioptas", "li"] | None = None,
        nonzeros: int | None = None,
        compute_inverse_components: bool = False,
        random_state: int | RandomState | Generator | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.kind = kind
        self.eps = eps
        self.density = density
        self.nonzeros = nonzeros
        self.compute_inverse_components = compute_inverse_components
        self.random_state = random_state
        self.n_jobs = n_jobs

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Draw the projection for as many columns as X has.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (n_samples, n_features)
            Only its shape and dtype matter.
        y : None
            Not used.

        Returns
        -------
        self
        """
        with columns_kept_on_failure(self):
            X = self._check(X, reset=True)
            rng = self.random_state
            if isinstance(rng, RandomState):
                rng = rng.randint(2**31 - 1)
            projection = RandomProjectionMap.draw(
                X.shape[1],
                self._dimension(*X.shape),
                kind=self.kind,
                density=self.density,
                nonzeros=self.nonzeros,
                rng=rng,
            )
            inverse = None
            if self.compute_inverse_components:
                components: Any = projection.matrix(X.dtype)
                inverse = pinv(components.toarray() if issparse(components) else components)
        self.projection_, self.n_components_ = projection, projection.n_components
        if inverse is not None:
            self.inverse_components_ = inverse
        elif hasattr(self, "inverse_components_"):
            del self.inverse_components_
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Project.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_components_)
        """
        check_is_fitted(self, "projection_")
        return self.projection_(self._check(X, reset=False), workers=count_jobs(self.n_jobs))

    def inverse_transform(self, X: ArrayLike) -> np.ndarray:
        """The shortest rows that are projected to X: by the pseudo-inverse of the projection.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_components_)

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self, "projection_")
        rows: Any = check_array(X, dtype=[np.float64, np.float32], accept_sparse="csr")
        rows = rows.toarray() if issparse(rows) else rows
        if rows.shape[1] != self.n_components_:
            have, wanted = rows.shape[1], self.n_components_
            raise KexueValueError(f"X has {have} columns, but the projection has {wanted} components")
        if hasattr(self, "inverse_components_"):
            return rows @ self.inverse_components_.T.astype(rows.dtype, copy=False)
        return self.projection_.inverse(rows, workers=count_jobs(self.n_jobs))

    @property
    def components_(self) -> Any:
        check_is_fitted(self, "projection_")
        return self.projection_.matrix()

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def _check(self, X: Any, *, reset: bool) -> Any:
        return validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=reset)

    def _dimension(self, n_samples: int, n_features: int) -> int:
        if not isinstance(self.n_components, str):
            return self.n_components
        if self.n_components != "auto":
            raise KexueValueError(f'n_components must be an integer or "auto", got {self.n_components!r}')
        wanted = int(jl_min_dim(n_samples, self.eps))
        if wanted <= n_features:
            return wanted
        warnings.warn(
            f'n_components="auto" is {wanted} for {n_samples} rows and eps={self.eps}, more than the {n_features} '
            f"columns of X: projecting to {n_features} dimensions, which may change distances by more than eps",
            DataDimensionalityWarning,
            stacklevel=3,
        )
        return n_features
