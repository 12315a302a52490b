"""Batches of pictures out of loader workers: how they are started, what they hand over, and how they end."""

import multiprocessing
import signal
import threading
from collections.abc import Iterable, Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from vision_transformers.errors import Failure, ReadFailure

SECONDS_TO_BE_SEEN_DEAD = 2.0
"""That the end of a worker may take to be known, after its queue broke off."""
_STARTED: WeakSet[BaseProcess] = WeakSet()


def load_batches(
    batches: Dataset[Any], order: Iterable[Any], workers: int, pin_memory: bool = False
) -> Iterator[Any]:
    """The items of a data set that are asked for, each a whole batch, in that order.

    Args:
        batches: gives a batch for each item of `order`.
        order: what to ask for, one after another.
        workers: how many processes read; with 0, this one does.
        pin_memory: whether the batches lie where a GPU can fetch them.

    Raises:
        OSError: the system refuses to start all workers; those that it started are ended.
        ReadFailure: a worker was killed, when the batch is asked for.
        Failure, MemoryError: as the data set raises it, when the batch is asked for.
    """
    loader = DataLoader(
        _FailuresAsBatches(batches),
        batch_size=None,
        sampler=order,
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        worker_init_fn=_leave_signals_to_main_process,
        generator=torch.Generator(),  # without one, the loader draws from the global generator
    )
    before = multiprocessing.active_children()
    try:
        found = _begun(loader)
    except OSError:
        # Python would end them by SIGTERM, which they ignore, and then wait for them.
        for process in multiprocessing.active_children():
            if process not in before:
                process.kill()
        raise
    processes: list[BaseProcess] = getattr(found, "_workers", [])
    _STARTED.update(processes)
    return map(_raise_failure, _Watched(found, processes))


def _end_those_that_are_left() -> None:
    """Where an error ends this process whose traceback holds on to a loader.

    Python would ask its workers to end by SIGTERM, which they ignore, and wait for them.
    """
    for worker in _STARTED:
        worker.kill()


Finalize(None, _end_those_that_are_left, exitpriority=0)  # before Python asks them


def _raise_failure(batch: Any) -> Any:
    """Not where the loader is at hand: that frame, held by what is raised, would keep the workers alive."""
    if isinstance(batch, Failure | MemoryError):
        raise batch
    return batch


class _Watched(Iterator[Any]):
    """What comes out of a loader; in the place of a batch whose worker was killed, a failure."""

    def __init__(self, batches: Iterator[Any], workers: list[BaseProcess]) -> None:
        self._batches = batches
        self._workers = workers

    def __next__(self) -> Any:
        try:
            return next(self._batches)
        except (RuntimeError, EOFError, ConnectionError) as error:  # as its queue or its memory breaks off
            if not self._is_one_dead():
                raise
            return ReadFailure(
                f"a process that reads pictures was killed ({error}): if for want of memory, try fewer "
                "(--data.workers of vit train, --workers of others, workers= in Python), or smaller pictures"
            )

    def _is_one_dead(self) -> bool:
        sentinels = [worker.sentinel for worker in self._workers]
        return bool(sentinels and wait(sentinels, SECONDS_TO_BE_SEEN_DEAD))


def _begun(loader: DataLoader[Any]) -> Iterator[Any]:
    """Its batches, which tell that a worker was killed when they are asked for.

    By a signal, which PyTorch asks the system for, it would be raised wherever this process is, such as in
    half of a training step.
    """
    is_asked_here = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGCHLD)
    try:
        return iter(loader)
    finally:
        if is_asked_here and handler is not None:
            signal.signal(signal.SIGCHLD, handler)


class _FailuresAsBatches(Dataset[Any]):
    """A failure is a value: the loader buries what is raised in workers."""

    def __init__(self, batches: Dataset[Any]) -> None:
        self._batches = batches

    def __getitem__(self, asked: Any) -> Any:
        try:
            return self._batches[asked]
        except (Failure, MemoryError) as failure:
            return failure


def stack_images(
    images: list[UInt8[Tensor, "channels height width"]],
) -> UInt8[Tensor, "batch channels height width"]:
    """One tensor, in the order of memory that Pillow's pictures have: a pixel's channels side by side."""
    pictures = [image.permute(1, 2, 0) for image in images]
    stacked: Tensor
    if get_worker_info() is None:  # on this thread alone: `vary_on_cpu` says why
        stacked = torch.from_numpy(np.stack([picture.numpy() for picture in pictures]))
    else:  # into memory that the main process shares
        stacked = default_collate(pictures)
    return stacked.permute(0, 3, 1, 2)


def _as_it_is(batch: Any) -> Any:
    return batch


def _leave_signals_to_main_process(worker: int) -> None:  # noqa: ARG001 - the loader passes it
    """Ctrl-C and a scheduler's SIGTERM reach every process of a run; the main one ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
