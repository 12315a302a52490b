"""The learning rate at each step, as a part of its peak."""

import math

from vision_transformers.training.recipe import Schedule


def rate_at(schedule: Schedule, step: int, total_steps: int) -> float:
    """The part of the peak learning rate for step number `step`, counted from 0.

    Neither the first step of a warm-up nor the last step of the fall is at 0, which would waste it: the fall
    begins at the peak, and would reach `final` with one step more.
    """
    warmup_steps = round(schedule.warmup * total_steps)
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(total_steps - warmup_steps, 1)
    fall = {
        "cosine": (1 + math.cos(math.pi * progress)) / 2,
        "linear": 1 - progress,
        "constant": 1.0,
    }[schedule.shape]
    return schedule.final + (1 - schedule.final) * fall
