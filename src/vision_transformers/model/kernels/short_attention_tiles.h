/* How one head of `short_attention.h` is computed in bfloat16, by tiles (AMX). */
#pragma once
#include "bfloat16_tiles.h"
#include "short_attention_bfloat16.h"

#include <string.h>

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

/* Each part is rounded up to ALIGNMENT bytes. All is zero to begin with: where there is room for more tokens or
 * numbers than there are, what is summed over is never written, and rows of sums are not stored. So a workspace
 * serves either forward or backward, whose parts lie elsewhere. */
static char *start_thread(const sizes *s) {
    room r = room_for(s);
    int64_t of_tokens = r.token_depth * (2 * r.depth + 3 * r.width / 2 + 3 * AT_ONCE + r.token_depth / 2 + 3);
    int64_t all = of_tokens + AT_ONCE * r.width + 20 * ALIGNMENT / 4;
    char *workspace = new_workspace(all);
    memset(workspace, 0, all * sizeof(float));
    start_tiles();
    return workspace;
}

static void end_thread(char *workspace) {
    end_tiles();
    free(workspace);
}

static __mmask32 first_numbers(int64_t count) {
    return count >= 2 * LANES ? 0xFFFFFFFF : count <= 0 ? 0 : (__mmask32)((1u << count) - 1);
}

/* Rows of numbers for tiles; `all` rows of `depth` numbers, of which what is not there is zero. */
static tile_rows copied(matrix x, int64_t columns, int64_t all, int64_t depth, bfloat16 *to) {
    for (int64_t row = 0; row < all; row++)
        for (int64_t column = 0; column < depth; column += 2 * LANES) {
            __mmask32 there = first_numbers(row < x.rows ? columns - column : 0);
            __m512i numbers = _mm512_maskz_loadu_epi16(there, x.data + row * x.stride + column);
            _mm512_store_si512(to + row * depth + column, numbers);
        }
    return (tile_rows){to, depth};
}

static tile_pairs columns_packed(matrix x, int64_t columns, const room *r, pair *to) {
    pack_columns(x, columns, r->tokens, to);
    return (tile_pairs){to, r->tokens};
}

static tile_pairs rows_packed(matrix x, int64_t columns, const room *r, pair *to) {
    pack_rows(x, columns, to);
    return (tile_pairs){to, r->width};
}

static tile_rows from_row(tile_rows x, int64_t row) { return (tile_rows){x.data + row * x.stride, x.stride}; }

static matrix rows_between(matrix x, int64_t row) {
    return (matrix){x.data + row * x.stride, least(x.rows - row, AT_ONCE), x.stride};
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
    float *scores = take(&workspace, AT_ONCE * r.tokens), *sums = take(&workspace, AT_ONCE * r.width);
    bfloat16 *weights = take(&workspace, AT_ONCE * r.token_depth / 2);
    for (int64_t i = 0; i < s->tokens; i += AT_ONCE) {
        matrix some = rows_between(out, i);
        int64_t rows = round_up(some.rows, TILE);
        multiply_by_tiles(
            rows, r.tokens, r.depth, from_row(query_rows, i), key_columns, (tile_sums){scores, r.tokens, 0});
        for (int64_t row = 0; row < some.rows; row += ROWS)
            exponentials(
                least(some.rows - row, ROWS), scores + row * r.tokens, r.tokens, s,
                weights + row * r.token_depth, r.token_depth, statistics + i + row);
        multiply_by_tiles(
            rows, r.width, r.token_depth, (tile_rows){weights, r.token_depth}, value_rows,
            (tile_sums){sums, r.width, 0});
        store_rows(sums, s->dimension, statistics + i, some);
    }
}

/* What backward needs to know of queries that lie side by side: what forward kept of their scores, and the mean
 * of their weights' gradients, which is their output times its gradient (arXiv 2205.14135, appendix B.4). */
typedef struct {
    float *greatest, *inverse_sums, *means;
} about_queries;

static float mean_of_gradients(const bfloat16 *out, const bfloat16 *gradients, int64_t columns) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t column = 0; column < columns; column += 2 * LANES) {
        __mmask32 there = first_numbers(columns - column);
        sum = _mm512_dpbf16_ps(
            sum, (__m512bh)_mm512_maskz_loadu_epi16(there, out + column),
            (__m512bh)_mm512_maskz_loadu_epi16(there, gradients + column));
    }
    return _mm512_reduce_add_ps(sum);
}

/* Of queries that are not there all is zero, and so are their weights. */
static about_queries side_by_side(
    const row_statistics *statistics, matrix out, matrix gradients, int64_t columns, int64_t all,
    char **workspace) {
    about_queries found = {take(workspace, all), take(workspace, all), take(workspace, all)};
    for (int64_t row = 0; row < out.rows; row++) {
        found.greatest[row] = statistics[row].greatest;
        found.inverse_sums[row] = statistics[row].inverse_sum;
        found.means[row] = mean_of_gradients(
            out.data + row * out.stride, gradients.data + row * gradients.stride, columns);
    }
    return found;
}

