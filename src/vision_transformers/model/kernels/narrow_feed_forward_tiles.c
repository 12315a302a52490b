/* How matrices of `narrow_feed_forward.h` are multiplied by tiles (AMX). */
#include "bfloat16_tiles.h"
#include "narrow_feed_forward.h"

/* Rows, and columns, that are multiplied together. */
enum { AT_ONCE = 2 * TILE };

/* Both widths are multiples of it: either is summed over. */
enum { MULTIPLE = TILE_DEPTH };

static void start_products(void) { start_tiles(); }

static void end_products(void) { end_tiles(); }

static void round_sums(int64_t rows, const float *sums, int64_t width, destination to) {
    for (int half = 0; half < 2; half++) {
        __m512 bias = to.bias ? load(to.bias + half * LANES) : _mm512_setzero_ps();
        for (int64_t row = 0; row < rows; row++) {
            __m512 x = _mm512_load_ps(sums + row * AT_ONCE + half * LANES);
            store(to.rounded + row * width + half * LANES, _mm512_add_ps(x, bias));
        }
    }
}

/* A tile reads all of its rows: rows that are not there are those of a copy. */
static const bfloat16 *whole_tiles(int64_t rows, int64_t inputs, const bfloat16 *left, bfloat16 *copy) {
    if (rows == AT_ONCE) return left;
    memcpy(copy, left, rows * inputs * sizeof(bfloat16));
    memset(copy + rows * inputs, 0, (AT_ONCE - rows) * inputs * sizeof(bfloat16));
    return copy;
}

static void multiply_rows(
    int64_t rows, int64_t inputs, const bfloat16 *left, const pair *packed, int64_t outputs, destination to) {
    bfloat16 copy[AT_ONCE * inputs] __attribute__((aligned(ALIGNMENT)));
    float sums[AT_ONCE * AT_ONCE] __attribute__((aligned(ALIGNMENT)));
    for (int64_t row = 0; row < rows; row += AT_ONCE) {
        int64_t these = least(rows - row, AT_ONCE);
        tile_rows whole = {whole_tiles(these, inputs, left + row * inputs, copy), inputs};
        if (to.sums) {
            tile_sums here = {to.sums + row * outputs, outputs, 0};
            multiply_by_tiles(AT_ONCE, outputs, inputs, whole, (tile_pairs){packed, outputs}, here);
            continue;
        }
        for (int64_t column = 0; column < outputs; column += AT_ONCE) {
            tile_pairs columns = {packed + column, outputs};
            multiply_by_tiles(AT_ONCE, AT_ONCE, inputs, whole, columns, (tile_sums){sums, AT_ONCE, 0});
            round_sums(these, sums, outputs, moved(to, row, column, outputs));
        }
    }
}

static void clear_missing(int64_t tokens, int64_t deep, int64_t width, pair *pairs) {
    int64_t there = (tokens + 1) / 2;
    memset(pairs + there * width, 0, (deep / 2 - there) * width * sizeof(pair));
}

static void multiply_tokens(
    int64_t tokens, int64_t outputs, pair *output_gradients, int64_t inputs, pair *input, float *sums,
    int is_added) {
    int64_t deep = round_up(tokens, TILE_DEPTH);
    pair turned[AT_ONCE * deep / 2] __attribute__((aligned(ALIGNMENT)));
    clear_missing(tokens, deep, outputs, output_gradients);
    clear_missing(tokens, deep, inputs, input);
    for (int64_t output = 0; output < outputs; output += AT_ONCE) {
        for (int64_t half = 0; half < AT_ONCE; half += TILE)
            for (int64_t token_pair = 0; token_pair < deep / 2; token_pair += TILE)
                transpose_pairs(
                    output_gradients + token_pair * outputs + output + half, outputs,
                    turned + half * deep / 2 + token_pair, deep / 2);
        tile_sums here = {sums + output * inputs, inputs, is_added};
        multiply_by_tiles(
            AT_ONCE, inputs, deep, (tile_rows){(bfloat16 *)turned, deep}, (tile_pairs){input, inputs}, here);
    }
}
