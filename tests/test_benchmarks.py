"""What the benchmarks say is of what they measured: this machine, this recipe, settings that ran."""

import math
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import (
    accuracy,
    choosing,
    explaining_costs,
    finetuning,
    goals,
    gpu_kernels,
    record,
    speed,
    speed_gpu,
    stages,
)
from benchmarks.architectures import ARCHITECTURES
from benchmarks.choosing import borrowed, choose, recorded
from benchmarks.opponents import OPPONENTS, OURS
from benchmarks.settings import Case, Setting, settle_compiler
from benchmarks.speed import CASES, SHORT, Row
from benchmarks.speed_gpu import MNIST
from benchmarks.turns import Spread, rounds_within
from PIL import Image
from tests.training.recipes import tiny

from vision_transformers.data.decoding import decode_pixels
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.resizing import resize_pixels
from vision_transformers.model.attention import MultiHeadAttention

CPU = torch.device("cpu")
CASE = CASES[0]
RESULTS = record.RESULTS


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(speed, "title", lambda _: "versions of libraries that need not be here")
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    return tmp_path


def test_what_is_measured_is_compiled_alike_and_whatever_else_reads_its_record_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`accuracy` hands its environment to `vit train`; the processes of `speed` inherit its."""
    assert not torch._inductor.config.freezing, "importing a benchmark changed how PyTorch compiles"
    monkeypatch.setattr(torch._inductor.config, "freezing", False)
    monkeypatch.setattr(torch._dynamo.config, "fail_on_recompile_limit_hit", False)
    monkeypatch.setenv("TORCHINDUCTOR_FREEZING", "1")  # put back after
    monkeypatch.delenv("TORCHINDUCTOR_FREEZING")
    settle_compiler()
    assert torch._inductor.config.freezing
    assert torch._dynamo.config.fail_on_recompile_limit_hit
    assert os.environ["TORCHINDUCTOR_FREEZING"] == "1"


def test_fine_tuning_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / "pictures" / "cat" / name).mkdir(parents=True)
    for end in (2, 3):
        finetuning.link(tmp_path / "pictures", tmp_path / "linked", ("cat",), 0, end)
        assert len(list((tmp_path / "linked" / "cat").iterdir())) == end
    first, again = (finetuning.trained(tiny(), tmp_path / "run") for _ in range(2))
    assert again == first


def test_a_kernel_of_ours_that_fails_is_no_empty_cell() -> None:
    def broken() -> torch.Tensor:
        raise RuntimeError("an illegal memory access")

    never: Any = None
    with pytest.raises(RuntimeError, match="illegal memory access"):
        gpu_kernels._both(broken, torch.zeros(1), torch.zeros(1), never)


def test_settings_of_another_machine_are_nobody_s_best_here() -> None:
    settings = {name: asdict(Setting("float32", "own")) for name in OPPONENTS}
    record.write("settings.json", {"another machine": {CASE.name: settings}})
    assert recorded(CASE, CPU) == {}


@pytest.mark.parametrize(("numbers", "has_bfloat16"), [("float32", False), ("bfloat16", True)])
def test_a_machine_without_settings_takes_those_of_one_that_computes_in_the_same_numbers(
    numbers: Any, has_bfloat16: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else `make bench` would take hours on the machine of whoever tries it."""
    for machine, its in (("one", "float32"), ("another", "bfloat16")):
        settings = {name: asdict(Setting(its, "own")) for name in OPPONENTS}
        record.write("settings.json", record.read("settings.json") | {machine: {CASE.name: settings}})
    monkeypatch.setattr(choosing, "has_bfloat16", lambda _: has_bfloat16)
    assert {setting.numbers for setting in borrowed(CASE, CPU).values()} == {numbers}
    assert "--choose" in capsys.readouterr().out
    assert borrowed(CASES[1], CPU) == {}


@pytest.mark.parametrize(("seconds", "rounds"), [(math.inf, 5), (60.0, 5), (44.0, 4), (1.0, 3)])
def test_turns_take_no_longer_than_they_may_but_for_a_median(seconds: float, rounds: int) -> None:
    assert rounds_within(seconds, of_one_round=10.0, most=5) == rounds


