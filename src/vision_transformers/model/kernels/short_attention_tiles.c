/* How one head of `short_attention.h` is computed in bfloat16, by tiles (AMX). */
#include "bfloat16_tiles.h"
#include "short_attention_bfloat16.h"

#include <string.h>

/* Queries that are taken together. */
enum { QUERIES = 2 * TILE };

/* What tiles have room for, more than there is: tokens as rows or columns, tokens and numbers that are summed
 * over, and numbers as columns. */
typedef struct {
    int64_t tokens, token_depth, depth, width;
} room;

static room room_for(const sizes *s) {
    return (room){
        round_up(s->tokens, TILE), round_up(s->tokens, TILE_DEPTH), round_up(s->dimension, TILE_DEPTH),
        round_up(s->dimension, TILE)};
}

/* Each part is rounded up to ALIGNMENT bytes. */
static char *start_thread(const sizes *s) {
    room r = room_for(s);
    int64_t of_tokens = r.token_depth * (2 * r.depth + 9 * r.width / 2 + 3 * QUERIES + TILE + 2);
    start_tiles();
    return new_workspace(of_tokens + 20 * ALIGNMENT / 4);
}

static void end_thread(char *workspace) {
    end_tiles();
    free(workspace);
}

/* Rows of numbers for tiles; `all` rows of `depth` numbers, of which what is not there is zero. */
static tile_rows copied(matrix x, int64_t columns, int64_t all, int64_t depth, bfloat16 *to) {
    for (int64_t row = 0; row < all; row++)
        for (int64_t column = 0; column < depth; column += 2 * LANES) {
            int64_t left = row < x.rows ? columns - column : 0;
            __mmask32 there = left >= 2 * LANES ? 0xFFFFFFFF : left <= 0 ? 0 : (1u << left) - 1;
            __m512i numbers = _mm512_maskz_loadu_epi16(there, x.data + row * x.stride + column);
            _mm512_store_si512(to + row * depth + column, numbers);
        }
    return (tile_rows){to, depth};
}

static tile_pairs columns_packed(matrix x, int64_t columns, const room *r, pair *to) {
    int64_t pairs = columns / 2, room_for_pairs = r->depth / 2;
    pack_columns(x, columns, r->tokens, to);
    memset(to + pairs * r->tokens, 0, (room_for_pairs - pairs) * r->tokens * sizeof(pair));
    return (tile_pairs){to, r->tokens};
}

static tile_pairs rows_packed(matrix x, int64_t columns, const room *r, pair *to) {
    int64_t pairs = (x.rows + 1) / 2, room_for_pairs = r->token_depth / 2;
    pack_rows(x, columns, to);
    memset(to + pairs * r->width, 0, (room_for_pairs - pairs) * r->width * sizeof(pair));
    return (tile_pairs){to, r->width};
}

static tile_rows from_row(tile_rows x, int64_t row) { return (tile_rows){x.data + row * x.stride, x.stride}; }

static tile_pairs from_column(tile_pairs x, int64_t column) { return (tile_pairs){x.data + column, x.stride}; }

/* Pairs of tokens from `token`. */
static tile_pairs from_token(tile_pairs x, int64_t token) {
    return (tile_pairs){x.data + token / 2 * x.stride, x.stride};
}

static matrix rows_between(matrix x, int64_t row, int64_t most) {
    return (matrix){x.data + row * x.stride, least(x.rows - row, most), x.stride};
}

static void attend_head(
    const sizes *s, matrix queries, matrix keys, matrix values, matrix out, row_statistics *statistics,
    char *workspace) {
    room r = room_for(s);
    tile_rows query_rows = copied(
        queries, s->dimension, r.tokens, r.depth, take(&workspace, r.tokens * r.depth / 2));
    tile_pairs key_columns = columns_packed(
        keys, s->dimension, &r, take(&workspace, r.tokens * r.depth / 2));
    tile_pairs value_rows = rows_packed(
        values, s->dimension, &r, take(&workspace, r.token_depth * r.width / 2));
    float *scores = take(&workspace, QUERIES * r.tokens), *sums = take(&workspace, QUERIES * r.width);
    bfloat16 *weights = take(&workspace, QUERIES * r.token_depth / 2);
    memset(weights, 0, QUERIES * r.token_depth * sizeof(bfloat16));
    for (int64_t i = 0; i < s->tokens; i += QUERIES) {
        matrix some = rows_between(out, i, QUERIES);
        int64_t rows = round_up(some.rows, TILE);
        multiply_by_tiles(
            rows, r.tokens, r.depth, from_row(query_rows, i), key_columns, (tile_sums){scores, r.tokens});
        for (int64_t row = 0; row < some.rows; row += ROWS)
            exponentials(
                least(some.rows - row, ROWS), scores + row * r.tokens, r.tokens, s,
                weights + row * r.token_depth, r.token_depth, statistics + i + row);
        multiply_by_tiles(
            rows, r.width, r.token_depth, (tile_rows){weights, r.token_depth}, value_rows,
            (tile_sums){sums, r.width});
        store_rows(sums, s->dimension, statistics + i, some);
    }
}

