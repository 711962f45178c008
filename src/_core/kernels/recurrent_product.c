/* Products of matrices: tiles of blocks of rows and columns, whose columns are packed into panels. */
#ifndef KX_REAL
#include "kexue/kx_recurrent.h"

#include "isa/kernel.h"

#define KX_RECURRENT_PRODUCT_PARAMETERS(real)                                                          \
    (const kx_ctx_t *ctx, int64_t rows, int64_t depth, int64_t columns, const kx_recurrent_matrix_t *left, \
     const kx_recurrent_matrix_t *right, real *out, ptrdiff_t out_row)
#define KX_RECURRENT_PRODUCT_ARGUMENTS (ctx, rows, depth, columns, left, right, out, out_row)
KX_DISPATCH(kx_recurrent_product_f32, KX_RECURRENT_PRODUCT_PARAMETERS(float), KX_RECURRENT_PRODUCT_ARGUMENTS)
KX_DISPATCH(kx_recurrent_product_f64, KX_RECURRENT_PRODUCT_PARAMETERS(double), KX_RECURRENT_PRODUCT_ARGUMENTS)

#ifndef KX_DISPATCH_PASS
#include "isa/transpose.h"
#include "kernels/recurrent_internal.h"

enum {
    BLOCK_ROWS = 192, /* a multiple of TILE_ROWS; a block of the left side stays in the second cache */
    BLOCK_PANELS = 8
};
#endif

#define KX_TEMPLATE "kernels/recurrent_product.c"
#include "isa/each_real.h"

#else /* the template */

#ifndef KX_DISPATCH_PASS
#include "kernels/recurrent_tile.h"

/* Entry (i, k) is data[i * row + k * column]. */
typedef struct KX_TYPED(operand) {
    const KX_REAL *data;
    ptrdiff_t row, column;
} KX_TYPED(operand);

typedef struct KX_TYPED(job) {
    KX_TYPED(operand) left, right;
    int64_t rows, depth, columns, block_columns;
    KX_REAL *out;
    ptrdiff_t out_row;
    char *memory;
    size_t worker_bytes, panel_part;
} KX_TYPED(job);

static KX_TYPED(operand) KX_TYPED(operand_of)(const kx_recurrent_matrix_t *matrix) {
    const ptrdiff_t size = (ptrdiff_t)sizeof(KX_REAL);
    return (KX_TYPED(operand)){(const KX_REAL *)matrix->data, matrix->row / size, matrix->column / size};
}

/* Tiles of rows of the left side, one column of a tile after the other; zeros below the last row. */
static void KX_TYPED(pack_rows)(const KX_TYPED(operand) * left, int64_t first, int64_t rows, int64_t from, int64_t depth,
                                KX_REAL *to) {
    for (int64_t i = 0; i < rows; i += TILE_ROWS) {
        const KX_REAL *data = left->data + (first + i) * left->row + from * left->column;
        if (rows - i >= TILE_ROWS && left->row == 1) {
            for (int64_t k = 0; k < depth; k++, to += TILE_ROWS) memcpy(to, data + k * left->column, TILE_ROWS * sizeof *to);
            continue;
        }
        const int used = rows - i < TILE_ROWS ? (int)(rows - i) : TILE_ROWS;
        for (int64_t k = 0; k < depth; k++, to += TILE_ROWS) {
            for (int r = 0; r < used; r++) to[r] = data[r * left->row + k * left->column];
            for (int r = used; r < TILE_ROWS; r++) to[r] = 0;
        }
    }
}

/* A panel of the right side: `width` columns, zeros beside them. */
static void KX_TYPED(pack_panel)(const KX_TYPED(operand) * right, int64_t from, int64_t depth, int64_t column, int64_t width,
                                 KX_REAL *to) {
    const KX_REAL *data = right->data + from * right->row + column * right->column;
    if (width < WIDTH) memset(to, 0, (size_t)(depth * WIDTH) * sizeof *to);
    if (right->column == 1) {
        for (int64_t k = 0; k < depth; k++) {
            if (width == WIDTH) memcpy(to + k * WIDTH, data + k * right->row, WIDTH * sizeof *to);
            else memcpy(to + k * WIDTH, data + k * right->row, (size_t)width * sizeof *to);
        }
        return;
    }
    const int64_t squares = right->row == 1 ? depth / KX_LANES * KX_LANES : 0, across = width / KX_LANES * KX_LANES;
    for (int64_t j = 0; j < across; j += KX_LANES)
        for (int64_t k = 0; k < squares; k += KX_LANES) {
            KX_VECTOR square[KX_LANES];
            for (int l = 0; l < KX_LANES; l++) square[l] = V(load)(data + k + (j + l) * right->column);
            V(transpose)(square);
            for (int l = 0; l < KX_LANES; l++) V(store)(to + (k + l) * WIDTH + j, square[l]);
        }
    for (int64_t j = 0; j < width; j++)
        for (int64_t k = j < across ? squares : 0; k < depth; k++)
            to[k * WIDTH + j] = data[k * right->row + j * right->column];
}

