"""Losses with their gradients, correlations and cosines beside torch, SciPy and NumPy."""

import pytest
import workloads_losses as workloads
from cases import DTYPES, sides


@sides("kexue", "torch sort", "torch cumsum", "torch N^2", "NumPy by hand")
@DTYPES
@pytest.mark.parametrize("labels", ["26 values", "distinct"])
def bench_cosent_loss(measure, labels, dtype, side):
    measure(workloads.cosent_loss(2048, dtype, labels), side)


@sides("kexue", "torch sort")
@DTYPES
def bench_cosent_embedding_loss(measure, dtype, side):
    measure(workloads.cosent_embedding_loss(2048, 768, dtype), side)


@sides("kexue", "NumPy", "torch")
@DTYPES
def bench_cosine_target_loss(measure, dtype, side):
    measure(workloads.cosine_target_loss(100_000, dtype), side)


@sides("kexue", "NumPy", "torch")
@DTYPES
def bench_sentence_pair_features(measure, dtype, side):
    measure(workloads.sentence_pair_features(4096, 768, dtype), side)


@sides("kexue", "SciPy's spearmanr", "SciPy's rankdata")
@pytest.mark.parametrize("n", [2048, 100_000])
def bench_spearman(measure, n, side):
    measure(workloads.spearman(1, n), side)


@sides("kexue", "SciPy's rankdata")
def bench_spearman_rows(measure, side):
    measure(workloads.spearman(1000, 100), side)


@sides("kexue", "NumPy", "torch")
@DTYPES
@pytest.mark.parametrize("function", ["cosine_pairs", "cosine_pairs_vjp", "l2_normalize", "l2_normalize_vjp"])
def bench_cosine_pairs(measure, function, dtype, side):
    measure(workloads.cosine_pairs(function, 4096, 768, dtype), side)


@sides("kexue", *workloads.ZLPR_PEERS)
@DTYPES
def bench_zlpr_loss(measure, dtype, side):
    measure(workloads.zlpr_loss(4096, 1000, dtype), side)


@sides("kexue", "torch")
@DTYPES
def bench_zlpr_loss_soft(measure, dtype, side):
    measure(workloads.zlpr_loss_soft(4096, 1000, dtype), side)


@sides("kexue", "torch published", "torch dense")
@DTYPES
def bench_zlpr_sparse_loss(measure, dtype, side):
    measure(workloads.zlpr_sparse_loss(4096, 1000, 5, dtype), side)


@sides("kexue", "SciPy", "torch")
@DTYPES
def bench_zlpr_symmetric_kl(measure, dtype, side):
    measure(workloads.zlpr_symmetric_kl(4096, 1000, dtype), side)


@sides("kexue", "torch")
@DTYPES
def bench_pairwise_rank_loss(measure, dtype, side):
    measure(workloads.pairwise_rank_loss(4096, 1000, dtype), side)


@sides("kexue", "SciPy")
@DTYPES
@pytest.mark.parametrize("function", ["zlpr_predict", "zlpr_probability"])
def bench_zlpr_decision(measure, function, dtype, side):
    measure(workloads.zlpr_decision(function, 4096, 1000, dtype), side)


@sides("kexue", "NumPy", "torch")
@DTYPES
@pytest.mark.parametrize(("rows", "n", "k"), [(512, 100, 5), (64, 1000, 20)], ids=["512x100", "64x1000"])
def bench_log_esp(measure, rows, n, k, dtype, side):
    measure(workloads.log_esp(rows, n, k, dtype), side)


@sides("kexue", "torch")
@DTYPES
def bench_log_esp_grad(measure, dtype, side):
    measure(workloads.log_esp(512, 100, 5, dtype, grad=True), side)


@sides("kexue", "torch")
@DTYPES
def bench_combinatorial_softmax_loss(measure, dtype, side):
    measure(workloads.combinatorial_softmax_loss(512, 100, 5, dtype), side)


@sides("kexue", "NumPy")
def bench_combinatorial_predict(measure, side):
    measure(workloads.combinatorial_predict(4096, 1000, 5), side)


@sides("kexue", "torch")
@DTYPES
@pytest.mark.parametrize("symmetric", [False, True], ids=["one way", "symmetric"])
def bench_info_nce_loss(measure, symmetric, dtype, side):
    measure(workloads.info_nce_loss(1024, dtype, symmetric=symmetric), side)


@sides("kexue", "torch")
@DTYPES
def bench_r_drop_loss(measure, dtype, side):
    measure(workloads.r_drop_loss(4096, 1000, dtype), side)


@sides("kexue", "torch")
@DTYPES
def bench_softmax_symmetric_kl(measure, dtype, side):
    measure(workloads.softmax_symmetric_kl(4096, 1000, dtype), side)
