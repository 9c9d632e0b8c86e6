/* FP32 activations to 16-bit fixed point, in the order that the weights' bits ask for. */
#ifndef GLM_ACTIVATIONS_H
#define GLM_ACTIVATIONS_H

#include "lanes.h"

INLINE int all_finite(const float *x, size_t count)
{
    uint32_t worst = 0;
    for (size_t n = 0; n < count; n++) {
        uint32_t bits;
        memcpy(&bits, x + n, 4);
        bits &= 0x7fffffff;
        worst = bits > worst ? bits : worst;
    }
    return worst < 0x7f800000;
}

/* ``size`` values, of which the first ``count`` are there, the rest zero; returns their scale. */
INLINE float to_fixed(int16_t *out, const float *x, size_t count, size_t size)
{
    float largest = 0;
    for (size_t n = 0; n < count; n++) {
        float magnitude = x[n] < 0 ? -x[n] : x[n];
        largest = magnitude > largest ? magnitude : largest;
    }
    /* Too small to divide by is zero. Values that are not finite make the product not a number, as in FP32. */
    float factor = largest > 1e-30f ? 32767.0f / largest : 0.0f;
    for (size_t n = 0; n < count; n++) {
        float scaled = x[n] * factor; /* at most 32767 in size, or not a number */
        out[n] = (int16_t)(int32_t)(scaled + (scaled < 0 ? -0.5f : 0.5f));
    }
    for (size_t n = count; n < size; n++) out[n] = 0;
    if (!all_finite(x, count)) return __builtin_nanf("");
    return largest > 1e-30f ? largest / 32767.0f : 0.0f;
}

/* 128 columns of which ``count`` are there. */
static void quantise_block(Block *block, const float *x, size_t count, int bits)
{
    static const int order[4] = {1, 0, 3, 2};
    float padded[COLUMNS] = {0};
    if (count < COLUMNS) x = memcpy(padded, x, count * sizeof(float));
    if (bits == 8) {
        float lanes[LANES][8];
        int16_t values[LANES][8];
        for (int n = 0; n < LANES; n++)
            for (int i = 0; i < 8; i++) lanes[n][i] = x[32 * (i / 2) + 2 * n + i % 2];
        for (int n = 0; n < LANES; n++) block->scales[n] = to_fixed(values[n], lanes[n], 8, 8);
        for (int n = 0; n < LANES; n++)
            for (int i = 0; i < 8; i++) block->values[32 * (i / 2) + 2 * n + i % 2] = values[n][i];
        return;
    }
    int16_t values[COLUMNS] __attribute__((aligned(64)));
    for (int n = 0; n < LANES; n++) block->scales[n] = to_fixed(values + 8 * n, x + 8 * n, 8, 8);
    for (int part = 0; part < 4; part++)
        for (int j = 0; j < 32; j++) block->values[32 * part + j] = values[4 * j + order[part]];
    for (int n = 0; n < LANES; n++) {
        const int16_t *own = values + 8 * n;
        block->odd[n] = -8 * (own[1] + own[3] + own[5] + own[7]);
        block->even[n] = -128 * (own[0] + own[2] + own[4] + own[6]);
    }
}

/* Part ``part`` of ``parts`` of ``batch`` rows of ``columns`` values, into num_blocks(columns) blocks a row. */
static void quantise_blocks(Block *blocks, const float *x, size_t batch, size_t columns, int bits, int part, int parts)
{
    size_t each = num_blocks(columns), n, end;
    for (share(batch * each, 1, part, parts, &n, &end); n < end; n++) {
        size_t b = n % each;
        quantise_block(blocks + n, x + n / each * columns + b * COLUMNS, smaller(COLUMNS, columns - b * COLUMNS), bits);
    }
}

#endif
