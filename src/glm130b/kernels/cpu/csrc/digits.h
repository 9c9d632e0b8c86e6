/* Activations for AMX, which multiplies bytes: their 16-bit fixed point, split into a signed and an unsigned byte. */
#ifndef GLM_DIGITS_H
#define GLM_DIGITS_H

#include "product.h"

#if defined(GLM_AMX)

#define SIDE 16      /* rows of a tile */
#define DEPTH 64     /* columns of a tile */
#define FAR_ABOVE 16 /* times the mean: where a value is so large, what rounding left of the others counts */

/* Columns that are multiplied before their products are scaled: ``tiles`` (1 or 2) tiles of ``depth`` columns. */
typedef struct {
    size_t depth, tiles;
} Step;

/* One step of 16 rows of activations; in ``high`` and ``low`` four columns of a row lie side by side. */
typedef struct {
    int8_t high[2][DEPTH / 4][SIDE][4];
    uint8_t low[2][DEPTH / 4][SIDE][4];
    int32_t start[SIDE]; /* of the sums of low bytes: takes back that 4-bit weights are multiplied as n + 8 */
    float scale[SIDE];
    int has_rest; /* whether what rounding left follows as digits of its own, ``num_steps`` further on */
} __attribute__((aligned(64))) Digits;

/* Depth 0 if columns that share a scale make no step. */
INLINE Step step_of(const Matrix *m)
{
    size_t group = m->columns / m->groups;
    if (m->groups == 1 || group % (2 * DEPTH) == 0) return (Step){DEPTH, 2};
    return (Step){group % DEPTH == 0 ? DEPTH : group == DEPTH / 2 ? DEPTH / 2 : 0, 1};
}

INLINE size_t steps_of(const Matrix *m, Step step)
{
    return (m->columns + step.depth * step.tiles - 1) / (step.depth * step.tiles);
}

/* The digits of 64 or 32 columns of one row; leaves in x what rounding left. Returns the sum of the values. */
INLINE int32_t split(void *high, void *low, float *x, float factor, float scale, size_t depth, int bits)
{
    static const uint8_t natural[DEPTH] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                           22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
                                           44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};
    __m512i total = _mm512_setzero_si512(), order = _mm512_loadu_si512(natural);
    __m512i places = _mm512_slli_epi32(_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)natural)), 6);
    uint8_t bytes[2][DEPTH] __attribute__((aligned(64)));
    for (size_t c = 0; c < depth; c += LANES) {
        __m512 value = _mm512_loadu_ps(x + c);
        __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(value, _mm512_set1_ps(factor)));
        _mm_store_si128((void *)(bytes[0] + c), _mm512_cvtepi32_epi8(_mm512_srai_epi32(whole, 8)));
        _mm_store_si128((void *)(bytes[1] + c), _mm512_cvtepi32_epi8(whole));
        _mm512_storeu_ps(x + c, _mm512_fnmadd_ps(_mm512_cvtepi32_ps(whole), _mm512_set1_ps(scale), value));
        total = _mm512_add_epi32(total, whole);
    }
    /* 4-bit weights have their even columns first. */
    if (bits == 4) {
        __m512i last = _mm512_set1_epi8((char)(depth - 1));
        __mmask64 odd = depth == DEPTH ? 0xffffffff00000000 : 0xffff0000ffff0000;
        order = _mm512_and_si512(_mm512_add_epi8(order, order), last);
        order = _mm512_mask_add_epi8(order, odd, order, _mm512_set1_epi8(1));
    }
    __mmask16 there = depth == DEPTH ? 0xffff : 0x00ff;
    _mm512_mask_i32scatter_epi32(high, there, places, _mm512_permutexvar_epi8(order, _mm512_load_si512(bytes[0])), 1);
    _mm512_mask_i32scatter_epi32(low, there, places, _mm512_permutexvar_epi8(order, _mm512_load_si512(bytes[1])), 1);
    return _mm512_reduce_add_epi32(total);
}

/* One row of a step. */
INLINE void quantise_digits(Digits *digits, size_t row, float *x, float largest, Step step, int bits)
{
    float factor = largest > 1e-30f ? 32767.0f / largest : 0.0f, scale = largest > 1e-30f ? largest / 32767.0f : 0.0f;
    int32_t total = 0;
    if (!all_finite(x, step.depth * step.tiles)) scale = __builtin_nanf("");
    for (size_t t = 0; t < step.tiles; t++)
        total += split(digits->high[t][0][row], digits->low[t][0][row], x + t * step.depth, factor, scale, step.depth, bits);
    digits->scale[row] = scale;
    digits->start[row] = bits == 4 ? -8 * total : 0;
}

/* Part of all steps of the activations. */
static void quantise_digits_of(Digits *all, const float *x, size_t batch, const Matrix *m, Step step, int part, int parts)
{
    const size_t columns = m->columns, steps = steps_of(m, step), width = step.depth * step.tiles;
    const size_t num_steps = (batch + SIDE - 1) / SIDE * steps;
    size_t n, end;
    for (share(num_steps, 1, part, parts, &n, &end); n < end; n++) {
        const size_t first = n % steps * width, there = smaller(width, columns - first);
        float values[SIDE][2 * DEPTH] __attribute__((aligned(64)));
        all[n].has_rest = 0;
        for (size_t row = 0; row < SIDE; row++) {
            size_t number = n / steps * SIDE + row;
            __m512 largest = _mm512_setzero_ps(), total = _mm512_setzero_ps();
            if (there < width || number >= batch) memset(values[row], 0, sizeof values[row]);
            if (number < batch) memcpy(values[row], x + number * columns + first, there * sizeof(float));
            for (size_t c = 0; c < width; c += LANES) {
                __m512 size = _mm512_abs_ps(_mm512_load_ps(values[row] + c));
                largest = _mm512_max_ps(largest, size);
                total = _mm512_add_ps(total, size);
            }
            float most = _mm512_reduce_max_ps(largest);
            all[n].has_rest |= most * width > FAR_ABOVE * _mm512_reduce_add_ps(total);
            quantise_digits(all + n, row, values[row], most, step, m->type);
        }
        for (size_t row = 0; all[n].has_rest && row < SIDE; row++) {
            __m512 largest = _mm512_setzero_ps();
            for (size_t c = 0; c < width; c += LANES) largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_load_ps(values[row] + c)));
            quantise_digits(all + num_steps + n, row, values[row], _mm512_reduce_max_ps(largest), step, m->type);
        }
    }
}

#endif
#endif
