"""kexue.sklearn beside scikit-learn's neighbours on precomputed distances, and in pipelines."""

from __future__ import annotations

import inspect
import pickle
import shutil
import statistics
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import coo_array, csr_array, csr_matrix, issparse

import kexue
from kexue import KexueValueError, WordVectors

pytest.importorskip("sklearn")

from sklearn import config_context  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import DataDimensionalityWarning, NotFittedError  # noqa: E402
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer  # noqa: E402

from kexue.sklearn import EntropyNormalizer, RandomProjection, WMDNeighbors, WMDNeighborsRegressor  # noqa: E402

ESTIMATORS = pytest.mark.parametrize("estimator", [WMDNeighbors, WMDNeighborsRegressor])
METRICS = pytest.mark.parametrize("metric", ["wmd", "wrd"])


def gauss(distances):
    return np.exp(-(distances**2))


WEIGHTS = pytest.mark.parametrize("weights", ["uniform", "distance", gauss])


@pytest.fixture
def data(rng):
    """Documents of a vocabulary of 30 words and queries, of which some are documents; three classes."""
    vectors = rng.normal(size=(30, 6))
    documents, others = (rng.random((count, 30)) * (rng.random((count, 30)) < 0.2) for count in (40, 12))
    documents[:, 0] += 0.1
    others[:, 1] += 0.1
    return vectors, documents, np.concatenate([others, documents[::10]]), rng.choice(["a", "b", "c"], size=40)


def docstrings(module):
    functions = (function for _, function in inspect.getmembers(module, inspect.isfunction))
    return [text for function in functions if len(text := inspect.getdoc(function) or "") > 60]


NUMBERS, FILES = docstrings(statistics), docstrings(shutil)
TEXTS = NUMBERS + FILES
TOPICS = np.array(["numbers"] * len(NUMBERS) + ["files"] * len(FILES))


@pytest.fixture(scope="module")
def words():
    return WordVectors.fit(TEXTS, dimension=20, rng=0)


