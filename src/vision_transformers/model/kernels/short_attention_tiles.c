/* Attention in bfloat16 by tiles (AMX). */
#include "short_attention_tiles.h"
