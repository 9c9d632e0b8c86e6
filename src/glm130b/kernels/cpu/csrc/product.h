/* y = W x for up to four rows of x at a time: the weights are read once, taken apart once. */
#ifndef GLM_PRODUCT_H
#define GLM_PRODUCT_H

#include "activations.h"

#define BATCH 4 /* rows of activations at a time */

INLINE size_t row_bytes(const Matrix *m) { return m->columns * m->type / 8; }

/* Adds one block of a row of weights, times each x, to ``total``. ``per`` scales apply to the block, 0: none. */
INLINE void add_block(Lanes total[BATCH], const uint8_t *w, const Block *x, size_t stride, int batch, int bits,
                      const uint16_t *scale, int per)
{
    if (bits == 4) {
        Nibbles parts = nibbles(w);
        Lanes spreaded = per ? spread(scale, per) : zero();
UNROLL
        for (int m = 0; m < batch; m++) {
            Lanes scales = load(x[m * stride].scales);
            total[m] = add_lanes(total[m], dot4(&parts, x + m * stride), per ? times(scales, spreaded) : scales);
        }
        return;
    }
    const int8_t *bytes = (const int8_t *)w;
    int steps = per ? per : 1, chunks = 4 / steps;
    for (int step = 0; step < steps; step++)
UNROLL
        for (int m = 0; m < batch; m++) {
            const Block *own = x + m * stride;
            Lanes scales = load(own->scales), found = dot8(bytes + 32 * chunks * step, own->values + 32 * chunks * step, chunks);
            total[m] = add_lanes(total[m], found, per ? times(scales, same(half_to_float(scale[step]))) : scales);
        }
}

/* ``count`` (1 or STREAMS) rows of weights, ``apart`` rows from one another. */
typedef struct {
    const Matrix *m;
    size_t row, apart;
    int count;
} Rows;

INLINE size_t number(const Rows *rows, int r) { return rows->row + r * rows->apart; }

/* Adds blocks ``first`` to ``last`` of rows of weights, times each x, to ``total``; fetches what comes behind. */
INLINE void add_blocks(Lanes total[STREAMS][BATCH], const Rows *rows, const Block *x, size_t stride, size_t first, size_t last,
                       int batch, int bits, int per)
{
    const size_t bytes = COLUMNS / 8 * bits, jump = rows->apart * row_bytes(rows->m), scales = rows->apart * rows->m->groups;
    const uint8_t *w = rows->m->weight + rows->row * row_bytes(rows->m);
    const uint16_t *scale = rows->m->scale + rows->row * rows->m->groups;
    for (size_t b = first; b < last; b++)
UNROLL
        for (int r = 0; r < rows->count; r++) {
            const uint8_t *own = w + r * jump + b * bytes;
            for (size_t line = 0; line < bytes; line += 64) __builtin_prefetch(own + line + PREFETCH);
            add_block(total[r], own, x + b, stride, batch, bits, scale + r * scales + b * per, per);
        }
}

/* What is left of a row behind its whole blocks, as a block with zeros. */
INLINE void add_rest(Lanes total[BATCH], const Matrix *m, size_t row, const Block *x, size_t stride, int batch, int bits, int per)
{
    size_t whole = m->columns / COLUMNS, start = whole * COLUMNS / 8 * bits;
    uint8_t weights[COLUMNS] = {0};
    uint16_t scales[4] = {0};
    memcpy(weights, m->weight + row * row_bytes(m) + start, row_bytes(m) - start);
    if (per) memcpy(scales, m->scale + row * m->groups + whole * per, (m->groups - whole * per) * 2);
    add_block(total, weights, x + whole, stride, batch, bits, scales, per);
}

INLINE void clear(Lanes total[STREAMS][BATCH], int rows, int batch)
{
UNROLL
    for (int r = 0; r < rows; r++)
UNROLL
        for (int n = 0; n < batch; n++) total[r][n] = zero();
}

