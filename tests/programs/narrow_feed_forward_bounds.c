/* A feed-forward network forward and backward, of many sizes, each tensor in memory of just its size. Built with
 * sanitizers and -DSOURCE=<narrow_feed_forward_*.c in quotes>, it ends with an error where a byte beside them is
 * touched. */
#include SOURCE

#include "random_numbers.h"

static layer new_layer(int64_t outputs, int64_t inputs) {
    return (layer){random_numbers(outputs * inputs), random_numbers(outputs), outputs, inputs};
}

static void run(int64_t tokens, int64_t width, int64_t hidden) {
    layer first = new_layer(hidden, width), second = new_layer(width, hidden);
    layer first_found = new_layer(hidden, width), second_found = new_layer(width, hidden);
    bfloat16 *input = random_numbers(tokens * width), *out = random_numbers(tokens * width);
    bfloat16 *gradient = random_numbers(tokens * width), *found = random_numbers(tokens * width);
    bfloat16 *preactivations = random_numbers(tokens * hidden), *before = random_numbers(tokens * hidden);
    bfloat16 *activations = random_numbers(tokens * hidden);
    feed_forward(tokens, &first, &second, input, NULL, out);
    feed_forward(tokens, &first, &second, input, preactivations, out);
    feed_forward_backward(
        tokens, &first, &second, gradient, input, preactivations, &first_found, &second_found, found);
#ifdef HAS_TILES
    feed_forward_backward_of_tokens(
        tokens, &first, &second, gradient, preactivations, activations, before, found);
#endif
    layer all[] = {first, second, first_found, second_found};
    for (int i = 0; i < 4; i++) {
        free_numbers(all[i].weight, all[i].outputs * all[i].inputs);
        free_numbers(all[i].bias, all[i].outputs);
    }
    element *of_tokens[] = {input, out, gradient, found}, *hidden_ones[] = {preactivations, before, activations};
    for (int i = 0; i < 4; i++) free_numbers(of_tokens[i], tokens * width);
    for (int i = 0; i < 3; i++) free_numbers(hidden_ones[i], tokens * hidden);
}

int main(void) {
    ask_for_tiles();
    int64_t tokens[] = {0, 1, 2, 3, 7, 8, 9, 63, 65, 127, 129, 257};
    int64_t widths[] = {16, 32, 48, 64, 80, 192};
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        for (int i = 0; i < 12; i++)
            for (int j = 0; j < 6; j++)
                for (int k = 0; k < 6; k++)
                    if (widths[j] % MULTIPLE == 0 && widths[k] % MULTIPLE == 0)
                        run(tokens[i], widths[j], widths[k]);
    }
    return 0;
}