class TestBesideScikitLearn:
    @METRICS
    @WEIGHTS
    def test_classifier(self, data, dtype, metric, weights):
        vectors, documents, queries, labels = data
        vectors = vectors.astype(dtype)
        within = kexue.pairwise_distances(documents, vectors=vectors, metric=metric)
        between = kexue.pairwise_distances(queries, documents, vectors=vectors, metric=metric)
        theirs = KNeighborsClassifier(4, metric="precomputed", weights=weights).fit(within, labels)
        ours = WMDNeighbors(vectors, metric=metric, n_neighbors=4, weights=weights).fit(documents, labels)
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)
        np.testing.assert_allclose(ours.predict_proba(queries), theirs.predict_proba(between), rtol=1e-6)
        np.testing.assert_array_equal(ours.predict(queries), theirs.predict(between))
        expected = theirs.score(between, theirs.predict(between))
        assert ours.score(csr_array(queries), theirs.predict(between)) == expected

    @METRICS
    @WEIGHTS
    @pytest.mark.parametrize("shape", [(40,), (40, 3)])
    def test_regressor(self, data, rng, metric, weights, shape):
        vectors, documents, queries, _ = data
        targets = rng.normal(size=shape)
        within = kexue.pairwise_distances(documents, vectors=vectors, metric=metric)
        between = kexue.pairwise_distances(queries, documents, vectors=vectors, metric=metric)
        theirs = KNeighborsRegressor(4, metric="precomputed", weights=weights).fit(within, targets)
        ours = WMDNeighborsRegressor(vectors, metric=metric, n_neighbors=4, weights=weights).fit(documents, targets)
        expected = theirs.predict(between)
        assert ours.predict(queries).shape == expected.shape
        np.testing.assert_allclose(ours.predict(queries), expected, rtol=1e-9)
        np.testing.assert_allclose(ours.score(queries, expected), 1)

    @ESTIMATORS
    @pytest.mark.parametrize("mode", ["connectivity", "distance"])
    def test_neighbors(self, data, estimator, mode):
        vectors, documents, queries, _ = data
        within = kexue.pairwise_distances(documents, documents, vectors=vectors)  # not symmetric to the last bit
        between = kexue.pairwise_distances(queries, documents, vectors=vectors)
        theirs = NearestNeighbors(n_neighbors=3, metric="precomputed").fit(within)
        ours = estimator(vectors, n_neighbors=3).fit(documents, np.arange(40) % 7)
        for matrix, X in ((between, queries), (None, None)):
            for k in None, 1, 7:
                (distances, indices), expected = ours.kneighbors(X, k), theirs.kneighbors(matrix, k)
                np.testing.assert_array_equal(distances, expected[0])
                np.testing.assert_array_equal(indices, expected[1])
                np.testing.assert_array_equal(ours.kneighbors(X, k, return_distance=False), indices)
                graph = ours.kneighbors_graph(X, k, mode)
                np.testing.assert_array_equal(graph.toarray(), theirs.kneighbors_graph(matrix, k, mode).toarray())
                assert graph.nnz == indices.size

    def test_fewer_documents_than_neighbors(self, data):
        vectors, documents, queries, labels = data
        model = WMDNeighbors(vectors, n_neighbors=50).fit(documents[:3], labels[:3])
        assert model.kneighbors(queries)[1].shape == (len(queries), 3)
        assert model.kneighbors()[1].shape == (3, 2)
        np.testing.assert_allclose(model.predict_proba(queries), [model.class_prior_] * len(queries))
        assert WMDNeighbors(vectors).fit(documents[:1], labels[:1]).kneighbors()[1].shape == (1, 0)

    def test_equal_documents(self, data):
        vectors, documents, _, _ = data
        model = WMDNeighbors(vectors, n_neighbors=2).fit(documents[[4, 4, 4, 4, 9]], list("xyyxx"))
        distances, indices = model.kneighbors()
        np.testing.assert_array_equal(indices[:4], [[1, 2], [0, 2], [0, 1], [0, 1]])
        assert not distances[:4].any()
        assert model.predict(documents[[4]]) == ["x"]
        assert model.set_params(weights="distance", n_neighbors=5).predict_proba(documents[[4]]).tolist() == [
            [0.5, 0.5]
        ]


class TestText:
    @pytest.mark.parametrize("vectorizer", [CountVectorizer, TfidfVectorizer])
    def test_pipeline(self, words, vectorizer):
        model = make_pipeline(vectorizer(vocabulary=words.key_to_index), WMDNeighbors(words, n_neighbors=3))
        model.fit(TEXTS[::2], TOPICS[::2])
        assert model.score(TEXTS[1::2], TOPICS[1::2]) > 0.8
        X = vectorizer(vocabulary=words.key_to_index).fit(TEXTS[::2])
        distances = kexue.pairwise_distances(
            X.transform(TEXTS[1::2]), X.transform(TEXTS[::2]), vectors=words.vectors, empty="inf"
        )
        theirs = KNeighborsClassifier(3, metric="precomputed").fit(np.zeros((len(TEXTS[::2]),) * 2), TOPICS[::2])
        np.testing.assert_array_equal(model.predict(TEXTS[1::2]), theirs.predict(distances))

    def test_own_tokenizer(self, words):
        model = make_pipeline(FunctionTransformer(words.count_matrix), WMDNeighbors(words, metric="wrd"))
        assert cross_val_score(model, TEXTS, TOPICS, cv=4).mean() > 0.8

    def test_grid_search(self, words):
        model = make_pipeline(CountVectorizer(vocabulary=words.key_to_index), WMDNeighbors(words))
        grid = {"wmdneighbors__n_neighbors": [1, 4], "wmdneighbors__metric": ["wmd", "wrd"]}
        search = GridSearchCV(model, grid, cv=3).fit(TEXTS, TOPICS)
        assert search.best_score_ > 0.8
        assert search.best_estimator_[-1].vectors is words

    def test_regression(self, words):
        model = make_pipeline(CountVectorizer(vocabulary=words.key_to_index), WMDNeighborsRegressor(words))
        model.fit(TEXTS[::2], TOPICS[::2] == "files")
        assert model.score(TEXTS[1::2], TOPICS[1::2] == "files") > 0.3


