/* How matrices of `narrow_feed_forward.h` are multiplied in registers. */
#include "bfloat16_products.h"

/* Of a block: more use what is packed more often, fewer leave it in the cache. Measured for widths up to 256. */
enum { TOKENS = 64, TOKENS_BACKWARD = 128 };

/* Blocks are whole multiples of it, up to the last one. */
enum { TOKENS_TOGETHER = ROWS };

#include "narrow_feed_forward.h"

/* Both widths are multiples of it. */
enum { MULTIPLE = LANES };

static void start_products(void) {}

static void end_products(void) {}

static void pack_forward(const layer *l, pair *packed) {
    matrix weight = {l->weight, l->outputs, l->inputs};
#pragma omp for
    for (int64_t row = 0; row < l->outputs; row += LANES)
        pack_columns_of_rows(weight, row, l->inputs, l->outputs, packed + row);
}

static void pack_backward(const layer *l, pair *packed) {
    matrix weight = {l->weight, l->outputs, l->inputs};
#pragma omp for
    for (int64_t row = 0; row < l->outputs; row += 2)
        pack_two_rows(weight, row, l->inputs, l->inputs, packed + row / 2 * l->inputs);
}

static void multiply_rows(
    int64_t rows, int64_t inputs, const bfloat16 *left, const pair *packed, int64_t outputs, destination to) {
    product(rows, inputs / 2, (const pair *)left, inputs / 2, 1, packed, outputs, to);
}

static void multiply_rows_and_activate(
    int64_t rows, int64_t inputs, const bfloat16 *left, const pair *packed, int64_t outputs, const bfloat16 *bias,
    bfloat16 *preactivations, bfloat16 *activations) {
    destination before = {.bias = bias, .rounded = preactivations};
    multiply_rows(rows, inputs, left, packed, outputs, before);
    for (int64_t i = 0; i < rows * outputs; i += LANES) store(activations + i, gelu(load(preactivations + i)));
}

static void multiply_tokens(
    int64_t tokens, int64_t outputs, pair *output_gradients, int64_t inputs, pair *input, float *sums,
    int is_added) {
    destination to = {.sums = sums, .is_added = is_added};
    product(outputs, (tokens + 1) / 2, output_gradients, 1, outputs, input, inputs, to);
}
