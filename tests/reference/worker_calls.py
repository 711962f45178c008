"""Calls of every public function with `workers` that are large enough for several threads, in either precision.

CALLS maps a name to a function that takes a dtype and maybe `workers=`, and returns the result. Before a slash stands
the function or the method, behind it which of its ways is meant, where it has several. Each is made of several chunks,
which test_workers.py sees from the threads that it starts.
"""

import dataclasses

import numpy as np

import kexue

CALLS = {}
# Products of whole matrices, whose threads are those of BLAS.
WITHOUT_THREADS = {"cka/features", "cka_matrix/features", "random_projection/gaussian", "sign_hash/gaussian"}


def _case(name):
    def keep(function):
        CALLS[name] = function
        return function

    return keep


class _Draws:
    """Numbers in one precision, the same ones for a call whenever it is made."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.rng = np.random.default_rng(20211229)

    def normal(self, *shape):
        return self.rng.normal(size=shape).astype(self.dtype)

    def positive(self, *shape):
        return (self.rng.random(shape) + 0.1).astype(self.dtype)

    def weights(self, *shape):
        weights = self.rng.random(shape) + 0.1
        return (weights / weights.sum(axis=-1, keepdims=True)).astype(self.dtype)

    def labels(self, *shape):
        labels = self.rng.random(shape) < 0.2
        labels[..., 0] = True
        return labels.astype(self.dtype)


def _function(name, arguments, **options):
    """A call of `kexue.<name>`; `arguments` makes them of the draws, the last one maybe a dict of keywords."""
    function = getattr(kexue, name.partition("/")[0])

    @_case(name)
    def call(dtype, **workers):
        args = arguments(_Draws(dtype))
        if isinstance(args[-1], dict):
            return function(*args[:-1], **args[-1], **options, **workers)
        return function(*args, **options, **workers)


# ---- transport ----

_function("emd", lambda d: (d.weights(40, 24), d.weights(40, 30), d.positive(40, 24, 30)))
_function("emd2", lambda d: (d.weights(40, 24), d.weights(40, 30), d.positive(40, 24, 30)), log=True)
_function("emd_1d", lambda d: (d.normal(40, 300), d.normal(40, 200)))
_function("emd2_1d", lambda d: (d.normal(40, 300), d.normal(40, 200), d.weights(40, 300), d.weights(40, 200)))
_function("solve", lambda d: (d.positive(40, 24, 30), d.weights(40, 24), d.weights(40, 30)))
_function("transport_lower_bound", lambda d: (d.weights(80, 40), d.weights(80, 50), d.positive(80, 40, 50)))
for _name in ("sinkhorn", "sinkhorn2"):
    _function(f"{_name}/many", lambda d: (d.weights(30, 24), d.weights(30, 30), d.positive(30, 24, 30), 0.1))
    # Fewer problems than workers, whose passes are then shared among them.
    _function(f"{_name}/one", lambda d: (d.weights(800), d.weights(700), d.positive(800, 700), 0.1), tol=1e-3)
_function("sinkhorn_divergence", lambda d: (d.normal(800, 3), d.normal(700, 3), 1.0), tol=1e-3)
_function("sinkhorn_barycenter", lambda d: (d.weights(12, 300), d.positive(300, 300), 0.2), tol=1e-5)
_function("solve/regularised", lambda d: (d.positive(30, 24, 30), d.weights(30, 24), d.weights(30, 30), 0.1))


# ---- documents ----


def _documents(d, n=60):
    counts = (d.rng.random((n, 200)) < 0.06).astype(float)
    counts[:, 0] = 1
    return counts, d.normal(200, 16)


def _pairwise(metric, n=60, **options):
    def arguments(d):
        counts, vectors = _documents(d, n)
        return counts, {"vectors": vectors}

    _function(f"pairwise_distances/{metric}", arguments, metric=metric, **options)


for _metric in ("wmd", "wrd", "rwmd"):
    _pairwise(_metric)
_pairwise("wcd", 400)
_pairwise("sinkhorn", reg=0.5, tol=1e-5)


def _index(dtype, metric):
    d = _Draws(dtype)
    counts, vectors = _documents(d, 400)
    return kexue.DocumentIndex(vectors, metric).fit(counts), counts[:8]


@_case("DocumentIndex.kneighbors/wmd")
def _(dtype, **workers):
    index, queries = _index(dtype, "wmd")
    return index.kneighbors(queries, 5, **workers)


@_case("DocumentIndex.kneighbors/wrd")
def _(dtype, **workers):
    index, queries = _index(dtype, "wrd")
    return index.kneighbors(queries, 5, **workers)


@_case("DocumentIndex.radius_neighbors")
def _(dtype, **workers):
    index, queries = _index(dtype, "wmd")
    distances, found = index.radius_neighbors(queries, 3.5, **workers)
    assert sum(map(len, found)) > len(queries)
    return list(distances), list(found)


@_case("DocumentIndex.search")
def _(dtype, **workers):
    index, queries = _index(dtype, "wmd")
    return index.search(queries, 3, **workers)


# ---- entropy ----

_function("entropy_normalize", lambda d: (d.weights(3000, 32), 2.5), log=True)
_function("entropy_normalize_logits", lambda d: (d.normal(3000, 32), 2.5), log=True)
_function("entropy_normalize_vjp", lambda d: (d.weights(3000, 32), 2.5, d.normal(3000, 32)))
_function("entropy_normalize_logits_vjp", lambda d: (d.normal(3000, 32), 2.5, d.normal(3000, 32)))
_function("temperature_for_entropy", lambda d: (d.normal(3000, 32), 2.5))
_function("perplexity_affinities", lambda d: (np.square(d.normal(300, 1) - d.normal(300)), 20.0))

# ---- independence ----


def _two(d):
    X = d.normal(400, 12)
    return X, (np.square(X[:, :8]) + d.normal(400, 8)).astype(d.dtype)


def _blocks(d):
    return tuple(np.concatenate(parts) for parts in zip(_two(d), _two(d), strict=True))


_function("cka/features", _two)
for _name in ("hsic", "normalized_hsic", "hsic_gradient"):
    _function(_name, _two)
_function("hsic/unbiased", _two, estimator="unbiased", kernel="laplace")
_function("cka/kernel", _two, kernel="rbf")
_function("hsic_block", _blocks, block_size=400, bandwidth=1.0)
_function("hsic_streaming", _blocks, block_rows=400)
_function("hsic_random_features", _two, n_features=512, rng=0)
_function("hsic_test", _two, n_permutations=40, rng=0)
_function("hsic_test/gamma", _two, method="gamma")
_function("cka_matrix/features", lambda d: ([*_two(d), d.normal(400, 30)],))
_function("cka_matrix/kernel", lambda d: ([*_two(d), d.normal(400, 30)],), kernel="rbf")
_function("median_bandwidth", lambda d: (d.normal(400, 12),))
_function("rbf_kernel", lambda d: (d.normal(400, 12), d.normal(300, 12)), bandwidth=1.5)
_function("rbf_kernel/symmetric", lambda d: (d.normal(400, 12),))
_function("laplace_kernel", lambda d: (d.normal(400, 12), d.normal(300, 12)), bandwidth=1.5)
_function("linear_kernel", lambda d: (d.normal(400, 12), d.normal(300, 12)))
_function("polynomial_kernel", lambda d: (d.normal(400, 12), d.normal(300, 12)))


def _sums(sums):
    return {field.name: getattr(sums, field.name) for field in dataclasses.fields(sums)}


@_case("HSICSums.within")
def _(dtype, **workers):
    return _sums(kexue.HSICSums.within(*_two(_Draws(dtype)), bandwidth=1.0, **workers))


@_case("HSICSums.between")
def _(dtype, **workers):
    d = _Draws(dtype)
    return _sums(kexue.HSICSums.between(*_two(d), *_two(d), bandwidth=1.0, **workers))


# ---- projection ----

for _kind in ("gaussian", "rademacher", "sparse", "srht", "countsketch", "osnap"):
    _function(f"random_projection/{_kind}", lambda d: (d.normal(3000, 500), 64), kind=_kind, rng=0)
_function("sign_hash/gaussian", lambda d: (d.normal(1500, 400), 256), rng=0)
_function("sign_hash/srht", lambda d: (d.normal(3000, 400), 256), kind="srht", rng=0)
_function("hamming_distances", lambda d: (_codes(d, 700), _codes(d, 900)))
_function("hamming_neighbors/segments", lambda d: (_codes(d, 10), _codes(d, 70000), 5))
_function("hamming_neighbors/tiles", lambda d: (_codes(d, 400), _codes(d, 3000), 5))


def _codes(d, n):
    return d.rng.integers(0, 2**63, size=(n, 4), dtype=np.uint64)


@_case("RandomProjectionMap.__call__")
def _(dtype, **workers):
    return _projection(300).__call__(_Draws(dtype).normal(2000, 300), **workers)


@_case("RandomProjectionMap.adjoint")
def _(dtype, **workers):
    return _projection(300).adjoint(_Draws(dtype).normal(2000, 64), **workers)


@_case("RandomProjectionMap.inverse")
def _(dtype, **workers):
    return _projection(300).inverse(_Draws(dtype).normal(2000, 64), **workers)


def _projection(n_features):
    return kexue.RandomProjectionMap.draw(n_features, 64, kind="rademacher", rng=0)


@_case("SignHash.project")
def _(dtype, **workers):
    return kexue.SignHash(400, 256, kind="srht", rng=0).project(_Draws(dtype).normal(3000, 400), **workers)


@_case("SignHash.transform")
def _(dtype, **workers):
    return kexue.SignHash(400, 256, kind="srht", rng=0).transform(_Draws(dtype).normal(3000, 400), **workers)


def _sign_index(dtype, **workers):
    X = _Draws(dtype).normal(10000, 64)
    index = kexue.SignHashIndex(256, kind="srht", rng=0).fit(X[:5000], **workers)
    return index.add(X[5000:], **workers), X[::40]


@_case("SignHashIndex.fit")
def _(dtype, **workers):
    index, queries = _sign_index(dtype, **workers)
    return index.kneighbors(queries, 5, workers=1)


@_case("SignHashIndex.add")
def _(dtype, **workers):
    index, queries = _sign_index(dtype, **workers)
    return index.kneighbors(queries, 5, method="probe", workers=1)


@_case("SignHashIndex.kneighbors")
def _(dtype, **workers):
    index, queries = _sign_index(dtype, workers=1)
    return index.kneighbors(queries, 5, **workers)


# ---- losses ----

_function("combinatorial_softmax_loss", lambda d: (d.normal(2000, 24), d.labels(2000, 24)), return_grad=True)
_function("log_esp", lambda d: (d.normal(3000, 24), 3), return_grad=True)
_function("cosent_loss", lambda d: (np.tanh(d.normal(600, 64)), d.rng.integers(0, 5, (600, 64))), return_grad=True)
_function(
    "cosent_embedding_loss",
    lambda d: (d.normal(60, 300, 16), d.normal(60, 300, 16), d.rng.integers(0, 5, (60, 300))),
    return_grad=True,
)
_function("info_nce_loss/many", lambda d: (d.normal(60, 64, 64),), return_grad=True)
_function("info_nce_loss/one", lambda d: (d.normal(500, 500),), return_grad=True, symmetric=True)
_function("pairwise_rank_loss", lambda d: (d.normal(2000, 64), d.labels(2000, 64)), return_grad=True)
_function("r_drop_loss", lambda d: (*d.normal(2, 3000, 32), d.rng.integers(0, 32, 3000)), return_grad=True)
_function("softmax_symmetric_kl", lambda d: (d.normal(3000, 32), d.normal(3000, 32)), return_grad=True)
_function("spearman", lambda d: (d.normal(600, 100), d.normal(600, 100)))
_function("zlpr_loss", lambda d: (d.normal(3000, 64), d.labels(3000, 64)), return_grad=True)
_function("zlpr_symmetric_kl", lambda d: (d.normal(3000, 32), d.normal(3000, 32)), return_grad=True)
_function(
    "zlpr_sparse_loss",
    lambda d: (d.normal(3000, 64), [[i % 64, (i + 7) % 64] for i in range(3000)]),
    return_grad=True,
)

# ---- classification ----

_function("can", lambda d: (d.weights(20000, 12), d.weights(12)), threshold=0.5, iterations=2)
_function("topk_entropy", lambda d: (d.weights(20000, 12), 3))

# ---- attention ----


def _heads(d):
    return tuple(d.normal(4, 300, 32) for _ in range(3))


_function("attention", _heads, return_entropy=True)
_function("attention/causal", _heads, causal=True)
_function("attention_vjp", lambda d: (*_heads(d), d.normal(4, 300, 32)), return_grad_scale=True)
_function("talking_heads_attention", lambda d: (*_heads(d), d.normal(4, 4), d.normal(4, 4)))
_function(
    "talking_heads_attention_vjp",
    lambda d: (*(d.normal(3, 4, 100, 32) for _ in range(3)), *d.normal(2, 4, 4), d.normal(3, 4, 100, 32)),
)


def _features(d):
    return tuple(d.positive(16, 600, 32) for _ in range(3))


_function("linear_attention", _features)
_function("linear_attention/causal", _features, causal=True)
_function("linear_attention_vjp", lambda d: (*_features(d), d.normal(16, 600, 32)))
_function("linear_attention_vjp/causal", lambda d: (*_features(d), d.normal(16, 600, 32)), causal=True)
_function("favor_attention", lambda d: (*(d.normal(16, 600, 32) for _ in range(3)), d.normal(64, 32)))
_function("taylor_features", lambda d: (d.normal(1000, 20), 2))
_function("expdef_features", lambda d: (d.normal(1000, 20), 2))

# ---- recurrent ----

for _kind, _gates, _states in (("simple_rnn", 1, 1), ("gru", 3, 1), ("lstm", 4, 2)):

    def _cell(d, gates=_gates, states=_states, steps=20):
        width = (16, gates * 24), (24, gates * 24), (gates * 24,)
        return [0.2 * d.normal(*shape) for shape in width], [d.normal(96, 24) for _ in range(states)]

    def _sequence(d, cell=_cell):
        weights, states = cell(d)
        return (d.normal(96, 20, 16), *weights, *states)

    def _step(d, cell=_cell):
        weights, states = cell(d)
        return (d.normal(96, 16), *states, *weights)

    def _gradient(d, sequence=_sequence):
        return (*sequence(d), d.normal(96, 20, 24))

    _function(_kind, _sequence)
    _function(f"{_kind}_cell", _step)
    _function(f"{_kind}_vjp", _gradient)

# ---- initialization, gradients ----

_function("layer_norm_vjp", lambda d: (d.normal(2000, 64), d.normal(2000, 64), d.normal(64)))
_function("rms_norm_vjp", lambda d: (d.normal(2000, 64), d.normal(2000, 64), d.normal(64)))
_function("clip_by_norm", lambda d: (d.normal(400_000), 0.5), return_norm=True)
_function("clip_global_norm", lambda d: ([d.normal(300_000), d.normal(700, 200)], 0.5))
_function("childtuning_gradient", lambda d: (d.normal(300_000), 0.5), rng=0)
_function("update_dropout", lambda d: (d.normal(300_000), 0.5), rng=0)


@_case("ChildTuningAdamW")
def _(dtype, **workers):
    d = _Draws(dtype)
    weight = d.normal(300_000)
    optimizer = kexue.ChildTuningAdamW(weight, p=0.5, rng=0, **workers)
    optimizer.step(d.normal(300_000))
    optimizer.step(d.normal(300_000))
    return weight
