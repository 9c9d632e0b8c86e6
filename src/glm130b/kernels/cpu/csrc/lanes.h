/* Sixteen FP32 lanes, and exact products of a block of weights with a block of activations, on three kinds of CPU.
 *
 * Lanes: zero, sum, add_scaled (a + b * s for one s), add_lanes (a + b * c), load, load_half.
 * Nibbles: a block of 128 4-bit weights taken apart, dot4 its products with activations, by lane.
 * dot8: products of 32 int8 weights with activations.
 */
#ifndef GLM_LANES_H
#define GLM_LANES_H

#include "common.h"

#if defined(GLM_AVX512)

typedef __m512 Lanes;
typedef struct { __m512i part[4]; } Nibbles;

INLINE Lanes zero(void) { return _mm512_setzero_ps(); }
INLINE float sum(Lanes a) { return _mm512_reduce_add_ps(a); }
INLINE Lanes add_scaled(Lanes a, Lanes b, float s) { return _mm512_fmadd_ps(b, _mm512_set1_ps(s), a); }
INLINE Lanes add_lanes(Lanes a, Lanes b, Lanes c) { return _mm512_fmadd_ps(b, c, a); }
INLINE Lanes times(Lanes a, Lanes b) { return _mm512_mul_ps(a, b); }
INLINE Lanes same(float s) { return _mm512_set1_ps(s); }
INLINE Lanes load(const float *p) { return _mm512_loadu_ps(p); }
INLINE Lanes load_half(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p)); }
INLINE Lanes load_brain(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)), 16));
}

INLINE Nibbles nibbles(const uint8_t *w)
{
    __m512i v = _mm512_loadu_si512(w), high = _mm512_srli_epi16(v, 8);
    __m512i eights = _mm512_set1_epi8((char)0x88), low4 = _mm512_set1_epi16(0x0f), next4 = _mm512_set1_epi16(0xf0);
    /* 0x28: (a ^ b) & c */
    return (Nibbles){{_mm512_ternarylogic_epi32(v, eights, low4, 0x28), _mm512_ternarylogic_epi32(v, eights, next4, 0x28),
                      _mm512_ternarylogic_epi32(high, eights, low4, 0x28),
                      _mm512_ternarylogic_epi32(high, eights, next4, 0x28)}};
}

INLINE Lanes dot4(const Nibbles *w, const Block *x)
{
    const __m512i *values = (const void *)x->values;
    __m512i odd = _mm512_dpwssd_epi32(_mm512_load_si512(x->odd), w->part[0], values[0]);
    __m512i even = _mm512_dpwssd_epi32(_mm512_load_si512(x->even), w->part[1], values[1]);
    odd = _mm512_dpwssd_epi32(odd, w->part[2], values[2]);
    even = _mm512_dpwssd_epi32(even, w->part[3], values[3]);
    return _mm512_cvtepi32_ps(_mm512_add_epi32(odd, _mm512_srai_epi32(even, 4)));
}

INLINE Lanes dot8(const int8_t *w, const int16_t *x, int chunks)
{
    __m512i found = _mm512_setzero_si512();
    for (int n = 0; n < chunks; n++)
        found = _mm512_dpwssd_epi32(found, _mm512_cvtepi8_epi16(_mm256_loadu_si256((const void *)(w + 32 * n))),
                                    _mm512_load_si512(x + 32 * n));
    return _mm512_cvtepi32_ps(found);
}

/* ``per`` scales (1, 2 or 4), spread over the lanes. */
INLINE Lanes spread(const uint16_t *scale, int per)
{
    if (per == 1) return _mm512_cvtph_ps(_mm256_set1_epi16((short)*scale));
    if (per == 2) {
        int pair;
        memcpy(&pair, scale, 4);
        __m512i places = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
        return _mm512_permutexvar_ps(places, _mm512_cvtph_ps(_mm256_set1_epi32(pair)));
    }
    long long four;
    memcpy(&four, scale, 8);
    __m512i places = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    return _mm512_permutexvar_ps(places, _mm512_cvtph_ps(_mm256_set1_epi64x(four)));
}

#elif defined(GLM_AVX2)

typedef struct { __m256 half[2]; } Lanes;
typedef struct { __m256i part[2][4]; } Nibbles;

INLINE Lanes same(float s) { return (Lanes){{_mm256_set1_ps(s), _mm256_set1_ps(s)}}; }
INLINE Lanes zero(void) { return same(0); }
INLINE float sum(Lanes a)
{
    __m256 eight = _mm256_add_ps(a.half[0], a.half[1]);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}
INLINE Lanes add_lanes(Lanes a, Lanes b, Lanes c)
{
    return (Lanes){{_mm256_fmadd_ps(b.half[0], c.half[0], a.half[0]), _mm256_fmadd_ps(b.half[1], c.half[1], a.half[1])}};
}
INLINE Lanes add_scaled(Lanes a, Lanes b, float s) { return add_lanes(a, b, same(s)); }
INLINE Lanes times(Lanes a, Lanes b)
{
    return (Lanes){{_mm256_mul_ps(a.half[0], b.half[0]), _mm256_mul_ps(a.half[1], b.half[1])}};
}
INLINE Lanes load(const float *p) { return (Lanes){{_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}}; }
INLINE __m256 eight_halves(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const void *)p)); }
INLINE __m256 eight_brains(const uint16_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)), 16));
}
INLINE Lanes load_half(const uint16_t *p) { return (Lanes){{eight_halves(p), eight_halves(p + 8)}}; }
INLINE Lanes load_brain(const uint16_t *p) { return (Lanes){{eight_brains(p), eight_brains(p + 8)}}; }

