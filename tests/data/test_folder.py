"""A person's folder of images is read as it is meant, or the message says what to change."""

import json
import logging
import os
from pathlib import Path

import pytest
from PIL import Image

from vision_transformers.data import checking
from vision_transformers.data.folder import count_training_images, read_folder
from vision_transformers.data.images import ImageFiles
from vision_transformers.data.loading import load_data
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.source import DataSource
from vision_transformers.errors import DataFailure
from vision_transformers.files import cache_folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), (10, 20, 30)).save(path, "PNG")
    return path


def make(folder: Path, *classes: str, count: int = 5) -> Path:
    for name in classes:
        for index in range(count):
            save(folder / name / f"{index}.png")
    return folder


def source(folder: Path, **fields: float) -> DataSource:
    return DataSource(name="folder", path=str(folder), **fields)  # type: ignore[arg-type]


def names(images: object) -> list[str]:
    assert isinstance(images, ImageFiles)
    return [path.name for path in images.paths]


def refusal(folder: Path) -> str:
    with pytest.raises(DataFailure) as failure:
        read_folder(source(folder))
    assert failure.value.exit_code == 3
    return str(failure.value)


def test_class_folders_become_sorted_classes_and_a_stratified_test_part(tmp_path: Path) -> None:
    data = read_folder(source(make(tmp_path / "pets", "dog", "cat", "Ant", count=10)))
    assert data.classes == ("Ant", "cat", "dog")
    assert data.test is not None
    assert data.test.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert len(data.train) == 24
    assert data.validation is None


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_own_parts_are_kept_as_they_are(tmp_path: Path, validation: str) -> None:
    for part, count in (("train", 5), (validation, 3), ("test", 2)):
        make(tmp_path / "pets" / part, "cat", "dog", count=count)
    data = load_data(source(tmp_path / "pets"), Preprocessing())
    assert data.validation is not None
    assert data.test is not None
    assert [len(part) for part in (data.train, data.validation, data.test)] == [10, 6, 4]
    assert "10 training images, 6 validation images, 4 test images, 2 classes" in data.description


def test_a_part_that_is_missing_is_held_out_of_train(tmp_path: Path) -> None:
    make(tmp_path / "pets" / "train", "cat", "dog", count=10)
    data = load_data(source(tmp_path / "pets"), Preprocessing())
    assert data.validation is not None
    assert data.test is not None
    assert [len(part) for part in (data.train, data.validation, data.test)] == [14, 2, 4]
    without = load_data(
        source(tmp_path / "pets", test_fraction=0.0, validation_fraction=0.0), Preprocessing()
    )
    assert (len(without.train), without.validation, without.test) == (20, None, None)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    assert read_folder(source(make(tmp_path / "vehicles", "bus", "train"))).classes == ("bus", "train")


@pytest.mark.parametrize(
    ("parts", "remedy"),
    [
        (("train", "valid"), "rename valid to val, or move"),
        (("train", "valid", "test"), "rename valid to val, or move"),
        (("Train", "Test"), "rename Test to test, Train to train, or move"),
        (("Training", "TESTING"), "rename TESTING to test, Training to train, or move"),
        (("training_set", "test_set"), "rename test_set to test, training_set to train, or move"),
        (("train", "val", "eval"), "rename eval to val, or move"),
        (("Train",), "rename Train to train, or move"),
    ],
)
def test_parts_by_other_names_are_not_taken_for_classes_nor_left_out(
    tmp_path: Path, parts: tuple[str, ...], remedy: str
) -> None:
    for part in parts:
        make(tmp_path / "pets" / part, "cat", "dog")
    message = refusal(tmp_path / "pets")
    assert str(tmp_path / "pets") in message
    assert remedy in message


def test_a_class_may_be_called_as_others_call_a_part(tmp_path: Path) -> None:
    assert read_folder(source(make(tmp_path / "vehicles", "bus", "Train"))).classes == ("Train", "bus")
    assert read_folder(source(make(tmp_path / "steps", "dev", "live"))).classes == ("dev", "live")


