"""A file that is damaged, dangerous or of another kind is one message, and nothing is written."""

import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.training.recipes import tiny
from tests.weights.damaged import damaged
from tests.weights.portable import portable

from vision_transformers.classifier import load
from vision_transformers.errors import Failure, UsageFailure
from vision_transformers.training.initial import settle_recipe
from vision_transformers.weights.conversion import export_model, import_model, read_native, write_native
from vision_transformers.weights.foreign_files import open_foreign, read_weights
from vision_transformers.weights.format import Given
from vision_transformers.weights.format_names import FORMAT_NAMES, NATIVE
from vision_transformers.weights.formats.table import FORMATS, read_any
from vision_transformers.weights.formats.timm import TIMM
from vision_transformers.weights.formats.torchvision import TORCHVISION
from vision_transformers.weights.model_folder import read_description
from vision_transformers.weights.places import local_path
from vision_transformers.weights.report import Report

TENSORS = {"a": torch.arange(6.0).view(2, 3), "b.c": torch.ones(2, dtype=torch.bfloat16)}


class Dangerous:
    """What a pickle may make Python call."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("it ran",)


def test_every_kind_of_file_gives_its_tensors(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors")
    torch.save(TENSORS, tmp_path / "a.pth")
    torch.save({"model": {"a": TENSORS["a"], "b": {"c": TENSORS["b.c"]}}, "epoch": 3}, tmp_path / "b.pth")
    torch.save(TENSORS, tmp_path / "c.bin", _use_new_zipfile_serialization=False)
    np.savez(tmp_path / "a.npz", **{"a": TENSORS["a"].numpy(), "b/c": np.ones(2, np.float16)})
    for name in ("a.safetensors", "a.pth", "c.bin"):
        found = read_weights(tmp_path / name)
        assert found.keys() == TENSORS.keys()
        assert all(torch.equal(found[key], value) for key, value in TENSORS.items())
    assert set(read_weights(tmp_path / "b.pth")) == {"a", "b.c"}
    assert read_weights(tmp_path / "a.npz")["b/c"].dtype == torch.float16


@pytest.mark.parametrize("format", ["native", "timm"])
def test_a_loaded_model_outlives_its_file(format: str, tmp_path: Path) -> None:
    """Which another program writes over while the model answers: mapped, it would change, or crash."""
    if format == "native":
        write_native(tmp_path / "model", portable())
    else:
        export_model(tmp_path / "model", portable(), TIMM, Report())
    classifier = load(tmp_path / "model", format, device="cpu")
    before = {name: value.clone() for name, value in classifier.model.state_dict().items()}
    file = tmp_path / "model" / "model.safetensors"
    with open(file, "r+b") as stream:
        stream.write(bytes(file.stat().st_size))
    assert all(torch.equal(value, before[name]) for name, value in classifier.model.state_dict().items())


def test_a_model_in_several_files_is_one(tmp_path: Path) -> None:
    save_file({"a": TENSORS["a"]}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b.c": TENSORS["b.c"]}, tmp_path / "model-00002-of-00002.safetensors")
    places = '{"a": "model-00001-of-00002.safetensors", "b.c": "model-00002-of-00002.safetensors"}'
    (tmp_path / "model.safetensors.index.json").write_text(f'{{"weight_map": {places}}}')
    found = open_foreign(tmp_path).tensors
    assert all(torch.equal(found[key], value) for key, value in TENSORS.items())
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(Failure, match=r"model-00002-of-00002\.safetensors, which .* names, is missing"):
        open_foreign(tmp_path)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.npz"])
def test_a_file_that_is_cut_short_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    match path.suffix:
        case ".safetensors":
            save_file(TENSORS, path)
        case ".pth":
            torch.save(TENSORS, path)
        case _:
            np.savez(path, a=np.arange(1000))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(Failure, match=f"{name} is not a whole"):
        read_weights(path)


def test_a_wrong_header_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    with pytest.raises(Failure, match=r"a\.safetensors is not a whole safetensors file"):
        read_weights(tmp_path / "a.safetensors")


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_does_not_run(
    zipped: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if zipped:
        torch.save({"model": TENSORS, "more": Dangerous()}, tmp_path / "a.pth")
    else:
        (tmp_path / "a.pth").write_bytes(pickle.dumps(Dangerous()))
    with pytest.raises(Failure, match=r"holds more than weights.*weights_only=False") as caught:
        read_weights(tmp_path / "a.pth")
    assert "safetensors" in str(caught.value)
    assert "it ran" not in capsys.readouterr().out


def test_a_torchscript_archive_is_refused_with_what_to_do(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), tmp_path / "a.pt")
    with pytest.raises(Failure, match=r"TorchScript archive.*state_dict\(\)"):
        read_weights(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("format", "config"),
    [("timm", {"architecture": "swin_tiny"}), ("huggingface", {"model_type": "siglip_vision_model"})],
)
def test_another_architecture_of_the_library_is_called_by_its_name(
    format: str, config: dict[str, str], tmp_path: Path
) -> None:
    """Not taken for somebody else's, for what its tensors are called."""
    save_file({"stem.conv1.weight": torch.ones(3)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    (name,) = config.values()
    with pytest.raises(
        UsageFailure, match=rf"Its config is that of a {name}\. No model here has such tensors$"
    ):
        read_any(tmp_path, format, Given(), Report())


def test_a_file_of_another_format_is_refused_with_the_likely_one(tmp_path: Path) -> None:
    export_model(tmp_path / "timm", portable(), TIMM, Report())
    with pytest.raises(UsageFailure, match=r"not of the format torchvision.*They look like timm"):
        read_any(tmp_path / "timm", "torchvision", Given(), Report())
    with pytest.raises(UsageFailure, match="'tim' is not known: known are native, timm"):
        read_any(tmp_path / "timm", "tim", Given(), Report())


@pytest.mark.parametrize(
    ("name", "meant"),
    [("transformers", "huggingface"), ("open_clip", "clip"), ("vit_pytorch", "vit-pytorch")],
)
def test_the_name_of_a_library_is_answered_with_that_of_its_format(
    name: str, meant: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageFailure, match=f"{name!r} is not known: did you mean {meant!r}"):
        load(tmp_path, format=name)
    with pytest.raises(UsageFailure, match=f"{name!r} is not known: did you mean {meant!r}"):
        settle_recipe(tiny(init=str(tmp_path), init_format=name))


def test_all_formats_have_names() -> None:
    assert (NATIVE, *FORMATS) == FORMAT_NAMES


def test_shapes_that_do_not_fit_are_named_with_both(tmp_path: Path) -> None:
    export_model(tmp_path / "timm", portable(), TIMM, Report())
    file = tmp_path / "timm" / "model.safetensors"
    tensors = read_weights(file)
    tensors["blocks.1.attn.proj.weight"] = torch.zeros(32, 16)
    save_file(tensors, file)
    with pytest.raises(Failure, match=r"attention\.projection\.weight is \[32, 16\] .* \[32, 32\]"):
        import_model(tmp_path / "timm", TIMM, Given(), Report())


def test_a_missing_tensor_and_one_too_many_are_named(tmp_path: Path) -> None:
    export_model(tmp_path / "model", portable(), TORCHVISION, Report())
    file = tmp_path / "model" / "model.safetensors"
    tensors = read_weights(file)
    save_file(tensors | {"extra.weight": torch.ones(2)}, file)
    report = Report()
    import_model(tmp_path / "model", TORCHVISION, Given(), report)
    with pytest.raises(Failure, match=r"1 tensor would be left out:\n  extra\.weight\n.*--allow"):
        report.check(())
    report.check(("extra",))
    del tensors["encoder.ln.bias"]
    save_file(tensors, file)
    with pytest.raises(
        Failure, match=r"^1 tensor that this architecture needs is missing: encoder\.ln\.bias"
    ):
        import_model(tmp_path / "model", TORCHVISION, Given(), Report())


def test_a_convolutional_network_is_not_said_to_be_clip(tmp_path: Path) -> None:
    """Its first kernels have the name that CLIP's have."""
    save_file(
        {"conv1.weight": torch.ones(8, 3, 7, 7), "fc.weight": torch.ones(3, 8)}, tmp_path / "a.safetensors"
    )
    for format in ("timm", "clip"):
        with pytest.raises(UsageFailure) as failure:
            read_any(tmp_path / "a.safetensors", format, Given(), Report())
        assert "look like" not in str(failure.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(value: float, tmp_path: Path) -> None:
    model = portable()
    model.weights[next(iter(model.weights))].view(-1)[0] = value
    export_model(tmp_path / "theirs", model, TIMM, Report())
    with pytest.raises(Failure, match="infinite or none"):
        import_model(tmp_path / "theirs", TIMM, Given(), Report())
    write_native(tmp_path / "ours", model)
    for read in (read_native, load):  # else it would be judged, and some guesses right
        with pytest.raises(Failure, match="infinite or none"):
            read(tmp_path / "ours")


def test_no_value_of_our_own_config_ends_in_a_traceback(tmp_path: Path) -> None:
    write_native(tmp_path / "model", portable())
    file = tmp_path / "model" / "config.json"
    content = json.loads(file.read_text())
    for what, other in [("the file = []", []), ("unknown = 1", content | {"unknown": 1}), *damaged(content)]:
        file.write_text(json.dumps(other))
        try:
            read_description(tmp_path / "model")
        except Failure as failure:
            assert str(file) in str(failure)  # noqa: PT017 - it need not fail
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error


def test_a_field_that_config_json_does_not_have_is_refused(tmp_path: Path) -> None:
    write_native(tmp_path / "model", portable())
    file = tmp_path / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"temprature": 2.0}))
    with pytest.raises(Failure, match="unknown field 'temprature': did you mean 'temperature'"):
        read_description(tmp_path / "model")


