"""The learning rate at each step, as a part of its peak."""

import math

from vision_transformers.training.recipe import Schedule


def rate_at(schedule: Schedule, step: int, total_steps: int) -> float:
    """The part of the peak learning rate for step number `step`, counted from 0.

    The first step of a warm-up is not at 0, which would waste it, and the last step of the fall ends at
    `final` exactly where a further one would be.
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