/* Of queries, side by side: what forward kept of their scores, and the mean of their weights' gradients. */
typedef struct {
    float *greatest, *inverse_sums;
} statistics_of_columns;

static statistics_of_columns separated(
    const row_statistics *statistics, int64_t tokens, int64_t all, char **workspace) {
    statistics_of_columns found = {take(workspace, all), take(workspace, all)};
    for (int64_t token = 0; token < all; token++) {
        int is_there = token < tokens;
        found.greatest[token] = is_there ? statistics[token].greatest : 0;
        found.inverse_sums[token] = is_there ? statistics[token].inverse_sum : 0;
    }
    return found;
}

/* Columns of scores, a key a row, become weights; gives the sums of weights times their gradients. */
static __m512 weights_of_columns(
    float *scores, const float *weight_gradients, const sizes *s, const float *greatest,
    const float *inverse_sums) {
    __m512 scale = _mm512_set1_ps(s->scale * LOG2_E);
    __m512 most = _mm512_load_ps(greatest), inverse = _mm512_load_ps(inverse_sums);
    __m512 sum = _mm512_setzero_ps();
    for (int64_t key = 0; key < s->tokens * QUERIES; key += QUERIES) {
        __m512 below = _mm512_sub_ps(_mm512_load_ps(scores + key), most);
        __m512 weight = _mm512_mul_ps(power_of_two(_mm512_mul_ps(below, scale)), inverse);
        sum = _mm512_fmadd_ps(weight, _mm512_load_ps(weight_gradients + key), sum);
        _mm512_store_ps(scores + key, weight);
    }
    return sum;
}

/* Rows of 32 queries: weights as bfloat16, and the gradients of their scores. */
static void differentiate_softmax(
    const float *weights, const float *weight_gradients, const __m512 means[2], const sizes *s,
    bfloat16 *weight_rows, bfloat16 *gradient_rows) {
    __m512 scale = _mm512_set1_ps(s->scale);
    for (int64_t key = 0; key < s->tokens * QUERIES; key += QUERIES) {
        __m512 weight[2], gradient[2];
        for (int half = 0; half < 2; half++) {
            weight[half] = _mm512_load_ps(weights + key + half * LANES);
            __m512 above = _mm512_sub_ps(_mm512_load_ps(weight_gradients + key + half * LANES), means[half]);
            gradient[half] = _mm512_mul_ps(_mm512_mul_ps(weight[half], scale), above);
        }
        _mm512_store_si512(weight_rows + key, (__m512i)_mm512_cvtne2ps_pbh(weight[1], weight[0]));
        _mm512_store_si512(gradient_rows + key, (__m512i)_mm512_cvtne2ps_pbh(gradient[1], gradient[0]));
    }
}

/* Rows of keys become rows of queries. */
static void turn(const bfloat16 *key_rows, const room *r, bfloat16 *query_rows) {
    for (int64_t key = 0; key < r->token_depth; key += TILE_DEPTH) {
        pair pairs[2][TILE * TILE] __attribute__((aligned(ALIGNMENT)));
        for (int64_t i = 0; i < TILE; i++) {
            const bfloat16 *two = key_rows + (key + 2 * i) * QUERIES;
            for (int half = 0; half < 2; half++) {
                __m256i even = _mm256_load_si256((const __m256i *)(two + half * LANES));
                __m256i odd = _mm256_load_si256((const __m256i *)(two + QUERIES + half * LANES));
                _mm512_store_si512(pairs[half] + i * TILE, interleave(even, odd));
            }
        }
        for (int half = 0; half < 2; half++) {
            pair *to = (pair *)(query_rows + half * TILE * r->token_depth + key);
            transpose_pairs(pairs[half], TILE, to, r->token_depth / 2);
        }
    }
}

