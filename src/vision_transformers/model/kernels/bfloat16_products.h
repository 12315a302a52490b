/* Products of matrices of bfloat16, whose sums are float32, in registers (vdpbf16ps): for the C files beside
 * this one.
 */
#pragma once
#include "bfloat16_pairs.h"

enum { TILES = 3, MOST_ROWS = 16 };

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
