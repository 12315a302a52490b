/* Self-attention of short sequences (arXiv 2010.11929, Equations 6 and 7), forward and backward, head by head.
 *
 * A head of one image is a few matrices that fit into the cache together. So its scores, their softmax and the
 * product with the values are computed there, one head after another, and the scores never reach the memory;
 * backward computes them again from what forward kept of each row (arXiv 2205.14135, appendix B.2). How one
 * head is computed, the C file says which includes this: for bfloat16 and for float32.
 */
#pragma once
#include "matrices.h"

#include <omp.h>

/* A tensor of (batch, heads, tokens, dimension); strides in elements, that of the dimension is 1. */
typedef struct {
    element *data;
    int64_t batch_stride, head_stride, token_stride;
} tensor;

typedef struct {
    int64_t batch, heads, tokens, dimension;
    float scale;
} sizes;

/* What forward keeps of a row of scores: weight = 2^((score - greatest) * scale * log2(e)) * inverse_sum. */
typedef struct {
    float greatest, inverse_sum;
} row_statistics;

/* Makes a thread ready, and gives it a workspace for everything that backward takes, more than forward does. */
static char *start_thread(const sizes *s);

static void end_thread(char *workspace);

static void attend_head(
    const sizes *s, matrix queries, matrix keys, matrix values, matrix out, row_statistics *statistics,
    char *workspace);

static void attend_head_backward(
    const sizes *s, matrix queries, matrix keys, matrix values, matrix out, matrix gradients,
    const row_statistics *statistics, matrix query_gradients, matrix key_gradients, matrix value_gradients,
    char *workspace);

static inline matrix head_of(const tensor *x, const sizes *s, int64_t number) {
    int64_t image = number / s->heads, head = number % s->heads;
    return (matrix){x->data + image * x->batch_stride + head * x->head_stride, s->tokens, x->token_stride};
}

/* How many heads a thread takes at a time: few enough for all threads to have some, and to end together. */
static int64_t heads_at_once(const sizes *s) {
    int64_t for_each = s->batch * s->heads / (4 * omp_get_num_threads());
    return for_each < 1 ? 1 : least(for_each, 16);
}

void attend(
    const sizes *s, row_statistics *statistics, const tensor *queries, const tensor *keys, const tensor *values,
    const tensor *out) {
#pragma omp parallel
    {
        char *workspace = start_thread(s);
#pragma omp for schedule(dynamic, heads_at_once(s))
        for (int64_t number = 0; number < s->batch * s->heads; number++)
            attend_head(
                s, head_of(queries, s, number), head_of(keys, s, number), head_of(values, s, number),
                head_of(out, s, number), statistics + number * s->tokens, workspace);
        end_thread(workspace);
    }
}

void attend_backward(
    const sizes *s, const row_statistics *statistics, const tensor *queries, const tensor *keys,
    const tensor *values, const tensor *out, const tensor *gradients, const tensor *query_gradients,
    const tensor *key_gradients, const tensor *value_gradients) {
#pragma omp parallel
    {
        char *workspace = start_thread(s);
#pragma omp for schedule(dynamic, heads_at_once(s))
        for (int64_t number = 0; number < s->batch * s->heads; number++)
            attend_head_backward(
                s, head_of(queries, s, number), head_of(keys, s, number), head_of(values, s, number),
                head_of(out, s, number), head_of(gradients, s, number), statistics + number * s->tokens,
                head_of(query_gradients, s, number), head_of(key_gradients, s, number),
                head_of(value_gradients, s, number), workspace);
        end_thread(workspace);
    }
}
