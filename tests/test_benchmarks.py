"""What the benchmarks say is of what they measured: this machine, this recipe, settings that ran."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from benchmarks import accuracy, explaining_costs, goals, speed, speed_gpu
from benchmarks.architectures import ARCHITECTURES
from benchmarks.opponents import OPPONENTS, OURS
from benchmarks.settings import Case, Setting
from benchmarks.speed import CASES, SHORT, Row, choose, recorded
from benchmarks.speed_gpu import MNIST
from benchmarks.turns import Spread

from vision_transformers.model.attention import MultiHeadAttention

CPU = torch.device("cpu")
CASE = CASES[0]


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(speed, "title", lambda _: "versions of libraries that need not be here")
    monkeypatch.setattr(speed, "RESULTS", tmp_path)
    monkeypatch.setattr(goals, "RESULTS", tmp_path)
    monkeypatch.setattr(accuracy, "FILE", tmp_path / "accuracy.json")
    return tmp_path


def test_settings_of_another_machine_are_nobody_s_best_here(results: Path) -> None:
    settings = {name: asdict(Setting("float32", "own")) for name in OPPONENTS}
    speed._write(results / "settings.json", {"another machine": {CASE.name: settings}})
    assert recorded(CASE, CPU) == {}


def test_what_does_not_run_here_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As what is compiled without a C++ compiler, and who needs more memory than there is."""

    def step_of(opponent: str, case: speed.Case, setting: Setting, device: torch.device):  # noqa: ARG001
        def step() -> None:
            if setting.compile or opponent == "torchvision":
                raise RuntimeError("not here")

        return step

    monkeypatch.setattr(speed, "step_of", step_of)
    chosen = choose(CASE, CPU)
    assert set(chosen) == set(OPPONENTS) - {"torchvision"}
    assert not any(setting.compile for setting in chosen.values())
    assert recorded(CASE, CPU) == chosen


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
        return {"seed": seed, "recipe": recipe, "test_accuracy": 0.9, "seconds": 1.0}

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
def test_a_goal_is_met_by_the_ratio_or_near_the_ceiling(ratio: float, share: float | None, met: bool) -> None:
    once = Spread(1.0, 1.0, 1.0)
    slower = Spread(ratio, ratio, ratio)
    speed.write(
        [
            Row(CASE.name, OURS, "", once, once, share, None, "none"),
            Row(CASE.name, "timm", "", Spread(1 / ratio, 1 / ratio, 1 / ratio), slower, 0.1, None, "none"),
        ],
        CPU,
    )
    judged = goals.faster(CASE.name, 1.3).judge()
    assert judged is not None
    assert judged[1] is met
    assert goals.faster(MNIST.name, 1.3).judge() is None


def test_a_wave_is_measured_and_written_before_its_ceiling_is(capsys: pytest.CaptureFixture[str]) -> None:
    """On a CPU, in processes of their own, as on a GPU: minutes there are few."""
    pytest.importorskip("timm", reason="timm is not installed")
    case = Case(ARCHITECTURES["MNIST"], "training", 2)
    settings = {
        OURS: Setting("bfloat16-weights", "own"),
        "timm": Setting("bfloat16-weights", "fused"),
    }
    (rows,) = speed_gpu.measure([(case, settings)], CPU, rounds=3)
    assert [row.opponent for row in rows] == [OURS, "timm"]
    written = speed.read_rows(json.loads((speed.RESULTS / "speed.json").read_text())[case.name])
    assert written == rows
    assert all(row.share_of_ceiling is None and row.memory_mebibytes for row in rows)
    assert "not measured" in speed.table(rows)
    assert "ready in" in capsys.readouterr().out
