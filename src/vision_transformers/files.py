"""Files that survive: durable writes, folders that appear whole, manifests, and the lock of a run.

A write is a temporary file, fsync, rename, fsync of the folder: after a loss of power there is the old
file or the new one, never a part and never a name with nothing behind it.
"""

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from vision_transformers.errors import Failure, UsageFailure

MANIFEST = "manifest.json"
TEMPORARY = ".temporary-"
REPLACED = f"{TEMPORARY}replaced-"
"""How the name of a folder begins that makes room for a new one."""


class Broken(Failure):
    """A file is not what its manifest says."""


def cache_folder() -> Path:
    """For what can be made again: this software's in $XDG_CACHE_HOME or ~/.cache; it need not exist yet."""
    base = expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    if str(base).startswith("~"):
        raise UsageFailure("there is no home folder to keep a cache in: set HOME or XDG_CACHE_HOME")
    return base / "vision_transformers"


def expanded(path: Path | str) -> Path:
    """The path with the home folder that a `~` or `~name` at its beginning stands for; with neither such a
    user nor a home, as it is: nothing lies there, which its reader says."""
    return Path(os.path.expanduser(path))


def check_can_be_written(path: Path) -> None:
    """Whether a file of this name can be written, before anything is computed, which would be lost.

    Raises:
        UsageFailure: says why it cannot.
    """
    if not path.parent.is_dir():
        raise UsageFailure(f"there is no folder {path.parent} to write {path.name} into")
    if os.path.isdir(path):  # False of a name that no file can have
        raise UsageFailure(f"{path} is a folder: name a file to write")
    _refuse_device(path)
    try:
        _try_beside(_real(path))
    except OSError as error:
        raise UsageFailure(f"{path} cannot be written ({error.strerror}): choose another file") from error


def check_folder_can_be_written(path: Path) -> None:
    """As `check_can_be_written`, of a folder to write into; it need not be there, and is not made.

    Raises:
        UsageFailure: says why nothing can be written there.
    """
    if os.path.exists(path) and not os.path.isdir(path):
        raise UsageFailure(f"{path} is a file: name a folder to write into")
    if os.path.islink(path) and not os.path.exists(path):
        raise UsageFailure(f"{path} is a link that leads nowhere: choose another folder")
    folder = _real(path)
    missing = [each for each in (folder, *folder.parents) if not os.path.exists(each)] or [folder / "any"]
    try:
        for each in missing:
            _try_beside(missing[-1].with_name(each.name))
    except OSError as error:
        raise UsageFailure(f"{path} cannot be written ({error.strerror}): choose another folder") from error


def _try_beside(path: Path) -> None:
    """Makes a file and removes it: permissions alone do not tell of read-only disks, nor of names that are
    too long."""
    temporary = _temporary_beside(path)
    try:
        temporary.touch()
    finally:
        temporary.unlink(missing_ok=True)


def _refuse_device(path: Path) -> None:
    """What is no file would be replaced by one: nobody could write into /dev/null from there on."""
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise UsageFailure(f"{path} cannot be written (it is a device or a pipe): choose another file")


def _real(path: Path) -> Path:
    """Where a link leads, if it is one: the link itself stays as it is."""
    return Path(os.path.realpath(path))


def write_file(path: Path, content: bytes | str) -> None:
    """Writes a file that is there whole, or not at all."""
    data = content.encode() if isinstance(content, str) else content
    fill_file(path, lambda temporary: temporary.write_bytes(data))


def fill_file(path: Path, fill: Callable[[Path], object]) -> None:
    """Makes a file that appears whole: `fill` writes a temporary one, which is then renamed.

    Several may make the same one at once, also on machines that share the folder.
    """
    _refuse_device(path)
    real = _real(path)
    temporary = _temporary_beside(real)
    try:
        fill(temporary)
        sync(temporary)
        os.replace(temporary, real)
        sync(real.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise explained(error, path) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Writes JSON for people: indented, with names as they are, escaped where they are not valid Unicode."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    write_file(path, f"{text}\n".encode(errors="backslashreplace"))


def read_json(path: Path) -> Any:
    """Reads JSON.

    Raises:
        Failure: the file is missing, cannot be read or is not JSON; the message says which.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Failure(f"{path} is missing") from error
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror or error}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Failure(f"{path} is not JSON: {error}") from error


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Makes a folder that appears whole: `fill` writes into a temporary one, which is then renamed.

    A folder that `path` already names is replaced only once the new one is complete.
    """
    path = _real(path)
    temporary = _temporary_beside(path)
    old = path.with_name(f"{REPLACED}{secrets.token_hex(8)}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        fill(temporary)
        _sync_tree(temporary)
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        raise explained(error, path) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if old.exists() and not path.exists():
            os.replace(old, path)
    shutil.rmtree(old, ignore_errors=True)


def _temporary_beside(path: Path) -> Path:
    """A name that nobody else takes: no other thread, process or machine that shares the folder."""
    return path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}-{path.name}")


def write_manifest(folder: Path) -> None:
    """Writes the size and sha256 of every file in a folder, so that `verify_folder` can compare them."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    manifest = {file.relative_to(folder).as_posix(): (file.stat().st_size, _digest(file)) for file in files}
    write_file(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")


def verify_folder(path: Path) -> None:
    """Compares every file of a folder with its manifest.

    Raises:
        Broken: names the first file that is missing, cut short, changed, or cannot be read.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Broken(f"{path / MANIFEST} cannot be read: {error}") from error
    for name, (size, digest) in manifest.items():
        try:
            _verify(path / name, size, digest)
        except OSError as error:
            raise Broken(f"{path / name} cannot be read: {error.strerror or error}") from error


def _verify(file: Path, size: int, digest: str) -> None:
    if not file.is_file():
        raise Broken(f"{file} is missing")
    if (found := file.stat().st_size) != size:
        raise Broken(f"{file} has {found:,} bytes; {size:,} were written")
    if _digest(file) != digest:
        raise Broken(f"{file} was changed since it was written (its sha256 differs)")


def sweep_temporary(folder: Path) -> None:
    """Removes what a killed process left half written; what it was about to replace gets its name back."""
    for replaced in folder.glob(f"{REPLACED}*"):
        path = folder / replaced.name.removeprefix(REPLACED).partition("-")[2]
        if not path.exists():
            os.replace(replaced, path)
    for leftover in folder.glob(f"{TEMPORARY}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Makes a file or the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def lock(path: Path) -> IO[bytes]:
    """Takes a lock that dies with this process and is not inherited by the processes it starts.

    Returns:
        The open file: keep it, and open the same path nowhere else, until the lock may go.

    Raises:
        Failure: another process holds it.
    """
    file = open(path, "ab")  # noqa: SIM115 - it stays open as long as the lock is held
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise explained(error, path) from error
        raise Failure(
            f"another process is writing {path.parent}: wait until it ends, or choose another --run-folder"
        ) from error
    return file


def explained(error: OSError, path: Path) -> Failure:
    """Says what an error of the operating system means for the person at the keyboard."""
    folder = next(parent for parent in [path, *path.parents] if parent.exists())
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(folder).free
        return Failure(
            f"no space to write {path}: {free / 2**20:,.0f} MiB are free there. "
            "Free some, then resume; what was written before is unharmed."
        )
    if error.errno == errno.EFBIG:
        return Failure(f"{path} would be larger than this process may write (`ulimit -f`): raise the limit")
    return Failure(f"cannot write {path}: {error.strerror or error}")


def _digest(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)
