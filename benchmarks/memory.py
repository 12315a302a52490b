"""The most memory that one opponent's steps take, in a process of their own.

    python -m benchmarks.memory CASE OPPONENT SETTING

`python -m benchmarks.speed --memory` calls it for everybody, with settings as in settings.json.
"""

import argparse
import json

import torch
from benchmarks.settings import Setting, settle_compiler, step_of
from benchmarks.speed import CASES

from vision_transformers.runtime.allocation import keep_freed_memory
from vision_transformers.runtime.memory import forget_peak_memory, peak_memory

STEPS = 3


def main() -> None:
    """Prints MiB of the whole process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name in ("case", "opponent", "setting"):
        parser.add_argument(name)
    options = parser.parse_args()
    device = torch.device("cpu")
    settle_compiler()
    keep_freed_memory()  # as where its speed is measured
    case = next(case for case in CASES if case.name == options.case)
    step = step_of(options.opponent, case, Setting(**json.loads(options.setting)), device)
    step()  # compiles, whose memory does not count
    forget_peak_memory(device)
    for _ in range(STEPS):
        step()
    print(peak_memory(device))


if __name__ == "__main__":
    main()
