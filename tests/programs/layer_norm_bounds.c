/* LayerNorm forward and backward of many sizes, each tensor in memory of just its size. Built with sanitizers and
 * -DSOURCE=<layer_norm_of_*.c in quotes>, it ends with an error where a byte beside them is touched. */
#include SOURCE

#include "random_numbers.h"

static void *zeros(int64_t count, int64_t size) { return new_before_a_wall(count * size); }

static void run(int64_t tokens, int64_t width) {
    int64_t count = tokens * width, of_input = sizeof(stream_element);
    stream_element *input = zeros(count, of_input), *input_gradients = zeros(count, of_input);
    bfloat16 *out = random_numbers(count), *gradients = random_numbers(count);
    float *weight = zeros(width, 4), *bias = zeros(width, 4), *found = zeros(width, 4), *of_bias = zeros(width, 4);
    token_statistics *statistics = zeros(tokens, sizeof(token_statistics));
    normalization n = {weight, bias, 1e-6f};
    for (int64_t i = 0; i < count; i++) input[i] = gradients[i];
    normalize(tokens, width, &n, input, out, statistics);
    normalize_backward(tokens, width, &n, gradients, input, statistics, input_gradients, found, of_bias);
}

int main(void) {
    int64_t tokens[] = {0, 1, 2, 3, 4, 5, 7, 33}, widths[] = {16, 32, 48, 384};
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        for (int i = 0; i < 8; i++)
            for (int j = 0; j < 4; j++) run(tokens[i], widths[j]);
    }
    return 0;
}