/* Where there are 16 queries, and no 16 others, there are no scores of the others either. */
static void clear_second_half(float *rows, int64_t count) {
    for (int64_t row = 0; row < count; row++)
        _mm512_store_ps(rows + row * QUERIES + LANES, _mm512_setzero_ps());
}

/* Scores lie turned, a key a row: so a query's sums are in a lane of its own, and the gradients of keys and
 * values are products of such rows. */
static void attend_head_backward(
    const sizes *s, matrix queries, matrix keys, matrix values, matrix gradients,
    const row_statistics *statistics, matrix query_gradients, matrix key_gradients, matrix value_gradients,
    char *workspace) {
    room r = room_for(s);
    int64_t of_depth = r.tokens * r.depth / 2, of_width = r.token_depth * r.width / 2;
    tile_rows key_rows = copied(keys, s->dimension, r.tokens, r.depth, take(&workspace, of_depth));
    tile_rows value_rows = copied(values, s->dimension, r.tokens, r.depth, take(&workspace, of_depth));
    tile_pairs query_columns = columns_packed(queries, s->dimension, &r, take(&workspace, of_depth));
    tile_pairs gradient_columns = columns_packed(gradients, s->dimension, &r, take(&workspace, of_depth));
    tile_pairs query_pairs = rows_packed(queries, s->dimension, &r, take(&workspace, of_width));
    tile_pairs key_pairs = rows_packed(keys, s->dimension, &r, take(&workspace, of_width));
    tile_pairs gradient_pairs = rows_packed(gradients, s->dimension, &r, take(&workspace, of_width));
    float *scores = take(&workspace, r.tokens * QUERIES), *weight_gradients = take(&workspace, r.tokens * QUERIES);
    bfloat16 *weights = take(&workspace, r.token_depth * QUERIES / 2);
    bfloat16 *score_gradients = take(&workspace, r.token_depth * QUERIES / 2);
    bfloat16 *turned = take(&workspace, QUERIES * r.token_depth / 2);
    float *sums = take(&workspace, QUERIES * r.width);
    float *key_sums = take(&workspace, r.tokens * r.width), *value_sums = take(&workspace, r.tokens * r.width);
    statistics_of_columns columns = separated(statistics, s->tokens, r.token_depth, &workspace);
    memset(weights + s->tokens * QUERIES, 0, (r.token_depth - s->tokens) * QUERIES * sizeof(bfloat16));
    memset(score_gradients + s->tokens * QUERIES, 0, (r.token_depth - s->tokens) * QUERIES * sizeof(bfloat16));
    for (int64_t i = 0; i < s->tokens; i += QUERIES) {
        int64_t side_by_side = least(r.tokens - i, QUERIES);
        multiply_by_tiles(
            r.tokens, side_by_side, r.depth, key_rows, from_column(query_columns, i),
            (tile_sums){scores, QUERIES});
        multiply_by_tiles(
            r.tokens, side_by_side, r.depth, value_rows, from_column(gradient_columns, i),
            (tile_sums){weight_gradients, QUERIES});
        if (side_by_side < QUERIES) {
            clear_second_half(scores, s->tokens);
            clear_second_half(weight_gradients, s->tokens);
        }
        __m512 means[2];
        for (int half = 0; half < 2; half++)
            means[half] = weights_of_columns(
                scores + half * LANES, weight_gradients + half * LANES, s, columns.greatest + i + half * LANES,
                columns.inverse_sums + i + half * LANES);
        differentiate_softmax(scores, weight_gradients, means, s, weights, score_gradients);
        turn(score_gradients, &r, turned);
        multiply_by_tiles(
            side_by_side, r.width, r.token_depth, (tile_rows){turned, r.token_depth}, key_pairs,
            (tile_sums){sums, r.width});
        store_rows(sums, s->dimension, NULL, rows_between(query_gradients, i, QUERIES));
        multiply_by_tiles(
            r.tokens, r.width, QUERIES, (tile_rows){score_gradients, QUERIES}, from_token(query_pairs, i),
            (tile_sums){key_sums, r.width, i > 0});
        multiply_by_tiles(
            r.tokens, r.width, QUERIES, (tile_rows){weights, QUERIES}, from_token(gradient_pairs, i),
            (tile_sums){value_sums, r.width, i > 0});
    }
    store_rows(key_sums, s->dimension, NULL, key_gradients);
    store_rows(value_sums, s->dimension, NULL, value_gradients);
}
