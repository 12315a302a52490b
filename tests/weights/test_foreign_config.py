"""What the JSON beside somebody's weights says is read, or one message says what is wrong, and where."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.weights.damaged import damaged
from tests.weights.portable import CLIP_OPTIONS, portable

from vision_transformers.errors import Failure
from vision_transformers.weights.conversion import SIDECAR, export_model, import_model
from vision_transformers.weights.foreign_config import ForeignConfig
from vision_transformers.weights.format import Given
from vision_transformers.weights.formats.table import FORMATS
from vision_transformers.weights.report import Report

MODELS: dict[str, dict[str, Any]] = {"timm": {}, "huggingface": {}, "clip": CLIP_OPTIONS}


@pytest.mark.parametrize("format", MODELS)
def test_no_value_ends_in_a_traceback(format: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    export_model(folder, portable(number_of_layers=1, **MODELS[format]), FORMATS[format], Report())
    (folder / SIDECAR).unlink()
    refused = 0
    for file in sorted(folder.glob("*.json")):
        content = json.loads(file.read_text())
        for what, other in [("the file = []", []), *damaged(content)]:
            file.write_text(json.dumps(other))
            try:
                import_model(folder, FORMATS[format], Given(), Report())
            except Failure:
                refused += 1
            except Exception as error:
                raise AssertionError(f"{file.name}, {what}: {error!r}") from error
        file.write_text(json.dumps(content))
    assert refused > 50
    import_model(folder, FORMATS[format], Given(), Report())


@pytest.mark.parametrize(
    ("file", "name", "value", "message"),
    [
        ("config.json", "hidden_size", "wide", r"hidden_size is 'wide': expected a whole number above 0"),
        ("config.json", "num_attention_heads", None, "num_attention_heads is missing"),
        ("config.json", "hidden_act", "gelo", r"hidden_act is 'gelo', .*did you mean 'gelu'"),
        ("config.json", "num_attention_heads", 5, r"what cannot be: number_of_heads is 5"),
        ("preprocessor_config.json", "image_std", [0.0], r"what cannot be: preprocessing\.std"),
        ("preprocessor_config.json", "size", {"height": "x"}, r"size: height is 'x'"),
    ],
)
def test_a_wrong_value_is_named_with_its_file(
    file: str, name: str, value: Any, message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    export_model(folder, portable(), FORMATS["huggingface"], Report())
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value, "do_center_crop": False}))
    with pytest.raises(Failure, match=message) as failure:
        import_model(folder, FORMATS["huggingface"], Given(), Report())
    assert str(folder) in str(failure.value)


def test_null_is_as_if_a_name_were_not_there() -> None:
    config = ForeignConfig({"a": None, "b": {"c": 2, "d": {"1": "y", "0": "x"}}}, "file")
    assert "a" not in config
    assert config.count("a", 3) == 3
    assert not config.part("a")
    assert config.part("b").count("c") == 2
    assert config.part("b").names("d") == ("x", "y")
    assert config.part("b").pair("c") == (2, 2)
