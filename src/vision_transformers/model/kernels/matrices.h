/* Matrices, and memory for some of them: for the C files beside this one, which say what an `element` is. */
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { ALIGNMENT = 64 };

static const float LOG2_E = 1.44269504f;

/* Rows of numbers that are neighbours in memory; rows are `stride` numbers apart. */
typedef struct {
    element *data;
    int64_t rows, stride;
} matrix;

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static inline int64_t round_up(int64_t count, int64_t multiple) {
    return (count + multiple - 1) / multiple * multiple;
}

/* Takes memory for so many times four bytes out of a workspace. */
static inline void *take(char **workspace, int64_t count) {
    void *taken = *workspace;
    *workspace += round_up(4 * count, ALIGNMENT);
    return taken;
}

/* Memory of so many times four bytes, of which `take` takes; there is no Python to tell where there is none. */
static inline char *new_workspace(int64_t count) {
    char *workspace = aligned_alloc(ALIGNMENT, round_up(4 * count, ALIGNMENT));
    if (workspace == NULL) {
        fprintf(stderr, "no memory for %lld numbers\n", (long long)count);
        abort();
    }
    return workspace;
}
