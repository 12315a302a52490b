/* LayerNorm of tokens in front of products in bfloat16 (arXiv 1607.06450): for the C files beside this one, which
 * say what a `stream_element` of a token is, and how LANES of them are loaded as float32 and stored.
 *
 * A token is read from memory once: what is summed over it is in the first cache when it is written. Sums are
 * float32. What is written is bfloat16, and so is its gradient. Widths are multiples of LANES.
 */
#pragma once
#include "bfloat16_pairs.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Tokens that take each step together, since a token's steps wait for each other. */
enum { TOKENS_AT_ONCE = 4 };

typedef struct {
    const float *weight, *bias;
    float epsilon;
} normalization;

typedef struct {
    float mean, inverse_deviation;
} token_statistics;

static inline __attribute__((always_inline)) void find_statistics(
    const int tokens, int64_t width, const stream_element *input, float epsilon, token_statistics *statistics) {
    __m512 sums[TOKENS_AT_ONCE], squares[TOKENS_AT_ONCE];
    for (int token = 0; token < tokens; token++) sums[token] = squares[token] = _mm512_setzero_ps();
    for (int64_t i = 0; i < width; i += LANES)
        for (int token = 0; token < tokens; token++)
            sums[token] = _mm512_add_ps(sums[token], load_stream(input + token * width + i));
    for (int token = 0; token < tokens; token++) statistics[token].mean = _mm512_reduce_add_ps(sums[token]) / width;
    for (int64_t i = 0; i < width; i += LANES)
        for (int token = 0; token < tokens; token++) {
            __m512 mean = _mm512_set1_ps(statistics[token].mean);
            __m512 above = _mm512_sub_ps(load_stream(input + token * width + i), mean);
            squares[token] = _mm512_fmadd_ps(above, above, squares[token]);
        }
    for (int token = 0; token < tokens; token++) {
        float variance = _mm512_reduce_add_ps(squares[token]) / width;
        statistics[token].inverse_deviation = 1.0f / sqrtf(variance + epsilon);
    }
}

static inline __m512 normalized(const stream_element *x, token_statistics of_token) {
    __m512 above = _mm512_sub_ps(load_stream(x), _mm512_set1_ps(of_token.mean));
    return _mm512_mul_ps(above, _mm512_set1_ps(of_token.inverse_deviation));
}

static inline __attribute__((always_inline)) void normalize_some(
    const int tokens, int64_t width, const normalization *n, const stream_element *input, bfloat16 *out,
    token_statistics *statistics) {
    find_statistics(tokens, width, input, n->epsilon, statistics);
    for (int64_t i = 0; i < width; i += LANES) {
        __m512 scale = _mm512_loadu_ps(n->weight + i), shift = _mm512_loadu_ps(n->bias + i);
        for (int token = 0; token < tokens; token++) {
            int64_t here = token * width + i;
            store(out + here, _mm512_fmadd_ps(normalized(input + here, statistics[token]), scale, shift));
        }
    }
}

static void normalize_tokens(
    int64_t tokens, int64_t width, const normalization *n, const stream_element *input, bfloat16 *out,
    token_statistics *statistics) {
    for (int64_t token = 0; token < tokens; token += TOKENS_AT_ONCE) {
        int64_t here = token * width, rest = tokens - token;
        if (rest >= TOKENS_AT_ONCE) /* a constant, for which loops over tokens are unrolled */
            normalize_some(TOKENS_AT_ONCE, width, n, input + here, out + here, statistics + token);
        else
            normalize_some(rest, width, n, input + here, out + here, statistics + token);
    }
}

/* Of what is normalised, y, the gradient g loses its mean and what lies along y: with the deviation s,
 * (g - mean(g) - y mean(g y)) / s. */
typedef struct {
    float mean_gradient, along;
} gradient_means;

