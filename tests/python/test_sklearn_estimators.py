"""What scikit-learn promises of any estimator, of all of kexue.sklearn: its own checks, and one table of properties."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csc_array, csr_array, csr_matrix

import kexue.sklearn
from kexue import AdversarialSplit

pytest.importorskip("sklearn")

from sklearn import config_context  # noqa: E402
from sklearn.base import clone, is_classifier, is_regressor  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.linear_model import LogisticRegression, Ridge  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score, cross_validate  # noqa: E402
from sklearn.naive_bayes import GaussianNB, MultinomialNB  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier  # noqa: E402
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline  # noqa: E402
from sklearn.preprocessing import MinMaxScaler, StandardScaler  # noqa: E402
from sklearn.utils import get_tags  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks  # noqa: E402
from sklearn.utils.validation import has_fit_parameter  # noqa: E402

from kexue.sklearn import (  # noqa: E402
    CAN,
    AnalyticLogisticRegression,
    EntropyNormalizer,
    RandomProjection,
    WMDNeighbors,
    WMDNeighborsRegressor,
)

KINDS = ["gaussian", "rademacher", "sparse", "srht", "countsketch", "osnap"]


# ---- scikit-learn's own checks ----


CHECKS = parametrize_with_checks(
    [
        WMDNeighbors(),
        WMDNeighbors(metric="wrd", weights="distance"),
        WMDNeighborsRegressor(),
        EntropyNormalizer(),
        EntropyNormalizer(1.5, target_kind="perplexity"),
        EntropyNormalizer(0.9, n_jobs=2),
        RandomProjection(),
        *(RandomProjection(2, kind=kind) for kind in KINDS),
        RandomProjection(2, compute_inverse_components=True, n_jobs=2),
        AnalyticLogisticRegression(),
        AnalyticLogisticRegression(shrinkage=0.2, between_correction=False),
        # Uncertain of nothing, it is the classifier, and hides no failure of the checks of batches.
        CAN(LogisticRegression(), threshold=2.0),
        CAN(GaussianNB()),
        CAN(GaussianNB(), k=2, iterations=3),
    ]
)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataDimensionalityWarning")  # of RandomProjection()
# A list of them, because scikit-learn 1.6 has a generator, which newer versions of pytest warn of.
@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), ids=CHECKS.kwargs["ids"])
def test_check_estimator(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_prediction_of_can_is_for_a_batch():
    """Which is the only check that an uncertain classifier fails, and is what the method is for."""
    results = check_estimator(CAN(LogisticRegression()), on_fail=None, on_skip=None)
    assert {result["check_name"] for result in results if result["status"] == "failed"} == {
        "check_methods_subset_invariance"
    }


# ---- the table ----


@dataclass
class Case:
    """An estimator on data that it can do something with."""

    estimator: Any
    grid: dict[str, list[Any]]  # of its own parameters
    sparse: bool = True

    @property
    def methods(self) -> list[str]:
        names = ["predict", "predict_proba", "predict_log_proba", "predict_uncertainty", "decision_function"]
        names += ["transform", "kneighbors", "kneighbors_graph"]
        return [name for name in names if hasattr(self.estimator, name)]

    @property
    def transforms(self) -> bool:
        return hasattr(self.estimator, "transform")


VECTORS = np.random.default_rng(1).normal(size=(8, 3))
CASES = {
    "WMDNeighbors": Case(WMDNeighbors(VECTORS), {"n_neighbors": [1, 5], "metric": ["wmd", "wrd"]}),
    "WMDNeighbors, one-hot": Case(WMDNeighbors(weights="distance"), {"n_neighbors": [2, 4]}),
    "WMDNeighborsRegressor": Case(WMDNeighborsRegressor(VECTORS), {"n_neighbors": [1, 5]}),
    "EntropyNormalizer": Case(EntropyNormalizer(), {"target": [0.3, 0.8]}),
    **{
        f"RandomProjection, {kind}": Case(RandomProjection(4, kind=kind, random_state=0), {"n_components": [2, 4]})
        for kind in KINDS
    },
    "AnalyticLogisticRegression": Case(AnalyticLogisticRegression(), {"shrinkage": [0.0, 0.3]}, sparse=False),
    "CAN": Case(CAN(GaussianNB()), {"k": [2, 3], "estimator__var_smoothing": [1e-9, 1e-2]}, sparse=False),
    "CAN, sparse": Case(CAN(MultinomialNB(), threshold=0.8), {"alpha": [0.5, 1.0]}),
}
TRANSFORMERS = [name for name, case in CASES.items() if case.transforms]
WEIGHTED = [name for name, case in CASES.items() if has_fit_parameter(case.estimator, "sample_weight")]
every = pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
transformers = pytest.mark.parametrize("case", [CASES[name] for name in TRANSFORMERS], ids=TRANSFORMERS)

ROWS = 60
_rng = np.random.default_rng(0)
CLASSES = np.array(["few", "many", "some"])[_rng.permutation(np.arange(ROWS) % 3)]
X = _rng.exponential(size=(ROWS, 8)) * (_rng.random((ROWS, 8)) < 0.6) + 0.5 * (CLASSES == "many")[:, None]
X[:, 0] += 0.5 + (CLASSES == "few")
NAMES = [f"word{i}" for i in range(8)]


def targets_of(estimator):
    return X @ np.arange(8.0) if is_regressor(estimator) else CLASSES


def results_of(case, model, rows):
    """What all methods give."""
    results = {}
    for name in case.methods:
        result = getattr(model, name)(rows)
        for place, part in enumerate(result if isinstance(result, tuple) else (result,)):
            results[name, place] = part.toarray() if hasattr(part, "toarray") else np.asarray(part)
    return results


def assert_same(results, expected, **tolerance):
    assert results.keys() == expected.keys()
    for name, result in results.items():
        assert result.dtype == expected[name].dtype
        if tolerance and result.dtype.kind == "f":
            np.testing.assert_allclose(result, expected[name], err_msg=str(name), **tolerance)
        else:
            np.testing.assert_array_equal(result, expected[name], err_msg=str(name), strict=True)


def fitted(case, rows=X):
    return clone(case.estimator).fit(rows, targets_of(case.estimator))


def test_the_table_has_every_estimator():
    assert {type(case.estimator).__name__ for case in CASES.values()} == set(kexue.sklearn.__all__)
    for case in CASES.values():
        model = case.estimator
        assert case.transforms + is_classifier(model) + is_regressor(model) == 1
    assert WEIGHTED == ["AnalyticLogisticRegression", "CAN", "CAN, sparse"]


@every
def test_a_clone_and_a_copy_give_the_same_bits(case):
    model = fitted(case)
    expected = results_of(case, model, X)
    assert_same(results_of(case, pickle.loads(pickle.dumps(model)), X), expected)
    again = clone(model)
    parameters, others = (one.get_params(deep=False) for one in (again, model))
    assert parameters.keys() == others.keys()
    assert all(repr(parameters[name]) == repr(others[name]) for name in others)
    assert not vars(again).keys() & (vars(model).keys() - parameters.keys())  # nothing that was learned
    assert_same(results_of(case, again.fit(X, targets_of(model)), X), expected)
    assert_same(results_of(case, model.fit(X, targets_of(model)), X), expected)


@every
def test_parameters_can_be_set(case):
    model = clone(case.estimator)
    for name, values in case.grid.items():
        for value in values:
            assert model.set_params(**{name: value}).get_params()[name] == value
    with pytest.raises(ValueError, match="Invalid parameter"):
        model.set_params(nothing=1)


@every
def test_in_a_pipeline(case):
    model = make_pipeline(MinMaxScaler(), clone(case.estimator)).fit(X, targets_of(case.estimator))
    scaled = MinMaxScaler().fit_transform(X)
    direct = fitted(case, scaled)
    for name in set(case.methods) - {"kneighbors", "kneighbors_graph", "predict_uncertainty"}:
        result, expected = getattr(model, name)(X), getattr(direct, name)(scaled)
        np.testing.assert_array_equal(result, expected)
    assert model[1:].fit(scaled, targets_of(case.estimator))[-1].n_features_in_ == 8


@every
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_in_a_search(case, n_jobs):
    """Two processes get pickles of the estimator and find the scores of one by one."""
    model = clone(case.estimator)
    steps = [("model", model), ("last", KNeighborsClassifier(3))] if case.transforms else [("model", model)]
    grid = {f"model__{name}": values for name, values in case.grid.items()}
    y = targets_of(model)
    search = GridSearchCV(Pipeline(steps), grid, cv=3, n_jobs=n_jobs, error_score="raise").fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    for parameters, score in zip(search.cv_results_["params"], scores, strict=True):
        assert cross_val_score(clone(search.estimator).set_params(**parameters), X, y, cv=3).mean() == score
    best = clone(search.estimator).set_params(**search.best_params_).fit(X, y)
    np.testing.assert_array_equal(search.predict(X), best.predict(X))


@every
@pytest.mark.parametrize("form", [csr_array, csr_matrix, csc_array])
def test_sparse(case, form):
    assert get_tags(case.estimator).input_tags.sparse == case.sparse
    if not case.sparse:
        with pytest.raises(TypeError, match="(?i)sparse"):
            fitted(case, form(X))
        return
    expected = results_of(case, fitted(case), X)
    assert_same(results_of(case, fitted(case, form(X)), form(X)), expected, rtol=1e-11, atol=1e-12)
    assert_same(results_of(case, fitted(case), form(X)), expected, rtol=1e-11, atol=1e-12)


@transformers
@pytest.mark.parametrize("form", [np.asarray, csr_array])
def test_transformers_preserve_dtype(case, form, dtype):
    rows = form(X.astype(dtype))
    model = fitted(case, rows)
    assert model.transform(rows).dtype == dtype
    assert clone(model).fit_transform(rows).dtype == dtype
    assert model.transform(form(X)).dtype == np.float64
    assert get_tags(model).transformer_tags.preserves_dtype == ["float64", "float32"]


@every
def test_float32_gives_nearly_the_same(case):
    exact, single = (results_of(case, fitted(case, rows), rows) for rows in (X, X.astype(np.float32)))
    for name in set(case.methods) - {"predict", "kneighbors", "kneighbors_graph"}:
        np.testing.assert_allclose(single[name, 0], exact[name, 0], rtol=2e-3, atol=2e-3)


@every
def test_threads_do_not_change_bits(case):
    if "n_jobs" not in case.estimator.get_params(deep=False):
        pytest.fail("takes no n_jobs") if case.transforms or "WMD" in type(case.estimator).__name__ else None
        return
    expected = results_of(case, fitted(case), X)
    for n_jobs in (1, 2, -1):
        assert_same(results_of(case, fitted(case).set_params(n_jobs=n_jobs), X), expected)


@every
def test_names_and_numbers_of_columns(case):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=NAMES)
    model = fitted(case, frame)
    assert model.feature_names_in_.tolist() == NAMES
    assert model.n_features_in_ == 8
    assert_same(results_of(case, model, frame), results_of(case, fitted(case), X), rtol=1e-12)
    with pytest.raises(ValueError, match="(?s)feature names.*must be in the same order"):
        results_of(case, model, frame[NAMES[::-1]])
    assert not hasattr(fitted(case), "feature_names_in_")
    with pytest.raises(ValueError, match="X has 7 features, but .* is expecting 8 features"):
        results_of(case, fitted(case), X[:, :7])


_BAD_PARAMETERS = {
    WMDNeighbors: ("metric", "wcd"),
    WMDNeighborsRegressor: ("metric", "wcd"),
    RandomProjection: ("n_components", 0),
    AnalyticLogisticRegression: ("shrinkage", 2.0),
    CAN: ("alpha", 0),
}
LEARNING = [name for name, case in CASES.items() if get_tags(case.estimator).requires_fit]
learning = pytest.mark.parametrize("case", [CASES[name] for name in LEARNING], ids=LEARNING)


def test_only_one_has_nothing_to_learn():
    assert set(CASES) - set(LEARNING) == {"EntropyNormalizer"}
    np.testing.assert_array_equal(EntropyNormalizer().transform(X), EntropyNormalizer().fit(X).transform(X))


@learning
def test_not_fitted(case):
    """Also where a fit has failed."""
    model = clone(case.estimator)
    for fails in (False, True):
        if fails:
            name, bad = _BAD_PARAMETERS[type(model)]
            good = model.get_params()[name]
            with pytest.raises((ValueError, TypeError), match=name):
                model.set_params(**{name: bad}).fit(X, targets_of(model))
            model.set_params(**{name: good})
        for method in case.methods:
            with pytest.raises(NotFittedError):
                getattr(model, method)(X)


@learning
@pytest.mark.parametrize("columns", [8, 5])
def test_a_fit_that_fails_leaves_what_was_there(case, columns):
    model = fitted(case)
    expected = results_of(case, model, X)
    name, bad = _BAD_PARAMETERS[type(model)]
    good = model.get_params()[name]
    with pytest.raises((ValueError, TypeError), match=name):
        model.set_params(**{name: bad}).fit(X[:30, :columns], targets_of(model)[30:])
    assert_same(results_of(case, model.set_params(**{name: good}), X), expected)


@every
def test_names_of_columns_are_those_of_the_last_fit_that_did_not_fail(case):
    pandas = pytest.importorskip("pandas")
    frame, y = pandas.DataFrame(X, columns=NAMES), targets_of(case.estimator)
    model = clone(case.estimator).fit(frame, y)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(frame.rename(columns=str.upper) * np.nan, y)
    assert model.feature_names_in_.tolist() == NAMES
    model.fit(X, y)
    assert not hasattr(model, "feature_names_in_") and model.n_features_in_ == 8


def test_a_first_batch_that_fails_leaves_nothing():
    model = AnalyticLogisticRegression()
    for classes, match in ((["few"], "at least two"), (["few", "many"], "not among the classes")):
        with pytest.raises(ValueError, match=match):
            model.partial_fit(X, CLASSES, classes=classes)
        assert not hasattr(model, "n_features_in_")
    model.partial_fit(X[:, :5], CLASSES, classes=np.unique(CLASSES))
    assert model.n_features_in_ == 5


@every
@pytest.mark.parametrize("dtype", ["float16", ">f8", "int8", "bool", "object"])
def test_other_dtypes(case, dtype):
    rows = X.astype(dtype)
    if isinstance(case.estimator, CAN) and dtype == "float16":
        return  # GaussianNB keeps it, and overflows
    exact = rows.astype(np.float64)
    expected = results_of(case, fitted(case, exact), exact)
    for name, result in results_of(case, fitted(case, rows), rows).items():
        if result.dtype.kind == "f":
            np.testing.assert_allclose(result, expected[name], rtol=1e-6, atol=1e-6, err_msg=str(name))
        else:
            np.testing.assert_array_equal(result, expected[name], err_msg=str(name))


@every
def test_arrays_and_models_that_joblib_maps(case, tmp_path):
    """Read-only both, as the processes of a search have them."""
    joblib = pytest.importorskip("joblib")
    expected = results_of(case, fitted(case), X)
    forms = [np.asarray, csr_array] if case.sparse else [np.asarray]
    for form in forms:
        path = tmp_path / "rows"
        joblib.dump(form(X), path)
        rows = joblib.load(path, mmap_mode="r")
        assert not (rows.data if form is csr_array else rows).flags.writeable
        joblib.dump(fitted(case, rows), tmp_path / "model")
        model = joblib.load(tmp_path / "model", mmap_mode="r")
        assert_same(results_of(case, model, rows), expected, rtol=1e-11, atol=1e-12)


# ---- transformers beside others ----


@transformers
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output(case, library):
    frames = pytest.importorskip(library)
    frame = frames.DataFrame(dict(zip(NAMES, X.T, strict=True)))
    model = clone(case.estimator).set_output(transform=library)
    result = model.fit_transform(frame)
    assert isinstance(result, frames.DataFrame)
    names = model.get_feature_names_out().tolist()
    assert list(result.columns) == names
    if isinstance(model, EntropyNormalizer):  # scikit-learn 1.6 does not know the names of newer versions of polars
        assert names == StandardScaler().fit(frame).get_feature_names_out().tolist()
        assert names == NAMES or library == "polars"
    else:
        assert names == [f"randomprojection{i}" for i in range(4)]
    np.testing.assert_array_equal(np.asarray(result), fitted(case).transform(X))
    assert isinstance(clone(model).fit(X).transform(X), frames.DataFrame)
    if library == "pandas":
        shuffled = frame.sample(frac=1, random_state=0)
        assert model.transform(shuffled).index.tolist() == shuffled.index.tolist()
    pipeline = make_pipeline(StandardScaler(), RandomProjection(2, random_state=0)).set_output(transform=library)
    assert list(pipeline.fit_transform(frame).columns) == ["randomprojection0", "randomprojection1"]


@transformers
def test_in_a_union_and_over_columns(case):
    expected = fitted(case).transform(X)
    union = FeatureUnion([("ours", clone(case.estimator)), ("theirs", MinMaxScaler())]).fit(X)
    np.testing.assert_array_equal(union.transform(X), np.hstack([expected, MinMaxScaler().fit_transform(X)]))
    over = ColumnTransformer([("ours", clone(case.estimator), slice(1, 7))], remainder="passthrough").fit(X)
    part = fitted(case, X[:, 1:7]).transform(X[:, 1:7])
    np.testing.assert_array_equal(over.transform(X), np.hstack([part, X[:, [0, 7]]]))
    names = union.get_feature_names_out().tolist()
    assert len(names) == expected.shape[1] + 8 and all(name.startswith("ours__") for name in names[: expected.shape[1]])


@pytest.mark.parametrize("kind", KINDS)
def test_random_state(kind):
    """An integer is one projection for good, a RandomState or Generator another one at each fit, None any."""
    fixed = RandomProjection(3, kind=kind, random_state=7)
    expected = fixed.fit_transform(X)
    np.testing.assert_array_equal(fixed.fit_transform(X), expected)
    np.testing.assert_array_equal(clone(fixed).fit_transform(X), expected)
    for source in (np.random.RandomState, np.random.default_rng):
        moving = RandomProjection(3, kind=kind, random_state=source(7))
        first, second = moving.fit_transform(X), moving.fit_transform(X)
        assert (first != second).any()
        np.testing.assert_array_equal(RandomProjection(3, kind=kind, random_state=source(7)).fit_transform(X), first)
    # Nobody's global numbers are drawn.
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert (RandomProjection(3, kind=kind).fit_transform(X) != RandomProjection(3, kind=kind).fit_transform(X)).any()
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


# ---- weights and metadata ----

weighted = pytest.mark.parametrize("case", [CASES[name] for name in WEIGHTED], ids=WEIGHTED)


@weighted
def test_a_weight_is_a_number_of_equal_rows(case):
    if isinstance(case.estimator, CAN):  # the smoothing of GaussianNB is a share of the variance without weights
        case = Case(clone(case.estimator).set_params(estimator__var_smoothing=0), {}) if not case.sparse else case
    weights = np.arange(ROWS) % 3
    model = clone(case.estimator).fit(X, CLASSES, sample_weight=weights)
    repeated = clone(case.estimator).fit(X.repeat(weights, axis=0), CLASSES.repeat(weights))
    assert_same(results_of(case, model, X), results_of(case, repeated, X), rtol=1e-8, atol=1e-10)


@every
def test_with_metadata_routing(case):
    """Nothing has to be requested where nothing is passed, and weights go where they are."""
    y = targets_of(case.estimator)
    last = [("last", KNeighborsClassifier(3))] if case.transforms else []
    expected = cross_val_score(Pipeline([("model", clone(case.estimator)), *last]), X, y, cv=3)
    with config_context(enable_metadata_routing=True):
        assert_same(results_of(case, fitted(case), X), results_of(case, fitted(case), X))
        model = Pipeline([("model", clone(case.estimator)), *last])
        np.testing.assert_array_equal(cross_validate(model, X, y, cv=3, error_score="raise")["test_score"], expected)
        grid = {f"model__{name}": values for name, values in case.grid.items()}
        assert GridSearchCV(model, grid, cv=3, error_score="raise").fit(X, y).best_score_ > -1
        weights = np.arange(ROWS) % 3
        if not has_fit_parameter(case.estimator, "sample_weight"):
            with pytest.raises(TypeError, match="sample_weight"):
                model.fit(X, y, sample_weight=weights)
            return
        with pytest.raises(ValueError, match="sample_weight"):
            model.fit(X, y, sample_weight=weights)
        requesting = clone(case.estimator).set_fit_request(sample_weight=True)
        if isinstance(requesting, CAN):
            requesting.estimator.set_fit_request(sample_weight=True)
        routed = Pipeline([("model", requesting)]).fit(X, y, sample_weight=weights)
    direct = clone(case.estimator).fit(X, y, sample_weight=weights)
    np.testing.assert_array_equal(routed.predict_proba(X), direct.predict_proba(X))


# ---- the splitter ----


class TestAdversarialSplit:
    TARGET = X[::2] + 0.1

    @pytest.mark.parametrize("method", ["top", "resample"])
    @pytest.mark.parametrize("n_jobs", [1, 2])
    @pytest.mark.parametrize("routing", [False, True])
    def test_in_searches(self, method, n_jobs, routing):
        splitter = AdversarialSplit(self.TARGET, method=method, rng=0)
        ((train, validation),) = splitter.split(X)
        y = targets_of(Ridge())
        grid = {"alpha": [0.01, 1.0, 100.0]}
        with config_context(enable_metadata_routing=routing):
            search = GridSearchCV(Ridge(), grid, cv=splitter, n_jobs=n_jobs, error_score="raise")
            for model in (search, clone(search), pickle.loads(pickle.dumps(search))):
                model.fit(X, y)
                assert model.n_splits_ == 1
                expected = [
                    Ridge(alpha=alpha).fit(X[train], y[train]).score(X[validation], y[validation])
                    for alpha in grid["alpha"]
                ]
                np.testing.assert_allclose(model.cv_results_["mean_test_score"], expected, rtol=1e-12)
            found = cross_validate(Ridge(), X, y, cv=splitter, return_indices=True, n_jobs=n_jobs)["indices"]
        np.testing.assert_array_equal(found["train"][0], train)
        np.testing.assert_array_equal(found["test"][0], validation)

    def test_a_new_split_in_every_call_without_a_seed(self):
        splitter = AdversarialSplit(self.TARGET, method="resample", rng=np.random.default_rng(0))
        first, second = (next(splitter.split(X))[1] for _ in range(2))
        assert not np.array_equal(first, second)

    def test_names_of_columns(self):
        pandas = pytest.importorskip("pandas")
        frame, target = (pandas.DataFrame(rows, columns=NAMES) for rows in (X, self.TARGET))
        splitter = AdversarialSplit(target, discriminator=LogisticRegression(), rng=0)
        search = GridSearchCV(WMDNeighbors(VECTORS), {"n_neighbors": [1, 3]}, cv=splitter, error_score="raise")
        assert search.fit(frame, CLASSES).best_estimator_.feature_names_in_.tolist() == NAMES

    def test_is_no_partition(self):
        with pytest.raises(ValueError, match="partitions"):
            cross_val_predict(Ridge(), X, targets_of(Ridge()), cv=AdversarialSplit(self.TARGET, rng=0))
