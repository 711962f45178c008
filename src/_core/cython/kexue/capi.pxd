# The C interface of an installed kexue, found through __pyx_capi__ when the module that cimports it is imported: nothing to link.
#
# Arrays are contiguous. Every function returns a status of the core (kx_base.h): 0 is success, below 0 it failed and its outputs hold
# nothing, above 0 it ended with a reservation. One thread, no interpreter, no checks of pointers. What stands here keeps its name and its signature.
from libc.stdint cimport int32_t, int64_t, uint32_t

# Exact and entropic transport: the cost of moving the weights a (m) to b (n), NULL for uniform ones, under the costs M (m x n).
cdef int emd2_f32(const double *a, const double *b, const float *M, int64_t m, int64_t n,
    double *cost) noexcept nogil
cdef int emd2_f64(const double *a, const double *b, const double *M, int64_t m, int64_t n,
    double *cost) noexcept nogil
cdef int sinkhorn2_f32(const double *a, const double *b, const float *M, int64_t m, int64_t n,
    double reg, double *cost) noexcept nogil
cdef int sinkhorn2_f64(const double *a, const double *b, const double *M, int64_t m, int64_t n,
    double reg, double *cost) noexcept nogil

# Word Mover's and Word Rotator's Distance of two documents: word vectors x (m x dimension) and y (n x dimension), weights or NULL.
cdef int wmd_f32(const float *x, const float *y, const double *x_weights, const double *y_weights,
    int64_t m, int64_t n, int64_t dimension, float *distance) noexcept nogil
cdef int wmd_f64(const double *x, const double *y, const double *x_weights, const double *y_weights,
    int64_t m, int64_t n, int64_t dimension, double *distance) noexcept nogil
cdef int wrd_f32(const float *x, const float *y, const double *x_weights, const double *y_weights,
    int64_t m, int64_t n, int64_t dimension, float *distance) noexcept nogil
cdef int wrd_f64(const double *x, const double *y, const double *x_weights, const double *y_weights,
    int64_t m, int64_t n, int64_t dimension, double *distance) noexcept nogil

# Rows of weights p (rows x n) brought to a target each. target_kind: 0 an entropy, 1 a perplexity, 2 a share of log n, 3 entropy - log m,
# 4 log s - entropy (kx_entropy.h). statuses, one a row, may be NULL; q may be p.
cdef int entropy_normalize_f32(const float *p, int64_t rows, int64_t n, const double *targets,
    int target_kind, float *q, int32_t *statuses) noexcept nogil
cdef int entropy_normalize_f64(const double *p, int64_t rows, int64_t n, const double *targets,
    int target_kind, double *q, int32_t *statuses) noexcept nogil

# HSIC, biased, of n points x (n x x_dimension) and y under the kernels exp(-gamma |.|^2).
cdef int hsic_f32(const float *x, const float *y, int64_t n, int64_t x_dimension, int64_t y_dimension,
    double x_gamma, double y_gamma, double *result) noexcept nogil
cdef int hsic_f64(const double *x, const double *y, int64_t n, int64_t x_dimension, int64_t y_dimension,
    double x_gamma, double y_gamma, double *result) noexcept nogil

# Sequences of tokens.
cdef int edit_distance(const uint32_t *a, int64_t n, const uint32_t *b, int64_t m,
    int64_t *distance) noexcept nogil
cdef int longest_common_subsequence(const uint32_t *a, int64_t n, const uint32_t *b, int64_t m,
    int64_t *length) noexcept nogil

# Contiguous rows and arrays; out may be x.
cdef int softmax_rows_f32(const float *x, int64_t rows, int64_t n, float *out) noexcept nogil
cdef int softmax_rows_f64(const double *x, int64_t rows, int64_t n, double *out) noexcept nogil
cdef int squareplus_f32(const float *x, float b, int64_t n, float *out) noexcept nogil
cdef int squareplus_f64(const double *x, double b, int64_t n, double *out) noexcept nogil
cdef int fwht_rows_f32(const float *x, int64_t rows, int64_t n, float *out) noexcept nogil
cdef int fwht_rows_f64(const double *x, int64_t rows, int64_t n, double *out) noexcept nogil
