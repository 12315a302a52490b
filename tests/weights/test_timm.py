"""Weights come from timm and go to it, unchanged, and timm computes the same with them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.parity.weights import assert_same_outputs, randomise
from tests.photographs import noise
from tests.weights.portable import check_reference, check_round_trip, outputs, portable

from vision_transformers.data.resizing import resize, to_pixels
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.weights.conversion import (
    SIDECAR,
    export_model,
    import_model,
    read_native,
    write_native,
)
from vision_transformers.weights.foreign_files import read_weights
from vision_transformers.weights.format import Given
from vision_transformers.weights.formats.timm import TIMM
from vision_transformers.weights.formats.timm_names import heads_of
from vision_transformers.weights.report import Report
from vision_transformers.weights.rewrites import expressible

timm = pytest.importorskip("timm", reason="timm is not installed")

CLIP: dict[str, Any] = {
    "normalization_before_blocks": True,
    "patch_bias": False,
    "activation": "quick-gelu",
    "normalization_epsilon": 1e-5,
}
DINOV3: dict[str, Any] = {
    "positions": "rotary",
    "number_of_register_tokens": 4,
    "layer_scale": 1e-5,
    "normalization_epsilon": 1e-5,
    "key_bias": False,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "DINOv3": DINOV3 | {"query_bias": False, "value_bias": False, "pool": "mean"},
    "DINOv3 with biases": DINOV3,
    "DINOv3 with SwiGLU": DINOV3 | {"activation": "swiglu", "number_of_classes": 0},
    "the paper's": {},
    "registers with positions": {"number_of_register_tokens": 3},
    "DINOv2 with registers": {
        "number_of_register_tokens": 4,
        "prefix_positions": "none",
        "layer_scale": 1e-5,
    },
    "DeiT": {"distillation_token": True},
    "DeiT III": {"prefix_positions": "none", "layer_scale": 1e-5},
    "SigLIP": {"class_token": False, "pool": "attention", "activation": "gelu-tanh"},
    "attention pool over a class token and registers": {"pool": "attention", "number_of_register_tokens": 2},
    "CLIP": CLIP,
    "mean of patches, then norm": {"pool": "mean", "final_normalization": "after-pool"},
    "norm, then mean of patches": {"pool": "mean"},
    "mean of all tokens": {"pool": "mean-all", "number_of_register_tokens": 1},
    "SwiGLU": {"activation": "swiglu"},
    "normalised queries and keys": {"query_key_normalization": True},
    "no biases in attention": {"query_bias": False, "key_bias": False, "value_bias": False},
    "no positions": {"positions": "none"},
    "no head": {"number_of_classes": 0},
    "oblong": {"max_image_shape": (32, 48), "patch_shape": (8, 16)},
    "grey": {"number_of_channels": 1},
    "convolutional": {"patch_extractor": "convolutional", "dropout": 0.1},
}


@pytest.mark.parametrize("options", list(OPTIONS.values()), ids=list(OPTIONS))
def test_timm_computes_the_same_from_what_was_written(options: dict[str, Any], tmp_path: Path) -> None:
    check_reference(portable(**options), TIMM, tmp_path / "timm")


@pytest.mark.parametrize("options", list(OPTIONS.values()), ids=list(OPTIONS))
def test_what_was_written_is_read_again_without_a_change(options: dict[str, Any], tmp_path: Path) -> None:
    check_round_trip(portable(**options), TIMM, tmp_path / "timm")


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        "deit3_small_patch16_224",
        "vit_small_patch14_reg4_dinov2",
        "vit_small_patch16_dinov3_qkvb",
    ],
)
def test_what_timm_saves_is_read_and_written_back_with_the_same_bytes(name: str, tmp_path: Path) -> None:
    from timm.models._hub import save_for_hf

    sizes = {"img_size": 28, "patch_size": 14, "depth": 2, "num_classes": 3}
    theirs = timm.create_model(name, **sizes)
    randomise(theirs)
    labels = {"label_names": ["a", "b", "c"]}
    save_for_hf(theirs, tmp_path / "hub", model_config=labels, model_args=sizes, safe_serialization=True)
    found = import_model(tmp_path / "hub", TIMM, Given(), Report())
    assert found.description.classes == ("a", "b", "c")
    assert found.description.preprocessing.mean == tuple(theirs.pretrained_cfg["mean"])
    assert not any(pixels % 14 for pixels in found.description.preprocessing.size)
    images, ours = outputs(found)
    with torch.no_grad():
        assert_same_outputs(ours, theirs.eval()(images))
    write_native(tmp_path / "native", found)
    export_model(tmp_path / "back", read_native(tmp_path / "native"), TIMM, Report())
    state = timm.create_model(f"local-dir:{tmp_path / 'back'}", pretrained=True).state_dict()
    assert state.keys() == theirs.state_dict().keys()
    assert all(torch.equal(state[key], value) for key, value in theirs.state_dict().items())


@pytest.mark.parametrize("crop_pct", [0.8, 0.875, 0.9, 0.95, 1.0])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (75, 50), (40, 97)])
def test_pictures_are_cropped_as_timm_crops_them(
    crop_pct: float, height: int, width: int, tmp_path: Path
) -> None:
    """A picture of a person's aspect, resized and cut by both; pixels differ by rounding only."""
    sizes = {"img_size": 28, "patch_size": 14, "depth": 1, "num_classes": 0}
    theirs = timm.create_model("vit_tiny_patch16_224", **sizes)
    settings = {"input_size": (3, 28, 28), "crop_pct": crop_pct, "interpolation": "bicubic"}
    theirs.pretrained_cfg = theirs.pretrained_cfg | settings
    timm.models.save_for_hf(theirs, tmp_path / "hub", model_args=sizes, safe_serialization=True)
    found = import_model(tmp_path / "hub", TIMM, Given(), Report())
    export_model(tmp_path / "back", found, TIMM, Report())
    assert import_model(tmp_path / "back", TIMM, Given(), Report()).description == found.description
    picture = Image.fromarray(noise(1, height, width))
    ours = to_pixels(resize(picture, found.description.preprocessing)).int()
    for folder in ("hub", "back"):
        model = timm.create_model(f"local-dir:{tmp_path / folder}", pretrained=True)
        transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
        mean, std = (torch.tensor(model.pretrained_cfg[name])[:, None, None] for name in ("mean", "std"))
        pixels = ((transform(picture) * std + mean) * 255).round().int()
        assert (ours - pixels).abs().max() <= 2


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"positions": "sine-cosine"}, "positions='sine-cosine'"),
        ({"pool": "class-mean"}, "pool='class-mean'"),
        ({"key_bias": False}, "key_bias=False"),
        ({"patch_bias": False}, "patch_bias=False"),
        ({"normalization_epsilon": 1e-3}, "normalization_epsilon=0.001"),
    ],
)
def test_what_timm_cannot_express_is_refused_by_name(
    options: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageFailure, match=f"timm cannot express {named}"):
        export_model(tmp_path / "timm", portable(**options), TIMM, Report())
    assert not (tmp_path / "timm").exists()


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "vit_small_patch16_224", "vit_small_patch14_reg4_dinov2"]
)
def test_a_file_of_weights_alone_tells_square_images_and_published_widths(name: str, tmp_path: Path) -> None:
    """What `torch.save(model.state_dict())` leaves: the first thing that people bring."""
    theirs = timm.create_model(name, img_size=56, patch_size=14, depth=2, num_classes=3)
    randomise(theirs)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    report = Report()
    found = import_model(tmp_path / "theirs.pth", TIMM, Given(), report)
    assert found.description.model.max_image_shape == (56, 56)
    assert any("56 x 56" in note for note in report.notes)
    images, ours = outputs(found)
    with torch.no_grad():
        assert_same_outputs(ours, theirs.eval()(images))


