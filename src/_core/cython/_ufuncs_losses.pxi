# Cosines of pairs of vectors, vectors of length 1, and their gradients.
from kexue.core cimport (
    kx_losses_cosine_pairs_f32,
    kx_losses_cosine_pairs_f64,
    kx_losses_cosine_pairs_vjp_f32,
    kx_losses_cosine_pairs_vjp_f64,
    kx_losses_l2_normalize_f32,
    kx_losses_l2_normalize_f64,
    kx_losses_l2_normalize_vjp_f32,
    kx_losses_l2_normalize_vjp_f64,
    kx_losses_vectors_t,
)

ctypedef kx_status_t (*pairs_f32)(const float *, const float *, int64_t, int64_t, ptrdiff_t, ptrdiff_t, ptrdiff_t,
                                  ptrdiff_t, float *, ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*pairs_f64)(const double *, const double *, int64_t, int64_t, ptrdiff_t, ptrdiff_t, ptrdiff_t,
                                  ptrdiff_t, double *, ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*pairs_vjp)(const kx_losses_vectors_t *, const kx_losses_vectors_t *, const kx_losses_vectors_t *, int64_t,
                                  int64_t, const kx_losses_vectors_t *, const kx_losses_vectors_t *) noexcept nogil


cdef void pairs_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                         void *kernel) noexcept nogil:
    (<pairs_f32>kernel)(
        <const float *>args[0], <const float *>args[1], n[0], n[1], steps[0], steps[3], steps[1], steps[4],
        <float *>args[2], steps[2])


cdef void pairs_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                         void *kernel) noexcept nogil:
    (<pairs_f64>kernel)(
        <const double *>args[0], <const double *>args[1], n[0], n[1], steps[0], steps[3], steps[1], steps[4],
        <double *>args[2], steps[2])


cdef void pairs_vjp_loop(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                         void *kernel) noexcept nogil:
    cdef kx_losses_vectors_t u = [args[0], steps[0], steps[5]], v = [args[1], steps[1], steps[6]]
    cdef kx_losses_vectors_t upstream = [args[2], steps[2], 0]
    cdef kx_losses_vectors_t du = [args[3], steps[3], steps[7]], dv = [args[4], steps[4], steps[8]]
    (<pairs_vjp>kernel)(&u, &v, &upstream, n[0], n[1], &du, &dv)


cdef loop_function[2] pairs_loops = [pairs_loop_f32, pairs_loop_f64]
cdef loop_function[2] pairs_vjp_loops = [pairs_vjp_loop, pairs_vjp_loop]

cosine_pairs = of_rows("cosine_pairs", "(n),(n)->()", pairs_loops, <void *>kx_losses_cosine_pairs_f32,
                       <void *>kx_losses_cosine_pairs_f64, """
The cosine of each pair of vectors: u.v / (max(|u|, 1e-8) max(|v|, 1e-8)).

Parameters
----------
u, v : array_like, shape (..., n)
    Vectors; batches broadcast. {real}
{reducing}

Returns
-------
ndarray or scalar, shape (...)
    From -1 to 1, within 4 eps (1 + log2 n) absolutely; nothing overflows. 0 for a vector of zeros. Vectors shorter than
    1e-8 count as that long (the rule of PyTorch's `cosine_similarity`), so that gradients have a bound. A NaN makes its
    pair NaN; an infinity too, and the invalid flag is raised (`numpy.errstate`).

See Also
--------
cosine_pairs_vjp : its gradients.
cosent_loss : a loss of the order of cosines.
l2_normalize : vectors of length 1, whose products are all cosines at once.

Notes
-----
O(n) time a pair, one pass; sums are in float64.

References
----------
J. Su, "CoSENT (1): sentence vectors by ranking cosines", Scientific Spaces, 2022, https://kexue.fm/archives/8847.

Examples
--------
>>> import kexue
>>> kexue.cosine_pairs([[1.0, 2.0, -1.0], [1.0, 0.0, 0.0]], [[0.5, -1.0, 2.0], [3.0, 0.0, 0.0]])
array([-0.62360956,  1.        ])
""")