def test_what_does_not_run_here_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As what is compiled without a C++ compiler, and who needs more memory than there is."""

    def step_of(opponent: str, case: speed.Case, setting: Setting, device: torch.device):  # noqa: ARG001
        if opponent == "timm":
            raise ModuleNotFoundError("No module named 'timm'")

        def step() -> None:
            if setting.compile or opponent == "torchvision":
                raise RuntimeError("not here")

        return step

    monkeypatch.setattr(choosing, "step_of", step_of)
    chosen = choose(CASE, CPU)
    assert set(chosen) == set(OPPONENTS) - {"torchvision", "timm"}
    assert not any(setting.compile for setting in chosen.values())
    assert recorded(CASE, CPU) == chosen
    assert "left out, ModuleNotFoundError: No module named 'timm'" in capsys.readouterr().out
    monkeypatch.setattr(speed, "step_of", step_of)
    monkeypatch.setattr(speed, "products_alone", lambda *_: lambda: None)
    settings = chosen | {"timm": Setting("float32", "fused")}
    rows, rounds = speed.measure(CASE, settings, CPU, rounds=3)
    assert rounds == 3
    assert {row.opponent for row in rows} == set(chosen)


def test_everybody_s_best_attention_of_each_numbers_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who have two attentions choose from as many numbers as those who have one."""
    compiled = set()

    def step_of(opponent: str, case: Case, setting: Setting, device: torch.device):  # noqa: ARG001
        if setting.compile:
            compiled.add((setting.numbers, setting.attention))
        seconds = 0.001 if setting.attention == "written" else 0.0012
        return lambda: time.sleep(seconds * (2 if setting.numbers == "bfloat16" else 1))

    monkeypatch.setattr(choosing, "step_of", step_of)
    monkeypatch.setattr(choosing, "has_bfloat16", lambda _: True)
    monkeypatch.setattr(choosing, "FAR_BEHIND", 100.0)
    choosing.fastest("timm", CASE, CPU)
    assert compiled == {(numbers, "written") for numbers in CASE.numbers}


def test_attention_without_weights_is_ours_otherwise() -> None:
    """Its costs stand beside those of ours."""
    ours = MultiHeadAttention(16, 2)
    other = explaining_costs.FusedOnlyAttention(16, 2)
    other.load_state_dict(ours.state_dict())
    sequence = torch.randn(2, 5, 16)
    for wanted in (1, None):
        arguments = (sequence, False, None, wanted)
        assert torch.allclose(other(*arguments)[0], ours(*arguments)[0], atol=1e-6)


def test_the_short_form_is_a_part_of_the_whole() -> None:
    assert SHORT
    assert set(SHORT) < set(CASES)


def test_runs_of_a_recipe_that_has_changed_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their mean would be nobody's accuracy."""

    def run(seed: int, recipe: str) -> dict[str, object]:
        return {"seed": seed, "title": "", "recipe": recipe, "test_accuracy": 0.9, "seconds": 1.0}

    now = accuracy.digest("mnist-fast")
    for seed in (0, 1):
        accuracy.add("mnist-fast", run(seed, now))
    accuracy.add("digits", run(0, accuracy.digest("digits")))
    accuracy.add("mnist-fast", run(1, now))
    assert [each["seed"] for each in accuracy.recorded("mnist-fast")] == [0, 1]
    monkeypatch.setattr(accuracy, "digest", lambda _: "changed")
    assert accuracy.recorded("mnist-fast") == []
    accuracy.add("mnist-fast", run(2, "changed"))
    assert accuracy.recorded("mnist-fast") == [run(2, "changed")]


@pytest.mark.parametrize(
    ("ratio", "share", "met"),
    [(1.31, 0.5, True), (1.29, 0.5, False), (1.0, 0.81, True), (1.31, None, True), (1.29, None, False)],
)
def test_a_goal_is_met_by_the_ratio_or_near_the_ceiling(
    ratio: float, share: float | None, met: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "machine", lambda _: "EPYC (AVX512), 2 threads")
    once = Spread(1.0, 1.0, 1.0)
    slower = Spread(ratio, ratio, ratio)
    speed.write(
        [
            Row(CASE.name, OURS, "", once, once, share, None),
            Row(CASE.name, "timm", "", Spread(1 / ratio, 1 / ratio, 1 / ratio), slower, 0.1, None),
        ],
        CPU,
        3,
    )
    judged = goals.faster(CASE.name, 1.3).judge()
    assert judged is not None
    assert judged.is_met is met
    assert goals.faster(MNIST.name, 1.3).judge() is None