def test_a_config_without_a_name_says_more_than_shapes(tmp_path: Path) -> None:
    """16 positions are those of 4 x 4 patches, too."""
    sizes = {"img_size": (28, 112), "patch_size": 14, "depth": 2, "num_classes": 3, "class_token": False}
    theirs = timm.create_model("vit_tiny_patch16_224", global_pool="avg", num_heads=12, **sizes)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    (tmp_path / "config.json").write_text('{"model_args": {"img_size": [28, 112], "num_heads": 12}}')
    found = import_model(tmp_path / "theirs.pth", TIMM, Given(), Report()).description.model
    assert (found.max_image_shape, found.number_of_heads) == ((28, 112), 12)


@pytest.mark.parametrize(
    "name",
    ["the paper's", "DINOv3 with SwiGLU", "DeiT", "CLIP", "mean of patches, then norm", "SwiGLU", "oblong"],
)
def test_a_file_without_a_config_is_judged_by_the_model_that_was_read(name: str, tmp_path: Path) -> None:
    model = portable(**OPTIONS[name])
    export_model(tmp_path / "timm", model, TIMM, Report())
    tensors = read_weights(tmp_path / "timm" / "model.safetensors")
    state = {f"module.{name}": tensor for name, tensor in tensors.items()}
    torch.save({"state_dict": state | {"module.mask_token": torch.ones(1)}}, tmp_path / "theirs.pth")
    images, expected = outputs(model)
    assert TIMM.reference is not None
    with torch.no_grad():
        theirs = TIMM.reference(tmp_path / "theirs.pth", model.description)(images)
    assert_same_outputs(expected, theirs)