static inline __attribute__((always_inline)) void find_means(
    const int tokens, int64_t width, const bfloat16 *gradients, const stream_element *input, const float *weight,
    const token_statistics *statistics, gradient_means *means) {
    __m512 sums[TOKENS_AT_ONCE], products[TOKENS_AT_ONCE];
    for (int token = 0; token < tokens; token++) sums[token] = products[token] = _mm512_setzero_ps();
    for (int64_t i = 0; i < width; i += LANES) {
        __m512 scale = _mm512_loadu_ps(weight + i);
        for (int token = 0; token < tokens; token++) {
            int64_t here = token * width + i;
            __m512 gradient = _mm512_mul_ps(load(gradients + here), scale);
            sums[token] = _mm512_add_ps(sums[token], gradient);
            __m512 y = normalized(input + here, statistics[token]);
            products[token] = _mm512_fmadd_ps(gradient, y, products[token]);
        }
    }
    for (int token = 0; token < tokens; token++)
        means[token] = (gradient_means){
            _mm512_reduce_add_ps(sums[token]) / width, _mm512_reduce_add_ps(products[token]) / width};
}

static inline __m512 stream_gradient(__m512 gradient, __m512 y, gradient_means means, token_statistics of_token) {
    __m512 across = _mm512_fnmadd_ps(y, _mm512_set1_ps(means.along), gradient);
    across = _mm512_sub_ps(across, _mm512_set1_ps(means.mean_gradient));
    return _mm512_mul_ps(across, _mm512_set1_ps(of_token.inverse_deviation));
}

static inline void add_to(float *sums, __m512 x) { _mm512_store_ps(sums, _mm512_add_ps(_mm512_load_ps(sums), x)); }

/* Gradients of weight and bias are added to. `past` is the gradient that came past the LayerNorm, to where it
 * branches off, if some did. */
static inline __attribute__((always_inline)) void differentiate_some(
    const int tokens, int64_t width, const bfloat16 *gradients, const stream_element *input,
    const token_statistics *statistics, const float *weight, const stream_element *past,
    stream_element *input_gradients, float *of_weight, float *of_bias) {
    gradient_means means[TOKENS_AT_ONCE];
    find_means(tokens, width, gradients, input, weight, statistics, means);
    for (int64_t i = 0; i < width; i += LANES) {
        __m512 sum = _mm512_setzero_ps(), products = _mm512_setzero_ps(), scale = _mm512_loadu_ps(weight + i);
        for (int token = 0; token < tokens; token++) {
            int64_t here = token * width + i;
            __m512 gradient = load(gradients + here), y = normalized(input + here, statistics[token]);
            sum = _mm512_add_ps(sum, gradient);
            products = _mm512_fmadd_ps(gradient, y, products);
            __m512 found = stream_gradient(_mm512_mul_ps(gradient, scale), y, means[token], statistics[token]);
            if (past) found = _mm512_add_ps(found, load_stream(past + here));
            store_stream(input_gradients + here, found);
        }
        add_to(of_weight + i, products);
        add_to(of_bias + i, sum);
    }
}

static inline __attribute__((always_inline)) void differentiate_tokens(
    int64_t tokens, int64_t width, const bfloat16 *gradients, const stream_element *input,
    const token_statistics *statistics, const float *weight, const stream_element *past,
    stream_element *input_gradients, float *of_weight, float *of_bias) {
    for (int64_t token = 0; token < tokens; token += TOKENS_AT_ONCE) {
        int64_t here = token * width, rest = tokens - token;
        const stream_element *past_here = past ? past + here : NULL;
        if (rest >= TOKENS_AT_ONCE)
            differentiate_some(
                TOKENS_AT_ONCE, width, gradients + here, input + here, statistics + token, weight, past_here,
                input_gradients + here, of_weight, of_bias);
        else
            differentiate_some(
                rest, width, gradients + here, input + here, statistics + token, weight, past_here,
                input_gradients + here, of_weight, of_bias);
    }
}

/* Adds up what threads have, whose sums are `each` numbers apart. */
static void sum_of_threads(int threads, const float *sums, int64_t each, int64_t count, float *out) {
    for (int64_t i = 0; i < count; i += LANES) {
        __m512 sum = _mm512_load_ps(sums + i);
        for (int thread = 1; thread < threads; thread++)
            sum = _mm512_add_ps(sum, _mm512_load_ps(sums + thread * each + i));
        _mm512_storeu_ps(out + i, sum);
    }
}
