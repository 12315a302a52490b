/* Products of matrices of bfloat16 by tiles (AMX), whose sums are float32: for the C files beside this one.
 *
 * A tile of 16 rows of 16 pairs times one of 16 pairs of 16 columns is one instruction, which takes as long as
 * nine of those in `bfloat16_products.h` and does the work of 256. Of `left`, 16 rows of 32 numbers are a tile as
 * they lie in memory; of `right`, 16 rows of pairs as `bfloat16_pairs.h` packs them. Whoever has fewer numbers
 * fills up with zeros.
 */
#pragma once
#define HAS_TILES
#include "bfloat16_pairs.h"

enum { TILE = 16, TILE_DEPTH = 2 * TILE };

/* Rows, and columns, that are multiplied together. */
enum { AT_ONCE = 2 * TILE };

/* All eight tiles have 16 rows of 64 bytes. A constant, since gcc 12 believes that the instruction which reads
 * this reads its first eight bytes, and might not write the others. */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} ALL_FULL __attribute__((aligned(ALIGNMENT))) = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {TILE, TILE, TILE, TILE, TILE, TILE, TILE, TILE},
};

/* Before a thread's first product, and after its last. */
static inline void start_tiles(void) { _tile_loadconfig(&ALL_FULL); }

static inline void end_tiles(void) { _tile_release(); }

/* gcc does not know that an instruction on tiles reads memory: what was written before is written by now. */
static inline void finish_writing(void) { __asm__ volatile("" ::: "memory"); }

/* Where a matrix begins, and how far its rows are apart: in numbers, of whichever type. */
typedef struct {
    const bfloat16 *data;
    int64_t stride;
} tile_rows;

typedef struct {
    const pair *data;
    int64_t stride;
} tile_pairs;

typedef struct {
    float *data;
    int64_t stride;
    int is_added;
} tile_sums;

/* One or two tiles of rows by one or two of columns, whose sums stay in tiles. */
static inline __attribute__((always_inline)) void multiply_block_of_tiles(
    const int two_rows, const int two_columns, int64_t depth, tile_rows left, tile_pairs right, tile_sums sums) {
    float *below = sums.data + TILE * sums.stride;
    int64_t left_bytes = 2 * left.stride, right_bytes = 4 * right.stride, sums_bytes = 4 * sums.stride;
    if (sums.is_added) {
        _tile_loadd(0, sums.data, sums_bytes);
        if (two_columns) _tile_loadd(1, sums.data + TILE, sums_bytes);
        if (two_rows) _tile_loadd(2, below, sums_bytes);
        if (two_rows && two_columns) _tile_loadd(3, below + TILE, sums_bytes);
    } else {
        _tile_zero(0);
        if (two_columns) _tile_zero(1);
        if (two_rows) _tile_zero(2);
        if (two_rows && two_columns) _tile_zero(3);
    }
    for (int64_t i = 0; i < depth; i += TILE_DEPTH) {
        const pair *pairs = right.data + i / 2 * right.stride;
        _tile_loadd(4, left.data + i, left_bytes);
        _tile_loadd(6, pairs, right_bytes);
        _tile_dpbf16ps(0, 4, 6);
        if (two_columns) {
            _tile_loadd(7, pairs + TILE, right_bytes);
            _tile_dpbf16ps(1, 4, 7);
        }
        if (two_rows) {
            _tile_loadd(5, left.data + TILE * left.stride + i, left_bytes);
            _tile_dpbf16ps(2, 5, 6);
            if (two_columns) _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sums.data, sums_bytes);
    if (two_columns) _tile_stored(1, sums.data + TILE, sums_bytes);
    if (two_rows) _tile_stored(2, below, sums_bytes);
    if (two_rows && two_columns) _tile_stored(3, below + TILE, sums_bytes);
}

/* left * right, all of whose sides are multiples of TILE, and `depth`, which is summed over, of TILE_DEPTH. */
static inline void multiply_by_tiles(
    int64_t rows, int64_t columns, int64_t depth, tile_rows left, tile_pairs right, tile_sums sums) {
    finish_writing();
    for (int64_t row = 0; row < rows; row += 2 * TILE)
        for (int64_t column = 0; column < columns; column += 2 * TILE) {
            tile_rows these_rows = {left.data + row * left.stride, left.stride};
            tile_pairs these_columns = {right.data + column, right.stride};
            tile_sums here = {sums.data + row * sums.stride + column, sums.stride, sums.is_added};
            int two_rows = row + TILE < rows, two_columns = column + TILE < columns;
            if (two_rows && two_columns)
                multiply_block_of_tiles(1, 1, depth, these_rows, these_columns, here);
            else if (two_rows)
                multiply_block_of_tiles(1, 0, depth, these_rows, these_columns, here);
            else if (two_columns)
                multiply_block_of_tiles(0, 1, depth, these_rows, these_columns, here);
            else
                multiply_block_of_tiles(0, 0, depth, these_rows, these_columns, here);
        }
    finish_writing();
}

/* 16 rows of 16 pairs become columns: what could be a tile of `right` becomes one of `left`. */
static inline void transpose_pairs(const pair *from, int64_t from_stride, pair *to, int64_t to_stride) {
    __m512i r[TILE], t[TILE];
    for (int i = 0; i < TILE; i++) r[i] = _mm512_load_si512(from + i * from_stride);
    for (int i = 0; i < TILE; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < TILE; i += 4)
        for (int j = 0; j < 2; j++) {
            r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
            r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
        }
    for (int i = 0; i < TILE; i += 8)
        for (int j = 0; j < 4; j++) {
            t[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0x88);
            t[i + j + 4] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0xDD);
        }
    for (int j = 0; j < 8; j++) {
        r[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
        r[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xDD);
    }
    for (int i = 0; i < TILE; i++) _mm512_store_si512(to + i * to_stride, r[i]);
}
