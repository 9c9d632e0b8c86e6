/* What all of these files share: the layout of weights and activations, and sixteen lanes.
 *
 * Weights lie as in the files: rows of int8, or of two columns a byte, the even one in the high nibble.
 * Activations are 16-bit fixed point: eight values share one scale, their largest divided by 32767.
 * Products of both are summed exactly in 32-bit integers, then scaled and summed in FP32.
 */
#ifndef GLM_COMMON_H
#define GLM_COMMON_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(GLM_PORTABLE) && defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define GLM_AVX512 1
#elif !defined(GLM_PORTABLE) && defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define GLM_AVX2 1
#endif
#if defined(GLM_AVX512) && defined(__AVX512VBMI__) && defined(__AMX_INT8__) && defined(__AMX_TILE__)
#define GLM_AMX 1
#endif
#if defined(GLM_AVX512) || defined(GLM_AVX2)
#include <immintrin.h>
#endif

/* Loops over rows whose sums are to stay in registers; portable C has no registers for them. */
#if defined(GLM_AVX512) || defined(GLM_AVX2)
#define UNROLL _Pragma("GCC unroll 4")
#else
#define UNROLL
#endif

#define INLINE static inline __attribute__((always_inline))
#define COLUMNS 128 /* of a block of activations */
#define LANES 16
#define STREAMS 4     /* rows of weights that are read at the same time, far from one another: more than one page is open */
#define PREFETCH 2048 /* bytes between what is read of a row and what is fetched */

/* 128 activations, eight in each lane.
 *
 * For 8-bit weights the values are in their order; lane n is columns 2 n and 2 n + 1 of every 32.
 * For 4-bit weights lane n is columns 8 n to 8 n + 7, and values are in the order in which nibbles come out of
 * 16-bit words: columns 4 j + 1, then 4 j, then 4 j + 3, then 4 j + 2, for j from 0 to 31. Nibbles are multiplied
 * as n + 8, which is not negative; odd and even take back 8 times the sum of their columns, the even ones, whose
 * nibbles are taken 16-fold, 128 times.
 */
typedef struct {
    int16_t values[COLUMNS];
    int32_t odd[LANES], even[LANES];
    float scales[LANES];
} __attribute__((aligned(64))) Block;

enum Type { INT4 = 4, INT8 = 8, FP16 = 16, BF16 = 17, FP32 = 32 };

/* A linear map. Quantised rows have ``groups`` scales, each for as many columns. */
typedef struct {
    const uint8_t *weight;
    const uint16_t *scale; /* FP16 [rows][groups]; NULL if not quantised */
    const float *bias;     /* [rows], or NULL */
    size_t rows, columns, groups;
    int type, same_for_any_batch; /* whether a row of activations has the same product alone and among others */
} Matrix;

INLINE size_t round_up(size_t n, size_t multiple) { return (n + multiple - 1) / multiple * multiple; }
INLINE size_t num_blocks(size_t columns) { return (columns + COLUMNS - 1) / COLUMNS; }
INLINE size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* The rows of thread ``part`` of ``parts``: a multiple of ``unit``, but for the last. */
INLINE void share(size_t rows, size_t unit, int part, int parts, size_t *start, size_t *end)
{
    size_t units = (rows + unit - 1) / unit;
    *start = smaller(rows, units * part / parts * unit);
    *end = smaller(rows, units * (part + 1) / parts * unit);
}

INLINE float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

/* FP16 to FP32, exact; without an instruction for it, subnormals are made normal by a product. */
INLINE float half_to_float(uint16_t half)
{
#if defined(GLM_AVX512) || defined(GLM_AVX2)
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
#else
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = (uint32_t)(half & 0x7fff) << 13;
    float value = from_bits(rest) * 0x1p112f;
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if (value >= 65536.0f) bits |= 0x7f800000;
    return from_bits(bits | sign);
#endif
}

#endif