def test_folders_beside_the_parts_are_said_to_be_left_out(tmp_path: Path) -> None:
    for part in ("train", "test", "labels", "more cats"):
        make(tmp_path / "pets" / part, "cat", "dog")
    description = read_folder(source(tmp_path / "pets")).description
    assert description.endswith("pets (folders that are no part left out: labels, more cats)")


@pytest.mark.parametrize("fractions", [(0.1, 0.2), (0.0, 0.2), (0.5, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("own_part", [None, "val", "test"])
def test_what_is_left_to_learn_from_is_counted_as_it_is_split(
    tmp_path: Path, fractions: tuple[float, float], own_part: str | None
) -> None:
    names = [f"class-{number}" for number in range(20)]
    make(tmp_path / "few" / ("train" if own_part else ""), *names, count=3)
    if own_part:
        make(tmp_path / "few" / own_part, *names, count=1)
    validation, test = fractions
    few = source(tmp_path / "few", validation_fraction=validation, test_fraction=test)
    assert count_training_images(few) == (len(load_data(few, Preprocessing()).train), 20)


def test_a_link_to_a_picture_that_has_gone_is_not_left_out_in_silence(tmp_path: Path) -> None:
    folder = make(tmp_path / "pets", "cat", "dog")
    (folder / "cat" / "gone.png").symlink_to(tmp_path / "disk that is not mounted" / "1.png")
    (folder / "cat" / "round.png").symlink_to(folder / "cat" / "round.png")
    message = refusal(folder)
    assert "2 of 12 image files cannot be read" in message
    assert f"{folder / 'cat' / 'gone.png'} does not exist" in message


def test_images_are_found_deep_in_a_class_and_in_sorted_order(tmp_path: Path) -> None:
    folder = make(tmp_path / "pets", "dog", count=1)
    for name in ("b.PNG", "a.JPeG", "deep/er/c.tiff", "with space.png", "new\nline.png", "größe-猫.png"):
        save(folder / "cat" / name)
    for name in (".hidden.png", "._b.png", "Thumbs.db", "notes.txt", ".git/d.png"):
        save(folder / "cat" / name)
    make(folder, ".ipynb_checkpoints")
    make(folder, "__MACOSX")
    data = read_folder(source(folder, test_fraction=0.0))
    assert data.classes == ("cat", "dog")
    expected = ["a.JPeG", "b.PNG", "c.tiff", "größe-猫.png", "new\nline.png", "with space.png"]
    assert sorted(names(data.train)[:-1]) == expected
    assert isinstance(data.train, ImageFiles)
    assert list(data.train.paths) == sorted(data.train.paths)
    assert "(files that are no images left out: 1)" in data.description


def test_names_that_are_not_unicode_are_read_and_remembered(tmp_path: Path) -> None:
    folder = make(tmp_path / "pets", "cat", "dog")
    save(folder / "cat" / os.fsdecode(b"\xff.png"))
    first = read_folder(source(folder))
    assert read_folder(source(folder)).fingerprint == first.fingerprint


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    folder = make(tmp_path / "pets", "cat", "dog", count=2)
    (folder / "cat" / "again").symlink_to(folder / "cat", target_is_directory=True)
    (folder / "dog" / "up").symlink_to(folder, target_is_directory=True)
    data = read_folder(source(folder, test_fraction=0.0))
    assert data.train.labels.tolist().count(0) == 2


def test_what_is_no_folder_of_classes_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "missing")
    assert "is a file" in refusal(save(tmp_path / "file.png"))
    (tmp_path / "empty").mkdir()
    assert "has no folders in it" in refusal(tmp_path / "empty")
    assert "has one class, 'cat'" in refusal(make(tmp_path / "single", "cat"))


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "pets", "cat", "dog")
    (folder / "rabbit").mkdir()
    assert f"{folder / 'rabbit'} has no images" in refusal(folder)


def test_classes_that_differ_by_capitals_only_are_named(tmp_path: Path) -> None:
    make(tmp_path / "pets" / "train", "cat", "horse")
    make(tmp_path / "pets" / "val", "cat", "Horse")
    assert "(horse and Horse differ by capitals only)" in refusal(tmp_path / "pets")


def test_parts_with_different_classes_are_shown_with_both_lists(tmp_path: Path) -> None:
    make(tmp_path / "pets" / "train", "cat", "dog")
    make(tmp_path / "pets" / "val", "cat", "dgo")
    message = refusal(tmp_path / "pets")
    assert "has cat, dog" in message
    assert "has cat, dgo" in message


def test_parts_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "no-train" / "val", "cat", "dog")
    make(tmp_path / "no-train" / "test", "cat", "dog")
    assert "no folder train" in refusal(tmp_path / "no-train")
    for part in ("train", "val", "validation"):
        make(tmp_path / "both" / part, "cat", "dog")
    assert "keep one of them" in refusal(tmp_path / "both")


