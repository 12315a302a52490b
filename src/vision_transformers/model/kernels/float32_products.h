/* Products of matrices of float32: for the C files beside this one.
 *
 * In vectors of gcc. A processor with AVX2 has sixteen of eight numbers: twelve hold the sums of a block of six
 * rows and two vectors of columns. With AVX512 it has thirty-two of sixteen, and a block twelve rows.
 */
#pragma once
#include <stdint.h>

typedef float element;
#include "matrices.h"

#ifdef __AVX512F__
enum { LANES = 16, TILES = 2, ROWS = 12 };
#define NUMBERS 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
#define FIRST_HALVES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#else
enum { LANES = 8, TILES = 2, ROWS = 6 };
#define NUMBERS 0, 1, 2, 3, 4, 5, 6, 7
#define FIRST_HALVES 0, 8, 1, 9, 2, 10, 3, 11
#endif

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef float lanes_anywhere __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint32_t integer_lanes __attribute__((vector_size(4 * LANES)));
typedef int32_t condition_lanes __attribute__((vector_size(4 * LANES))); /* of each, all bits or none */

static inline lanes all(float x) { return x - (lanes){}; }

static inline lanes load(const float *x) { return *(const lanes *)x; }

static inline void store(float *to, lanes x) { *(lanes *)to = x; }

/* The first `count` numbers, wherever they lie, and zeros after them. */
static inline lanes load_first(int64_t count, const float *x) {
    if (count >= LANES) return *(const lanes_anywhere *)x;
    lanes some = {};
    for (int64_t i = 0; i < count; i++) some[i] = x[i];
    return some;
}

static inline void store_first(int64_t count, float *to, lanes x) {
    if (count >= LANES)
        *(lanes_anywhere *)to = x;
    else
        for (int64_t i = 0; i < count; i++) to[i] = x[i];
}

static inline lanes chosen(condition_lanes condition, lanes one, lanes other) {
    return (lanes)((condition & (condition_lanes)one) | (~condition & (condition_lanes)other));
}

/* The first `count` of x, and of `other` after them. */
static inline lanes first(int64_t count, lanes x, lanes other) {
    const integer_lanes numbers = {NUMBERS};
    return chosen(numbers < (uint32_t)count, x, other);
}

static inline lanes greater_of(lanes a, lanes b) { return chosen(a > b, a, b); }

/* Neighbours at a distance that is a power of two change places. */
static inline lanes exchanged(lanes x, const int distance) {
    return __builtin_shuffle(x, (integer_lanes){NUMBERS} ^ distance);
}

static inline float greatest_of(lanes x) {
#pragma GCC unroll 4
    for (int distance = LANES / 2; distance; distance /= 2) x = greater_of(x, exchanged(x, distance));
    return x[0];
}

static inline float sum_of(lanes x) {
#pragma GCC unroll 4
    for (int distance = LANES / 2; distance; distance /= 2) x += exchanged(x, distance);
    return x[0];
}

/* 2^x for x of at most 0, and nothing below 2^-100, lest what comes of it be too small for float32: the Taylor
 * series of 2^f, f in [-1/2, 1/2]. What is not a number stays so. */
static inline lanes power_of_two(lanes x) {
    const float rounds_to_integers = 0x1.8p23f;
    lanes shifted = x + rounds_to_integers;
    lanes fraction = x - (shifted - rounds_to_integers);
    lanes power = (lanes)(((integer_lanes)shifted << 23) + 0x3F800000);
    lanes y = all(1.5403530e-4f);
    y = y * fraction + 1.3333558e-3f;
    y = y * fraction + 9.6181291e-3f;
    y = y * fraction + 5.5504109e-2f;
    y = y * fraction + 2.4022651e-1f;
    y = y * fraction + 6.9314718e-1f;
    y = y * fraction + 1.0f;
    return chosen(x < -100.0f, all(0), y * power);
}

/* packed[row][column], with zeros up to a multiple of LANES: for products that sum over rows. */
static inline void pack_rows(matrix x, int64_t columns, float *packed) {
    int64_t width = round_up(columns, LANES);
    for (int64_t row = 0; row < x.rows; row++)
        for (int64_t column = 0; column < width; column += LANES) {
            lanes some = load_first(columns - column, x.data + row * x.stride + column);
            store(packed + row * width + column, some);
        }
}

