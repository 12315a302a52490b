"""The learning rate wastes no step: never 0 at the first, up in a line, then down to where it is told."""

import math

import pytest

from vision_transformers.training.recipe import Schedule
from vision_transformers.training.schedule import rate_at

STEPS = 100


def rates(schedule: Schedule, steps: int = STEPS) -> list[float]:
    return [rate_at(schedule, step, steps) for step in range(steps)]


@pytest.mark.parametrize("shape", ["cosine", "linear", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("final", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7, STEPS])
def test_it_rises_then_falls_and_is_never_0(shape: str, warmup: float, final: float, steps: int) -> None:
    values = rates(Schedule(shape, warmup, final), steps)  # type: ignore[arg-type]
    peak = round(warmup * steps)
    assert all(0 < value <= 1 for value in values)
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)
    if peak < steps:
        assert values[peak] == 1


def test_the_warmup_is_a_line() -> None:
    values = rates(Schedule("cosine", 0.1))
    assert values[:11] == pytest.approx([(step + 1) / 11 for step in range(11)])


def test_cosine() -> None:
    values = rates(Schedule("cosine", 0.1, 0.2))
    expected = [0.2 + 0.8 * (1 + math.cos(math.pi * step / 90)) / 2 for step in range(90)]
    assert values[10:] == pytest.approx(expected)


def test_linear() -> None:
    values = rates(Schedule("linear", 0.1, 0.2))
    assert values[10:] == pytest.approx([1 - 0.8 * step / 90 for step in range(90)])


def test_constant() -> None:
    assert rates(Schedule("constant", 0.1, 0.2))[10:] == [1.0] * 90