def test_an_attention_pool_that_passes_over_tokens_is_not_read_as_one_that_does_not(tmp_path: Path) -> None:
    model = portable(pool="attention", class_token=False, number_of_register_tokens=2)
    export_model(tmp_path / "model", model, TIMM, Report())
    (tmp_path / "model" / SIDECAR).unlink()
    config = tmp_path / "model" / "config.json"
    content = json.loads(config.read_text())
    content["model_args"]["pool_include_prefix"] = False
    config.write_text(json.dumps(content))
    with pytest.raises(Failure, match="passes over class and register tokens"):
        import_model(tmp_path / "model", TIMM, Given(), Report())


@pytest.mark.parametrize(
    "options",
    [
        {"distillation_token": True, "final_normalization": "after-pool"},
        {"distillation_token": True, "prefix_positions": "none"},
        {"distillation_token": True, "number_of_register_tokens": 2},
        {"normalization_epsilon": 1e-5, "activation": "swiglu"},
        {"normalization_epsilon": 1e-5, "distillation_token": True},
        {"pool": "attention", "activation": "swiglu"},
    ],
    ids=str,
)
def test_what_timm_would_compute_in_another_way_is_refused(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageFailure, match="cannot express"):
        export_model(tmp_path / "model", portable(**options), TIMM, Report())


@pytest.mark.parametrize(
    ("pools", "expected"), [(("", "avg"), "mean"), (("", ""), "class"), (("avg", "token"), "class")]
)
def test_an_empty_pool_says_nothing_and_arguments_go_before(
    pools: tuple[str, str], expected: str, tmp_path: Path
) -> None:
    export_model(tmp_path / "model", portable(), TIMM, Report())
    (tmp_path / "model" / SIDECAR).unlink()
    config = tmp_path / "model" / "config.json"
    content = json.loads(config.read_text())
    content["global_pool"], content["model_args"]["global_pool"] = pools
    config.write_text(json.dumps(content))
    assert import_model(tmp_path / "model", TIMM, Given(), Report()).description.model.pool == expected


@pytest.mark.parametrize(("pool", "expected"), [("avg", "mean"), ("token", "class")])
def test_weights_alone_that_pool_by_average_are_not_read_as_the_class_tokens(
    pool: str, expected: str, tmp_path: Path
) -> None:
    theirs = timm.create_model(
        "vit_tiny_patch16_224", img_size=56, patch_size=14, depth=2, num_classes=3, global_pool=pool
    )
    randomise(theirs)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    report = Report()
    found = import_model(tmp_path / "theirs.pth", TIMM, Given(), report)
    assumed = f"assumed are pool {expected}, activation gelu, normalization_epsilon 1e-06"
    assert f"no config.json names the architecture: {assumed}" in report.notes
    images, ours = outputs(found)
    with torch.no_grad():
        assert_same_outputs(ours, theirs.eval()(images))


