/* kexue: recurrent networks and backpropagation through time.

   Matrices act on rows from the right: W has a row for each number of an input x, U one for each unit of h' = h_{t-1}, and
   both have a block of `size` columns for each gate. sigma is the logistic function, products without a sign are by element:

   TANH, RELU    h = tanh(x W + h' U + b), max(0, ...)                                                 one block
   LSTM          f, i, o = sigma(...), g = tanh(...), c = f c' + i g, h = o tanh c                     blocks f, i, g, o
   GRU           z, r = sigma(...), n = tanh(x W_n + (r h') U_n + b_n), h = (1 - z) h' + z n           blocks z, r, n
   GRU_AFTER     q = h' U_n + d, n = tanh(x W_n + b_n + r q), h = (1 - z) n + z h'                     blocks z, r, n
   GRU_SINGLE    GRU with r = z                                                                        blocks z, n
   GRU_PROPOSAL  n = tanh(x W_n + h' U_n + b_n), c = (1 - z) c' + z n, h = r c                         blocks z, r, n

   Sums over inputs and units are in the type of the call, in blocks of 128, in one order for any number of sequences and
   threads: a sequence's result depends on nothing but itself. tanh and sigma are good to 4 ulps (sigma: 0 where it is
   subnormal). A NaN makes what depends on it NaN. */
#ifndef KX_RECURRENT_H
#define KX_RECURRENT_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum kx_recurrent_kind {
    KX_RECURRENT_TANH,
    KX_RECURRENT_RELU,
    KX_RECURRENT_LSTM,
    KX_RECURRENT_GRU,
    KX_RECURRENT_GRU_AFTER,
    KX_RECURRENT_GRU_SINGLE,
    KX_RECURRENT_GRU_PROPOSAL
} kx_recurrent_kind_t;

/* Arrays are contiguous and of the call's type. */
typedef struct kx_recurrent {
    kx_recurrent_kind_t kind;
    int64_t sequences, steps, dimension, size;
    const void *inputs;         /* x: (sequences, steps, dimension) */
    const void *input_weights;  /* W: (dimension, blocks * size) */
    const void *weights;        /* U: (size, blocks * size) */
    const void *bias;           /* b: (blocks * size), or NULL for 0 */
    const void *recurrent_bias; /* d of GRU_AFTER: (size), or NULL for 0 */
    const void *start;          /* h_0: (sequences, size), or NULL for 0 */
    const void *cell_start;     /* c_0 of LSTM and GRU_PROPOSAL, the same */
} kx_recurrent_t;

/* states: (sequences, steps, size); cells: the same for LSTM and GRU_PROPOSAL, not used by the others. gates: NULL, or their
   values for the gradient, (sequences, steps, kept, size): the blocks, and for GRU_AFTER z, r, n, q; TANH and RELU keep none.
   Sequences are shared out among threads; every step asks whether to stop. Memory: a copy of W and U where steps are many,
   and some 96 rows of gates a thread. */
kx_status_t kx_recurrent_f32(const kx_ctx_t *ctx, const kx_recurrent_t *network, float *states, float *cells, float *gates);
kx_status_t kx_recurrent_f64(const kx_ctx_t *ctx, const kx_recurrent_t *network, double *states, double *cells, double *gates);

/* From the gradients by all states and, unless NULL, all cells: those by the pre-activations, (sequences, steps, kept, size)
   with one block for TANH and RELU and those of z, r, n and q for GRU_AFTER, and by h_0 and c_0, (sequences, size). The
   gradients by x, W and U are products of these with W, x and h, for kx_recurrent_product, and none of this call: inputs and
   input_weights are not read. gate_gradients may be gates. */
kx_status_t kx_recurrent_gradient_f32(const kx_ctx_t *ctx, const kx_recurrent_t *network, const float *gates,
                                      const float *states, const float *cells, const float *state_gradients,
                                      const float *cell_gradients, float *gate_gradients, float *start_gradients,
                                      float *cell_start_gradients);
kx_status_t kx_recurrent_gradient_f64(const kx_ctx_t *ctx, const kx_recurrent_t *network, const double *gates,
                                      const double *states, const double *cells, const double *state_gradients,
                                      const double *cell_gradients, double *gate_gradients, double *start_gradients,
                                      double *cell_start_gradients);

/* A matrix of the call's type whose entry (i, k) is at data + i * row + k * column, both in bytes and multiples of its size. */
typedef struct kx_recurrent_matrix {
    const void *data;
    ptrdiff_t row, column;
} kx_recurrent_matrix_t;

/* out = left right, of rows x depth and depth x columns. out: rows out_row bytes apart, and neither side. Fastest where one
   stride of each side is that of neighbours. Sums over the depth are in the type of the call, in blocks of 128, in one order for
   any sizes and threads. Memory: a quarter of a megabyte a thread. */
kx_status_t kx_recurrent_product_f32(const kx_ctx_t *ctx, int64_t rows, int64_t depth, int64_t columns,
                                     const kx_recurrent_matrix_t *left, const kx_recurrent_matrix_t *right, float *out,
                                     ptrdiff_t out_row);
kx_status_t kx_recurrent_product_f64(const kx_ctx_t *ctx, int64_t rows, int64_t depth, int64_t columns,
                                     const kx_recurrent_matrix_t *left, const kx_recurrent_matrix_t *right, double *out,
                                     ptrdiff_t out_row);

#ifdef __cplusplus
}
#endif
#endif
