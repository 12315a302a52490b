/* LayerNorm of tokens in bfloat16. */
#include "bfloat16_stream.h"
#include "layer_norm_of_tokens.h"
