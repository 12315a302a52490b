"""What `torchrun` tells each process that it starts, in environment variables."""

import os
from dataclasses import dataclass

from vision_transformers.errors import UsageFailure


@dataclass(frozen=True)
class Place:
    """A process among those that train one model together."""

    number: int = 0
    """From 0, over all machines."""
    count: int = 1
    number_on_machine: int = 0

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes and speaks."""
        return self.number == 0


def place_of_this_process() -> Place:
    """Alone, if `torchrun` did not start it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return Place()
    number, count, number_on_machine = (int(os.environ[key]) for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    return Place(number, count, number_on_machine)


def attempt_of_kept_store() -> str | None:
    """How often `torchrun` has started the processes again, where it keeps one store for all attempts.

    There, those that are new would find the addresses of those that are gone, and wait for them
    (pytorch/pytorch issue 135712). None where each attempt has a store of its own.

    Raises:
        UsageFailure: several machines may be started again, each of which counts for itself.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    machines, restarts = (int(os.environ[key]) for key in ("GROUP_WORLD_SIZE", "TORCHELASTIC_MAX_RESTARTS"))
    if machines > 1 and restarts > 0:
        raise UsageFailure(
            "with --max-restarts on several machines, torchrun needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 "
            "in its environment: set it on each of them"
        )
    return os.environ["TORCHELASTIC_RESTART_COUNT"]