def test_a_class_too_small_to_split_is_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "pets", "cat", "dog")
    save(folder / "rabbit" / "only.png")
    assert "'rabbit'" in refusal(folder)


def test_files_that_are_no_images_are_counted_and_the_first_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "pets", "cat", "dog")
    for index in range(7):
        (folder / "cat" / f"broken-{index}.jpg").write_text("<html>")
    message = refusal(folder)
    assert message.startswith("7 of 17 image files cannot be read")
    assert message.count("broken-") == 5
    assert "and 2 more" in message


def test_the_second_start_opens_only_what_was_changed(tmp_path: Path) -> None:
    folder = make(tmp_path / "pets", "cat", "dog")
    read_folder(source(folder))
    changed = folder / "cat" / "0.png"
    before = changed.stat()
    changed.write_bytes(b"x" * before.st_size)
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))
    read_folder(source(folder))  # of the same size and time: taken as seen
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert str(changed) in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'{"cat/0.png": 3}'])
def test_a_broken_cache_is_made_again(tmp_path: Path, content: bytes) -> None:
    folder = make(tmp_path / "pets", "cat", "dog")
    read_folder(source(folder))
    (cache,) = cache_folder().glob("checked-*.json")
    cache.write_bytes(content)
    read_folder(source(folder))
    assert len(json.loads(cache.read_text())) == 10


def test_a_cache_that_cannot_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(save(tmp_path / "a file")))
    read_folder(source(make(tmp_path / "pets", "cat", "dog")))
    assert "opens all images again" in caplog.text


def test_many_pictures_are_not_opened_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a million on a slow disk, the first start takes an hour."""
    monkeypatch.setattr(checking, "MANY", 10)
    caplog.set_level(logging.INFO)
    folder = make(tmp_path / "pets", "cat", "dog")
    read_folder(source(folder))
    assert "opening 10 pictures, which is done once" in caplog.text
    assert "looked at 10 of 10 pictures" in caplog.text
    caplog.clear()
    read_folder(source(folder))
    assert not caplog.text


def test_the_fingerprint_knows_names_sizes_and_classes_but_not_the_place(tmp_path: Path) -> None:
    here, there = make(tmp_path / "here", "cat", "dog"), make(tmp_path / "there", "cat", "dog")
    fingerprint = read_folder(source(here)).fingerprint
    assert read_folder(source(there, split_seed=1, test_fraction=0.5)).fingerprint == fingerprint
    (there / "cat" / "0.png").rename(there / "cat" / "9.png")
    assert read_folder(source(there)).fingerprint != fingerprint


def test_one_bad_file_give_its_own_message(tmp_path: Path) -> None:
    bad = tmp_path / "empty.png"
    bad.touch()
    with pytest.raises(DataFailure, match=r"empty\.png cannot be decoded: it is empty"):
        checking.check_files([bad], tmp_path)
