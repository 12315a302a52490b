"""The one thread that runs the model, on batches of whatever is waiting when it is free."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[list[Item]], list[Result]]
"""Gives a result for each item, in their order."""
Observe = Callable[[str, int, float], None]
"""Is told the name of each work, how many items it had, and the seconds that it took."""


@dataclass(frozen=True)
class _Job:
    work: Work[Any, Any]
    item: Any
    result: Future[Any] = field(default_factory=Future)
    asked_at: float = field(default_factory=time.monotonic)


class BatchingThread:
    """Computes in the order of asking; neighbours that ask for the same work are computed together.

    Args:
        batch_size: the most items that are computed together.
        wait_seconds: how long an item waits for company, if the thread is free.
        observe: is called after each batch.
    """

    def __init__(self, batch_size: int, wait_seconds: float, observe: Observe) -> None:
        self._batch_size = batch_size
        self._wait_seconds = wait_seconds
        self._observe = observe
        self._waiting: deque[_Job] = deque()
        self._is_closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether anything is computed here any more."""
        return self._thread.is_alive()

    def submit(self, work: Work[Item, Result], item: Item) -> Future[Result]:
        """Asks for one item's result. Who cancels it before its turn saves the computation."""
        job = _Job(work, item)
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()
        return job.result

    def close(self) -> None:
        """Computes what is waiting, and ends the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._next_batch():
            begun = [job for job in batch if job.result.set_running_or_notify_cancel()]
            if begun:
                self._compute(begun)

    def _next_batch(self) -> list[_Job]:
        """The next jobs with the same work; none once everything is computed and the thread is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            if not self._waiting:
                return []
            left = self._waiting[0].asked_at + self._wait_seconds - time.monotonic()
            self._changed.wait_for(lambda: len(self._waiting) >= self._batch_size, timeout=max(left, 0))
            work = self._waiting[0].work
            batch: list[_Job] = []
            while self._waiting and self._waiting[0].work == work and len(batch) < self._batch_size:
                batch.append(self._waiting.popleft())
            return batch

    def _compute(self, batch: list[_Job]) -> None:
        """One by one, where it fails for all together: then it fails for those that it must."""
        work, begun_at = batch[0].work, time.monotonic()
        try:
            results = work([job.item for job in batch])
        except Exception as error:
            if len(batch) == 1:
                batch[0].result.set_exception(error)
                return
            for job in batch:
                self._compute([job])
            return
        self._observe(work.__name__, len(batch), time.monotonic() - begun_at)
        for job, result in zip(batch, results, strict=True):
            job.result.set_result(result)
