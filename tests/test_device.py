"""A machine is known by what tells it apart; a device by every name that PyTorch has for it."""

import os
import sys
from pathlib import Path

import pytest
import torch

from vision_transformers.errors import UsageFailure
from vision_transformers.runtime import device
from vision_transformers.runtime.compilation import resolve_compile
from vision_transformers.training import environment as module
from vision_transformers.training.record import Environment

CPU = torch.device("cpu")


def test_processors_of_one_name_and_two_generations_are_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "PROCESSORS", tmp_path / "cpuinfo")
    found = []
    for family in (25, 26):
        text = f"processor\t: 0\ncpu family\t: {family}\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\n"
        (tmp_path / "cpuinfo").write_text(2 * text)
        found.append(device.describe_device(CPU))
    assert found[0] == f"AMD EPYC ({torch.backends.cpu.get_cpu_capability()}), family 25, model 17"
    assert found[1] == found[0].replace("25", "26")


def test_a_system_that_does_not_say_has_a_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "PROCESSORS", tmp_path / "missing")
    assert torch.backends.cpu.get_cpu_capability() in device.describe_device(CPU)


@pytest.mark.parametrize(("name", "kept"), [("cpu", True), ("cpu:0", True), ("meta", False)])
def test_freed_memory_is_kept_on_cpus(name: str, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[bool] = []
    monkeypatch.setattr(module, "keep_freed_memory", lambda: called.append(True))
    threads = torch.get_num_threads()
    environment = Environment("2", "0", "12", name, "a processor", threads, "float32", False, "images")
    with module.applied_environment(environment, deterministic=False):
        assert bool(called) is kept


def test_a_process_may_use_fewer_processors_than_there_are() -> None:
    """As under `taskset`, or in a container."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert device.usable_processors() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert device.usable_processors() == len(before)


@pytest.mark.parametrize(
    ("there", "asked_for", "says"),
    [
        ("g++", None, None),
        ("ccache", "ccache g++", None),
        ("clang++", "clang++", None),
        ("clang++", None, r"'g\+\+' is not on the PATH: set CXX=clang\+\+, which is there"),
        ("g++", "icpx -O2", "'icpx' is not on the PATH: install it, or set CXX"),
        (None, None, r"'g\+\+' is not on the PATH"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyTorch has another compiler")
def test_a_compiler_is_there_where_pytorch_finds_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: str | None,
    asked_for: str | None,
    says: str | None,
) -> None:
    if there is not None:
        (tmp_path / there).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    if asked_for is not None:
        monkeypatch.setenv("CXX", asked_for)
    if says is None:
        assert resolve_compile("on", CPU)
    else:
        with pytest.raises(UsageFailure, match=says):
            resolve_compile("on", CPU)