INLINE Nibbles nibbles(const uint8_t *w)
{
    Nibbles found;
    __m256i low4 = _mm256_set1_epi16(0x0f), next4 = _mm256_set1_epi16(0xf0);
    for (int h = 0; h < 2; h++) {
        __m256i v = _mm256_xor_si256(_mm256_loadu_si256((const void *)(w + 32 * h)), _mm256_set1_epi8((char)0x88));
        __m256i high = _mm256_srli_epi16(v, 8);
        found.part[h][0] = _mm256_and_si256(v, low4);
        found.part[h][1] = _mm256_and_si256(v, next4);
        found.part[h][2] = _mm256_and_si256(high, low4);
        found.part[h][3] = _mm256_and_si256(high, next4);
    }
    return found;
}

INLINE Lanes dot4(const Nibbles *w, const Block *x)
{
    Lanes found;
    for (int h = 0; h < 2; h++) {
        const __m256i *values = (const void *)(x->values + 16 * h);
        __m256i odd = _mm256_add_epi32(_mm256_madd_epi16(w->part[h][0], values[0]), _mm256_madd_epi16(w->part[h][2], values[4]));
        __m256i even = _mm256_add_epi32(_mm256_madd_epi16(w->part[h][1], values[2]), _mm256_madd_epi16(w->part[h][3], values[6]));
        odd = _mm256_add_epi32(odd, _mm256_load_si256((const void *)(x->odd + 8 * h)));
        even = _mm256_add_epi32(even, _mm256_load_si256((const void *)(x->even + 8 * h)));
        found.half[h] = _mm256_cvtepi32_ps(_mm256_add_epi32(odd, _mm256_srai_epi32(even, 4)));
    }
    return found;
}

INLINE Lanes dot8(const int8_t *w, const int16_t *x, int chunks)
{
    __m256i found[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (int n = 0; n < 2 * chunks; n++) {
        __m256i wide = _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)(w + 16 * n)));
        found[n % 2] = _mm256_add_epi32(found[n % 2], _mm256_madd_epi16(wide, _mm256_load_si256((const void *)(x + 16 * n))));
    }
    return (Lanes){{_mm256_cvtepi32_ps(found[0]), _mm256_cvtepi32_ps(found[1])}};
}

INLINE Lanes spread(const uint16_t *scale, int per)
{
    if (per == 1) return same(_cvtsh_ss(scale[0]));
    if (per == 2) return (Lanes){{_mm256_set1_ps(_cvtsh_ss(scale[0])), _mm256_set1_ps(_cvtsh_ss(scale[1]))}};
    float s[4] = {_cvtsh_ss(scale[0]), _cvtsh_ss(scale[1]), _cvtsh_ss(scale[2]), _cvtsh_ss(scale[3])};
    return (Lanes){{_mm256_setr_ps(s[0], s[0], s[0], s[0], s[1], s[1], s[1], s[1]),
                    _mm256_setr_ps(s[2], s[2], s[2], s[2], s[3], s[3], s[3], s[3])}};
}

#else

typedef struct { float lane[LANES]; } Lanes;
typedef struct { int16_t part[4][32]; } Nibbles;

#define EACH_LANE(expression) Lanes found; for (int n = 0; n < LANES; n++) found.lane[n] = (expression); return found

INLINE Lanes same(float s) { EACH_LANE(s); }
INLINE Lanes zero(void) { EACH_LANE(0); }
INLINE float sum(Lanes a)
{
    for (int width = LANES / 2; width; width /= 2)
        for (int n = 0; n < width; n++) a.lane[n] += a.lane[n + width];
    return a.lane[0];
}
INLINE Lanes add_lanes(Lanes a, Lanes b, Lanes c) { EACH_LANE(a.lane[n] + b.lane[n] * c.lane[n]); }
INLINE Lanes add_scaled(Lanes a, Lanes b, float s) { EACH_LANE(a.lane[n] + b.lane[n] * s); }
INLINE Lanes times(Lanes a, Lanes b) { EACH_LANE(a.lane[n] * b.lane[n]); }
INLINE Lanes load(const float *p) { EACH_LANE(p[n]); }
INLINE Lanes load_half(const uint16_t *p) { EACH_LANE(half_to_float(p[n])); }
INLINE Lanes load_brain(const uint16_t *p) { EACH_LANE(from_bits((uint32_t)p[n] << 16)); }

INLINE Nibbles nibbles(const uint8_t *w)
{
    Nibbles found;
    for (int j = 0; j < 32; j++) {
        uint8_t first = w[2 * j] ^ 0x88, second = w[2 * j + 1] ^ 0x88;
        found.part[0][j] = first & 0x0f;
        found.part[1][j] = first & 0xf0;
        found.part[2][j] = second & 0x0f;
        found.part[3][j] = second & 0xf0;
    }
    return found;
}

INLINE Lanes dot4(const Nibbles *w, const Block *x)
{
    int32_t odd[32], even[32];
    for (int j = 0; j < 32; j++) {
        odd[j] = w->part[0][j] * x->values[j] + w->part[2][j] * x->values[64 + j];
        even[j] = w->part[1][j] * x->values[32 + j] + w->part[3][j] * x->values[96 + j];
    }
    EACH_LANE((float)(odd[2 * n] + odd[2 * n + 1] + x->odd[n] + ((even[2 * n] + even[2 * n + 1] + x->even[n]) >> 4)));
}

INLINE Lanes dot8(const int8_t *w, const int16_t *x, int chunks)
{
    int32_t total[32] = {0};
    for (int c = 0; c < chunks; c++)
        for (int j = 0; j < 32; j++) total[j] += w[32 * c + j] * x[32 * c + j];
    EACH_LANE((float)(total[2 * n] + total[2 * n + 1]));
}

INLINE Lanes spread(const uint16_t *scale, int per) { EACH_LANE(half_to_float(scale[n * per / LANES])); }

#endif

#endif
