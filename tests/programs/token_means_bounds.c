/* Means of tokens forward and backward, of many sizes, each tensor in memory of just its size. Built with
 * sanitizers and -DSOURCE=<token_means_tiles.c in quotes>, it ends with an error where a byte beside them is
 * touched. */
#include SOURCE

#include "random_numbers.h"

static void run(int64_t images, int64_t tokens, int64_t width, int64_t vectors) {
    sizes s = {images, tokens, width, vectors};
    int64_t of_tokens = images * tokens * width, of_vectors = images * vectors * width;
    bfloat16 *sequence = random_numbers(of_tokens), *found = random_numbers(of_tokens);
    bfloat16 *given = random_numbers(of_vectors), *means = random_numbers(of_vectors);
    bfloat16 *weights = random_numbers(images * tokens * vectors);
    average(&s, sequence, given, weights, means);
    average_backward(&s, means, sequence, given, weights, found, given);
    free_numbers(sequence, of_tokens), free_numbers(found, of_tokens);
    free_numbers(given, of_vectors), free_numbers(means, of_vectors);
    free_numbers(weights, images * tokens * vectors);
}

int main(void) {
    ask_for_tiles();
    int64_t tokens[] = {1, 2, 15, 16, 17, 32, 33, 50, 197}, widths[] = {32, 64, 96, 384}, vectors[] = {1, 3, 15, 16};
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        for (int i = 0; i < 9; i++)
            for (int j = 0; j < 4; j++)
                for (int k = 0; k < 4; k++)
                    for (int64_t images = 0; images <= 3; images += 3)
                        run(images, tokens[i], widths[j], vectors[k]);
    }
    return 0;
}
