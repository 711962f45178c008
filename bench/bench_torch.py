"""kexue.torch beside what torch computes by itself, forward and backward, and POT's emd2 with torch's tensors."""

import pytest
import workloads_torch as workloads
from cases import DTYPES, sides


@sides("kexue", "torch")
@DTYPES
@pytest.mark.parametrize("n", [1000, 1_000_000])
def bench_torch_squareplus(measure, n, dtype, side):
    measure(workloads.squareplus(n, dtype), side)


@sides("kexue", "kexue on arrays", "torch sort", "torch N^2")
@DTYPES
def bench_torch_cosent_loss(measure, dtype, side):
    measure(workloads.cosent_loss(2048, dtype), side)


@sides("kexue", "kexue on arrays", "torch published", "torch masked")
@DTYPES
def bench_torch_zlpr_loss(measure, dtype, side):
    measure(workloads.zlpr_loss(4096, 1000, dtype), side)


@sides("kexue", "POT")
@pytest.mark.parametrize(("m", "n"), [(20, 30), (100, 100), (500, 500)])
def bench_torch_emd2(measure, m, n, side):
    measure(workloads.emd2(m, n), side)


@sides("kexue", "torch unrolled")
def bench_torch_sinkhorn2(measure, side):
    measure(workloads.sinkhorn2(100, 120), side)


@sides("kexue", "torch around POT")
def bench_torch_wmd(measure, side):
    measure(workloads.wmd(20, 30, 100), side)


@sides("kexue", "torch around POT")
def bench_torch_wrd(measure, side):
    measure(workloads.wrd(20, 30, 100), side)


@sides("kexue", "kexue on arrays", "torch sort")
@DTYPES
def bench_torch_cosent_embedding_loss(measure, dtype, side):
    measure(workloads.cosent_embedding_loss(512, 768, dtype), side)


@sides("kexue", "kexue on arrays", "torch published", "torch dense")
@DTYPES
def bench_torch_zlpr_sparse_loss(measure, dtype, side):
    measure(workloads.zlpr_sparse_loss(1024, 1000, 5, dtype), side)


@sides("kexue", "kexue on arrays", "torch")
@DTYPES
def bench_torch_combinatorial_softmax_loss(measure, dtype, side):
    measure(workloads.combinatorial_softmax_loss(512, 100, 5, dtype), side)


@sides("kexue", "kexue on arrays", "torch")
@DTYPES
def bench_torch_info_nce_loss(measure, dtype, side):
    measure(workloads.info_nce_loss(1024, dtype), side)


@sides("kexue", "kexue on arrays", "torch")
@DTYPES
def bench_torch_r_drop_loss(measure, dtype, side):
    measure(workloads.r_drop_loss(1024, 1000, dtype), side)


@sides("kexue", "torch Newton")
@pytest.mark.parametrize("function", ["entropy_normalize", "entropy_normalize_logits"], ids="torch.{}".format)
def bench_torch_normalized(measure, function, side):
    measure(workloads.entropy_normalize(function, 10_000, 100), side)


@sides("kexue", "torch")
def bench_torch_hsic(measure, side):
    measure(workloads.hsic(1000, 50), side)
