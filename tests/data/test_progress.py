"""Who waits for many pictures is told how long."""

import logging

import pytest

from vision_transformers.data import progress
from vision_transformers.data.progress import telling


def test_the_time_left_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Explanations come one in some seconds: `0 a second` would tell nothing."""
    monkeypatch.setattr(progress.time, "monotonic", iter([0.0, 4.0, 8.0, 12.0]).__next__)
    caplog.set_level(logging.INFO)
    assert list(telling(iter("abc"), 3)) == ["a", "b", "c"]
    assert caplog.messages == [
        "looked at 2 of 3 pictures, 0.2 a second, 0:04 left",
        "looked at 3 of 3 pictures, 0.2 a second",
    ]
