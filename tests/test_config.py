"""A recipe is read back as it was written; a misspelt or wrong value is named with its place."""

import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pytest
from tests.training.recipes import everything

from vision_transformers.config import differences, from_json, nearest, to_json
from vision_transformers.errors import UsageFailure
from vision_transformers.training.recipe import Recipe


@dataclass(frozen=True)
class Inner:
    size: tuple[int, int]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise ValueError(f"size is {self.size}: expected 1 or more")


@dataclass(frozen=True)
class Outer:
    inner: Inner
    rate: float = 0.5
    kind: Literal["round", "square"] = "round"
    limit: int | None = None
    flag: bool = False
    more: Inner = field(default_factory=lambda: Inner((1, 1)))


VALUE = Outer(Inner((2, 3), ("a", "b")), 0.1, "square", 7, True)


def test_a_config_survives_json() -> None:
    assert from_json(Outer, json.loads(json.dumps(to_json(VALUE)))) == VALUE


def test_a_recipe_survives_json() -> None:
    recipe = everything()
    assert from_json(Recipe, json.loads(json.dumps(to_json(recipe)))) == recipe


def test_what_is_left_out_has_its_default() -> None:
    assert from_json(Outer, {"inner": {"size": [1, 2]}}) == Outer(Inner((1, 2)))


def test_a_whole_number_will_do_for_a_float_but_keeps_no_type_of_its_own() -> None:
    rate = from_json(Outer, {"inner": {"size": [1, 2]}, "rate": 1}).rate
    assert type(rate) is float


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"raet": 1.0}, r"unknown field 'raet': did you mean 'rate'\?"),
        ({"zzz": 1.0}, "unknown field 'zzz': known are inner, rate, kind, limit, flag, more"),
        ({"inner": {"sise": [1, 2]}}, r"unknown field 'inner.sise': did you mean 'size'\?"),
        ({"inner": {}}, "field 'inner.size' is missing"),
        ({"inner": [1, 2]}, r"inner is \[1, 2\]: expected an object with named fields"),
        ({"inner": {"size": [1, 2, 3]}}, "inner.size has 3 values: expected 2"),
        ({"inner": {"size": [1, "2"]}}, r"inner.size\[1\] is '2': expected int"),
        ({"inner": {"size": 3}}, "inner.size is 3: expected a list"),
        ({"inner": {"size": [0, 2]}}, r"size is \(0, 2\): expected 1 or more"),
        ({"rate": "fast"}, "rate is 'fast': expected float"),
        ({"rate": True}, "rate is True: expected float"),
        ({"kind": "squre"}, r"kind is 'squre': did you mean 'square'\?"),
        ({"limit": 1.5}, "limit is 1.5: expected int"),
        ({"flag": 1}, "flag is 1: expected bool"),
    ],
)
def test_a_mistake_is_named_with_its_place(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageFailure, match=says):
        from_json(Outer, {"inner": {"size": [1, 2]}} | change)


def test_differences_are_found_at_any_depth() -> None:
    changed = replace(VALUE, rate=0.2, inner=replace(VALUE.inner, size=(2, 4)))
    assert differences(VALUE, changed) == [("inner.size", (2, 3), (2, 4)), ("rate", 0.1, 0.2)]
    assert differences(VALUE, VALUE) == []


def test_the_nearest_name_is_proposed_or_all_of_them() -> None:
    assert nearest("digitz", ["digits", "mnist"]) == "did you mean 'digits'?"
    assert nearest("vit-s16", ["ViT-B/16", "ViT-S/16"]) == "did you mean 'ViT-S/16'?"
    assert nearest("x", ["digits", "mnist"]) == "known are digits, mnist"
