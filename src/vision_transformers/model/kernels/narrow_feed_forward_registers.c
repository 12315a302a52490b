/* How matrices of `narrow_feed_forward.h` are multiplied in registers. */
#include "bfloat16_products.h"
#include "narrow_feed_forward.h"

/* Both widths are multiples of it. */
enum { MULTIPLE = LANES };

static void start_products(void) {}

static void end_products(void) {}

static void multiply_rows(
    int64_t rows, int64_t inputs, const bfloat16 *left, const pair *packed, int64_t outputs, destination to) {
    product(rows, inputs / 2, (const pair *)left, inputs / 2, 1, packed, outputs, to);
}

static void multiply_tokens(
    int64_t tokens, int64_t outputs, pair *output_gradients, int64_t inputs, pair *input, float *sums,
    int is_added) {
    destination to = {.sums = sums, .is_added = is_added};
    product(outputs, (tokens + 1) / 2, output_gradients, 1, outputs, input, inputs, to);
}
