from libc.stdint cimport int64_t

# For kexue.capi.
cdef int softmax_rows_f32(const float *x, int64_t rows, int64_t n, float *out) noexcept nogil
cdef int softmax_rows_f64(const double *x, int64_t rows, int64_t n, double *out) noexcept nogil
cdef int squareplus_f32(const float *x, float b, int64_t n, float *out) noexcept nogil
cdef int squareplus_f64(const double *x, double b, int64_t n, double *out) noexcept nogil
cdef int fwht_rows_f32(const float *x, int64_t rows, int64_t n, float *out) noexcept nogil
cdef int fwht_rows_f64(const double *x, int64_t rows, int64_t n, double *out) noexcept nogil
