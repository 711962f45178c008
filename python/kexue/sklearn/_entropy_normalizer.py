"""Rows of a given entropy, as a transformer."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_non_negative, validate_data

from kexue import KexueValueError, entropy_normalize
from kexue.sklearn._fitting import columns_kept_on_failure
from kexue.sklearn._jobs import count_jobs


class EntropyNormalizer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Makes rows of weights distributions of one entropy: all equally sharp, whatever made them.

    It learns nothing: `fit` only looks at the number of columns.

    Parameters
    ----------
    target : float
        What `target_kind` says.
    target_kind : {"fraction", "entropy", "perplexity", "gap_low", "gap_high"}
        As in `kexue.entropy_normalize`; "fraction" is the entropy as a share of log n_features.
    on_unreachable : {"limit", "raise"}
        What becomes of a row that cannot have the entropy, as one with fewer positive entries than it takes: the
        nearest that it can have, or an exception.
    n_jobs : int, optional
        Threads: -1 is all processors, -2 all but one; None is the number of `kexue.threads`.

    Attributes
    ----------
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        If X had names.

    See Also
    --------
    kexue.entropy_normalize : the function, with more options.

    Notes
    -----
    A row of zeros stays one, as with ``sklearn.preprocessing.Normalizer``. It takes float32 and float64, and CSR.

    Examples
    --------
    >>> from kexue.sklearn import EntropyNormalizer
    >>> EntropyNormalizer(0.5).fit_transform([[5.0, 3.0, 1.0, 1.0], [9.0, 8.0, 8.0, 0.0]]).round(3)
    array([[0.743, 0.223, 0.017, 0.017],
           [0.773, 0.114, 0.114, 0.   ]])
    """

    def __init__(
        self,
        target: float = 0.5,
        *,
        target_kind: Literal["fraction", "entropy", "perplexity", "gap_low", "gap_high"] = "fraction",
        on_unreachable: Literal["limit", "raise"] = "limit",
        n_jobs: int | None = None,
    ) -> None:
        self.target = target
        self.target_kind = target_kind
        self.on_unreachable = on_unreachable
        self.n_jobs = n_jobs

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def fit(self, X: Any, y: Any = None) -> Self:
        """Look at the number of columns, and at their names.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (n_samples, n_features)
            Not negative.
        y : None
            Not used.

        Returns
        -------
        self
        """
        with columns_kept_on_failure(self):
            self._check(X, reset=True)
        return self

    def transform(self, X: Any) -> Any:
        """The rows, each with the entropy.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (n_samples, n_features)
            Not negative.

        Returns
        -------
        Q : {ndarray, CSR matrix} of shape (n_samples, n_features)
            Rows that sum to 1, or are zero where they were.
        """
        X = self._check(X, reset=False)
        filled = np.asarray((X > 0).sum(axis=1)).ravel() > 0
        if filled.all():
            return self._normalize(X)
        Q = X.copy()
        if filled.any():
            normalized, info = self._normalize(X[filled], on_unreachable="limit", log=True)
            if self.on_unreachable == "raise" and (info.status > 1).any():
                row = np.flatnonzero(filled)[np.argmax(info.status > 1)]
                raise KexueValueError(
                    f"X[{row}] cannot have the {self.target_kind} {self.target:g}; "
                    'on_unreachable="limit" takes the nearest that it can have'
                )
            if issparse(X):
                Q.data[np.repeat(filled, np.diff(Q.indptr))] = normalized.data
            else:
                Q[filled] = normalized
        return Q

    def _check(self, X: Any, *, reset: bool) -> Any:
        X = validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=reset)
        check_non_negative(X, type(self).__name__)
        if issparse(X) and not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        return X

    def _normalize(self, X: Any, **options: Any) -> Any:
        settings = {"target_kind": self.target_kind, "on_unreachable": self.on_unreachable, **options}
        return entropy_normalize(X, self.target, workers=count_jobs(self.n_jobs), **settings)
