"""kexue's estimators beside scikit-learn's, or what one builds around them.

AnalyticLogisticRegression is measured in bench_classification.py.
"""

import pytest
import workloads_sklearn as workloads
from cases import sides


@sides("kexue", "scikit-learn and POT")
@pytest.mark.parametrize("name", ["WMDNeighbors", "WMDNeighborsRegressor"], ids="sklearn.{}".format)
def bench_neighbors(measure, name, side):
    measure(workloads.word_movers_neighbors(name), side)


@sides("kexue", "scikit-learn")
def bench_sklearn_RandomProjection(measure, side):
    measure(workloads.random_projection(), side)


@sides("kexue", "SciPy's find_root")
def bench_sklearn_EntropyNormalizer(measure, side):
    measure(workloads.entropy_normalizer(), side)


@sides("kexue", "NumPy")
def bench_sklearn_CAN(measure, side):
    measure(workloads.can(), side)
