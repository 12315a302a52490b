"""Weights come from transformers and go to it, unchanged, and transformers computes the same with them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.parity.weights import assert_same_outputs, randomise
from tests.photographs import noise
from tests.weights.portable import check_reference, check_round_trip, outputs, portable

from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.weights.conversion import (
    SIDECAR,
    export_model,
    import_model,
    read_native,
    write_native,
)
from vision_transformers.weights.format import Given
from vision_transformers.weights.formats.huggingface import HUGGINGFACE
from vision_transformers.weights.report import Report
from vision_transformers.weights.rewrites import expressible

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

DINOV2: dict[str, Any] = {"layer_scale": 1.0, "pool": "class-mean", "hidden_dimension": 128}
DINOV3: dict[str, Any] = {
    "positions": "rotary",
    "number_of_register_tokens": 4,
    "layer_scale": 1.0,
    "normalization_epsilon": 1e-5,
    "number_of_classes": 0,
    "key_bias": False,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "ViT": {},
    "ViT without biases of queries, keys and values": {
        "query_bias": False,
        "key_bias": False,
        "value_bias": False,
    },
    "ViT with tanh GELU": {"activation": "gelu-tanh", "normalization_epsilon": 1e-12},
    "ViT without a head": {"number_of_classes": 0},
    "ViT for grey oblong images": {
        "number_of_channels": 1,
        "max_image_shape": (32, 48),
        "patch_shape": (8, 16),
    },
    "DeiT": {"number_of_register_tokens": 1},
    "DeiT with teacher": {"distillation_token": True},
    "DINOv2": DINOV2,
    "DINOv2 without a head": DINOV2 | {"number_of_classes": 0, "pool": "class"},
    "DINOv2 with SwiGLU": DINOV2 | {"activation": "swiglu", "hidden_dimension": 88},
    "DINOv2 with registers": DINOV2 | {"number_of_register_tokens": 4, "prefix_positions": "class"},
    "DINOv3": DINOV3,
    "DINOv3 with SwiGLU": DINOV3 | {"activation": "swiglu", "query_bias": False, "value_bias": False},
    "convolutional": {"patch_extractor": "convolutional", "position_resize": "bicubic", "dropout": 0.1},
}


@pytest.mark.parametrize("options", list(OPTIONS.values()), ids=list(OPTIONS))
def test_transformers_computes_the_same_from_what_was_written(
    options: dict[str, Any], tmp_path: Path
) -> None:
    check_reference(portable(**options), HUGGINGFACE, tmp_path / "hub")


@pytest.mark.parametrize("options", list(OPTIONS.values()), ids=list(OPTIONS))
def test_what_was_written_is_read_again_without_a_change(options: dict[str, Any], tmp_path: Path) -> None:
    check_round_trip(portable(**options), HUGGINGFACE, tmp_path / "hub")


SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
RATIO = {name: size for name, size in SIZES.items() if name != "intermediate_size"} | {"mlp_ratio": 4}
LABELS = {"id2label": {0: "cat", 1: "dog", 2: "owl"}, "label2id": {"cat": 0, "dog": 1, "owl": 2}}


def saved_models() -> dict[str, Any]:
    """One of each family, as transformers makes it."""
    return {
        "ViTForImageClassification": transformers.ViTConfig(**SIZES, **LABELS),
        "ViTModel": transformers.ViTConfig(**SIZES),
        "DeiTForImageClassification": transformers.DeiTConfig(**SIZES, **LABELS),
        "DeiTForImageClassificationWithTeacher": transformers.DeiTConfig(**SIZES, **LABELS),
        "Dinov2ForImageClassification": transformers.Dinov2Config(**RATIO, **LABELS),
        "Dinov2Model": transformers.Dinov2Config(**RATIO, use_swiglu_ffn=True),
        "Dinov2WithRegistersModel": transformers.Dinov2WithRegistersConfig(**RATIO, num_register_tokens=4),
        "DINOv3ViTModel": transformers.DINOv3ViTConfig(**SIZES, num_register_tokens=4),
    }


@pytest.mark.parametrize("name", list(saved_models()))
def test_what_transformers_saves_is_read_and_written_back_with_the_same_bytes(
    name: str, tmp_path: Path
) -> None:
    theirs = getattr(transformers, name)(saved_models()[name])
    randomise(theirs)
    theirs.save_pretrained(tmp_path / "hub")
    report = Report()
    found = import_model(tmp_path / "hub", HUGGINGFACE, Given(), report)
    assert report.left_out == []
    images, ours = outputs(found)
    with torch.no_grad():
        result = theirs.eval()(images)
    assert_same_outputs(ours, result.logits if "logits" in result else result.last_hidden_state[:, 0])
    assert found.description.classes == (("cat", "dog", "owl") if "logits" in result else ())
    write_native(tmp_path / "native", found)
    export_model(tmp_path / "back", read_native(tmp_path / "native"), HUGGINGFACE, Report())
    back = getattr(transformers, name).from_pretrained(tmp_path / "back").state_dict()
    assert back.keys() == theirs.state_dict().keys()
    for key, value in theirs.state_dict().items():
        assert torch.equal(back[key], value), key


@pytest.mark.parametrize("name", [name for name in saved_models() if not name.startswith("DINOv3")])
def test_names_of_release_5_in_memory_are_read(name: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    theirs = getattr(transformers, name)(saved_models()[name])
    randomise(theirs)
    theirs.save_pretrained(tmp_path)
    expected = import_model(tmp_path, HUGGINGFACE, Given(), Report()).weights
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    found = import_model(tmp_path, HUGGINGFACE, Given(), Report()).weights
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("crop", ["squash", "center"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (41, 60), (63, 40), (50, 77)])
def test_its_processor_sees_nearly_the_same_pixels(
    crop: str, height: int, width: int, tmp_path: Path
) -> None:
    """Also where the margin beside the crop is odd, of which transformers takes the smaller half first."""
    from dataclasses import replace

    from vision_transformers.data.normalising import normalise
    from vision_transformers.data.resizing import resize, to_pixels

    model = portable()
    preprocessing = replace(model.description.preprocessing, crop=crop)
    model = replace(model, description=replace(model.description, preprocessing=preprocessing))
    export_model(tmp_path / "hub", model, HUGGINGFACE, Report())
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "hub")
    (tmp_path / "hub" / SIDECAR).unlink()
    found = import_model(tmp_path / "hub", HUGGINGFACE, Given(), Report()).description.preprocessing
    assert found == replace(
        preprocessing, crop_rounding=found.crop_rounding, crop_fraction=found.crop_fraction
    )
    picture = Image.fromarray(noise(1, height, width))
    theirs = processor(picture, return_tensors="pt")["pixel_values"]
    ours = normalise(to_pixels(resize(picture, found))[None], found)
    assert np.abs((ours - theirs).numpy()).max() <= 2 / 255 / 0.2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"pool": "mean"}, "pool='mean'"),
        ({"class_token": False, "pool": "mean"}, "class_token=False"),
        ({"positions": "none"}, "positions='none'"),
        ({"number_of_register_tokens": 2}, "number_of_register_tokens=2"),
        ({"number_of_register_tokens": 1, "number_of_classes": 0}, "number_of_register_tokens=1"),
        ({"number_of_register_tokens": 1, "distillation_token": True}, "number_of_register_tokens=1"),
        ({"key_bias": False}, "key_bias=False"),
        (DINOV3 | {"distillation_token": True}, "distillation_token=True"),
        (
            DINOV2 | {"distillation_token": True, "pool": "class", "number_of_register_tokens": 2},
            "distillation_token=True",
        ),
        (
            DINOV2 | {"pool": "class", "number_of_register_tokens": 2, "prefix_positions": "class"},
            "pool='class'",
        ),
        (DINOV2 | {"activation": "swiglu", "hidden_dimension": 43}, "hidden_dimension=43"),
    ],
)
def test_what_transformers_cannot_express_is_refused_by_name(
    options: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageFailure, match=f"cannot express {named}"):
        export_model(tmp_path / "hub", portable(**options), HUGGINGFACE, Report())
    assert not (tmp_path / "hub").exists()


def test_a_head_without_class_names_keeps_its_width(tmp_path: Path) -> None:
    model = portable()
    check_reference(
        replace(model, description=replace(model.description, classes=())), HUGGINGFACE, tmp_path / "hub"
    )


@pytest.mark.parametrize("options", [{}, DINOV2, {"distillation_token": True}], ids=["ViT", "DINOv2", "DeiT"])
def test_prefix_tokens_without_positions_get_zeros(options: dict[str, Any], tmp_path: Path) -> None:
    model = portable(**options, prefix_positions="none")
    rewritten = expressible(model, HUGGINGFACE, Report())
    assert_same_outputs(outputs(model)[1], outputs(rewritten)[1])
    check_reference(rewritten, HUGGINGFACE, tmp_path / "hub")


def test_a_checkpoint_in_bfloat16_is_judged_in_float32(tmp_path: Path) -> None:
    model = portable()
    halves = {name: value.bfloat16() for name, value in model.weights.items()}
    rounded = replace(model, weights={name: value.float() for name, value in halves.items()})
    export_model(tmp_path / "hub", replace(model, weights=halves), HUGGINGFACE, Report())
    config = tmp_path / "hub" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"dtype": "bfloat16"}))
    images, expected = outputs(rounded)
    assert HUGGINGFACE.reference is not None
    with torch.no_grad():
        assert_same_outputs(expected, HUGGINGFACE.reference(tmp_path / "hub", model.description)(images))


def test_where_transformers_makes_pictures_square_before_the_crop_the_report_says_so(tmp_path: Path) -> None:
    export_model(tmp_path / "hub", portable(), HUGGINGFACE, Report())
    (tmp_path / "hub" / SIDECAR).unlink()
    processor = tmp_path / "hub" / "preprocessor_config.json"
    size = {"size": {"height": 40, "width": 40}}  # as DeiTImageProcessor has it, 256 and 224
    processor.write_text(json.dumps(json.loads(processor.read_text()) | size))
    report = Report()
    import_model(tmp_path / "hub", HUGGINGFACE, Given(), report)
    assert any("keep their aspect" in note for note in report.notes)


def test_a_size_of_pictures_that_is_not_whole_patches_is_told(tmp_path: Path) -> None:
    export_model(tmp_path / "hub", portable(), HUGGINGFACE, Report())
    (tmp_path / "hub" / SIDECAR).unlink()
    processor = tmp_path / "hub" / "preprocessor_config.json"
    size = {"crop_size": {"height": 30, "width": 30}}
    processor.write_text(json.dumps(json.loads(processor.read_text()) | size))
    with pytest.raises(Failure, match="image height 30 is not a multiple of the patch's 8 pixels"):
        import_model(tmp_path / "hub", HUGGINGFACE, Given(), Report())


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"do_resize": False}, "do_resize: false"),
        ({"do_rescale": False}, "divide image_mean and image_std by 255"),
        ({"rescale_factor": 1 / 127.5}, "divide image_mean and image_std by 2"),
    ],
)
def test_a_processor_that_does_what_none_here_does_is_refused(
    said: dict[str, Any], told: str, tmp_path: Path
) -> None:
    """Read as if it did as all others, the model would see other pixels than it learned from."""
    export_model(tmp_path / "hub", portable(), HUGGINGFACE, Report())
    (tmp_path / "hub" / SIDECAR).unlink()
    processor = tmp_path / "hub" / "preprocessor_config.json"
    processor.write_text(json.dumps(json.loads(processor.read_text()) | said))
    with pytest.raises(Failure, match=told):
        import_model(tmp_path / "hub", HUGGINGFACE, Given(), Report())


@pytest.mark.parametrize(
    "name",
    ["ViTModel", "DeiTForImageClassification", "Dinov2Model", "Dinov2WithRegistersModel", "DINOv3ViTModel"],
)
def test_an_epsilon_that_is_not_said_is_that_of_transformers(name: str, tmp_path: Path) -> None:
    getattr(transformers, name)(saved_models()[name]).save_pretrained(tmp_path)
    said = json.loads((tmp_path / "config.json").read_text())
    del said["layer_norm_eps"]
    (tmp_path / "config.json").write_text(json.dumps(said))
    found = import_model(tmp_path, HUGGINGFACE, Given(), Report()).description.model
    assert found.normalization_epsilon == transformers.AutoConfig.from_pretrained(tmp_path).layer_norm_eps


@pytest.mark.parametrize("function", ["gelu", "silu"])
def test_a_gate_of_another_function_than_silu_is_not_read_as_swiglu(function: str, tmp_path: Path) -> None:
    config = transformers.DINOv3ViTConfig(**SIZES, use_gated_mlp=True, hidden_act=function)
    theirs = transformers.DINOv3ViTModel(config)
    randomise(theirs)
    theirs.save_pretrained(tmp_path / "hub")
    if function == "gelu":
        with pytest.raises(Failure, match="use_gated_mlp with hidden_act 'gelu'"):
            import_model(tmp_path / "hub", HUGGINGFACE, Given(), Report())
        return
    images, ours = outputs(import_model(tmp_path / "hub", HUGGINGFACE, Given(), Report()))
    with torch.no_grad():
        assert_same_outputs(ours, theirs.eval()(images).last_hidden_state[:, 0])


def test_deit_without_a_head_is_judged_by_both_its_tokens(tmp_path: Path) -> None:
    check_reference(portable(distillation_token=True, number_of_classes=0), HUGGINGFACE, tmp_path / "hub")


@pytest.mark.parametrize(
    "options",
    [
        {"layer_scale": 0.5},
        {"layer_scale": 0.5, "distillation_token": True},
        {"layer_scale": 0.5, "distillation_token": True, "number_of_classes": 0},
        {"layer_scale": 0.5, "prefix_positions": "none"},
        {"layer_scale": 0.5, "prefix_positions": "none", "distillation_token": True},
        DINOV2
        | {
            "number_of_classes": 0,
            "pool": "class",
            "prefix_positions": "none",
            "number_of_register_tokens": 4,
        },
    ],
    ids=[
        "DeiT III",
        "with a distillation token",
        "and without a head",
        "without a position of the class token",
        "without positions of both tokens",
        "timm's DINOv2 with registers",
    ],
)
def test_the_same_function_in_fewer_options(options: dict[str, Any], tmp_path: Path) -> None:
    model, report = portable(**options), Report()
    rewritten = expressible(model, HUGGINGFACE, report)
    assert_same_outputs(outputs(model)[1], outputs(rewritten)[1])
    check_reference(rewritten, HUGGINGFACE, tmp_path / "hub")
    assert len(report.notes) == len(set(report.notes)) > 0


@pytest.mark.parametrize(
    ("name", "mean"), [("ViTModel", 0.5), ("Dinov2WithRegistersModel", 0.485), ("DINOv3ViTModel", 0.485)]
)
def test_without_a_processor_pictures_are_those_of_the_family(name: str, mean: float, tmp_path: Path) -> None:
    getattr(transformers, name)(saved_models()[name]).save_pretrained(tmp_path)
    report = Report()
    found = import_model(tmp_path, HUGGINGFACE, Given(), report).description.preprocessing
    assert found.mean[0] == mean
    assert any("no preprocessor_config.json" in note and "ImageNet" in note for note in report.notes) == (
        mean == 0.485
    )
