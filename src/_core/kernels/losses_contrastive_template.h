/* Vectors of part of a row, and sums over lanes in float64: for the template of one precision. */
static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(load)(const KX_REAL *p, int64_t width, KX_REAL fill) {
    return width == KX_LANES ? V(load)(p) : V(load_part)(p, width, fill);
}
static KX_ALWAYS_INLINE void KX_TYPED(store)(KX_REAL *p, int64_t width, KX_VECTOR value) {
    if (width == KX_LANES) V(store)(p, value);
    else V(store_part)(p, width, value);
}

/* Sums of float32 need no compensation in float64. */
static KX_ALWAYS_INLINE void KX_TYPED(add)(kx_lane_sum_t *sum, KX_VECTOR value) {
    KX_REAL lanes[KX_LANES];
    V(store)(lanes, value);
#if KX_IS_FLOAT
    sum->total = kx_f64v_add(sum->total,
                             kx_f64v_add(kx_f64v_load_f32(lanes), kx_f64v_load_f32(lanes + KX_F64_LANES)));
#else
    kx_lane_sum_add(sum, kx_f64v_load(lanes));
#endif
}
static double KX_TYPED(total)(const kx_lane_sum_t *sum) {
    const double total = kx_f64v_sum(sum->total);
    return isfinite(total) ? total + kx_f64v_sum(sum->lost) : total; /* of an infinity nothing is lost */
}
