/* How the rows that `layer_norm.h` normalises are loaded and stored: in bfloat16. */
#include "bfloat16_pairs.h"

typedef bfloat16 input_element;

static inline __m512 load_input(const bfloat16 *x) { return load(x); }

static inline void store_input(bfloat16 *to, __m512 x) { store(to, x); }

#include "layer_norm.h"
