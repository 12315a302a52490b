/* Self-attention of short sequences in bfloat16 (arXiv 2010.11929, Equations 6 and 7), forward and backward.
 *
 * A head of one image is a few matrices that fit into the cache together. So its scores, their softmax and the
 * product with the values are computed there, one head after another, and the scores never reach the memory;
 * backward computes them again from what forward kept of each row (arXiv 2205.14135, appendix B.2).
 *
 * The processor multiplies bfloat16 in pairs and adds them up in float32 (vdpbf16ps). A `pair` below is two
 * numbers that are neighbours along the dimension which a product sums over.
 */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint16_t bfloat16;
typedef uint32_t pair;

enum { LANES = 16, ALIGNMENT = 64, TILES = 3, ROWS = 8, MOST_ROWS = 16 };

static const float LOG2_E = 1.44269504f;

/* A tensor of (batch, heads, tokens, dimension); strides in elements, that of the dimension is 1. */
typedef struct {
    bfloat16 *data;
    int64_t batch_stride, head_stride, token_stride;
} tensor;

typedef struct {
    int64_t batch, heads, tokens, dimension;
    float scale;
} sizes;

/* One head of one image: `rows` tokens. */
typedef struct {
    bfloat16 *data;
    int64_t rows, stride;
} matrix;

/* What forward keeps of a row of scores: weight = 2^((score - greatest) * scale * log2(e)) * inverse_sum. */
typedef struct {
    float greatest, inverse_sum;
} row_statistics;

static inline int64_t round_up(int64_t number, int64_t multiple) {
    return (number + multiple - 1) / multiple * multiple;
}

static inline matrix head_of(const tensor *x, const sizes *s, int64_t number) {
    int64_t image = number / s->heads, head = number % s->heads;
    return (matrix){x->data + image * x->batch_stride + head * x->head_stride, s->tokens, x->token_stride};
}

static inline __mmask16 first_lanes(int64_t count) {
    return count >= LANES ? 0xFFFF : count <= 0 ? 0 : (__mmask16)((1u << count) - 1);
}

static inline __m256i to_bfloat16(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }

static inline __m512i interleave(__m256i even, __m256i odd) {
    return _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
}

