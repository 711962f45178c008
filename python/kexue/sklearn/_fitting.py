"""What a fit that fails leaves behind: what was there before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sklearn.base import BaseEstimator

# scikit-learn writes these before an estimator sees its data.
COLUMNS = ("n_features_in_", "feature_names_in_")


@contextmanager
def columns_kept_on_failure(estimator: BaseEstimator) -> Iterator[None]:
    """Number and names of the columns fit to the rest of a fitted estimator, also where the next fit fails."""
    before = {name: vars(estimator)[name] for name in COLUMNS if name in vars(estimator)}
    try:
        yield
    except BaseException:
        for name in COLUMNS:
            vars(estimator).pop(name, None)
        vars(estimator).update(before)
        raise
