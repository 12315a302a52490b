"""`vit report` puts runs side by side by what differs between them."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from tests.cli.test_evaluate import TINY, last_row
from tests.commands import Vit
from tests.training.runs import make_images


@pytest.fixture(scope="module")
def runs(vit: Vit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of one recipe, another recipe, and a run that was killed."""
    folder = tmp_path_factory.mktemp("report")
    options = {
        "one": ["--seed", "1"],
        "two": ["--seed", "2"],
        "other": ["--seed", "1", "--optimizer.learning-rate", "1e-4"],
    }
    for name, more in options.items():
        command = ["train", "digits", *TINY, "--epochs", "1", *more, "--run-folder", f"runs/{name}"]
        assert vit.run(folder, command).code == 0
    killed = vit.start(folder, ["train", "digits", *TINY, "--epochs", "1000", "--run-folder", "runs/killed"])
    assert killed.until((folder / "runs" / "killed" / "recipe.json").exists)
    killed.kill()
    return folder


def test_a_folder_of_runs_is_compared(vit: Vit, runs: Path) -> None:
    finished = vit.run(runs, ["report", "runs"])
    assert finished.code == 0, finished.errors
    with open(runs / "report" / "table.csv", newline="") as file:
        table = {row["run"]: row for row in csv.DictReader(file)}
    assert set(table) == {"runs/one", "runs/two", "runs/other", "runs/killed"}
    for name in ("one", "two", "other"):
        accuracy = last_row(runs / "runs" / name)["test_accuracy"]
        assert float(table[f"runs/{name}"]["test_accuracy"]) == accuracy
        assert f"{accuracy:.2%}" in finished.output
    assert table["runs/other"]["optimizer.learning_rate"] == "0.0001"
    assert table["runs/killed"]["state"].startswith("stopped at epoch")
    assert {"seed", "epochs", "optimizer.learning_rate"} <= set(table["runs/one"])
    assert "batch_size" not in table["runs/one"]


def test_seeds_of_one_recipe_are_averaged(vit: Vit, runs: Path) -> None:
    finished = vit.run(runs, ["report", "runs/one", "runs/two", "runs/other", "--output", "seeds"])
    accuracies = [last_row(runs / "runs" / name)["test_accuracy"] for name in ("one", "two")]
    mean, spread = sum(accuracies) / 2, f"({min(accuracies):.2%} to {max(accuracies):.2%})"
    assert f"2 seeds, mean test accuracy {mean:.2%} {spread}" in finished.output
    page = (runs / "seeds" / "index.html").read_text()
    assert "runs/one, runs/two" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert (runs / "seeds" / "curves.png").stat().st_size > 10_000


@pytest.mark.usefixtures("undrawn")
def test_results_come_before_settings_and_of_many_settings_the_first_are_named(vit: Vit, runs: Path) -> None:
    """Runs of two recipes differ in more fields than any screen is wide."""
    command = ["train", "digits", *TINY, "--epochs", "2", "--run-folder", "otherwise", "--seed", "3"]
    command += ["--batch-size", "50", "--label-smoothing", "0.2"]
    command += ["--optimizer.weight-decay", "0.2", "--data.validation-fraction", "0.2"]
    assert vit.run(runs, command).code == 0
    finished = vit.run(runs, ["report", "runs/one", "otherwise", "--output", "recipes"])
    with open(runs / "recipes" / "table.csv", newline="") as file:
        header = next(csv.reader(file))
    assert header[:3] == ["run", "validation_accuracy", "test_accuracy"]
    assert header.index("state") < header.index("seed")
    page = (runs / "recipes" / "index.html").read_text()
    for said in (finished.output, page):
        assert re.search(r"Their recipes differ in .*data.validation_fraction, .* and 1 more", said)


@pytest.mark.usefixtures("undrawn")
def test_what_runs_were_evaluated_on_stands_beside_them(vit: Vit, runs: Path) -> None:
    """With the interval: of few images, a difference is soon by chance. What is damaged takes no run away."""
    shutil.copytree(runs / "runs" / "one", runs / "judged" / "one")
    shutil.copytree(runs / "runs" / "two", runs / "judged" / "two")
    assert vit.run(runs, ["evaluate", "judged/one", "digits"]).code == 0
    damaged = runs / "judged" / "two" / "evaluation" / "mine" / "metrics.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{}")
    finished = vit.run(runs, ["report", "judged", "--output", "judged-report"])
    assert "mine/metrics.json is not what this release writes" in finished.errors
    top = json.loads((runs / "judged/one/evaluation/digits-test/metrics.json").read_text())["top_1"]
    with open(runs / "judged-report" / "table.csv", newline="") as file:
        one, two = csv.DictReader(file)
    assert float(one["digits test accuracy"]) == top["accuracy"]
    interval = f"{top['lower']:.1%} to {top['upper']:.1%}"
    assert one["digits test 95% interval"] == interval
    assert two["digits test accuracy"] == ""
    for said in (finished.output, (runs / "judged-report" / "index.html").read_text()):
        assert interval in said


