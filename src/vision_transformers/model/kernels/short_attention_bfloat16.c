/* How one head of `short_attention.h` is computed in bfloat16, in registers. */
#include "bfloat16_products.h"
#include "short_attention_bfloat16.h"

#include <string.h>

/* Each part is rounded up to ALIGNMENT bytes. */
static char *start_thread(const sizes *s) {
    int64_t many = round_up(s->tokens, LANES), width = round_up(s->dimension, LANES);
    return new_workspace(many * (5 * width + many + 3 * ROWS) + ROWS * width + 16 * ALIGNMENT / 4);
}

static void end_thread(char *workspace) { free(workspace); }

static inline matrix rows_from(matrix x, int64_t row) {
    return (matrix){x.data + row * x.stride, least(x.rows - row, ROWS), x.stride};
}

static void attend_head(
    const sizes *s, matrix queries, matrix keys, matrix values, matrix out, row_statistics *statistics,
    char *workspace) {
    int64_t many = round_up(s->tokens, LANES), width = round_up(s->dimension, LANES);
    pair *key_columns = take(&workspace, s->dimension / 2 * many);
    pair *value_rows = take(&workspace, (s->tokens + 1) / 2 * width);
    float *scores = take(&workspace, ROWS * many);
    bfloat16 *weights = take(&workspace, ROWS * many / 2);
    float *sums = take(&workspace, ROWS * width);
    pack_columns(keys, s->dimension, many, key_columns);
    pack_rows(values, s->dimension, value_rows);
    for (int64_t i = 0; i < s->tokens; i += ROWS) {
        matrix some = rows_from(queries, i);
        multiply(some.rows, s->dimension / 2, (pair *)some.data, some.stride / 2, 1, key_columns, many, scores);
        exponentials(some.rows, scores, many, s, weights, many, statistics + i);
        multiply(some.rows, (s->tokens + 1) / 2, (pair *)weights, many / 2, 1, value_rows, width, sums);
        store_rows(sums, s->dimension, statistics + i, rows_from(out, i));
    }
}

/* Turns rows of scores into weights; `means` are the sums of weights times their gradients. */
static void weights_again(
    int64_t rows, float *scores, const float *weight_gradients, const sizes *s, const row_statistics *statistics,
    float *means) {
    int64_t many = round_up(s->tokens, LANES), last = many - LANES;
    __mmask16 there = first_lanes(s->tokens - last);
    __m512 scale = _mm512_set1_ps(s->scale * LOG2_E), sums[ROWS];
    for (int64_t row = 0; row < rows; row++) {
        __m512 greatest = _mm512_set1_ps(statistics[row].greatest);
        __m512 inverse = _mm512_set1_ps(statistics[row].inverse_sum);
        sums[row] = _mm512_setzero_ps();
        for (int64_t key = row * many; key < (row + 1) * many; key += LANES) {
            __m512 below = _mm512_sub_ps(_mm512_load_ps(scores + key), greatest);
            __m512 weight = _mm512_mul_ps(power_of_two(_mm512_mul_ps(below, scale)), inverse);
            if (key == row * many + last) weight = _mm512_maskz_mov_ps(there, weight);
            sums[row] = _mm512_fmadd_ps(weight, _mm512_load_ps(weight_gradients + key), sums[row]);
            _mm512_store_ps(scores + key, weight);
        }
    }
    for (int64_t row = 0; row < rows; row++) means[row] = _mm512_reduce_add_ps(sums[row]);
}