static kx_status_t KX_TYPED(run)(kx_task_t *task, void *arg, int64_t first_block, int64_t end_block) {
    const KX_TYPED(job) *job = (const KX_TYPED(job) *)arg;
    char *memory = job->memory + (size_t)kx_task_worker(task) * job->worker_bytes;
    KX_REAL *packed = (KX_REAL *)(void *)memory, *panel = (KX_REAL *)(void *)(memory + job->panel_part);
    const int64_t across = (job->columns - 1) / job->block_columns + 1;
    const int is_packed = job->left.column != 1;
    for (int64_t block = first_block; block < end_block; block++) {
        const int64_t first = block / across * BLOCK_ROWS, begin = block % across * job->block_columns;
        const int64_t rows = job->rows - first < BLOCK_ROWS ? job->rows - first : BLOCK_ROWS;
        const int64_t columns = job->columns - begin < job->block_columns ? job->columns - begin : job->block_columns;
        KX_REAL *out = job->out + first * job->out_row + begin;
        const KX_REAL *left = is_packed ? NULL : job->left.data + first * job->left.row;
        for (int64_t i = 0; i < rows; i++) memset(out + i * job->out_row, 0, (size_t)columns * sizeof *out);
        for (int64_t k = 0; k < job->depth; k += DEPTH) {
            if (kx_task_should_stop(task)) return KX_E_CANCELLED;
            const int64_t depth = job->depth - k < DEPTH ? job->depth - k : DEPTH;
            if (is_packed) KX_TYPED(pack_rows)(&job->left, first, rows, k, depth, packed);
            for (int64_t j = 0; j < columns; j += WIDTH) {
                const int64_t width = columns - j < WIDTH ? columns - j : WIDTH;
                KX_TYPED(pack_panel)(&job->right, k, depth, begin + j, width, panel);
                for (int64_t i = 0; i < rows; i += TILE_ROWS) {
                    KX_REAL part[TILE_ROWS * WIDTH], *place = out + i * job->out_row + j;
                    const int64_t used = rows - i < TILE_ROWS ? rows - i : TILE_ROWS;
                    if (width < WIDTH) memset(part, 0, sizeof part);
                    KX_REAL *to = width < WIDTH ? part : place;
                    const ptrdiff_t to_row = width < WIDTH ? WIDTH : job->out_row;
                    const ptrdiff_t row = job->left.row;
                    if (is_packed) KX_TYPED(add_rows)(used, packed + i * depth, 1, TILE_ROWS, panel, WIDTH, depth, to, to_row);
                    else KX_TYPED(add_rows)(used, left + i * row + k, row, 1, panel, WIDTH, depth, to, to_row);
                    for (int64_t r = 0; width < WIDTH && r < used; r++)
                        for (int64_t c = 0; c < width; c++) place[r * job->out_row + c] += part[r * WIDTH + c];
                }
            }
        }
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_recurrent_product)) KX_RECURRENT_PRODUCT_PARAMETERS(KX_REAL) {
    if (rows < 0 || depth < 0 || columns < 0) return KX_E_ARGUMENT;
    if (rows == 0 || columns == 0) return KX_OK;
    if (!out || (depth > 0 && (!left || !right || !left->data || !right->data))) return KX_E_ARGUMENT;
    KX_TYPED(job) job = {.rows = rows, .depth = depth, .columns = columns, .out = out};
    job.out_row = out_row / (ptrdiff_t)sizeof(KX_REAL);
    if (depth > 0) job.left = KX_TYPED(operand_of)(left), job.right = KX_TYPED(operand_of)(right);
    /* A sum does not depend on the block that it is in, so blocks may depend on the workers. */
    const int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1, panels = (columns - 1) / WIDTH + 1;
    const int64_t share = (panels - 1) / workers + 1, block_panels = share < BLOCK_PANELS ? share : BLOCK_PANELS;
    job.block_columns = block_panels * WIDTH;
    const int64_t blocks = ((rows - 1) / BLOCK_ROWS + 1) * ((columns - 1) / job.block_columns + 1);
    const int64_t used = workers < blocks ? workers : blocks, most = depth < DEPTH ? depth : DEPTH;
    kx_layout_t layout = {0, 0}, whole = {0, 0};
    kx_layout_add(&layout, BLOCK_ROWS * most, sizeof(KX_REAL));
    job.panel_part = kx_layout_add(&layout, WIDTH * most, sizeof(KX_REAL));
    job.worker_bytes = layout.bytes;
    kx_layout_add(&whole, used, layout.bytes + 64);
    if (whole.overflow) return KX_E_OVERFLOW;
    job.memory = (char *)kx_allocate(ctx, whole.bytes);
    if (!job.memory) return KX_E_MEMORY;
    const int flags = kx_flags_begin();
    const kx_status_t status = kx_parallel_for(ctx, blocks, 1, KX_TYPED(run), &job);
    kx_flags_end(flags, 0);
    kx_release(ctx, job.memory);
    return status;
}
#undef WIDTH
#endif
#endif
