"""The thread that runs the model gives everybody their own result, whoever else asks."""

import threading
import time
from concurrent.futures import Future

import pytest

from vision_transformers.serve.batching import BatchingThread


class Recorded:
    """A work that notes its batches, may be held up, and fails for some items."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_go_on = threading.Event()
        self.has_begun = threading.Event()

    def double(self, items: list[int]) -> list[int]:
        self.has_begun.set()
        self.may_go_on.wait(10)
        self.batches.append(items)
        if 13 in items:
            raise ValueError("13")
        return [2 * item for item in items]


def asked_while_busy(thread: BatchingThread, work: Recorded, items: range) -> list[Future[int]]:
    """The thread computes the first alone, and finds the others waiting."""
    results = [thread.submit(work.double, items[0])]
    work.has_begun.wait(10)
    return results + [thread.submit(work.double, item) for item in items[1:]]


def test_what_waits_is_computed_together_and_never_more_than_allowed() -> None:
    work, seen = Recorded(), []
    thread = BatchingThread(4, 0.0, lambda name, items, _: seen.append((name, items)))
    results = asked_while_busy(thread, work, range(10))
    work.may_go_on.set()
    assert [result.result(10) for result in results] == [2 * item for item in range(10)]
    thread.close()
    assert work.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]
    assert seen == [("double", 1), ("double", 4), ("double", 4), ("double", 1)]


def test_one_that_fails_fails_alone() -> None:
    work = Recorded()
    thread = BatchingThread(4, 0.0, lambda *_: None)
    results = asked_while_busy(thread, work, range(11, 16))
    work.may_go_on.set()
    with pytest.raises(ValueError, match="13"):
        results[2].result(10)
    others = [result.result(10) for result in results if result is not results[2]]
    assert others == [22, 24, 28, 30]
    assert thread.is_alive
    thread.close()
    assert not thread.is_alive


def test_nothing_is_computed_for_those_who_have_gone() -> None:
    work = Recorded()
    thread = BatchingThread(4, 0.0, lambda *_: None)
    results = asked_while_busy(thread, work, range(5))
    assert [results[place].cancel() for place in (1, 3)] == [True, True]
    work.may_go_on.set()
    thread.close()
    assert work.batches == [[0], [2, 4]]


def test_the_thread_outlives_a_batch_that_nobody_waits_for() -> None:
    """Else one client that leaves a quiet server ends it for all who come."""
    work, other = Recorded(), Recorded()
    other.may_go_on.set()
    thread = BatchingThread(4, 0.0, lambda *_: None)
    results = asked_while_busy(thread, work, range(2))
    assert results[1].cancel()
    later = thread.submit(other.double, 5)
    work.may_go_on.set()
    assert later.result(10) == 10
    thread.close()


def test_another_work_waits_for_its_turn_and_is_not_mixed_in() -> None:
    work, other = Recorded(), Recorded()
    other.may_go_on.set()
    thread = BatchingThread(4, 0.0, lambda *_: None)
    results = asked_while_busy(thread, work, range(2))
    results += [thread.submit(each.double, 5) for each in (other, work)]
    work.may_go_on.set()
    assert [result.result(10) for result in results] == [0, 2, 10, 10]
    thread.close()
    assert (work.batches, other.batches) == ([[0], [1], [5]], [[5]])


def test_an_item_alone_does_not_wait_longer_than_it_may() -> None:
    work = Recorded()
    work.may_go_on.set()
    thread = BatchingThread(4, 0.05, lambda *_: None)
    results = [thread.submit(work.double, item) for item in (1, 2)]
    assert [result.result(10) for result in results] == [2, 4]
    thread.close()
    assert work.batches == [[1, 2]]


def test_a_full_batch_does_not_wait_for_more() -> None:
    """Else everybody waits the whole time for company that nobody could join."""
    work = Recorded()
    work.may_go_on.set()
    thread = BatchingThread(2, 60.0, lambda *_: None)
    results = [thread.submit(work.double, item) for item in (1, 2)]
    assert [result.result(10) for result in results] == [2, 4]
    thread.close()


def test_what_waited_while_the_thread_was_busy_does_not_wait_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else each picture of a busy server is late by as much as one of an idle server."""
    work, now = Recorded(), time.monotonic
    thread = BatchingThread(2, 60.0, lambda *_: None)
    results = [thread.submit(work.double, item) for item in range(2)]
    work.has_begun.wait(10)
    results.append(thread.submit(work.double, 2))
    monkeypatch.setattr(time, "monotonic", lambda: now() + 60)
    work.may_go_on.set()
    assert [result.result(10) for result in results] == [0, 2, 4]
    thread.close()
