"""Several processes train one model: the one that a single process would have trained, and as safely."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.commands import Finished, Process, Vit
from tests.training.recipes import everything, run_of, tiny
from tests.training.runs import FROM_FOLDER, IN_MEMORY, last_step, make_images, result
from tests.training.test_bad_images import make_photographs, spoil

from vision_transformers.runtime.processes import Processes
from vision_transformers.runtime.torchrun import Place
from vision_transformers.training.advice import memory_advice
from vision_transformers.training.run_folder import RunFolder

SHORT = ["--steps", "12"]


def places(count: int = 2) -> list[dict[str, str]]:
    """What `torchrun` would tell each of them."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    common = {"TORCHELASTIC_RUN_ID": "test", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}
    return [
        {**common, "WORLD_SIZE": f"{count}", "RANK": f"{number}", "LOCAL_RANK": f"{number}"}
        for number in range(count)
    ]


def start_together(vit: Vit, folder: Path, arguments: list[str], count: int = 2) -> list[Process]:
    """As `torchrun` starts them."""
    return [vit.start(folder, arguments, environment=place) for place in places(count)]


def run_together(vit: Vit, folder: Path, arguments: list[str], count: int = 2) -> list[Finished]:
    return [process.wait() for process in start_together(vit, folder, arguments, count)]


def changed(begin: list[str], **options: str) -> list[str]:
    """The same command with other values, the last of which counts."""
    return [*begin, *(word for name, value in options.items() for word in (f"--{name}", value))]


def rows_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_two_processes_train_the_model_of_one_that_accumulates(vit: Vit, tmp_path: Path) -> None:
    """To the bit, with dropout, mixup, erasing, Muon, moving average and the best weights kept."""
    begin = changed(IN_MEMORY, accumulation="1")
    together = run_together(vit, tmp_path, [*begin, *SHORT, "--run-folder", "two"])
    assert [each.code for each in together] == [0, 0], together[0].errors + together[1].errors
    alone = vit.run(tmp_path, [*changed(IN_MEMORY, accumulation="2"), *SHORT, "--run-folder", "one"])
    assert alone.code == 0, alone.errors
    assert result(tmp_path / "two")[0] == result(tmp_path / "one")[0]
    for of_two, of_one in zip(*(rows_of(tmp_path / name) for name in ("two", "one")), strict=True):
        assert of_two == pytest.approx(of_one, rel=1e-5), "and metrics are of all images"
    assert (tmp_path / "two" / "plots" / "explanations.png").exists()
    assert RunFolder(tmp_path / "two").record().environments[-1].processes == 2


