"""Memory that a training step frees is kept for the next one.

The C library gives large blocks back to the system when they are freed, and the system fills each page with
zeros when the next step asks for it again: a fifth to a third of a training step on a CPU (`docs/log.md`,
2026-11-24). GPUs have PyTorch's own allocator, which keeps memory.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Names in glibc's malloc.h, where `mallopt` is described."""


def keep_freed_memory() -> bool:
    """Tells the C library to keep what is freed; whether it can, which only glibc does."""
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    return bool(library.mallopt(M_MMAP_MAX, 0) and library.mallopt(M_TRIM_THRESHOLD, -1))
