/* How the rows that `layer_norm.h` normalises are loaded and stored: in float32, as between the blocks of a model
 * whose weights are float32. */
#include "bfloat16_pairs.h"

typedef float input_element;

static inline __m512 load_input(const float *x) { return _mm512_loadu_ps(x); }

static inline void store_input(float *to, __m512 x) { _mm512_storeu_ps(to, x); }

#include "layer_norm.h"
