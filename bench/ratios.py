"""How many times faster than its peers kexue is: all that is promised, in one run.

    python bench/ratios.py [--quick] [--only TEXT] [--json FILE [--resume]]

pytest-benchmark measures one side for some seconds and then the next, and on a machine that others share
the clock, the cache and the memory are not the same by then. Here the sides of a workload take turns: every
round measures each side once, forwards and backwards by turns, so what disturbs a round disturbs both sides
of its ratio. The table gives the median of the rounds' ratios and the ratio of the least times; a line is
met when both are at least what is required. The exit status is 1 if one is missed.

The JSON is written after every workload, and --resume goes on where a run on the same machine, with the same versions,
ended. bench/report.py makes the tables and plots of it.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import workloads
import workloads_activations
import workloads_attention
import workloads_beam_search
import workloads_child_tuning
import workloads_classification
import workloads_clipping
import workloads_decoding
import workloads_density
import workloads_entropy
import workloads_expressions
import workloads_gaussians
import workloads_gradient_normalization
import workloads_gradients
import workloads_independence
import workloads_initialization
import workloads_layer_norm
import workloads_losses
import workloads_optimization
import workloads_penalties
import workloads_projection
import workloads_torch
from report import Line, ReportError, family_of, measured_before, told, write_text
from workloads import Workload, machine, pinned_threads


@dataclass(frozen=True)
class Goal:
    """What the project promises against a peer, and what its prototype showed to be possible."""

    required: float | None = None
    target: float | None = None


# Seconds for the rounds of a workload, of which there are three at least.
LONGEST = 60.0

ACTIVATIONS = ("softplus", "swish", "gelu", "gelu_tanh", "exp_taylor")

# A workload, and the goals of its peers; a peer without goals is there to be seen.
LINES: list[tuple[partial[Workload], dict[str, Goal]]] = [
    (partial(workloads.emd2_batch, 5, 7, "random"), {"POT": Goal(target=100), "POT's C++": Goal(target=8)}),
    (partial(workloads.emd2_batch, 10, 15, "random"), {"POT": Goal(target=60), "POT's C++": Goal(target=10)}),
    (partial(workloads.emd2_batch, 20, 30, "random"), {"POT": Goal(25, 30), "POT's C++": Goal(target=11)}),
    (partial(workloads.emd2_batch, 20, 30, "plane"), {"POT": Goal(25, 30), "POT's C++": Goal(target=11)}),
    (partial(workloads.emd2_batch, 50, 60, "random"), {"POT": Goal(target=12), "POT's C++": Goal(target=9)}),
    (partial(workloads.emd2, 5, 7, "random"), {"POT": Goal()}),
    (partial(workloads.emd2, 10, 15, "random"), {"POT": Goal()}),
    (partial(workloads.emd2, 20, 30, "random"), {"POT": Goal(required=8)}),
    (partial(workloads.emd2, 20, 30, "plane"), {"POT": Goal(required=8)}),
    (partial(workloads.emd2, 50, 60, "random"), {"POT": Goal(target=12)}),
    (partial(workloads.emd2, 100, 100, "random"), {"POT": Goal(target=9), "POT's C++": Goal(target=8)}),
    (partial(workloads.emd2, 500, 500, "random"), {"POT": Goal(target=9)}),
    (partial(workloads.emd2, 1000, 1000, "random"), {"POT": Goal(7, 10)}),
    (partial(workloads.emd2, 1000, 1000, "plane"), {"POT": Goal(7, 10)}),
    (partial(workloads.emd2, 2000, 2000, "random"), {"POT": Goal(target=10)}),
    (partial(workloads.emd2, 2000, 2000, "plane"), {"POT": Goal(target=10)}),
    *(
        (
            partial(workloads.emd2_uniform, n, "random"),
            {"POT": Goal(), "POT's C++": Goal(target=14), "SciPy's assignment": Goal()},
        )
        for n in (32, 64)
    ),
    *(
        (partial(workloads.sinkhorn, 30, costs, reg), {"POT": goal, "POT's solve_batch": Goal()})
        for reg, goal in ((0.1, Goal(120, 250)), (0.01, Goal(120)))
        for costs in ("random", "plane", "clustered")
    ),
    (partial(workloads.sinkhorn, 200, "clustered", 0.01), {"POT": Goal(50, 100)}),
    (partial(workloads.sinkhorn, 1000, "clustered", 0.1), {"POT": Goal(12, 30)}),
    (partial(workloads.sinkhorn, 1000, "clustered", 0.01), {"POT": Goal(30, 65)}),
    (partial(workloads.sinkhorn, 1000, "typical", 0.01), {"POT": Goal()}),
    (partial(workloads.sinkhorn, 1000, "plane", 0.01), {"POT": Goal(target=6)}),
    (partial(workloads.sinkhorn, 300, "apart", 0.001), {"POT's sinkhorn_log": Goal(required=15)}),
    *(
        (
            partial(workloads.pairwise_distances, "wmd", *words, workers=workers),
            {"gensim": Goal(required, target), "POT and SciPy": Goal()},
        )
        for words, workers, required, target in (
            ((5000, "uniform"), 1, 60, 80),
            ((5000, "uniform"), 2, 110, 160),
            ((5000, "Zipf"), 1, 60, 80),
            ((5000, "Zipf"), 2, 110, 160),
            ((200_000, "uniform"), 1, None, 70),
            ((200_000, "uniform"), 2, None, 140),
        )
    ),
    *(
        (
            partial(workloads.nearest_documents, count, words, workers=workers),
            {"gensim": Goal(*goals), "POT and SciPy": Goal(), "kexue's own scan": Goal()},
        )
        for count, words, workers, goals in (
            (20_000, "topics", 1, (1500, 3000)),
            (20_000, "topics", 2, (2700, 5500)),
            (20_000, "uniform", 1, (1500, 3000)),
            (20_000, "uniform", 2, (2700, 5500)),
            (100_000, "topics", 1, ()),
        )
    ),
    (partial(workloads.one_pair, "wmd"), {"POT and SciPy": Goal()}),
    *(
        (partial(workloads_activations.activation, "squareplus", dtype), {"NumPy expression": goal})
        for dtype, goal in (("float64", Goal(12, 15)), ("float32", Goal(7, 8)))
    ),
    *(
        (
            partial(workloads_activations.squareplus_into, dtype),
            {"NumPy expression": goal, "NumPy out=": Goal(), "a copy": copy},
        )
        for dtype, goal, copy in (
            ("float64", Goal(12, 15), Goal()),
            ("float32", Goal(7, 8), Goal(required=1 / 1.35)),
        )
    ),
    (
        partial(workloads_activations.squareplus_small, 1),
        {"NumPy expression": Goal(3.5, 12), "an addition": Goal()},
    ),
    *((partial(workloads_activations.squareplus_small, n), {"NumPy expression": Goal()}) for n in (10, 100, 1000)),
    *(
        (
            partial(workloads_activations.activation, name, dtype, 10**6),
            {"NumPy expression": Goal(), **({"torch": Goal()} if name in workloads_activations.IN_TORCH else {})},
        )
        for name in (*ACTIVATIONS, *(f"{name}_grad" for name in ACTIVATIONS))
        for dtype in ("float64", "float32")
    ),
    *(
        (partial(workloads_activations.smoothed, name, kernel, dtype), {"SciPy expression": Goal()})
        for name in ("smooth_relu", "smooth_clip", "smooth_floor")
        for kernel in ("gaussian", "logistic")
        for dtype in ("float64", "float32")
    ),
    *(
        (
            partial(workloads_entropy.softmax, name, *shape, dtype, into=into),
            {"torch": Goal(required=1), "SciPy": Goal()},
        )
        for name in ("softmax", "log_softmax", "logsumexp")
        for shape in ((4096, 1000), (100_000, 10))
        for dtype in ("float64", "float32")
        for into in (False, True)
    ),
    *(
        (partial(workloads_entropy.loss, name, 4096, 1000, dtype), {"torch": Goal(), "NumPy": Goal()})
        for name in ("softmax_loss", "taylor_softmax_loss")
        for dtype in ("float64", "float32")
    ),
    *((partial(workloads_entropy.entropy, 4096, 1000, dtype), {"SciPy": Goal()}) for dtype in ("float64", "float32")),
    *(
        (
            partial(workloads_entropy.entropy_normalize, *shape, dtype, target),
            {
                "scikit-learn": goal,
                "openTSNE": Goal(required=10),
                # The promise is against float64; in float32 torch computes, and stops, in float32 as well.
                "torch Newton": Goal(required=10) if dtype == "float64" else Goal(),
                "SciPy's find_root": Goal(required=10),
            },
        )
        for shape, dtype, perplexity, goal in (
            ((10_000, 10), "float64", 5, Goal(12, 12)),
            ((10_000, 10), "float32", 5, Goal(12, 12)),
            ((10_000, 100), "float64", 30, Goal(18, 20)),
            ((10_000, 100), "float32", 30, Goal(40, 45)),
            ((1000, 5000), "float64", 30, Goal(20, 35)),
            ((1000, 5000), "float32", 30, Goal(20, 35)),
        )
        for target in (perplexity, "half")
    ),
    *(
        (
            partial(workloads_entropy.perplexity_affinities, rows, neighbors, 30, dtype),
            {"scikit-learn": Goal(), "openTSNE": Goal(), "torch Newton": Goal()},
        )
        for rows, neighbors in ((2000, None), (10_000, 90))
        for dtype in ("float64", "float32")
    ),
    *(
        (partial(workloads_independence.hsic, n), {"scikit-learn": goal, **others})
        for n, goal, others in (
            (500, Goal(3.5, 4), {"hyppo": Goal(required=12), "tr(KJLJ)": Goal()}),
            (2000, Goal(4.5, 5), {"tr(KJLJ)": Goal()}),
            (10_000, Goal(10, 12), {}),
        )
    ),
    *((partial(workloads_independence.hsic, n, workers=2), {"scikit-learn": Goal()}) for n in (2000, 10_000)),
    *((partial(workloads_independence.hsic, n, dtype="float32"), {"scikit-learn": Goal()}) for n in (2000, 10_000)),
    (
        partial(workloads_independence.hsic_test, 500),
        {"NumPy's gather": Goal(10, 13), "hyppo": Goal(required=3000)},
    ),
    (partial(workloads_independence.hsic_test, 2000), {"NumPy's gather": Goal(target=15)}),
    (partial(workloads_independence.hsic_test_gamma, 1000), {"NumPy": Goal()}),
    (partial(workloads_independence.hsic_gradient, 1000), {"NumPy": Goal(), "torch": Goal()}),
    *(
        (partial(workloads_independence.hsic_from_kernels, name, 1000), {"NumPy": Goal()})
        for name in ("hsic_from_kernels", "hsic_from_kernels_unbiased")
    ),
    (partial(workloads_independence.normalized_hsic, 500), {"NumPy": Goal()}),
    (partial(workloads_independence.hsic_block, 20_000, 10, 200), {"scikit-learn": Goal()}),
    (
        partial(workloads_independence.hsic_random_features, 20_000, 10, 1024),
        {"NumPy": Goal(), "kexue's hsic": Goal()},
    ),
    (partial(workloads_independence.hsic_streaming, 4000), {"scikit-learn": Goal()}),
    (
        partial(workloads_independence.cka, "linear", 2000, 200),
        {"NumPy, features": Goal(), "NumPy, Gram matrices": Goal()},
    ),
    (partial(workloads_independence.cka, "rbf", 500, 50), {"scikit-learn": Goal(), "hyppo": Goal()}),
    (partial(workloads_independence.cka_matrix, 8, 2000, 128), {"NumPy": Goal()}),
    *(
        (partial(workloads_independence.kernel, name, 1000, dtype=dtype), {"scikit-learn": Goal()})
        for name in ("rbf_kernel", "laplace_kernel", "polynomial_kernel")
        for dtype in ("float64", "float32")
    ),
    (partial(workloads_independence.median_bandwidth, 2000), {"SciPy and NumPy": Goal()}),
    (
        partial(workloads_projection.random_projection, "srht"),
        {"X @ R.T": Goal(18, 25), "scikit-learn Sparse": Goal(35, 45), "reading X": Goal()},
    ),
    (
        partial(workloads_projection.random_projection, "countsketch"),
        {"SciPy's clarkson_woodruff": Goal(80, 120), "X @ R.T": Goal(), "reading X": Goal()},
    ),
    *(
        (
            partial(workloads_projection.random_projection, kind),
            {"X @ R.T": Goal(), "scikit-learn Sparse": Goal()},
        )
        for kind in ("osnap", "sparse", "rademacher")
    ),
    (
        partial(workloads_projection.random_projection, "gaussian"),
        {"X @ R.T": Goal(), "scikit-learn Gaussian": Goal()},
    ),
    *(
        (
            partial(workloads_projection.random_projection_csr, kind),
            {"scikit-learn Sparse": Goal(), "scikit-learn, dense": Goal()},
        )
        for kind in ("osnap", "countsketch", "sparse")
    ),
    *(
        (
            partial(workloads_projection.fwht, count, dtype=dtype),
            {
                "NumPy butterfly": Goal(required=25) if dtype == "float32" else Goal(),
                "NumPy in blocks": Goal(),
                "NumPy in place": Goal(),
                "NumPy Kronecker": Goal(),
                "a copy": Goal(),
            },
        )
        for dtype in ("float32", "float64")
        for count in (64, 4096)
    ),
    (
        partial(workloads_projection.hamming_neighbors),
        {"faiss": Goal(3, 4), "NumPy": Goal()},
    ),
    (partial(workloads_projection.hamming_neighbors, queries=1), {"faiss": Goal()}),
    *(
        (partial(workloads_projection.sign_hash, kind), {"NumPy": Goal(), "faiss": Goal()})
        for kind in ("gaussian", "srht")
    ),
    *(
        (partial(workloads_projection.randomized_svd, spectrum), {"scikit-learn": Goal(2, 4)})
        for spectrum in ("1/i", "exp(-i/20)", "flat")
    ),
    *(
        (partial(workloads_projection.random_angle, method, n), {"SciPy's beta": Goal()})
        for n in (100, 10_000)
        for method in ("pdf", "cdf", "ppf")
    ),
    (
        partial(workloads_projection.random_angle, "rvs", 100),
        {"normal vectors": Goal(), "SciPy's beta": Goal()},
    ),
    (partial(workloads_projection.jl_min_dim, "exact"), {"SciPy's chi2": Goal()}),
    (partial(workloads_projection.embedding_dim, "embedding_dim"), {"SciPy's ive": Goal()}),
    *(
        (
            partial(workloads_gaussians.gaussian_kl, d, dtype),
            {"torch": goal, "torch unchecked": goal, "NumPy": Goal()},
        )
        for d, dtype, goal in (
            (16, "float64", Goal(10, 11)),
            (64, "float64", Goal(8, 9)),
            (16, "float32", Goal()),
            (64, "float32", Goal()),
        )
    ),
    (partial(workloads_gaussians.gaussian_kl_diagonal, 64), {"torch": Goal(), "NumPy": Goal()}),
    *(
        (
            partial(workloads_gaussians.gaussian_w2, d),
            {"NumPy": goal, "SciPy's sqrtm": Goal(required=40), "POT": Goal()},
        )
        for d, goal in ((16, Goal(4.5, 5)), (64, Goal(3, 3.5)))
    ),
    *(
        (partial(workloads_gaussians.gaussian, name, d), {"NumPy": Goal()})
        for name in (
            "gaussian_entropy",
            "gaussian_bhattacharyya",
            "gaussian_ot_map",
            "gaussian_kl_grad",
            "gaussian_w2_grad",
        )
        for d in (16, 64)
    ),
    *(
        (partial(workloads_gaussians.frechet_distance, n, d), {"SciPy's sqrtm": Goal()})
        for n, d in ((2000, 64), (2000, 512), (300, 512))
    ),
    *(
        (partial(workloads_density.reduction, name, 10_000, 50, dtype), {"torch": Goal(), "SciPy": Goal()})
        for name in ("iwae_bound", "iwae_bound_grad", "effective_sample_size")
        for dtype in ("float64", "float32")
    ),
    (partial(workloads_density.gaussian_logpdf_diag, 20_000, 50, "float64"), {"torch": Goal(), "SciPy": Goal()}),
    (partial(workloads_density.log_density_estimate, 20_000, 20, 200), {"torch": Goal(), "NumPy": Goal()}),
    *(
        (partial(workloads_attention.talking_heads_attention, 12, n, 64, dtype, mixes_weights), {"torch": Goal(3)})
        for n in (512, 1024, 2048)
        for mixes_weights in (False, True)
        for dtype in ("float64", "float32")
    ),
    *(
        (partial(workloads_attention.talking_heads_attention_vjp, 12, n, 64, dtype), {"torch": Goal()})
        for n in (512, 1024)
        for dtype in ("float64", "float32")
    ),
    *(
        (
            partial(workloads_beam_search.constrained_beam_search, wide),
            {"NumPy and dicts, masks": Goal(required=10), "NumPy and dicts": Goal()},
        )
        for wide in (2, 1000, 30_000)
    ),
    (
        partial(workloads_beam_search.lookahead_boost, 10_000),
        {"Python": Goal(required=80), "kexue's own, one by one": Goal()},
    ),
    *(
        (
            partial(workloads_initialization.truncated_normal, 1_000_000, dtype, *ends),
            {"torch": Goal(required=1.5), "SciPy": Goal(required=5)},
        )
        for dtype in ("float32", "float64")
        for ends in ((-2, 2), (1.5, 3))
    ),
    *(
        (partial(workloads_initialization.orthogonal_init, *shape, dtype), {"torch": Goal(required=1)})
        for dtype in ("float32", "float64")
        for shape in ((512, 512), (3072, 768))
    ),
    *(
        (
            partial(workloads_losses.cosent_loss, 2048, dtype, labels),
            {
                "torch sort": Goal(40, 70),
                "torch cumsum": Goal(),
                "torch N^2": Goal(2500, 4500),
                "NumPy by hand": Goal(),
            },
        )
        for labels in ("26 values", "distinct")
        for dtype in ("float64", "float32")
    ),
    *(
        (partial(workloads_losses.cosent_embedding_loss, 2048, 768, dtype), {"torch sort": Goal()})
        for dtype in ("float64", "float32")
    ),
    (partial(workloads_losses.spearman, 1, 2048), {"SciPy's spearmanr": Goal(), "SciPy's rankdata": Goal()}),
    (partial(workloads_losses.spearman, 1, 100_000), {"SciPy's spearmanr": Goal(), "SciPy's rankdata": Goal()}),
    (partial(workloads_losses.spearman, 1000, 100), {"SciPy's rankdata": Goal()}),
    *(
        (partial(workloads_layer_norm.normalize, name, 8192, 768, dtype), {"torch": Goal(required=1), "NumPy": Goal()})
        for name in ("layer_norm", "rms_norm")
        for dtype in ("float64", "float32")
    ),
    *(
        (
            partial(workloads_layer_norm.normalize_vjp, name, 8192, 768, dtype),
            {"torch": Goal(target=1.5), "NumPy": Goal()},
        )
        for name in ("layer_norm_vjp", "rms_norm_vjp")
        for dtype in ("float64", "float32")
    ),
    *(
        (
            partial(workloads_clipping.clip_global_norm, 100_000_000, 1, dtype),
            {"reading: np.max": Goal(required=1 / 1.3), "reading: BLAS dot": Goal(required=1 / 1.3), "torch": Goal(1)},
        )
        for dtype in ("float32", "float64")
    ),
    *(
        (
            partial(workloads_clipping.clip_global_norm, 1_000_000, 200, dtype),
            {"reading: BLAS dot": Goal(), "torch": Goal(1)},
        )
        for dtype in ("float32", "float64")
    ),
    *(
        (
            partial(workloads_clipping.clip_global_norm_clipped, n, count, dtype),
            {"NumPy and BLAS": Goal(), "torch": Goal()},
        )
        for n, count in ((100_000_000, 1), (1_000_000, 200))
        for dtype in ("float32", "float64")
    ),
    *(
        (partial(workloads_clipping.clip_by_norm, 10_000, 1000, dtype), {"NumPy": Goal(), "torch": Goal(1)})
        for dtype in ("float32", "float64")
    ),
    *(
        (partial(workloads_losses.cosine_pairs, name, 4096, 768, dtype), {"torch": Goal(), "NumPy": Goal()})
        for name in ("cosine_pairs", "cosine_pairs_vjp", "l2_normalize", "l2_normalize_vjp")
        for dtype in ("float64", "float32")
    ),
    (
        partial(workloads_losses.zlpr_loss, 4096, 1000, "float32"),
        {
            "torch published": Goal(20, 65),
            "torch masked": Goal(20, 30),
            **dict.fromkeys(("torch by hand", "torch exponentials", "torch BCE"), Goal()),
        },
    ),
    (
        partial(workloads_losses.zlpr_loss, 4096, 1000, "float64"),
        dict.fromkeys(workloads_losses.ZLPR_PEERS, Goal()),
    ),
    *(
        (partial(workloads_losses.zlpr_loss_soft, 4096, 1000, dtype), {"torch": Goal()})
        for dtype in ("float64", "float32")
    ),
    (
        partial(workloads_losses.zlpr_sparse_loss, 4096, 1000, 5, "float32"),
        {"torch published": Goal(), "torch dense": Goal()},
    ),
    (partial(workloads_losses.zlpr_symmetric_kl, 4096, 1000, "float32"), {"torch": Goal(), "SciPy": Goal()}),
    (partial(workloads_losses.pairwise_rank_loss, 4096, 1000, "float32"), {"torch": Goal()}),
    *(
        (partial(workloads_losses.log_esp, *shape, "float64"), {"NumPy": Goal(), "torch": Goal()})
        for shape in ((512, 100, 5), (64, 1000, 20))
    ),
    *(
        (partial(workloads_losses.combinatorial_softmax_loss, 512, 100, 5, dtype), {"torch": Goal()})
        for dtype in ("float64", "float32")
    ),
    *((partial(workloads_losses.info_nce_loss, 1024, dtype), {"torch": Goal()}) for dtype in ("float64", "float32")),
    (partial(workloads_losses.r_drop_loss, 4096, 1000, "float32"), {"torch": Goal()}),
    (partial(workloads_losses.softmax_symmetric_kl, 4096, 1000, "float32"), {"torch": Goal()}),
    *(
        (
            partial(workloads_classification.can, 100_000, 100, dtype, uncertain),
            {
                "NumPy loop": Goal(),
                "NumPy": Goal(),
                "a copy": Goal(),
            },
        )
        for uncertain in ("half", "a sixth")
        for dtype in ("float64", "float32")
    ),
    (
        partial(workloads_classification.can, 100_000, 100, "float64", "twenty rows", ("the definition",)),
        {"the definition": Goal(required=50)},
    ),
    (
        partial(workloads_classification.can, 2000, 100, "float64", "half", tuple(workloads_classification.CAN_PEERS)),
        dict.fromkeys(workloads_classification.CAN_PEERS, Goal()),
    ),
    (partial(workloads_classification.can_iterations, 2000, 100, 3), {"NumPy loop": Goal()}),
    (partial(workloads_classification.topk_entropy, 100_000, 100, "float64"), {"NumPy": Goal()}),
    *(
        (
            partial(workloads_classification.analytic_logistic_regression, 20_000, 64, count),
            {"scikit-learn's LDA": Goal(), "scikit-learn's LogisticRegression": Goal()},
        )
        for count in (2, 10)
    ),
    (
        partial(workloads_classification.closed_form, "linear_regression_closed_form", 20_000, 64),
        {"scikit-learn": Goal(), "NumPy's lstsq": Goal()},
    ),
    (
        partial(workloads_classification.adversarial_split, 20_000, 30),
        {"scikit-learn's LogisticRegression": Goal()},
    ),
    (partial(workloads_classification.importance, "area_under_curve", 10**6), {"scikit-learn": Goal()}),
    (
        partial(workloads_classification.next_sentence, "grouped_argmax", 10**6),
        {"NumPy": Goal(), "a loop": Goal()},
    ),
    (partial(workloads_classification.next_sentence, "samples_contrast", 10**6), {"NumPy": Goal()}),
    (partial(workloads_decoding.prefix_tree, 1_000_000, "array"), {"dict of dicts": Goal(required=30)}),
    (partial(workloads_decoding.prefix_tree, 1_000_000, "lists"), {"dict of dicts": Goal(required=10)}),
    (partial(workloads_decoding.mask, 3), {"dicts and NumPy": Goal(), "the write alone": Goal()}),
    *(
        (
            partial(workloads_decoding.alignment, function, length),
            {"rapidfuzz": Goal(required), "Python": Goal(100 if length == 1000 else None)},
        )
        for function, length, required in (
            ("longest_common_subsequence", 10, 0.5),
            ("longest_common_subsequence", 100, None),
            ("longest_common_subsequence", 300, None),
            ("longest_common_subsequence", 1000, 1),
            ("lcs_f1", 1000, None),
            ("edit_distance", 10, 0.5),
            ("edit_distance", 100, None),
            ("edit_distance", 300, None),
            ("edit_distance", 1000, None),
        )
    ),
    *(
        (
            partial(workloads_gradients.sequence, name, batch, steps, n, dtype),
            # torch's LSTM in float32 is oneDNN's: as near to what the processor can do as ours.
            {"torch": Goal() if (name, dtype) == ("lstm", "float32") else Goal(required=1)},
        )
        for name in ("simple_rnn", "lstm", "gru")
        for batch, steps, n in ((1, 512, 128), (1, 512, 512), (32, 512, 128), (32, 128, 512))
        for dtype in ("float64", "float32")
    ),
    *(
        (partial(workloads_gradients.sequence_vjp, name, 32, 128, 128, dtype), {"torch": Goal()})
        for name in ("simple_rnn", "lstm", "gru")
        for dtype in ("float64", "float32")
    ),
    *(
        (partial(workloads_gradients.cell, name, batch, 128, "float32"), {"torch": Goal()})
        for name in ("simple_rnn", "lstm", "gru")
        for batch in (1, 32)
    ),
    *(
        (
            partial(workloads_penalties.mlp_gradient_penalties, n, sizes),
            {"NumPy": Goal(), "torch vmap": Goal(), "torch loop": Goal()},
        )
        for n, sizes in ((1000, (6, 6, 6, 6)), (256, (32, 64, 64, 10)), (32, (256, 64, 64, 1)))
    ),
    (
        partial(workloads_penalties.jacobian_penalty_hutchinson, 64, 500, 256, 8),
        {"the Jacobian": Goal(), "torch": Goal(), "torch's Jacobian": Goal()},
    ),
    (partial(workloads_penalties.laplacian_penalty, 256, 64), {"all Hessians": Goal(), "torch": Goal()}),
    *(
        (partial(workloads_penalties.noise_regularizer, 256, 100, 64, loss), {"NumPy": Goal(), "torch": Goal()})
        for loss in ("squared_error", "kl")
    ),
    *(
        (partial(workloads_penalties.fgm_perturbation, 4096, 768, dtype), {"NumPy": Goal(), "torch": Goal()})
        for dtype in ("float64", "float32")
    ),
    *(
        (partial(workloads_penalties.vat_perturbation, 256, 128, 20, count), {"NumPy": Goal(), "torch": Goal()})
        for count in (1, 3)
    ),
    *(
        (partial(workloads_penalties.vat_loss, 1024, 1000, dtype), {"NumPy": Goal(), "torch": Goal()})
        for dtype in ("float64", "float32")
    ),
    *(
        (partial(workloads_gradients.step_jacobians, name, 256, 32), {"torch": Goal()})
        for name in ("simple_rnn", "lstm", "gru")
    ),
    *(
        (partial(workloads_gradients.log_norms, 1000, 64, stabilization), {"NumPy": Goal()})
        for stabilization in ("qr", "none")
    ),
    (partial(workloads_optimization.zeroth_order_gradient, 1000, 1000, False), {"a loop": Goal()}),
    (partial(workloads_optimization.zeroth_order_gradient, 1000, 1000, True), {"NumPy at once": Goal()}),
    *(
        (
            partial(workloads_optimization.minimize, function, d, 2000),
            {"SciPy's Nelder-Mead": Goal(), "SciPy's differential_evolution": Goal(), "kexue, zeroth-order": Goal()},
        )
        for function, d in (("sphere", 10), ("Rosenbrock", 5), ("steps", 5))
    ),
    *(
        (
            partial(workloads_optimization.ball_step_length, 100_000, kappas),
            {"SciPy's ive": Goal(), "mpmath": Goal()},
        )
        for kappas in ("small", "large")
    ),
    *(
        (partial(workloads_optimization.mgs, name, 1000, 1000), {"NumPy and SciPy": Goal()})
        for name in ("mgs_step", "boltzmann_step")
    ),
    (partial(workloads_optimization.policy_gradient, "policy_gradient", 1000, 1000), {"NumPy": Goal()}),
    (
        partial(workloads_optimization.argmax_gradient, "softmax_policy_gradient", 256, 1000),
        {"SciPy": Goal(), "torch": Goal()},
    ),
    (partial(workloads_optimization.argmax_gradient, "smoothed_argmax_gradient", 100, 10), {"NumPy": Goal()}),
    *(
        (
            partial(workloads_child_tuning.by_chance, "childtuning_gradient", n, dtype, p),
            # Of ten thousand entries, half of the time is the call, and most of that the key from the generator.
            {"torch": Goal(3, 8), "NumPy": Goal(3, 5) if n > 10_000 else Goal(), "copy": Goal()},
        )
        for n, p in ((10_000, 0.3), (10_000_000, 0.3), (10_000_000, 0.5))
        for dtype in ("float64", "float32")
    ),
    *(
        (partial(workloads_child_tuning.by_mask, 10_000_000, dtype), {"torch": Goal(), "NumPy": Goal()})
        for dtype in ("float64", "float32")
    ),
    *(
        (partial(workloads_child_tuning.fisher_diagonal, samples, n, "float32"), {"torch": Goal(), "NumPy": Goal()})
        for samples, n in ((32, 100_000), (100_000, 32))
    ),
    (partial(workloads_child_tuning.mask, 1_000_000, "percentile"), {"NumPy's percentile": Goal()}),
    (partial(workloads_child_tuning.step, 1_000_000, "float32", 0.3), {"torch": Goal()}),
    *(
        (
            partial(workloads_gradient_normalization.spectral_norm, m, n, "float64"),
            {"NumPy": Goal(), "SciPy's svds": Goal()},
        )
        for m, n in ((32, 32), (256, 256), (512, 4608))
    ),
    (partial(workloads_gradient_normalization.warm_start, 512, 4608, "float32"), {"NumPy": Goal()}),
    (partial(workloads_gradient_normalization.input_gradient, 64, 3072, "float32"), {"NumPy": Goal()}),
    *(
        (
            partial(workloads_attention.linear_attention, 12, 4096, m, 64, dtype, False),
            {"torch": Goal(1.2, 2), "NumPy": Goal()},
        )
        for m, dtype in ((128, "float32"), (128, "float64"), (256, "float32"))
    ),
    *(
        (
            partial(workloads_attention.linear_attention, 12, 4096, m, 64, dtype, True),
            {"torch, blocks at once": Goal(2, 4), "torch, block after block": Goal(1.2, 2)},
        )
        for m, dtype in ((128, "float32"), (128, "float64"), (256, "float32"))
    ),
    (
        partial(workloads_attention.linear_attention, 2, 1024, 128, 64, "float32", True),
        {"torch, block after block": Goal(), "torch cumsum": Goal(target=20)},
    ),
    *(
        (
            partial(workloads_attention.linear_attention_vjp, 12, 2048, 128, 64, "float32", causal),
            {"torch": Goal(target=1)},
        )
        for causal in (False, True)
    ),
    *(
        (
            partial(workloads_attention.favor_features, 12, 2048, 128, 64, dtype, "positive"),
            {"torch": Goal(target=1), "NumPy": Goal()},
        )
        for dtype in ("float32", "float64")
    ),
    (partial(workloads_attention.taylor_features, 4096, 64, 2, "float64"), {"scikit-learn": Goal(target=2)}),
    (partial(workloads_attention.taylor_features, 256, 64, 3, "float64"), {"scikit-learn": Goal(target=2)}),
    *(
        (
            partial(workloads_attention.attention, 12, 2048, 64, dtype, causal),
            {"torch": goal, "torch (n, h, d)": goal, "NumPy": Goal()},
        )
        for dtype, goal in (("float32", Goal(1.2, 2)), ("float64", Goal(1.2, 2)))
        for causal in (False, True)
    ),
    *(
        (partial(workloads_attention.attention_vjp, 12, 1024, 64, dtype), {"torch": Goal()})
        for dtype in ("float32", "float64")
    ),
    *(
        (partial(workloads_attention.attention_entropy, 2048, 1024, dtype, kind), {"SciPy": Goal()})
        for dtype in ("float32", "float64")
        for kind in ("weights", "logits")
    ),
    (partial(workloads_attention.attention_rank, 4, 256, 32), {"NumPy": Goal()}),
    (
        partial(workloads_expressions.evaluate_expression),
        {
            "ast and Fraction": Goal(required=1),
            "sympify": Goal(required=10),
            "parse_expr": Goal(required=10),
            "eval": Goal(),
        },
    ),
    (partial(workloads_expressions.long_sum, 300), {"ast and Fraction": Goal(required=1)}),
    (partial(workloads_expressions.texts, "strip_redundant_parentheses"), {"the source's": Goal()}),
    (partial(workloads_expressions.by_precedence, 400), {"ast.unparse": Goal()}),
    *(
        (partial(workloads_torch.squareplus, n, dtype), {"torch": Goal()})
        for n in (1000, 1_000_000)
        for dtype in ("float64", "float32")
    ),
    *(
        (
            partial(workloads_torch.cosent_loss, 2048, dtype),
            {"torch sort": Goal(), "torch N^2": Goal(), "kexue on arrays": Goal()},
        )
        for dtype in ("float64", "float32")
    ),
    *(
        (
            partial(workloads_torch.zlpr_loss, 4096, 1000, dtype),
            {"torch published": Goal(), "torch masked": Goal(), "kexue on arrays": Goal()},
        )
        for dtype in ("float64", "float32")
    ),
    *((partial(workloads_torch.emd2, *shape), {"POT": Goal()}) for shape in ((20, 30), (100, 100), (500, 500))),
    (partial(workloads_torch.sinkhorn2, 100, 120), {"torch unrolled": Goal()}),
    (partial(workloads_torch.wmd, 20, 30, 100), {"torch around POT": Goal()}),
]


def seconds_of(call: Callable[[], Any], repeats: int) -> float:
    begin = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - begin) / repeats


def take_turns(workload: Workload, peers: list[str], rounds: int, least_seconds: float) -> dict[str, list[float]]:
    """Seconds for one problem of each side, round by round, after every result was checked."""
    names = ["kexue", *peers]
    repeats, round_seconds = {}, 0.0
    for name in names:
        side = workload.sides[name]
        workload.check(name, side.call())
        seconds = seconds_of(side.call, 1)
        repeats[name] = max(1, round(least_seconds / seconds))
        round_seconds += repeats[name] * seconds
    rounds = max(3, min(rounds, int(LONGEST / round_seconds)))
    times: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.disable()
    try:
        for number in range(rounds):
            for name in names if number % 2 == 0 else reversed(names):
                side = workload.sides[name]
                times[name].append(seconds_of(side.call, repeats[name]) / side.items)
    finally:
        gc.enable()
    return times


def call_of(build: partial[Workload]) -> str:
    """Tells a workload from the others without making its data."""
    arguments = [repr(argument) for argument in build.args]
    arguments += [f"{name}={value!r}" for name, value in build.keywords.items()]
    return f"{build.func.__module__}.{build.func.__name__}({', '.join(arguments)})"


def measure(build: partial[Workload], goals: dict[str, Goal], rounds: int, least_seconds: float) -> list[Line]:
    workload = build()
    for peer in workload.absent:
        print(f"{workload.name}: no comparison with {peer}, {workload.absent[peer]}", file=sys.stderr)
    goals = {peer: goal for peer, goal in goals.items() if peer not in workload.absent}
    times = take_turns(workload, list(goals), rounds, least_seconds)
    kexue, items = times["kexue"], workload.sides["kexue"].items
    return [
        Line(
            family_of(build.func.__module__, build.func.__name__),
            workload.name,
            peer,
            min(kexue),
            min(times[peer]),
            statistics.median(b / a for a, b in zip(kexue, times[peer], strict=True)),
            min(times[peer]) / min(kexue),
            goal.required,
            goal.target,
            # A workload counts those of a call, and times are told for one problem.
            workload.bytes_moved / items,
            workload.operations / items,
        )
        for peer, goal in goals.items()
    ]


def least_seconds_of(call: Callable[[], Any], repeats: int = 1) -> float:
    return min(seconds_of(call, repeats) for _ in range(7))


def limits() -> dict[str, float]:
    """What one core of this machine can do, about: README.md tells what bounds a line in these."""
    x = np.ones(10_000_000)
    y, small, root = np.zeros_like(x), np.ones(2048), np.empty(2048)
    result = {
        "GB/s, copied and counted twice": 2 * x.nbytes / least_seconds_of(lambda: np.copyto(y, x)) / 1e9,
        "GB/s, read": 2 * x.nbytes / least_seconds_of(lambda: x.dot(y)) / 1e9,
        "ns, square root": least_seconds_of(lambda: np.sqrt(small, out=root), 1000) / small.size * 1e9,
    }
    for dtype in ("float32", "float64"):
        square = np.ones((1024, 1024), dtype=dtype)
        seconds = least_seconds_of(partial(np.matmul, square, square))
        result[f"GFLOP/s, matrix product {dtype}"] = 2 * 1024**3 / seconds / 1e9
    return {name: round(value, 2) for name, value in result.items()}


HEADER = ("case", "kexue", "peer", "its time", "ratio", "of minima", "required", "target", "met")


def row(line: Line) -> tuple[str, ...]:
    met, reached = line.reaches(line.required), line.reaches(line.target)
    verdict = "" if met is None else "yes" if met else "NO"
    if reached is not None:
        verdict += (", " if verdict else "") + ("target reached" if reached else "target not reached")
    goals = ["" if goal is None else f"{goal:g}" for goal in (line.required, line.target)]
    times = told(line.kexue_seconds, line.bytes_moved), line.peer, told(line.peer_seconds, line.bytes_moved)
    return line.workload, *times, f"{line.median_ratio:.1f}", f"{line.ratio_of_minima:.1f}", *goals, verdict


def main() -> int:
    parser = argparse.ArgumentParser(description="Ratios of kexue to its peers, measured in turns.")
    parser.add_argument("--quick", action="store_true", help="3 short rounds instead of 15, to see that all works")
    parser.add_argument(
        "--only",
        metavar="TEXT",
        default="",
        help="family, function and arguments of a workload, or a part: 'emd2_batch 20'",
    )
    parser.add_argument("--json", metavar="FILE", help="also write machine, limits and lines to a file")
    parser.add_argument("--resume", action="store_true", help="keep the lines that the file of --json has")
    options = parser.parse_args()
    if options.resume and not options.json:
        parser.error("--resume needs --json")
    rounds, least_seconds = (3, 0.01) if options.quick else (15, 0.03)
    lines: list[Line] = []
    with pinned_threads():
        date = datetime.now(UTC).isoformat(timespec="seconds")
        about: dict[str, Any] = {"date": date, **machine(), "quick": options.quick}
        records: list[dict[str, Any]] = []
        if options.resume and Path(options.json).exists():
            try:
                about, records = measured_before(options.json, about)
                lines = [Line(**{key: value for key, value in record.items() if key != "call"}) for record in records]
            except ReportError as error:
                parser.error(str(error))
        else:
            about["limits"] = limits()
        done = {record["call"] for record in records}
        for key, value in about.items():
            print(f"{key:14} {value}")
        print("\n| " + " | ".join(HEADER) + " |\n" + "|---" * len(HEADER) + "|", flush=True)
        for build, goals in LINES:
            family, call = build.func.__module__.partition("_")[2], call_of(build)
            if call in done or options.only not in " ".join(map(str, (family, build.func.__name__, *build.args))):
                continue
            for line in measure(build, goals, rounds, least_seconds):
                lines.append(line)
                records.append({"call": call, **asdict(line)})
                print("| " + " | ".join(row(line)) + " |", flush=True)
            if options.json:
                write_text(options.json, json.dumps({**about, "lines": records}, indent=1))
    missed = [line for line in lines if line.reaches(line.required) is False]
    print(f"\n{len(missed)} of {sum(line.required is not None for line in lines)} required ratios missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