class TestWords:
    @pytest.fixture
    def case(self, data):
        """Words in another order than columns, a column without a vector, a vector without a column."""
        vectors, documents, queries, labels = data
        names = [f"w{i}" for i in range(30)]
        words = WordVectors(["unused", *names[:0:-1]], np.concatenate([vectors[:1], vectors[:0:-1]]))
        expected = WMDNeighbors(vectors[1:].astype(np.float32)).fit(documents[:, 1:], labels).kneighbors(queries[:, 1:])
        return words, names, documents, queries, labels, expected

    @pytest.mark.parametrize("kind", [list, np.array, tuple, lambda names: {name: i for i, name in enumerate(names)}])
    def test_vocabulary(self, case, kind):
        words, names, documents, queries, labels, expected = case
        model = WMDNeighbors(words, vocabulary=kind(names))
        for X, Y in (documents, queries), (coo_array(documents), csr_array(queries)):
            distances, indices = model.fit(X, labels).kneighbors(Y)
            np.testing.assert_array_equal(indices, expected[1])
            np.testing.assert_allclose(distances, expected[0], rtol=1e-6)
        assert model.n_features_in_ == 30

    def test_order_of_a_dict_is_by_column(self, case):
        words, names, documents, queries, labels, expected = case
        vocabulary = {name: i for i, name in reversed(list(enumerate(names)))}
        model = WMDNeighbors(words, vocabulary=vocabulary).fit(documents, labels)
        np.testing.assert_array_equal(model.kneighbors(queries)[1], expected[1])

    def test_vocabulary_of_a_vectorizer(self, words):
        vectorizer = CountVectorizer(stop_words="english")
        X = vectorizer.fit_transform(TEXTS)
        names = WMDNeighbors(words, vocabulary=vectorizer.get_feature_names_out()).fit(X, TOPICS)
        numbers = WMDNeighbors(words, vocabulary=vectorizer.vocabulary_).fit(X, TOPICS)
        counts = CountVectorizer(vocabulary=words.key_to_index, stop_words="english").fit_transform(TEXTS)
        expected = WMDNeighbors(words).fit(counts, TOPICS).kneighbors(counts)
        for model in names, numbers:
            for found, wanted in zip(model.kneighbors(X), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)

    def test_vectors_of_gensim(self, case):
        words, names, documents, queries, labels, expected = case
        keyed = SimpleNamespace(vectors=words.vectors, key_to_index=words.key_to_index)
        model = WMDNeighbors(keyed, vocabulary=names).fit(documents, labels)
        np.testing.assert_array_equal(model.kneighbors(queries)[1], expected[1])

    @pytest.mark.parametrize(
        ("vectors", "vocabulary", "message"),
        [
            (np.ones((4, 2)), None, r"X has 3 columns, but vectors has shape \(4, 2\)"),
            (np.float64(1), None, r"X has 3 columns, but vectors has shape \(\)"),
            (np.ones((3, 2)), ["a", "b", "c"], "vocabulary goes with WordVectors"),
            (None, ["a", "b", "c"], "vocabulary goes with WordVectors"),
            ("words", None, "X has 3 columns, but vectors has 2 words: give the vectorizer vocabulary=vectors.key_to"),
            ("words", ["a", "b"], "X has 3 columns, but vocabulary has 2 words"),
            ("words", ["a", "b", "a"], "vocabulary has the word 'a' twice"),
            ("words", ["x", "y", "z"], "no word of vocabulary has a vector"),
            ("words", {"a": 0, "b": 1, "c": 3}, "vocabulary must number its 3 words from 0 without gaps"),
            ("words", {"a": 0, "b": 1, "c": 1}, "vocabulary must number its 3 words from 0 without gaps"),
        ],
    )
    def test_what_does_not_fit(self, vectors, vocabulary, message):
        if isinstance(vectors, str):
            vectors = WordVectors(["a", "b"], [[1.0], [2.0]])
        with pytest.raises(KexueValueError, match=message):
            WMDNeighbors(vectors, vocabulary=vocabulary).fit(np.eye(3), [0, 1, 0])

    def test_vocabulary_of_one_string(self):
        with pytest.raises(TypeError, match="vocabulary must be a sequence of words, not one string"):
            WMDNeighbors(WordVectors(["a"], [[1.0]]), vocabulary="a").fit([[1.0]], [0])