/* Scores of keys, a row each, become weights; weights and the gradients of scores are rows of bfloat16. */
static void differentiate_softmax(
    int64_t keys, const float *scores, const float *weight_gradients, const sizes *s, const about_queries *about,
    bfloat16 *weights, bfloat16 *score_gradients) {
    int64_t many = round_up(s->tokens, TILE), deep = round_up(s->tokens, TILE_DEPTH);
    __m512 scale = _mm512_set1_ps(s->scale), scale_of_powers = _mm512_set1_ps(s->scale * LOG2_E);
    for (int64_t query = 0; query < many; query += LANES) {
        __m512 greatest = _mm512_load_ps(about->greatest + query), mean = _mm512_load_ps(about->means + query);
        __m512 inverse = _mm512_load_ps(about->inverse_sums + query), scaled = _mm512_mul_ps(inverse, scale);
        for (int64_t key = 0; key < keys; key++) {
            __m512 below = _mm512_sub_ps(_mm512_load_ps(scores + key * many + query), greatest);
            __m512 power = power_of_two(_mm512_mul_ps(below, scale_of_powers));
            __m512 above = _mm512_sub_ps(_mm512_load_ps(weight_gradients + key * many + query), mean);
            store(weights + key * deep + query, _mm512_mul_ps(power, inverse));
            store(score_gradients + key * deep + query, _mm512_mul_ps(_mm512_mul_ps(power, scaled), above));
        }
    }
}

/* 32 columns of queries become rows, of all keys. */
static void turn(const bfloat16 *key_rows, const room *r, bfloat16 *query_rows) {
    for (int64_t key = 0; key < r->token_depth; key += TILE_DEPTH) {
        pair pairs[2][TILE * TILE] __attribute__((aligned(ALIGNMENT)));
        for (int64_t i = 0; i < TILE; i++) {
            const bfloat16 *two = key_rows + (key + 2 * i) * r->token_depth;
            for (int half = 0; half < 2; half++) {
                __m256i even = _mm256_load_si256((const __m256i *)(two + half * LANES));
                __m256i odd = _mm256_load_si256((const __m256i *)(two + r->token_depth + half * LANES));
                _mm512_store_si512(pairs[half] + i * TILE, interleave(even, odd));
            }
        }
        for (int half = 0; half < 2; half++) {
            pair *to = (pair *)(query_rows + half * TILE * r->token_depth + key);
            transpose_pairs(pairs[half], TILE, to, r->token_depth / 2);
        }
    }
}

/* Rows of weights, and of the gradients of scores, are those of keys: their products are gradients of values
 * and keys. For those of queries, the latter are turned. */
static void attend_head_backward(
    const sizes *s, matrix queries, matrix keys, matrix values, matrix out, matrix gradients,
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
    about_queries about = side_by_side(statistics, out, gradients, s->dimension, r.tokens, &workspace);
    float *scores = take(&workspace, AT_ONCE * r.tokens), *weight_gradients = take(&workspace, AT_ONCE * r.tokens);
    bfloat16 *weights = take(&workspace, AT_ONCE * r.token_depth / 2);
    bfloat16 *score_gradients = take(&workspace, r.token_depth * r.token_depth / 2);
    bfloat16 *turned = take(&workspace, AT_ONCE * r.token_depth / 2);
    float *sums = take(&workspace, AT_ONCE * r.width);
    for (int64_t i = 0; i < s->tokens; i += AT_ONCE) {
        matrix keys_found = rows_between(key_gradients, i), values_found = rows_between(value_gradients, i);
        int64_t rows = round_up(keys_found.rows, TILE);
        bfloat16 *gradients_of_these = score_gradients + i * r.token_depth;
        multiply_by_tiles(
            rows, r.tokens, r.depth, from_row(key_rows, i), query_columns, (tile_sums){scores, r.tokens, 0});
        multiply_by_tiles(
            rows, r.tokens, r.depth, from_row(value_rows, i), gradient_columns,
            (tile_sums){weight_gradients, r.tokens, 0});
        differentiate_softmax(
            keys_found.rows, scores, weight_gradients, s, &about, weights, gradients_of_these);
        multiply_by_tiles(
            rows, r.width, r.token_depth, (tile_rows){weights, r.token_depth}, gradient_pairs,
            (tile_sums){sums, r.width, 0});
        store_rows(sums, s->dimension, NULL, values_found);
        multiply_by_tiles(
            rows, r.width, r.token_depth, (tile_rows){gradients_of_these, r.token_depth}, query_pairs,
            (tile_sums){sums, r.width, 0});
        store_rows(sums, s->dimension, NULL, keys_found);
    }
    for (int64_t i = 0; i < s->tokens; i += AT_ONCE) {
        matrix queries_found = rows_between(query_gradients, i);
        turn(score_gradients + i, &r, turned);
        multiply_by_tiles(
            round_up(queries_found.rows, TILE), r.width, r.token_depth, (tile_rows){turned, r.token_depth},
            key_pairs, (tile_sums){sums, r.width, 0});
        store_rows(sums, s->dimension, NULL, queries_found);
    }
}
