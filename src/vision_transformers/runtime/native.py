"""C that lies beside the Python which calls it: compiled once for this machine's processor, then loaded.

PyTorch computes everything that is computed here, too: where there is no C compiler, `load_native` gives
None, and whoever asked takes PyTorch's way. `VISION_TRANSFORMERS_NATIVE=off` says so by hand.
"""

import ctypes
import functools
import hashlib
import logging
import os
import shutil
import subprocess
from pathlib import Path

from vision_transformers.errors import Failure
from vision_transformers.files import cache_folder, fill_file

FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-std=gnu11", "-fno-strict-aliasing")
SWITCH = "VISION_TRANSFORMERS_NATIVE"

logger = logging.getLogger(__name__)


@functools.cache
def load_native(source: Path) -> ctypes.CDLL | None:
    """The functions of a C file; None where they cannot be had.

    What was compiled is kept in the user's cache folder, by everything that it depends on.

    Args:
        source: the C file.
    """
    if os.environ.get(SWITCH) == "off":
        return None
    compiler = _compiler()
    if compiler is None:
        return None
    try:
        return _loaded(compiler, source)
    except (OSError, RuntimeError, Failure, subprocess.CalledProcessError) as error:
        said = (
            error.stderr.decode(errors="replace") if isinstance(error, subprocess.CalledProcessError) else ""
        )
        logger.warning("%s is left to PyTorch, which takes longer: %s", source.name, said.strip() or error)
        return None


def describe_compiler() -> str | None:
    """The name and version of what compiles here; None where nothing can."""
    compiler = _compiler()
    try:
        lines = [] if compiler is None else _version(compiler).decode(errors="replace").splitlines()
    except (OSError, subprocess.CalledProcessError):  # as of a cluster whose module is not loaded
        return None
    return lines[0] if lines else None


def _compiler() -> str | None:
    # No other: its threads are those of the OpenMP that PyTorch comes with, and clang's are not.
    return shutil.which("gcc")


def _version(compiler: str) -> bytes:
    return subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout


def _loaded(compiler: str, source: Path) -> ctypes.CDLL:
    """From the cache, or compiled: also where what lies in the cache is damaged."""
    library = cache_folder() / "native" / f"{source.stem}-{_digest(source, compiler)}.so"
    # The threads are PyTorch's: names of OpenMP are looked up in what the process has loaded before.
    try:
        return ctypes.CDLL(str(library))
    except OSError:  # it is missing, or no library
        _compile(compiler, source, library)
        return ctypes.CDLL(str(library))


def has_instructions(name: str) -> bool:
    """Whether this machine's processor has them, by their name in /proc/cpuinfo, such as `avx512_bf16`.

    And whether this process may use them: a system has to be asked for those on tiles (`amx_...`).
    """
    return name in _instructions() and (not name.startswith("amx_") or _may_use_tiles())


@functools.cache
def _may_use_tiles() -> bool:
    """Asks Linux, which keeps 8 KiB of tiles for each thread (its Documentation/arch/x86/xstate.rst)."""
    arch_prctl, request_permission, tile_data = 158, 0x1023, 18
    return ctypes.CDLL(None).syscall(arch_prctl, request_permission, tile_data) == 0


@functools.cache
def _instructions() -> frozenset[str]:
    return frozenset(_processor_flags().decode().split())


@functools.cache
def _processor_flags() -> bytes:
    """Empty where the system does not say: outside Linux, and on other processors than x86's."""
    file = Path("/proc/cpuinfo")
    lines = file.read_bytes().splitlines() if file.exists() else []
    return next((line for line in lines if line.startswith(b"flags")), b"")


def _digest(source: Path, compiler: str) -> str:
    """Of source and headers, compiler, flags, processor: a home folder may be shared by several machines."""
    files = [source, *sorted(source.parent.glob("*.h"))]
    parts = [file.read_bytes() for file in files]
    parts += [compiler.encode(), _version(compiler), " ".join(FLAGS).encode(), _processor_flags()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _compile(compiler: str, source: Path, library: Path) -> None:
    """Makes the library, which appears whole, also where several processes compile it at once."""

    def fill(path: Path) -> None:
        subprocess.run([compiler, *FLAGS, str(source), "-o", str(path)], check=True, capture_output=True)

    library.parent.mkdir(parents=True, exist_ok=True)
    fill_file(library, fill)
