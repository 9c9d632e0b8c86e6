/* y = W x for many rows of x, on AMX: tiles of 16 rows of weights times 16 rows of activations.
 *
 * Activations are the 16-bit fixed point of everywhere else, split into a signed high and an unsigned low byte,
 * so the products of bytes are exact. 4-bit weights are multiplied as n + 8, and 8 times the sum of the activations
 * is taken back by what the sums start from.
 */
#ifndef GLM_TILES_H
#define GLM_TILES_H

#include "digits.h"

#if defined(GLM_AMX)

#include <sys/syscall.h>
#include <unistd.h>

#define STRETCH 512         /* columns whose weights are taken apart at a time */
#define GROUP_ROWS 128      /* rows of weights taken apart at a time */
/* Tile registers; gcc wants their numbers in its assembly. */
#define LOW_SUM 0
#define HIGH_SUM 1
#define WEIGHTS 2
#define HIGH 3
#define LOW 4

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} __attribute__((packed, aligned(64))) TileShapes;

static int tiles_allowed(void)
{
    const long request_permission = 0x1023, tile_data = 18;
    return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}

static void set_up_tiles(size_t depth)
{
    TileShapes shapes = {.palette = 1};
    for (int n = LOW_SUM; n <= LOW; n++) shapes.row_bytes[n] = 64, shapes.rows[n] = SIDE;
    shapes.row_bytes[WEIGHTS] = (uint16_t)depth;
    shapes.rows[HIGH] = shapes.rows[LOW] = (uint8_t)(depth / 4);
    /* Not gcc 12's intrinsic, which says that the instruction reads no more than eight of these bytes. */
    __asm__ volatile("ldtilecfg %0" : : "m"(shapes));
}

/* Takes ``steps`` steps of 16 rows of weights apart, ``rows`` of which are there, into [steps][16][depth]. */
INLINE void take_apart(uint8_t *out, const Matrix *m, size_t row, size_t rows, size_t column, size_t steps, size_t depth)
{
    const size_t stride = row_bytes(m), each = 64 * 8 / m->type, end = smaller(m->columns, column + steps * depth);
    for (size_t r = 0; r < SIDE; r++)
        for (size_t c = column, step = 0; c < column + steps * depth; c += each, step += each / depth) {
            uint8_t *to = out + (step * SIDE + r) * depth;
            const uint8_t *from = m->weight + (row + r) * stride + c * m->type / 8;
            size_t there = r < rows && c < end ? smaller(64, (end - c) * m->type / 8) : 0;
            __m512i v = _mm512_maskz_loadu_epi8(there == 64 ? ~0ull : (1ull << there) - 1, from);
            /* Two stretches ahead; behind the end of the row, in the next group of rows. */
            size_t ahead = STRETCH, place = c * m->type / 8;
            __builtin_prefetch(from + ahead + (place + ahead >= stride ? (GROUP_ROWS - 1) * stride : 0));
            if (m->type == 8) {
                if (depth == 64)
                    _mm512_store_si512(to, v);
                else {
                    _mm256_store_si256((void *)to, _mm512_castsi512_si256(v));
                    _mm256_store_si256((void *)(to + SIDE * depth), _mm512_extracti64x4_epi64(v, 1));
                }
                continue;
            }
            v = _mm512_xor_si512(v, _mm512_set1_epi8((char)0x88));
            __m512i low4 = _mm512_set1_epi8(0x0f), odd = _mm512_and_si512(v, low4);
            __m512i even = _mm512_and_si512(_mm512_srli_epi16(v, 4), low4);
            if (depth == 64) {
                _mm512_store_si512(to, _mm512_shuffle_i64x2(even, odd, 0x44));
                if (step + 1 < steps) _mm512_store_si512(to + SIDE * depth, _mm512_shuffle_i64x2(even, odd, 0xee));
            } else {
#define QUARTER(N)                                                                                         \
    if (step + N < steps) {                                                                                \
        _mm_store_si128((void *)(to + N * SIDE * depth), _mm512_extracti32x4_epi32(even, N));               \
        _mm_store_si128((void *)(to + N * SIDE * depth + 16), _mm512_extracti32x4_epi32(odd, N));           \
    }
                QUARTER(0) QUARTER(1) QUARTER(2) QUARTER(3)
            }
        }
}

