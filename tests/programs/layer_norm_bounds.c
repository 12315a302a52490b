/* LayerNorm forward and backward of many sizes, each tensor in memory of just its size. Built with sanitizers and
 * -DSOURCE=<layer_norm_of_*.c in quotes>, it ends with an error where a byte beside them is touched. */
#include SOURCE

#include "random_numbers.h"

static void *zeros(int64_t count, int64_t size) { return new_before_a_wall(count * size); }

static void run(int64_t rows, int64_t width) {
    sizes s = {rows, width};
    int64_t count = rows * width, of_input = sizeof(input_element);
    input_element *input = zeros(count, of_input), *input_gradients = zeros(count, of_input);
    bfloat16 *out = random_numbers(count), *gradients = random_numbers(count);
    float *weight = zeros(width, 4), *bias = zeros(width, 4), *found = zeros(width, 4), *of_bias = zeros(width, 4);
    row_statistics *statistics = zeros(rows, sizeof(row_statistics));
    for (int64_t i = 0; i < count; i++) input[i] = gradients[i];
    normalize(&s, 1e-6f, input, weight, bias, out, statistics);
    normalize_backward(&s, gradients, input, statistics, weight, input_gradients, found, of_bias);
}

int main(void) {
    int64_t rows[] = {0, 1, 2, 3, 4, 5, 7, 33}, widths[] = {16, 32, 48, 384};
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        for (int i = 0; i < 8; i++)
            for (int j = 0; j < 4; j++) run(rows[i], widths[j]);
    }
    return 0;
}
