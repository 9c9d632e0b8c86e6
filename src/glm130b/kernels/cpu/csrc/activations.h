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

#if defined(GLM_AVX512)

/* The largest magnitude of each half of sixteen values, in all of that half. */
INLINE __m512 largest_of_halves(__m512 x)
{
    __m512 size = _mm512_abs_ps(x);
    size = _mm512_max_ps(size, _mm512_permute_ps(size, 0xb1));
    size = _mm512_max_ps(size, _mm512_permute_ps(size, 0x4e));
    return _mm512_max_ps(size, _mm512_shuffle_f32x4(size, size, 0xb1));
}

/* 128 columns of which ``count`` are there. */
static void quantise_block(Block *block, const float *x, size_t count, int bits)
{
    float padded[COLUMNS] __attribute__((aligned(64))) = {0}, largest[LANES] __attribute__((aligned(64)));
    const __m512i pairs = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __mmask16 finite_bits = 0xffff;
    __m512 parts[8], over_all = _mm512_setzero_ps();
    if (count < COLUMNS) x = memcpy(padded, x, count * sizeof(float));
    for (int n = 0; n < 8; n++) parts[n] = _mm512_loadu_ps(x + LANES * n);
    if (bits == 4)
        for (int n = 0; n < 8; n++) {
            __m512 halves = largest_of_halves(parts[n]);
            largest[2 * n] = _mm512_cvtss_f32(halves);
            largest[2 * n + 1] = _mm256_cvtss_f32(_mm512_extractf32x8_ps(halves, 1));
        }
    else
        for (int half = 0; half < 2; half++) { /* lane n is two neighbours in each of four parts */
            __m512 size = _mm512_setzero_ps();
            for (int n = half; n < 8; n += 2) size = _mm512_max_ps(size, _mm512_abs_ps(parts[n]));
            size = _mm512_max_ps(size, _mm512_permute_ps(size, 0xb1));
            _mm256_store_ps(largest + 8 * half, _mm512_castps512_ps256(_mm512_maskz_compress_ps(0x5555, size)));
        }
    __m512 most = _mm512_load_ps(largest);
    __mmask16 there = _mm512_cmp_ps_mask(most, _mm512_set1_ps(1e-30f), _CMP_GT_OQ);
    __m512 factors = _mm512_maskz_div_ps(there, _mm512_set1_ps(32767.0f), most);
    __m512 scales = _mm512_maskz_mul_ps(there, most, _mm512_set1_ps(1.0f / 32767.0f));
    for (int n = 0; n < 8; n++) over_all = _mm512_fmadd_ps(parts[n], _mm512_setzero_ps(), over_all); /* not a number if one is not finite */
    if (_mm512_cmp_ps_mask(over_all, over_all, _CMP_ORD_Q) != finite_bits) scales = _mm512_set1_ps(__builtin_nanf(""));
    _mm512_store_ps(block->scales, scales);
    int16_t values[COLUMNS] __attribute__((aligned(64)));
    for (int n = 0; n < 8; n++) {
        __m512i lane = bits == 4 ? _mm512_add_epi32(_mm512_srli_epi32(pairs, 3), _mm512_set1_epi32(2 * n))
                                 : _mm512_add_epi32(_mm512_srli_epi32(pairs, 1), _mm512_set1_epi32(n % 2 * 8));
        __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(parts[n], _mm512_permutexvar_ps(lane, factors)));
        _mm256_store_si256((void *)((bits == 4 ? values : block->values) + LANES * n), _mm512_cvtsepi32_epi16(whole));
    }
    if (bits == 8) return;
    for (int n = 0; n < 4; n++) {
        static const int order[4] = {1, 0, 3, 2};
        __m512i four = _mm512_load_si512(values + 32 * n);
        for (int part = 0; part < 4; part++)
            _mm_store_si128((void *)(block->values + 32 * part + 8 * n), _mm512_cvtepi64_epi16(_mm512_srli_epi64(four, 16 * order[part])));
    }
    const __m512i *own = (const void *)block->values;
    __m512i ones = _mm512_set1_epi16(1), odd = _mm512_dpwssd_epi32(_mm512_madd_epi16(own[0], ones), own[2], ones);
    __m512i even = _mm512_dpwssd_epi32(_mm512_madd_epi16(own[1], ones), own[3], ones);
    _mm512_store_si512(block->odd, _mm512_mullo_epi32(odd, _mm512_set1_epi32(-8)));
    _mm512_store_si512(block->even, _mm512_mullo_epi32(even, _mm512_set1_epi32(-128)));
}

#else

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

#endif

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
