"""Features in a file are those that were given, whatever the pictures are called."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from vision_transformers.errors import Failure
from vision_transformers.report.feature_file import FeatureFile


def test_rows_and_names_come_back_without_pickle(tmp_path: Path) -> None:
    names = ["a.jpg", "two\nlines.jpg", "größe/λ.jpg", "not\udcffutf8.jpg"]
    rows = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    with FeatureFile(tmp_path / "features.npz", 3) as file:
        for name, row in zip(names, rows, strict=True):
            file.write(name, row)
    with np.load(tmp_path / "features.npz", allow_pickle=False) as loaded:
        assert loaded["paths"].tolist() == names
        np.testing.assert_array_equal(loaded["features"], rows)
    assert [path.name for path in tmp_path.iterdir()] == ["features.npz"]


def test_no_pictures_are_no_rows(tmp_path: Path) -> None:
    with FeatureFile(tmp_path / "features.npz", 3):
        pass
    with np.load(tmp_path / "features.npz", allow_pickle=False) as loaded:
        assert loaded["paths"].shape == (0,)
        assert loaded["features"].shape == (0, 3)


def test_what_cannot_be_written_is_told_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "features.npz"
    with pytest.raises(Failure, match=f"cannot write {path}: No such file"), FeatureFile(path, 3):
        pass


def test_what_breaks_off_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "features.npz").write_bytes(b"before")
    with contextlib.suppress(KeyboardInterrupt), FeatureFile(tmp_path / "features.npz", 3) as file:
        file.write("a", np.zeros(3, np.float32))
        raise KeyboardInterrupt
    assert (tmp_path / "features.npz").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1
