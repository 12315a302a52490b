/* Included after a C file of the package, whose types it uses. */
#pragma once
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As the package does before it calls C on tiles; elsewhere Linux refuses, and nobody minds. */
static void ask_for_tiles(void) { syscall(SYS_arch_prctl, 0x1023, 18); }

enum { PAGE = 4096 };

/* Memory that ends where a page begins that nobody may touch: sanitizers do not see what instructions on tiles
 * do, the processor does. */
static void *new_before_a_wall(int64_t bytes) {
    int64_t inside = round_up(bytes, PAGE), all = inside + 2 * PAGE;
    char *pages = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + PAGE + inside, PAGE, PROT_NONE)) abort();
    return pages + PAGE + inside - bytes;
}

static void free_numbers(void *numbers, int64_t count) {
    int64_t bytes = count * sizeof(element), inside = round_up(bytes, PAGE);
    munmap((char *)numbers + bytes - inside - PAGE, inside + 2 * PAGE);
}

/* Between -1/2 and 1/2, of float32 or of bfloat16, which is its upper half. */
static element *random_numbers(int64_t count) {
    element *numbers = new_before_a_wall(count * sizeof(element));
    for (int64_t i = 0; i < count; i++) {
        float value = (float)rand() / (float)RAND_MAX - 0.5f;
        memcpy(&numbers[i], (char *)&value + sizeof value - sizeof(element), sizeof(element));
    }
    return numbers;
}