def test_a_tensor_for_which_a_format_has_no_place_is_not_lost(tmp_path: Path) -> None:
    """As of a layer that somebody added: without it, the file would compute something else."""
    model = portable()
    more = replace(model, weights={**model.weights, "adapter.weight": torch.ones(2)})
    with pytest.raises(Failure, match=r"the format has no place for 1 tensor: adapter\.weight"):
        export_model(tmp_path / "timm", more, TIMM, Report())
    assert not (tmp_path / "timm").exists()


def test_what_a_format_has_no_use_for_is_not_passed_over(tmp_path: Path) -> None:
    export_model(tmp_path / "torchvision", portable(), TORCHVISION, Report())
    with pytest.raises(UsageFailure, match="--activation says nothing about torchvision files"):
        import_model(tmp_path / "torchvision", TORCHVISION, Given(activation="gelu"), Report())
    write_native(tmp_path / "native", portable())
    with pytest.raises(UsageFailure, match="tells all of itself"):
        read_any(tmp_path / "native", "native", Given(pool="mean"), Report())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (Given(activation="gelu"), "--activation says that activation is gelu, and .* that it is swiglu"),
        (Given(preset="ViT-S/16"), "--preset says that model_dimension is 384, and .* that it is 32"),
    ],
)
def test_what_files_contradict_is_not_passed_over(given: Given, says: str, tmp_path: Path) -> None:
    export_model(tmp_path / "timm", portable(activation="swiglu", class_token=True), TIMM, Report())
    (tmp_path / "timm" / "vision_transformers.json").unlink()  # which would tell all
    with pytest.raises(UsageFailure, match=says):
        import_model(tmp_path / "timm", TIMM, given, Report())


