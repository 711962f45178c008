from libc.stdint cimport int64_t

# For kexue.capi.
cdef int emd2_f32(const double *a, const double *b, const float *M, int64_t m, int64_t n, double *cost) noexcept nogil
cdef int emd2_f64(const double *a, const double *b, const double *M, int64_t m, int64_t n, double *cost) noexcept nogil
cdef int sinkhorn2_f32(const double *a, const double *b, const float *M, int64_t m, int64_t n, double reg, double *cost) noexcept nogil
cdef int sinkhorn2_f64(const double *a, const double *b, const double *M, int64_t m, int64_t n, double reg, double *cost) noexcept nogil
