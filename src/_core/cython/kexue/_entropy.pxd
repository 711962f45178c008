from libc.stdint cimport int32_t, int64_t

# For kexue.capi.
cdef int entropy_normalize_f32(const float *p, int64_t rows, int64_t n, const double *targets, int target_kind, float *q, int32_t *statuses) noexcept nogil
cdef int entropy_normalize_f64(const double *p, int64_t rows, int64_t n, const double *targets, int target_kind, double *q, int32_t *statuses) noexcept nogil
