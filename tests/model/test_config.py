import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest

from vision_transformers.config import from_json, to_json
from vision_transformers.errors import UsageFailure
from vision_transformers.model.config import ViTConfig
from vision_transformers.model.presets import PRESETS

SIZES: dict[str, Any] = {
    "patch_shape": (4, 4),
    "model_dimension": 16,
    "number_of_layers": 2,
    "number_of_heads": 2,
    "hidden_dimension": 24,
    "number_of_channels": 3,
    "number_of_classes": 5,
}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model_dimension": 0}, "model_dimension is 0: expected 1 or more"),
    ({"number_of_layers": 0}, "number_of_layers is 0: expected 1 or more"),
    ({"number_of_heads": 0}, "number_of_heads is 0: expected 1 or more"),
    ({"hidden_dimension": -1}, "hidden_dimension is -1: expected 1 or more"),
    ({"number_of_channels": 0}, "number_of_channels is 0: expected 1 or more"),
    ({"number_of_classes": -1}, "number_of_classes is -1: expected 0 or more"),
    ({"number_of_register_tokens": -1}, "number_of_register_tokens is -1: expected 0 or more"),
    ({"attention_dimension": 0}, "attention_dimension is 0: expected 1 or more, or None"),
    ({"pre_logits_dimension": 0}, "pre_logits_dimension is 0: expected 1 or more, or None"),
    ({"dropout": 1.0}, "dropout is 1.0: expected at least 0 and less than 1"),
    ({"stochastic_depth": -0.1}, "stochastic_depth is -0.1: expected at least 0 and less than 1"),
    ({"max_image_shape": (30, 28)}, r"max_image_shape \(30, 28\) is not whole patches of \(4, 4\)"),
    ({"patch_shape": (4, 32)}, r"max_image_shape \(28, 28\) is not whole patches of \(4, 32\)"),
    ({"patch_shape": (0, 4)}, r"max_image_shape \(28, 28\) is not whole patches of \(0, 4\)"),
    ({"number_of_heads": 3}, "number_of_heads is 3, which does not divide 16"),
    ({"attention_dimension": 15}, "number_of_heads is 2, which does not divide 15"),
    (
        {"attention_dimension": 8, "attention_projection": False},
        "attention_dimension is 8: without attention_projection, expected 16",
    ),
    (
        {"positions": "rotary", "number_of_heads": 8},
        "rotary positions need heads whose width 4 divides: it is 2",
    ),
    ({"positions": "sine-cosine", "model_dimension": 18}, "at least 8 that 4 divides: it is 18"),
    ({"positions": "sine-cosine-mae", "model_dimension": 4}, "at least 8 that 4 divides: it is 4"),
    ({"class_token": False}, "pool is 'class', but class_token is False"),
    ({"class_token": False, "pool": "class-mean"}, "pool is 'class-mean', but class_token is False"),
    ({"distillation_token": True, "pool": "mean"}, "a distillation_token needs pool 'class': it is 'mean'"),
    ({"distillation_token": True, "pre_logits_dimension": 8}, "has no pre_logits_dimension"),
    (
        {"patch_normalization": True, "patch_extractor": "convolutional"},
        "patch_normalization needs the linear patch_extractor",
    ),
    (
        {"patch_shape": (7, 7), "patch_extractor": "stem"},
        r"patch_shape is \(7, 7\): a stem halves the image",
    ),
    (
        {"patch_shape": (1, 1), "patch_extractor": "stem"},
        r"patch_shape is \(1, 1\): a stem halves the image",
    ),
    (
        {"patch_shape": (4, 2), "patch_extractor": "stem"},
        r"patch_shape is \(4, 2\): a stem halves the image",
    ),
    (
        {"patch_shape": (4, 4), "model_dimension": 9, "number_of_heads": 1, "patch_extractor": "stem"},
        "model_dimension is 9: a stem for patches of 4 x 4 needs a multiple of 2",
    ),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_sizes_and_options_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    """Each would fail late inside PyTorch, or silently give another model than the one asked for."""
    with pytest.raises(ValueError, match=message):
        ViTConfig(**SIZES | changes)


CHOICES = """
from vision_transformers.model.config import LowRankConfig, ViTConfig
sizes = dict(patch_shape=(4, 4), model_dimension=16, number_of_layers=2, number_of_heads=2,
             hidden_dimension=24, number_of_channels=3, number_of_classes=5)
for name, choice, nearest in [
    ("patch_extractor", "convolution", "convolutional"),
    ("positions", "sincos", "sine-cosine"),
    ("prefix_positions", "cls", "class"),
    ("position_resize", "bilinar", "bilinear"),
    ("activation", "gelu_tanh", "gelu-tanh"),
    ("pool", "cls", "class"),
    ("final_normalization", "afterpool", "after-pool"),
]:
    try:
        ViTConfig(**sizes, **{name: choice})
    except ValueError as error:
        assert str(error) == f"{name} is {choice!r}: did you mean {nearest!r}?", error
    else:
        raise AssertionError(f"{name}={choice!r} was accepted")
try:
    LowRankConfig(4, parts=("query", "values"))
except ValueError as error:
    assert str(error) == "low_rank.parts has 'values': did you mean 'value'?", error
else:
    raise AssertionError("a part that no layer has was accepted: nothing would learn but the head")
"""