cosine_pairs_vjp = of_rows("cosine_pairs_vjp", "(n),(n),()->(n),(n)", pairs_vjp_loops,
                           <void *>kx_losses_cosine_pairs_vjp_f32, <void *>kx_losses_cosine_pairs_vjp_f64, """
The gradients of `cosine_pairs` by u and by v, times an upstream gradient.

By u: grad (v / |v| - cos u / |u|) / |u|, and by v alike.

Parameters
----------
u, v : array_like, shape (..., n)
    As for `cosine_pairs`. {real}
grad : array_like, shape (...)
    The upstream gradient, one number a pair.
axes, out, **kwargs
    As for every generalised ufunc, see `numpy.ufunc`.

Returns
-------
grad_u, grad_v : ndarray, shape (..., n)
    By a vector u shorter than 1e-8, also one of zeros, grad v / |v| / 1e-8.

See Also
--------
cosine_pairs

Notes
-----
O(n) time a pair. Each entry is within 8 eps (1 + log2 n) |grad| / |u|: where the vectors are nearly parallel, the
gradient is small and its digits cancel.

References
----------
J. Su, "CoSENT (1): sentence vectors by ranking cosines", Scientific Spaces, 2022, https://kexue.fm/archives/8847.

Examples
--------
>>> import kexue
>>> grad_u, grad_v = kexue.cosine_pairs_vjp([1.0, 2.0, -1.0], [0.5, -1.0, 2.0], 1.0)
>>> grad_u.round(6)
array([0.193022, 0.029696, 0.252413])
""")

l2_normalize = of_rows("l2_normalize", "(n)->(n)", row_loops, <void *>kx_losses_l2_normalize_f32,
                       <void *>kx_losses_l2_normalize_f64, """
Vectors divided by their Euclidean norm: x / max(|x|, 1e-12).

Parameters
----------
x : array_like, shape (..., n)
    Vectors. {real}
{axis}

Returns
-------
ndarray, shape (..., n)
    Of norm 1, within 2 ulp + eps (1 + log2 n) each entry; nothing overflows. Vectors shorter than 1e-12 are divided by
    that (the rule of PyTorch's `normalize`): zeros stay. A NaN makes its row NaN. An infinity is NaN, the rest of its row
    0, and the invalid flag is raised (`numpy.errstate`).

See Also
--------
l2_normalize_vjp : its gradient.
cosine_pairs

Notes
-----
O(n) time a vector; sums are in float64.

References
----------
T. Gao, X. Yao, D. Chen, "SimCSE: Simple Contrastive Learning of Sentence Embeddings", 2021, arXiv:2104.08821 (its use).

Examples
--------
>>> import kexue
>>> kexue.l2_normalize([[3.0, 4.0], [0.0, -2.0]])
array([[ 0.6,  0.8],
       [ 0. , -1. ]])
""")

l2_normalize_vjp = of_rows("l2_normalize_vjp", "(n),(n)->(n)", row_vjp_loops, <void *>kx_losses_l2_normalize_vjp_f32,
                           <void *>kx_losses_l2_normalize_vjp_f64, """
The gradient of `l2_normalize` times an upstream gradient: (grad - y (y.grad)) / |x|, y = x / |x|.

Parameters
----------
x : array_like, shape (..., n)
    As for `l2_normalize`. {real}
grad : array_like, shape (..., n)
    The upstream gradient, broadcast against `x`.
{axis}

Returns
-------
ndarray, shape (..., n)
    For a vector shorter than 1e-12, also one of zeros, grad / 1e-12.

See Also
--------
l2_normalize

Notes
-----
O(n) time a vector. The result is orthogonal to x.

References
----------
T. Gao, X. Yao, D. Chen, "SimCSE: Simple Contrastive Learning of Sentence Embeddings", 2021, arXiv:2104.08821 (its use).

Examples
--------
>>> import kexue
>>> kexue.l2_normalize_vjp([3.0, 4.0], [1.0, 0.0])
array([ 0.128, -0.096])
""")
