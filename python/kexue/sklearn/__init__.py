"""Estimators of scikit-learn over kexue's methods: ``pip install "kexue[sklearn]"``."""

from __future__ import annotations

try:
    import sklearn as _sklearn  # noqa: F401
except ImportError as error:
    raise ImportError('kexue.sklearn needs scikit-learn: pip install "kexue[sklearn]"') from error

from kexue.sklearn._analytic_logistic_regression import AnalyticLogisticRegression
from kexue.sklearn._can import CAN
from kexue.sklearn._entropy_normalizer import EntropyNormalizer
from kexue.sklearn._neighbors import WMDNeighbors, WMDNeighborsRegressor
from kexue.sklearn._random_projection import RandomProjection

__all__ = [
    "CAN",
    "AnalyticLogisticRegression",
    "EntropyNormalizer",
    "RandomProjection",
    "WMDNeighbors",
    "WMDNeighborsRegressor",
]