/* Starts the products of one step; ``sums`` receives those of the high bytes and of the low ones. */
INLINE void start_step(int32_t sums[2][SIDE][SIDE], const uint8_t *weights, const Digits *x, Step step, int bits)
{
    _tile_loadd(LOW_SUM, x->start, 0);
    _tile_zero(HIGH_SUM);
    for (size_t t = 0; t < step.tiles; t++) {
        _tile_loadd(WEIGHTS, weights + t * SIDE * step.depth, step.depth);
        _tile_loadd(HIGH, x->high[t], 64);
        _tile_loadd(LOW, x->low[t], 64);
        if (bits == 4) {
            _tile_dpbusd(HIGH_SUM, WEIGHTS, HIGH);
            _tile_dpbuud(LOW_SUM, WEIGHTS, LOW);
        } else {
            _tile_dpbssd(HIGH_SUM, WEIGHTS, HIGH);
            _tile_dpbsud(LOW_SUM, WEIGHTS, LOW);
        }
    }
    _tile_stored(HIGH_SUM, sums[0], 64);
    _tile_stored(LOW_SUM, sums[1], 64);
}

/* Scales what start_step has found; ``scales`` are those of 16 rows of weights, if they have several. */
INLINE void end_step(__m512 total[SIDE], int32_t sums[2][SIDE][SIDE], const Digits *x, const float *scales)
{
    __m512 scale = _mm512_load_ps(x->scale);
    for (int r = 0; r < SIDE; r++) {
        __m512i high = _mm512_load_si512(sums[0][r]), low = _mm512_load_si512(sums[1][r]);
        __m512 product = _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_slli_epi32(high, 8), low));
        total[r] = _mm512_fmadd_ps(product, scales ? _mm512_mul_ps(scale, _mm512_set1_ps(scales[r])) : scale, total[r]);
    }
}

/* total [16 rows of weights][16 rows of x] += the products of ``steps`` steps; scales [steps][16 rows] or NULL. */
INLINE void multiply(__m512 *total, const uint8_t *weights, const Digits *x, size_t rest, size_t steps, Step step, int bits, const float *scales)
{
    int32_t sums[2][2][SIDE][SIDE] __attribute__((aligned(64)));
    const size_t bytes = SIDE * step.depth * step.tiles;
    __m512 held[SIDE];
    for (int r = 0; r < SIDE; r++) held[r] = total[r];
    start_step(sums[0], weights, x, step, bits);
    for (size_t n = 0; n < steps; n++) {
        const int slot = n % 2;
        const float *own = scales ? scales + n * SIDE : NULL;
        /* While the tiles of the next step are multiplied, those of this one are scaled. */
        if (n + 1 < steps) start_step(sums[!slot], weights + (n + 1) * bytes, x + n + 1, step, bits);
        end_step(held, sums[slot], x + n, own);
        if (!x[n].has_rest) continue;
        start_step(sums[slot], weights + n * bytes, x + rest + n, step, bits);
        end_step(held, sums[slot], x + rest + n, own);
    }
    for (int r = 0; r < SIDE; r++) total[r] = held[r];
}

INLINE void transpose(__m512 v[SIDE])
{
    __m512 a[SIDE];
    for (int n = 0; n < 16; n += 2) {
        a[n] = _mm512_unpacklo_ps(v[n], v[n + 1]);
        a[n + 1] = _mm512_unpackhi_ps(v[n], v[n + 1]);
    }
    for (int n = 0; n < 16; n += 4) {
        v[n] = _mm512_shuffle_ps(a[n], a[n + 2], 0x44);
        v[n + 1] = _mm512_shuffle_ps(a[n], a[n + 2], 0xee);
        v[n + 2] = _mm512_shuffle_ps(a[n + 1], a[n + 3], 0x44);
        v[n + 3] = _mm512_shuffle_ps(a[n + 1], a[n + 3], 0xee);
    }
    for (int n = 0; n < 4; n++) {
        a[n] = _mm512_shuffle_f32x4(v[n], v[n + 4], 0x88);
        a[n + 4] = _mm512_shuffle_f32x4(v[n], v[n + 4], 0xdd);
        a[n + 8] = _mm512_shuffle_f32x4(v[n + 8], v[n + 12], 0x88);
        a[n + 12] = _mm512_shuffle_f32x4(v[n + 8], v[n + 12], 0xdd);
    }
    for (int n = 0; n < 4; n++) {
        v[n] = _mm512_shuffle_f32x4(a[n], a[n + 8], 0x88);
        v[n + 8] = _mm512_shuffle_f32x4(a[n], a[n + 8], 0xdd);
        v[n + 4] = _mm512_shuffle_f32x4(a[n + 4], a[n + 12], 0x88);
        v[n + 12] = _mm512_shuffle_f32x4(a[n + 4], a[n + 12], 0xdd);
    }
}

