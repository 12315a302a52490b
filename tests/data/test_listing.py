"""Whatever way a person names pictures, they come in one order, and none is missed."""

import io
import os
from pathlib import Path

import pytest
from tests.photographs import save_photographs

from vision_transformers.data.listing import find_pictures
from vision_transformers.errors import DataFailure


def found(*arguments: str, listed: bytes = b"", separator: bytes = b"\n") -> list[Path]:
    return list(find_pictures(arguments, io.BytesIO(listed), separator))


def test_a_folder_is_walked_in_the_order_of_its_names(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/1.jpg", "a/x/9.JPG", "a-b.png", "c.webp", "b/notes.txt", ".hidden/1.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    expected = ["a/x/9.JPG", "a-b.png", "b/1.jpg", "b/2.png", "c.webp"]
    assert [str(path.relative_to(tmp_path)) for path in found(str(tmp_path))] == expected


def test_arguments_keep_their_order_and_a_named_file_needs_no_known_ending(tmp_path: Path) -> None:
    first, second = save_photographs(tmp_path / "folder", 2)
    other = tmp_path / "scan"
    other.touch()
    assert found(str(other), str(tmp_path / "folder"), str(first)) == [other, first, second, first]


def test_a_pattern_that_the_shell_left_alone_is_matched(tmp_path: Path) -> None:
    paths = save_photographs(tmp_path / "deep" / "er", 3) + save_photographs(tmp_path / "deep", 1)
    (tmp_path / "deep" / "notes.txt").touch()
    assert found(str(tmp_path / "**" / "*")) == sorted(paths)
    assert found(str(tmp_path / "deep" / "00?.jpg")) == [tmp_path / "deep" / "000.jpg"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "[1].jpg"
    path.touch()
    assert found(str(path)) == [path]


def test_a_list_on_standard_input_may_name_anything(tmp_path: Path) -> None:
    names = [b"with space.jpg", "größe.jpg".encode(), b"not\xffutf8.jpg", b"=formula.jpg", b"-dash.jpg"]
    expected = [Path(os.fsdecode(name)) for name in names]
    assert found("-", listed=b"\n".join(names)) == expected
    assert found("-", listed=b"\n".join(names) + b"\n\n") == expected
    with_newline = [*names, b"two\nlines.jpg"]
    listed = b"".join(name + b"\0" for name in with_newline)
    assert found("-", listed=listed, separator=b"\0") == [Path(os.fsdecode(name)) for name in with_newline]
    paths = save_photographs(tmp_path / "folder", 2)
    assert found("-", listed=os.fsencode(tmp_path / "folder") + b"\na.jpg\n") == [*paths, Path("a.jpg")]


def test_what_does_not_exist_is_left_for_its_reader_to_say() -> None:
    assert found("nowhere/1.jpg") == [Path("nowhere/1.jpg")]


def test_a_missing_file_of_a_list_is_among_its_pictures_also_if_it_looks_like_a_pattern() -> None:
    """Else a table of the list would lack a row, and nobody would know of it."""
    assert found("-", listed=b"gone[1].jpg\nwhat*.jpg\n") == [Path("gone[1].jpg"), Path("what*.jpg")]


def test_a_name_that_no_file_can_have_does_not_end_the_list() -> None:
    names = [b"a" * 300 + b".jpg", b"b.jpg", b"c\0d.jpg"]
    assert found("-", listed=b"\n".join(names)) == [Path(os.fsdecode(name)) for name in names]


def test_links_that_lead_nowhere_are_left_for_their_reader_to_say(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "round.jpg").symlink_to(tmp_path / "round.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")  # a reader would wait for it without end
    assert found(str(tmp_path)) == [tmp_path / "a.jpg", tmp_path / "round.jpg"]
    assert found(str(tmp_path / "*.jpg")) == [tmp_path / "a.jpg", tmp_path / "round.jpg"]


def test_standard_input_that_names_nothing_is_told_unless_there_are_others() -> None:
    for listed in (b"", b"\n\n"):
        with pytest.raises(DataFailure, match="standard input named no pictures"):
            found("-", listed=listed)
    assert found("a.jpg", "-") == [Path("a.jpg")]


def test_a_folder_or_pattern_without_pictures_is_told_before_anything_is_read(tmp_path: Path) -> None:
    save_photographs(tmp_path / "full", 1)
    (tmp_path / "empty").mkdir()
    for empty in ("empty", "*.gif"):
        with pytest.raises(DataFailure, match="has no pictures"):
            find_pictures([str(tmp_path / "full"), str(tmp_path / empty)], io.BytesIO())


def test_a_folder_that_links_to_itself_ends(tmp_path: Path) -> None:
    (path,) = save_photographs(tmp_path / "loop", 1)
    (tmp_path / "loop" / "again").symlink_to(tmp_path / "loop", target_is_directory=True)
    assert found(str(tmp_path / "loop")) == [path]
