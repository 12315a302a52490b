/* Included after a C file of the package, whose types it uses. */
#pragma once
#include <string.h>

static bfloat16 *random_numbers(int64_t count) {
    bfloat16 *numbers = malloc(count * sizeof(bfloat16));
    for (int64_t i = 0; i < count; i++) {
        float value = (float)rand() / (float)RAND_MAX - 0.5f;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        numbers[i] = (bfloat16)(bits >> 16);
    }
    return numbers;
}
