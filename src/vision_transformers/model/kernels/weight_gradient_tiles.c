/* The gradients of a linear layer's weight and bias in bfloat16, by tiles (AMX): sums over tokens.
 *
 * That of the weight is a product, gradients^T input. Threads share the columns of the wider of the two, and
 * each packs for itself all that it multiplies: to read what another core has written takes longer.
 */
#include "bfloat16_tiles.h"

#include <omp.h>
#include <string.h>

/* So many at a time lie in the cache, packed. */
enum { TOKENS = 256 };

/* Tokens that are fetched before they are packed. */
enum { AHEAD = 16 };

/* Of a thread at a time, that stay in the cache from some tokens to the next. */
enum { MOST_SUMS = 1 << 18 };

/* Columns of a matrix with a row for each token. */
typedef struct {
    const bfloat16 *data;
    int64_t columns, stride;
} token_rows;

/* What a thread has of TOKENS tokens. Both lie in panels of AT_ONCE columns: of gradients, a row is a column of
 * numbers; of the input, a row is of pairs of two tokens. Of sums, a block of AT_ONCE by AT_ONCE is a panel. */
typedef struct {
    bfloat16 *turned_gradients;
    pair *input_pairs, *gradient_pairs;
    float *sums, *bias_sums;
} workspaces;

/* Pairs of at most AT_ONCE tokens, panel by panel; what is not there is zero. */
static void pack_panels(token_rows x, int64_t tokens, int64_t panel, pair *packed) {
    for (int64_t token = 0; token < AT_ONCE; token += 2) {
        matrix two = {(bfloat16 *)x.data + token * x.stride, least(tokens - token, 2), x.stride};
        for (int64_t column = 0; column < x.columns; column += AT_ONCE) {
            pair *to = packed + column / AT_ONCE * panel + token / 2 * AT_ONCE;
            for (int row = 0; row < 2; row++)
                _mm_prefetch(two.data + (AHEAD + row) * two.stride + column, _MM_HINT_T0);
            if (two.rows > 0)
                pack_two_rows((matrix){two.data + column, two.rows, two.stride}, 0, AT_ONCE, AT_ONCE, to);
            else
                memset(to, 0, AT_ONCE * sizeof(pair));
        }
    }
}

static void add_pairs(const pair *pairs, float *sums) {
    const __m512bh ones = (__m512bh)_mm512_set1_epi16(0x3F80);
    for (int64_t column = 0; column < AT_ONCE; column += LANES) {
        __m512 sum = _mm512_load_ps(sums + column);
        for (int64_t row = 0; row < AT_ONCE / 2; row++)
            sum = _mm512_dpbf16_ps(sum, (__m512bh)_mm512_load_si512(pairs + row * AT_ONCE + column), ones);
        _mm512_store_ps(sums + column, sum);
    }
}

static token_rows rows_from(token_rows x, int64_t token) {
    return (token_rows){x.data + token * x.stride, x.columns, x.stride};
}

static void pack_tokens(token_rows gradients, token_rows input, int64_t tokens, const workspaces *w) {
    enum { PANEL = AT_ONCE / 2 * AT_ONCE };
    for (int64_t token = 0; token < tokens; token += AT_ONCE) {
        int64_t these = least(tokens - token, AT_ONCE);
        pack_panels(rows_from(input, token), these, TOKENS / 2 * AT_ONCE, w->input_pairs + token / 2 * AT_ONCE);
        pack_panels(rows_from(gradients, token), these, PANEL, w->gradient_pairs);
        for (int64_t column = 0; column < gradients.columns; column += AT_ONCE) {
            const pair *pairs = w->gradient_pairs + column / AT_ONCE * PANEL;
            pair *turned = (pair *)(w->turned_gradients + column * TOKENS + token);
            add_pairs(pairs, w->bias_sums + column);
            for (int64_t half = 0; half < AT_ONCE; half += TILE)
                transpose_pairs(pairs + half, AT_ONCE, turned + half * TOKENS / 2, TOKENS / 2);
        }
    }
}