class TestEmpty:
    """Documents without known words: here those of the last column alone, which has no vector or a zero vector."""

    WORDS = WordVectors(["near", "far", "zero"], [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    CASES = [(WORDS, ["near", "far", "unknown"], "wmd"), (WORDS, None, "wrd"), (WORDS.vectors, None, "wrd")]
    X = np.array([[1, 0, 1], [0, 0, 1], [0, 2, 0], [0, 1, 0]])
    QUERIES = np.array([[0, 0, 3], [1, 0, 0], [0, 0, 0]])

    @pytest.mark.parametrize(("vectors", "vocabulary", "metric"), [*CASES, (None, None, "wmd")])
    @pytest.mark.parametrize("weights", ["uniform", "distance", gauss, lambda distances: np.ones_like(distances)])
    def test_skip(self, vectors, vocabulary, metric, weights):
        # One-hot words are all known: there only rows of zeros are empty.
        X, queries = (self.X, self.QUERIES) if vectors is not None else (self.X * [1, 1, 0], self.QUERIES * [1, 1, 0])
        options = {"vocabulary": vocabulary, "metric": metric, "weights": weights, "n_neighbors": 1}
        model = WMDNeighbors(vectors, **options).fit(X, list("abbc"))
        assert model.predict(queries).tolist() == ["b", "a", "b"]
        np.testing.assert_allclose(model.predict_proba(queries), [[0.25, 0.5, 0.25], [1, 0, 0], [0.25, 0.5, 0.25]])
        distances, indices = model.kneighbors(queries, 4)
        np.testing.assert_array_equal(indices, [[-1, -1, -1], [0, 2, 3], [-1, -1, -1]])
        np.testing.assert_array_equal(np.isinf(distances), indices < 0)
        assert model.kneighbors_graph(queries, 4).toarray().tolist() == [[0] * 4, [1, 0, 1, 1], [0] * 4]
        assert model.kneighbors(n_neighbors=2)[1].tolist() == [[2, 3], [-1, -1], [3, 0], [2, 0]]

        model = WMDNeighborsRegressor(vectors, **options).fit(X, [[1, 0], [2, 0], [3, 4], [4, 4]])
        np.testing.assert_allclose(model.predict(queries), [[2.5, 2], [1, 0], [2.5, 2]])
        assert model.set_params(vectors=vectors).fit(X, [1, 2, 3, 4]).predict(queries).tolist() == [2.5, 1, 2.5]

    @pytest.mark.parametrize(("vectors", "vocabulary", "metric"), CASES)
    def test_raise(self, vectors, vocabulary, metric):
        model = WMDNeighbors(vectors, vocabulary=vocabulary, metric=metric, empty="raise")
        with pytest.raises(KexueValueError, match=r"X\[1\] is empty"):
            model.fit(self.X, list("abbc"))
        with pytest.raises(KexueValueError, match=r"X\[0\] is empty"):
            model.fit(self.X[2:], list("bc")).predict(self.QUERIES)

    def test_raise_without_vectors(self):
        model = WMDNeighbors(empty="raise")
        with pytest.raises(KexueValueError, match=r"X\[1\] is empty"):
            model.fit([[1, 0], [0, 0]], [0, 1])
        with pytest.raises(KexueValueError, match=r"X\[2\] is empty"):
            model.fit(np.eye(2), [0, 1]).predict([[1, 0], [2, 3], [0, 0]])

    @pytest.mark.parametrize(("vectors", "vocabulary"), [(WORDS, ["near", "far", "unknown"]), (None, None)])
    def test_no_document_at_all(self, vectors, vocabulary):
        X = [[0, 0, 5], [0, 0, 1]] if vectors else np.zeros((2, 3))
        with pytest.raises(KexueValueError, match=r"no document of X \(shape \(2, 3\)\) has a word with a vector"):
            WMDNeighbors(vectors, vocabulary=vocabulary).fit(X, [0, 1])


class TestOneHot:
    @given(
        hnp.arrays(np.float64, (6, 4), elements=st.integers(0, 3).map(float)),
        hnp.arrays(np.float64, (3, 4), elements=st.integers(0, 3).map(float)),
        st.sampled_from(["wmd", "wrd"]),
    )
    @settings(deadline=None, max_examples=60)
    def test_is_the_distance_of_one_hot_vectors(self, X, queries, metric):
        X = np.concatenate([X, [[1, 0, 2, 0]]])
        model = WMDNeighbors(metric=metric, n_neighbors=6).fit(X, range(7))
        distances, indices = model.kneighbors(queries)
        expected = kexue.pairwise_distances(queries, X, vectors=np.eye(4), metric=metric, empty="inf")
        np.testing.assert_allclose(distances, np.sort(expected)[:, : distances.shape[1]], atol=1e-12)
        for row, numbers in enumerate(indices):
            np.testing.assert_allclose(
                distances[row], np.where(numbers < 0, np.inf, expected[row][numbers]), atol=1e-12
            )

    def test_ties_go_to_the_lower_index(self):
        X = np.eye(20)
        np.testing.assert_array_equal(
            WMDNeighbors(n_neighbors=4).fit(X, range(20)).kneighbors(X[[7]])[1], [[7, 0, 1, 2]]
        )

    def test_large_weights(self):
        X = np.array([[0, 1e308], [1e308, 1e308], [1e-300, 0]])
        distances, indices = WMDNeighbors(metric="wrd", n_neighbors=3).fit(X, range(3)).kneighbors([[3, 3]])
        np.testing.assert_allclose(distances, [[0, 0.5, 0.5]])
        assert indices.tolist() == [[1, 0, 2]]


class TestParameters:
    @ESTIMATORS
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("n_neighbors", 0),
            ("n_neighbors", 2.0),
            ("n_neighbors", True),
            ("metric", "wcd"),
            ("empty", "nan"),
            ("weights", "gauss"),
            ("weights", None),
        ],
    )
    def test_bad_ones_are_named(self, estimator, name, value):
        with pytest.raises(KexueValueError, match=f"^{name} must be"):
            estimator(**{name: value}).fit(np.eye(3), [0, 1, 0])

    def test_bad_arguments(self):
        model = WMDNeighbors().fit(np.eye(3), [0, 1, 0])
        with pytest.raises(KexueValueError, match="^n_neighbors must be an integer of at least 1, not -1"):
            model.kneighbors(np.eye(3), -1)
        with pytest.raises(KexueValueError, match='^mode must be "connectivity" or "distance"'):
            model.kneighbors_graph(np.eye(3), mode="adjacency")

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            (lambda distances: distances[0], r"weights gave an array of shape \(2,\) for one of \(3, 2\)"),
            (lambda distances: distances - 1, "weights gave a negative number, NaN or infinity"),
            (lambda distances: distances * np.nan, "weights gave a negative number, NaN or infinity"),
            (lambda distances: distances + np.inf, "weights gave a negative number, NaN or infinity"),
        ],
    )
    def test_bad_functions(self, function, message):
        model = WMDNeighbors(n_neighbors=2, weights=function).fit(np.eye(3), [0, 1, 0])
        with pytest.raises(KexueValueError, match=message):
            model.predict(np.eye(3))

    def test_neighbors_that_weigh_nothing(self):
        options = {"n_neighbors": 1, "weights": lambda distances: distances < 0.1}
        X, queries = np.eye(3), [[1, 0, 0], [1, 1, 1]]
        np.testing.assert_allclose(
            WMDNeighbors(**options).fit(X, [0, 1, 1]).predict_proba(queries), [[1, 0], [1 / 3, 2 / 3]]
        )
        assert WMDNeighborsRegressor(**options).fit(X, [3, 4, 8]).predict(queries).tolist() == [3, 5]

    @ESTIMATORS
    def test_nothing_is_changed(self, data, untouched, estimator):
        vectors, documents, queries, _ = data
        with untouched(vectors, documents, queries):
            estimator(vectors).fit(documents, np.arange(40) % 7).predict(queries)


