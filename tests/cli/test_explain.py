"""`vit explain` writes what it says it writes, of any picture, and tells what makes no sense."""

import gc
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.browser import open_browser, opened_page
from tests.classifiers import CLASSES, random_classifier, save_random_model
from tests.cli.test_evaluate import TINY
from tests.commands import Vit
from tests.photographs import noise, save_photographs

from vision_transformers.classifier import Classifier
from vision_transformers.cli.explanations import explain_picture
from vision_transformers.cli.main import main
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.resizing import resize, seen_part
from vision_transformers.explain.methods import METHODS
from vision_transformers.model.config import ViTConfig
from vision_transformers.model.vit import ViT
from vision_transformers.report.explanation import Explanation
from vision_transformers.report.overlay import map_colours, overlaid
from vision_transformers.weights.model_folder import ModelDescription


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(tmp_path_factory.mktemp("model") / "model", temperature=1.5)


def explain(vit: Vit, folder: Path, model: Path, *arguments: str, code: int = 0) -> str:
    finished = vit.run(folder, ["explain", str(model), "--device", "cpu", *arguments])
    assert finished.code == code, finished.errors
    assert "Traceback" not in finished.errors
    return finished.output + finished.errors


def test_a_sheet_for_each_picture_of_any_size(vit: Vit, model: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name, (height, width) in {"tall": (90, 20), "broad": (31, 200), "tiny": (3, 3)}.items():
        Image.fromarray(noise(1, height, width)).save(tmp_path / "photos" / f"{name}.png")
    output = explain(vit, tmp_path, model, "photos")
    sheets = sorted((tmp_path / "explanations").iterdir())
    written = [f"000{place}-photos-{name}.png" for place, name in enumerate(("broad", "tall", "tiny"))]
    assert [sheet.name for sheet in sheets] == written
    assert all(Image.open(sheet).width > 1000 for sheet in sheets)
    assert output.count("explanations/") == 3


def test_pictures_of_one_name_are_told_apart_by_their_folders(vit: Vit, model: Path, tmp_path: Path) -> None:
    for name in ("train/frog", "train/horse", "val/frog"):
        save_photographs(tmp_path / "data" / name, 1)
    explain(vit, tmp_path, model, "data", "--format", "html")
    written = sorted(path.name for path in (tmp_path / "explanations").iterdir())
    assert written == ["0000-frog-000.html", "0001-horse-000.html", "0002-frog-000.html", "index.html"]
    index = (tmp_path / "explanations" / "index.html").read_text()
    assert (index.count("frog/000.jpg</span>"), index.count("horse/000.jpg</span>")) == (2, 1)


def test_files_of_an_earlier_call_stay_and_are_told_of(vit: Vit, model: Path, tmp_path: Path) -> None:
    save_photographs(tmp_path / "frog", 2)
    save_photographs(tmp_path / "horse", 1)
    assert "earlier calls" not in explain(vit, tmp_path, model, "frog")
    (tmp_path / "explanations" / "notes.txt").touch()
    assert "earlier calls" not in explain(vit, tmp_path, model, "frog")
    assert "explanations also holds 2 files of earlier calls" in explain(vit, tmp_path, model, "horse")
    assert len(list((tmp_path / "explanations").iterdir())) == 4


def test_of_many_pictures_it_is_told_how_many_and_how_far(vit: Vit, model: Path, tmp_path: Path) -> None:
    save_photographs(tmp_path / "photos", 12)
    output = explain(vit, tmp_path, model, "photos", "--limit", "10")
    assert "explaining the first 10 of 12 pictures" in output
    assert "looked at 10 of 10 pictures" in output
    assert len(list((tmp_path / "explanations").iterdir())) == 10


class EndlessList(io.RawIOBase):
    """Names the same picture again and again, as `yes` does."""

    given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.given += 1
        assert self.given < 100_000, "nobody needs so many to explain two"
        line = b"photo.png\n"
        buffer[: len(line)] = line
        return len(line)


def test_the_first_of_a_list_are_explained_before_it_ends(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(noise(1)).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "vision_transformers.cli.explain.standard_input", lambda: io.BufferedReader(EndlessList())
    )
    assert main(["explain", str(model), "-", "--limit", "2", "--device", "cpu"]) == 0
    assert len(list((tmp_path / "explanations").iterdir())) == 2


def test_arrays_are_those_of_the_library(vit: Vit, model: Path, tmp_path: Path) -> None:
    (picture,) = save_photographs(tmp_path, 1, ".png")
    asked = ["--format", "npz", "--class", CLASSES[2], "--method", "occlusion"]
    explain(vit, tmp_path, model, picture.name, *asked)
    arrays = np.load(tmp_path / "explanations" / "0000-000.npz")
    classifier = random_classifier(temperature=1.5)
    prediction = classifier.predict(picture)[0]
    assert arrays["labels"].tolist() == [guess.label for guess in prediction.top]
    np.testing.assert_allclose(
        arrays["probabilities"], [guess.probability for guess in prediction.top], rtol=1e-5
    )
    assert str(arrays["explained"]) == CLASSES[2]
    assert {name.split("/")[0] for name in arrays} >= set(METHODS)
    assert arrays["attention/layers"].shape == (2, 4, 4, 4)
    asked_and_likeliest = dict.fromkeys([CLASSES[2], *arrays["labels"].tolist()])
    assert arrays["attention-lrp/classes"].tolist() == list(asked_and_likeliest)
    assert arrays["attention-lrp/maps"].shape == (len(asked_and_likeliest), 4, 4)
    assert arrays["occlusion/maps"].shape == arrays["rollout/maps"].shape == (1, 4, 4)
    curve = arrays["occlusion/deletion"]
    whole = dict(zip(arrays["labels"].tolist(), arrays["probabilities"].tolist(), strict=True))
    if CLASSES[2] in whole:
        assert curve[0] == pytest.approx(whole[CLASSES[2]], rel=1e-4)


@pytest.mark.parametrize("format", ["png", "html"])
def test_any_name_of_a_file_is_allowed(vit: Vit, model: Path, tmp_path: Path, format: str) -> None:
    (picture,) = save_photographs(tmp_path, 1, ".png")
    names = [b"$x_$.png", b"of no text \xff.png", b"a#b?.png", b"two\nlines.png"]
    for name in names:
        os.link(picture, os.path.join(os.fsencode(tmp_path), name))
    printed = explain(vit, tmp_path, model, str(tmp_path), "--format", format, "--output", "out")
    assert "two\\nlines.png: " in printed
    written = list((tmp_path / "out").iterdir())
    assert len(written) == len(names) + 1 + (format == "html")
    if format == "html":
        page = (tmp_path / "out" / "index.html").read_text()
        assert "of%20no%20text%20%FF.html" in page
        assert "a%23b%3F.html" in page


def test_the_index_keeps_no_explanation_in_memory(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each holds its picture and the maps of every method: thousands of them fill any machine."""
    save_photographs(tmp_path / "photos", 2)
    alive = []

    def index_page(*_: object) -> bytes:
        gc.collect()
        alive.append(sum(type(each) is Explanation for each in gc.get_objects()))
        return b""

    monkeypatch.setattr("vision_transformers.report.explanation_page.index_page", index_page)
    arguments = [str(model), str(tmp_path / "photos"), "--format", "html", "--output", str(tmp_path / "out")]
    assert main(["explain", *arguments, "--device", "cpu"]) == 0
    assert alive == [1], "that of the last picture"


def test_the_longest_names_of_files_are_allowed(vit: Vit, model: Path, tmp_path: Path) -> None:
    (picture,) = save_photographs(tmp_path / "photos", 1, ".png")
    for stem in ("a" * 251, "猫" * 83):
        os.link(picture, tmp_path / "photos" / f"{stem}.png")
    explain(vit, tmp_path, model, "photos", "--format", "html", "--output", "out")
    written = sorted(path.stem for path in (tmp_path / "out").iterdir())
    assert written == ["0000-photos-000", f"0001-photos-{'a' * 173}", f"0002-photos-{'猫' * 57}", "index"]


def test_classes_in_any_script_are_drawn_without_a_warning(vit: Vit, tmp_path: Path) -> None:
    random_classifier(("猫", "кошка", "𒀀")).save(tmp_path / "model")
    save_photographs(tmp_path / "photos", 3)
    for number, name in enumerate(("猫", "𒀀")):
        finished = vit.run(
            tmp_path, ["explain", "model", "photos", "--class", name, "--output", f"out-{number}"]
        )
        assert (finished.code, finished.errors) == (0, "")


@pytest.mark.parametrize("format", ["html", "npz"])
def test_a_model_of_one_patch_is_explained_by_all_that_takes_none_away(
    vit: Vit, tmp_path: Path, format: str
) -> None:
    config = ViTConfig((16, 16), 16, 1, 2, 16, 3, 3, (16, 16))
    description = ModelDescription(config, Preprocessing(size=(16, 16)), ("cat", "dog", "owl"), {}, None)
    Classifier(ViT.from_config(config), description, device="cpu").save(tmp_path / "model")
    save_photographs(tmp_path, 1)
    explain(vit, tmp_path, Path("model"), "000.jpg", "--format", format)
    assert (tmp_path / "explanations" / f"0000-000.{format}").exists()
    output = explain(vit, tmp_path, Path("model"), "000.jpg", "--method", "occlusion", code=2)
    assert "--method occlusion takes patches away" in output


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_offered(vit: Vit, model: Path, tmp_path: Path, method: str) -> None:
    (picture,) = save_photographs(tmp_path, 1)
    explain(vit, tmp_path, model, picture.name, "--method", method, "--output", "there")
    assert (tmp_path / "there" / "0000-000.png").exists()


def test_the_weights_are_drawn_with_and_without_pictures(vit: Vit, model: Path, tmp_path: Path) -> None:
    save_photographs(tmp_path / "photos", 3)
    for pictures in ([], ["photos"]):
        explain(vit, tmp_path, model, *pictures, "--of", "weights", "--output", f"out-{len(pictures)}")
        assert Image.open(tmp_path / f"out-{len(pictures)}" / "weights.png").width > 1000


def test_a_broken_picture_does_not_stop_the_others(vit: Vit, model: Path, tmp_path: Path) -> None:
    paths = save_photographs(tmp_path / "photos", 2)
    paths[0].write_bytes(b"no picture")
    output = explain(vit, tmp_path, model, "photos", code=3)
    assert "cannot be decoded" in output
    assert (tmp_path / "explanations" / "0001-photos-001.png").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name pictures"),
        (["photo.png", "--class", "catt"], 2, "no class is called 'catt': did you mean 'cat'?"),
        (["photo.png", "--output", "photo.png"], 2, "is a file: name a folder"),
        (["photo.png", "--output", "/proc/nobody/writes"], 2, "/proc/nobody/writes cannot be written"),
        (["nowhere.png"], 3, "nowhere.png does not exist"),
        (["-"], 3, "standard input named no pictures"),
        (["-", "--of", "weights"], 3, "standard input named no pictures"),
        (["--of", "weights", "--method", "rollout"], 2, "--method is of no use with --of weights"),
        (["--of", "weights", "--class", "cat"], 2, "--class is of no use with --of weights"),
        (["photo.png", "--limit", "0"], 2, "--limit is 0: expected 1 or more"),
        (["--of", "weights", "--limit", "2"], 2, "--limit is of no use with --of weights"),
        (["--of", "weights", "--format", "npz"], 2, "--format is of no use with --of weights"),
    ],
)
def test_what_makes_no_sense_is_told(
    vit: Vit, model: Path, tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    Image.fromarray(noise(0)).save(tmp_path / "photo.png")
    assert message in explain(vit, tmp_path, model, *arguments, code=code)
    assert not (tmp_path / "explanations").exists()


@pytest.mark.parametrize("size", [(40, 60), (61, 40), (32, 32), (33, 100)])
def test_the_part_that_the_model_sees_is_where_it_is(size: tuple[int, int]) -> None:
    """A picture that is black but for that part is white to the model."""
    preprocessing = Preprocessing(size=(16, 16), crop="center", crop_fraction=0.75)
    height, width = size
    blank = Image.new("L", (width * 8, height * 8))
    left, top, right, bottom = seen_part(blank, preprocessing)
    box = [round(part * side) for part, side in zip((left, top, right, bottom), blank.size * 2, strict=True)]
    blank.paste(255, tuple(box))
    seen = np.asarray(resize(blank, preprocessing))
    assert seen[1:-1, 1:-1].min() == 255
    assert seen.mean() > 235
    assert (right - left) * width == pytest.approx((bottom - top) * height, rel=0.06)


def test_an_overlay_colours_what_speaks_for_and_against() -> None:
    values = np.array([[1.0, -0.5], [0.0, 0.25]], np.float32)
    colours = map_colours(values)
    assert colours[..., 3].tolist() == [[255, 128], [0, 64]]
    assert colours[0, 0, 0] > colours[0, 0, 2]
    assert colours[0, 1, 2] > colours[0, 1, 0]
    picture = np.full((40, 80, 3), 100, np.uint8)
    shown = overlaid(picture, values, (0.25, 0.0, 0.75, 1.0))
    assert shown.shape == picture.shape
    assert (shown[:, :20] == shown[0, 0]).all()
    assert (shown[30, 30] == 100).all()


def test_a_map_that_is_the_same_everywhere_has_no_colour() -> None:
    assert not map_colours(np.full((2, 2), 0.3, np.float32))[..., 3].any()
    assert not map_colours(np.zeros((2, 2), np.float32))[..., 3].any()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    yield from open_browser()


@pytest.mark.parametrize("width", [380, 1280])
def test_the_page_answers_to_every_choice_without_a_network(
    vit: Vit, browser: Any, model: Path, tmp_path: Path, width: int
) -> None:
    (picture,) = save_photographs(tmp_path, 1)
    explain(vit, tmp_path, model, picture.name, "--format", "html")
    with opened_page(browser, tmp_path / "explanations" / "index.html", width) as page:
        page.click("text=000.jpg")
        page.wait_for_url("**/0000-000.html")
        assert page.evaluate("document.documentElement.scrollWidth") <= width

        def seen() -> str:
            return str(page.evaluate("document.getElementById('map').toDataURL()"))

        first = seen()
        assert page.evaluate("document.getElementById('class').options.length") == 5
        page.select_option("#class", index=1)
        of_other_class = seen()
        assert of_other_class != first
        page.select_option("#method", "rollout")
        assert seen() not in (first, of_other_class)
        assert page.is_disabled("#class")
        assert "not why" in page.inner_text("#words")
        page.select_option("#method", "heads")
        mean_of_last = seen()
        page.select_option("#head", index=2)
        assert seen() != mean_of_last
        page.select_option("#layer", index=0)
        of_first_layer = seen()
        page.select_option("#head", index=1)
        assert seen() != of_first_layer
        page.focus("#opacity")
        for _ in range(5):
            page.keyboard.press("ArrowLeft")
        assert float(page.evaluate("document.getElementById('map').style.opacity")) == pytest.approx(0.7)
        page.focus("#method")
        page.keyboard.press("Home")
        assert page.input_value("#method") == next(iter(METHODS))


def test_a_name_from_outside_runs_no_code(browser: Any, tmp_path: Path) -> None:
    from vision_transformers.report.explanation_page import explanation_page

    evil = "</script><script>document.title = 'broken in'</script>"
    classifier = random_classifier((evil, "b", "c"))
    explained = explain_picture(classifier, Image.fromarray(noise(0)), evil, list(METHODS), None, True)
    (tmp_path / "page.html").write_bytes(explanation_page(explained))
    with opened_page(browser, tmp_path / "page.html", 1280) as page:
        assert page.title() != "broken in"
        content = json.loads(
            page.inner_text("#content") or page.evaluate("document.getElementById('content').textContent")
        )
        labels = {each["label"] for each in content["methods"]["attention-lrp"]["maps"]}
        assert labels == {evil, "b", "c"}


def test_the_sheet_of_few_pictures_shows_each_once(vit: Vit, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "few" / name).mkdir(parents=True)
        for number in range(5):
            level = 40 * number + (20 if name == "b" else 0)
            Image.new("RGB", (32, 32), (level, 0, 0)).save(tmp_path / "few" / name / f"{number}.png")
    command = ["train", "folder", "--data.path", "few", "--data.validation-fraction", "0.4", "--steps", "1"]
    small = ["--preprocessing.size", "32", "32", "--model.max-image-shape", "32", "32", "--batch-size", "4"]
    finished = vit.run(tmp_path, [*command, *small, *TINY, "--run-folder", "run"])
    assert finished.code == 0, finished.errors
    sheet = Image.open(tmp_path / "run" / "plots" / "explanations.png")
    assert sheet.width == 228  # two by two of 96 pixels, not 16
    assert 272 < sheet.height < 400  # with a legend


def test_training_leaves_a_sheet_and_the_board_has_it(vit: Vit, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    command = ["train", "digits", "--epochs", "2", "--explain-every", "1", "--threads", "1"]
    finished = vit.run(tmp_path, [*command, "--run-folder", "run", "--model.number-of-layers", "1"])
    assert finished.code == 0, finished.errors
    assert Image.open(tmp_path / "run" / "plots" / "explanations.png").width > 300
    board = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0})
    board.Reload()
    assert len(board.Images("explanations")) == 2
    assert torch.get_num_threads() >= 1
