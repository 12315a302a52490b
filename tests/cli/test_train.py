"""`vit train` does what its options say, and says where things are."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.cli.test_options import options_of
from tests.commands import Vit
from tests.training.runs import make_images

from vision_transformers.cli.familiar_options import FAMILIAR
from vision_transformers.cli.idle_options import NEEDS
from vision_transformers.cli.main import main
from vision_transformers.cli.train import CommandLine, TrainOptions
from vision_transformers.cli.train import parse as parse_command_line
from vision_transformers.errors import UsageFailure
from vision_transformers.recipes.table import RECIPES, find_recipe
from vision_transformers.training.advice import frozen_warnings
from vision_transformers.training.run_folder import RunFolder
from vision_transformers.training.train import train

VIT = str(Path(sys.executable).parent / "vit")
TINY = [
    *("--model.model-dimension", "16", "--model.number-of-layers", "1", "--steps", "2", "--threads", "1"),
    *("--device", "cpu", "--checkpoint-seconds", "0", "--data.workers", "0"),
]


def parse(arguments: list[str]) -> TrainOptions:
    return parse_command_line(CommandLine.of(arguments))[0]


def test_without_a_recipe_the_digits_are_trained_on() -> None:
    assert parse([]).recipe == find_recipe("digits")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_without_options_is_as_it_was_written(name: str) -> None:
    assert parse([name]).recipe == find_recipe(name)


def test_options_change_fields_at_any_depth() -> None:
    options = parse(["mnist", "--seed", "3", "--optimizer.learning-rate", "1e-4", "--data.root", "there"])
    assert options.recipe.seed == 3
    assert options.recipe.optimizer.learning_rate == 1e-4
    assert options.recipe.data.root == "there"
    assert options.recipe.model == find_recipe("mnist").model


@pytest.mark.parametrize("options", [["--steps", "7"], ["--threads", "2"], ["--seed=4"]])
def test_a_run_to_resume_brings_its_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """So nobody has to type the options of yesterday again."""
    monkeypatch.chdir(tmp_path)
    assert main(["train", *TINY, "--run-folder", "run"]) == 0
    resumed = parse(["--resume", "run"]).recipe
    assert (resumed.steps, resumed.model.model_dimension, resumed.threads) == (2, 16, 1)
    assert parse(["--resume=run", *options]).recipe != resumed


def test_a_run_to_resume_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageFailure, match="there is no run folder"):
        parse(["--resume", str(tmp_path / "nowhere")])


def test_it_says_what_it_found_what_came_out_and_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", *TINY]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "digits of scikit-learn: 1,295 training images, 142 validation images, 360 test images, 10 classes"
    )
    assert lines[1] == f"2 steps, into runs/{run.name}"
    assert any(line.startswith("test accuracy ") for line in lines)
    assert f"model folder   runs/{run.name}/model" in lines
    assert f"curves         runs/{run.name}/plots/curves.png" in lines


def a_pipe_that_nobody_reads() -> int:
    read, write = os.pipe()
    os.close(read)
    return write


def a_full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def a_terminal_that_was_closed() -> int:
    ours, theirs = os.openpty()
    os.close(ours)
    return theirs


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (a_pipe_that_nobody_reads, "Broken pipe"),
        (a_full_disk, "No space left on device"),
        (a_terminal_that_was_closed, "Input/output error"),
    ],
)
def test_a_run_goes_on_where_nothing_can_be_printed(
    vit: Vit, tmp_path: Path, output: Callable[[], int], reason: str
) -> None:
    """As with `vit train | head -1`, or a log on a full disk."""
    descriptor = output()
    finished = vit.run(tmp_path, ["train", "digits", *TINY, "--run-folder", "run"], output=descriptor)
    os.close(descriptor)
    assert finished.errors == f"vit: nothing more of this run is printed, but it goes on: {reason}\n"
    assert finished.code == 0
    assert (tmp_path / "run" / "model").exists()


def test_the_installed_command_goes_on_where_nothing_can_be_printed(tmp_path: Path) -> None:
    """Python writes to it once more as it ends."""
    descriptor = a_pipe_that_nobody_reads()
    finished = subprocess.run(
        [VIT, "train", "digits", *TINY, "--run-folder", "run"],
        cwd=tmp_path,
        stdout=descriptor,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(descriptor)
    assert finished.stderr == "vit: nothing more of this run is printed, but it goes on: Broken pipe\n"
    assert finished.returncode == 0
    assert (tmp_path / "run" / "model").exists()


def test_a_run_may_have_the_name_of_any_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is fine-tuned is fine-tuned, whatever its run is called."""
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path / "images", count=20)
    birds = ["train", "finetune", "--name", "birds", "--data.path", "images"]
    assert main(birds) == 2
    assert "say which weights to begin with" in capsys.readouterr().err
    assert main(["train", "digits", "--name", "finetune", *TINY, "--run-folder", "digits"]) == 0
    assert main(["train", "finetune", "--init", "digits"]) == 2
    assert "data.path is missing" in capsys.readouterr().err
    assert main([*birds, "--init", "digits", "--epochs", "1", "--threads", "1", "--data.workers", "0"]) == 0
    assert "chosen         --frozen body" in capsys.readouterr().out
    assert next((tmp_path / "runs").iterdir()).name.startswith("birds-")


