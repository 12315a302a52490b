"""Whatever happens to a process while it writes, there is the old file or the new one."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.files import (
    Broken,
    cache_folder,
    check_can_be_written,
    check_folder_can_be_written,
    expanded,
    explained,
    fill_file,
    lock,
    read_json,
    sweep_temporary,
    verify_folder,
    write_file,
    write_folder,
    write_json,
    write_manifest,
)

OLD, NEW = b"old " * 10_000, b"new! " * 10_000


def dies_before(operation: int, write: object) -> bool:
    """Calls `write` in a process that is killed before its operation of that number on files."""
    assert callable(write)
    process = os.fork()
    if process == 0:
        count = 0
        fsync = os.fsync

        def meet(event: str, arguments: tuple[object, ...]) -> None:  # noqa: ARG001 - Python passes them
            nonlocal count
            if event in ("open", "os.fsync", "os.mkdir", "os.rename", "os.remove", "os.rmdir"):
                count += 1
                if count == operation:
                    os.kill(os.getpid(), 9)

        def audited_fsync(descriptor: int) -> None:
            meet("os.fsync", ())
            fsync(descriptor)

        os.fsync = audited_fsync  # type: ignore[assignment]
        sys.addaudithook(meet)
        write()
        os._exit(0)
    _, status = os.waitpid(process, 0)
    return os.WIFSIGNALED(status)


def test_a_file_is_old_or_new_at_every_instant(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    operation, seen = 1, [OLD]
    while dies_before(operation, lambda: write_file(path, NEW)):
        seen.append(path.read_bytes())
        operation += 1
    assert operation > 4
    assert seen == sorted(seen, reverse=True), "first the old one, then the new one"
    assert set(seen) == {OLD, NEW}
    sweep_temporary(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def fill(folder: Path) -> None:
    write_file(folder / "first", NEW)
    (folder / "inner").mkdir()
    write_file(folder / "inner" / "second", NEW)
    write_manifest(folder)


def test_a_new_folder_is_whole_or_not_there_at_every_instant(tmp_path: Path) -> None:
    path = tmp_path / "made" / "folder"
    operation, seen = 1, []
    while dies_before(operation, lambda: write_folder(path, fill)):
        if path.exists():
            verify_folder(path)
            assert (path / "inner" / "second").read_bytes() == NEW
        seen.append(path.exists())
        operation += 1
    assert len(seen) > 15
    assert seen[0] is False
    assert seen[-1] is True
    sweep_temporary(path.parent)
    assert list(path.parent.iterdir()) == [path]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[int | Path]:
    """What happens for a loss of power: the inode of what is made durable, or the new name of a file."""
    found: list[int | Path] = []
    fsync, replace = os.fsync, os.replace

    def watched_fsync(descriptor: int) -> None:
        found.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def watched_replace(source: Path, target: Path) -> None:
        found.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(os, "replace", watched_replace)
    return found


def test_a_file_is_durable_before_it_has_its_name_and_its_name_after(
    tmp_path: Path, events: list[int | Path]
) -> None:
    path = tmp_path / "file"
    write_file(path, NEW)
    assert events == [path.stat().st_ino, path, tmp_path.stat().st_ino]


def test_a_folder_is_durable_before_it_has_its_name_and_its_name_after(
    tmp_path: Path, events: list[int | Path]
) -> None:
    def fill_with_any_file(folder: Path) -> None:
        (folder / "inner").mkdir()
        (folder / "inner" / "weights").write_bytes(NEW)

    path = tmp_path / "folder"
    write_folder(path, fill_with_any_file)
    before, after = events[: events.index(path)], events[events.index(path) :]
    for durable in (path / "inner" / "weights", path / "inner", path):
        assert durable.stat().st_ino in before
    assert tmp_path.stat().st_ino in after


def test_a_folder_that_is_replaced_is_never_a_part(tmp_path: Path) -> None:
    """Between two renames its name is free; then sweeping gives it back to the old one."""
    path = tmp_path / "folder"
    operation = 1
    free: list[bool] = []
    write_folder(path, fill)
    while dies_before(operation, lambda: write_folder(path, fill)):
        free.append(not path.exists())
        sweep_temporary(tmp_path)
        verify_folder(path)
        assert list(tmp_path.iterdir()) == [path]
        operation += 1
    assert operation > 15
    assert any(free)


def test_a_folder_that_cannot_be_replaced_keeps_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder"
    write_folder(path, fill)
    replace = os.replace

    def fails_for_the_new_one(source: Path, target: Path) -> None:
        if target == path and "replaced" not in source.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        replace(source, target)

    monkeypatch.setattr(os, "replace", fails_for_the_new_one)
    with pytest.raises(Failure, match="cannot write"):
        write_folder(path, fill)
    assert list(tmp_path.iterdir()) == [path]
    verify_folder(path)


def test_what_fails_while_a_folder_is_filled_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    write_folder(path, fill)

    def fails(folder: Path) -> None:
        write_file(folder / "first", OLD)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_folder(path, fails)
    assert list(tmp_path.iterdir()) == [path]
    verify_folder(path)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])
def test_what_fails_while_it_fills_a_file_leaves_the_old_one_alone(
    tmp_path: Path, error: BaseException
) -> None:
    """As Ctrl-C in the midst of `vit predict --output`, or a full disk, which what stays keeps full."""
    path = tmp_path / "rows.csv"
    write_file(path, OLD)

    def fails(temporary: Path) -> None:
        temporary.write_bytes(NEW)
        raise error

    with pytest.raises((KeyboardInterrupt, Failure)):
        fill_file(path, fails)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == OLD


def test_a_pipe_or_a_device_is_refused_and_stays_what_it_is(tmp_path: Path) -> None:
    """A file in the place of /dev/null would break every program of the machine."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        for write in (check_can_be_written, lambda path: write_file(path, NEW)):
            with pytest.raises(UsageFailure, match=rf"{path} cannot be written \(it is a device or a pipe"):
                write(path)
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert len(list(tmp_path.iterdir())) == 2


