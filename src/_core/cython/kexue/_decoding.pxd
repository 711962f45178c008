from libc.stdint cimport int64_t, uint32_t

# For kexue.capi.
cdef int count_edits(const uint32_t *a, int64_t n, const uint32_t *b, int64_t m, int64_t *distance) noexcept nogil
cdef int count_common(const uint32_t *a, int64_t n, const uint32_t *b, int64_t m, int64_t *length) noexcept nogil