/* 2^x for x of at most 0, to a relative error of 3e-6: the Taylor series of 2^f, f in [-1/2, 1/2]. */
static inline __m512 power_of_two(__m512 x) {
    __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 fraction = _mm512_sub_ps(x, whole);
    __m512 y = _mm512_set1_ps(1.3333558e-3f);
    y = _mm512_fmadd_ps(y, fraction, _mm512_set1_ps(9.6181291e-3f));
    y = _mm512_fmadd_ps(y, fraction, _mm512_set1_ps(5.5504109e-2f));
    y = _mm512_fmadd_ps(y, fraction, _mm512_set1_ps(2.4022651e-1f));
    y = _mm512_fmadd_ps(y, fraction, _mm512_set1_ps(6.9314718e-1f));
    y = _mm512_fmadd_ps(y, fraction, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(y, whole);
}

/* Takes memory for `count` pairs or floats out of a workspace. */
static inline void *take(char **workspace, int64_t count) {
    void *taken = *workspace;
    *workspace += round_up(4 * count, ALIGNMENT);
    return taken;
}

/* For everything that backward takes, which is more than forward does. */
static char *new_workspace(const sizes *s) {
    int64_t many = round_up(s->tokens, LANES), width = round_up(s->dimension, LANES);
    int64_t numbers = many * (5 * width + many + 3 * ROWS) + ROWS * width;
    char *workspace = aligned_alloc(ALIGNMENT, 4 * numbers + 16 * ALIGNMENT);
    if (workspace == NULL) {
        fprintf(stderr, "no memory for a head of %lld tokens\n", (long long)s->tokens);
        abort();
    }
    return workspace;
}

/* packed[row / 2][column] is a pair of two rows: for products that sum over rows. */
static void pack_rows(matrix x, int64_t columns, pair *packed) {
    int64_t width = round_up(columns, LANES);
    for (int64_t row = 0; row < x.rows; row += 2)
        for (int64_t column = 0; column < width; column += LANES) {
            const bfloat16 *from = x.data + row * x.stride + column;
            __mmask16 mask = first_lanes(columns - column);
            __m256i even = _mm256_maskz_loadu_epi16(mask, from);
            __m256i odd = _mm256_maskz_loadu_epi16(row + 1 < x.rows ? mask : 0, from + x.stride);
            _mm512_store_si512(packed + row / 2 * width + column, interleave(even, odd));
        }
}

/* Four pairs of the rows `row`, `row` + 4, `row` + 8 and `row` + 12. */
static inline __m512i every_fourth_row(matrix x, int64_t row, int64_t column, __mmask8 mask) {
    const bfloat16 *from = x.data + row * x.stride + column;
    __m128i four[4];
    for (int i = 0; i < 4; i++)
        four[i] = _mm_maskz_loadu_epi32(row + 4 * i < x.rows ? mask : 0, from + 4 * i * x.stride);
    __m512i all = _mm512_inserti32x4(_mm512_castsi128_si512(four[0]), four[1], 1);
    return _mm512_inserti32x4(_mm512_inserti32x4(all, four[2], 2), four[3], 3);
}

/* packed[column / 2][row] is a pair of two columns: for products that sum over columns. */
static void pack_columns(matrix x, int64_t columns, pair *packed) {
    int64_t width = round_up(x.rows, LANES), pairs = columns / 2;
    for (int64_t row = 0; row < width; row += LANES)
        for (int64_t left = 0; left < pairs; left += 4) {
            __mmask8 mask = first_lanes(pairs - left) & 0xF;
            __m512i r[4], t[4];
            for (int i = 0; i < 4; i++) r[i] = every_fourth_row(x, row + i, 2 * left, mask);
            for (int i = 0; i < 4; i += 2) {
                t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
                t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
            }
            r[0] = _mm512_unpacklo_epi64(t[0], t[2]);
            r[1] = _mm512_unpackhi_epi64(t[0], t[2]);
            r[2] = _mm512_unpacklo_epi64(t[1], t[3]);
            r[3] = _mm512_unpackhi_epi64(t[1], t[3]);
            for (int i = 0; i < 4 && left + i < pairs; i++)
                _mm512_store_si512(packed + (left + i) * width + row, r[i]);
        }
}

/* `rows` by `tiles` of `multiply`, whose sums stay in registers. */
static inline __attribute__((always_inline)) void multiply_block(
    const int rows, const int tiles, int64_t pairs, const pair *left, int64_t row_stride, int64_t pair_stride,
    const pair *right, int64_t width, float *out) {
    __m512 sums[MOST_ROWS][TILES];
    for (int row = 0; row < rows; row++)
        for (int tile = 0; tile < tiles; tile++) sums[row][tile] = _mm512_setzero_ps();
    for (int64_t p = 0; p < pairs; p++) {
        __m512bh columns[TILES];
        for (int tile = 0; tile < tiles; tile++)
            columns[tile] = (__m512bh)_mm512_load_si512(right + p * width + tile * LANES);
        for (int row = 0; row < rows; row++) {
            __m512bh same = (__m512bh)_mm512_set1_epi32((int)left[row * row_stride + p * pair_stride]);
            for (int tile = 0; tile < tiles; tile++)
                sums[row][tile] = _mm512_dpbf16_ps(sums[row][tile], same, columns[tile]);
        }
    }
    for (int row = 0; row < rows; row++)
        for (int tile = 0; tile < tiles; tile++)
            _mm512_store_ps(out + row * width + tile * LANES, sums[row][tile]);
}

static void multiply_tiles(
    int rows, int tiles, int64_t pairs, const pair *left, int64_t row_stride, int64_t pair_stride,
    const pair *right, int64_t width, float *out) {
#define BLOCK(R, T) \
    case R * 10 + T: \
        multiply_block(R, T, pairs, left, row_stride, pair_stride, right, width, out); \
        break;
    switch (rows * 10 + tiles) {
        BLOCK(1, 1) BLOCK(1, 2) BLOCK(1, 3)
        BLOCK(2, 1) BLOCK(2, 2) BLOCK(2, 3)
        BLOCK(4, 1) BLOCK(4, 2) BLOCK(4, 3)
        BLOCK(8, 1) BLOCK(8, 2) BLOCK(8, 3)
        BLOCK(16, 1)
    }
#undef BLOCK
}

/* out[row][column] = the sum over pairs of left[row][pair] * right[pair][column]; width is a multiple of LANES. */
static void multiply(
    int64_t rows, int64_t pairs, const pair *left, int64_t row_stride, int64_t pair_stride, const pair *right,
    int64_t width, float *out) {
    int most = width <= LANES ? MOST_ROWS : MOST_ROWS / 2;
    for (int64_t row = 0; row < rows;) {
        int these = most;
        while (these > rows - row) these /= 2;
        int64_t groups = (width / LANES + TILES - 1) / TILES;
        for (int64_t column = 0; column < width; groups--) {
            int tiles = (int)(((width - column) / LANES + groups - 1) / groups);
            multiply_tiles(
                these, tiles, pairs, left + row * row_stride, row_stride, pair_stride, right + column, width,
                out + row * width + column);
            column += tiles * LANES;
        }
        row += these;
    }
}

/* Writes rows of sums as bfloat16, row by row times a factor where there are some. */
static void store_rows(const float *sums, int64_t columns, const row_statistics *statistics, matrix out) {
    int64_t width = round_up(columns, LANES);
    for (int64_t row = 0; row < out.rows; row++) {
        __m512 factor = _mm512_set1_ps(statistics ? statistics[row].inverse_sum : 1.0f);
        for (int64_t column = 0; column < columns; column += LANES) {
            __m512 x = _mm512_mul_ps(_mm512_load_ps(sums + row * width + column), factor);
            _mm256_mask_storeu_epi16(
                out.data + row * out.stride + column, first_lanes(columns - column), to_bfloat16(x));
        }
    }
}

static inline matrix rows_from(matrix x, int64_t row) {
    int64_t rows = x.rows - row < ROWS ? x.rows - row : ROWS;
    return (matrix){x.data + row * x.stride, rows, x.stride};
}

/* The weights of rows of scores, not yet divided by their sums. The rows take each step together, since a
 * row's steps wait for each other. */
static void exponentials(
    int64_t rows, const float *scores, const sizes *s, bfloat16 *weights, row_statistics *statistics) {
    int64_t many = round_up(s->tokens, LANES), last = many - LANES;
    __mmask16 there = first_lanes(s->tokens - last);
    __m512 scale = _mm512_set1_ps(s->scale * LOG2_E), sums[ROWS];
    for (int64_t row = 0; row < rows; row++) {
        const float *x = scores + row * many;
        __m512 most = _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), there, x + last);
        for (int64_t key = 0; key < last; key += LANES) most = _mm512_max_ps(most, _mm512_load_ps(x + key));
        statistics[row].greatest = _mm512_reduce_max_ps(most);
    }
    for (int64_t row = 0; row < rows; row++) {
        __m512 greatest = _mm512_set1_ps(statistics[row].greatest);
        sums[row] = _mm512_setzero_ps();
        for (int64_t key = 0; key < many; key += LANES) {
            __m512 below = _mm512_sub_ps(_mm512_load_ps(scores + row * many + key), greatest);
            __m512 weight = power_of_two(_mm512_mul_ps(below, scale));
            if (key == last) weight = _mm512_maskz_mov_ps(there, weight);
            sums[row] = _mm512_add_ps(sums[row], weight);
            _mm256_store_si256((__m256i *)(weights + row * many + key), to_bfloat16(weight));
        }
    }
    for (int64_t row = 0; row < rows; row++)
        statistics[row].inverse_sum = 1.0f / _mm512_reduce_add_ps(sums[row]);
}

