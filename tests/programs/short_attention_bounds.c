/* Attention forward and backward of many sizes, each tensor in memory of just its size. Built with sanitizers
 * and -DSOURCE=<short_attention_*.c in quotes>, it ends with an error where a byte beside them is touched. */
#include SOURCE

#include "random_numbers.h"

static tensor part(element *numbers, const sizes *s, int64_t parts, int64_t which) {
    int64_t token = parts * s->heads * s->dimension;
    return (tensor){numbers + which * s->heads * s->dimension, s->tokens * token, s->dimension, token};
}

static void run(const sizes *s) {
    int64_t count = s->batch * s->tokens * s->heads * s->dimension;
    element *together = random_numbers(3 * count), *found = random_numbers(3 * count);
    element *attended = random_numbers(count), *gradient = random_numbers(count);
    row_statistics *statistics = malloc(s->batch * s->heads * s->tokens * sizeof(row_statistics));
    tensor q = part(together, s, 3, 0), k = part(together, s, 3, 1), v = part(together, s, 3, 2);
    tensor dq = part(found, s, 3, 0), dk = part(found, s, 3, 1), dv = part(found, s, 3, 2);
    tensor out = part(attended, s, 1, 0), dout = part(gradient, s, 1, 0);
    attend(s, statistics, &q, &k, &v, &out);
    attend_backward(s, statistics, &q, &k, &v, &out, &dout, &dq, &dk, &dv);
    free_numbers(together, 3 * count), free_numbers(found, 3 * count);
    free_numbers(attended, count), free_numbers(gradient, count), free(statistics);
}

int main(void) {
    ask_for_tiles();
    int64_t tokens[] = {1, 2, 3, 5, 15, 16, 17, 33, 50, 65, 72, 73, 197};
    int64_t dimensions[] = {2, 6, 8, 16, 20, 32, 40, 48, 64, 80, 128};
    for (int i = 0; i < 13; i++)
        for (int j = 0; j < 11; j++)
            for (int64_t batch = 0; batch <= 2; batch += 2) {
                sizes s = {batch, 3, tokens[i], dimensions[j], 0.25f};
                run(&s);
            }
    return 0;
}