class TestCopies:
    def test_clones_share_the_vectors(self, data):
        vectors, documents, queries, labels = data
        names = [f"w{i}" for i in range(30)]
        model = WMDNeighbors(WordVectors(names, vectors), vocabulary=names, n_neighbors=2).fit(documents, labels)
        again = clone(model)
        assert again.vectors is model.vectors
        assert again.vocabulary == names
        assert again.vocabulary is not names
        assert again.get_params() == model.get_params()
        assert not hasattr(again, "classes_")
        assert model.predict(queries).shape == (16,)
        np.testing.assert_array_equal(again.fit(documents, labels).predict(queries), model.predict(queries))

    def test_clones_keep_their_requests(self):
        with config_context(enable_metadata_routing=True):
            model = WMDNeighbors(np.ones((3, 2))).set_score_request(sample_weight=True)
            assert clone(model).get_metadata_routing().score.requests == {"sample_weight": True}

    @ESTIMATORS
    @pytest.mark.parametrize("with_words", [True, False])
    def test_a_pickle_has_the_vectors_once(self, data, estimator, with_words):
        vectors, documents, _, _ = data
        vectors = np.tile(vectors, 1000)
        words = WordVectors([f"w{i}" for i in range(30)], vectors) if with_words else vectors
        model = estimator(words).fit(documents, np.arange(40) % 7)
        assert len(pickle.dumps(model)) < 1.5 * (words.vectors if with_words else vectors).nbytes


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_without_scikit_learn():
    done = run("import sys; sys.modules['sklearn'] = None; import kexue.sklearn")
    assert done.returncode == 1
    assert 'ImportError: kexue.sklearn needs scikit-learn: pip install "kexue[sklearn]"' in done.stderr