static void multiply_tokens(
    int64_t outputs, int64_t inputs, int64_t tokens, int is_added, const workspaces *w) {
    for (int64_t output = 0; output < outputs; output += AT_ONCE)
        for (int64_t input = 0; input < inputs; input += AT_ONCE)
            multiply_by_tiles(
                AT_ONCE, AT_ONCE, round_up(tokens, TILE_DEPTH),
                (tile_rows){w->turned_gradients + output * TOKENS, TOKENS},
                (tile_pairs){w->input_pairs + input * TOKENS / 2, AT_ONCE},
                (tile_sums){w->sums + output * inputs + input * AT_ONCE, AT_ONCE, is_added});
}

static void write_sums(const float *sums, int64_t outputs, int64_t inputs, int64_t stride, bfloat16 *found) {
    for (int64_t output = 0; output < outputs; output++)
        for (int64_t input = 0; input < inputs; input += LANES) {
            int64_t block = output / AT_ONCE * AT_ONCE * inputs + input / AT_ONCE * AT_ONCE * AT_ONCE;
            int64_t within = output % AT_ONCE * AT_ONCE + input % AT_ONCE;
            store(found + output * stride + input, _mm512_load_ps(sums + block + within));
        }
}

/* Of some columns of both, in one thread. `found` lies like the whole weight. */
static void differentiate(
    int64_t tokens, token_rows gradients, token_rows input, bfloat16 *found, int64_t found_stride, float *bias_sums) {
    int64_t outputs = gradients.columns, inputs = input.columns;
    int64_t of_tokens = (outputs + inputs) * TOKENS / 2 + outputs * AT_ONCE / 2;
    char *workspace = new_workspace(outputs * inputs + of_tokens), *rest = workspace;
    workspaces w = {
        .turned_gradients = take(&rest, outputs * TOKENS / 2), .input_pairs = take(&rest, inputs * TOKENS / 2),
        .gradient_pairs = take(&rest, outputs * AT_ONCE / 2), .sums = take(&rest, outputs * inputs),
        .bias_sums = bias_sums};
    memset(bias_sums, 0, outputs * sizeof(float));
    if (tokens == 0) memset(w.sums, 0, outputs * inputs * sizeof(float));
    for (int64_t token = 0; token < tokens; token += TOKENS) {
        int64_t these = least(tokens - token, TOKENS);
        token_rows some_gradients = {gradients.data + token * gradients.stride, outputs, gradients.stride};
        token_rows some_input = {input.data + token * input.stride, inputs, input.stride};
        pack_tokens(some_gradients, some_input, these, &w);
        multiply_tokens(outputs, inputs, these, token > 0, &w);
    }
    write_sums(w.sums, outputs, inputs, found_stride, found);
    free(workspace);
}

/* How many columns of the wider one are taken at a time, such that all threads take as often. */
static int64_t columns_at_once(int64_t wide, int64_t narrow) {
    int64_t threads = omp_get_num_threads(), times = threads * (wide * narrow / (threads * MOST_SUMS) + 1);
    return round_up((wide + times - 1) / times, AT_ONCE);
}

/* Gradients are (tokens, outputs), the input is (tokens, inputs): multiples of AT_ONCE. */
void weight_gradient(
    int64_t tokens, int64_t outputs, int64_t inputs, const bfloat16 *gradients, const bfloat16 *input,
    bfloat16 *weight, bfloat16 *bias) {
#pragma omp parallel
    {
        start_tiles();
        float *bias_sums = (float *)new_workspace(outputs);
        int64_t wide = outputs > inputs ? outputs : inputs, narrow = least(outputs, inputs);
        int64_t columns = columns_at_once(wide, narrow);
#pragma omp for schedule(static)
        for (int64_t column = 0; column < wide; column += columns) {
            int64_t these = least(columns, wide - column);
            token_rows of_gradients = {gradients, outputs, outputs}, of_input = {input, inputs, inputs};
            int64_t output = outputs > inputs ? column : 0, first = column - output;
            if (outputs > inputs)
                of_gradients = (token_rows){gradients + output, these, outputs};
            else
                of_input = (token_rows){input + first, these, inputs};
            differentiate(tokens, of_gradients, of_input, weight + output * inputs + first, inputs, bias_sums);
            if (first == 0)
                for (int64_t i = 0; i < of_gradients.columns; i += LANES)
                    store(bias + output + i, _mm512_load_ps(bias_sums + i));
        }
        free(bias_sums);
        end_tiles();
    }
}