def test_what_would_do_nothing_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "digits", *TINY, "--allow-different-machine"]) == 2
    assert "--allow-different-machine is for --resume" in capsys.readouterr().err
    assert main(["train", "digits", *TINY, "--init-format", "timm"]) == 2
    assert (
        "init_format is 'timm', but there are no weights to begin with: add --init SOURCE"
        in capsys.readouterr().err
    )
    assert list(tmp_path.iterdir()) == []


IDLE = {
    "augmentation.erasing-area": "0.1 0.2",
    "augmentation.mix-probability": "0.5",
    "augmentation.rand-augment-magnitude": "5",
    "data.test-fraction": "0.1",
    "epochs": "3 --steps 2",
    "frozen-layers": "1 --frozen body",
    "low-rank.alpha": "4",
    "low-rank.parts": "query",
    "optimizer.layer-decay": "0.7 --init run --frozen body",
    "optimizer.muon-learning-rate": "0.01 --init run --frozen body",
    "optimizer.muon-momentum": "0.9 --optimizer.name adamw",
    "optimizer.muon-weight-decay": "0.1 --optimizer.name adamw",
    "probe.learning-rate": "0.1",
    "schedule.final": "0.5 --schedule.shape constant",
}


@pytest.mark.parametrize("option", NEEDS)
def test_an_option_that_changes_nothing_by_itself_is_refused_with_what_it_needs(option: str) -> None:
    """Else a person believes to have tried it."""
    with pytest.raises(UsageFailure, match=f"--{option} changes nothing here: it needs"):
        parse(["digits", *f"--{option} {IDLE[option]}".split()])
    parse(["digits", "--optimizer.name", "muon", "--optimizer.muon-momentum", "0.9", "--epochs", "3"])


def test_images_may_have_another_size(capsys: pytest.CaptureFixture[str]) -> None:
    """One option for what two fields have to be told alike."""
    recipe = parse(["folder", "--preset", "ViT-S/32", "--image-shape", "96", "128"]).recipe
    assert recipe.preprocessing.size == recipe.model.max_image_shape == (96, 128)
    assert main(["train", "digits", "--image-shape", "9", "9", "--steps", "1"]) == 2
    assert "patch" in capsys.readouterr().err
    assert main(["train", "digits", "--image-shape", "16", "16", "--init", "run"]) == 2
    assert "--init-image-shape" in capsys.readouterr().err


def test_what_other_projects_call_an_option_is_told() -> None:
    """Whoever comes from timm types `--lr`, and reads what it is here, which exists."""
    with pytest.raises(UsageFailure, match=r"--lr is another .* Here it is --optimizer.learning-rate$"):
        parse(["mnist", "--lr=1e-3"])
    ours = {option.split()[-1] for option in options_of("train")}
    assert not {f"--{name}" for name in FAMILIAR} & ours
    advised = {option for advice in FAMILIAR.values() for option in re.findall(r"--[\w.-]+[\w]", advice)}
    assert advised - ours == {"--nproc-per-node", "--no-python"}


def test_a_model_may_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    """As `vit models` lists them; the size of pictures comes with it."""
    recipe = parse(["folder", "--preset", "ViT-S/32", "--data.path", "photos"]).recipe
    base = find_recipe("folder")
    assert (recipe.model.patch_shape, recipe.model.model_dimension) == ((32, 32), 384)
    assert (recipe.model.number_of_classes, recipe.model.stochastic_depth) == (0, base.model.stochastic_depth)
    grey = parse(["mnist", "--preset=DINOv2-S/14", "--model.number-of-layers", "2"]).recipe
    assert (grey.preprocessing.size, grey.model.number_of_channels) == ((518, 518), 1)
    assert grey.model.number_of_layers == 2
    for arguments, message in (
        (["folder", "--preset", "ViT-S/15"], "no preset is called 'ViT-S/15': did you mean 'ViT-S/16'"),
        (["digits", "--preset", "ViT-S/16", "--init", "run"], "--preset does nothing where --init brings"),
        (["--resume", "run", "--preset", "ViT-S/16"], "--preset is for a new run"),
    ):
        assert main(["train", *arguments]) == 2
        assert message in capsys.readouterr().err


