"""Projections, Hadamard transforms, hashes, randomized SVD and theory beside scikit-learn, SciPy, faiss and NumPy."""

import pytest
import workloads_projection as workloads
from cases import DTYPES, sides


@sides("kexue", "X @ R.T", "scikit-learn Sparse", "reading X")
@pytest.mark.parametrize("kind", ["srht", "sparse", "osnap", "rademacher"])
def bench_random_projection(measure, kind, side):
    measure(workloads.random_projection(kind), side)


@sides("kexue", "X @ R.T", "scikit-learn Sparse", "SciPy's clarkson_woodruff")
def bench_random_projection_countsketch(measure, side):
    measure(workloads.random_projection("countsketch"), side)


@sides("kexue", "X @ R.T", "scikit-learn Gaussian")
def bench_random_projection_gaussian(measure, side):
    measure(workloads.random_projection("gaussian"), side)


@sides("kexue", "scikit-learn Sparse", "scikit-learn, dense")
@pytest.mark.parametrize("kind", ["osnap", "countsketch", "sparse"])
def bench_random_projection_csr(measure, kind, side):
    measure(workloads.random_projection_csr(kind), side)


@sides("kexue", "NumPy butterfly", "NumPy in blocks", "NumPy in place", "NumPy Kronecker", "a copy")
@DTYPES
@pytest.mark.parametrize("count", [64, 4096])
def bench_fwht(measure, count, dtype, side):
    measure(workloads.fwht(count, dtype=dtype), side)


@sides("kexue", "NumPy's pad")
def bench_pad_to_power_of_two(measure, side):
    measure(workloads.pad_to_power_of_two(), side)


@sides("kexue", "faiss", "NumPy")
@pytest.mark.parametrize("queries", [1, 64])
def bench_hamming_neighbors(measure, queries, side):
    measure(workloads.hamming_neighbors(queries=queries), side)


@sides("kexue", "NumPy")
def bench_hamming_distances(measure, side):
    measure(workloads.hamming_distances(), side)


@sides("kexue", "NumPy", "faiss")
@pytest.mark.parametrize("kind", ["gaussian", "srht"])
def bench_sign_hash(measure, kind, side):
    measure(workloads.sign_hash(kind), side)


@sides("kexue", "NumPy")
@pytest.mark.parametrize("function", ["angle_from_hamming", "cosine_from_hamming"])
def bench_from_hamming(measure, function, side):
    measure(workloads.from_hamming(function), side)


@sides("kexue", "scikit-learn")
@pytest.mark.parametrize("spectrum", ["1/i", "exp(-i/20)", "1/sqrt(i)", "flat"])
def bench_randomized_svd(measure, spectrum, side):
    measure(workloads.randomized_svd(spectrum), side)


@sides("kexue", "SciPy's beta")
@pytest.mark.parametrize("method", ["pdf", "cdf", "ppf"])
@pytest.mark.parametrize("n", [100, 10_000])
def bench_random_angle(measure, n, method, side):
    measure(workloads.random_angle(method, n), side)


@sides("kexue", "normal vectors", "SciPy's beta")
def bench_random_angle_rvs(measure, side):
    measure(workloads.random_angle("rvs", 100), side)


@sides("kexue", "SciPy's chi2")
def bench_norm_concentration_bound(measure, side):
    measure(workloads.norm_concentration_bound(), side)


@sides("kexue", "NumPy")
def bench_inner_product_bound(measure, side):
    measure(workloads.inner_product_bound(), side)


@sides("kexue", "SciPy's chi2")
def bench_jl_success_probability(measure, side):
    measure(workloads.jl_success_probability(), side)


@pytest.mark.parametrize(
    ("rule", "side"),
    [
        (rule, side)
        for rule, peer in (("exact", "SciPy's chi2"), ("dasgupta-gupta", "scikit-learn"))
        for side in ("kexue", peer)
    ],
)
def bench_jl_min_dim(measure, rule, side):
    measure(workloads.jl_min_dim(rule), side)


@sides("kexue", "SciPy's ive")
@pytest.mark.parametrize("function", ["embedding_dim", "attention_head_dim"])
def bench_embedding_dim(measure, function, side):
    measure(workloads.embedding_dim(function), side)


@sides("kexue", "X @ R.T")
@pytest.mark.parametrize("kind", ["gaussian", "srht", "osnap"])
def bench_RandomProjectionMap(measure, kind, side):
    measure(workloads.projection_map(kind), side)


@sides("kexue", "NumPy")
def bench_SignHash_transform(measure, side):
    measure(workloads.hashing(), side)


@sides("kexue", "NumPy", "scikit-learn", "faiss")
def bench_SignHashIndex_kneighbors(measure, side):
    measure(workloads.sign_hash_index(), side)
