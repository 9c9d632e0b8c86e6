/* The functions between the products: LayerNorm, GeGLU, softmax, rotation. All in FP32. */
#ifndef GLM_SMOOTH_H
#define GLM_SMOOTH_H

#include <math.h>

#include "lanes.h"

/* exp(x) for x <= 88 within 2 units in the last place; 0 below -87. A loop of it becomes vector instructions. */
INLINE float exponential(float x)
{
    float n = rintf((x < -87.0f ? -87.0f : x) * 1.44269504f);
    float r = (x < -87.0f ? -87.0f : x) - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    float found = p * from_bits((uint32_t)((int32_t)n + 127) << 23);
    return x < -87.0f ? 0.0f : found;
}

/* GELU in its erf form; 1 - erf by Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26 (1.5e-7). */
INLINE float gelu(float x)
{
    float size = (x < 0 ? -x : x) * 0.70710678f, t = 1.0f / (1.0f + 0.3275911f * size);
    float p = ((((1.061405429f * t - 1.453152027f) * t + 1.421413741f) * t - 0.284496736f) * t + 0.254829592f) * t;
    float half_rest = 0.5f * p * exponential(-size * size);
    return x * (x < 0 ? half_rest : 1.0f - half_rest);
}

static void geglu(float *out, const float *value, const float *gate, size_t count)
{
    for (size_t n = 0; n < count; n++) out[n] = value[n] * gelu(gate[n]);
}

INLINE float dot(const float *a, const float *b, size_t count)
{
    Lanes total = zero();
    size_t n = 0;
    for (; n + LANES <= count; n += LANES) total = add_lanes(total, load(a + n), load(b + n));
    float found = sum(total);
    for (; n < count; n++) found += a[n] * b[n];
    return found;
}

static void normalise(float *out, const float *x, const float *weight, const float *bias, size_t count, float epsilon)
{
    Lanes total = zero(), squares = zero(), ones = same(1);
    size_t whole = count / LANES * LANES;
    for (size_t n = 0; n < whole; n += LANES) total = add_lanes(total, load(x + n), ones);
    float mean = sum(total);
    for (size_t n = whole; n < count; n++) mean += x[n];
    mean /= (float)count;
    Lanes less = same(-mean);
    for (size_t n = 0; n < whole; n += LANES) {
        Lanes d = add_lanes(less, load(x + n), ones);
        squares = add_lanes(squares, d, d);
    }
    float variance = sum(squares);
    for (size_t n = whole; n < count; n++) variance += (x[n] - mean) * (x[n] - mean);
    float factor = 1.0f / sqrtf(variance / (float)count + epsilon);
    for (size_t n = 0; n < count; n++) out[n] = (x[n] - mean) * factor * weight[n] + bias[n];
}

/* Turns pairs (n, n + size / 2) of one head. */
static void rotate(float *x, const float *cosines, const float *sines, size_t size)
{
    for (size_t n = 0; n < size / 2; n++) {
        float low = x[n], high = x[n + size / 2];
        x[n] = low * cosines[n] - high * sines[n];
        x[n + size / 2] = high * cosines[n] + low * sines[n];
    }
}

/* Softmax attention of one query over ``slots`` keys and values [slots][size], where ``visible`` is not 0. */
static void attend(float *out, const float *query, const float *keys, const float *values, const uint8_t *visible,
                   float *scores, size_t slots, size_t size)
{
    float factor = 1.0f / sqrtf((float)size), largest = -INFINITY, total = 0;
    for (size_t s = 0; s < slots; s++) {
        scores[s] = visible[s] ? factor * dot(query, keys + s * size, size) : -INFINITY;
        largest = scores[s] > largest ? scores[s] : largest;
    }
    for (size_t s = 0; s < slots; s++) scores[s] = exponential(scores[s] - largest);
    for (size_t n = 0; n < size; n++) out[n] = 0;
    for (size_t s = 0; s < slots; s++) {
        if (!visible[s]) continue;
        total += scores[s];
        for (size_t n = 0; n < size; n++) out[n] += scores[s] * values[s * size + n];
    }
    for (size_t n = 0; n < size; n++) out[n] /= total;
}

#endif
