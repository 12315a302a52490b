"""The processes that train one model together, as `torchrun` starts them; without it, this one alone.

Each computes its part of every batch. Gradients are added up, so that all take the same step and hold the
same model. The first one alone writes, and speaks.
"""

import functools
import os
import re
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NoReturn, TypeVar, cast

import torch
import torch.distributed
from torch import Tensor
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined] # exported without saying so
from torch.distributed.rendezvous import rendezvous

from vision_transformers.errors import DataFailure, Failure, UsageFailure, is_lack_of_memory
from vision_transformers.runtime.torchrun import Place, attempt_of_kept_store, place_of_this_process

MEETING = timedelta(minutes=10)
"""How long processes wait for each other to come."""
PATIENCE = timedelta(days=1)
"""How long one waits for another then: the first may download, explain and write in between. If it ends, the
others hear so at once."""

Made = TypeVar("Made")


class Processes:
    """This process, alone; with others it is a `ProcessGroup`.

    What a method does, it does in all processes, at the same point of each.
    """

    def __init__(self, place: Place = Place()) -> None:  # noqa: B008 - it is frozen
        self.number = place.number
        self.count = place.count
        self.number_on_machine = place.number_on_machine
        self.is_first = place.is_first

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Puts the sums over all processes in place of tensors of one type, on one device."""

    def hear_all(self, word: str) -> list[str]:
        """What each process says, in their order."""
        return [word]

    def hear_first(self, word: str) -> str:
        """What the first process says."""
        return self.hear_all(word)[0]

    def together(self, action: Callable[[], Made]) -> Made:
        """Acts in every process. An error in one is a failure in all, so that none waits for it in vain.

        Raises:
            Failure: another's, in its words; this process's own error is raised as it is.
        """
        try:
            made = action()
        except Exception as error:
            if isinstance(error, Failure):
                error.is_told = True
            self.hear_all(f"{getattr(error, 'exit_code', 1)} {str(error) or type(error).__name__}")
            raise
        for word in filter(None, self.hear_all("")):
            raise _failure_of(word)
        return made

    def the_first_finds(self, question: Callable[[], bool]) -> bool:
        """What the first process answers: of files, which others may see later or not at all.

        Raises:
            Failure: as `together`.
        """
        answer = self.by_the_first(question)
        return self.hear_first("yes" if answer else "") == "yes"

    def after_the_first(self, action: Callable[[], Made]) -> Made:
        """Acts in the first process, then in the others, which find what it left, such as downloads.

        Raises:
            Failure: as `together`.
        """
        made = self.by_the_first(action)
        made_later = self.together(lambda: None if self.is_first else action())
        return cast(Made, made if self.is_first else made_later)

    def by_the_first(self, action: Callable[[], Made]) -> Made | None:
        """Acts in the first process, and gives None in the others.

        Raises:
            Failure: as `together`.
        """
        return self.together(lambda: action() if self.is_first else None)

    def device(self, of_the_first: torch.device) -> torch.device:
        """Where this process computes: each of a machine's on the GPU that follows the one before.

        Raises:
            UsageFailure: the machine has fewer GPUs.
        """
        if self.count == 1 or of_the_first.type == "cpu":
            return of_the_first
        if of_the_first.type != "cuda":
            raise UsageFailure(f"several processes cannot share {of_the_first}: add --device cpu")
        index = (of_the_first.index or 0) + self.number_on_machine
        if index >= torch.cuda.device_count():
            raise UsageFailure(
                f"process {self.number} has no GPU of its own: this machine has {torch.cuda.device_count()}. "
                "Start fewer by torchrun's --nproc-per-node, or train with --device cpu"
            )
        return torch.device("cuda", index)


class ProcessGroup(Processes):
    """Several processes: gloo carries what is on the CPU, NCCL what is on GPUs."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        try:
            torch.distributed.init_process_group(
                backend, store=_meeting_place(), rank=place.number, world_size=place.count, timeout=PATIENCE
            )
        except RuntimeError as error:
            raise Failure(f"process {self.number} does not reach the others: {_reason(error)}") from error

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """In one message, which takes as much memory once more. Nothing is computed meanwhile."""
        together = torch.cat([tensor.reshape(-1) for tensor in tensors])
        _sum_over_processes(together)
        sums = together.split([tensor.numel() for tensor in tensors])
        torch._foreach_copy_(
            list(tensors), [part.view_as(of) for part, of in zip(sums, tensors, strict=True)]
        )

    def hear_all(self, word: str) -> list[str]:
        """Mostly nobody says anything: then the lengths are all that is sent."""
        content = word.encode(errors="surrogateescape")
        lengths = torch.zeros(self.count, dtype=torch.long)
        lengths[self.number] = len(content)
        _sum_over_processes(lengths)
        if not lengths.any():
            return [""] * self.count
        said = torch.zeros(self.count, int(lengths.max()), dtype=torch.uint8)
        said[self.number, : len(content)] = torch.tensor(list(content), dtype=torch.uint8)
        _sum_over_processes(said)
        return [
            bytes(row[:length].tolist()).decode(errors="surrogateescape")
            for row, length in zip(said, lengths.tolist(), strict=True)
        ]


@functools.cache
def joined_processes() -> Processes:
    """This process and, if `torchrun` started it, the others; until it ends."""
    place = place_of_this_process()
    return Processes(place) if place.count == 1 else ProcessGroup(place)


def _meeting_place() -> Store:
    """Where processes leave their addresses for each other."""
    store, _, _ = next(iter(rendezvous("env://", timeout=MEETING)))
    attempt = attempt_of_kept_store()
    return store if attempt is None else PrefixStore(f"attempt-{attempt}", store)


def _sum_over_processes(values: Tensor) -> None:
    try:
        torch.distributed.all_reduce(values)
    except RuntimeError as error:
        if is_lack_of_memory(error):
            raise
        raise Failure(
            f"another process of this run may have ended, for it does not answer: {_reason(error)}"
        ) from error


def _reason(error: RuntimeError) -> str:
    """Its first sentence, without the place in PyTorch's source."""
    return re.sub(r"^\[\S+\] ", "", str(error)).strip().partition("\n")[0].partition(". ")[0]


def leave(code: int) -> NoReturn:
    """Ends this process, of several, with an exit code.

    Who failed does not take leave: NCCL's farewell waits for the others, which may wait for this process.
    """
    if code == 0 and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _failure_of(word: str) -> Failure:
    code, _, message = word.partition(" ")
    kinds = {kind.exit_code: kind for kind in (Failure, UsageFailure, DataFailure)}
    failure = kinds.get(int(code), Failure)(message)
    failure.is_told = True
    return failure
