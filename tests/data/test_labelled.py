"""A model is judged by the images that a person means, with labels that mean what the model means."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.training.runs import make_images

from vision_transformers.data.images import DataSets, ImageFiles
from vision_transformers.data.labelled import Labelled, LearnedFrom, in_order_of, load_labelled
from vision_transformers.data.loading import load_data
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.source import DataSource
from vision_transformers.errors import DataFailure, UsageFailure

SMALL = Preprocessing(size=(8, 8), channels=1)


def load(data: Path | str, learned_from: LearnedFrom | None = None) -> Labelled:
    return load_labelled(str(data), SMALL, None, learned_from)


def noted(source: DataSource, sets: DataSets) -> LearnedFrom:
    return LearnedFrom(source, sets.listing, sets.fingerprint)


def paths(labelled: Labelled, split: str) -> set[Path]:
    images = labelled.split(split)
    assert isinstance(images, ImageFiles)
    return set(images.paths)


def test_the_runs_own_data_is_split_as_it_was() -> None:
    source = DataSource(name="digits", validation_fraction=0.3, split_seed=5)
    expected = load_data(source, SMALL)
    found = load("digits", noted(source, expected))
    assert found.is_of_run
    assert not load("digits", LearnedFrom(source, "of other images", "")).is_of_run
    assert found.splits == ("test", "validation", "train", "all")
    for split in ("test", "validation", "train"):
        assert torch.equal(found.split(split).labels, getattr(expected, split).labels)
    together = found.split("all")
    assert len(together) == 1797
    names = [found.split(split).name(0) for split in ("test", "validation", "train")]
    starts = (0, len(found.split("test")), len(found.split("test")) + len(found.split("validation")))
    assert [together.name(start) for start in starts] == names
    assert together.select(torch.tensor([starts[1]])).name(0) == names[1]
    assert len({together.name(place) for place in range(1797)}) == 1797
    assert not load("digits", noted(DataSource(name="mnist"), expected)).is_of_run


def test_the_runs_own_folder_is_split_as_it_was_and_another_is_taken_whole(tmp_path: Path) -> None:
    make_images(tmp_path / "own", count=10)
    for name in ("moved", "numbered-alike", "one-less"):
        shutil.copytree(tmp_path / "own", tmp_path / name)
    for picture in (tmp_path / "numbered-alike").rglob("*.png"):
        Image.new("L", (40, 40)).save(picture)
    (tmp_path / "one-less" / "class-0" / "0.png").unlink()
    source = DataSource(name="folder", path="where it was", test_fraction=0.3)
    sets = load_data(replace(source, path=str(tmp_path / "own")), SMALL)
    own = load(tmp_path / "own", noted(source, sets))
    assert own.is_of_run
    assert isinstance(sets.test, ImageFiles)
    assert paths(own, "test") == set(sets.test.paths)
    moved = load(tmp_path / "moved", noted(source, sets))
    assert moved.splits == ("test", "validation", "train", "all")
    for name, count in (("numbered-alike", 30), ("one-less", 29)):
        other = load(tmp_path / name, noted(source, sets))
        assert (other.is_of_run, other.splits, len(other.split("all"))) == (False, ("all",), count)
    with pytest.raises(UsageFailure, match="no split 'test': choose --split from all"):
        other.split("test")
    there = replace(source, path=str(tmp_path / "own"))
    Image.new("L", (40, 40)).save(tmp_path / "own" / "class-0" / "0.png")
    assert load(tmp_path / "own", noted(there, sets)).is_of_run, "one that was saved again changes no split"


def test_a_folder_has_its_name_also_where_one_stands_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_images(tmp_path / "pets", count=10)
    monkeypatch.chdir(tmp_path / "pets")
    source = DataSource(name="folder", path=str(tmp_path / "pets"))
    own = load(".", noted(source, load_data(source, SMALL)))
    assert (own.is_of_run, own.name) == (True, "pets")
    assert load(".").name == "pets"


def test_parts_by_other_names_are_refused_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    make_images(tmp_path / "pets" / "train", classes=2)
    make_images(tmp_path / "pets" / "test", classes=2)
    make_images(tmp_path / "pets" / "more", classes=2)
    assert load(tmp_path / "pets").description.endswith("(folders that are no part left out: more)")
    (tmp_path / "pets" / "more").rename(tmp_path / "pets" / "valid")
    with pytest.raises(DataFailure, match="rename valid to val"):
        load(tmp_path / "pets")


def test_parts_may_stand_alone_and_lack_classes(tmp_path: Path) -> None:
    make_images(tmp_path / "test", classes=3)
    make_images(tmp_path / "val", classes=2)
    found = load(tmp_path)
    assert found.splits == ("test", "validation", "all")
    assert found.classes == ("class-0", "class-1", "class-2")
    assert len(found.split("validation")) == 24
    assert len(found.split("all")) == 60


def test_one_class_alone_can_be_judged(tmp_path: Path) -> None:
    make_images(tmp_path, classes=1)
    assert load(tmp_path).classes == ("class-0",)


def test_classes_are_matched_by_name_in_any_order(tmp_path: Path) -> None:
    make_images(tmp_path, classes=2, count=2)
    found = load(tmp_path)
    ours = in_order_of(found, found.split("all"), ("class-1", "other", "class-0"))
    assert ours.labels.tolist() == [2, 2, 0, 0]


def test_a_class_that_the_model_does_not_know_is_refused_with_both_lists(tmp_path: Path) -> None:
    make_images(tmp_path, classes=2, count=2)
    found = load(tmp_path)
    with pytest.raises(DataFailure) as caught:
        in_order_of(found, found.split("all"), ("class-0", "klass-1"))
    message = str(caught.value)
    assert "does not know 'class-1'" in message
    assert "'class-0', 'class-1'" in message
    assert "'class-0', 'klass-1'" in message


def test_what_is_neither_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageFailure, match=r"no folder .*known are digits, mnist"):
        load(tmp_path / "nothing")
    with pytest.raises(DataFailure, match="no folders in it"):
        load(tmp_path)