def run_alone(program: str) -> None:
    """Runs a program in a fresh interpreter, without the tests' run-time type checks."""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


def test_an_unknown_choice_names_the_nearest() -> None:
    """`positions="sincos"` once gave a model without any positions, and no word about it."""
    run_alone(CHOICES)


@pytest.mark.parametrize(
    "module",
    [
        "vision_transformers.model.config",
        "vision_transformers.model.presets",
        "vision_transformers.training.recipe",
        "vision_transformers.data.source",
        "vision_transformers.data.preprocessing",
        "vision_transformers.data.augmentation",
    ],
)
def test_configs_import_no_torch(module: str) -> None:
    """`vit --help` and `vit train --help` would take seconds otherwise."""
    run_alone(f"import sys, {module}; assert 'torch' not in sys.modules")


SHAPES = """
from vision_transformers.model.config import LowRankConfig, ViTConfig
sizes = dict(model_dimension=16, number_of_layers=2, number_of_heads=2,
             hidden_dimension=24, number_of_channels=3, number_of_classes=5)
lists, tuples = ViTConfig([4, 4], **sizes, max_image_shape=[28, 28]), ViTConfig((4, 4), **sizes)
assert {lists} == {tuples}, (lists, tuples)
assert {LowRankConfig(4, parts=["query"])} == {LowRankConfig(4, parts=("query",))}
for wrong in (4, (4,), "44"):
    try:
        ViTConfig(wrong, **sizes)
    except ValueError as error:
        assert str(error) == f"patch_shape is {wrong!r}: expected rows and columns, as in (16, 16)", error
    else:
        raise AssertionError(f"{wrong!r} was accepted")
"""


def test_lists_are_as_good_as_tuples_and_a_number_alone_is_told() -> None:
    """As YAML and JSON give them, and other libraries: equal configs must be equal, and have a hash."""
    run_alone(SHAPES)


def test_a_config_cannot_be_changed() -> None:
    """Else a model and its config could come to disagree."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        ViTConfig(**SIZES).model_dimension = 32  # type: ignore[misc]


def test_the_layout_that_follows_from_the_fields() -> None:
    config = ViTConfig(**SIZES, max_image_shape=(8, 20), number_of_register_tokens=3, distillation_token=True)
    assert config.grid == (2, 5)
    assert config.number_of_prefix_tokens == 5
    positions = {
        kind: dataclasses.replace(config, prefix_positions=kind).number_of_prefix_positions
        for kind in ("none", "class", "all")
    }
    assert positions == {"none": 0, "class": 1, "all": 5}
    assert dataclasses.replace(config, attention_dimension=24).head_dimension == 12


@pytest.mark.parametrize("name", PRESETS)
def test_a_config_comes_back_from_json(name: str) -> None:
    """A model folder that cannot be read again is lost."""
    config = PRESETS[name]
    assert from_json(ViTConfig, json.loads(json.dumps(to_json(config)))) == config


def test_every_field_comes_back_from_json() -> None:
    changed = ViTConfig(
        **SIZES,
        max_image_shape=(8, 12),
        positions="rotary",
        attention_dimension=24,
        layer_scale=0.1,
        pool="class-mean",
        pre_logits_dimension=7,
    )
    assert from_json(ViTConfig, json.loads(json.dumps(to_json(changed)))) == changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layer_scal": 0.1}, "unknown field 'model.layer_scal': did you mean 'layer_scale'"),
        ({"model_dimension": "16"}, "model.model_dimension is '16': expected int"),
        ({"model_dimension": 16.0}, "model.model_dimension is 16.0: expected int"),
        ({"class_token": 1}, "model.class_token is 1: expected bool"),
        ({"patch_shape": 4}, "model.patch_shape is 4: expected a list"),
        ({"patch_shape": [4, 4, 4]}, "model.patch_shape has 3 values: expected 2"),
        ({"pool": "median"}, "model.pool is 'median': did you mean 'mean'"),
    ],
)
def test_json_that_is_not_a_config_says_where(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageFailure, match=message):
        from_json(ViTConfig, to_json(ViTConfig(**SIZES)) | changes, "model")


def test_json_without_a_size_names_it() -> None:
    data = to_json(ViTConfig(**SIZES))
    del data["number_of_heads"]
    with pytest.raises(UsageFailure, match=r"'model\.number_of_heads' is missing"):
        from_json(ViTConfig, data, "model")


@pytest.mark.parametrize(
    ("name", "value"), [("normalization_epsilon", -1.0), ("rotary_base", 0.0), ("layer_scale", float("nan"))]
)
def test_numbers_that_would_give_nan_are_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}: expected a number above 0"):
        ViTConfig((4, 4), 8, 1, 1, 8, 1, 2, **{name: value})