def test_an_interrupt_while_it_is_tried_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch = Path.touch

    def interrupted(path: Path) -> None:
        touch(path)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "touch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        check_can_be_written(tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == []


def test_what_a_link_leads_to_is_written_and_the_link_stays(tmp_path: Path) -> None:
    """As of a results folder on another disk."""
    disk, here = tmp_path / "disk", tmp_path / "here"
    (disk / "folder").mkdir(parents=True)
    here.mkdir()
    for name in ("file", "folder"):
        (here / name).symlink_to(disk / name)
    check_can_be_written(here / "file")
    check_folder_can_be_written(here / "folder")
    write_file(here / "file", NEW)
    write_folder(here / "folder", fill)
    assert (disk / "file").read_bytes() == NEW
    verify_folder(disk / "folder")
    assert all(path.is_symlink() for path in here.iterdir())
    assert sorted(path.name for path in disk.iterdir()) == ["file", "folder"]


def test_a_folder_that_cannot_be_written_is_told_and_none_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check_folder_can_be_written(tmp_path / "new" / "inner")
    for path, says in (
        (tmp_path / "file", "is a file: name a folder"),
        (tmp_path / "file" / "inner", r"cannot be written \(Not a directory\): choose another folder"),
        (tmp_path / ("x" * 300), "File name too long"),
        (Path("/proc/nobody/writes"), "/proc/nobody/writes cannot be written"),
    ):
        with pytest.raises(UsageFailure, match=says):
            check_folder_can_be_written(path)
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_file_where_a_folder_is_needed_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure, match=r"cannot write .*file/inner: .*Not a directory|File exists"):
        write_folder(tmp_path / "file" / "inner", fill)
    with pytest.raises(Failure, match=r"cannot write .*missing/file: No such file or directory"):
        write_file(tmp_path / "missing" / "file", "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Failure, match=r"cannot write .*file: Permission denied"):
        write_file(tmp_path / "file", "")


def test_every_bit_of_a_manifest_matters(tmp_path: Path) -> None:
    """One flipped bit on the disk is noticed wherever it is, or it changes nothing."""
    (tmp_path / "weights").write_bytes(b"0123456789" * 3)
    write_manifest(tmp_path)
    manifest = tmp_path / "manifest.json"
    content = manifest.read_bytes()
    verify_folder(tmp_path)
    for place in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        manifest.write_bytes(flipped)
        try:
            verify_folder(tmp_path)
        except Broken:
            continue
        assert json.loads(flipped) == json.loads(content)


@pytest.mark.parametrize("damage", ["missing", "cut", "longer", "changed"])
def test_a_changed_file_is_named(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "weights"
    file.write_bytes(OLD)
    write_manifest(tmp_path)
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes({"cut": OLD[:-1], "longer": OLD + b"x", "changed": b"O" + OLD[1:]}[damage])
    with pytest.raises(Broken, match=str(file)):
        verify_folder(tmp_path)


def test_the_home_folder_is_found_or_missed_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("~/photos") == Path("/home/me/photos")
    assert expanded("~nobody-here/photos") == Path("~nobody-here/photos")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "~")  # as Python has it of a user that the system does not know
    with pytest.raises(UsageFailure, match="set HOME or XDG_CACHE_HOME"):
        cache_folder()


def test_an_empty_place_for_caches_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else downloads would lie in whatever folder somebody works in, and again in the next one."""
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path("/home/me/.cache/vision_transformers")


def test_names_of_files_that_are_not_unicode_survive_json(tmp_path: Path) -> None:
    """A class folder may have any bytes for a name: the model folder is written all the same."""
    name = os.fsdecode(b"caf\xe9")
    write_json(tmp_path / "file.json", {"classes": [name]})
    assert read_json(tmp_path / "file.json") == {"classes": [name]}


def test_json_is_read_back_and_what_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"class": "Ωmega", "values": [1, 2.5, None]})
    assert "Ωmega" in path.read_text(encoding="utf-8")
    assert read_json(path) == {"class": "Ωmega", "values": [1, 2.5, None]}
    path.write_text('{"class"')
    with pytest.raises(Failure, match=f"{path} is not JSON"):
        read_json(path)
    path.unlink()
    with pytest.raises(Failure, match=f"{path} is missing"):
        read_json(path)
    path.mkdir()
    with pytest.raises(Failure, match=f"{path} cannot be read: Is a directory"):
        read_json(path)


HOLDER = """
import os, sys
from pathlib import Path
from vision_transformers.files import lock
held = lock(Path(sys.argv[1]))
child = os.fork()
if child == 0:
    import time
    time.sleep(60)
print(child, flush=True)
sys.stdin.read()
"""


def test_a_lock_is_for_one_process_and_dies_with_it_though_its_children_live(tmp_path: Path) -> None:
    """A loader worker that outlives a killed run must not keep it from being resumed."""
    path = tmp_path / "run" / "lock"
    path.parent.mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        with pytest.raises(Failure, match=rf"another process is writing {path.parent}: wait until it ends"):
            lock(path)
        holder.kill()
        holder.wait()
        os.kill(child, 0)
        lock(path).close()
    finally:
        os.kill(child, 9)


def test_a_file_system_without_locks_is_not_taken_for_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else somebody waits for the end of a process that is not there."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.raises(Failure, match=f"cannot write {tmp_path}/lock: No locks available"):
        lock(tmp_path / "lock")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device"), "no space to write .* MiB are free there. Free some"),
        (OSError(122, "Disk quota exceeded"), "no space to write"),
        (OSError(27, "File too large"), "ulimit -f"),
        (OSError(30, "Read-only file system"), "cannot write .*: Read-only file system"),
    ],
)
def test_an_error_of_the_disk_says_what_to_do(tmp_path: Path, error: OSError, says: str) -> None:
    failure = explained(error, tmp_path / "not" / "there" / "file")
    assert failure.exit_code == 1
    with pytest.raises(Failure, match=says):
        raise failure


def test_two_who_make_the_same_file_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    """As threads that both find a library missing, or processes of the same number in two containers."""
    both_have_begun = threading.Barrier(2)

    def fill(temporary: Path) -> None:
        both_have_begun.wait(timeout=10)
        temporary.write_bytes(NEW)
        both_have_begun.wait(timeout=10)

    with ThreadPoolExecutor() as threads:
        made = [threads.submit(fill_file, tmp_path / "file", fill) for _ in range(2)]
        for each in made:
            each.result()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == NEW


def test_a_folder_that_could_not_be_made_is_told_before(tmp_path: Path) -> None:
    """Else all is computed, and lost."""
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for folder, message in (("link", "a link that leads nowhere"), (f"new/{'x' * 300}", "cannot be written")):
        with pytest.raises(UsageFailure, match=message):
            check_folder_can_be_written(tmp_path / folder)
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_a_file_that_could_not_be_made_is_told_before(tmp_path: Path) -> None:
    """Else hours of predictions are lost at their end."""
    for path, message in (
        (tmp_path, "is a folder: name a file to write"),
        (tmp_path / "nowhere" / "rows.csv", "there is no folder .*nowhere to write rows.csv into"),
        (tmp_path / ("x" * 300), r"cannot be written \(File name too long\): choose another file"),
        (Path("/proc/rows.csv"), "/proc/rows.csv cannot be written"),
    ):
        with pytest.raises(UsageFailure, match=message):
            check_can_be_written(path)
    assert list(tmp_path.iterdir()) == []
