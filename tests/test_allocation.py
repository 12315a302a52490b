"""Steps find the memory of the steps before where they left it: the system need not fill pages anew."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from vision_transformers.runtime.allocation import keep_freed_memory

if "keep" in sys.argv:
    assert keep_freed_memory()

def step():
    for _ in range(4):
        torch.zeros(2**25)  # 128 MiB
for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*arguments: str) -> int:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc keeps memory where it is told to")
def test_a_later_step_meets_few_new_pages() -> None:
    assert page_faults("keep") < 100 < page_faults()
