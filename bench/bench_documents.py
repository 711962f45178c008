"""Document distances beside gensim, and beside SciPy's distances with POT's solver in a loop."""

import pytest
import workloads
import workloads_word_vectors
from cases import sides

VOCABULARIES = pytest.mark.parametrize(
    ("vocabulary", "frequencies"),
    [(5000, "uniform"), (5000, "Zipf"), (200_000, "uniform")],
    ids=["5000-uniform", "5000-Zipf", "200000-uniform"],
)


@sides("kexue", "gensim", "POT and SciPy")
@VOCABULARIES
@pytest.mark.parametrize("workers", [1, 2], ids="workers={}".format)
def bench_pairwise_distances_wmd(measure, workers, vocabulary, frequencies, side):
    measure(workloads.pairwise_distances("wmd", vocabulary, frequencies, workers=workers), side)


@pytest.mark.parametrize(
    ("metric", "side"),
    [
        (metric, side)
        for metric, peer in (("wrd", "POT and SciPy"), ("rwmd", "SciPy"), ("wcd", "scikit-learn"))
        for side in ("kexue", peer)
    ],
)
def bench_pairwise_distances(measure, metric, side):
    measure(workloads.pairwise_distances(metric, 5000, "uniform"), side)


@sides("kexue", "POT and SciPy")
def bench_wmd(measure, side):
    measure(workloads.one_pair("wmd"), side)


@sides("kexue", "POT and SciPy")
def bench_wrd(measure, side):
    measure(workloads.one_pair("wrd"), side)


@sides("kexue", "SciPy")
def bench_rwmd(measure, side):
    measure(workloads.one_pair("rwmd"), side)


@sides("kexue", "NumPy")
def bench_wcd(measure, side):
    measure(workloads.one_pair("wcd"), side)


@sides("kexue", "gensim", "POT and SciPy")
@pytest.mark.parametrize("workers", [1, 2], ids="workers={}".format)
@pytest.mark.parametrize("words", ["topics", "uniform"])
def bench_DocumentIndex_kneighbors(measure, words, workers, side):
    measure(workloads.nearest_documents(20_000, words, workers=workers), side)


@sides("kexue")
@pytest.mark.parametrize("count", [20_000, 100_000])
def bench_DocumentIndex_fit(measure, count, side):
    measure(workloads.index_build(count), side)


@sides("kexue", "scikit-learn")
def bench_WordVectors_fit(measure, side):
    measure(workloads_word_vectors.fit(2000, 100), side)


@sides("kexue", "scikit-learn")
def bench_WordVectors_count_matrix(measure, side):
    measure(workloads_word_vectors.count_matrix(2000), side)


@sides("kexue", "gensim")
@pytest.mark.parametrize("form", ["bin", "txt"])
def bench_WordVectors_load(measure, form, side):
    measure(workloads_word_vectors.load(20_000, 100, form), side)
