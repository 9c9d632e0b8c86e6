/* What Python calls. Products return 0, -1 if there is no memory, -2 if a token is no word. */

#include "step.h"

/* Once, before anything else. */
void glm_begin(void)
{
#if defined(GLM_AMX)
    tiles_usable = tiles_allowed();
#endif
}

#if defined(__x86_64__)
#define BASELINE __attribute__((target("arch=x86-64")))
#else
#define BASELINE
#endif

/* Whether this CPU has the instructions of the body. */
BASELINE int glm_supported(void)
{
#if defined(GLM_AVX512)
#if defined(__AVX512VBMI__)
    if (!__builtin_cpu_supports("avx512vbmi")) return 0;
#endif
#if defined(__AVX512BF16__)
    if (!__builtin_cpu_supports("avx512bf16")) return 0;
#endif
    return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#elif defined(GLM_AVX2)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
#else
    return 1;
#endif
}

/* Which of the bodies this is. */
const char *glm_body(void)
{
#if defined(GLM_AMX)
    if (tiles_usable) return "AVX512-VNNI and AMX";
#endif
#if defined(GLM_AVX512)
    return "AVX512-VNNI";
#elif defined(GLM_AVX2)
    return "AVX2";
#else
    return "portable C";
#endif
}

/* out [batch][rows] = x [batch][columns] times W, transposed, plus bias. */
int glm_linear(float *out, const float *x, size_t batch, const Matrix *m, int threads)
{
    size_t activations = round_up(activation_bytes(m, batch), 64), own = round_up(thread_bytes(m, batch), 64);
    uint8_t *memory = scratch(activations + threads * own);
    if (!memory) return -1;
#pragma omp parallel num_threads(threads)
    {
        int part = omp_get_thread_num(), parts = omp_get_num_threads();
        size_t start, end;
        share(m->rows, SHARE, part, parts, &start, &end);
        prepare(memory, x, m, batch, part, parts);
#pragma omp barrier
        product(out, m->rows, m, start, end, x, memory, batch, memory + activations + part * own);
    }
    return 0;
}

/* Reads ``size`` bytes in the way of the products, without their arithmetic; returns a sum of them. */
uint64_t glm_read(const uint8_t *memory, size_t size, int threads)
{
    uint64_t total = 0;
#pragma omp parallel num_threads(threads) reduction(+ : total)
    {
        size_t start, end;
        uint64_t own[8] = {0};
        share(size / 64, STREAMS, omp_get_thread_num(), omp_get_num_threads(), &start, &end);
        const size_t apart = (end - start) / STREAMS;
        for (size_t line = start; line < start + apart; line++)
            for (int r = 0; r < STREAMS; r++) {
                const uint64_t *words = (const uint64_t *)(memory + (line + r * apart) * 64);
                __builtin_prefetch((const uint8_t *)words + PREFETCH);
                for (int k = 0; k < 8; k++) own[k] += words[k];
            }
        for (int k = 0; k < 8; k++) total += own[k];
    }
    return total;
}

/* Logits [rows * count][vocabulary] for what follows each of the tokens. */
int glm_step(const Model *m, const Cache *cache, const Tokens *tokens, float *logits, int threads)
{
    const size_t batch = tokens->rows * tokens->count, slots = tokens->first + tokens->count;
    for (size_t b = 0; b < batch; b++)
        if (tokens->tokens[b] < 0 || (size_t)tokens->tokens[b] >= m->words.rows) return -2;
    const size_t row = batch * round_up(m->hidden, LANES), turns = batch * m->head_size / 2;
    size_t activations = 64, tiles = 64;
    for (size_t n = 0; n <= m->num_layers; n++) {
        const Layer *layer = m->layers + (n < m->num_layers ? n : 0);
        const Matrix *maps[] = {&layer->query_key_value, &layer->dense, &layer->wide, &layer->narrow, &m->output};
        for (int k = 0; k < 5; k++) {
            activations = larger(activations, round_up(activation_bytes(maps[k], batch), 64));
            tiles = larger(tiles, round_up(thread_bytes(maps[k], batch), 64));
        }
    }
    const size_t heads = batch * 3 * m->hidden; /* however many threads there will be */
    const size_t own_floats = row + heads + slots + 2 * turns + batch * slots / 4 + 6 * LANES;
    const size_t own_bytes = round_up(own_floats * sizeof(float), 64) + activations + tiles;
    const size_t shared_floats = 3 * row + batch * 3 * m->ffn + 5 * LANES;
    uint8_t *memory = scratch(shared_floats * sizeof(float) + threads * own_bytes);
    if (!memory) return -1;
    Shared shared = {.batch = batch};
    shared.attended = take(&memory, row);
    shared.first = take(&memory, row);
    shared.second = take(&memory, row);
    shared.wide = take(&memory, batch * 2 * m->ffn);
    shared.active = take(&memory, batch * m->ffn);
    embed(shared.second, m, tokens->tokens, batch);
#pragma omp parallel num_threads(threads)
    {
        Own own = {.part = omp_get_thread_num(), .parts = omp_get_num_threads()};
        uint8_t *rest = memory + own.part * own_bytes;
        own.normal = take(&rest, row);
        own.heads = take(&rest, heads);
        own.scores = take(&rest, slots);
        own.cosines = take(&rest, turns);
        own.sines = take(&rest, turns);
        own.visible = (uint8_t *)take(&rest, batch * slots / 4 + 1);
        own.activations = rest;
        own.scratch = rest + activations;
        step(m, cache, tokens, logits, &shared, &own);
    }
    return 0;
}
