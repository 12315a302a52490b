"""Ctrl-C and a scheduler's SIGTERM cost nothing: the step is finished, saved, and the run goes on later."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.commands import Finished, Vit
from tests.training.recipes import tiny
from tests.training.runs import FROM_FOLDER, IN_MEMORY, last_step, make_images, result

from vision_transformers.training.interruption import Interrupted, Interruption
from vision_transformers.training.loop import CheckpointClock
from vision_transformers.training.train import train

pytestmark = pytest.mark.usefixtures("undrawn")

VIT = str(Path(sys.executable).parent / "vit")
STEPS = ["--steps", "30"]
NEVER_SAVES = ["--checkpoint-steps", "0"]


def rows(run: Path) -> int:
    metrics = run / "metrics.jsonl"
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def interrupted(vit: Vit, run: Path, begin: list[str], number: int) -> Finished:
    """Sends a signal to all processes of a run, as a terminal does, once it has written a row of metrics."""
    process = vit.start(run.parent, [*begin, *NEVER_SAVES, "--run-folder", run.name])
    process.until(lambda: rows(run) > 0)
    os.killpg(process.pid, number)
    return process.wait()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_is_saved_and_goes_on(vit: Vit, tmp_path: Path, number: int, code: int) -> None:
    begin = [*IN_MEMORY, *STEPS]
    run = tmp_path / "run"
    finished = interrupted(vit, run, begin, number)
    assert finished.code == code
    assert f"stopped after step {last_step(run)}" in finished.errors
    assert "The run is saved. To go on: vit train --resume run\n" in finished.errors
    assert 0 < last_step(run) < 30
    assert vit.run(tmp_path, ["train", "--resume", "run"]).code == 0
    assert vit.run(tmp_path, [*begin, "--run-folder", "undisturbed"]).code == 0
    assert result(run) == result(tmp_path / "undisturbed")


def test_loader_workers_do_not_flood_the_terminal(vit: Vit, tmp_path: Path) -> None:
    make_images(tmp_path / "images")
    finished = interrupted(
        vit, tmp_path / "run", [*FROM_FOLDER, *STEPS, "--data.workers", "2"], signal.SIGINT
    )
    assert finished.code == 130
    few, validating, *rest = finished.errors.splitlines()
    assert "24 training pictures are few" in few
    assert "6 validation images" in validating
    assert len(rest) == 2
    assert "Traceback" not in finished.errors


TWICE = """
import os, signal, sys
from vision_transformers.training import interruption as module
number, module.ONE_WISH = int(sys.argv[1]), float(sys.argv[2])
with module.Interruption() as interruption:
    os.kill(os.getpid(), number)
    assert interruption.signal == number
    print("noted", flush=True)
    os.kill(os.getpid(), number)
    print("still here")
"""


def twice(number: int, seconds: float) -> subprocess.CompletedProcess[str]:
    """A process that gets a signal twice, where signals within so many seconds are one."""
    command = [sys.executable, "-c", TWICE, str(int(number)), str(seconds)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_later_signal_ends_the_process_at_once(number: int) -> None:
    process = twice(number, seconds=0.0)
    assert (process.returncode, process.stdout, process.stderr) == (-number, "noted\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_same_wish_told_twice_is_one(number: int) -> None:
    """GNU `timeout` signals a process, and then the process group that it is in."""
    process = twice(number, seconds=3600.0)
    assert (process.returncode, process.stdout, process.stderr) == (0, "noted\nstill here\n", "")


def test_a_signal_that_comes_while_a_checkpoint_is_decided_on_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def are_due(_: CheckpointClock, step: int) -> bool:
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return False

    monkeypatch.setattr(CheckpointClock, "are_due", are_due)
    with pytest.raises(Interrupted, match="stopped after step 4\nThe run is saved"):
        train(tiny(steps=30), tmp_path / "run")
    assert last_step(tmp_path / "run") == 4


def test_ctrl_c_that_ends_the_reader_of_the_output_too_saves_the_run(tmp_path: Path) -> None:
    """As with `vit train 2>&1 | tee log`, where there is nobody left to write to."""
    read, write = os.pipe()
    os.close(read)
    begin = [VIT, *IN_MEMORY, "--steps", "1000", *NEVER_SAVES, "--run-folder", "run"]
    process = subprocess.Popen(begin, cwd=tmp_path, stdout=write, stderr=write)
    os.close(write)
    while rows(tmp_path / "run") == 0 and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert last_step(tmp_path / "run") > 0


def test_handlers_are_put_back() -> None:
    """A program that trains as a library keeps its own answer to Ctrl-C."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interruption():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
