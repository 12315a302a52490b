"""A run that is killed at any instant and resumed ends with the bytes of the run that nobody disturbed."""

import itertools
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import torch
from tests.commands import Vit
from tests.training.runs import (
    FROM_FOLDER,
    IN_MEMORY,
    command_to_go_on,
    make_images,
    result,
    run_through_kills,
)

from vision_transformers.model.kernels import narrow_feed_forward, short_attention
from vision_transformers.training.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("undrawn")

SHORT = ["--steps", "40"]
LONG = ["--steps", "250"]
COMPILED = ["--steps", "100", "--compile", "on"]

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")


def undisturbed(vit: Vit, folder: Path, begin: list[str]) -> tuple[bytes, bytes]:
    finished = vit.run(folder, [*begin, "--run-folder", "undisturbed"])
    assert finished.code == 0, finished.errors
    return result(folder / "undisturbed")


def leftovers(run: Path) -> list[Path]:
    return [path for path in run.rglob("*") if path.name.startswith(".temporary")]


def check_kills(vit: Vit, folder: Path, begin: list[str], kills: int) -> None:
    expected = undisturbed(vit, folder, begin)
    run_through_kills(vit, folder / "killed", begin, kills, seed=kills)
    assert result(folder / "killed") == expected
    assert not leftovers(folder / "killed")


def test_kills_do_not_change_a_run_in_memory(vit: Vit, tmp_path: Path) -> None:
    check_kills(vit, tmp_path, [*IN_MEMORY, *SHORT], kills=3)


def test_kills_do_not_change_a_run_from_a_folder(vit: Vit, tmp_path: Path) -> None:
    """With RandAugment in loader workers, of which there are 0 and 2 in turn."""
    make_images(tmp_path / "images")
    check_kills(vit, tmp_path, [*FROM_FOLDER, *SHORT], kills=2)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_kills_do_not_change_a_run_whose_attention_is_computed_in_c(
    precision: str, vit: Vit, tmp_path: Path
) -> None:
    """Where the machine has it; dropout would leave it to PyTorch."""
    check_kills(
        vit, tmp_path, [*IN_MEMORY, *SHORT, "--precision", precision, "--model.dropout", "0"], kills=2
    )
    attention = short_attention.is_available(getattr(torch, precision))
    feed_forward = precision == "bfloat16" and narrow_feed_forward.is_available()
    for run in ("undisturbed", "killed"):
        environment = RunFolder(tmp_path / run).record().environments[-1]
        assert environment.attention == ("native" if attention else "pytorch")
        assert environment.feed_forward == ("native" if feed_forward else "pytorch")


def newest_is_there(run: Path) -> bool:
    """Whether the checkpoint that LAST names, if there is one already, is there."""
    last = run / "checkpoints" / "LAST"
    return not last.exists() or (last.parent / last.read_text().strip() / "manifest.json").exists()


def check_deaths_between_file_operations(vit: Vit, folder: Path, seed: int) -> None:
    """Dies inside the writing of checkpoints, of the model folder and of pictures, until it ends."""
    begin = [*IN_MEMORY, "--steps", "6"]
    expected = undisturbed(vit, folder, begin)
    run, random, deaths = folder / "killed", Random(seed), 0
    for workers in itertools.cycle((0, 2)):
        finished = vit.run(folder, command_to_go_on(run, begin, workers), die_at=random.randint(1, 90))
        if finished.code == 0:
            break
        assert finished.code == -9, finished.errors
        assert newest_is_there(run), "LAST is for scripts, too"
        deaths += 1
    assert deaths > 0
    assert result(run) == expected
    assert not leftovers(run)


def test_a_death_between_two_file_operations_changes_nothing(vit: Vit, tmp_path: Path) -> None:
    check_deaths_between_file_operations(vit, tmp_path, seed=0)


def test_the_installed_command_gives_the_same_bytes(vit: Vit, tmp_path: Path) -> None:
    """A process that imports everything itself resumes what one that was forked for these tests began."""
    begin = [*IN_MEMORY, "--steps", "6"]
    expected = undisturbed(vit, tmp_path, begin)
    vit.run(tmp_path, [*begin, "--run-folder", "killed"], die_at=90)
    installed = [str(Path(sys.executable).parent / "vit"), "train", "--resume", "killed"]
    subprocess.run(installed, cwd=tmp_path, check=True, capture_output=True)
    assert result(tmp_path / "killed") == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 13))
def test_many_deaths_between_file_operations_change_nothing(vit: Vit, tmp_path: Path, seed: int) -> None:
    check_deaths_between_file_operations(vit, tmp_path, seed)


@pytest.mark.slow
def test_many_kills_do_not_change_a_run_in_memory(vit: Vit, tmp_path: Path) -> None:
    check_kills(vit, tmp_path, [*IN_MEMORY, *LONG], kills=20)


@pytest.mark.slow
def test_many_kills_do_not_change_a_run_with_two_threads(vit: Vit, tmp_path: Path) -> None:
    check_kills(vit, tmp_path, [*IN_MEMORY, *LONG, "--threads", "2"], kills=8)


@pytest.mark.slow
def test_many_kills_do_not_change_a_run_from_a_folder(vit: Vit, tmp_path: Path) -> None:
    make_images(tmp_path / "images")
    check_kills(vit, tmp_path, [*FROM_FOLDER, *LONG], kills=20)


@pytest.mark.slow
@needs_compiler
def test_kills_do_not_change_a_compiled_run(vit: Vit, tmp_path: Path) -> None:
    check_kills(vit, tmp_path, [*IN_MEMORY, *COMPILED], kills=5)


@pytest.mark.slow
@needs_compiler
def test_kills_do_not_change_a_compiled_run_from_a_folder(vit: Vit, tmp_path: Path) -> None:
    make_images(tmp_path / "images")
    check_kills(vit, tmp_path, [*FROM_FOLDER, *COMPILED], kills=5)
