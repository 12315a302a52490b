"""Ctrl-C and a scheduler's SIGTERM cost nothing: the step is finished, saved, and the run goes on later."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.commands import Finished, Vit
from tests.training.runs import FROM_FOLDER, IN_MEMORY, last_step, make_images, result

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
    assert len(finished.errors.splitlines()) == 2
    assert "Traceback" not in finished.errors


TWICE = """
import os, signal, sys
from vision_transformers.training.interruption import Interruption
number = int(sys.argv[1])
with Interruption() as interruption:
    os.kill(os.getpid(), number)
    assert interruption.signal == number
    print("noted", flush=True)
    os.kill(os.getpid(), number)
    print("still here")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_the_process_at_once(number: int) -> None:
    process = subprocess.run(
        [sys.executable, "-c", TWICE, str(int(number))], capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stdout, process.stderr) == (-number, "noted\n", "")


def test_handlers_are_put_back() -> None:
    """A program that trains as a library keeps its own answer to Ctrl-C."""
    from vision_transformers.training.interruption import Interruption

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interruption():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
