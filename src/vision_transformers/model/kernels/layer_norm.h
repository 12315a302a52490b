/* LayerNorm in front of products in bfloat16 (arXiv 1607.06450), forward and backward: for the C files beside this
 * one, which say what an `input_element` is, how LANES of them are loaded as float32, and how they are stored.
 *
 * A row is read from memory once: what is summed over it is in the first cache when it is written. Sums are
 * float32. What is written is bfloat16, and so is its gradient.
 */
#pragma once
#include "bfloat16_pairs.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Rows whose gradients of weight and bias are added up before they are added to those of a thread. */
enum { ROWS_AT_ONCE = 4 };

/* Rows lie one after another; `width` is a multiple of LANES. */
typedef struct {
    int64_t rows, width;
} sizes;

typedef struct {
    float mean, inverse_deviation;
} row_statistics;

static row_statistics statistics_of(const input_element *row, int64_t width, float epsilon) {
    __m512 sum = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
    for (int64_t i = 0; i < width; i += LANES) sum = _mm512_add_ps(sum, load_input(row + i));
    float mean = _mm512_reduce_add_ps(sum) / width;
    for (int64_t i = 0; i < width; i += LANES) {
        __m512 above = _mm512_sub_ps(load_input(row + i), _mm512_set1_ps(mean));
        squares = _mm512_fmadd_ps(above, above, squares);
    }
    return (row_statistics){mean, 1.0f / sqrtf(_mm512_reduce_add_ps(squares) / width + epsilon)};
}

static inline __m512 normalized(const input_element *x, row_statistics of_row) {
    __m512 above = _mm512_sub_ps(load_input(x), _mm512_set1_ps(of_row.mean));
    return _mm512_mul_ps(above, _mm512_set1_ps(of_row.inverse_deviation));
}

void normalize(
    const sizes *s, float epsilon, const input_element *input, const float *weight, const float *bias,
    bfloat16 *out, row_statistics *statistics) {
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < s->rows; row++) {
        const input_element *from = input + row * s->width;
        bfloat16 *to = out + row * s->width;
        row_statistics of_row = statistics_of(from, s->width, epsilon);
        for (int64_t i = 0; i < s->width; i += LANES) {
            __m512 scale = _mm512_loadu_ps(weight + i), shift = _mm512_loadu_ps(bias + i);
            store(to + i, _mm512_fmadd_ps(normalized(from + i, of_row), scale, shift));
        }
        statistics[row] = of_row;
    }
}

/* Of what is normalised, y, the gradient g loses its mean and what lies along y: with the deviation s,
 * (g - mean(g) - y mean(g y)) / s. */
typedef struct {
    float mean_gradient, along;
} row_means;

static row_means means_of(
    const bfloat16 *gradients, const input_element *row, const float *weight, int64_t width,
    row_statistics of_row) {
    __m512 sum = _mm512_setzero_ps(), products = _mm512_setzero_ps();
    for (int64_t i = 0; i < width; i += LANES) {
        __m512 gradient = _mm512_mul_ps(load(gradients + i), _mm512_loadu_ps(weight + i));
        sum = _mm512_add_ps(sum, gradient);
        products = _mm512_fmadd_ps(gradient, normalized(row + i, of_row), products);
    }
    return (row_means){_mm512_reduce_add_ps(sum) / width, _mm512_reduce_add_ps(products) / width};
}

static inline __m512 input_gradient(__m512 gradient, __m512 y, row_means means, row_statistics of_row) {
    __m512 across = _mm512_fnmadd_ps(y, _mm512_set1_ps(means.along), gradient);
    across = _mm512_sub_ps(across, _mm512_set1_ps(means.mean_gradient));
    return _mm512_mul_ps(across, _mm512_set1_ps(of_row.inverse_deviation));
}

static inline void add_to(float *sums, __m512 x) { _mm512_store_ps(sums, _mm512_add_ps(_mm512_load_ps(sums), x)); }

/* Gradients of weight and bias are added to. */
static inline __attribute__((always_inline)) void differentiate_rows(
    const int rows, int64_t width, const bfloat16 *gradients, const input_element *input,
    const row_statistics *statistics, const float *weight, input_element *input_gradients, float *of_weight,
    float *of_bias) {
    row_means means[ROWS_AT_ONCE];
    for (int row = 0; row < rows; row++)
        means[row] = means_of(gradients + row * width, input + row * width, weight, width, statistics[row]);
    for (int64_t i = 0; i < width; i += LANES) {
        __m512 sum = _mm512_setzero_ps(), products = _mm512_setzero_ps(), scale = _mm512_loadu_ps(weight + i);
        for (int row = 0; row < rows; row++) {
            int64_t here = row * width + i;
            __m512 gradient = load(gradients + here), y = normalized(input + here, statistics[row]);
            sum = _mm512_add_ps(sum, gradient);
            products = _mm512_fmadd_ps(gradient, y, products);
            __m512 found = input_gradient(_mm512_mul_ps(gradient, scale), y, means[row], statistics[row]);
            store_input(input_gradients + here, found);
        }
        add_to(of_weight + i, products);
        add_to(of_bias + i, sum);
    }
}

/* Adds up what threads have, whose sums are `each` numbers apart. */
static void add_threads(int threads, const float *sums, int64_t each, int64_t count, float *out) {
    for (int64_t i = 0; i < count; i += LANES) {
        __m512 sum = _mm512_load_ps(sums + i);
        for (int thread = 1; thread < threads; thread++)
            sum = _mm512_add_ps(sum, _mm512_load_ps(sums + thread * each + i));
        _mm512_storeu_ps(out + i, sum);
    }
}

void normalize_backward(
    const sizes *s, const bfloat16 *gradients, const input_element *input, const row_statistics *statistics,
    const float *weight, input_element *input_gradients, float *weight_gradient, float *bias_gradient) {
    int64_t width = s->width, each = 2 * width;
    int threads = omp_get_max_threads();
    float *sums = (float *)new_workspace(each * threads);
    memset(sums, 0, sizeof(float) * each * threads);
#pragma omp parallel for schedule(static)
    for (int64_t row = 0; row < s->rows; row += ROWS_AT_ONCE) {
        float *of_weight = sums + each * omp_get_thread_num(), *of_bias = of_weight + width;
        int64_t here = row * width, rows = least(s->rows - row, ROWS_AT_ONCE);
        if (rows == ROWS_AT_ONCE) /* a constant, for which the loops over rows are unrolled */
            differentiate_rows(
                ROWS_AT_ONCE, width, gradients + here, input + here, statistics + row, weight,
                input_gradients + here, of_weight, of_bias);
        else
            differentiate_rows(
                rows, width, gradients + here, input + here, statistics + row, weight, input_gradients + here,
                of_weight, of_bias);
    }
    add_threads(threads, sums, each, width, weight_gradient);
    add_threads(threads, sums + width, each, width, bias_gradient);
    free(sums);
}
