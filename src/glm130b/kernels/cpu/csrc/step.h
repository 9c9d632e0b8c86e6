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
    const float *final_weight, *final_bias, *frequencies; /* the last rotary, [head size / 2] */
    Matrix output, words;                                 /* words [vocabulary][hidden], not quantised */
} Model;

/* Keys and values of each layer, [rows][heads][capacity][head size], and sample and branch of each slot, [rows][capacity]. */
typedef struct {
    float *const *keys, *const *values;
    const int64_t *sample, *branch;
    size_t capacity;
} Cache;

/* Tokens [rows][count] that are read: they take the ``count`` slots from ``first`` on, whose sample and branch are set. */
typedef struct {
    const int64_t *tokens, *positions;
    size_t rows, count, first;
} Tokens;

typedef struct {
    float *attended, *first, *wide, *active, *second; /* of all threads */
    size_t batch;
} Shared;

typedef struct {
    float *normal, *heads, *scores, *cosines, *sines;
    uint8_t *visible; /* [batch][slots] */
    void *activations, *scratch;
    int part, parts;
} Own;

INLINE void add_residual(float *out, const float *residual, float alpha, size_t width, size_t start, size_t end, size_t batch)
{
    for (size_t b = 0; b < batch; b++)
        for (size_t n = start; n < end; n++) out[b * width + n] += alpha * residual[b * width + n];
}

INLINE void attend_own_heads(const Model *m, size_t layer, const Cache *cache, const Tokens *tokens, const Shared *shared, const Own *own)
{
    const Matrix *map = &m->layers[layer].query_key_value;
    const size_t size = m->head_size, half = size / 2, batch = shared->batch, slots = tokens->first + tokens->count;
    size_t start, end;
    share(m->heads, 1, own->part, own->parts, &start, &end);
    const size_t width = (end - start) * 3 * size;
    product(own->heads - start * 3 * size, width, map, start * 3 * size, end * 3 * size, own->normal, own->activations, batch, own->scratch);
    for (int attending = 0; attending < 2; attending++)
        for (size_t b = 0; b < batch; b++)
            for (size_t h = start; h < end; h++) {
                float *query = own->heads + b * width + (h - start) * 3 * size, *key = query + size;
                const size_t slot = tokens->first + b % tokens->count;
                const size_t place = (b / tokens->count * m->heads + h) * cache->capacity * size;
                float *keys = cache->keys[layer] + place, *values = cache->values[layer] + place;
                if (attending) {
                    attend(shared->attended + b * m->hidden + h * size, query, keys, values, own->visible + b * slots, own->scores, slots, size);
                    continue;
                }
                rotate(query, own->cosines + b * half, own->sines + b * half, size);
                rotate(key, own->cosines + b * half, own->sines + b * half, size);
                memcpy(keys + slot * size, key, size * sizeof(float));
                memcpy(values + slot * size, key + size, size * sizeof(float));
            }
}

/* The rule of model/attention.py, and the rotary tables of the tokens' positions. */
INLINE void see_and_turn(const Model *m, const Cache *cache, const Tokens *tokens, const Own *own)
{
    const size_t slots = tokens->first + tokens->count, half = m->head_size / 2;
    for (size_t b = 0; b < tokens->rows * tokens->count; b++) {
        const int64_t *sample = cache->sample + b / tokens->count * cache->capacity, *branch = cache->branch + b / tokens->count * cache->capacity;
        const size_t slot = tokens->first + b % tokens->count;
        for (size_t s = 0; s < slots; s++)
            own->visible[b * slots + s] = sample[s] == sample[slot] && (branch[s] == 0 || (branch[s] == branch[slot] && s <= slot));
        for (size_t n = 0; n < half; n++) {
            const float angle = (float)tokens->positions[b] * m->frequencies[n];
            own->cosines[b * half + n] = cosf(angle);
            own->sines[b * half + n] = sinf(angle);
        }
    }
}

/* Rows of words into x [batch][hidden]. */
static void embed(float *x, const Model *m, const int64_t *tokens, size_t batch)
{
    const size_t size = m->words.type == FP32 ? 4 : 2;
    for (size_t b = 0; b < batch; b++)
        for (size_t n = 0; n < m->hidden; n++)
            x[b * m->hidden + n] = load_weight(m->words.weight + ((size_t)tokens[b] * m->hidden + n) * size, m->words.type);
}

INLINE void normalise_rows(const Model *m, const float *x, const float *weight, const float *bias, const Matrix *next, const Shared *shared, const Own *own)
{
    for (size_t b = 0; b < shared->batch; b++)
        normalise(own->normal + b * m->hidden, x + b * m->hidden, weight, bias, m->hidden, m->epsilon);
    prepare(own->activations, own->normal, next, shared->batch, 0, 1);
}

/* This thread's share of a step; shared->second holds the embedded tokens. */
static void step(const Model *m, const Cache *cache, const Tokens *tokens, float *logits, const Shared *shared, const Own *own)
{
    const size_t batch = shared->batch, hidden = m->hidden, ffn = m->ffn;
    size_t start, end, wide_start, wide_end;
    share(hidden, SHARE, own->part, own->parts, &start, &end);
    share(ffn, SHARE, own->part, own->parts, &wide_start, &wide_end);
    see_and_turn(m, cache, tokens, own);
    for (size_t n = 0; n < m->num_layers; n++) {
        const Layer *layer = m->layers + n;
        normalise_rows(m, shared->second, layer->first_weight, layer->first_bias, &layer->query_key_value, shared, own);
        attend_own_heads(m, n, cache, tokens, shared, own);
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
