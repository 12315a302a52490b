/* Numbers of bfloat16, alone and in pairs: for the C files beside this one.
 *
 * The processor multiplies bfloat16 in pairs and adds them up in float32. A `pair` below is two numbers that
 * are neighbours along the dimension which a product sums over.
 */
#pragma once
#include <immintrin.h>
#include <stdint.h>

typedef uint16_t bfloat16;
typedef uint32_t pair;

typedef bfloat16 element;
#include "matrices.h"

enum { LANES = 16, ROWS = 8 };

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

/* 2^x for x of at most 0, to a relative error of 3e-6: of 2^f, f in [0, 1), the polynomial of its degree that
 * comes nearest (Remez). */
static inline __m512 power_of_two(__m512 x) {
    __m512 fraction = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 y = _mm512_set1_ps(1.353416792e-2f);
    y = _mm512_fmadd_ps(y, fraction, _mm512_set1_ps(5.201146061e-2f));
    y = _mm512_fmadd_ps(y, fraction, _mm512_set1_ps(2.414427569e-1f));
    y = _mm512_fmadd_ps(y, fraction, _mm512_set1_ps(6.930038345e-1f));
    y = _mm512_fmadd_ps(y, fraction, _mm512_set1_ps(1.000002593f));
    return _mm512_scalef_ps(y, x); /* of x, it takes what is whole */
}

/* A row of pairs of two rows: for products that sum over rows. What is not there, up to `width`, is zero. */
static inline void pack_two_rows(matrix x, int64_t row, int64_t columns, int64_t width, pair *packed) {
    for (int64_t column = 0; column < width; column += LANES) {
        const bfloat16 *from = x.data + row * x.stride + column;
        __mmask16 mask = first_lanes(columns - column);
        __m256i even = _mm256_maskz_loadu_epi16(mask, from);
        __m256i odd = _mm256_maskz_loadu_epi16(row + 1 < x.rows ? mask : 0, from + x.stride);
        _mm512_store_si512(packed + column, interleave(even, odd));
    }
}

/* packed[row / 2][column] */
static inline void pack_rows(matrix x, int64_t columns, pair *packed) {
    int64_t width = round_up(columns, LANES);
    for (int64_t row = 0; row < x.rows; row += 2)
        pack_two_rows(x, row, columns, width, packed + row / 2 * width);
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

/* Of 16 rows from `row` the pairs of two columns, one above the other, `width` apart: for products that sum over
 * columns. */
static inline void pack_columns_of_rows(matrix x, int64_t row, int64_t columns, int64_t width, pair *packed) {
    int64_t pairs = columns / 2;
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
            _mm512_store_si512(packed + (left + i) * width, r[i]);
    }
}

/* packed[column / 2][row]; rows that are not there, up to `width`, are zeros. */
static inline void pack_columns(matrix x, int64_t columns, int64_t width, pair *packed) {
    for (int64_t row = 0; row < width; row += LANES) pack_columns_of_rows(x, row, columns, width, packed + row);
}

/* Where a product goes: to `sums`, or added to what is there, or with a bias (NULL for none) to `rounded`. */
typedef struct {
    float *sums;
    int is_added;
    const bfloat16 *bias;
    bfloat16 *rounded;
} destination;

static inline destination moved(destination to, int64_t row, int64_t column, int64_t width) {
    if (to.sums) to.sums += row * width + column;
    if (to.bias) to.bias += column;
    if (to.rounded) to.rounded += row * width + column;
    return to;
}