def test_what_is_given_or_told_by_shapes_is_not_assumed(tmp_path: Path) -> None:
    model = portable(pool="attention", class_token=False)
    export_model(tmp_path / "model", model, TIMM, Report())
    report, given = Report(), Given(number_of_heads=4, activation="gelu", normalization_epsilon=1e-6)
    file = (tmp_path / "model" / "model.safetensors").rename(tmp_path / "alone.safetensors")
    found = import_model(file, TIMM, given, report)
    assert not any("assumed" in note for note in report.notes)
    assert_same_outputs(outputs(model)[1], outputs(found)[1])
    report = Report()
    import_model(file, TIMM, Given(number_of_heads=4, pool="attention"), report)
    assert any(
        note.endswith("assumed are activation gelu, normalization_epsilon 1e-06") for note in report.notes
    )


@pytest.mark.parametrize(("size", "fraction"), [(24, 0.875), (32, 0.875), (40, 0.95), (64, 0.9)])
def test_a_cropped_picture_is_the_same_for_timm(size: int, fraction: float, tmp_path: Path) -> None:
    """Also where the size before the crop is no whole number: timm rounds it down, ours to the nearest."""
    model = portable(max_image_shape=(size, size))
    cropped = replace(
        model.description.preprocessing, size=(size, size), crop="center", crop_fraction=fraction
    )
    model = replace(model, description=replace(model.description, preprocessing=cropped))
    export_model(tmp_path, model, TIMM, Report())
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(theirs))
    picture = Image.fromarray(noise(1, 90, 77))
    pixels = ((transform(picture) * 0.2 + 0.4) * 255).round().int()
    assert (to_pixels(resize(picture, cropped)).int() - pixels).abs().max() <= 2


@pytest.mark.parametrize("crop_pct", [0.8, 1.0])
def test_a_squashed_picture_is_timms_or_the_report_says_so(crop_pct: float, tmp_path: Path) -> None:
    """timm squashes to the size divided by crop_pct, and cuts the middle out."""
    model = portable()
    squashed = replace(model.description.preprocessing, crop="squash", crop_fraction=crop_pct)
    model = replace(model, description=replace(model.description, preprocessing=squashed))
    export_model(tmp_path / "model", model, TIMM, Report())
    theirs = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(theirs))
    picture = Image.fromarray(noise(1, 50, 77))
    pixels = ((transform(picture) * 0.2 + 0.4) * 255).round().int()
    assert (to_pixels(resize(picture, squashed)).int() - pixels).abs().max() <= 2
    report = Report()
    found = import_model(tmp_path / "model", TIMM, Given(), report)
    assert found.description.preprocessing.crop_fraction == 1
    assert not any("squash" in note for note in report.notes)
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text().replace('"crop_pct": 1.0', '"crop_pct": 0.9'))
    import_model(tmp_path / "model", TIMM, Given(), report)
    assert any("timm squashes them larger and cuts their edges off" in note for note in report.notes)


@pytest.mark.parametrize(
    "given",
    [
        {"activation": "quick-gelu"},
        {"normalization_epsilon": 1e-6},
        {"preset": "ViT-B/16"},
        {"pool": "attention"},
        {"pool": "mean-all"},
        {"pool": "class-mean"},
    ],
    ids=str,
)
def test_what_says_nothing_about_dinov3_is_not_passed_over(given: dict[str, Any], tmp_path: Path) -> None:
    export_model(tmp_path / "model", portable(**DINOV3), TIMM, Report())
    option = next(iter(given)).replace("_", "-")
    with pytest.raises(UsageFailure, match=rf"--{option} .*timm's files of DINOv3"):
        import_model(tmp_path / "model", TIMM, Given(**given), Report())
    for pool in ("class", "mean"):
        found = import_model(tmp_path / "model", TIMM, Given(pool=pool), Report())
        assert found.description.model.pool == pool


def test_a_pool_of_dinov3_that_is_not_known_is_not_read_as_the_mean(tmp_path: Path) -> None:
    export_model(tmp_path / "model", portable(**DINOV3), TIMM, Report())
    config = tmp_path / "model" / "config.json"
    config.write_text(config.read_text().replace('"global_pool": "token"', '"global_pool": "max"'))
    with pytest.raises(Failure, match="global_pool is 'max'"):
        import_model(tmp_path / "model", TIMM, Given(), Report())


