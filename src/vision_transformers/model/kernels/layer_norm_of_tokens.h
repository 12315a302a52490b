/* All tokens of a LayerNorm, forward and backward; they lie one after another. */
#pragma once
#include "layer_norm.h"

void normalize(
    int64_t tokens, int64_t width, const normalization *n, const stream_element *input, bfloat16 *out,
    token_statistics *statistics) {
#pragma omp parallel for schedule(static)
    for (int64_t token = 0; token < tokens; token += TOKENS_AT_ONCE) {
        int64_t here = token * width;
        normalize_tokens(
            least(tokens - token, TOKENS_AT_ONCE), width, n, input + here, out + here, statistics + token);
    }
}

void normalize_backward(
    int64_t tokens, int64_t width, const normalization *n, const bfloat16 *gradients, const stream_element *input,
    const token_statistics *statistics, stream_element *input_gradients, float *weight_gradient,
    float *bias_gradient) {
    int64_t each = 2 * width;
    int threads = omp_get_max_threads();
    float *sums = (float *)new_workspace(each * threads);
    memset(sums, 0, sizeof(float) * each * threads);
#pragma omp parallel for schedule(static)
    for (int64_t token = 0; token < tokens; token += TOKENS_AT_ONCE) {
        float *of_weight = sums + each * omp_get_thread_num();
        int64_t here = token * width;
        differentiate_tokens(
            least(tokens - token, TOKENS_AT_ONCE), width, gradients + here, input + here, statistics + token,
            n->weight, NULL, input_gradients + here, of_weight, of_weight + width);
    }
    sum_of_threads(threads, sums, each, width, weight_gradient);
    sum_of_threads(threads, sums + width, each, width, bias_gradient);
    free(sums);
}
