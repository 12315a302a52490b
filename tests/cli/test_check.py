"""`vit check` tells what would stop or spoil a training, before it, and changes nothing."""

import errno
import json
import os
import re
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.cli.test_options import FROZEN
from tests.photographs import noise, save_photographs, save_readable, save_unreadable

from vision_transformers.cli.main import main
from vision_transformers.cli.train import CommandLine, parse
from vision_transformers.data.inspection import near_copies
from vision_transformers.data.loading import load_data
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.source import DataSource
from vision_transformers.errors import DataFailure, Failure


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def save(path: Path, seed: int = 0, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(seed)).save(path, **options)
    return path


def make(folder: Path, count: int = 4) -> Path:
    """Two classes without anything to say about them."""
    for label, name in enumerate(("cat", "dog")):
        for number in range(count):
            save(folder / name / f"{number}.png", 1000 + 100 * label + number)
    return folder


def make_noise_in_parts(folder: Path, parts: Sequence[str]) -> Path:
    """Two classes of four pictures in each part, none of them alike."""
    for number, part in enumerate(parts):
        for label, name in enumerate(("cat", "dog")):
            for index in range(4):
                save(folder / part / name / f"{index}.png", 1000 * number + 100 * label + index)
    return folder


def check(folder: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code and the findings by their kind."""
    output = folder.with_name(f"{folder.name}.json")
    code = main(["check", str(folder), "--output", str(output), "--workers", "0", *options])
    content = json.loads(output.read_text())
    return code, {finding["kind"]: finding for finding in content["findings"]}


def paths(finding: dict[str, Any]) -> list[list[str]]:
    """The last two parts of each path."""
    return [["/".join(Path(path).parts[-2:]) for path in item["paths"]] for item in finding["items"]]


def test_good_pictures_are_fine_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, findings = check(make(tmp_path / "pets"))
    assert (code, findings) == (0, {})
    output = capsys.readouterr().out
    assert "pets: 8 pictures, 2 classes" in output
    assert "smallest 20 x 24, median 20 x 24, largest 20 x 24" in output
    assert output.endswith("problems: 0, notes: 0\n")


def test_sizes_are_told_from_the_fewest_pixels_to_the_most(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, (width, height) in enumerate(((20, 50), (40, 20), (30, 30))):
        for label, name in enumerate(("cat", "dog")):
            path = tmp_path / "pets" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise(10 * number + label, height, width)).save(path)
    check(tmp_path / "pets")
    assert "smallest 40 x 20, median 30 x 30, largest 20 x 50" in capsys.readouterr().out


def an_empty_class(folder: Path) -> None:
    (folder / "ant").mkdir()


def a_class_that_test_lacks(folder: Path) -> None:
    make(folder / "train")
    save(folder / "test" / "cat" / "a.png", 7)
    for name in ("cat", "dog"):
        for path in (folder / name).iterdir():
            path.unlink()
        (folder / name).rmdir()


def one_class(folder: Path) -> None:
    for path in (folder / "dog").iterdir():
        path.unlink()
    (folder / "dog").rmdir()


def two_pictures(folder: Path) -> None:
    for seed in (51, 52):
        save(folder / "ant" / f"{seed}.png", seed)


def a_text(folder: Path) -> None:
    (folder / "cat" / "page.jpg").write_text("<!doctype html>")


def a_bomb(folder: Path) -> None:
    save_unreadable(folder.parent / "bad")
    (folder.parent / "bad" / "bomb.png").rename(folder / "cat" / "bomb.png")


def a_link_that_leads_nowhere(folder: Path) -> None:
    (folder / "cat" / "gone.png").symlink_to("nowhere.png")


def a_download_that_broke_off(folder: Path) -> None:
    whole = save(folder / "cat" / "photo.jpg", 50, quality=95)
    whole.write_bytes(whole.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (an_empty_class, "empty-class"),
        (a_class_that_test_lacks, "missing-class"),
        (one_class, "one-class"),
        (two_pictures, "too-few"),
        (a_text, "unreadable"),
        (a_bomb, "unreadable"),
        (a_link_that_leads_nowhere, "unreadable"),
        (a_download_that_broke_off, "cut-short"),
    ],
)
def test_what_stops_a_training_is_known_before(
    tmp_path: Path, spoil: Callable[[Path], None], kind: str
) -> None:
    folder = make(tmp_path / "pets")
    load_data(DataSource(name="folder", path=str(folder)), Preprocessing())
    spoil(folder)
    code, findings = check(folder)
    assert code == 3
    assert [name for name, finding in findings.items() if finding["is_problem"]] == [kind]
    with pytest.raises(DataFailure):
        load_data(DataSource(name="folder", path=str(folder)), Preprocessing())


def test_a_folder_that_is_arranged_in_another_way_is_told_as_training_tells_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "pets" / "training")
    make(tmp_path / "pets" / "testing")
    assert main(["check", str(tmp_path / "pets")]) == 3
    assert "rename testing to test, training to train" in capsys.readouterr().err


def test_damage_within_a_whole_file_is_found_which_training_meets_on_its_way(tmp_path: Path) -> None:
    """Its header and its last bytes are there, which is all that is looked at when a training starts."""
    folder = make(tmp_path / "pets")
    content = bytearray((folder / "cat" / "0.png").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    (folder / "cat" / "0.png").write_bytes(content)
    load_data(DataSource(name="folder", path=str(folder)), Preprocessing())
    code, findings = check(folder)
    assert code == 3
    assert paths(findings["unreadable"]) == [["cat/0.png"]]


def test_a_test_on_what_was_learned_from_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Though the copy has another name and another format, or the camera was held sideways."""
    folder = tmp_path / "pets"
    for part, seed in (("train", 0), ("val", 300), ("test", 600)):
        for label, name in enumerate(("cat", "dog")):
            for number in range(3):
                save(folder / part / name / f"{number}.png", seed + 100 * label + number)
    save(folder / "test" / "cat" / "copy.bmp", 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(noise(102)).transpose(Image.Transpose.ROTATE_90)
    turned.save(folder / "val" / "dog" / "copy.png", exif=exif)
    code, findings = check(folder)
    assert code == 3
    assert [name for name, finding in findings.items() if finding["is_problem"]] == ["copies-between-parts"]
    assert paths(findings["copies-between-parts"]) == [
        ["cat/1.png", "cat/copy.bmp"],
        ["dog/2.png", "dog/copy.png"],
    ]
    output = capsys.readouterr().out
    assert "copied into several parts: 2 pictures (1 in train and test, 1 in train and validation)" in output
    assert f"{folder / 'train/cat/1.png'} = {folder / 'test/cat/copy.bmp'}" in output


def test_a_picture_in_two_classes_has_a_wrong_label(tmp_path: Path) -> None:
    folder = make(tmp_path / "pets")
    save(folder / "dog" / "copy.tif", 1002)
    code, findings = check(folder)
    assert (code, list(findings)) == (3, ["copies-between-classes"])
    assert paths(findings["copies-between-classes"]) == [["cat/2.png", "dog/copy.tif"]]
    assert findings["copies-between-classes"]["items"][0]["reason"] == ""


def test_one_file_by_two_paths_is_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A person who looks for a copy to remove would remove the picture."""
    folder = make(tmp_path / "pets", count=2)
    (folder / "cat" / "loop").symlink_to("..")
    code, findings = check(folder)
    assert code == 3
    reasons = [item["reason"] for item in findings["copies-between-classes"]["items"]]
    assert reasons == ["a link leads to the same file"] * 2
    assert "dog/1.png (a link leads to the same file)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("parts", "expected"),
    [((), 3), (("train", "test"), 3), (("test", "train"), 0), (("train", "val", "test"), 0)],
)
def test_copies_in_one_class_are_worse_where_a_lot_decides_what_judges(
    tmp_path: Path, parts: tuple[str, ...], expected: int
) -> None:
    """The copies lie in the first part: in one that nothing is drawn from, they count twice, and no more."""
    folder = make_noise_in_parts(tmp_path / "pets", parts or ("",))
    first = folder / (parts or ("",))[0] / "cat"
    save(first / "copy.bmp", 3)
    code, findings = check(folder)
    assert (code, list(findings)) == (expected, ["copies-within-class"])
    assert paths(findings["copies-within-class"]) == [["cat/3.png", "cat/copy.bmp"]]


def test_copies_before_a_lot_are_a_problem_though_other_copies_are_none(tmp_path: Path) -> None:
    """Images to validate are drawn from `train`; nothing is drawn from `test`."""
    folder = make_noise_in_parts(tmp_path / "pets", ("train", "test"))
    for number, part in enumerate(("train", "test")):
        save(folder / part / "cat" / "copy.bmp", 1000 * number + 3)
    code, findings = check(folder)
    assert (code, list(findings)) == (3, ["copies-within-class"])
    assert len(findings["copies-within-class"]["items"]) == 2


def test_a_copy_in_the_same_class_of_another_part_is_not_told_twice(tmp_path: Path) -> None:
    folder = make_noise_in_parts(tmp_path / "pets", ("train", "val", "test"))
    save(folder / "test" / "cat" / "copy.png", 2)  # as train/cat/2.png
    assert list(check(folder)[1]) == ["copies-between-parts"]


def test_a_link_among_three_copies_is_said_to_be_one(tmp_path: Path) -> None:
    folder = make(tmp_path / "pets")
    save(folder / "cat" / "copy.png", 1000)  # as cat/0.png
    (folder / "cat" / "link.png").symlink_to(folder / "cat" / "0.png")
    (item,) = check(folder)[1]["copies-within-class"]["items"]
    assert item["reason"] == "a link leads to the same file"


def test_what_is_unusual_is_told_by_name(tmp_path: Path) -> None:
    folder = make(tmp_path / "pets", count=8)
    save_readable(folder / "cat")
    exif = Image.Exif()
    exif[0x0112] = 3
    save(folder / "dog" / "upside-down.jpg", 20, exif=exif)
    save(folder / "dog" / "is-a-png.jpg", 21, format="PNG")
    Image.fromarray(noise(22, 10, 12)).save(folder / "dog" / "icon.png")
    Image.fromarray(noise(23, 20, 90)).save(folder / "dog" / "strip.png")
    Image.fromarray(noise(24, channels=4)).save(folder / "dog" / "logo.png")
    code, findings = check(folder)
    assert code == 0
    near = findings.pop("near-copies-within-class")
    assert paths(near) == [["cat/cmyk.jpg", "cat/grey.bmp", "cat/see-through.webp"]]
    assert {kind: sorted(chain(*paths(finding))) for kind, finding in findings.items()} == {
        "turned": ["dog/upside-down.jpg"],
        "16-bit": ["cat/deep.png"],
        "palette": ["cat/moving.gif", "cat/palette.png"],
        "transparent": ["cat/palette.png", "dog/logo.png"],
        "cmyk": ["cat/cmyk.jpg"],
        "several-frames": ["cat/moving.gif"],
        "misnamed": ["dog/is-a-png.jpg"],
        "small": ["dog/icon.png"],
        "thin": ["dog/strip.png"],
    }
    for finding in findings.values():
        for option in re.findall(r"--[a-z.-]+", finding["remedy"]):
            assert f"vit train {option}\n" in FROZEN.read_text()


def test_grey_pictures_and_rare_classes_come_with_options_that_exist(tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    for label, (name, count) in enumerate((("rare", 4), ("usual", 12))):
        for number in range(count):
            (folder / name).mkdir(parents=True, exist_ok=True)
            grey = Image.fromarray(noise(100 * label + number)).convert("L")
            grey.convert("RGB").save(folder / name / f"{number}.png")
    code, findings = check(folder)
    assert (code, list(findings)) == (0, ["imbalance", "all-grey"])
    assert "3.0 times" in findings["imbalance"]["summary"]
    typed = [*command(findings["all-grey"]), *command(findings["imbalance"])]
    options, _ = parse(CommandLine.of([*typed, "--data.path", str(folder)]))
    assert options.recipe.preprocessing.channels == options.recipe.model.number_of_channels == 1
    assert options.recipe.class_weights == "balanced"


def command(finding: dict[str, Any]) -> list[str]:
    """What a remedy says that one may type, after `vit train`."""
    typed: str = finding["remedy"].split("`")[1]
    return typed.removeprefix("vit train ").split()


def test_classes_that_differ_by_capitals_only_are_told(tmp_path: Path) -> None:
    folder = make(tmp_path / "pets" / "train").parent
    for label, name in enumerate(("cat", "Dog")):
        save(folder / "val" / name / "0.png", 50 + label)
    code, findings = check(folder)
    missing = findings["missing-class"]["items"]
    assert code == 3
    assert {item["paths"][0]: item["reason"] for item in missing} == {
        str(folder / part / name): f"{other} is there, which differs by capitals only"
        for part, name, other in (("train", "Dog", "dog"), ("val", "dog", "Dog"))
    }


def test_pictures_in_folders_inside_a_class_are_told(tmp_path: Path) -> None:
    folder = make(tmp_path / "pets")
    save(folder / "cat" / "nested" / "deeper" / "0.png", 50)
    code, findings = check(folder)
    assert (code, paths(findings["nested"])) == (0, [["deeper/0.png"]])


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    folder = make(tmp_path / "pets" / "train").parent
    for label, name in enumerate(("cat", "dog")):
        save(folder / "test" / name / "0.png", 50 + label)
    (folder / "train" / "cat" / "labels.txt").write_text("cat")
    save(folder / "train" / "cat" / "photo", 60, format="JPEG")
    (folder / "train" / "cat" / "._0.png").write_bytes(b"\0\5\26\7")
    (folder / "train" / ".git").mkdir()
    save(folder / "backup" / "0.png", 61)
    save(folder / "train" / "__MACOSX" / "cat" / "._0.png", 62)
    (folder / "train" / "readme.md").write_text("pets")
    code, findings = check(folder)
    assert code == 0
    assert {kind: sorted(chain(*paths(finding))) for kind, finding in findings.items()} == {
        "unnamed-pictures": ["cat/photo"],
        "no-pictures": ["cat/labels.txt"],
        "beside": ["pets/backup", "train/readme.md"],
        "hidden": ["cat/._0.png", "train/.git", "train/__MACOSX"],
    }


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_what_this_user_may_not_read_is_told(tmp_path: Path) -> None:
    folder = make(tmp_path / "pets")
    (folder / "cat" / "0.png").chmod(0)
    (folder / "dog" / "below").mkdir(mode=0)
    code, findings = check(folder)
    (folder / "dog" / "below").chmod(0o700)
    assert code == 3
    assert "permission" in findings["unreadable"]["items"][0]["reason"]
    assert "below cannot be listed" in findings["unlisted-folder"]["items"][0]["reason"]


def test_a_class_that_could_not_be_listed_is_not_called_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path / "pets")
    (folder / "ant").mkdir()
    listdir = os.listdir

    def fails_for_the_cats(path: Any) -> list[str]:
        if Path(path) == folder / "cat":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", fails_for_the_cats)
    _, findings = check(folder)
    assert paths(findings["empty-class"]) == [["pets/ant"]]
    assert "cat cannot be listed" in findings["unlisted-folder"]["items"][0]["reason"]


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes()) for path in found}


def test_workers_change_nothing_and_nothing_on_the_disk_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even names that are no text, that would move the cursor, or that lead around in a circle."""
    folder = make(tmp_path / "pets", count=30)
    save_readable(folder / "cat")
    save_unreadable(folder / "dog")
    save_photographs(folder / "dog" / "more\nlines\x1b[2J", 40)
    save(Path(os.fsdecode(os.fsencode(folder / "dog") + b"/\xff.png")), 500)
    save(folder / "cat" / "same\r.png", 500)
    (folder / "cat" / "around").symlink_to(folder / "cat", target_is_directory=True)
    before = state(folder)
    results = []
    for workers in ("0", "2"):
        code, findings = check(folder, "--workers", workers)
        results.append((code, findings, capsys.readouterr().out))
    assert results[0] == results[1]
    code, findings, output = results[0]
    assert code == 3
    assert len(findings["unreadable"]["items"]) + len(findings["cut-short"]["items"]) == 4
    assert all(line.isprintable() for line in output.splitlines())
    assert "same\\r.png" in output
    assert "\\udcff.png" in output
    assert state(folder) == before
    assert not (tmp_path / "cache").exists()


def test_an_output_that_fails_does_not_take_what_was_found_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise Failure("no space")

    monkeypatch.setattr("vision_transformers.cli.check.write_json", full)
    assert main(["check", str(make(tmp_path / "pets")), "--output", str(tmp_path / "all.json")]) == 1
    assert "problems: 0, notes: 0" in capsys.readouterr().out


def test_a_thousand_classes_are_not_a_thousand_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for label in range(30):
        for number in range(3):
            pixels = np.full((16, 16, 3), (label, number, 9), np.uint8)
            (tmp_path / "many" / f"{label:02}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "many" / f"{label:02}" / f"{number}.png")
    assert check(tmp_path / "many") == (0, {})
    output = capsys.readouterr().out
    assert "all: 90 pictures, of a class 3 (00) to 3 (29)" in output
    assert len(output.splitlines()) < 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nowhere"], "there is no folder nowhere"),
        (["."], ""),
        ([".", "--output", "../nowhere/all.json"], "there is no folder ../nowhere"),
        (["cat", "--output", "dog/0.png"], "dog/0.png: its ending should be .json"),
        (["cat", "--output", "link.json"], "link.json is in the folder that is looked at"),
        (["cat", "--output", "dog/../cat/all.json"], "cat/all.json is in the folder that is looked at"),
        ([".", "--workers", "-1"], "--workers is -1"),
    ],
)
def test_what_makes_no_sense_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(make(tmp_path))
    Path("link.json").symlink_to("cat/all.json")
    assert main(["check", *options]) == (2 if message else 0)
    assert message in capsys.readouterr().err


def photograph(seed: int) -> Image.Image:
    """Of a size and smoothness that photographs have."""
    return Image.fromarray(noise(seed, 240, 200))


def make_parts(folder: Path) -> Path:
    """Two classes in two parts, without anything to say about them."""
    for part, seed in (("train", 0), ("test", 300)):
        for label, name in enumerate(("cat", "dog")):
            for number in range(4):
                path = folder / part / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                photograph(seed + 100 * label + number).save(path)
    return folder


def test_a_test_picture_that_was_learned_from_in_another_size_quality_or_mirrored_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after an augmentation before the split, or a download from two sites."""
    folder = make_parts(tmp_path / "pets")
    photograph(1).resize((100, 120)).save(folder / "test" / "cat" / "smaller.jpg", quality=60)
    photograph(102).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "test" / "dog" / "mirrored.png")
    code, findings = check(folder)
    assert (code, list(findings)) == (0, ["near-copies-between-parts"])
    assert paths(findings["near-copies-between-parts"]) == [
        ["cat/1.png", "cat/smaller.jpg"],
        ["dog/2.png", "dog/mirrored.png"],
    ]
    reasons = [item["reason"] for item in findings["near-copies-between-parts"]["items"]]
    assert reasons == ["", "one of them mirrored"]
    output = capsys.readouterr().out
    assert "note: nearly the same in several parts: 4 pictures" in output
    assert f"{folder / 'train/cat/1.png'} ~ {folder / 'test/cat/smaller.jpg'}" in output


def test_copies_without_number_and_films_do_not_hide_what_was_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of "image not available", and where nothing is drawn by lot; a film that is, is told to be one."""
    monkeypatch.setattr(near_copies, "MOST_PAIRS", 5)
    folder = make_parts(tmp_path / "pets")
    for number in range(8):
        photograph(50).save(folder / "test" / "cat" / f"missing{number}.png")
        photograph(60).save(folder / "test" / "dog" / f"frame{number}.jpg", quality=60 + number)
    photograph(1).resize((100, 120)).save(folder / "test" / "cat" / "smaller.jpg")
    code, findings = check(folder)
    assert paths(findings["near-copies-between-parts"]) == [["cat/1.png", "cat/smaller.jpg"]]
    assert "near-copies-not-all" not in findings
    for number in range(8):
        photograph(70).save(folder / "train" / "dog" / f"frame{number}.jpg", quality=60 + number)
    code, findings = check(folder)
    assert code == 0
    assert "5 pairs or more" in findings["near-copies-not-all"]["summary"]


def test_pictures_that_are_nearly_the_same_in_two_classes_or_before_a_lot_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
    for number, quality in enumerate((95, 80, 50)):
        photograph(1).save(folder / "cat" / f"{number}.jpg", quality=quality)
        photograph(20 + number).save(folder / "dog" / f"{number}.jpg")
    photograph(21).resize((150, 180)).save(folder / "cat" / "stray.png")
    code, findings = check(folder)
    assert (code, list(findings)) == (0, ["near-copies-between-classes", "near-copies-within-class"])
    assert paths(findings["near-copies-between-classes"]) == [["cat/stray.png", "dog/1.jpg"]]
    assert paths(findings["near-copies-within-class"]) == [["cat/0.jpg", "cat/1.jpg", "cat/2.jpg"]]


def test_pictures_that_show_next_to_nothing_are_like_no_other(tmp_path: Path) -> None:
    """Else every picture of the sky would be called a copy of every other."""
    folder = make(tmp_path / "pets")
    for number in range(3):
        sky = np.linspace(200, 210 + number, 1600).reshape(40, 40, 1).repeat(3, axis=2).astype(np.uint8)
        Image.fromarray(sky).save(folder / "cat" / f"sky{number}.png")
    assert check(folder)[1] == {}
