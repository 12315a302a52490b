/* Included after a C file of the package, whose types it uses. */
#pragma once
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As the package does before it calls C on tiles; elsewhere Linux refuses, and nobody minds. */
static void ask_for_tiles(void) { syscall(SYS_arch_prctl, 0x1023, 18); }

/* Between -1/2 and 1/2, of float32 or of bfloat16, which is its upper half. */
static element *random_numbers(int64_t count) {
    element *numbers = malloc(count * sizeof(element));
    for (int64_t i = 0; i < count; i++) {
        float value = (float)rand() / (float)RAND_MAX - 0.5f;
        memcpy(&numbers[i], (char *)&value + sizeof value - sizeof(element), sizeof(element));
    }
    return numbers;
}