@pytest.mark.usefixtures("undrawn")
def test_an_accuracy_that_flatters_is_marked_beside_an_honest_one(vit: Vit, runs: Path) -> None:
    for name in ("one", "two"):
        shutil.copytree(runs / "runs" / name, runs / "flattered" / name)
    assert vit.run(runs, ["evaluate", "flattered/one", "digits", "--split", "all"]).code == 0
    judged = json.loads((runs / "flattered/one/evaluation/digits-all/metrics.json").read_text())
    warning = judged.pop("warning")
    honest = runs / "flattered" / "two" / "evaluation" / "digits-all"
    honest.mkdir(parents=True)
    (honest / "metrics.json").write_text(json.dumps(judged))
    finished = vit.run(runs, ["report", "flattered", "--output", "flattered-report"])
    assert finished.code == 0, finished.errors
    accuracy, page = f"{judged['top_1']['accuracy']:.2%}", (runs / "flattered-report/index.html").read_text()
    for said in (finished.output, page):
        assert said.count(f"{accuracy}*") == 1
        assert said.count(accuracy) == 2
        assert said.count(f"* {warning}") == 1
    with open(runs / "flattered-report" / "table.csv", newline="") as file:
        one, two = csv.DictReader(file)
    assert (one["digits all warning"], two["digits all warning"]) == (warning, "")
    assert one["digits all accuracy"] == two["digits all accuracy"] == str(judged["top_1"]["accuracy"])


@pytest.mark.usefixtures("undrawn")
def test_what_is_no_run_or_is_taken_is_told(vit: Vit, runs: Path) -> None:
    (runs / "taken").mkdir(exist_ok=True)
    (runs / "taken" / "letter.txt").write_text("dear")
    for arguments, message in (
        ([], "name runs to compare"),
        (["taken"], "is no run and holds none"),
        (["runs", "--output", "taken"], "holds other files"),
        (["runs", "--output", "/proc/nobody/writes"], "/proc/nobody/writes cannot be written"),
    ):
        finished = vit.run(runs, ["report", *arguments])
        assert (finished.code, message in finished.errors) == (2, True), finished.errors
    assert [path.name for path in (runs / "taken").iterdir()] == ["letter.txt"]


@pytest.mark.usefixtures("undrawn")
def test_runs_that_are_linked_are_compared_each_once(vit: Vit, runs: Path, tmp_path: Path) -> None:
    """Whoever collects runs of several places links them into one folder; a loop of links has an end."""
    (tmp_path / "linked" / "more").mkdir(parents=True)
    places = {"first": runs / "runs/one", "more/same": runs / "runs/one", "more/other": runs / "runs/other"}
    for name, place in {**places, "loop": tmp_path / "linked", "nowhere": tmp_path / "gone"}.items():
        (tmp_path / "linked" / name).symlink_to(place)
    finished = vit.run(tmp_path, ["report", "linked"])
    assert finished.code == 0, finished.errors
    with open(tmp_path / "report" / "table.csv", newline="") as file:
        assert [row["run"] for row in csv.DictReader(file)] == ["linked/first", "linked/more/other"]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("content", ["a,b\n1,2\n", "run,loss\nmine,0.5\n", "", "\x00"])
def test_a_table_of_others_is_left_as_it_is(vit: Vit, runs: Path, tmp_path: Path, content: str) -> None:
    theirs = {"table.csv": content, "index.html": "mine", "curves.png": "mine"}
    for name, text in theirs.items():
        (tmp_path / name).write_text(text)
    finished = vit.run(runs, ["report", "runs/one", "--output", str(tmp_path)])
    assert finished.code == 2, finished.errors
    assert "holds other files and no report: choose another --output, or move them away" in finished.errors
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == theirs


