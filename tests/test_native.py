"""C is compiled once; without a compiler, or with one that fails, everything works and says so once."""

import logging
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import torch
from tests.training.recipes import run_of, tiny

from vision_transformers.model.kernels import narrow_feed_forward, operators, short_attention
from vision_transformers.runtime import native
from vision_transformers.runtime.native import SWITCH, describe_compiler, has_instructions, load_native
from vision_transformers.training import advice
from vision_transformers.training.environment import resolve_environment

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler")
ADD = "int add(int a, int b) { return a + b; }"
ADDED = """
import sys
from pathlib import Path
from vision_transformers.runtime.native import load_native
print(load_native(Path(sys.argv[1])).add(2, 3))
"""


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(SWITCH, raising=False)
    load_native.cache_clear()
    file = tmp_path / "adding.c"
    file.write_text(ADD)
    return file


def libraries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache").rglob("*"))


@needs_compiler
def test_it_is_compiled_once_and_anew_when_it_changes(source: Path, tmp_path: Path) -> None:
    library = load_native(source)
    assert library is not None
    assert library.add(2, 3) == 5
    made = libraries(tmp_path)
    before = made[-1].stat().st_mtime_ns
    load_native.cache_clear()
    load_native(source)
    assert libraries(tmp_path) == made
    assert made[-1].stat().st_mtime_ns == before
    source.write_text(ADD.replace("a + b", "a + b + 1"))
    load_native.cache_clear()
    changed = load_native(source)
    assert changed is not None
    assert changed.add(2, 3) == 6


@needs_compiler
def test_it_is_compiled_anew_when_a_header_beside_it_changes(source: Path) -> None:
    header = source.with_name("numbers.h")
    source.write_text('#include "numbers.h"\n' + ADD.replace("a + b", "a + b + MORE"))
    found = []
    for more in (1, 2):
        header.write_text(f"enum {{ MORE = {more} }};")
        load_native.cache_clear()
        library = load_native(source)
        assert library is not None
        found.append(library.add(2, 3))
    assert found == [6, 7]


