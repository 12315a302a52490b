"""Memory that a training step frees is kept for the next one.

The C library gives large blocks back to the system when they are freed, and the system fills each page with
zeros when the next step asks for it again: of small models, a fifth to a third of a training step on a CPU;
of ViT-S/16 too little to see (`docs/log.md`, 2026-11-24). GPUs have PyTorch's own allocator, which keeps
memory.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Names in glibc's malloc.h, where `mallopt` is described."""


def keep_freed_memory() -> bool:
    """Tells the C library to keep what is freed; whether it can, which only glibc does."""
    library = _glibc()
    return library is not None and bool(
        library.mallopt(M_MMAP_MAX, 0) and library.mallopt(M_TRIM_THRESHOLD, -1)
    )


def give_back_freed_memory() -> None:
    """Gives to the system what is kept by now, where `keep_freed_memory` could."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
