/* Means of an image's tokens in bfloat16, by tiles (AMX), forward and backward: each weighs tokens by the softmax
 * of their products with a vector. What few queries gather is made of them (`model/gathering.py`).
 *
 * An image's tokens are read once, and their scores never leave the cache: a row of scores is a token's, with all
 * vectors side by side in it, of which there are at most TILE.
 */
#include "bfloat16_tiles.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Tensors are contiguous: tokens (images, tokens, width), vectors and means (images, vectors, width), and weights
 * (images, tokens, vectors). The width is a multiple of TILE_DEPTH. */
typedef struct {
    int64_t images, tokens, width, vectors;
} sizes;

/* What a thread has of an image. It is zero to begin with, and stays so where there is room for more tokens than
 * there are. What is computed of vectors that are not there is not stored. */
typedef struct {
    bfloat16 *rows;          /* of tokens */
    pair *token_pairs;       /* of two tokens */
    bfloat16 *stacked;       /* rows of vectors: of means' gradients, then of vectors */
    pair *vector_pairs;      /* of two numbers, or of two such rows */
    float *scores;           /* TILE for each token */
    bfloat16 *side_by_side;  /* for each token TILE weights, and TILE gradients of its scores */
    bfloat16 *turned;        /* for each vector, of all tokens */
    float *sums;
} block;

static int64_t room_for_tokens(const sizes *s) { return round_up(s->tokens, TILE_DEPTH); }

static char *start_thread(const sizes *s, block *b) {
    int64_t tokens = room_for_tokens(s), width = s->width;
    int64_t all = 2 * tokens * width + 2 * TILE_DEPTH * width + tokens * (3 * TILE + TILE) + 8 * ALIGNMENT;
    char *workspace = new_workspace(all), *rest = workspace;
    memset(workspace, 0, all * sizeof(float));
    b->rows = take(&rest, tokens * width / 2);
    b->token_pairs = take(&rest, tokens / 2 * width);
    b->stacked = take(&rest, TILE_DEPTH * width / 2);
    b->vector_pairs = take(&rest, TILE * width);
    b->scores = take(&rest, tokens * TILE);
    b->side_by_side = take(&rest, tokens * TILE_DEPTH / 2);
    b->turned = take(&rest, TILE * tokens / 2);
    b->sums = take(&rest, tokens * width);
    start_tiles();
    return workspace;
}

static void end_thread(char *workspace) {
    end_tiles();
    free(workspace);
}

static matrix rows_of(const bfloat16 *data, int64_t rows, int64_t width) {
    return (matrix){(bfloat16 *)data, rows, width};
}

static void store_sums(const float *sums, int64_t count, bfloat16 *out) {
    for (int64_t i = 0; i < count; i += LANES) store(out + i, _mm512_load_ps(sums + i));
}

static void take_tokens(const sizes *s, const bfloat16 *tokens, const block *b) {
    memcpy(b->rows, tokens, s->tokens * s->width * sizeof(bfloat16));
    pack_rows(rows_of(tokens, s->tokens, s->width), s->width, b->token_pairs);
}

/* For each token, its products with some vectors. */
static void score(const sizes *s, const bfloat16 *vectors, const block *b) {
    pack_columns(rows_of(vectors, s->vectors, s->width), s->width, TILE, b->vector_pairs);
    multiply_by_tiles(
        round_up(s->tokens, TILE), TILE, s->width, (tile_rows){b->rows, s->width},
        (tile_pairs){b->vector_pairs, TILE}, (tile_sums){b->scores, TILE, 0});
}

/* Half of what lies side by side becomes a row for each vector, times all tokens: `means`. */
static void sum_tokens(const sizes *s, int64_t half, const block *b) {
    int64_t tokens = room_for_tokens(s);
    for (int64_t token = 0; token < tokens; token += TILE_DEPTH) {
        pair pairs[TILE * TILE] __attribute__((aligned(ALIGNMENT)));
        pack_rows(
            rows_of(b->side_by_side + token * TILE_DEPTH + half * TILE, TILE_DEPTH, TILE_DEPTH), TILE, pairs);
        transpose_pairs(pairs, TILE, (pair *)(b->turned + token), tokens / 2);
    }
    multiply_by_tiles(
        TILE, s->width, tokens, (tile_rows){b->turned, tokens}, (tile_pairs){b->token_pairs, s->width},
        (tile_sums){b->sums, s->width, 0});
}

