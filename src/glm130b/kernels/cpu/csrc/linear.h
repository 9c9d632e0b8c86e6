/* A product on one thread of several, by whichever way is fastest for so many rows of activations. */
#ifndef GLM_LINEAR_H
#define GLM_LINEAR_H

#include <omp.h>

#include "floats.h"
#include "tiles.h"

#define SHARE 16 /* rows of weights are shared among threads by so many */
#define TILES_FROM 5 /* rows of activations from which tiles are faster */

#if defined(GLM_AMX)
static int tiles_usable;
INLINE int uses_tiles(const Matrix *m, size_t batch)
{
    return tiles_usable && !m->same_for_any_batch && batch >= TILES_FROM && m->type <= INT8 && step_of(m).depth;
}
#else
INLINE int uses_tiles(const Matrix *m, size_t batch) { return (void)m, (void)batch, 0; }
#endif

INLINE int uses_blocks(const Matrix *m) { return m->type <= INT8 && scales_a_block(m) >= 0; }

/* For groups that fit no block: each weight by itself. */
static void product_by_values(float *out, size_t out_stride, const Matrix *m, size_t start, size_t end, const float *x, size_t batch)
{
    size_t group = m->columns / m->groups;
    for (size_t n = 0; n < batch; n++)
        for (size_t row = start; row < end; row++) {
            const uint8_t *w = m->weight + row * row_bytes(m);
            float found = 0;
            for (size_t g = 0; g < m->groups; g++) {
                float part = 0;
                for (size_t c = g * group; c < (g + 1) * group; c++) {
                    int nibble = c % 2 ? w[c / 2] & 15 : w[c / 2] >> 4;
                    part += x[n * m->columns + c] * (m->type == 8 ? (int8_t)w[c] : (nibble ^ 8) - 8);
                }
                found += part * half_to_float(m->scale[row * m->groups + g]);
            }
            out[n * out_stride + row] = found + (m->bias ? m->bias[row] : 0);
        }
}

/* Bytes for the activations of one product, and for each thread beside them. */
INLINE size_t activation_bytes(const Matrix *m, size_t batch)
{
#if defined(GLM_AMX)
    if (uses_tiles(m, batch)) return (batch + SIDE - 1) / SIDE * steps_of(m, step_of(m)) * 2 * sizeof(Digits);
#endif
    return uses_blocks(m) ? batch * num_blocks(m->columns) * sizeof(Block) : 64;
}

INLINE size_t thread_bytes(const Matrix *m, size_t batch)
{
#if defined(GLM_AMX)
    if (uses_tiles(m, batch)) return tile_scratch(batch);
#endif
    return (void)m, (void)batch, (size_t)64;
}

INLINE void prepare(void *activations, const float *x, const Matrix *m, size_t batch, int part, int parts)
{
#if defined(GLM_AMX)
    if (uses_tiles(m, batch)) {
        quantise_digits_of(activations, x, batch, m, step_of(m), part, parts);
        return;
    }
#endif
    if (uses_blocks(m)) quantise_blocks(activations, x, batch, m->columns, m->type, part, parts);
}

INLINE void product(float *out, size_t out_stride, const Matrix *m, size_t start, size_t end, const float *x,
                    const void *activations, size_t batch, void *own)
{
#if defined(GLM_AMX)
    if (uses_tiles(m, batch)) {
        product_by_tiles(out, out_stride, m, start, end, activations, batch, own);
        return;
    }
#endif
    (void)own;
    if (m->type > INT8)
        float_product(out, out_stride, m, start, end, x, batch);
    else if (uses_blocks(m))
        product_by_lanes(out, out_stride, m, start, end, activations, batch);
    else
        product_by_values(out, out_stride, m, start, end, x, batch);
}

#endif