@pytest.mark.parametrize("format", ["torchvision", "native"])
def test_class_names_that_are_given_are_the_models(format: str, tmp_path: Path) -> None:
    if format == "native":
        write_native(tmp_path / "model", portable())
    else:
        export_model(tmp_path / "model", portable(), TORCHVISION, Report())
    names = ("a", "b", "c", "d", "e")
    assert read_any(tmp_path / "model", format, Given(classes=names), Report()).description.classes == names
    assert load(tmp_path / "model", format, classes=names).classes == names


def test_texts_among_arrays_say_nothing_about_the_model(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.ones(2, np.float32), text="trained long", raw=np.array([b"x"]))
    assert set(read_weights(tmp_path / "a.npz")) == {"a"}


def test_arrays_that_are_no_tensors_by_name_are_named(tmp_path: Path) -> None:
    with (tmp_path / "one.npz").open("wb") as file:
        np.save(file, np.ones(2))
    with pytest.raises(Failure, match=r"one\.npz is one array without a name"):
        read_weights(tmp_path / "one.npz")
    np.savez(tmp_path / "table.npz", a=np.zeros(2, [("x", "f4"), ("y", "f4")]))
    with pytest.raises(Failure, match=r"table\.npz is not a whole file of arrays"):
        read_weights(tmp_path / "table.npz")


