"""Steps find the memory of the steps before where they left it: the system need not fill pages anew."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from vision_transformers.runtime import memory

PROGRAM = """
import resource
import torch
from vision_transformers.runtime.allocation import keep_freed_memory

def step():
    for _ in range(4):
        torch.zeros(2**25)  # 128 MiB

def page_faults_of_a_later_step():
    for _ in range(3):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(page_faults_of_a_later_step())
assert keep_freed_memory()
print(page_faults_of_a_later_step())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc keeps memory where it is told to")
def test_a_later_step_meets_few_new_pages() -> None:
    command = [sys.executable, "-c", PROGRAM]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    before, after = map(int, printed.split())
    assert after < 100 < before


def test_a_linux_that_does_not_say_its_peak_has_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As gVisor, in which some clouds run containers."""
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t  4711 kB\n")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    assert memory.peak_memory(torch.device("cpu")) > 1


PEAK = """
import torch
from vision_transformers.runtime.allocation import keep_freed_memory
from vision_transformers.runtime.memory import forget_peak_memory, peak_memory

cpu = torch.device("cpu")
assert keep_freed_memory()
before = peak_memory(cpu)
large = [torch.zeros(2**25) for _ in range(4)]  # 512 MiB
assert peak_memory(cpu) - before > 500
del large
forget_peak_memory(cpu)
assert peak_memory(cpu) - before < 100, peak_memory(cpu) - before
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc keeps memory where it is told to")
def test_memory_that_is_kept_for_later_is_not_counted() -> None:
    """Else each row of `vit benchmark` would have the memory of the largest one before it."""
    finished = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
