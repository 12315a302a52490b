"""`vit models [NAME] [--json]`: the models that have a name."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from vision_transformers.cli.familiar_presets import tell_familiar_preset
from vision_transformers.cli.tables import aligned
from vision_transformers.config import to_json
from vision_transformers.model.config import ViTConfig
from vision_transformers.model.presets import PRESETS, preset
from vision_transformers.weights.preset_names import TIMM, TORCHVISION

if TYPE_CHECKING:
    from vision_transformers.evaluation.size import ModelSize

HEAD = (
    "name",
    "patch",
    "image",
    "classes",
    "dimension",
    "layers",
    "heads",
    "hidden",
    "parameters",
    "GMACs",
    "timm",
    "torchvision",
)
NOTE = """GMACs: multiplications in matrix products for one image, as computed here, in 1e9. With a class
token, the last layer works for it alone; papers count that layer whole (ViT-B/16: 17.6)."""


@dataclass(frozen=True)
class ModelsOptions:
    """Which model, and how to print it."""

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = None
    """Print this model's configuration as JSON, as `model` of a model folder's config.json has it."""
    json: bool = False
    """The table as JSON, with every model's configuration."""


def main(arguments: list[str]) -> int:
    """Prints as the arguments say; returns the exit code."""
    description = "The models that have a name: their sizes, and what other projects call them."
    options = tyro.cli(ModelsOptions, prog="vit models", description=description, args=arguments)
    if options.name is not None:
        tell_familiar_preset(options.name)
        print(json.dumps(to_json(preset(options.name)), indent=2))
        return 0
    from vision_transformers.evaluation.size import size_of

    sizes = {name: size_of(config) for name, config in PRESETS.items()}
    if options.json:
        print(json.dumps({name: _for_programs(name, size) for name, size in sizes.items()}, indent=2))
        return 0
    for line in aligned([HEAD, *(_cells(name, PRESETS[name], size) for name, size in sizes.items())]):
        print(line)
    print(NOTE)
    return 0


def _for_programs(name: str, size: "ModelSize") -> dict[str, object]:
    called = {"timm": TIMM.get(name), "torchvision": TORCHVISION.get(name)}
    return {**asdict(size), **called, "model": to_json(PRESETS[name])}


def _cells(name: str, config: ViTConfig, size: "ModelSize") -> tuple[str, ...]:
    return (
        name,
        _by(*config.patch_shape),
        _by(*config.max_image_shape, config.number_of_channels),
        f"{config.number_of_classes:,}",
        f"{config.model_dimension:,}",
        f"{config.number_of_layers}",
        f"{config.number_of_heads}",
        f"{config.hidden_dimension:,}",
        f"{size.parameters:,}",
        f"{size.multiplications / 1e9:,.2f}",
        TIMM.get(name, "-"),
        TORCHVISION.get(name, "-"),
    )


def _by(*sizes: int) -> str:
    return " x ".join(map(str, sizes))