def test_three_processes_read_a_folder_and_one_alone_speaks_and_writes(vit: Vit, tmp_path: Path) -> None:
    make_images(tmp_path / "images")
    begin = changed(FROM_FOLDER, **{"batch-size": "12", "accumulation": "1", "data.workers": "1"})
    together = run_together(vit, tmp_path, [*begin, *SHORT, "--run-folder", "three"], count=3)
    assert [each.code for each in together] == [0, 0, 0], together[0].errors
    assert "model folder" in together[0].output
    said = [line for each in together[1:] for line in (each.output + each.errors).splitlines()]
    assert [line for line in said if not line.startswith("[Gloo]")] == []  # PyTorch 2.10's gloo says hello
    rows = (tmp_path / "three" / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == len({row.partition(",")[0] for row in rows}), "no step has two rows"


def test_kills_do_not_change_what_two_processes_train(vit: Vit, tmp_path: Path) -> None:
    begin = [*IN_MEMORY, "--steps", "30", "--run-folder"]
    assert [each.code for each in run_together(vit, tmp_path, [*begin, "undisturbed"])] == [0, 0]
    run = tmp_path / "killed"
    first, second = start_together(vit, tmp_path, [*begin, "killed"])
    second.until(lambda: last_step(run) >= 6)
    assert second.kill().code == -9
    left = first.wait()
    assert left.code == 1
    assert "another process of this run may have ended" in left.errors
    assert "Traceback" not in left.errors
    assert [each.code for each in run_together(vit, tmp_path, ["train", "--resume", "killed"])] == [0, 0]
    assert result(run) == result(tmp_path / "undisturbed")


def test_a_signal_to_one_process_stops_and_saves_all(vit: Vit, tmp_path: Path) -> None:
    begin = [*IN_MEMORY, "--steps", "200", "--run-folder", "run"]
    together = start_together(vit, tmp_path, begin)
    together[1].until(lambda: last_step(tmp_path / "run") >= 2)
    os.kill(together[1].pid, signal.SIGTERM)
    stopped = [process.wait() for process in together]
    assert [each.code for each in stopped] == [143, 143], stopped[0].errors
    assert "torchrun --nproc-per-node 2 --no-python vit train --resume run" in stopped[0].errors
    assert f"stopped after step {last_step(tmp_path / 'run')}" in stopped[0].errors
    assert stopped[1].errors == ""


def test_a_photograph_that_one_process_cannot_decode_stops_all_and_costs_nothing(
    vit: Vit, tmp_path: Path
) -> None:
    for part, count in (("train", 8), ("val", 2)):
        photographs = make_photographs(tmp_path / "images", part, count)
        if part == "train":
            broken = photographs[-1]
    whole = broken.read_bytes()
    begin = [*FROM_FOLDER, "--steps", "7", "--run-folder"]
    assert [each.code for each in run_together(vit, tmp_path, [*begin, "undisturbed"])] == [0, 0]
    spoil(broken)
    stopped = run_together(vit, tmp_path, [*begin, "run"])
    assert [each.code for each in stopped] == [3, 3]
    assert f"images/train/owl/{broken.name} cannot be decoded" in stopped[0].errors
    assert "The run is saved." in stopped[0].errors
    assert stopped[1].errors == ""
    broken.write_bytes(whole)
    go_on = ["train", "--resume", "run", "--allow-different-machine"]
    assert [each.code for each in run_together(vit, tmp_path, go_on)] == [0, 0]
    assert result(tmp_path / "run") == result(tmp_path / "undisturbed")


def test_what_cannot_be_shared_is_said_once(vit: Vit, tmp_path: Path) -> None:
    uneven = run_together(vit, tmp_path, changed(IN_MEMORY, **{"batch-size": "130", "accumulation": "1"}), 3)
    assert [each.code for each in uneven] == [2, 2, 2]
    assert "a batch of 130 images cannot be shared by 3 processes" in uneven[0].errors
    assert [each.errors for each in uneven[1:]] == ["", ""]
    predicting = run_together(vit, tmp_path, ["predict", "run", "image.png"])
    assert [each.code for each in predicting] == [2, 2]
    assert "call it without torchrun" in predicting[0].errors


def test_a_run_of_two_processes_goes_on_in_one_only_if_told_so(vit: Vit, tmp_path: Path) -> None:
    begin = [*IN_MEMORY, "--steps", "200", "--run-folder", "run"]
    together = start_together(vit, tmp_path, begin)
    together[0].until(lambda: last_step(tmp_path / "run") >= 2)
    os.kill(together[0].pid, signal.SIGTERM)
    assert [process.wait().code for process in together] == [143, 143]
    refused = vit.run(tmp_path, ["train", "--resume", "run"])
    assert refused.code == 1
    assert "processes: 2 before, 1 now" in refused.errors


@pytest.mark.slow
def test_torchrun_starts_them_again_when_one_was_killed(vit: Vit, tmp_path: Path) -> None:
    begin = [*changed(IN_MEMORY, accumulation="1"), "--steps", "40", "--run-folder"]
    assert [each.code for each in run_together(vit, tmp_path, [*begin, "undisturbed"])] == [0, 0]
    programs, run = Path(sys.executable).parent, tmp_path / "killed"
    torchrun = [
        programs / "torchrun",
        "--standalone",
        "--nproc-per-node=2",
        "--max-restarts=1",
        "--no-python",
    ]
    command = [*torchrun, programs / "vit", *begin, run.name, "--resume", "auto"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as agent:
        while last_step(run) < 4:
            time.sleep(0.01)
            assert agent.poll() is None
        children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        output, _ = agent.communicate()
    assert agent.returncode == 0
    assert output.count("model folder") == 1
    assert result(run) == result(tmp_path / "undisturbed")


def run_unlike(vit: Vit, folder: Path, *commands: list[str]) -> list[Finished]:
    """Each process with a command of its own, as machines might be started."""
    started = zip(places(len(commands)), commands, strict=True)
    processes = [vit.start(folder, command, environment=place) for place, command in started]
    return [process.wait() for process in processes]


@pytest.mark.parametrize(("option", "value"), [("optimizer.learning-rate", "0.5"), ("log-steps", "2")])
def test_processes_that_would_not_train_one_model_do_not_begin(
    option: str, value: str, vit: Vit, tmp_path: Path
) -> None:
    """Those that would log at other steps would wait for each other at different ones."""
    begin = [*IN_MEMORY, "--steps", "4", "--run-folder", "run"]
    unlike = run_unlike(vit, tmp_path, begin, [*begin, f"--{option}", value])
    assert [each.code for each in unlike] == [1, 1]
    assert f"{option.replace('-', '_')} differs" in unlike[0].errors
    assert f"process 1: {value}" in unlike[0].errors
    assert "differs" not in unlike[1].errors, "said once"
    assert not (tmp_path / "run").exists(), "so that the corrected command finds its place"


def test_an_option_that_one_process_refuses_ends_all(vit: Vit, tmp_path: Path) -> None:
    begin = [*IN_MEMORY, "--steps", "4", "--run-folder", "run"]
    unlike = run_unlike(vit, tmp_path, begin, [*begin, "--batch-size", "0"])
    assert [each.code for each in unlike] == [2, 2]
    assert "batch_size is 0" in unlike[0].errors


def test_a_full_disk_of_the_first_process_ends_all_with_its_message(vit: Vit, tmp_path: Path) -> None:
    first, second = places()
    begin = [*IN_MEMORY, "--steps", "40", "--run-folder", "run"]
    processes = [
        vit.start(tmp_path, begin, environment=first, file_limit=12_000),
        vit.start(tmp_path, begin, environment=second),
    ]
    ended = [process.wait() for process in processes]
    assert [each.code for each in ended] == [1, 1]
    assert (tmp_path / "run" / "recipe.json").exists()
    assert "would be larger than this process may write" in ended[0].errors
    assert ended[1].errors == ""
    assert "Traceback" not in ended[0].errors + ended[1].errors


def test_a_run_with_more_parts_than_its_few_images_mix_still_resumes_alone(tmp_path: Path) -> None:
    """Of 24 images, 24 parts: only where processes share them is that refused."""
    recipe = everything(batch_size=240, accumulation=24)
    run = run_of(recipe, tmp_path)
    few = replace(run.data, train=run.data.train.select(torch.arange(24)))
    assert replace(run, data=few).order.batch_size == 24


def test_the_advice_on_memory_is_for_as_many_processes(tmp_path: Path) -> None:
    run = run_of(tiny(batch_size=12), tmp_path)
    shared = replace(run, processes=Processes(Place(0, 2)))
    advice = memory_advice(shared)
    assert "not enough for 6 images at once" in advice
    assert "--accumulation 2," in advice
    assert "--batch-size 6" in advice
