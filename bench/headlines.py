"""The headlines of README.md and docs/benchmarks.md: which lines of ratios.py they are made of.

A headline has a label, patterns of the workloads that it joins, each of one, and what its peers are called with their
names in the lines.
Two workloads are told as "2.8 / 1.4 ms", more as "7.5 to 16 us".
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Headline:
    section: str
    label: str
    workloads: tuple[str, ...]
    peers: dict[str, str]
    in_readme: bool = False


def _section(name: str, *rows: tuple[str, tuple[str, ...], dict[str, str], bool]) -> list[Headline]:
    return [Headline(name, *row) for row in rows]


def _row(
    label: str, *workloads: str, peers: dict[str, str], readme: bool = False
) -> tuple[str, tuple[str, ...], dict[str, str], bool]:
    return label, workloads, peers, readme


_HEADS, _TWO_TYPES = "12 heads of 2048x64", ("float64", "float32")

HEADLINES = [
    *_section(
        "Transport and documents",
        _row(
            "1000 transport problems of 20x30, each",
            "emd2, batch of 1000, 20x30, random",
            peers={"POT `emd2`": "POT"},
            readme=True,
        ),
        _row("one `emd2` call, 20x30", "emd2, one call, 20x30, random", peers={"POT `emd2`": "POT"}),
        _row(
            "one `emd2` call, 1000x1000",
            "emd2, one call, 1000x1000, random",
            peers={"POT `emd2`": "POT"},
            readme=True,
        ),
        _row(
            "1000 entropic problems of 30x30 at reg 0.01, each, three kinds",
            *(f"sinkhorn, batch of 1000, 30x30, {costs}, reg 0.01" for costs in ("random", "plane", "clustered")),
            peers={"POT `sinkhorn`": "POT"},
        ),
        _row(
            "entropic 1000x1000 in clusters, reg 0.01",
            "sinkhorn, 1000x1000, clustered, reg 0.01",
            peers={"POT `sinkhorn`": "POT"},
            readme=True,
        ),
        _row(
            "Word Mover's Distance, 20 words, 300 dimensions, a pair",
            "pairwise_distances wmd, 5000 uniform words, 1 thread",
            peers={"gensim": "gensim"},
            readme=True,
        ),
        _row(
            "Word Mover's Distance, two threads, a pair",
            "pairwise_distances wmd, 5000 uniform words, 2 threads",
            peers={"gensim": "gensim"},
        ),
        _row(
            "the 10 nearest of 20,000 documents, exactly",
            "*10 of 20000 documents, topics words, 1 thread",
            peers={"gensim's scan": "gensim"},
            readme=True,
        ),
        _row(
            "the 10 nearest of 20,000 documents, two threads",
            "*10 of 20000 documents, topics words, 2 threads",
            peers={"gensim's scan": "gensim"},
        ),
    ),
    *_section(
        "Activations, softmaxes, entropy",
        _row(
            "SquarePlus, 1e7 numbers, `out=`, float64 / float32",
            *(f"squareplus out=, 1e+07 {dtype}" for dtype in _TWO_TYPES),
            peers={"NumPy expression": "NumPy expression"},
            readme=True,
        ),
        _row("SquarePlus, one element", "squareplus, one element", peers={"NumPy expression": "NumPy expression"}),
        _row(
            "10,000 rows of 100 brought to a perplexity, float64 / float32",
            *(f"entropy_normalize, 10000x100 {dtype}, perplexity 30" for dtype in _TWO_TYPES),
            peers={"scikit-learn's t-SNE search": "scikit-learn"},
            readme=True,
        ),
        _row(
            "perplexities of the distances of 2000 points, float64",
            "perplexity_affinities, 2000x2000 float64, perplexity 30",
            peers={"scikit-learn's t-SNE search": "scikit-learn"},
        ),
        _row(
            "softmax, 4096 rows of 1000, float64 / float32",
            *(f"softmax out=, 4096x1000 {dtype}" for dtype in _TWO_TYPES),
            peers={"torch": "torch"},
            readme=True,
        ),
        _row(
            "softmax, 100,000 rows of 10, float64 / float32",
            *(f"softmax out=, 100000x10 {dtype}" for dtype in _TWO_TYPES),
            peers={"torch": "torch"},
        ),
    ),
    *_section(
        "Independence, Gaussians, projections",
        _row(
            "HSIC of 2000 / 10,000 pairs of points in 50 dimensions",
            "hsic, 2000x50 float64",
            "hsic, 10000x50 float64",
            peers={"scikit-learn's kernels and row sums": "scikit-learn"},
            readme=True,
        ),
        _row(
            "an independence test of 500 pairs, each of 1000 permutations",
            "hsic_test, 1000 permutations, n=500",
            peers={"NumPy's gathers": "NumPy's gather", "hyppo": "hyppo"},
        ),
        _row(
            "KL of 1000 pairs of Gaussians, d = 16 / 64",
            "gaussian_kl, 1000 of 16x16 float64",
            "gaussian_kl, 1000 of 64x64 float64",
            peers={"torch": "torch", "its checks off": "torch unchecked"},
            readme=True,
        ),
        _row(
            "W2 of two Gaussians, d = 16 / 64, each of 1000",
            "gaussian_w2, 1000 of 16x16 float64",
            "gaussian_w2, 1000 of 64x64 float64",
            peers={"NumPy's `cholesky` and `eigvalsh`": "NumPy"},
        ),
        _row(
            "10,000 x 4096 float32 projected to 256 (SRHT)",
            "random_projection, srht, 10000x4096 float32 to 256",
            peers={"NumPy's product": "X @ R.T", "scikit-learn's sparse one": "scikit-learn Sparse"},
            readme=True,
        ),
        _row(
            "Walsh-Hadamard transform of 4096 rows of 4096 float32",
            "fwht out=, 4096x4096 float32, 64 MB",
            peers={"NumPy's butterfly": "NumPy butterfly", "as a Kronecker product": "NumPy Kronecker"},
        ),
        _row(
            "the 10 nearest of 1e6 codes of 128 bits, 64 queries",
            "hamming_neighbors, 10 of 1e+06, 128 bits, 64 queries",
            peers={"faiss": "faiss"},
        ),
        _row(
            "randomized SVD, 10,000 x 2000, k = 50, three spectra",
            *(f"randomized_svd, 10000x2000, k=50, {spectrum}" for spectrum in ("1/i", "exp(-i/20)", "flat")),
            peers={"scikit-learn, as exact": "scikit-learn"},
        ),
    ),
    *_section(
        "Losses",
        _row(
            "CoSENT with gradient, 2048 pairs, labels of 26 values / distinct",
            *(f"cosent_loss with gradient, 2048 float64, {labels}" for labels in ("26 values", "distinct")),
            peers={"torch, sorted": "torch sort", "with all pairs": "torch N^2"},
        ),
        _row(
            "multi-label loss (ZLPR) with gradient, 4096 x 1000 float32",
            "zlpr_loss with gradient, 4096x1000 float32",
            peers={"torch's published form": "torch published", "by hand": "torch by hand"},
            readme=True,
        ),
        _row(
            "softmax over subsets, log e_20 of 64 rows of 1000",
            "log_esp, 64x1000, k=20 float64",
            peers={"NumPy": "NumPy", "torch": "torch"},
        ),
        _row(
            "cosines of 4096 pairs in 768 dimensions, float32, and their gradients",
            "cosine_pairs, 4096x768 float32",
            "cosine_pairs_vjp, 4096x768 float32",
            peers={"NumPy": "NumPy", "torch": "torch"},
        ),
    ),
    *_section(
        "Attention, rows, recurrent networks",
        _row(
            "attention, 12 heads of 2048 x 64, float64 / float32",
            *(f"attention, {_HEADS} {dtype}" for dtype in _TWO_TYPES),
            peers={"torch `scaled_dot_product_attention`": "torch"},
            readme=True,
        ),
        _row(
            "attention, causal, float64 / float32",
            *(f"attention, {_HEADS} {dtype}, causal" for dtype in _TWO_TYPES),
            peers={"torch": "torch"},
        ),
        _row(
            "talking heads, 12 of 2048 x 64 float32, both mixes",
            f"talking*, {_HEADS} float32",
            peers={"torch, four einsums": "torch"},
        ),
        _row(
            "linear attention, causal, 12 x 4096, 128 features float32",
            "linear_attention, 12 heads of 4096, 128 features, 64 float32, causal",
            peers={"torch, in blocks": "torch, block after block"},
        ),
        _row(
            "layer / RMS normalisation of 8192 rows of 768 float32",
            *(f"{name}, 8192x768 float32" for name in ("layer_norm", "rms_norm")),
            peers={"torch": "torch"},
        ),
        _row(
            "a GRU / LSTM over 512 steps of 128 units, float32",
            *(f"{name}, 1 x 512 steps, n = 128, float32" for name in ("gru", "lstm")),
            peers={"torch": "torch"},
            readme=True,
        ),
        _row(
            "1e6 truncated normals, float64",
            "truncated_normal, 1000000 in ?-2, 2? float64",
            peers={"torch": "torch", "SciPy": "SciPy"},
        ),
    ),
    *_section(
        "Classifiers, gradients",
        _row(
            "a linear classifier in closed form, 20,000 x 64, 10 classes",
            "AnalyticLogisticRegression, fit and predict, 20000x64, 10 classes",
            peers={"scikit-learn's LDA": "scikit-learn's LDA"},
            readme=True,
        ),
        _row(
            "the norm of 1e8 float32 gradients, for clipping",
            "clip_global_norm, 100000000 numbers in 1 arrays, none clipped, float32",
            peers={"torch `clip_grad_norm_`": "torch", "reading them": "reading: BLAS dot"},
        ),
        _row(
            "0.3 / 0.5 of 1e7 float32 gradients kept by chance",
            *(f"childtuning_gradient, 10000000 float32, p={p}" for p in (0.3, 0.5)),
            peers={"NumPy": "NumPy", "torch's dropout": "torch"},
        ),
    ),
    *_section(
        "Decoding",
        _row(
            "a prefix tree of 1e6 sequences of 20 tokens",
            "PrefixTree, 1000000 sequences of 20, from array",
            peers={"a dict of dicts": "dict of dicts"},
            readme=True,
        ),
        _row(
            "longest common subsequence of 1000 letters",
            "longest_common_subsequence, 1000 letters",
            peers={"rapidfuzz": "rapidfuzz", "Python": "Python"},
        ),
        _row(
            "exact value of an equation of a word problem",
            "evaluate_expression, equations",
            peers={"`ast` and `Fraction`": "ast and Fraction", "SymPy": "sympify"},
        ),
    ),
]