def test_scikit_learn_comes_with_the_module_only():
    done = run("import sys, kexue, kexue.documents; print('sklearn' in sys.modules)")
    assert done.stdout == "False\n"


class TestEntropyNormalizer:
    def test_is_the_function(self, rng, dtype):
        X = (rng.exponential(size=(30, 12)) * (rng.random((30, 12)) < 0.7)).astype(dtype)
        X[:, 0] += 1
        expected = kexue.entropy_normalize(X, 0.4, target_kind="fraction", on_unreachable="limit")
        for n_jobs in (None, 1, 2, -1, -2):
            Q = EntropyNormalizer(0.4, n_jobs=n_jobs).fit_transform(X)
            assert Q.dtype == dtype
            np.testing.assert_array_equal(Q, expected)
        sparse = EntropyNormalizer(0.4).transform(csr_array(X))  # without fit: there is nothing to learn
        assert sparse.format == "csr" and sparse.dtype == dtype
        np.testing.assert_allclose(sparse.toarray(), expected, rtol=1e-5 if dtype == np.float32 else 1e-12)
        np.testing.assert_allclose(EntropyNormalizer(0.4).transform(coo_array(X)).toarray(), sparse.toarray())

    def test_rows_of_zeros_stay(self):
        X = np.array([[0.0, 0, 0, 0], [4, 2, 1, 1], [0, 0, 3, 0]])
        with_a_zero = csr_array(([0.0, 4, 2, 1, 1, 3], [2, 0, 1, 2, 3, 2], [0, 1, 5, 6]), shape=(3, 4))
        for rows in (X, csr_array(X), with_a_zero):
            given_rows = rows.copy()
            Q = EntropyNormalizer().transform(rows)
            Q = Q if isinstance(Q, np.ndarray) else Q.toarray()
            np.testing.assert_array_equal(Q[[0, 2]], [[0, 0, 0, 0], [0, 0, 1, 0]])
            np.testing.assert_allclose(Q[1], kexue.entropy_normalize(X[1], np.log(2)), rtol=1e-12)
            assert (given_rows != rows).sum() == 0
        np.testing.assert_array_equal(EntropyNormalizer().transform(np.zeros((2, 3))), np.zeros((2, 3)))

    def test_unreachable(self):
        X = [[4.0, 1.0, 0.0, 0.0]]
        np.testing.assert_array_equal(EntropyNormalizer(0.9).transform(X), [[0.5, 0.5, 0, 0]])
        with pytest.raises(KexueValueError, match=r"target = 0.9 is above the largest fraction 0.5 of p"):
            EntropyNormalizer(0.9, on_unreachable="raise").fit(X).transform(X)
        with pytest.raises(ValueError, match="Negative values"):
            EntropyNormalizer().fit([[1.0, -1.0]])
        with pytest.raises(KexueValueError, match="target is 1.5, but a fraction"):
            EntropyNormalizer(1.5).fit(X).transform(X)

    def test_row_out_of_reach_is_named_among_all_rows(self):
        X = np.array([[0.0, 0, 0], [3, 2, 1], [0, 0, 0], [1, 1, 0]])
        for rows in (X, csr_array(X)):
            with pytest.raises(ValueError, match=r"^X\[3\] cannot have the entropy 1"):
                EntropyNormalizer(1.0, target_kind="entropy", on_unreachable="raise").fit_transform(rows)
            reached = EntropyNormalizer(0.5, target_kind="entropy", on_unreachable="raise").fit_transform(rows[:3])
            assert reached.shape == (3, 3)
        with pytest.raises(ValueError, match="on_unreachable"):
            EntropyNormalizer(on_unreachable="x").fit_transform(X[1:2])


