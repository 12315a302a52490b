/* LayerNorm of tokens in float32. */
#include "float32_stream.h"
#include "layer_norm_of_tokens.h"