def test_without_a_bias_after_attention_timm_has_none_in_its_networks_either(tmp_path: Path) -> None:
    model = portable(attention_projection_bias=False)
    with pytest.raises(UsageFailure, match="timm cannot express attention_projection_bias=False"):
        export_model(tmp_path / "model", model, TIMM, Report())
    rewritten = expressible(model, TIMM, Report())
    assert_same_outputs(outputs(model)[1], outputs(rewritten)[1])
    check_reference(rewritten, TIMM, tmp_path / "model")


@pytest.mark.parametrize(
    "name",
    [
        "vit_base_patch16_rpn_224",
        "vit_dwee_patch16_reg1_gap_256",
        "vit_pe_core_gigantic_patch14_448",
        "vit_small_patch16_rope_ape_224",
        "eva02_tiny_patch14_224",
        "beit_base_patch16_224",
    ],
)
def test_what_computes_something_else_under_the_same_names_is_refused(name: str, tmp_path: Path) -> None:
    """Also where what only the name tells is given."""
    sizes = {"img_size": 28, "patch_size": 14, "depth": 1, "embed_dim": 32, "num_heads": 2, "num_classes": 3}
    theirs = timm.create_model(name, **sizes)
    timm.models.save_for_hf(theirs, tmp_path, model_args=sizes, safe_serialization=True)
    with pytest.raises(UsageFailure, match=f"of timm's {name}, wh.*: no model here does so"):
        import_model(tmp_path, TIMM, Given(number_of_heads=2, normalization_epsilon=1e-5), Report())


def test_an_encoder_is_never_read_without_one_of_its_tensors(tmp_path: Path) -> None:
    """No option allows what would make it another network, of a name that is not known here."""
    export_model(tmp_path / "model", portable(), TIMM, Report())
    file = tmp_path / "model" / "model.safetensors"
    save_file(load_file(file) | {"blocks.1.attn.rel_pos": torch.ones(3)}, file)
    with pytest.raises(Failure, match=r"1 tensor that no encoder here has.*: blocks\.1\.attn\.rel_pos"):
        import_model(tmp_path / "model", TIMM, Given(), Report())


@pytest.mark.parametrize(
    "name",
    ["vit_base_patch16_plus_clip_240", "vit_so150m2_patch16_reg1_gap_256", "vit_medium_patch16_gap_240"],
)
def test_names_tell_the_number_of_heads(name: str, tmp_path: Path) -> None:
    """As timm names it, without arguments."""
    sizes = {"img_size": 32, "depth": 1, "num_classes": 3}
    theirs = timm.create_model(name, **sizes)
    timm.models.save_for_hf(theirs, tmp_path, model_args=sizes, safe_serialization=True)
    found = import_model(tmp_path, TIMM, Given(), Report())
    assert found.description.model.number_of_heads == theirs.blocks[0].attn.num_heads


def test_no_name_tells_another_number_of_heads_than_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that timm has, by the arguments of its constructor."""
    from timm.models import deit, vision_transformer

    known = 0
    for module, create in ((vision_transformer, "_create_vision_transformer"), (deit, "_create_deit")):
        monkeypatch.setattr(module, create, lambda *_, **arguments: arguments)
        for name in timm.list_models(module=module.__name__.rpartition(".")[2]):
            heads = heads_of(name)
            assert heads in (None, getattr(module, name)()["num_heads"]), name
            known += heads is not None
    assert known > 150


def test_a_name_that_is_not_known_leaves_assumptions_which_the_report_names(tmp_path: Path) -> None:
    theirs = timm.create_model("vit_tiny_patch16_224", img_size=28, patch_size=14, depth=1, num_classes=3)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    (tmp_path / "config.json").write_text('{"architecture": "my_vit"}')
    report = Report()
    import_model(tmp_path, TIMM, Given(), report)
    assumed = "assumed are pool class, activation gelu, normalization_epsilon 1e-06"
    assert f"my_vit is not known here: {assumed}" in report.notes
