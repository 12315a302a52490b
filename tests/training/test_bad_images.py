"""An image that fails only in decoding stops the run, which is saved; once mended, nothing was lost."""

import multiprocessing
import os
import signal
from pathlib import Path

import numpy
import pytest
from PIL import Image
from tests.commands import Vit
from tests.training.runs import FROM_FOLDER, last_step, make_images, result

from vision_transformers.cli.train import CommandLine, parse
from vision_transformers.errors import ReadFailure
from vision_transformers.training.observer import Silent, StepReport
from vision_transformers.training.train import resume, train

pytestmark = pytest.mark.usefixtures("undrawn")


def make_photographs(folder: Path, part: str, count: int) -> list[Path]:
    random = numpy.random.default_rng(0)
    paths = []
    for label in ("cat", "dog", "owl"):
        (folder / part / label).mkdir(parents=True)
        for index in range(count):
            path = folder / part / label / f"{index}.png"
            Image.fromarray(random.integers(0, 256, (24, 24, 3), dtype=numpy.uint8)).save(path)
            paths.append(path)
    return paths


def spoil(path: Path) -> None:
    """Puts other bytes among the pixels, so that beginning and end are as they were."""
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(20) + whole[middle:])


def cut(path: Path) -> None:
    """Leaves the header and half of the pixels."""
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(("part", "workers"), [("train", "2"), ("val", "0"), ("test", "2")])
def test_a_photograph_that_cannot_be_decoded_stops_the_run_and_costs_nothing(
    vit: Vit, tmp_path: Path, part: str, workers: str
) -> None:
    for name, count in (("train", 8), ("val", 2), ("test", 2)):
        photographs = make_photographs(tmp_path / "images", name, count)
        if name == part:
            broken = photographs[-1]
    whole = broken.read_bytes()
    begin = [*FROM_FOLDER, "--steps", "7", "--data.workers", workers, "--run-folder"]
    assert vit.run(tmp_path, [*begin, "undisturbed"]).code == 0
    spoil(broken)
    stopped = vit.run(tmp_path, [*begin, "run"])
    assert stopped.code == 3
    assert f"images/{part}/owl/{broken.name} cannot be decoded" in stopped.errors
    assert "The run is saved." in stopped.errors
    assert "vit train --resume run --allow-different-machine" in stopped.errors
    assert "Traceback" not in stopped.errors
    if part != "train":
        assert last_step(tmp_path / "run") == {"val": 3, "test": 7}[part]
    broken.write_bytes(whole)
    assert vit.run(tmp_path, ["train", "--resume", "run"]).code == 1, "the file has another size"
    assert vit.run(tmp_path, ["train", "--resume", "run", "--allow-different-machine"]).code == 0
    assert result(tmp_path / "run") == result(tmp_path / "undisturbed")
    assert (tmp_path / "run" / "plots" / "explanations.png").exists()


def test_photographs_that_broke_off_are_all_named_before_the_first_step(vit: Vit, tmp_path: Path) -> None:
    photographs = make_photographs(tmp_path / "images", "train", 8)
    for broken in (photographs[0], photographs[-1]):
        cut(broken)
    refused = vit.run(tmp_path, [*FROM_FOLDER, "--steps", "7", "--run-folder", "run"])
    assert refused.code == 3
    assert "2 of 24 image files cannot be read" in refused.errors
    assert "images/train/cat/0.png cannot be decoded" in refused.errors
    assert "images/train/owl/7.png cannot be decoded" in refused.errors
    assert not (tmp_path / "run").exists()


def test_a_killed_worker_stops_the_run_saved(tmp_path: Path) -> None:
    """As by a system that runs out of memory: at the next batch, and not in half of a step."""
    make_images(tmp_path / "images")
    command = [*FROM_FOLDER[1:], "--steps", "12", "--checkpoint-steps", "0", "--data.workers", "2"]
    options, _ = parse(CommandLine.of([word.replace("images", str(tmp_path / "images")) for word in command]))
    train(options.recipe, tmp_path / "undisturbed")

    class KillsThem(Silent):
        def stepped(self, report: StepReport) -> None:  # noqa: ARG002
            for worker in multiprocessing.active_children():
                assert worker.pid is not None
                os.kill(worker.pid, signal.SIGKILL)

    with pytest.raises(ReadFailure, match=r"(?s)was killed.*--data.workers of vit train.*saved. To go on"):
        train(options.recipe, tmp_path / "run", KillsThem())
    resume(tmp_path / "run")
    assert result(tmp_path / "run") == result(tmp_path / "undisturbed")


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_the_disk_does_not_give_back_now_stops_the_run_saved(tmp_path: Path, workers: str) -> None:
    """Once it does, the run goes on to the bytes of one that was not stopped; nothing has to be allowed."""
    photographs = make_photographs(tmp_path / "images", "train", 8)
    command = [*FROM_FOLDER[1:], "--steps", "7", "--data.workers", workers]
    options, _ = parse(CommandLine.of([word.replace("images", str(tmp_path / "images")) for word in command]))
    train(options.recipe, tmp_path / "undisturbed")
    lost, kept = photographs[-1], tmp_path / "kept.png"

    class LosesOne(Silent):
        def begins(self, *_: object) -> None:
            lost.rename(kept)
            lost.symlink_to("/proc/self/mem")  # reading its beginning is an input/output error

    with pytest.raises(
        ReadFailure, match=r"(?s)cannot be read now: Input/output error.*saved. To go on"
    ) as failure:
        train(options.recipe, tmp_path / "run", LosesOne())
    assert "allow-different-machine" not in str(failure.value)
    kept.rename(lost)
    resume(tmp_path / "run")
    assert result(tmp_path / "run") == result(tmp_path / "undisturbed")
