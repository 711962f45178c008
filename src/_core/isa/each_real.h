/* Includes KX_TEMPLATE for double, then for float: a file that includes this where KX_REAL is not defined and is a template where it
   is. Not guarded: each template includes it once. */
#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_MASK kx_f64m
#define KX_LANES KX_F64_LANES
#define KX_EXP_LEAST 746 /* e^-746 is 0 */
#include KX_TEMPLATE
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_MASK
#undef KX_LANES
#undef KX_EXP_LEAST

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_MASK kx_f32m
#define KX_LANES KX_F32_LANES
#define KX_EXP_LEAST 104
#include KX_TEMPLATE
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_MASK
#undef KX_LANES
#undef KX_EXP_LEAST
#undef KX_TEMPLATE