/* Rows of weights times ``batch`` rows of x; ``count`` and what follows ``stride`` are constants that are folded in. */
INLINE void product_of_rows(float *out, size_t out_stride, const Matrix *m, size_t row, size_t apart, int count,
                            const Block *x, size_t stride, int batch, int bits, int per)
{
    const Rows rows = {m, row, apart, count};
    const size_t whole = m->columns / COLUMNS;
    Lanes total[STREAMS][BATCH];
    clear(total, count, batch);
    if (per || m->groups == 1) {
        add_blocks(total, &rows, x, stride, 0, whole, batch, bits, per);
        for (int r = 0; r < count && whole * COLUMNS < m->columns; r++)
            add_rest(total[r], m, number(&rows, r), x, stride, batch, bits, per);
    } else {
        for (size_t g = 0, each = whole / m->groups; g < m->groups; g++) {
            Lanes part[STREAMS][BATCH];
            clear(part, count, batch);
            add_blocks(part, &rows, x, stride, g * each, (g + 1) * each, batch, bits, 0);
            for (int r = 0; r < count; r++)
                for (int n = 0; n < batch; n++)
                    total[r][n] = add_scaled(total[r][n], part[r][n], half_to_float(m->scale[number(&rows, r) * m->groups + g]));
        }
    }
UNROLL
    for (int r = 0; r < count; r++) {
        const size_t own = number(&rows, r);
        const float scale = per || m->groups > 1 ? 1 : half_to_float(m->scale[own]), bias = m->bias ? m->bias[own] : 0;
UNROLL
        for (int n = 0; n < batch; n++) out[n * out_stride + own] = sum(total[r][n]) * scale + bias;
    }
}

/* Scales of a block: 1, 2 or 4; 0 if several blocks share one; -1 if blocks and groups do not fit each other. */
INLINE int scales_a_block(const Matrix *m)
{
    if (m->groups == 1) return 0;
    size_t group = m->columns / m->groups;
    if (group == COLUMNS || group == COLUMNS / 2 || group == COLUMNS / 4) return (int)(COLUMNS / group);
    return group % COLUMNS == 0 ? 0 : -1;
}

#define FUNCTION(B, N, P)                                                                                              \
    static __attribute__((noinline)) void rows_##B##_##N##_##P(float *out, size_t out_stride, const Matrix *m, size_t row, \
                                                               size_t end, const Block *x, size_t stride)              \
    {                                                                                                                  \
        size_t apart = (end - row) / STREAMS;                                                                          \
        for (size_t n = 0; n < apart; n++)                                                                             \
            product_of_rows(out, out_stride, m, row + n, apart, STREAMS, x, stride, N, B, P);                          \
        for (row += STREAMS * apart; row < end; row++) product_of_rows(out, out_stride, m, row, 0, 1, x, stride, N, B, P); \
    }
#define FUNCTIONS_FOR(B, N) FUNCTION(B, N, 0) FUNCTION(B, N, 1) FUNCTION(B, N, 2) FUNCTION(B, N, 4)
#define FUNCTIONS(B) FUNCTIONS_FOR(B, 1) FUNCTIONS_FOR(B, 2) FUNCTIONS_FOR(B, 3) FUNCTIONS_FOR(B, 4)
FUNCTIONS(4)
FUNCTIONS(8)

typedef void (*Product)(float *, size_t, const Matrix *, size_t, size_t, const Block *, size_t);
#define BY_PER(B, N) {rows_##B##_##N##_0, rows_##B##_##N##_1, rows_##B##_##N##_2, rows_##B##_##N##_4}
static const Product PRODUCTS[2][BATCH][4] = {{BY_PER(4, 1), BY_PER(4, 2), BY_PER(4, 3), BY_PER(4, 4)},
                                       {BY_PER(8, 1), BY_PER(8, 2), BY_PER(8, 3), BY_PER(8, 4)}};

/* Rows ``start`` to ``end`` of y for all x; more than BATCH of them take the weights from the cache. */
static void product_by_lanes(float *out, size_t out_stride, const Matrix *m, size_t start, size_t end, const Block *x, size_t batch)
{
    static const int place[5] = {0, 1, 2, 0, 3};
    size_t x_stride = num_blocks(m->columns), held = batch > BATCH ? 32 : end - start;
    for (size_t row = start; row < end; row += held)
        for (size_t n = 0; n < batch; n += BATCH) {
            Product rows = PRODUCTS[m->type == 8][smaller(BATCH, batch - n) - 1][place[scales_a_block(m)]];
            rows(out + n * out_stride, out_stride, m, row, smaller(end, row + held), x + n * x_stride, x_stride);
        }
}

#endif
