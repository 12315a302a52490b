"""Failures that a person can act on: one message each, and the exit code that the command ends with."""


class Failure(Exception):
    """Something went wrong that the message explains: what, where, and what to do. Exit code 1."""

    exit_code = 1
    is_told = False
    """Whether the first of several processes says it, too: the others need not."""


class UsageFailure(Failure):
    """What was asked for makes no sense: a wrong option, name or value. Exit code 2."""

    exit_code = 2


class DataFailure(Failure):
    """The images or labels cannot be used as they are. Exit code 3."""

    exit_code = 3


class ReadFailure(DataFailure):
    """The system does not give an image's bytes back now; the image itself may be whole. Exit code 1."""

    exit_code = 1


_LACK_OF_MEMORY = ("out of memory", "can't allocate memory")
"""What PyTorch says of a GPU, and of the CPU."""


def is_lack_of_memory(error: Exception) -> bool:
    """Whether there was less memory than Python, NumPy or PyTorch needed; PyTorch's errors of it are known
    by their words."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _LACK_OF_MEMORY)
