"""CLIP's image tower is read as transformers computes it; projection and text tower come back with it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.parity.weights import assert_same_outputs, randomise
from tests.weights.portable import CLIP_OPTIONS, check_round_trip, outputs, portable
from torch import Tensor

from vision_transformers.classifier import load
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
from vision_transformers.weights.formats.clip import CLIP
from vision_transformers.weights.report import Report

transformers = pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.mark.parametrize(
    "options",
    [CLIP_OPTIONS, CLIP_OPTIONS | {"activation": "quick-gelu"}, CLIP_OPTIONS | {"layer_scale": 1e-5}],
    ids=["GELU", "quick GELU", "LayerScale"],
)
def test_what_was_written_is_read_again_without_a_change(options: dict[str, Any], tmp_path: Path) -> None:
    check_round_trip(portable(**options), CLIP, tmp_path / "model")


def openai_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """transformers' weights of the image tower under OpenAI's names."""
    names = {
        "embeddings.class_embedding": "class_embedding",
        "embeddings.position_embedding.weight": "positional_embedding",
        "embeddings.patch_embedding": "conv1",
        "pre_layrnorm": "ln_pre",
        "post_layernorm": "ln_post",
        "encoder.layers": "transformer.resblocks",
        "layer_norm1": "ln_1",
        "layer_norm2": "ln_2",
        "self_attn.out_proj": "attn.out_proj",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        for theirs, name in names.items():
            key = key.replace(theirs, name)  # noqa: PLW2901
        found[key] = value
    for layer in range(2):
        place = f"transformer.resblocks.{layer}"
        for kind in ("weight", "bias"):
            parts = [found.pop(f"{place}.self_attn.{letter}_proj.{kind}") for letter in "qkv"]
            found[f"{place}.attn.in_proj_{kind}"] = torch.cat(parts)
    return {f"visual.{key}": value for key, value in found.items()}


def test_openais_file_computes_what_transformers_does_and_comes_back(tmp_path: Path) -> None:
    theirs = transformers.CLIPVisionModel(
        transformers.CLIPVisionConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            image_size=32,
            patch_size=8,
        )
    )
    randomise(theirs)
    state = {key.removeprefix("vision_model."): value for key, value in theirs.state_dict().items()}
    tower = openai_names({key: value for key, value in state.items() if "position_ids" not in key})
    text = {"transformer.resblocks.0.ln_1.weight": torch.ones(16), "logit_scale": torch.tensor(4.6)}
    file = tower | {"visual.proj": torch.randn(32, 16)} | text
    torch.save(file, tmp_path / "clip.pt")
    given = Given(number_of_heads=4, activation="quick-gelu")
    report = Report()
    found = import_model(tmp_path / "clip.pt", CLIP, given, report)
    assert report.left_out == []
    assert len(report.kept_aside) == 3
    images, ours = outputs(found)
    with torch.no_grad():
        assert_same_outputs(ours, theirs.eval()(images).pooler_output)
    write_native(tmp_path / "native", found)
    export_model(tmp_path / "back", read_native(tmp_path / "native"), CLIP, Report())
    back = read_weights(tmp_path / "back" / "open_clip_model.safetensors")
    assert back.keys() == file.keys()
    assert all(torch.equal(back[key], value) for key, value in file.items())


def test_which_gelu_it_is_is_not_guessed(tmp_path: Path) -> None:
    export_model(tmp_path / "model", portable(**CLIP_OPTIONS), CLIP, Report())
    (tmp_path / "model" / "open_clip_config.json").unlink()
    with pytest.raises(UsageFailure, match="give --activation quick-gelu"):
        import_model(tmp_path / "model", CLIP, Given(), Report())


def test_what_clip_cannot_express_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageFailure, match="clip cannot express number_of_classes=5"):
        export_model(tmp_path / "model", portable(), CLIP, Report())


def test_where_no_option_can_be_given_the_conversion_is_named(tmp_path: Path) -> None:
    export_model(tmp_path / "model", portable(**CLIP_OPTIONS), CLIP, Report())
    (tmp_path / "model" / "open_clip_config.json").unlink()
    with pytest.raises(UsageFailure, match=r"vit convert SOURCE TARGET --from clip .* and --activation"):
        load(tmp_path / "model", format="clip")


def test_its_files_are_found_beside_those_of_transformers(tmp_path: Path) -> None:
    """As in open_clip's repositories on the hub, which hold both; its own tell the width of heads."""
    model = portable(**CLIP_OPTIONS)
    export_model(tmp_path / "model", model, CLIP, Report())
    (tmp_path / "model" / SIDECAR).unlink()
    save_file({"vision_model.pre_layrnorm.weight": torch.ones(32)}, tmp_path / "model" / "model.safetensors")
    (tmp_path / "model" / "config.json").write_text('{"model_type": "clip"}')
    for path in (tmp_path / "model", tmp_path / "model" / "open_clip_model.safetensors"):
        found = import_model(path, CLIP, Given(), Report())
        assert found.description.model == model.description.model


@pytest.mark.parametrize(
    ("width", "heads"), [(768, 12), (896, 14), (1024, 16), (1280, 16), (1408, 16), (1664, 16)]
)
def test_heads_of_weights_alone_are_those_of_the_published_tower(
    width: int, heads: int, tmp_path: Path
) -> None:
    """From ViT-B to ViT-bigG, whose heads are not all 64 wide; one layer and a narrow network of each."""
    model = portable(
        **CLIP_OPTIONS, model_dimension=width, number_of_heads=2, hidden_dimension=8, number_of_layers=1
    )
    export_model(tmp_path, model, CLIP, Report())
    file = (tmp_path / "open_clip_model.safetensors").rename(tmp_path / "alone.safetensors")
    (tmp_path / "open_clip_config.json").unlink()
    (tmp_path / SIDECAR).unlink()
    report = Report()
    found = import_model(file, CLIP, Given(activation="gelu"), report)
    assert found.description.model.number_of_heads == heads
    assert f"{heads} attention heads, as the published models of width {width} have" in report.notes


def test_heads_of_no_published_width_are_not_guessed(tmp_path: Path) -> None:
    export_model(tmp_path, portable(**CLIP_OPTIONS), CLIP, Report())
    (tmp_path / "open_clip_config.json").unlink()
    with pytest.raises(UsageFailure, match="no published model is 32 wide: give --number-of-heads"):
        import_model(tmp_path, CLIP, Given(activation="gelu"), Report())


@pytest.mark.parametrize(
    ("part", "option", "value"),
    [
        ("model_cfg", "pool_type", "avg"),
        ("model_cfg", "norm_kwargs", {"eps": 1e-6}),
        ("model_cfg", "act_kwargs", {"approximate": "tanh"}),
        ("preprocess_cfg", "resize_mode", "longest"),
    ],
)
def test_an_option_that_changes_what_is_computed_is_not_passed_over(
    part: str, option: str, value: Any, tmp_path: Path
) -> None:
    export_model(tmp_path, portable(**CLIP_OPTIONS), CLIP, Report())
    config = tmp_path / "open_clip_config.json"
    content = json.loads(config.read_text())
    (content[part].get("vision_cfg") or content[part])[option] = value
    config.write_text(json.dumps(content))
    with pytest.raises(Failure, match=option):
        import_model(tmp_path, CLIP, Given(), Report())
