/* Tokens between encoders in float32, as where the weights are float32. */
#pragma once
#include "bfloat16_pairs.h"

typedef float stream_element;

static inline __m512 load_stream(const float *x) { return _mm512_loadu_ps(x); }

static inline void store_stream(float *to, __m512 x) { _mm512_storeu_ps(to, x); }

/* As products take them. */
static inline const bfloat16 *as_bfloat16(const float *x, int64_t count, bfloat16 *room) {
    for (int64_t i = 0; i < count; i += LANES) store(room + i, load_stream(x + i));
    return room;
}
