"""Where the time of reading pictures goes: a clock looks, again and again, at what is being done."""

import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

SECONDS_BETWEEN = 0.002
REST = "the rest"
STAGES = {
    "decoding._content": "reading",
    "decoding": "decoding",
    "jpeg": "decoding",
    "as_seen": "decoding",
    "resizing": "resizing",
    "cropping": "resizing",
    "cropping._rectangle": "augmenting",
    "vary_image": "augmenting",
    "vary_batch": "augmenting",
    "vary_colors": "augmenting",
    "vary_on_cpu": "augmenting",
    "rand_augment": "augmenting",
    "normalising": "normalising",
}
"""By a module of `data`, or one of its functions; what it calls elsewhere counts for it."""


def shares_of_stages(work: Callable[[], None]) -> dict[str, float]:
    """The part of this thread's time that each stage takes, the largest first; they add up to 1."""
    looked: Counter[str] = Counter()
    worker = threading.get_ident()
    is_done = threading.Event()

    def look() -> None:
        while not is_done.wait(SECONDS_BETWEEN):
            looked[_stage(sys._current_frames()[worker])] += 1

    clock = threading.Thread(target=look, daemon=True)
    clock.start()
    try:
        work()
    finally:
        is_done.set()
        clock.join()
    return {stage: count / looked.total() for stage, count in looked.most_common()}


def _stage(frame: FrameType | None) -> str:
    """That of the innermost function which has one."""
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.parent.name == "data":
            for name in (f"{path.stem}.{frame.f_code.co_name}", path.stem):
                if name in STAGES:
                    return STAGES[name]
        frame = frame.f_back
    return REST
