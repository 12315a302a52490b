"""A process for each opponent: they compile at the same time, then take turns.

For GPUs, where models compile for a minute and more, and hold memory of their own.
"""

import json
import subprocess
import sys
import time
from dataclasses import asdict

import torch
from benchmarks.architectures import ARCHITECTURES
from benchmarks.settings import Case, Setting, settle_compiler, step_of

from vision_transformers.runtime.device import synchronize
from vision_transformers.runtime.memory import forget_peak_memory, peak_memory

WARM_UP = 5


class Worker:
    """One opponent's process in one case.

    Args:
        opponent: its name.
        case: what it does.
        setting: how.
        device: where.
    """

    def __init__(self, opponent: str, case: Case, setting: Setting, device: torch.device) -> None:
        self.opponent, self.case, self.setting = opponent, case, setting
        described = [case.architecture.name, case.work, case.batch, asdict(setting), str(device)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.workers", json.dumps([opponent, *described])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def until_ready(self) -> tuple[float, float]:
        """Waits until it is compiled and warm; MiB of the GPU that it took at most, and seconds until then.

        Raises:
            RuntimeError: the process ended instead.
        """
        memory, seconds = self._answer()
        return memory, seconds

    def seconds(self, steps: int) -> float:
        """How long so many steps take, one after another."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self._answer()[0]

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()

    def _answer(self) -> list[float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.opponent}, {self.case.name}, {self.setting}: its process ended")
        answer: list[float] = json.loads(line)
        return answer


def main() -> None:
    """The process itself: takes as many steps as each line on standard input says."""
    began = time.perf_counter()
    settle_compiler()
    opponent, architecture, work, batch, setting, device_name = json.loads(sys.argv[1])
    device = torch.device(device_name)
    step = step_of(opponent, Case(ARCHITECTURES[architecture], work, batch), Setting(**setting), device)
    step()  # compiles, whose memory does not count
    forget_peak_memory(device)
    for _ in range(WARM_UP):
        step()
    synchronize(device)
    print(json.dumps([peak_memory(device), time.perf_counter() - began]), flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            step()
        synchronize(device)
        print(json.dumps([time.perf_counter() - began]), flush=True)


if __name__ == "__main__":
    main()
