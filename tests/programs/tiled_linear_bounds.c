/* The gradients of weights and biases of many sizes, each tensor in memory of just its size. Built with sanitizers
 * and -DSOURCE=<weight_gradient_tiles.c in quotes>, it ends with an error where a byte beside them is touched. */
#include SOURCE

#include "random_numbers.h"

static void run(int64_t tokens, int64_t outputs, int64_t inputs) {
    bfloat16 *gradients = random_numbers(tokens * outputs), *input = random_numbers(tokens * inputs);
    bfloat16 *weight = random_numbers(outputs * inputs), *bias = random_numbers(outputs);
    weight_gradient(tokens, outputs, inputs, gradients, input, weight, bias);
    free_numbers(gradients, tokens * outputs), free_numbers(input, tokens * inputs);
    free_numbers(weight, outputs * inputs), free_numbers(bias, outputs);
}

int main(void) {
    ask_for_tiles();
    int64_t tokens[] = {0, 1, 2, 31, 32, 33, 255, 256, 257, 300}, widths[] = {32, 64, 96, 160, 1024};
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        for (int i = 0; i < 10; i++)
            for (int j = 0; j < 5; j++)
                for (int k = 0; k < 5; k++) run(tokens[i], widths[j], widths[k]);
    }
    return 0;
}
