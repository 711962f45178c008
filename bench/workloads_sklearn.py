"""What is measured of kexue.sklearn: estimators, fitted and used as in a pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
import workloads
from scipy import special
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.random_projection import GaussianRandomProjection
from workloads import Side, Workload, recent
from workloads_classification import classes, numpy_can
from workloads_entropy import find_root
from workloads_projection import lengths_of, rows

import kexue.sklearn


@recent
def word_movers_neighbors(name: str, k: int = 5) -> Workload:
    """200 documents, 20 queries. scikit-learn takes POT's distances, which have to be there: of all pairs."""
    sets = workloads.documents(5000, "uniform")
    wmd, few = workloads.transport_of("wmd"), 20
    rng = np.random.default_rng(0)
    is_classifier = name == "WMDNeighbors"
    targets = rng.integers(3, size=workloads.DOCUMENTS) if is_classifier else rng.random(workloads.DOCUMENTS)
    make = KNeighborsClassifier if is_classifier else KNeighborsRegressor
    ours = getattr(kexue.sklearn, name)(sets.vectors, n_neighbors=k, n_jobs=1).fit(sets.Y, targets)
    theirs = make(k, metric="precomputed").fit(np.zeros((workloads.DOCUMENTS, workloads.DOCUMENTS)), targets)

    def predicted(model: Any, X: Any) -> np.ndarray:
        return model.predict_proba(X) if is_classifier else model.predict(X)

    def by_pot() -> np.ndarray:
        distances = [[wmd(*sets.arrays(i, j)) for j in range(workloads.DOCUMENTS)] for i in range(few)]
        return predicted(theirs, np.array(distances))

    queries = sets.X[:few]
    sides = {
        "kexue": Side(lambda: predicted(ours, queries), few),
        "scikit-learn and POT": Side(by_pot, few),
    }
    return Workload(f"sklearn.{name}, {k} of 200 documents", sides, rtol=1e-9)


@recent
def random_projection(n: int = 4000, d: int = 1024, n_components: int = 256) -> Workload:
    """Fit and transform."""
    X = rows(n, d, "float32")
    ours = kexue.sklearn.RandomProjection(n_components, random_state=0, n_jobs=1)
    theirs = GaussianRandomProjection(n_components, random_state=0)
    comparable = lengths_of(X)
    sides = {
        "kexue": Side(lambda: ours.fit_transform(X), comparable=comparable),
        "scikit-learn": Side(lambda: theirs.fit_transform(X), comparable=comparable),
    }
    return Workload(f"sklearn.RandomProjection, gaussian, {n}x{d} float32 to {n_components}", sides, rtol=0.05)


@recent
def entropy_normalizer(n: int = 2000, classes: int = 100) -> Workload:
    """Rows of positive numbers to half of the largest entropy, beside SciPy's vectorised root finder."""
    p = special.softmax(np.random.default_rng([n, classes]).standard_normal((n, classes)), axis=1)
    model = kexue.sklearn.EntropyNormalizer(0.5, n_jobs=1)
    sides = {
        "kexue": Side(lambda: model.fit_transform(p)),
        "SciPy's find_root": Side(lambda: find_root(np.log(p), 0.5 * np.log(classes))),
    }
    return Workload(f"sklearn.EntropyNormalizer, {n}x{classes}", sides, rtol=1e-5, atol=1e-8)


@recent
def can(n: int = 2000, d: int = 16, count: int = 10) -> Workload:
    """Around a fitted logistic regression, whose probabilities both sides make in the call."""
    X, y = classes(n, d, count)
    model = LogisticRegression(max_iter=1000).fit(X, y)
    ours = kexue.sklearn.CAN(LogisticRegression(max_iter=1000)).fit(X, y)
    prior = np.bincount(y) / n
    np.testing.assert_allclose(ours.prior_, prior)
    sides = {
        "kexue": Side(lambda: ours.predict_proba(X)),
        "NumPy": Side(lambda: numpy_can(model.predict_proba(X), prior)),
    }
    return Workload(f"sklearn.CAN, {n}x{d}, {count} classes", sides, rtol=1e-9, atol=1e-12)
