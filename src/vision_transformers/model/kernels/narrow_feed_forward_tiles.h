/* How matrices of `narrow_feed_forward.h` are multiplied by tiles (AMX), and how gradients are found of layers
 * that are not as narrow.
 */
#pragma once
#include "bfloat16_tiles.h"

/* Of a block: more use what is packed more often, fewer leave it in the cache. Measured for widths up to 384. */
enum { TOKENS = 128, TOKENS_BACKWARD = 128 };

/* Blocks are whole multiples of it, up to the last one. */
enum { TOKENS_TOGETHER = 2 * TILE };

#include "narrow_feed_forward.h"

/* Both widths are multiples of it: either is summed over. */
enum { MULTIPLE = TILE_DEPTH };

static void start_products(void) { start_tiles(); }

static void end_products(void) { end_tiles(); }

/* Panels of 32 columns, one after the other, since rows of all columns are too far apart to be in the cache. */
static int64_t place_of(int64_t column, int64_t depth) {
    return column / AT_ONCE * (depth / 2 * AT_ONCE) + column % AT_ONCE;
}

static void pack_forward(const layer *l, pair *packed) {
    matrix weight = {l->weight, l->outputs, l->inputs};
#pragma omp for
    for (int64_t row = 0; row < l->outputs; row += LANES)
        pack_columns_of_rows(weight, row, l->inputs, AT_ONCE, packed + place_of(row, l->inputs));
}

static void pack_backward(const layer *l, pair *packed) {
#pragma omp for
    for (int64_t column = 0; column < l->inputs; column += AT_ONCE) {
        matrix columns = {l->weight + column, l->outputs, l->inputs};
        pack_rows(columns, AT_ONCE, packed + place_of(column, l->outputs));
    }
}

/* What becomes of 16 sums, which are those of a row from a column on. */
typedef void use_of_sums(__m512 sums, int64_t row, int64_t column, int64_t width, const void *with);

/* A tile reads all of its rows: rows that are not there are those of a copy. */
static const bfloat16 *whole_tiles(int64_t rows, int64_t inputs, const bfloat16 *left, bfloat16 *copy) {
    if (rows == 0) return left;
    memcpy(copy, left, rows * inputs * sizeof(bfloat16));
    memset(copy + rows * inputs, 0, (AT_ONCE - rows) * inputs * sizeof(bfloat16));
    return copy;
}

/* Rows of bfloat16 times a packed weight: 32 rows by 32 columns of sums are used while they are in the cache. */
static inline __attribute__((always_inline)) void multiply_and_use(
    int64_t rows, int64_t inputs, const bfloat16 *left, const pair *packed, int64_t outputs, use_of_sums use,
    const void *with) {
    char *workspace = new_workspace(AT_ONCE * inputs / 2), *rest = workspace;
    bfloat16 *copy = take(&rest, AT_ONCE * inputs / 2);
    float sums[AT_ONCE * AT_ONCE] __attribute__((aligned(ALIGNMENT)));
    int64_t whole = rows / AT_ONCE * AT_ONCE;
    const bfloat16 *last = whole_tiles(rows - whole, inputs, left + whole * inputs, copy);
    for (int64_t column = 0; column < outputs; column += AT_ONCE) {
        tile_pairs columns = {packed + place_of(column, inputs), AT_ONCE};
        for (int64_t row = 0; row < rows; row += AT_ONCE) {
            tile_rows these = {row < whole ? left + row * inputs : last, inputs};
            multiply_by_tiles(AT_ONCE, AT_ONCE, inputs, these, columns, (tile_sums){sums, AT_ONCE, 0});
            for (int64_t i = 0; i < least(rows - row, AT_ONCE); i++)
                for (int half = 0; half < AT_ONCE; half += LANES)
                    use(_mm512_load_ps(sums + i * AT_ONCE + half), row + i, column + half, outputs, with);
        }
    }
    free(workspace);
}

static inline void keep(__m512 sums, int64_t row, int64_t column, int64_t width, const void *with) {
    const destination *to = with;
    if (to->rounded)
        store(to->rounded + row * width + column, to->bias ? _mm512_add_ps(sums, load(to->bias + column)) : sums);
    else
        _mm512_store_ps(to->sums + row * width + column, sums);
}

static void multiply_rows(
    int64_t rows, int64_t inputs, const bfloat16 *left, const pair *packed, int64_t outputs, destination to) {
    multiply_and_use(rows, inputs, left, packed, outputs, keep, &to);
}

typedef struct {
    const bfloat16 *bias;
    bfloat16 *preactivations, *activations;
} hidden_rows;

static inline void activate(__m512 sums, int64_t row, int64_t column, int64_t width, const void *with) {
    const hidden_rows *to = with;
    __m256i rounded = to_bfloat16(_mm512_add_ps(sums, load(to->bias + column)));
    _mm256_storeu_si256((__m256i *)(to->preactivations + row * width + column), rounded);
    store(to->activations + row * width + column, gelu(to_float32(rounded)));
}

static void multiply_rows_and_activate(
    int64_t rows, int64_t inputs, const bfloat16 *left, const pair *packed, int64_t outputs, const bfloat16 *bias,
    bfloat16 *preactivations, bfloat16 *activations) {
    hidden_rows to = {bias, preactivations, activations};
    multiply_and_use(rows, inputs, left, packed, outputs, activate, &to);
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

/* As in `differentiate_gelu`, row by row: columns of so many are too far apart. */
static void differentiate_gelu_of_rows(
    int64_t rows, int64_t hidden, const bfloat16 *preactivations, const float *activation_gradients,
    bfloat16 *activations, bfloat16 *preactivation_gradients) {
    for (int64_t i = 0; i < rows * hidden; i += LANES) {
        __m512 activated, slope = slope_of_gelu(load(preactivations + i), &activated);
        store(activations + i, activated);
        store(preactivation_gradients + i, _mm512_mul_ps(slope, _mm512_load_ps(activation_gradients + i)));
    }
}

/* Where weights are too many for each thread to have gradients of its own: finds that of the input, and what
 * `weight_gradient_tiles.c` makes the others of, activations and gradients before the GELU. */
void feed_forward_backward_of_tokens(
    int64_t tokens, const layer *first, const layer *second, const bfloat16 *output_gradients,
    const bfloat16 *preactivations, bfloat16 *activations, bfloat16 *preactivation_gradients,
    bfloat16 *input_gradients) {
    int64_t width = first->inputs, hidden = first->outputs;
    pair *first_packed = new_packed_weight(first), *second_packed = new_packed_weight(second);
#pragma omp parallel
    {
        start_products();
        int64_t most = block_of(tokens, TOKENS_BACKWARD);
        float *activation_gradients = (float *)new_workspace(most * hidden);
        pack_backward(first, first_packed);
        pack_backward(second, second_packed);
#pragma omp for schedule(dynamic)
        for (int64_t i = 0; i < tokens; i += most) {
            int64_t these = least(most, tokens - i), between = i * hidden;
            destination to_hidden = {.sums = activation_gradients};
            destination to_input = {.rounded = input_gradients + i * width};
            multiply_rows(these, width, output_gradients + i * width, second_packed, hidden, to_hidden);
            differentiate_gelu_of_rows(
                these, hidden, preactivations + between, activation_gradients, activations + between,
                preactivation_gradients + between);
            multiply_rows(these, hidden, preactivation_gradients + between, first_packed, width, to_input);
        }
        free(activation_gradients);
        end_products();
    }
    free(first_packed);
    free(second_packed);
}