def test_a_head_on_what_has_learned_nothing_is_told() -> None:
    """Which takes as long, and is seldom meant."""
    (warning,) = frozen_warnings(replace(find_recipe("digits"), frozen="body"))
    assert warning.startswith("--frozen body leaves random weights as they are: --init SOURCE")
    assert frozen_warnings(replace(find_recipe("digits"), frozen="body", init="run")) == []


def test_a_run_folder_that_is_a_file_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(UsageFailure, match="run is a file: choose another --run-folder"):
        train(find_recipe("digits"), tmp_path / "run")


def test_fine_tuning_follows_what_a_person_says_of_it(tmp_path: Path) -> None:
    make_images(tmp_path / "images", count=20)  # so few that the head would learn alone
    command = ["finetune", "--data.path", str(tmp_path / "images"), "--init", "source"]
    assert parse(command).recipe.frozen == "body"
    assert parse([*command, "--probe.fraction", "0.3"]).recipe.frozen == "nothing"
    alone = parse(command).recipe
    smaller = parse([*command, "--batch-size", "2"]).recipe
    assert (alone.batch_size, alone.epochs, smaller.epochs) == (4, 48, 24)
    assert parse([*command, "--batch_size=4", "--batch_size", "2"]).recipe == smaller
    assert parse([*command, "--data.test-fraction", "0.5"]).recipe.epochs == 37
    assert parse([*command, "--low-rank.rank", "0"]).recipe == alone
    matrices = parse([*command, "--low_rank.rank", "8", "--frozen", "nothing"]).recipe
    assert (matrices.frozen, matrices.optimizer.learning_rate) == ("nothing", 1e-3)
    both = parse([*command, "--probe.fraction", "0.3", "--frozen", "body"]).recipe
    with pytest.raises(UsageFailure, match=r"probe lets the head learn first"):
        train(both, tmp_path / "run")
    with pytest.raises(UsageFailure, match=r"test_fraction is 2\.0"):
        parse([*command, "--data.test-fraction", "2"])


def test_what_the_weights_decide_is_not_asked_for_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They bring the model and its preprocessing, so that these options would change nothing."""
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path / "images", count=20)
    command = ["finetune", "--data.path", "images", "--init", "digits"]
    for option in ("--preprocessing.crop squash", "--model.pool=mean", "--model.max_image_shape 384 384"):
        name = option.replace("_", "-").partition("=")[0].split()[0]
        with pytest.raises(UsageFailure, match=rf"{name} does nothing .* --init-image-shape"):
            parse([*command, *option.split()])
    yours = parse([*command, "--model.dropout", "0.1", "--model.stochastic_depth=0.2"]).recipe.model
    assert (yours.dropout, yours.stochastic_depth) == (0.1, 0.2)
    assert main(["train", "digits", *TINY, "--run-folder", "digits"]) == 0
    assert main(["train", "digits", *TINY[4:], "--init", "digits", "--run-folder", "run"]) == 0
    with pytest.raises(UsageFailure, match=r"--model.model-dimension does nothing"):
        parse(["--resume", "run", "--model.model-dimension", "32"])


def test_what_is_said_of_the_pictures_is_what_the_recipe_has(tmp_path: Path) -> None:
    """They are counted once: while they are being copied, a second count would be another."""
    make_images(tmp_path / "images", count=20)
    typed = CommandLine.of(["finetune", "--data.path", str(tmp_path / "images"), "--init", "source"])
    options, choices = parse_command_line(typed)
    chosen = {choice.option: choice.value for choice in choices}
    assert chosen["epochs"] == str(options.recipe.epochs)
    assert chosen["batch-size"] == str(options.recipe.batch_size)


def test_pictures_far_smaller_than_the_model_reads_get_advice_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who has small pictures would else wait 49 times as long for nothing."""
    monkeypatch.chdir(tmp_path)
    make_images(tmp_path / "images", count=4)
    command = ["train", "folder", "--data.path", "images", "--model.number-of-heads", "2", *TINY]
    assert main([*command, "--run-folder", "large"]) == 0
    advised = re.search(r"most pictures have 14 x 12 pixels.* 224 x 224: (--.*) learns", caplog.text)
    assert advised is not None, caplog.text
    caplog.clear()
    assert main([*command, *advised[1].split(), "--run-folder", "small"]) == 0
    assert "most pictures have" not in caplog.text
    assert RunFolder(tmp_path / "small").record().recipe.model.grid == (4, 3)