/* Writes [16 rows of weights][16 rows of x] as rows of x, of which ``batch`` are there. */
static void write_tile(float *out, size_t out_stride, const __m512 *total, const Matrix *m, size_t row, size_t rows, size_t batch)
{
    __mmask16 there = (__mmask16)((1u << rows) - 1);
    __m512 values[SIDE];
    for (size_t r = 0; r < SIDE; r++) {
        size_t own = row + (r < rows ? r : 0);
        float scale = m->groups == 1 ? half_to_float(m->scale[own]) : 1, bias = m->bias ? m->bias[own] : 0;
        values[r] = _mm512_fmadd_ps(total[r], _mm512_set1_ps(scale), _mm512_set1_ps(bias));
    }
    transpose(values);
    for (size_t n = 0; n < batch; n++) _mm512_mask_storeu_ps(out + n * out_stride + row, there, values[n]);
}

/* Bytes of scratch that one thread needs. */
INLINE size_t tile_scratch(size_t batch) { return GROUP_ROWS * STRETCH + round_up(batch, SIDE) * GROUP_ROWS * sizeof(float); }

/* Rows ``start`` to ``end`` of y for all x. */
INLINE void tiles_of(float *out, size_t out_stride, const Matrix *m, size_t start, size_t end, const Digits *x, size_t batch,
                     uint8_t *scratch, Step step, int bits)
{
    const size_t width = step.depth * step.tiles, steps = steps_of(m, step), whole = STRETCH / width;
    const size_t tiles = (batch + SIDE - 1) / SIDE, group = m->columns / m->groups;
    __m512 *totals = (__m512 *)(scratch + GROUP_ROWS * STRETCH);
    float scales[GROUP_ROWS / SIDE][STRETCH / (DEPTH / 2)][SIDE] = {0};
    set_up_tiles(step.depth);
    for (size_t row = start; row < end; row += GROUP_ROWS) {
        size_t rows = smaller(GROUP_ROWS, end - row), parts = (rows + SIDE - 1) / SIDE;
        memset(totals, 0, parts * tiles * SIDE * sizeof(__m512));
        for (size_t first = 0; first < steps; first += whole) {
            size_t count = smaller(whole, steps - first);
            for (size_t part = 0; part < parts; part++) {
                size_t own = row + part * SIDE, there = smaller(SIDE, end - own);
                take_apart(scratch + part * SIDE * STRETCH, m, own, there, first * width, count * step.tiles, step.depth);
                for (size_t n = 0; m->groups > 1 && n < count; n++)
                    for (size_t r = 0; r < there; r++)
                        scales[part][n][r] = half_to_float(m->scale[(own + r) * m->groups + (first + n) * width / group]);
            }
            for (size_t tile = 0; tile < tiles; tile++)
                for (size_t part = 0; part < parts; part++)
                    multiply(totals + (tile * parts + part) * SIDE, scratch + part * SIDE * STRETCH, x + tile * steps + first,
                             tiles * steps, count, step, bits, m->groups > 1 ? scales[part][0] : NULL);
        }
        for (size_t tile = 0; tile < tiles; tile++)
            for (size_t part = 0; part < parts; part++)
                write_tile(out + tile * SIDE * out_stride, out_stride, totals + (tile * parts + part) * SIDE, m, row + part * SIDE,
                           smaller(SIDE, rows - part * SIDE), smaller(SIDE, batch - tile * SIDE));
    }
    _tile_release();
}

static void product_by_tiles(float *out, size_t out_stride, const Matrix *m, size_t start, size_t end, const Digits *x, size_t batch, uint8_t *scratch)
{
    const Step step = step_of(m), long_step = {DEPTH, 2}, full_step = {DEPTH, 1}, short_step = {DEPTH / 2, 1};
    if (start == end) return;
#define TILES(B, S) tiles_of(out, out_stride, m, start, end, x, batch, scratch, S, B)
    if (m->type == 4)
        step.tiles == 2 ? TILES(4, long_step) : step.depth == DEPTH ? TILES(4, full_step) : TILES(4, short_step);
    else
        step.tiles == 2 ? TILES(8, long_step) : step.depth == DEPTH ? TILES(8, full_step) : TILES(8, short_step);
#undef TILES
}

#endif
#endif