static void attend_head(
    const sizes *s, matrix queries, matrix keys, matrix values, matrix out, row_statistics *statistics,
    char *workspace) {
    int64_t many = round_up(s->tokens, LANES), width = round_up(s->dimension, LANES);
    pair *key_columns = take(&workspace, s->dimension / 2 * many);
    pair *value_rows = take(&workspace, (s->tokens + 1) / 2 * width);
    float *scores = take(&workspace, ROWS * many);
    bfloat16 *weights = take(&workspace, ROWS * many / 2);
    float *sums = take(&workspace, ROWS * width);
    pack_columns(keys, s->dimension, key_columns);
    pack_rows(values, s->dimension, value_rows);
    for (int64_t i = 0; i < s->tokens; i += ROWS) {
        matrix some = rows_from(queries, i);
        multiply(some.rows, s->dimension / 2, (pair *)some.data, some.stride / 2, 1, key_columns, many, scores);
        exponentials(some.rows, scores, s, weights, statistics + i);
        multiply(some.rows, (s->tokens + 1) / 2, (pair *)weights, many / 2, 1, value_rows, width, sums);
        store_rows(sums, s->dimension, statistics + i, rows_from(out, i));
    }
}

/* Turns rows of scores into weights; `means` are the sums of weights times their gradients. */
static void weights_again(
    int64_t rows, float *scores, const float *weight_gradients, const sizes *s, const row_statistics *statistics,
    float *means) {
    int64_t many = round_up(s->tokens, LANES), last = many - LANES;
    __mmask16 there = first_lanes(s->tokens - last);
    __m512 scale = _mm512_set1_ps(s->scale * LOG2_E), sums[ROWS];
    for (int64_t row = 0; row < rows; row++) {
        __m512 greatest = _mm512_set1_ps(statistics[row].greatest);
        __m512 inverse = _mm512_set1_ps(statistics[row].inverse_sum);
        sums[row] = _mm512_setzero_ps();
        for (int64_t key = row * many; key < (row + 1) * many; key += LANES) {
            __m512 below = _mm512_sub_ps(_mm512_load_ps(scores + key), greatest);
            __m512 weight = _mm512_mul_ps(power_of_two(_mm512_mul_ps(below, scale)), inverse);
            if (key == row * many + last) weight = _mm512_maskz_mov_ps(there, weight);
            sums[row] = _mm512_fmadd_ps(weight, _mm512_load_ps(weight_gradients + key), sums[row]);
            _mm512_store_ps(scores + key, weight);
        }
    }
    for (int64_t row = 0; row < rows; row++) means[row] = _mm512_reduce_add_ps(sums[row]);
}