/* Of all vectors at once: a lane is a vector's. */
static void weigh(const sizes *s, const block *b, bfloat16 *weights) {
    __m512 greatest = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
    __mmask16 there = first_lanes(s->vectors);
    for (int64_t token = 0; token < s->tokens; token++)
        greatest = _mm512_max_ps(greatest, _mm512_load_ps(b->scores + token * TILE));
    for (int64_t token = 0; token < s->tokens; token++) {
        float *here = b->scores + token * TILE;
        __m512 below = _mm512_sub_ps(_mm512_load_ps(here), greatest);
        __m512 power = power_of_two(_mm512_mul_ps(below, _mm512_set1_ps(LOG2_E)));
        sum = _mm512_add_ps(sum, power);
        _mm512_store_ps(here, power);
    }
    __m512 inverse = _mm512_div_ps(_mm512_set1_ps(1.0f), sum);
    for (int64_t token = 0; token < s->tokens; token++) {
        __m256i weight = to_bfloat16(_mm512_mul_ps(_mm512_load_ps(b->scores + token * TILE), inverse));
        _mm256_store_si256((__m256i *)(b->side_by_side + token * TILE_DEPTH), weight);
        _mm256_mask_storeu_epi16(weights + token * s->vectors, there, weight);
    }
}

void average(
    const sizes *s, const bfloat16 *tokens, const bfloat16 *vectors, bfloat16 *weights, bfloat16 *means) {
#pragma omp parallel
    {
        block b;
        char *workspace = start_thread(s, &b);
#pragma omp for schedule(static)
        for (int64_t image = 0; image < s->images; image++) {
            int64_t of_vectors = image * s->vectors * s->width;
            take_tokens(s, tokens + image * s->tokens * s->width, &b);
            score(s, vectors + of_vectors, &b);
            weigh(s, &b, weights + image * s->tokens * s->vectors);
            sum_tokens(s, 0, &b);
            store_sums(b.sums, s->vectors * s->width, means + of_vectors);
        }
        end_thread(workspace);
    }
}

/* Gradients of weights, in the place of scores, become those of scores, beside the weights. */
static void differentiate_softmax(const sizes *s, const bfloat16 *weights, const block *b) {
    __m512 mean = _mm512_setzero_ps();
    __mmask16 there = first_lanes(s->vectors);
    for (int64_t token = 0; token < s->tokens; token++) {
        __m256i weight = _mm256_maskz_loadu_epi16(there, weights + token * s->vectors);
        _mm256_store_si256((__m256i *)(b->side_by_side + token * TILE_DEPTH), weight);
        mean = _mm512_fmadd_ps(to_float32(weight), _mm512_load_ps(b->scores + token * TILE), mean);
    }
    for (int64_t token = 0; token < s->tokens; token++) {
        bfloat16 *here = b->side_by_side + token * TILE_DEPTH;
        __m512 above = _mm512_sub_ps(_mm512_load_ps(b->scores + token * TILE), mean);
        store(here + TILE, _mm512_mul_ps(load(here), above));
    }
}

/* A token's gradient comes from the means, by its weights, and from its scores: one product of both. */
static void differentiate_tokens(
    const sizes *s, const bfloat16 *vectors, const bfloat16 *mean_gradients, const block *b) {
    int64_t bytes = s->vectors * s->width * sizeof(bfloat16);
    memcpy(b->stacked, mean_gradients, bytes);
    memcpy(b->stacked + TILE * s->width, vectors, bytes);
    pack_rows(rows_of(b->stacked, TILE_DEPTH, s->width), s->width, b->vector_pairs);
    multiply_by_tiles(
        round_up(s->tokens, TILE), s->width, TILE_DEPTH, (tile_rows){b->side_by_side, TILE_DEPTH},
        (tile_pairs){b->vector_pairs, s->width}, (tile_sums){b->sums, s->width, 0});
}

void average_backward(
    const sizes *s, const bfloat16 *mean_gradients, const bfloat16 *tokens, const bfloat16 *vectors,
    const bfloat16 *weights, bfloat16 *token_gradients, bfloat16 *vector_gradients) {
#pragma omp parallel
    {
        block b;
        char *workspace = start_thread(s, &b);
#pragma omp for schedule(static)
        for (int64_t image = 0; image < s->images; image++) {
            int64_t of_vectors = image * s->vectors * s->width, of_tokens = image * s->tokens * s->width;
            take_tokens(s, tokens + of_tokens, &b);
            score(s, mean_gradients + of_vectors, &b);
            differentiate_softmax(s, weights + image * s->tokens * s->vectors, &b);
            differentiate_tokens(s, vectors + of_vectors, mean_gradients + of_vectors, &b);
            store_sums(b.sums, s->tokens * s->width, token_gradients + of_tokens);
            sum_tokens(s, 1, &b);
            store_sums(b.sums, s->vectors * s->width, vector_gradients + of_vectors);
        }
        end_thread(workspace);
    }
}