@needs_compiler
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize("is_used", [True, False])
def test_a_run_that_computes_by_it_records_the_compiler(
    is_used: bool, precision: Literal["bfloat16", "float32"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one may compute other sums, so that a resumed run must know."""
    monkeypatch.setattr(
        short_attention, "is_available", lambda dtype: is_used and str(dtype)[6:] == precision
    )
    monkeypatch.setattr(narrow_feed_forward, "is_available", lambda: False)
    said = subprocess.run(["gcc", "--version"], capture_output=True, text=True, check=True).stdout
    found = resolve_environment(tiny(precision=precision), "images").compiler
    assert found == (said.splitlines()[0] if is_used else None)


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_a_run_records_which_c_files_compute(precision: Literal["bfloat16", "float32"]) -> None:
    """Of two that compute the same, each rounds in its own way; the system may permit one today alone."""
    found = resolve_environment(tiny(precision=precision), "images").programs
    program = short_attention.program_for(getattr(torch, precision))
    assert (found is None) == (program is None)
    assert program is None or program.source.stem in str(found)


@pytest.mark.parametrize(
    ("instructions", "compiler", "is_told"),
    [
        ("avx2 fma", None, True),
        ("avx2 fma", "gcc 12", False),
        ("avx2 fma avx512f", None, True),
        ("", None, False),
    ],
)
def test_who_trains_where_a_compiler_would_help_is_told(
    instructions: str, compiler: str | None, is_told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators, "has_instructions", lambda name: name in instructions.split())
    monkeypatch.setattr(advice, "describe_compiler", lambda: compiler)
    run = run_of(tiny(precision="float32"), tmp_path)
    assert bool(advice.compiler_warnings(run)) is is_told


@needs_compiler
def test_processes_that_compile_at_once_do_not_disturb_each_other(source: Path, tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", ADDED, str(source)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [process.communicate()[0].strip() for process in processes] == ["5"] * 4
    assert len([path for path in libraries(tmp_path) if path.is_file()]) == 1


@needs_compiler
def test_what_cannot_be_compiled_is_said_and_left_out(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source.write_text("int add(int a, int b) { return a + nothing; }")
    with caplog.at_level(logging.WARNING):
        assert load_native(source) is None
        assert load_native(source) is None
    assert caplog.text.count("left to PyTorch") == 1
    assert "nothing" in caplog.text
    assert not [path for path in libraries(tmp_path) if path.is_file()]


@needs_compiler
def test_a_cache_that_cannot_be_written_is_said_and_left_out(
    source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    with caplog.at_level(logging.WARNING):
        assert load_native(source) is None
    assert "left to PyTorch" in caplog.text


def test_without_a_compiler_or_switched_off_there_is_none(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, "off")
    assert load_native(source) is None
    monkeypatch.delenv(SWITCH)
    monkeypatch.setenv("PATH", str(tmp_path))
    load_native.cache_clear()
    assert load_native(source) is None


@needs_compiler
def test_a_home_that_is_not_to_be_had_is_said_and_left_out(
    source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a container whose user is in no list."""

    def in_no_list(user: int) -> None:
        raise KeyError(user)

    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", in_no_list)
    with caplog.at_level(logging.WARNING):
        assert load_native(source) is None
    assert "there is no home folder" in caplog.text


@pytest.mark.parametrize("is_permitted", [True, False])
def test_tiles_are_used_where_the_system_permits_it(
    is_permitted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its permission, the first instruction ends the process."""
    monkeypatch.setattr(native, "_instructions", lambda: {"amx_bf16", "avx512_bf16"})
    monkeypatch.setattr(native, "_may_use_tiles", lambda: is_permitted)
    assert has_instructions("amx_bf16") is is_permitted
    assert has_instructions("avx512_bf16")


@pytest.mark.parametrize(("dtype", "error"), [(torch.bfloat16, 0.03), (torch.float32, 1e-5)], ids=str)
def test_a_model_without_it_computes_the_same_in_pytorch(dtype: torch.dtype, error: float) -> None:
    """On machines without a compiler."""
    if not short_attention.is_available(dtype):
        pytest.skip("PyTorch computes this here")
    program = f"""
import torch
from vision_transformers import ViT
torch.manual_seed(0)
model = ViT((7, 7), 32, 2, 2, 64, 1, 10).to({dtype})
logits = model(torch.randn(4, 1, 28, 28).to({dtype}))
logits.square().sum().backward()
numbers = [logits, *(parameter.grad for parameter in model.parameters())]
print(torch.cat([each.float().flatten() for each in numbers]).tolist())
"""
    found = []
    for switch in ("on", "off"):
        environment = os.environ | {SWITCH: switch}
        command = [sys.executable, "-c", program]
        printed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        found.append(torch.tensor([float(number) for number in printed.strip("[]\n").split(",")]))
    native, pytorch = found
    assert not torch.equal(native, pytorch)
    assert (native - pytorch).norm() < error * pytorch.norm()


def test_instructions_are_known_by_their_names() -> None:
    assert not has_instructions("avx512_nothing")
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
    assert has_instructions("sse2") == ("sse2" in flags)


@needs_compiler
def test_a_damaged_library_is_compiled_anew(source: Path, tmp_path: Path) -> None:
    """As after a full disk. In new processes: one that has it loaded would not look at the file again."""
    command = [sys.executable, "-c", ADDED, str(source)]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "5\n"
    made = next(path for path in libraries(tmp_path) if path.is_file())
    made.write_bytes(b"no library")
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == "5\n"


def test_a_compiler_that_does_not_run_is_said_and_left_out(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken" / "gcc"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho no licence >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    with caplog.at_level(logging.WARNING):
        assert load_native(source) is None
    assert "no licence" in caplog.text
    assert describe_compiler() is None
    broken.write_text("#!/bin/sh\n")
    assert describe_compiler() is None
