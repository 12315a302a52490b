/* How one head of `short_attention.h` is computed in float32. */
#include "float32_products.h"
#include "short_attention.h"

#include <math.h>
#include <string.h>

/* Rows of scores that are computed together, so that they stay in the cache; from 24 to 204 all take as long. */
enum { ROWS_AT_ONCE = 12 * ROWS };

/* Each part is rounded up to ALIGNMENT bytes. */
static char *start_thread(const sizes *s) {
    int64_t many = round_up(s->tokens, LANES), width = round_up(s->dimension, LANES);
    return new_workspace(many * (7 * width + 2 * ROWS_AT_ONCE) + ROWS_AT_ONCE * width + 16 * ALIGNMENT / 4);
}

static void end_thread(char *workspace) { free(workspace); }

static inline matrix rows_from(matrix x, int64_t row) {
    return (matrix){x.data + row * x.stride, least(x.rows - row, ROWS_AT_ONCE), x.stride};
}

static inline void store_row(const float *sums, float factor, int64_t columns, float *to) {
    for (int64_t column = 0; column < columns; column += LANES)
        store_first(columns - column, to + column, load(sums + column) * factor);
}

static void store_rows(const float *sums, int64_t columns, matrix out) {
    int64_t width = round_up(columns, LANES);
    for (int64_t row = 0; row < out.rows; row++)
        store_row(sums + row * width, 1.0f, columns, out.data + row * out.stride);
}

/* A vector of weights; zeros where there are no more keys. */
static inline lanes weights_of(const float *scores, int64_t key, const sizes *s, float greatest) {
    lanes weights = power_of_two((load(scores + key) - greatest) * (s->scale * LOG2_E));
    return key + LANES <= s->tokens ? weights : first(s->tokens - key, weights, all(0));
}

static float greatest_of_row(const float *scores, const sizes *s) {
    int64_t last = round_up(s->tokens, LANES) - LANES;
    lanes most = first(s->tokens - last, load(scores + last), all(-INFINITY));
    for (int64_t key = 0; key < last; key += LANES) most = greater_of(load(scores + key), most);
    return greatest_of(most);
}

/* Rows of scores become weights, not yet divided by their sums. The rows take each step together, since a
 * row's steps wait for each other. */
static void exponentials(int64_t rows, float *scores, const sizes *s, row_statistics *statistics) {
    int64_t many = round_up(s->tokens, LANES);
    lanes sums[ROWS_AT_ONCE];
    for (int64_t row = 0; row < rows; row++) statistics[row].greatest = greatest_of_row(scores + row * many, s);
    for (int64_t row = 0; row < rows; row++) {
        float *x = scores + row * many;
        sums[row] = all(0);
        for (int64_t key = 0; key < many; key += LANES) {
            lanes weights = weights_of(x, key, s, statistics[row].greatest);
            sums[row] += weights;
            store(x + key, weights);
        }
    }
    for (int64_t row = 0; row < rows; row++) statistics[row].inverse_sum = 1.0f / sum_of(sums[row]);
}

static void attend_head(
    const sizes *s, matrix queries, matrix keys, matrix values, matrix out, row_statistics *statistics,
    char *workspace) {
    int64_t many = round_up(s->tokens, LANES), width = round_up(s->dimension, LANES);
    float *key_columns = take(&workspace, s->dimension * many), *value_rows = take(&workspace, s->tokens * width);
    float *scores = take(&workspace, ROWS_AT_ONCE * many), *sums = take(&workspace, ROWS_AT_ONCE * width);
    pack_columns(keys, s->dimension, key_columns);
    pack_rows(values, s->dimension, value_rows);
    for (int64_t i = 0; i < s->tokens; i += ROWS_AT_ONCE) {
        matrix q = rows_from(queries, i);
        multiply(q.rows, s->dimension, q.data, q.stride, 1, key_columns, many, scores);
        exponentials(q.rows, scores, s, statistics + i);
        multiply(q.rows, s->tokens, scores, many, 1, value_rows, width, sums);
        for (int64_t row = 0; row < q.rows; row++) {
            float *to = out.data + (i + row) * out.stride;
            store_row(sums + row * width, statistics[i + row].inverse_sum, s->dimension, to);
        }
    }
}

/* Scores become weights, and the weights' gradients those of the scores. */
static void differentiate_softmax(
    int64_t rows, float *scores, float *gradients, const sizes *s, const row_statistics *statistics) {
    int64_t many = round_up(s->tokens, LANES);
    lanes sums[ROWS_AT_ONCE];
    for (int64_t row = 0; row < rows; row++) {
        float *x = scores + row * many, *g = gradients + row * many;
        sums[row] = all(0);
        for (int64_t key = 0; key < many; key += LANES) {
            lanes weights = weights_of(x, key, s, statistics[row].greatest) * statistics[row].inverse_sum;
            sums[row] += weights * load(g + key);
            store(x + key, weights);
        }
    }
    for (int64_t row = 0; row < rows; row++) {
        float *x = scores + row * many, *g = gradients + row * many, mean = sum_of(sums[row]);
        for (int64_t key = 0; key < many; key += LANES)
            store(g + key, (load(g + key) - mean) * load(x + key) * s->scale);
    }
}

static void attend_head_backward(
    const sizes *s, matrix queries, matrix keys, matrix values, matrix out, matrix gradients,
    const row_statistics *statistics, matrix query_gradients, matrix key_gradients, matrix value_gradients,
    char *workspace) {
    (void)out;
    int64_t many = round_up(s->tokens, LANES), width = round_up(s->dimension, LANES);
    int64_t packed = s->tokens * width, in_columns = s->dimension * many;
    float *key_columns = take(&workspace, in_columns), *value_columns = take(&workspace, in_columns);
    float *key_rows = take(&workspace, packed), *query_rows = take(&workspace, packed);
    float *gradient_rows = take(&workspace, packed), *query_sums = take(&workspace, ROWS_AT_ONCE * width);
    float *key_sums = take(&workspace, packed), *value_sums = take(&workspace, packed);
    float *weights = take(&workspace, ROWS_AT_ONCE * many);
    float *score_gradients = take(&workspace, ROWS_AT_ONCE * many);
    pack_columns(keys, s->dimension, key_columns);
    pack_columns(values, s->dimension, value_columns);
    pack_rows(keys, s->dimension, key_rows);
    pack_rows(queries, s->dimension, query_rows);
    pack_rows(gradients, s->dimension, gradient_rows);
    memset(key_sums, 0, packed * sizeof(float));
    memset(value_sums, 0, packed * sizeof(float));
    for (int64_t i = 0; i < s->tokens; i += ROWS_AT_ONCE) {
        matrix q = rows_from(queries, i), g = rows_from(gradients, i);
        multiply(q.rows, s->dimension, q.data, q.stride, 1, key_columns, many, weights);
        multiply(g.rows, s->dimension, g.data, g.stride, 1, value_columns, many, score_gradients);
        differentiate_softmax(q.rows, weights, score_gradients, s, statistics + i);
        multiply(q.rows, s->tokens, score_gradients, many, 1, key_rows, width, query_sums);
        store_rows(query_sums, s->dimension, rows_from(query_gradients, i));
        multiply_and_add(s->tokens, q.rows, score_gradients, 1, many, query_rows + i * width, width, key_sums);
        multiply_and_add(s->tokens, q.rows, weights, 1, many, gradient_rows + i * width, width, value_sums);
    }
    store_rows(key_sums, s->dimension, key_gradients);
    store_rows(value_sums, s->dimension, value_gradients);
}