/* Two rows of weights and of the scores' gradients: as pairs of the two, and the gradients as rows, too. */
static void differentiate_softmax(
    const float *weights, const float *weight_gradients, const float means[2], const sizes *s,
    pair *weight_pairs, pair *gradient_pairs, bfloat16 *gradient_rows) {
    int64_t many = round_up(s->tokens, LANES);
    __m512 scale = _mm512_set1_ps(s->scale);
    __m512 even_mean = _mm512_set1_ps(means[0]), odd_mean = _mm512_set1_ps(means[1]);
    for (int64_t key = 0; key < many; key += LANES) {
        __m512 even_weight = _mm512_load_ps(weights + key), odd_weight = _mm512_load_ps(weights + many + key);
        __m512 even = _mm512_sub_ps(_mm512_load_ps(weight_gradients + key), even_mean);
        __m512 odd = _mm512_sub_ps(_mm512_load_ps(weight_gradients + many + key), odd_mean);
        __m256i even_gradient = to_bfloat16(_mm512_mul_ps(_mm512_mul_ps(even_weight, scale), even));
        __m256i odd_gradient = to_bfloat16(_mm512_mul_ps(_mm512_mul_ps(odd_weight, scale), odd));
        _mm256_store_si256((__m256i *)(gradient_rows + key), even_gradient);
        _mm256_store_si256((__m256i *)(gradient_rows + many + key), odd_gradient);
        _mm512_store_si512(gradient_pairs + key, interleave(even_gradient, odd_gradient));
        _mm512_store_si512(weight_pairs + key, interleave(to_bfloat16(even_weight), to_bfloat16(odd_weight)));
    }
}

