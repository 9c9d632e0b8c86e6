/* One token a row through the whole transformer, in one parallel region.
 *
 * A thread normalises and quantises all of a row for itself, which is cheaper than waiting for others to do it, and
 * computes its share of each product. It has whole heads, so attention needs no barrier. Four barriers a layer.
 */
#ifndef GLM_STEP_H
#define GLM_STEP_H

#include "linear.h"
#include "scratch.h"
#include "smooth.h"

typedef struct {
    const float *first_weight, *first_bias, *second_weight, *second_bias; /* of the LayerNorms */
    Matrix query_key_value, dense, wide, narrow;
} Layer;

typedef struct {
    const Layer *layers;
    size_t num_layers, hidden, heads, head_size, ffn;
    float alpha, epsilon;
    const float *final_weight, *final_bias;
    Matrix output;
} Model;

/* Keys and values of each layer, [rows][heads][capacity][head size], and where the tokens of a step go. */
typedef struct {
    float *const *keys, *const *values;
    size_t capacity, slots;  /* how many slots there are, and how many are looked at */
    const int64_t *rows, *own; /* [batch]: row and slot of each token; a row may take several, in order */
    const uint8_t *visible;  /* [batch][slots], not 0 where a token sees that slot */
} Cache;

typedef struct {
    float *attended, *first, *wide, *active, *second; /* of all threads */
    size_t batch;
} Shared;

typedef struct {
    float *normal, *heads, *scores;
    void *activations, *scratch;
    int part, parts;
} Own;

INLINE void add_residual(float *out, const float *residual, float alpha, size_t width, size_t start, size_t end, size_t batch)
{
    for (size_t b = 0; b < batch; b++)
        for (size_t n = start; n < end; n++) out[b * width + n] += alpha * residual[b * width + n];
}

INLINE void attend_own_heads(const Model *m, size_t layer, const Cache *cache, const float *cosines, const float *sines, const Shared *shared, const Own *own)
{
    const Matrix *map = &m->layers[layer].query_key_value;
    const size_t size = m->head_size, half = size / 2, batch = shared->batch;
    size_t start, end;
    share(m->heads, 1, own->part, own->parts, &start, &end);
    const size_t width = (end - start) * 3 * size;
    product(own->heads - start * 3 * size, width, map, start * 3 * size, end * 3 * size, own->normal, own->activations, batch, own->scratch);
    for (int attending = 0; attending < 2; attending++)
        for (size_t b = 0; b < batch; b++)
            for (size_t h = start; h < end; h++) {
                float *query = own->heads + b * width + (h - start) * 3 * size, *key = query + size;
                const size_t place = ((size_t)cache->rows[b] * m->heads + h) * cache->capacity * size;
                float *keys = cache->keys[layer] + place, *values = cache->values[layer] + place;
                if (attending) {
                    attend(shared->attended + b * m->hidden + h * size, query, keys, values, cache->visible + b * cache->slots,
                           own->scores, cache->slots, size);
                    continue;
                }
                rotate(query, cosines + b * half, sines + b * half, size);
                rotate(key, cosines + b * half, sines + b * half, size);
                memcpy(keys + cache->own[b] * size, key, size * sizeof(float));
                memcpy(values + cache->own[b] * size, key + size, size * sizeof(float));
            }
}

INLINE void normalise_rows(const Model *m, const float *x, const float *weight, const float *bias, const Matrix *next, const Shared *shared, const Own *own)
{
    for (size_t b = 0; b < shared->batch; b++)
        normalise(own->normal + b * m->hidden, x + b * m->hidden, weight, bias, m->hidden, m->epsilon);
    prepare(own->activations, own->normal, next, shared->batch, 0, 1);
}

/* This thread's share of a step; x [batch][hidden] are the embedded tokens. */
static void step(const Model *m, const Cache *cache, float *logits, const float *x, const float *cosines, const float *sines, const Shared *shared, const Own *own)
{
    const size_t batch = shared->batch, hidden = m->hidden, ffn = m->ffn;
    size_t start, end, wide_start, wide_end;
    share(hidden, SHARE, own->part, own->parts, &start, &end);
    share(ffn, SHARE, own->part, own->parts, &wide_start, &wide_end);
    for (size_t n = 0; n < m->num_layers; n++) {
        const Layer *layer = m->layers + n;
        normalise_rows(m, n ? shared->second : x, layer->first_weight, layer->first_bias, &layer->query_key_value, shared, own);
        attend_own_heads(m, n, cache, cosines, sines, shared, own);
#pragma omp barrier
        prepare(own->activations, shared->attended, &layer->dense, batch, 0, 1);
        product(shared->first, hidden, &layer->dense, start, end, shared->attended, own->activations, batch, own->scratch);
        add_residual(shared->first, own->normal, m->alpha, hidden, start, end, batch);
#pragma omp barrier
        normalise_rows(m, shared->first, layer->second_weight, layer->second_bias, &layer->wide, shared, own);
        product(shared->wide, 2 * ffn, &layer->wide, wide_start, wide_end, own->normal, own->activations, batch, own->scratch);
        product(shared->wide, 2 * ffn, &layer->wide, ffn + wide_start, ffn + wide_end, own->normal, own->activations, batch, own->scratch);
        for (size_t b = 0; b < batch; b++) {
            const float *value = shared->wide + b * 2 * ffn + wide_start;
            geglu(shared->active + b * ffn + wide_start, value, value + ffn, wide_end - wide_start);
        }
#pragma omp barrier
        prepare(own->activations, shared->active, &layer->narrow, batch, 0, 1);
        product(shared->second, hidden, &layer->narrow, start, end, shared->active, own->activations, batch, own->scratch);
        add_residual(shared->second, own->normal, m->alpha, hidden, start, end, batch);
#pragma omp barrier
    }
    normalise_rows(m, shared->second, m->final_weight, m->final_bias, &m->output, shared, own);
    share(m->output.rows, SHARE, own->part, own->parts, &start, &end);
    product(logits, m->output.rows, &m->output, start, end, own->normal, own->activations, batch, own->scratch);
}

INLINE size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* Takes ``count`` floats from ``*memory``, aligned. */
INLINE float *take(uint8_t **memory, size_t count)
{
    float *taken = (float *)*memory;
    *memory += round_up(count * sizeof(float), 64);
    return taken;
}

#endif
