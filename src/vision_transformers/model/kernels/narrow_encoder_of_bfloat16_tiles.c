/* A narrow encoder by tiles (AMX), of tokens in bfloat16. */
#include "bfloat16_stream.h"
#include "narrow_feed_forward_tiles.h"
#include "short_attention_tiles.h"

#include "narrow_encoder_backward.h"
