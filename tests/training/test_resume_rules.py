"""A run goes on where it is sure to be the same run, and else says what differs."""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.commands import Vit
from tests.training.recipes import everything, tiny
from tests.training.runs import FROM_FOLDER, last_step, make_images, result

from vision_transformers.cli.main import main
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.training.observer import Silent
from vision_transformers.training.recipe import Recipe
from vision_transformers.training.run_folder import RunFolder, asked_otherwise, changed_fields, newest_run
from vision_transformers.training.train import resume, train

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(everything(steps=4), tmp_path_factory.mktemp("finished") / "run").folder


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run, below the working folder, that was killed before it wrote its model folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    return Path("run")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def change_record(run: Path, *place: str | int, value: object) -> None:
    content = json.loads((run / "recipe.json").read_text())
    inner = content
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    (run / "recipe.json").write_text(json.dumps(content))


def test_a_finished_run_stays_as_it_is(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    before = files(tmp_path / "run")
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert "is finished already" in capsys.readouterr().out
    assert files(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--seed", "1"], "seed was 0 (now 1)"),
        (["--model.dropout", "0.3"], "model.dropout was 0.1 (now 0.3)"),
        (
            ["--optimizer.clip", "2", "--steps", "5"],
            "optimizer.clip was 1.0 (now 2.0), steps was 4 (now 5)",
        ),
        (["--data.split-seed", "1"], "data.split_seed was 0 (now 1)"),
        (["--augmentation.shift", "2"], "augmentation.shift was 1 (now 2)"),
    ],
)
def test_another_recipe_is_refused_by_the_name_of_the_field(
    run: Path, options: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(run)
    assert main(["train", "--resume", "run", *options]) == 2
    assert named in capsys.readouterr().err
    assert files(run) == before


def test_fields_that_cannot_change_the_result_may_differ(run: Path, finished: Path) -> None:
    options = (
        "--data.workers 2 --data.root elsewhere --checkpoint-seconds 5 --checkpoint-steps 1 --log-steps 7"
    )
    assert main(["train", "--resume", "run", *options.split()]) == 0
    assert result(run) == result(finished)


def test_what_is_asked_for_in_going_on_holds_from_there_on(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command that an interruption names does the same as the one that was interrupted."""
    change_record(run, "recipe", "device", value="cuda:9")
    change_record(run, "environments", 0, "device", value="cuda:9")
    begun = RunFolder(run).record().recipe
    options = "--device cpu --log-steps 10 --data.workers 1 --checkpoint-steps 3 --threads 2"
    assert main(["train", "--resume", "run", *options.split(), "--allow-different-machine"]) == 0
    shutil.rmtree(run / "model")
    assert main(["train", "--resume", "run"]) == 0, capsys.readouterr().err
    data = replace(begun.data, workers=1)
    expected = replace(begun, device="cpu", log_steps=10, data=data, checkpoint_steps=3)
    assert RunFolder(run).record().recipe == expected, "which has the threads that it began with"


def test_every_other_field_is_compared() -> None:
    """A field that is added to the recipe is compared unless it is marked."""
    recipe = tiny()
    assert changed_fields(recipe, tiny(seed=1)) == [("seed", 0, 1)]
    assert changed_fields(recipe, tiny(threads=8, device="cuda", precision="bfloat16", compile="on")) == []
    assert changed_fields(recipe, tiny(log_steps=1, data=replace(recipe.data, workers=7, root="x"))) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("torch", "1.0.0"),
        ("torchvision", "0.1.0"),
        ("pillow", "1.0"),
        ("numpy", "1.0"),
        ("simplejpeg", "1.0"),
        ("compiler", "gcc 1.0"),
        ("programs", "an_abacus"),
        ("vision_transformers", "0.0"),
        ("device", "cuda:3"),
        ("processor", "an abacus"),
        ("precision", "bfloat16"),
        ("compile", True),
        ("attention", "triton"),
        ("data", "other images"),
    ],
)
def test_another_machine_is_refused_by_name(
    run: Path, name: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    change_record(run, "environments", 0, name, value=value)
    before = files(run)
    assert main(["train", "--resume", "run"]) == 1
    message = capsys.readouterr().err
    assert f"{name}: {value} before" in message
    assert "--allow-different-machine" in message
    assert files(run) == before


def test_another_machine_may_be_allowed(run: Path) -> None:
    """It is recorded, so that nobody takes the result for one of a single machine."""
    change_record(run, "environments", 0, "torch", value="1.0.0")
    assert main(["train", "--resume", "run", "--allow-different-machine"]) == 0
    assert RunFolder(run).is_finished
    versions = [environment.torch for environment in RunFolder(run).record().environments]
    assert versions[0] == "1.0.0"
    assert len(versions) == 2


def test_versions_that_earlier_runs_recorded_elsewhere_are_compared(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_record(run, "environments", 0, "numpy", value=None)
    change_record(run, "versions", "numpy", value="1.0")
    assert main(["train", "--resume", "run"]) == 1
    assert "numpy: 1.0 before" in capsys.readouterr().err


def test_what_earlier_runs_did_not_record_is_no_difference(run: Path) -> None:
    content = json.loads((run / "recipe.json").read_text())
    for name in ("simplejpeg", "compiler", "programs", "teacher"):
        del content["environments"][0][name]
    del content["recipe"]["teacher"]
    (run / "recipe.json").write_text(json.dumps(content))
    assert main(["train", "--resume", "run"]) == 0
    assert RunFolder(run).is_finished


class NotesThreads(Silent):
    """Remembers with how many a run computes."""

    found = 0

    def begins(self, *_: object) -> None:
        self.found = torch.get_num_threads()


@pytest.mark.usefixtures("one_thread")
def test_the_recorded_number_of_threads_is_taken(run: Path, finished: Path) -> None:
    """Sums over threads are rounded by their number, so a resumed run keeps it on any machine."""
    threads = NotesThreads()
    torch.set_num_threads(2)
    resume(run, everything(steps=4, threads=None), observer=threads)
    assert threads.found == 1
    assert result(run) == result(finished)


@pytest.mark.usefixtures("one_thread")
def test_a_run_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    """The next one, which asks for nothing, has PyTorch's own number of threads again."""
    torch.set_num_threads(2)
    train(tiny(threads=1, deterministic=True), tmp_path / "first")
    assert not torch.are_deterministic_algorithms_enabled()
    train(tiny(threads=None), tmp_path / "second")
    assert RunFolder(tmp_path / "second").record().environments[0].threads == 2


def test_another_image_in_the_folder_is_refused(vit: Vit, tmp_path: Path) -> None:
    make_images(tmp_path / "images")
    begin = [*FROM_FOLDER, "--steps", "6", "--run-folder", "run"]
    assert vit.run(tmp_path, begin, die_at=100).code == -9
    shutil.copy(tmp_path / "images" / "class-0" / "0.png", tmp_path / "images" / "class-0" / "more.png")
    for allowed in ([], ["--allow-different-machine"]):
        refused = vit.run(tmp_path, ["train", "--resume", "run", *allowed])
        assert refused.code == 3, "other images are other held-out ones: no flag allows that"
        assert "there are other images" in refused.errors
        assert re.search(r"24 training images.* before\n.*: 24 training images.* now", refused.errors)
    (tmp_path / "images" / "class-0" / "more.png").unlink()
    os.rename(tmp_path / "images", tmp_path / "moved")
    assert vit.run(tmp_path, ["train", "--resume", "run", "--data.path", "moved"]).code == 0


def test_auto_finds_the_newest_run_of_the_same_recipe_and_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert newest_run(tiny()) is None
    older, newer = train(tiny()).folder, train(tiny()).folder
    os.utime(older / "recipe.json", (1, 1))
    os.utime(newer / "recipe.json", (2, 2))
    assert newest_run(tiny()) == RunFolder(newer)
    os.utime(older / "recipe.json", (3, 3))
    assert newest_run(tiny(log_steps=1)) == RunFolder(older)
    assert newest_run(tiny(seed=1)) is None
    assert newest_run(tiny(label_smoothing=0.1)) is None
    change_record(older, "recipe", "seed", value="of another release")
    assert newest_run(tiny()) == RunFolder(newer)
    assert f"the run {older} is passed over" in caplog.text


TINY = (
    "train digits --resume auto --steps 2 --model.model-dimension 16 --model.number-of-layers 1 "
    "--threads 1 --device cpu --checkpoint-seconds 0"
)


def test_auto_begins_goes_on_or_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same line in a scheduler's script does the right thing every time."""
    monkeypatch.chdir(tmp_path)
    assert main(TINY.split()) == 0
    (run,) = (tmp_path / "runs").iterdir()
    first = result(run)
    assert main(TINY.split()) == 0
    assert "is finished already" in capsys.readouterr().out
    shutil.rmtree(run / "model")
    assert main(TINY.split()) == 0
    assert result(run) == first
    assert list((tmp_path / "runs").iterdir()) == [run]
    assert main([*TINY.split(), "--seed", "1"]) == 0
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_another_precision_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A finished run in bfloat16 is no answer to who asks for float32."""
    monkeypatch.chdir(tmp_path)
    rough = [*TINY.split(), "--precision", "bfloat16"]
    assert main(rough) == 0
    (run,) = Path("runs").iterdir()
    assert main([*TINY.split(), "--precision", "float32"]) == 0
    assert "is finished already" not in capsys.readouterr().out
    other = next(path for path in Path("runs").iterdir() if path != run)
    assert [RunFolder(path).record().environments[0].precision for path in (run, other)] == [
        "bfloat16",
        "float32",
    ]
    assert main(rough) == 0
    assert f"{run} is finished already" in capsys.readouterr().out
    assert main(["train", "--resume", str(run)]) == 0
    capsys.readouterr()
    assert main(["train", "--resume", str(run), "--precision", "float32"]) == 2
    output, errors = capsys.readouterr()
    assert f"{run} is finished, with precision 'bfloat16', and 'float32' is asked for" in errors
    assert "is finished already" not in output


def test_another_device_or_compilation_is_another_run_where_it_is_asked_for(finished: Path) -> None:
    record = RunFolder(finished).record()  # on the CPU, not compiled
    on_a_gpu = replace(record, environments=(replace(record.environments[0], device="cuda:0", compile=True),))
    for asked, here, elsewhere in (
        ({"device": "auto"}, [], []),
        ({"device": "cpu"}, [], []),
        ({"device": "cuda", "compile": "on"}, ["device", "compile"], []),
        ({"device": "cuda:1"}, ["device"], ["device"]),
    ):
        recipe = replace(record.recipe, **{"compile": "auto", **asked})  # type: ignore[arg-type]
        assert [name for name, _, _ in asked_otherwise(record, recipe)] == here
        assert [name for name, _, _ in asked_otherwise(on_a_gpu, recipe)] == elsewhere


def test_auto_goes_on_elsewhere_where_that_is_allowed(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, Path("runs") / "one")
    recipe = replace(RunFolder(finished).record().recipe, compile="on")
    assert newest_run(recipe) is None
    assert newest_run(recipe, on_any_machine=True) == RunFolder(Path("runs") / "one")


def test_a_run_in_the_home_folder_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell leaves `--run-folder=~/run` as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    command = [*TINY.split(), "--run-folder=~/mine"]
    assert main(command) == 0
    shutil.rmtree(tmp_path / "mine" / "model")
    assert main(command) == 0
    assert main(["train", "--resume=~/mine"]) == 0
    assert not (tmp_path / "~").exists()


def test_auto_with_a_run_folder_begins_there_and_goes_on_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [*TINY.split(), "--run-folder", "mine"]
    assert main(command) == 0
    shutil.rmtree(tmp_path / "mine" / "model")
    assert main(command) == 0
    assert RunFolder(Path("mine")).is_finished
    assert not (tmp_path / "runs").exists()


def test_a_run_is_not_written_over(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(finished.parent)
    before = files(Path("run"))
    assert main(["train", "digits", "--run-folder", "run"]) == 2
    assert "run holds a run already. To go on with it: vit train --resume run" in capsys.readouterr().err
    assert files(Path("run")) == before


def test_a_folder_that_a_kill_left_without_a_recipe_is_begun_anew(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "lock").touch()
    (folder / ".temporary-1-recipe.json").write_text("{")
    train(tiny(), folder)
    assert RunFolder(folder).is_finished
    assert not list(folder.glob(".temporary*"))


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    (tmp_path / ".temporary-1-model").mkdir()  # as another command has it that is writing a model
    with pytest.raises(
        UsageFailure, match=r"holds other files \(.temporary-1-model, thesis.tex\) and no run"
    ):
        train(tiny(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".temporary-1-model", "thesis.tex"]
    assert (tmp_path / "thesis.tex").read_text() == "precious"
    with pytest.raises(UsageFailure, match=r"recipe.json is missing"):
        resume(tmp_path)


def test_a_run_that_another_process_writes_is_left_to_it(vit: Vit, tmp_path: Path) -> None:
    begin = [*FROM_FOLDER, "--steps", "400", "--data.workers", "2", "--run-folder", "run"]
    make_images(tmp_path / "images")
    process = vit.start(tmp_path, begin)
    process.until(lambda: last_step(tmp_path / "run") > 0)
    refused = vit.run(tmp_path, ["train", "--resume", "run"])
    assert process.is_alive()
    assert refused.code == 1
    assert "another process is writing run: wait until it ends" in refused.errors
    process.kill()
    # Its loader workers live on for some seconds.
    again = vit.start(tmp_path, ["train", "--resume", "run"])
    step = last_step(tmp_path / "run")
    assert again.until(lambda: last_step(tmp_path / "run") > step)
    again.kill()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text[:-20], r"recipe.json is not JSON"),
        (
            lambda text: text.replace('"seed"', '"sede"'),
            r"recipe.json: unknown field 'recipe.sede': did you mean 'seed'\?",
        ),
        (lambda text: text.replace('"format_version": 1', '"format_version": 9'), "has format version 9"),
        (lambda text: text.replace('"batch_size": 128', '"batch_size": -1'), "batch_size is -1"),
    ],
)
def test_a_recipe_that_cannot_be_read_is_explained(
    run: Path, damage: Callable[[str], str], says: str
) -> None:
    path = run / "recipe.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(Failure, match=says):
        resume(run)


def test_metrics_that_lost_rows_are_not_made_up(run: Path) -> None:
    metrics = run / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-30])
    with pytest.raises(Failure, match=r"metrics.jsonl has .* bytes and should have"):
        resume(run)


def test_a_recipe_and_a_run_to_resume_are_not_given_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "digits", "--resume", "run"]) == 2
    assert "give a recipe or --resume RUN, not both" in capsys.readouterr().err


@pytest.mark.usefixtures("run")
def test_a_run_stays_in_its_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", "run", "--run-folder", "other"]) == 2
    assert "give --run-folder or --resume RUN, not both" in capsys.readouterr().err
    assert not Path("other").exists()


def test_the_recorded_recipe_is_complete(finished: Path) -> None:
    record: dict[str, Any] = json.loads((finished / "recipe.json").read_text())
    named = {"format_version", "recipe", "images", "environments", "versions", "command", "found"}
    assert set(record) == named
    assert set(record["recipe"]) == set(Recipe.__dataclass_fields__)
    assert record["environments"][0]["threads"] == 1
    assert record["environments"][0]["precision"] == "float32"


def test_a_run_goes_on_from_any_working_folder_and_knows_where_its_images_have_moved(
    vit: Vit, tmp_path: Path
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    elsewhere.mkdir()
    make_images(home / "images")
    begin = [*FROM_FOLDER, "--steps", "6"]
    for name in ("whole", "run", "moved"):
        assert vit.run(home, [*begin, "--run-folder", name], die_at=0 if name == "whole" else 100).code in (
            0,
            -9,
        )
    assert vit.run(elsewhere, ["train", "--resume", "../home/run"]).code == 0
    os.rename(home / "images", home / "photographs")
    run = str(home / "moved")
    assert vit.run(home, ["train", "--resume", run, "--data.path", "photographs"], die_at=40).code == -9
    finished = vit.run(elsewhere, ["train", "--resume", run])
    assert finished.code == 0, finished.errors
    assert result(home / "run") == result(home / "moved") == result(home / "whole")
    descriptions = [(home / name / "model" / "config.json").read_bytes() for name in ("whole", "run")]
    assert descriptions[0] == descriptions[1]


def test_auto_does_not_take_another_folders_run_for_this_one(vit: Vit, tmp_path: Path) -> None:
    """The same recipe on other pictures is another run, though a folder may move."""
    make_images(tmp_path / "images")
    begin = [*FROM_FOLDER, "--steps", "2", "--resume", "auto"]
    assert vit.run(tmp_path, begin).code == 0
    make_images(tmp_path / "others")
    assert "is finished already" not in vit.run(tmp_path, [*begin, "--data.path", "others"]).output
    assert "is finished already" in vit.run(tmp_path, begin).output
    assert len(list((tmp_path / "runs").iterdir())) == 2