class TestRandomProjection:
    KINDS = pytest.mark.parametrize("kind", ["gaussian", "rademacher", "sparse", "srht", "countsketch", "osnap"])

    @KINDS
    @pytest.mark.parametrize("form", [np.asarray, csr_array, csr_matrix, coo_array])
    def test_is_the_function(self, kind, form, dtype, rng):
        X = (rng.normal(size=(20, 50)) * (rng.random((20, 50)) < 0.3)).astype(dtype)
        expected = kexue.random_projection(X, 7, kind=kind, rng=5)
        for n_jobs in (None, 1, 2, -1, -2):
            model = RandomProjection(7, kind=kind, random_state=5, n_jobs=n_jobs).fit(form(X))
            Y = model.transform(form(X))
            assert isinstance(Y, np.ndarray) and Y.dtype == dtype
            np.testing.assert_allclose(Y, expected, atol=1e-12 if dtype == np.float64 else 1e-4)
        assert model.n_components_ == 7
        assert issparse(model.components_) == (kind in ("sparse", "countsketch", "osnap"))
        np.testing.assert_allclose(X @ model.components_.T, expected, atol=1e-12 if dtype == np.float64 else 1e-4)

    @KINDS
    @pytest.mark.parametrize("n", [7, 60])
    def test_inverse(self, kind, n, dtype, rng):
        X = rng.normal(size=(20, 50)).astype(dtype)
        models = [
            RandomProjection(n, kind=kind, random_state=0, compute_inverse_components=stored).fit(X)
            for stored in (False, True)
        ]
        assert not hasattr(models[0], "inverse_components_")
        assert models[1].inverse_components_.shape == (50, n)
        Y = models[0].transform(X)
        back = [model.inverse_transform(Y) for model in models]
        assert back[0].dtype == back[1].dtype == dtype
        tolerance = 1e-8 if dtype == np.float64 else 1e-3
        np.testing.assert_allclose(back[0], back[1], atol=tolerance)
        np.testing.assert_allclose(models[0].transform(back[0]), Y, atol=tolerance)
        for model in models:
            with pytest.raises(KexueValueError, match=f"^X has {n - 1} columns, but the projection has {n} comp"):
                model.inverse_transform(Y[:, :-1])
        models[1].set_params(compute_inverse_components=False).fit(X)
        assert not hasattr(models[1], "inverse_components_")

    def test_automatic_dimension(self, rng):
        X = rng.normal(size=(30, 900))
        assert RandomProjection(eps=0.4).fit(X).n_components_ == kexue.jl_min_dim(30, 0.4) < 900
        with pytest.warns(DataDimensionalityWarning, match=r'"auto" is \d+ for 30 rows and eps=0.1, more than the 900'):
            assert RandomProjection().fit(X).n_components_ == 900

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"n_components": 0}, KexueValueError, "n_components must be at least 1"),
            ({"n_components": 1.5}, TypeError, "n_components must be an integer"),
            ({"n_components": "all"}, KexueValueError, 'n_components must be an integer or "auto"'),
            ({"eps": 2.0}, KexueValueError, "eps"),
            ({"n_components": 2, "kind": "normal"}, KexueValueError, "kind must be one of"),
            ({"n_components": 9, "kind": "srht"}, KexueValueError, "n_components must be at most 4"),
            ({"n_components": 2, "density": 0.5}, KexueValueError, "density is for kind='sparse'"),
        ],
    )
    def test_errors(self, options, error, message):
        with pytest.raises(error, match=message):
            RandomProjection(**options).fit(np.ones((5, 4)))

    @pytest.mark.parametrize("Estimator", [partial(RandomProjection, 2), EntropyNormalizer])
    @pytest.mark.parametrize(
        ("n_jobs", "error", "message"),
        [
            (0, KexueValueError, "n_jobs must be at least 1, or negative .*, got 0"),
            ("all", TypeError, "n_jobs must be an integer or None, not str"),
            (1.5, TypeError, "n_jobs must be an integer or None, not float"),
            (True, TypeError, "n_jobs must be an integer or None, not bool"),
        ],
    )
    def test_bad_n_jobs(self, Estimator, n_jobs, error, message):
        with pytest.raises(error, match=message):
            Estimator(n_jobs=n_jobs).fit_transform(np.ones((5, 4)))

    def test_not_fitted(self):
        with pytest.raises(NotFittedError):
            RandomProjection(2).inverse_transform([[1.0, 2.0]])
        assert not hasattr(RandomProjection(2), "components_")

    def test_a_generator_is_its_seed(self, rng):
        X = rng.normal(size=(5, 20))
        generators = (np.random.default_rng(1), 1)
        first, second = (RandomProjection(3, random_state=state).fit_transform(X) for state in generators)
        np.testing.assert_array_equal(first, second)

    def test_pipeline(self):
        project = RandomProjection(300, kind="osnap", random_state=0)
        models = [make_pipeline(TfidfVectorizer(), *steps, KNeighborsClassifier(3)) for steps in ([], [project])]
        scores = [cross_val_score(model, TEXTS, TOPICS, cv=3).mean() for model in models]
        assert scores[0] > 0.8
        assert scores[1] > scores[0] - 0.05
