from libc.stdint cimport int64_t

# For kexue.capi.
cdef int wmd_f32(const float *x, const float *y, const double *x_weights, const double *y_weights, int64_t m, int64_t n, int64_t dimension, float *distance) noexcept nogil
cdef int wmd_f64(const double *x, const double *y, const double *x_weights, const double *y_weights, int64_t m, int64_t n, int64_t dimension, double *distance) noexcept nogil
cdef int wrd_f32(const float *x, const float *y, const double *x_weights, const double *y_weights, int64_t m, int64_t n, int64_t dimension, float *distance) noexcept nogil
cdef int wrd_f64(const double *x, const double *y, const double *x_weights, const double *y_weights, int64_t m, int64_t n, int64_t dimension, double *distance) noexcept nogil