static void attend_head_backward(
    const sizes *s, matrix queries, matrix keys, matrix values, matrix gradients,
    const row_statistics *statistics, matrix query_gradients, matrix key_gradients, matrix value_gradients,
    char *workspace) {
    int64_t many = round_up(s->tokens, LANES), width = round_up(s->dimension, LANES);
    int64_t token_pairs = (s->tokens + 1) / 2, pairs = s->dimension / 2;
    pair *key_columns = take(&workspace, pairs * many), *value_columns = take(&workspace, pairs * many);
    pair *key_rows = take(&workspace, token_pairs * width), *query_rows = take(&workspace, token_pairs * width);
    pair *gradient_rows = take(&workspace, token_pairs * width);
    pair *weights = take(&workspace, token_pairs * many), *score_gradients = take(&workspace, token_pairs * many);
    float *scores = take(&workspace, ROWS * many), *weight_gradients = take(&workspace, ROWS * many);
    bfloat16 *score_gradient_rows = take(&workspace, ROWS * many / 2);
    float *sums = take(&workspace, (many > ROWS ? many : ROWS) * width);
    pack_columns(keys, s->dimension, key_columns);
    pack_columns(values, s->dimension, value_columns);
    pack_rows(keys, s->dimension, key_rows);
    pack_rows(queries, s->dimension, query_rows);
    pack_rows(gradients, s->dimension, gradient_rows);
    for (int64_t i = 0; i < s->tokens; i += ROWS) {
        matrix q = rows_from(queries, i), g = rows_from(gradients, i);
        multiply(q.rows, pairs, (pair *)q.data, q.stride / 2, 1, key_columns, many, scores);
        multiply(g.rows, pairs, (pair *)g.data, g.stride / 2, 1, value_columns, many, weight_gradients);
        float means[ROWS];
        weights_again(q.rows, scores, weight_gradients, s, statistics + i, means);
        if (q.rows % 2) { /* a row of zeros makes the last pair whole */
            memset(scores + q.rows * many, 0, many * sizeof(float));
            memset(weight_gradients + q.rows * many, 0, many * sizeof(float));
            means[q.rows] = 0;
        }
        for (int64_t row = 0; row < q.rows; row += 2) {
            int64_t pairs_from = (i + row) / 2 * many;
            differentiate_softmax(
                scores + row * many, weight_gradients + row * many, means + row, s, weights + pairs_from,
                score_gradients + pairs_from, score_gradient_rows + row * many);
        }
        multiply(q.rows, token_pairs, (pair *)score_gradient_rows, many / 2, 1, key_rows, width, sums);
        store_rows(sums, s->dimension, NULL, rows_from(query_gradients, i));
    }
    multiply(s->tokens, token_pairs, score_gradients, 1, many, query_rows, width, sums);
    store_rows(sums, s->dimension, NULL, key_gradients);
    multiply(s->tokens, token_pairs, weights, 1, many, gradient_rows, width, sums);
    store_rows(sums, s->dimension, NULL, value_gradients);
}

void attend(
    const sizes *s, row_statistics *statistics, const tensor *queries, const tensor *keys, const tensor *values,
    const tensor *out) {
#pragma omp parallel
    {
        char *workspace = new_workspace(s);
#pragma omp for
        for (int64_t number = 0; number < s->batch * s->heads; number++)
            attend_head(
                s, head_of(queries, s, number), head_of(keys, s, number), head_of(values, s, number),
                head_of(out, s, number), statistics + number * s->tokens, workspace);
        free(workspace);
    }
}

void attend_backward(
    const sizes *s, const row_statistics *statistics, const tensor *queries, const tensor *keys,
    const tensor *values, const tensor *gradients, const tensor *query_gradients, const tensor *key_gradients,
    const tensor *value_gradients) {
#pragma omp parallel
    {
        char *workspace = new_workspace(s);
#pragma omp for
        for (int64_t number = 0; number < s->batch * s->heads; number++)
            attend_head_backward(
                s, head_of(queries, s, number), head_of(keys, s, number), head_of(values, s, number),
                head_of(gradients, s, number), statistics + number * s->tokens,
                head_of(query_gradients, s, number), head_of(key_gradients, s, number),
                head_of(value_gradients, s, number), workspace);
        free(workspace);
    }
}