def test_an_archive_whose_directory_is_damaged_is_named(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "a.pth")
    whole = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(whole.replace(b"PK\x01\x02", b"PK\x00\x00"))
    with pytest.raises(Failure, match=r"a\.pth is not a whole file of torch\.save"):
        read_weights(tmp_path / "a.pth")


@pytest.mark.parametrize(
    "content", ["version https://git-lfs.github.com/spec/v1\noid sha256:0", "<!DOCTYPE html><html></html>"]
)
@pytest.mark.parametrize("suffix", ["bin", "pth"])
def test_what_was_not_downloaded_is_not_said_to_hold_code(content: str, suffix: str, tmp_path: Path) -> None:
    """A pointer of Git LFS, or a page that asks to log in."""
    path = tmp_path / f"a.{suffix}"
    path.write_text(content)
    with pytest.raises(Failure, match=rf"is no file of torch\.save: it begins with b'{content[:15]}"):
        read_weights(path)


def test_of_every_kind_of_weights_the_hub_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    asked: list[str] = []

    def download(*_: str, allow_patterns: list[str], **__: str | None) -> str:
        asked.extend(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", download)
    assert local_path("hf:owner/name") == tmp_path
    assert {"*.json", "*.safetensors", "*.npz", "*.bin", "*.pth", "*.pt"} <= set(asked)


def test_a_model_of_ones_own_is_loaded_from_home_and_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    write_native(tmp_path / "model", portable())
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: str(tmp_path / "model"))
    for place in ("~/model", "hf:owner/name", Path("hf:owner/name")):
        assert load(place, device="cpu").classes == portable().description.classes


@pytest.mark.parametrize("place", ["hf:owner/name.git", "hf:owner/a--b", "hf:../name"])
def test_a_name_that_the_hub_does_not_admit_is_told(place: str) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    with pytest.raises(UsageFailure, match=f"{re.escape(place)} is no place on the Hub"):
        local_path(place)


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("number-of-heads", Given(number_of_heads=2)),
        ("preset", Given(preset="ViT-B/16")),
        ("max-image-shape", Given(max_image_shape=(64, 64))),
    ],
)
def test_what_our_own_file_beside_weights_tells_is_not_given_too(
    option: str, given: Given, tmp_path: Path
) -> None:
    export_model(tmp_path / "model", portable(), TORCHVISION, Report())
    with pytest.raises(UsageFailure, match=rf"--{option} says nothing about .*vision_transformers\.json"):
        import_model(tmp_path / "model", TORCHVISION, given, Report())