/* Rows become columns: each round interleaves the first half of the rows with the second. */
static inline void transpose(lanes rows[LANES]) {
    const integer_lanes low = {FIRST_HALVES}, high = low + LANES / 2;
    for (int rounds = LANES; rounds > 1; rounds /= 2) {
        lanes mixed[LANES];
        for (int i = 0; i < LANES / 2; i++) {
            mixed[2 * i] = __builtin_shuffle(rows[i], rows[i + LANES / 2], low);
            mixed[2 * i + 1] = __builtin_shuffle(rows[i], rows[i + LANES / 2], high);
        }
        for (int i = 0; i < LANES; i++) rows[i] = mixed[i];
    }
}

/* packed[column][row], with zeros up to a multiple of LANES: for products that sum over columns. */
static inline void pack_columns(matrix x, int64_t columns, float *packed) {
    int64_t width = round_up(x.rows, LANES);
    for (int64_t row = 0; row < width; row += LANES)
        for (int64_t column = 0; column < columns; column += LANES) {
            lanes block[LANES] = {};
            for (int64_t i = 0; i < least(LANES, x.rows - row); i++)
                block[i] = load_first(columns - column, x.data + (row + i) * x.stride + column);
            transpose(block);
            for (int64_t i = 0; i < least(LANES, columns - column); i++)
                store(packed + (column + i) * width + row, block[i]);
        }
}

/* `rows` by `tiles` of a product, whose sums stay in registers: the loops are unrolled before gcc gives them
 * some. `right` and `sums` begin where the block does. */
static inline __attribute__((always_inline)) void multiply_block(
    const int rows, const int tiles, int64_t inner, const float *left, int64_t row_stride, int64_t inner_stride,
    const float *right, int64_t width, float *sums, const int is_added) {
    lanes block[ROWS][TILES];
#pragma GCC unroll 12
    for (int row = 0; row < rows; row++)
#pragma GCC unroll 2
        for (int tile = 0; tile < tiles; tile++) block[row][tile] = all(0);
    do {
        lanes columns[TILES];
#pragma GCC unroll 2
        for (int tile = 0; tile < tiles; tile++) columns[tile] = load(right + tile * LANES);
#pragma GCC unroll 12
        for (int row = 0; row < rows; row++) {
            lanes same = all(left[row * row_stride]);
#pragma GCC unroll 2
            for (int tile = 0; tile < tiles; tile++) block[row][tile] += same * columns[tile];
        }
        left += inner_stride;
        right += width;
    } while (--inner);
#pragma GCC unroll 12
    for (int row = 0; row < rows; row++)
#pragma GCC unroll 2
        for (int tile = 0; tile < tiles; tile++) {
            float *here = sums + row * width + tile * LANES;
            store(here, is_added ? load(here) + block[row][tile] : block[row][tile]);
        }
}

static inline __attribute__((always_inline)) void multiply_tiles(
    const int tiles, int64_t rows, int64_t inner, const float *left, int64_t row_stride, int64_t inner_stride,
    const float *right, int64_t width, float *sums, const int is_added) {
#define CASE(R) \
    case R: \
        multiply_block(R, tiles, inner, left, row_stride, inner_stride, right, width, sums, is_added); \
        break;
    for (; rows > 0; rows -= ROWS) {
        switch (least(rows, ROWS)) {
            CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#ifdef __AVX512F__
            CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#endif
        }
        left += ROWS * row_stride;
        sums += ROWS * width;
    }
#undef CASE
}

/* The sum over `inner`, at least one, of left[row][inner] * right[inner][column]; width, of `right` and of
 * `sums`, is a multiple of LANES. */
static inline __attribute__((always_inline)) void product(
    int64_t rows, int64_t inner, const float *left, int64_t row_stride, int64_t inner_stride, const float *right,
    int64_t width, float *sums, const int is_added) {
    for (int64_t column = 0; column < width; column += TILES * LANES) {
        const float *from = right + column;
        float *to = sums + column;
        if (column + LANES < width)
            multiply_tiles(2, rows, inner, left, row_stride, inner_stride, from, width, to, is_added);
        else
            multiply_tiles(1, rows, inner, left, row_stride, inner_stride, from, width, to, is_added);
    }
}

/* sums = left * right */
static void multiply(
    int64_t rows, int64_t inner, const float *left, int64_t row_stride, int64_t inner_stride, const float *right,
    int64_t width, float *sums) {
    product(rows, inner, left, row_stride, inner_stride, right, width, sums, 0);
}

/* sums += left * right */
static void multiply_and_add(
    int64_t rows, int64_t inner, const float *left, int64_t row_stride, int64_t inner_stride, const float *right,
    int64_t width, float *sums) {
    product(rows, inner, left, row_stride, inner_stride, right, width, sums, 1);
}