@pytest.mark.usefixtures("undrawn")
def test_one_seed_twice_and_a_run_that_was_killed_are_no_further_seeds(vit: Vit, runs: Path) -> None:
    command = ["train", "digits", *TINY, "--epochs", "1", "--seed", "1", "--run-folder", "again"]
    assert vit.run(runs, command).code == 0
    assert "seeds, mean" not in vit.run(runs, ["report", "runs/one", "again", "--output", "same"]).output
    started = ["train", "digits", *TINY, "--epochs", "4", "--checkpoint-steps", "10", "--run-folder"]
    assert vit.run(runs, [*started, "ended", "--seed", "1"]).code == 0
    killed = vit.start(runs, [*started, "begun", "--seed", "2"])
    assert killed.until(lambda: "validation_accuracy" in read(runs / "begun" / "metrics.jsonl"))
    killed.kill()
    found = vit.run(runs, ["report", "ended", "begun", "--output", "killed-one"])
    assert "stopped at epoch" in found.output
    assert "seeds, mean" not in found.output


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@pytest.mark.usefixtures("undrawn")
def test_the_seconds_of_a_resumed_run_are_those_of_all_its_processes(vit: Vit, runs: Path) -> None:
    shutil.copytree(runs / "runs" / "one", runs / "resumed")
    rows = [
        {"step": step, "seconds": seconds} for step, seconds in ((1, 50.0), (2, 60.5), (2, 1.0), (3, 5.0))
    ]
    (runs / "resumed" / "timing.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert vit.run(runs, ["report", "resumed", "--output", "resumed-one"]).code == 0
    with open(runs / "resumed-one" / "table.csv", newline="") as table:
        (row,) = csv.DictReader(table)
    assert float(row["seconds"]) == 65.5


@pytest.mark.usefixtures("undrawn")
def test_runs_on_other_pictures_are_no_further_seeds(vit: Vit, tmp_path: Path) -> None:
    """Pictures that have moved are the same; others are not, whatever their files are called."""
    make_images(tmp_path / "cats", classes=2, count=10)
    make_images(tmp_path / "cars", classes=2, count=10)
    make_images(tmp_path / "moved", classes=2, count=10)
    Image.new("RGB", (4, 4)).save(tmp_path / "cars" / "class-0" / "0.png")
    command = ["train", "digits", *TINY, "--steps", "1", "--batch-size", "4", "--data.name", "folder"]
    command += ["--model.number-of-channels", "3", "--model.number-of-classes", "2"]
    command += ["--preprocessing.channels", "3", "--data.workers", "0"]
    for seed, pictures in enumerate(("cats", "cars", "moved")):
        trained = [*command, "--seed", f"{seed}", "--data.path", pictures, "--run-folder", f"on-{pictures}"]
        assert vit.run(tmp_path, trained).code == 0
    found = vit.run(tmp_path, ["report", "on-cats", "on-cars", "on-moved"])
    assert found.code == 0, found.errors
    (means,) = (line for line in found.output.splitlines() if "seeds, mean" in line)
    assert means.endswith(": on-cats, on-moved")
    with open(tmp_path / "report" / "table.csv", newline="") as file:
        images = {row["run"]: row["images"] for row in csv.DictReader(file)}
    assert images["on-cars"].startswith(f"{tmp_path / 'cars'} (")
    fingerprints = [name.rpartition("(")[2] for name in images.values()]
    assert fingerprints[0] == fingerprints[2] != fingerprints[1]
    assert vit.run(tmp_path, ["report", "on-cats", "on-moved"]).code == 0
    assert "images" not in (tmp_path / "report" / "table.csv").read_text()


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_cannot_be_read_is_named_and_the_others_are_compared(vit: Vit, runs: Path) -> None:
    for name, file in (("of-a-later-release", "recipe.json"), ("damaged", "metrics.jsonl")):
        shutil.copytree(runs / "runs" / "one", runs / "mixed" / name)
        (runs / "mixed" / name / file).write_text('{"format_version": 9}\n')
    alone = vit.run(runs, ["report", "mixed", "--output", "mixed-report"])
    assert (alone.code, "none of these runs can be read" in alone.errors) == (1, True), alone.errors
    assert not (runs / "mixed-report").exists()
    for name in ("placeless", "timeless"):
        shutil.copytree(runs / "runs" / "one", runs / "mixed" / name)
    recipe = runs / "mixed" / "placeless" / "recipe.json"
    recipe.write_text(json.dumps(json.loads(recipe.read_text()) | {"environments": []}))
    (runs / "mixed" / "timeless" / "timing.jsonl").write_text('{"step": 1}\n')
    shutil.copytree(runs / "runs" / "one", runs / "mixed" / "whole")
    found = vit.run(runs, ["report", "mixed", "--output", "mixed-report"])
    assert found.code == 0, found.errors
    assert "mixed/of-a-later-release is passed over: " in found.errors
    assert "mixed/damaged is passed over: line 1 of" in found.errors
    assert "it does not say where the run began" in found.errors
    assert "a line of its timing.jsonl does not say its seconds" in found.errors
    with open(runs / "mixed-report" / "table.csv", newline="") as file:
        assert [row["run"] for row in csv.DictReader(file)] == ["mixed/whole"]
