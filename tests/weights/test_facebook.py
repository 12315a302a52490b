"""Files of DeiT, DeiT III, MAE and DINOv2 are read as timm reads them, and written back."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.parity.weights import assert_same_outputs, randomise
from tests.weights.portable import check_round_trip, outputs, portable
from torch import Tensor, nn

from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.model.config import ViTConfig
from vision_transformers.model.vit import ViT
from vision_transformers.weights.conversion import (
    SIDECAR,
    export_model,
    import_model,
    read_native,
    write_native,
)
from vision_transformers.weights.foreign_config import ForeignConfig
from vision_transformers.weights.foreign_files import ForeignModel, read_weights
from vision_transformers.weights.format import Given
from vision_transformers.weights.formats.facebook import FACEBOOK
from vision_transformers.weights.report import Report
from vision_transformers.weights.rewrites import expressible
from vision_transformers.weights.rules import write_by

timm = pytest.importorskip("timm", reason="timm is not installed")

DINOV3: dict[str, Any] = {
    "positions": "rotary",
    "number_of_register_tokens": 4,
    "layer_scale": 1e-5,
    "normalization_epsilon": 1e-5,
    "key_bias": False,
    "number_of_classes": 0,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "DeiT": {},
    "DeiT with a distillation token": {"distillation_token": True},
    "DeiT III": {"prefix_positions": "none", "layer_scale": 1e-5},
    "MAE, fine-tuned": {"pool": "mean", "final_normalization": "after-pool"},
    "DINOv2": {"layer_scale": 1e-5, "number_of_classes": 0},
    "DINOv2 with registers": {
        "layer_scale": 1e-5,
        "number_of_classes": 0,
        "number_of_register_tokens": 4,
        "prefix_positions": "class",
    },
    "DINOv2 with SwiGLU": {"layer_scale": 1e-5, "number_of_classes": 0, "activation": "swiglu"},
    "DINOv3": DINOV3,
    "DINOv3 with SwiGLU and no biases": DINOV3
    | {"activation": "swiglu", "query_bias": False, "value_bias": False},
}
SIZES: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}
GIVEN = Given(number_of_heads=4)


@pytest.mark.parametrize("options", list(OPTIONS.values()), ids=list(OPTIONS))
def test_what_was_written_is_read_again_without_a_change(options: dict[str, Any], tmp_path: Path) -> None:
    check_round_trip(portable(**options), FACEBOOK, tmp_path / "model")


def published(name: str) -> tuple[nn.Module, dict[str, Tensor], dict[str, Tensor]]:
    """timm's model, its weights under the names of the project's files, and what else lies in them."""
    if name == "DINOv2 with registers":
        theirs = timm.create_model("vit_small_patch14_reg4_dinov2", **SIZES, num_classes=0)
        randomise(theirs)
        state = {
            key.replace("reg_token", "register_tokens"): value for key, value in theirs.state_dict().items()
        }
        # The position of the class token is a row of its own there; timm adds it to the token.
        row = torch.randn(1, 1, 32)
        state["cls_token"] = state["cls_token"] - row
        state["pos_embed"] = torch.cat([row, state["pos_embed"]], dim=1)
        return theirs, state, {"mask_token": torch.zeros(1, 32)}
    if name == "DINOv2 with SwiGLU":
        theirs = timm.create_model("vit_giant_patch14_dinov2", **SIZES, num_classes=0)
        randomise(theirs)
        names = {"mlp.fc1": "mlp.w12", "mlp.fc2": "mlp.w3"}
    elif name == "DeiT III":
        theirs = timm.create_model("deit3_small_patch16_224", **SIZES, num_classes=5)
        randomise(theirs)
        names = {"ls1.gamma": "gamma_1", "ls2.gamma": "gamma_2"}
    elif name == "DeiT with a distillation token":
        theirs = timm.create_model("deit_small_distilled_patch16_224", **SIZES, num_classes=5)
        randomise(theirs)
        names = {}
    else:
        theirs = timm.create_model("vit_small_patch16_224", **SIZES, num_classes=0)
        randomise(theirs)
        names = {}
    state = {}
    for key, value in theirs.state_dict().items():
        for ours, other in names.items():
            key = key.replace(ours, other)  # noqa: PLW2901
        state[key] = value
    decoder = {"decoder_pred.weight": torch.ones(3, 3), "mask_token": torch.zeros(1, 1, 3)}
    further = {"MAE": decoder, "DINOv2 with SwiGLU": {"mask_token": torch.zeros(1, 32)}}
    return theirs, state, further.get(name, {})


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    "name",
    ["DINOv2 with registers", "DINOv2 with SwiGLU", "DeiT III", "DeiT with a distillation token", "MAE"],
)
def test_a_published_file_computes_what_timm_does_and_comes_back(
    name: str, chunked: bool, tmp_path: Path
) -> None:
    theirs, state, further = published(name)
    if chunked:
        state = {key.replace("blocks.", "blocks.0.", 1): value for key, value in state.items()}
    torch.save({"model": state | further, "epoch": 300}, tmp_path / "weights.pth")
    report = Report()
    found = import_model(tmp_path / "weights.pth", FACEBOOK, GIVEN, report)
    assert report.left_out == []
    assert len(report.kept_aside) == len(further)
    images, ours = outputs(found)
    with torch.no_grad():
        assert_same_outputs(ours, theirs.eval()(images))
    write_native(tmp_path / "native", found)
    export_model(tmp_path / "back", read_native(tmp_path / "native"), FACEBOOK, Report())
    back = read_weights(tmp_path / "back" / "model.safetensors")
    expected = {
        key.replace("blocks.0.", "blocks.", 1) if chunked else key: value for key, value in state.items()
    }
    assert back.keys() == (expected | further).keys()
    assert all(torch.equal(back[key], value) for key, value in (expected | further).items())


@pytest.mark.parametrize("gated", [False, True])
def test_dinov3_computes_what_transformers_does(gated: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    theirs = transformers.DINOv3ViTModel(
        transformers.DINOv3ViTConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            image_size=32,
            patch_size=8,
            num_register_tokens=4,
            use_gated_mlp=gated,
            hidden_act="silu" if gated else "gelu",
        )
    )
    randomise(theirs)
    theirs.save_pretrained(tmp_path / "hub")
    state = read_weights(tmp_path / "hub" / "model.safetensors")
    names = {
        "embeddings.patch_embeddings": "patch_embed.proj",
        "embeddings.cls_token": "cls_token",
        "embeddings.register_tokens": "storage_tokens",
        "embeddings.mask_token": "mask_token",
        "layer_scale1.lambda1": "ls1.gamma",
        "layer_scale2.lambda1": "ls2.gamma",
        "attention.o_proj": "attn.proj",
        "mlp.gate_proj": "mlp.w1",
        "mlp.up_proj": "mlp.w2" if gated else "mlp.fc1",
        "mlp.down_proj": "mlp.w3" if gated else "mlp.fc2",
    }
    file: dict[str, Tensor] = {}
    for key, value in state.items():
        for name, other in names.items():
            key = key.replace(name, other)  # noqa: PLW2901
        file[key.removeprefix("model.").replace("layer.", "blocks.", 1)] = value
    for layer in range(2):
        place = f"blocks.{layer}"
        weights = [file.pop(f"{place}.attention.{letter}_proj.weight") for letter in "qkv"]
        queries, values = (file.pop(f"{place}.attention.{letter}_proj.bias") for letter in "qv")
        file[f"{place}.attn.qkv.weight"] = torch.cat(weights)
        file[f"{place}.attn.qkv.bias"] = torch.cat([queries, torch.full((32,), 7.0), values])
        file[f"{place}.attn.qkv.bias_mask"] = torch.tensor([1.0, 0.0, 1.0]).repeat_interleave(32)
    file["rope_embed.periods"] = torch.ones(2)
    torch.save(file, tmp_path / "dinov3.pth")
    report = Report()
    given = Given(number_of_heads=4, max_image_shape=(32, 32))
    found = import_model(tmp_path / "dinov3.pth", FACEBOOK, given, report)
    assert report.left_out == []
    assert "biases of keys, which a mask of 0 hides, come back as 0" in report.notes
    images, ours = outputs(found)
    with torch.no_grad():
        assert_same_outputs(ours, theirs.eval()(images).last_hidden_state[:, 0])


def test_what_none_of_them_has_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageFailure, match="facebook cannot express activation='quick-gelu'"):
        export_model(tmp_path / "model", portable(activation="quick-gelu"), FACEBOOK, Report())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"pool": "mean"}, "final_normalization='before-pool'"),
        ({"final_normalization": "after-pool"}, "final_normalization='after-pool'"),
        ({"distillation_token": True, "number_of_register_tokens": 2}, "number_of_register_tokens=2"),
    ],
)
def test_what_its_files_would_be_read_as_something_else_is_refused(
    options: dict[str, Any], named: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageFailure, match=f"facebook.* cannot express {named}"):
        export_model(tmp_path / "model", portable(**options), FACEBOOK, Report())


@pytest.mark.parametrize(
    "options",
    [
        {"distillation_token": True, "prefix_positions": "class"},
        {"distillation_token": True, "prefix_positions": "none", "layer_scale": 0.5},
        {"number_of_register_tokens": 4, "prefix_positions": "none", "layer_scale": 1e-5},
    ],
    ids=[
        "a position of the class token alone",
        "DeiT III with a distillation token",
        "timm's DINOv2 with registers",
    ],
)
def test_positions_that_its_files_need_are_zeros(options: dict[str, Any], tmp_path: Path) -> None:
    model = portable(**options)
    rewritten = expressible(model, FACEBOOK, Report())
    export_model(tmp_path / "model", rewritten, FACEBOOK, Report())
    (tmp_path / "model" / SIDECAR).unlink()
    found = import_model(tmp_path / "model", FACEBOOK, GIVEN, Report())
    assert_same_outputs(outputs(model)[1], outputs(found)[1])


def described(further: tuple[str, ...] = (), **options: Any) -> tuple[Preprocessing, str]:
    """The preprocessing that is read from shapes alone, and the notes."""
    sizes: dict[str, Any] = {"model_dimension": 32, "number_of_layers": 1, "number_of_heads": 4}
    config = ViTConfig(patch_shape=(16, 16), hidden_dimension=8, number_of_channels=3, **sizes | options)
    with torch.device("meta"):
        weights = ViT.from_config(config).state_dict()
        tensors = write_by(FACEBOOK.rules(config), 1, weights, Report())
        tensors |= {name: torch.empty(config.model_dimension) for name in further}
    nothing = ForeignConfig({}, "")
    report = Report()
    foreign = ForeignModel(Path("weights.pth"), tensors, nothing, nothing, None, {}, {}, ())
    return FACEBOOK.describe(foreign, GIVEN, report).preprocessing, " ".join(report.notes)


@pytest.mark.parametrize(
    ("width", "further", "mean", "is_ambiguous"),
    [
        (768, (), 0.485, False),
        (1024, (), 0.485, False),
        (1024, ("local_cls_norm.weight", "local_cls_norm.bias"), 0.430, False),
        (4096, ("local_cls_norm.weight", "local_cls_norm.bias"), 0.485, True),
    ],
    ids=["ViT-B", "ViT-L", "ViT-L of satellite images", "7B"],
)
def test_satellite_images_have_their_own_mean(
    width: int, further: tuple[str, ...], mean: float, is_ambiguous: bool
) -> None:
    found, notes = described(further, **DINOV3 | {"model_dimension": width, "max_image_shape": (224, 224)})
    assert found.mean[0] == mean
    assert ("SAT-493M" in notes) == is_ambiguous


DEIT3: dict[str, Any] = {"prefix_positions": "none", "layer_scale": 1e-5, "number_of_classes": 5}
MAE: dict[str, Any] = {"pool": "mean", "final_normalization": "after-pool", "number_of_classes": 5}


@pytest.mark.parametrize(
    ("options", "side", "fraction"),
    [
        ({"number_of_classes": 5}, 224, 0.875),
        ({"number_of_classes": 5}, 384, 0.875),
        (DEIT3, 224, 0.875),
        (DEIT3, 384, 1.0),
        (MAE, 224, 0.875),
        (MAE, 448, 1.0),
    ],
)
def test_pictures_are_cropped_as_the_projects_evaluate(
    options: dict[str, Any], side: int, fraction: float
) -> None:
    found, notes = described(**options, max_image_shape=(side, side))
    assert (found.crop, found.crop_fraction) == ("center", fraction)
    assert ("ImageNet-22k" in notes) == (options is DEIT3 and side == 224)


@pytest.mark.parametrize("name", ["DINOv2 with registers", "DINOv3", "DeiT III", "MAE, fine-tuned"])
def test_a_file_of_another_source_has_all_names_that_strict_loading_wants(name: str, tmp_path: Path) -> None:
    """As torch.hub of DINOv2 and DINOv3 loads: their features do not depend on the mask token."""
    export_model(tmp_path / "model", portable(**OPTIONS[name]), FACEBOOK, Report())
    tensors = read_weights(tmp_path / "model" / "model.safetensors")
    assert ("mask_token" in tensors) == name.startswith("DINO")
    if "mask_token" in tensors:
        assert torch.equal(tensors["mask_token"], torch.zeros(1, 32))
    assert ("rope_embed.periods" in tensors) == (name == "DINOv3")
    if name == "DINOv3":  # heads are 8 wide: two periods
        torch.testing.assert_close(tensors["rope_embed.periods"], torch.tensor([1.0, 10.0]))


def test_a_norm_of_the_class_token_alone_is_not_passed_over(tmp_path: Path) -> None:
    """DINOv3 with untie_cls_and_patch_norms: the features are another norm's than those of patches."""
    export_model(tmp_path / "model", portable(**DINOV3), FACEBOOK, Report())
    tensors = read_weights(tmp_path / "model" / "model.safetensors")
    torch.save(
        tensors | {"cls_norm.weight": torch.ones(32), "cls_norm.bias": torch.ones(32)}, tmp_path / "w.pth"
    )
    with pytest.raises(UsageFailure, match="these weights have cls_norm"):
        import_model(tmp_path / "w.pth", FACEBOOK, GIVEN, Report())


def test_no_part_of_a_linear_probe_is_kept_aside(tmp_path: Path) -> None:
    """MAE's is a BatchNorm and a linear layer: one without the other is no head."""
    _, state, _ = published("MAE")
    probe = nn.Sequential(nn.BatchNorm1d(32, affine=False), nn.Linear(32, 5))
    state |= {f"head.{name}": tensor for name, tensor in probe.state_dict().items()}
    torch.save({"model": state}, tmp_path / "probe.pth")
    report = Report()
    assert import_model(tmp_path / "probe.pth", FACEBOOK, GIVEN, report).aside is None
    with pytest.raises(Failure, match="5 tensors would be left out"):
        report.check(())
