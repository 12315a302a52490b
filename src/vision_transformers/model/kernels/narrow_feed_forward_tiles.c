/* Feed-forward networks in bfloat16 by tiles (AMX). */
#include "narrow_feed_forward_tiles.h"
