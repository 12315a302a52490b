/* Products of matrices of bfloat16, whose sums are float32: for the C files beside this one.
 *
 * The processor multiplies bfloat16 in pairs and adds them up in float32 (vdpbf16ps). A `pair` below is two
 * numbers that are neighbours along the dimension which a product sums over.
 */
#pragma once
#include <immintrin.h>
#include <stdint.h>

typedef uint16_t bfloat16;
typedef uint32_t pair;

typedef bfloat16 element;
#include "matrices.h"

enum { LANES = 16, TILES = 3, ROWS = 8, MOST_ROWS = 16 };

static inline __mmask16 first_lanes(int64_t count) {
    return count >= LANES ? 0xFFFF : count <= 0 ? 0 : (__mmask16)((1u << count) - 1);
}

static inline __m256i to_bfloat16(__m512 x) { return (__m256i)_mm512_cvtneps_pbh(x); }

static inline __m512 to_float32(__m256i x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

static inline __m512 load(const bfloat16 *x) { return to_float32(_mm256_loadu_si256((const __m256i *)x)); }

static inline void store(bfloat16 *to, __m512 x) { _mm256_storeu_si256((__m256i *)to, to_bfloat16(x)); }

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

/* packed[row / 2][column] is a pair of two rows: for products that sum over rows. */
static inline void pack_two_rows(matrix x, int64_t row, int64_t columns, pair *packed) {
    int64_t width = round_up(columns, LANES);
    for (int64_t column = 0; column < width; column += LANES) {
        const bfloat16 *from = x.data + row * x.stride + column;
        __mmask16 mask = first_lanes(columns - column);
        __m256i even = _mm256_maskz_loadu_epi16(mask, from);
        __m256i odd = _mm256_maskz_loadu_epi16(row + 1 < x.rows ? mask : 0, from + x.stride);
        _mm512_store_si512(packed + row / 2 * width + column, interleave(even, odd));
    }
}

static inline void pack_rows(matrix x, int64_t columns, pair *packed) {
    for (int64_t row = 0; row < x.rows; row += 2) pack_two_rows(x, row, columns, packed);
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

/* packed[column / 2][row] is a pair of two columns: for products that sum over columns. 16 rows from `row`. */
static inline void pack_columns_of_rows(matrix x, int64_t row, int64_t columns, pair *packed) {
    int64_t width = round_up(x.rows, LANES), pairs = columns / 2;
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

static inline void pack_columns(matrix x, int64_t columns, pair *packed) {
    for (int64_t row = 0; row < x.rows; row += LANES) pack_columns_of_rows(x, row, columns, packed);
}

/* Where a product goes: to `sums`, or added to what is there, or with a bias (NULL for none) to `rounded`. */
typedef struct {
    float *sums;
    int is_added;
    const bfloat16 *bias;
    bfloat16 *rounded;
} destination;

/* `rows` by `tiles` of `product`, whose sums stay in registers; `to` begins where the block does. */
static inline __attribute__((always_inline)) void multiply_block(
    const int rows, const int tiles, int64_t pairs, const pair *left, int64_t row_stride, int64_t pair_stride,
    const pair *right, int64_t width, destination to) {
    __m512 sums[MOST_ROWS][TILES];
    for (int tile = 0; tile < tiles; tile++) {
        __m512 bias = to.bias ? load(to.bias + tile * LANES) : _mm512_setzero_ps();
        for (int row = 0; row < rows; row++)
            sums[row][tile] = to.is_added ? _mm512_load_ps(to.sums + row * width + tile * LANES) : bias;
    }
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
        for (int tile = 0; tile < tiles; tile++) {
            int64_t here = row * width + tile * LANES;
            if (to.rounded)
                store(to.rounded + here, sums[row][tile]);
            else
                _mm512_store_ps(to.sums + here, sums[row][tile]);
        }
}

static inline void multiply_tiles(
    int rows, int tiles, int64_t pairs, const pair *left, int64_t row_stride, int64_t pair_stride,
    const pair *right, int64_t width, destination to) {
#define BLOCK(R, T) \
    case R * 10 + T: \
        multiply_block(R, T, pairs, left, row_stride, pair_stride, right, width, to); \
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

static inline destination moved(destination to, int64_t row, int64_t column, int64_t width) {
    if (to.sums) to.sums += row * width + column;
    if (to.bias) to.bias += column;
    if (to.rounded) to.rounded += row * width + column;
    return to;
}

/* The sum over pairs of left[row][pair] * right[pair][column]; width, of `right` and of what it goes to, is a
 * multiple of LANES. The columns of a few tiles stay in the cache for all rows. */
static inline void product(
    int64_t rows, int64_t pairs, const pair *left, int64_t row_stride, int64_t pair_stride, const pair *right,
    int64_t width, destination to) {
    int64_t groups = (width / LANES + TILES - 1) / TILES;
    for (int64_t column = 0; column < width; groups--) {
        int tiles = (int)(((width - column) / LANES + groups - 1) / groups);
        for (int64_t row = 0; row < rows;) {
            int these = width <= LANES ? MOST_ROWS : MOST_ROWS / 2;
            while (these > rows - row) these /= 2;
            multiply_tiles(
                these, tiles, pairs, left + row * row_stride, row_stride, pair_stride, right + column, width,
                moved(to, row, column, width));
            row += these;
        }
        column += tiles * LANES;
    }
}

/* out = left * right */
static inline void multiply(
    int64_t rows, int64_t pairs, const pair *left, int64_t row_stride, int64_t pair_stride, const pair *right,
    int64_t width, float *out) {
    destination to = {.sums = out};
    product(rows, pairs, left, row_stride, pair_stride, right, width, to);
}
