"""How far a share that was counted may be from the true one."""

import math

NORMAL_QUANTILE = 1.959963984540054
"""Of the normal distribution, for 95 %."""


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927): lower and upper end, 0 to 1.

    Raises:
        ValueError: there are no trials.
    """
    if trials < 1:
        raise ValueError("a share of nothing has no interval")
    squared, share = NORMAL_QUANTILE**2, successes / trials
    middle = (share + squared / (2 * trials)) / (1 + squared / trials)
    half = (
        NORMAL_QUANTILE
        * math.sqrt(share * (1 - share) / trials + squared / (4 * trials**2))
        / (1 + squared / trials)
    )
    return max(0.0, middle - half), min(1.0, middle + half)