/* Two rows of weights and of the scores' gradients: as pairs of the two, and the gradients as rows, too. */
static void differentiate_softmax(
    const float *weights, const float *weight_gradients, const float means[2], const sizes *s,
    pair *weight_pairs, pair *gradient_pairs, bfloat16 *gradient_rows) {
    int64_t many = round_up(s->tokens, LANES);
    __m512 scale = _mm512_set1_ps(s->scale);
    __m512 even_mean = _mm512_set1_ps(means[0]), odd_mean = _mm512_set1_ps(means[1]);
    for (int64_t key = 0; key < many; key += LANES) {
        __m512 even_weight = _mm512_load_ps(weights + key), odd_weight = _mm512_load_ps(weights + many + key);
        __m512 even = _mm512_sub_ps(_mm512_load_ps(weight_gradients + key), even_mean);
        __m512 odd = _mm512_sub_ps(_mm512_load_ps(weight_gradients + many + key), odd_mean);
        __m256i even_gradient = to_bfloat16(_mm512_mul_ps(_mm512_mul_ps(even_weight, scale), even));
        __m256i odd_gradient = to_bfloat16(_mm512_mul_ps(_mm512_mul_ps(odd_weight, scale), odd));
        _mm256_store_si256((__m256i *)(gradient_rows + key), even_gradient);
        _mm256_store_si256((__m256i *)(gradient_rows + many + key), odd_gradient);
        _mm512_store_si512(gradient_pairs + key, interleave(even_gradient, odd_gradient));
        _mm512_store_si512(weight_pairs + key, interleave(to_bfloat16(even_weight), to_bfloat16(odd_weight)));
    }
}

static void attend_head_backward(
    const sizes *s, matrix queries, matrix keys, matrix values, matrix out, matrix gradients,
    const row_statistics *statistics, matrix query_gradients, matrix key_gradients, matrix value_gradients,
    char *workspace) {
    (void)out;
    int64_t many = round_up(s->tokens, LANES), width = round_up(s->dimension, LANES);
    int64_t token_pairs = (s->tokens + 1) / 2, pairs = s->dimension / 2;
    pair *key_columns = take(&workspace, pairs * many), *value_columns = take(&workspace, pairs * many);
    pair *key_rows = take(&workspace, token_pairs * width), *query_rows = take(&workspace, token_pairs * width);
    pair *gradient_rows = take(&workspace, token_pairs * width);
    pair *weights = take(&workspace, token_pairs * many), *score_gradients = take(&workspace, token_pairs * many);
    float *scores = take(&workspace, ROWS * many), *weight_gradients = take(&workspace, ROWS * many);
    bfloat16 *score_gradient_rows = take(&workspace, ROWS * many / 2);
    float *sums = take(&workspace, (many > ROWS ? many : ROWS) * width);
    pack_columns(keys, s->dimension, many, key_columns);
    pack_columns(values, s->dimension, many, value_columns);
    pack_rows(keys, s->dimension, key_rows);
    pack_rows(queries, s->dimension, query_rows);
    pack_rows(gradients, s->dimension, gradient_rows);
    for (int64_t i = 0; i < s->tokens; i += ROWS) {
        matrix q = rows_from(queries, i), g = rows_from(gradients, i);
        multiply(q.rows, pairs, (pair *)q.data, q.stride / 2, 1, key_columns, many, scores);
        multiply(g.rows, pairs, (pair *)g.data, g.stride / 2, 1, value_columns, many, weight_gradients);
        float means[ROWS];
        weights_again(q.rows, scores, weight_gradients, s, statistics + i, means);
        if (q.rows % 2) { /* a row of zeros makes the last pair whole */
            memset(scores + q.rows * many, 0, many * sizeof(float));
            memset(weight_gradients + q.rows * many, 0, many * sizeof(float));
            means[q.rows] = 0;
        }
        for (int64_t row = 0; row < q.rows; row += 2) {
            int64_t pairs_from = (i + row) / 2 * many;
            differentiate_softmax(
                scores + row * many, weight_gradients + row * many, means + row, s, weights + pairs_from,
                score_gradients + pairs_from, score_gradient_rows + row * many);
        }
        multiply(q.rows, token_pairs, (pair *)score_gradient_rows, many / 2, 1, key_rows, width, sums);
        store_rows(sums, s->dimension, NULL, rows_from(query_gradients, i));
    }
    multiply(s->tokens, token_pairs, score_gradients, 1, many, query_rows, width, sums);
    store_rows(sums, s->dimension, NULL, key_gradients);
    multiply(s->tokens, token_pairs, weights, 1, many, gradient_rows, width, sums);
    store_rows(sums, s->dimension, NULL, value_gradients);
}