def test_each_machine_keeps_its_speeds_and_goals_are_for_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop, or a server of 64 cores, would take the place of the machine that the goals are for."""
    for day, machine, images in (
        ("2026-11-01", "EPYC (AVX512), 2 threads", 4.0),
        ("2026-11-02", "EPYC (AVX512), family 25, 2 threads", 3.0),
        ("2026-11-01", "EPYC (AVX512), 2 threads", 2.0),
        ("2026-11-03", "EPYC (AVX2), 2 threads", 9.0),
        ("2026-11-03", "EPYC (AVX512), 64 threads", 9.0),
    ):
        monkeypatch.setattr(record, "machine", lambda _, name=machine: name)
        monkeypatch.setattr(speed, "title", lambda _, title=f"{day}, {machine}, Python 3": title)
        speeds = Spread(images, images, images)
        speed.write([Row(MNIST.name, OURS, "", speeds, speeds, None, None)], CPU, 3)
    kept = record.read("speed.json")[MNIST.name]
    assert len(kept) == 4
    assert speed.read_rows(kept["EPYC (AVX512), 2 threads"])[0].images_per_second.median == 2
    where = "2026-11-02, EPYC (AVX512), family 25, 2 threads"
    for wanted, is_met in ((3, True), (4, False)):
        assert goals.swift(MNIST, wanted).judge() == goals.Judged("3 (3 to 3)", is_met, where)


def test_a_recipe_is_judged_by_the_machine_that_was_last_measured_with_enough_seeds() -> None:
    """Seconds of a faster and a slower machine are no median."""
    for title, seeds, seconds in (
        ("2026-11-01, EPYC (AVX512), 2 threads", (0, 1, 2), 50.0),
        ("2026-11-02, Xeon (AVX512), 2 threads", (0, 1, 2), 20.0),
        ("2026-11-03, EPYC (AVX512), 2 threads", (0,), 40.0),
        ("2026-11-04, Ryzen (AVX512), 2 threads", (0,), 1.0),
        ("2026-11-04, Xeon (AVX512), 64 threads", (0, 1, 2), 1.0),
    ):
        for seed in seeds:
            run = {"seed": seed, "title": f"{title}, Python 3", "test_accuracy": 0.9, "seconds": seconds}
            accuracy.add("mnist-fast", run | {"recipe": accuracy.digest("mnist-fast")})
    judged = goals.accurate("mnist-fast", 0.9, 60, seeds=3).judge()
    assert judged is not None
    assert "in 50 s" in judged.measured
    assert goals.accurate("mnist-fast", 0.9, 60, seeds=4).judge() is None


@pytest.mark.slow
def test_a_wave_is_measured_and_written_before_its_ceiling_is(capsys: pytest.CaptureFixture[str]) -> None:
    """On a CPU, in processes of their own, as on a GPU: minutes there are few."""
    pytest.importorskip("timm", reason="timm is not installed")
    case = Case(ARCHITECTURES["MNIST"], "training", 2)
    settings = {
        OURS: Setting("float32", "own"),
        "timm": Setting("float32", "fused"),
    }
    (rows,) = speed_gpu.measure([(case, settings)], CPU, rounds=3)
    assert [row.opponent for row in rows] == [OURS, "timm"]
    (measured,) = record.read("speed.json")[case.name].values()
    written = speed.read_rows(measured)
    assert written == rows
    assert all(row.share_of_ceiling is None and row.memory_mebibytes for row in rows)
    assert "not measured" in speed.table(rows)
    assert "ready in" in capsys.readouterr().out


def test_the_runs_that_readme_reports_are_those_of_the_recipes_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A field that is added to recipes changes their digests, and runs of before would count for nothing."""
    monkeypatch.setattr(record, "RESULTS", RESULTS)
    for recipe, runs in (
        ("digits", 5),
        ("mnist", 3),
        ("mnist-best", 3),
        ("mnist-fast", 5),
        ("mnist-plain", 6),
        ("cifar10-fast", 3),
    ):
        assert len(accuracy.recorded(recipe)) >= runs


def test_time_is_told_by_the_stage_that_takes_it(tmp_path: Path) -> None:
    Image.effect_noise((800, 600), 100).convert("RGB").save(tmp_path / "photograph.jpg")
    preprocessing = Preprocessing(size=(8, 8), interpolation="nearest")

    def read() -> None:
        for _ in range(30):
            resize_pixels(decode_pixels(tmp_path / "photograph.jpg", 3, 255), preprocessing)

    shares = stages.shares_of_stages(read)
    assert next(iter(shares)) == "decoding"
    assert sum(shares.values()) == pytest.approx(1)
    assert set(shares) <= {*stages.STAGES.values(), stages.REST}
