/* What both ways to compute `short_attention.h` in bfloat16 do with rows of float32. */
#pragma once
#include "bfloat16_pairs.h"
#include "short_attention.h"

#include <math.h>

/* Writes rows of sums as bfloat16, row by row times a factor where there are some. */
static inline void store_rows(const float *sums, int64_t columns, const row_statistics *statistics, matrix out) {
    int64_t width = round_up(columns, LANES);
    for (int64_t row = 0; row < out.rows; row++) {
        __m512 factor = _mm512_set1_ps(statistics ? statistics[row].inverse_sum : 1.0f);
        for (int64_t column = 0; column < columns; column += LANES) {
            __m512 x = _mm512_mul_ps(_mm512_load_ps(sums + row * width + column), factor);
            _mm256_mask_storeu_epi16(
                out.data + row * out.stride + column, first_lanes(columns - column), to_bfloat16(x));
        }
    }
}

/* The weights of at most ROWS rows of scores, not yet divided by their sums. The rows take each step together,
 * since a row's steps wait for each other. */
static inline void exponentials(
    int64_t rows, const float *scores, int64_t scores_stride, const sizes *s, bfloat16 *weights,
    int64_t weights_stride, row_statistics *statistics) {
    int64_t many = round_up(s->tokens, LANES), last = many - LANES;
    __mmask16 there = first_lanes(s->tokens - last);
    __m512 scale = _mm512_set1_ps(s->scale * LOG2_E), sums[ROWS];
    for (int64_t row = 0; row < rows; row++) {
        const float *x = scores + row * scores_stride;
        __m512 most = _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), there, x + last);
        for (int64_t key = 0; key < last; key += LANES) most = _mm512_max_ps(most, _mm512_load_ps(x + key));
        statistics[row].greatest = _mm512_reduce_max_ps(most);
    }
    for (int64_t row = 0; row < rows; row++) {
        __m512 greatest = _mm512_set1_ps(statistics[row].greatest);
        sums[row] = _mm512_setzero_ps();
        for (int64_t key = 0; key < many; key += LANES) {
            __m512 below = _mm512_sub_ps(_mm512_load_ps(scores + row * scores_stride + key), greatest);
            __m512 weight = power_of_two(_mm512_mul_ps(below, scale));
            if (key == last) weight = _mm512_maskz_mov_ps(there, weight);
            sums[row] = _mm512_add_ps(sums[row], weight);
            _mm256_store_si256((__m256i *)(weights + row * weights_stride + key), to_bfloat16(weight));
        }
    }
    for (int64_t row = 0; row < rows; row++)
        statistics[row].inverse_sum = 1.0f / _mm512_reduce_add_ps(sums[row]);
}
