/* y = W x for weights that are not quantised: FP32, FP16 or BF16. */
#ifndef GLM_FLOATS_H
#define GLM_FLOATS_H

#include "lanes.h"

INLINE Lanes load_weights(const uint8_t *w, int type)
{
    return type == FP32 ? load((const float *)w) : type == FP16 ? load_half((const uint16_t *)w) : load_brain((const uint16_t *)w);
}

INLINE float load_weight(const uint8_t *w, int type)
{
    if (type == FP32) return *(const float *)w;
    return type == FP16 ? half_to_float(*(const uint16_t *)w) : from_bits((uint32_t) * (const uint16_t *)w << 16);
}

/* ``rows`` (1 or STREAMS) rows, ``apart`` from one another. */
INLINE void float_rows(float *out, size_t out_stride, const Matrix *m, size_t row, size_t apart, int rows, const float *x, int batch, int type)
{
    const size_t size = type == FP32 ? 4 : 2, stride = m->columns * size, whole = m->columns / LANES * LANES;
    const uint8_t *w = m->weight + row * stride;
    Lanes total[STREAMS][4];
    for (int r = 0; r < rows; r++)
        for (int n = 0; n < batch; n++) total[r][n] = zero();
    for (size_t c = 0; c < whole; c += LANES)
        for (int r = 0; r < rows; r++) {
            const uint8_t *own = w + r * apart * stride + c * size;
            if (c * size % 64 == 0) __builtin_prefetch(own + PREFETCH);
            Lanes weights = load_weights(own, type);
            for (int n = 0; n < batch; n++) total[r][n] = add_lanes(total[r][n], weights, load(x + n * m->columns + c));
        }
    for (int r = 0; r < rows; r++)
        for (int n = 0; n < batch; n++) {
            float found = sum(total[r][n]);
            for (size_t c = whole; c < m->columns; c++) found += load_weight(w + r * apart * stride + c * size, type) * x[n * m->columns + c];
            out[n * out_stride + row + r * apart] = found + (m->bias ? m->bias[row + r * apart] : 0);
        }
}

INLINE void float_streams(float *out, size_t out_stride, const Matrix *m, size_t row, size_t end, const float *x, int batch, int type)
{
    size_t apart = (end - row) / STREAMS;
    for (size_t n = 0; n < apart; n++) float_rows(out, out_stride, m, row + n, apart, STREAMS, x, batch, type);
    for (row += STREAMS * apart; row < end; row++) float_rows(out, out_stride, m, row, 0, 1, x, batch, type);
}

#define FLOATS(T, N)                                                                                                 \
    static __attribute__((noinline)) void floats_##T##_##N(float *out, size_t out_stride, const Matrix *m, size_t row, \
                                                           size_t end, const float *x)                                \
    {                                                                                                                 \
        float_streams(out, out_stride, m, row, end, x, N, T);                                                          \
    }
FLOATS(FP32, 1) FLOATS(FP32, 2) FLOATS(FP32, 4) FLOATS(FP16, 1) FLOATS(FP16, 2) FLOATS(FP16, 4) FLOATS(BF16, 1) FLOATS(BF16, 2) FLOATS(BF16, 4)

/* Rows ``start`` to ``end`` of y for all x, FP32 [batch][columns]. */
static void float_product(float *out, size_t out_stride, const Matrix *m, size_t start, size_t end, const float *x, size_t batch)
{
    typedef void (*Rows)(float *, size_t, const Matrix *, size_t, size_t, const float *);
    static const Rows table[3][3] = {{floats_FP32_1, floats_FP32_2, floats_FP32_4},
                                     {floats_FP16_1, floats_FP16_2, floats_FP16_4},
                                     {floats_BF16_1, floats_BF16_2, floats_BF16_4}};
    size_t held = batch > 4 ? 16 : end - start;
    for (size_t row = start; row < end; row += held)
        for (size_t n = 0; n < batch;) {
            size_t left = batch - n, now = left >= 4 ? 4 : left >= 2 ? 2 : 1;
            table[m->type == FP32 ? 0 : m->type == FP16 ? 1 : 2][now / 2](out + n * out_stride, out_stride, m, row, smaller(end, row + held), x + n * m->columns);
            n += now;
        }
}

#endif
