/* Memory that a calling thread keeps from one product to the next. */
#ifndef GLM_SCRATCH_H
#define GLM_SCRATCH_H

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

typedef struct {
    void *memory;
    size_t size;
} Scratch;

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void free_scratch(void *held)
{
    free(((Scratch *)held)->memory);
    free(held);
}

static void make_scratch_key(void) { pthread_key_create(&scratch_key, free_scratch); }

/* At least ``size`` bytes, aligned to a cache line; NULL if there are none. */
static void *scratch(size_t size)
{
    pthread_once(&scratch_once, make_scratch_key);
    Scratch *held = pthread_getspecific(scratch_key);
    if (!held) {
        held = calloc(1, sizeof *held);
        if (!held) return NULL;
        pthread_setspecific(scratch_key, held);
    }
    if (held->size < size) {
        free(held->memory);
        held->size = 0;
        if (posix_memalign(&held->memory, 64, size)) return held->memory = NULL;
        held->size = size;
    }
    return held->memory;
}

#endif
