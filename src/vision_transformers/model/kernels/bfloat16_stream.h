/* Tokens between encoders in bfloat16. */
#pragma once
#include "bfloat16_pairs.h"

typedef bfloat16 stream_element;

static inline __m512 load_stream(const bfloat16 *x) { return load(x); }

static inline void store_stream(bfloat16 *to, __m512 x) { store(to, x); }

/* As products take them; there is nothing to do. */
static inline const bfloat16 *as_bfloat16(const bfloat16 *x, int64_t count, bfloat16 *room) {
    (void)count, (void)room;
    return x;
}
