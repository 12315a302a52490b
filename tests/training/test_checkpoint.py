"""A checkpoint is whole or passed over, and the work since the one before is all that is lost."""

import errno
import hashlib
import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from tests.commands import Vit
from tests.training.recipes import everything
from tests.training.runs import IN_MEMORY, last_step, result

from vision_transformers.errors import Failure
from vision_transformers.files import (
    REPLACED,
    read_json,
    sweep_temporary,
    verify_folder,
    write_json,
    write_manifest,
)
from vision_transformers.training.observer import Silent, StepReport
from vision_transformers.training.train import resume, train

pytestmark = pytest.mark.usefixtures("undrawn")

STEPS = 12
FILES = (
    "model/model.safetensors",
    "model/config.json",
    "optimizer.safetensors",
    "average.safetensors",
    "best.safetensors",
    "state.json",
    "manifest.json",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(everything(steps=STEPS), tmp_path_factory.mktemp("finished") / "run").folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """The run as it was just before it wrote its model folder."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / "model")
    return folder


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def cut_short(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 3)


def flip_one_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_the_last_two_are_kept_and_the_newest_is_pointed_to(finished: Path) -> None:
    assert checkpoints(finished) == ["LAST", "step-00000010", "step-00000012"]
    assert (finished / "checkpoints" / "LAST").read_text() == "step-00000012\n"


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", [cut_short, flip_one_bit])
def test_a_damaged_file_is_named_and_the_checkpoint_before_is_used(
    run: Path, finished: Path, file: str, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    damaged = run / "checkpoints" / "step-00000012" / file
    damage(damaged)
    with caplog.at_level(logging.WARNING):
        resume(run)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "step-00000012 is broken" in warning
    assert str(damaged) in warning
    assert result(run) == result(finished)


def test_a_missing_file_is_named(run: Path, finished: Path, caplog: pytest.LogCaptureFixture) -> None:
    (run / "checkpoints" / "step-00000012" / "optimizer.safetensors").unlink()
    resume(run)
    assert "optimizer.safetensors is missing" in caplog.text
    assert result(run) == result(finished)


def test_a_file_that_the_disk_does_not_give_back_is_named(
    run: Path, finished: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is what the checkpoint before is for."""
    digest = hashlib.file_digest

    def failing(file: IO[bytes], name: str) -> Any:
        if "step-00000012" in file.name and not caplog.records:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return digest(file, name)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", failing)
    resume(run)
    assert "cannot be read: Input/output error" in caplog.text
    assert result(run) == result(finished)


def test_a_run_that_lost_its_checkpoints_says_that_it_begins_anew(
    run: Path, finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else hours go by before anybody wonders."""
    shutil.rmtree(run / "checkpoints")
    resume(run)
    assert f"{run} has no checkpoint to go on from: the run begins anew" in caplog.text
    assert result(run) == result(finished)


class StopsAtTheLastStep(Silent):
    """A run that ends before its last checkpoint."""

    def stepped(self, report: StepReport) -> None:
        if report.step == STEPS:
            raise KeyboardInterrupt


def test_a_broken_checkpoint_does_not_take_the_place_of_a_whole_one(run: Path) -> None:
    """Two whole ones lie there again as soon as one was written, so that one more may break."""
    cut_short(run / "checkpoints" / "step-00000012" / "state.json")
    with pytest.raises(KeyboardInterrupt):
        resume(run, everything(steps=STEPS, checkpoint_steps=1), observer=StopsAtTheLastStep())
    assert checkpoints(run) == ["LAST", "step-00000010", "step-00000011"]


def test_an_old_one_that_cannot_be_removed_is_said_once_and_ends_no_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file of such a name stands for what a file system does not let go."""
    stuck = tmp_path / "run" / "checkpoints" / "step-00000001"

    class LeavesIt(Silent):
        def stepped(self, report: StepReport) -> None:
            if report.step == 1:
                stuck.parent.mkdir()
                stuck.touch()

    train(everything(steps=8), tmp_path / "run", LeavesIt())
    assert caplog.text.count(f"{stuck} is no longer needed, but cannot be removed: Not a directory") == 1
    assert checkpoints(tmp_path / "run") == ["LAST", stuck.name, "step-00000006", "step-00000008"]


def test_without_a_whole_checkpoint_the_run_is_refused(run: Path) -> None:
    for checkpoint in (run / "checkpoints").glob("step-*"):
        cut_short(checkpoint / "state.json")
    with pytest.raises(Failure, match=r"no checkpoint in .*checkpoints is whole: start a new run"):
        resume(run)
    assert len(checkpoints(run)) == 3


def test_a_checkpoint_of_another_release_is_refused_by_its_version(run: Path) -> None:
    """Its words may mean something else here, and the run would go on from what it never was."""
    newest = run / "checkpoints" / "step-00000012"
    write_json(newest / "state.json", {**read_json(newest / "state.json"), "format_version": 9})
    (newest / "manifest.json").unlink()
    write_manifest(newest)
    with pytest.raises(Failure, match=r"state\.json has format version 9; this release reads 1"):
        resume(run)


def test_what_a_kill_left_half_written_is_swept(run: Path, finished: Path) -> None:
    for folder in (run, run / "checkpoints", run / "plots"):
        (folder / ".temporary-1-half").mkdir()
        (folder / ".temporary-1-half" / "model.safetensors").write_bytes(b"half")
        (folder / ".temporary-2-half.json").write_bytes(b"half")
    resume(run)
    assert not [path for path in run.rglob("*") if ".temporary" in path.name]
    assert result(run) == result(finished)


def test_a_checkpoint_that_a_kill_left_without_its_name_is_gone_on_from(
    run: Path, finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it was replaced: nobody is told that the run begins anew, which it does not."""
    for checkpoint in (run / "checkpoints").glob("step-*"):
        checkpoint.rename(checkpoint.with_name(f"{REPLACED}0123456789abcdef-{checkpoint.name}"))
    resume(run)
    assert "begins anew" not in caplog.text
    assert checkpoints(run) == checkpoints(finished)
    assert result(run) == result(finished)


def test_a_copy_of_a_checkpoint_under_another_name_is_left_alone(run: Path, finished: Path) -> None:
    """Whoever keeps one wants to find it again, and to go on all the same."""
    newest = run / "checkpoints" / "step-00000012"
    kept = newest.rename(newest.with_name("step-00000012 good"))
    resume(run)
    assert result(run) == result(finished)
    verify_folder(kept)


def begun(vit: Vit, run: Path) -> tuple[bytes, bytes]:
    """Begins a run that dies between two checkpoints; gives what it would have ended with."""
    command = [*IN_MEMORY, "--steps", "12", "--run-folder"]
    whole = run.parent.parent / "whole"
    assert vit.run(whole.parent, [*command, str(whole)]).code == 0
    assert vit.run(run.parent, [*command, run.name], die_at=110).code == -9
    assert 0 < last_step(run) < 12
    return result(whole)


def test_a_file_that_may_not_be_written_whole_leaves_the_checkpoint_before(vit: Vit, tmp_path: Path) -> None:
    """A limit on the size of files stands for what a full disk does in the midst of a file."""
    (tmp_path / "work").mkdir()
    run = tmp_path / "work" / "run"
    expected = begun(vit, run)
    step = last_step(run)
    stopped = vit.run(run.parent, ["train", "--resume", "run"], file_limit=20_000)
    assert stopped.code == 1
    assert stopped.errors.startswith("vit: ")
    assert "larger than this process may write" in stopped.errors
    assert "Traceback" not in stopped.errors
    assert last_step(run) == step
    assert not [path for path in run.rglob("*") if ".temporary" in path.name]
    assert vit.run(run.parent, ["train", "--resume", "run"]).code == 0
    assert result(run) == expected


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_the_run_which_goes_on_once_there_is_space(vit: Vit, small_disk: Path) -> None:
    run = small_disk / "run"
    expected = begun(vit, run)
    sweep_temporary(run / "checkpoints")  # what the resumed run would free
    ballast = small_disk / "ballast"
    free = shutil.disk_usage(small_disk).free
    ballast.write_bytes(bytes(free - 150_000))
    step = last_step(run)
    stopped = vit.run(small_disk, ["train", "--resume", "run"])
    assert stopped.code == 1
    assert "no space to write" in stopped.errors
    assert "Traceback" not in stopped.errors
    assert last_step(run) >= step
    ballast.unlink()
    assert vit.run(small_disk, ["train", "--resume", "run"]).code == 0
    assert result(run) == expected
