"""What a format is: where its tensors lie, what its files say, and what it cannot express."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from PIL import Image
from torch import Tensor

from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.errors import UsageFailure
from vision_transformers.model.config import Activation, Pool, Positions, ViTConfig
from vision_transformers.model.presets import preset
from vision_transformers.weights.foreign_files import ForeignModel
from vision_transformers.weights.model_folder import ModelDescription
from vision_transformers.weights.report import Report
from vision_transformers.weights.rules import Rule

SILENT = ("patch_extractor", "dropout", "stochastic_depth", "position_resize", "layer_scale")
"""Fields of `ViTConfig` that hardly any format's files tell."""

OF_MODELS = ("number_of_heads", "normalization_epsilon", "activation", "pool", "max_image_shape")
"""What is said by itself of a model."""
OF_PRESETS = ("model_dimension", "number_of_layers", "number_of_heads")
"""What is said by the name of one, which may be for other images."""
WEIGHTS_ALONE = ("preset", "number_of_heads", "max_image_shape", "classes")
"""Fields of `Given` that complete most files without a config."""


class CannotExpress(UsageFailure):
    """A format has no way to say what an option of the architecture says."""

    def __init__(self, format: str, option: str, value: object, possible: tuple[object, ...]) -> None:
        allowed = ", ".join(repr(each) for each in possible)
        super().__init__(f"{format} cannot express {option}={value!r}: it has {allowed}")
        self.option = option


class NotTold(UsageFailure):
    """Neither the files nor the shapes of their tensors tell what an option of `vit convert` does."""

    def __init__(self, why: str, option: str) -> None:
        super().__init__(f"{why}: give {option}")
        self.why, self.option = why, option


@dataclass(frozen=True)
class Given:
    """What a person says of an architecture where the files do not tell; None leaves it to the files."""

    preset: str | None = None
    """A named architecture, such as `ViT-B/16`, for files that have no config beside them."""
    number_of_heads: int | None = None
    """Attention heads of each encoder."""
    normalization_epsilon: float | None = None
    """Epsilon of every LayerNorm."""
    activation: Activation | None = None
    """Between the two layers of the feed-forward networks."""
    pool: Pool | None = None
    """What the head reads."""
    max_image_shape: tuple[int, int] | None = None
    """Rows and columns of pixels that the positions are made for."""
    classes: tuple[str, ...] | None = None
    """Class names, in the order of the logits."""

    def completed_by(self, model: ViTConfig, used: Collection[str]) -> "Given":
        """With a model's own values where nothing is given, in fields that files may leave open."""
        open_ones = [name for name in OF_MODELS if name in used and getattr(self, name) is None]
        return replace(self, **{name: getattr(model, name) for name in open_ones})

    def check(self, used: Collection[str], files: str) -> None:
        """What a person says about files that have no use for it is not passed over.

        Args:
            used: fields that the files may leave open.
            files: what errors call them.

        Raises:
            UsageFailure: something else is given; names its option.
        """
        for field in fields(self):
            if getattr(self, field.name) is not None and field.name not in used:
                option = field.name.replace("_", "-")
                raise UsageFailure(f"--{option} says nothing about {files}: leave it out")

    def check_that_it_holds(self, model: ViTConfig, path: Path) -> None:
        """What a person says is not passed over where files say something else.

        Raises:
            UsageFailure: what was read is not what was given; names the option.
        """
        said = [(name.replace("_", "-"), name, getattr(self, name)) for name in OF_MODELS]
        if self.preset is not None:
            said += [("preset", name, getattr(preset(self.preset), name)) for name in OF_PRESETS]
        for option, name, value in said:
            found = getattr(model, name)
            if value is not None and value != found:
                raise UsageFailure(
                    f"--{option} says that {name} is {value}, and {path} that it is {found}: "
                    "leave the option out, or give what these files have"
                )


@dataclass(frozen=True)
class Format:
    """Somebody's files: the pieces of reading and writing them."""

    name: str
    """As `--from` and `--to` say it."""
    recognises: Callable[[Mapping[str, Tensor]], bool]
    """Whether names and shapes, as they stand in the file, look like this format: others are not read."""
    canonical: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    """The tensors under the names that `rules` uses: out of their container, without prefixes, old names as
    new ones. The tensors themselves stay as they are."""
    describe: Callable[[ForeignModel, Given, Report], ModelDescription]
    """Architecture, preprocessing and class names, from the config beside the weights, the shapes of
    canonical tensors, and what is given; notes in the report where a setting came from that
    the files do not tell. Raises NotTold for what none of them tells."""
    rules: Callable[[ViTConfig], list[Rule]]
    """The table: which foreign tensors are which of ours, for an architecture."""
    aside: tuple[str, ...]
    """Patterns (full match) of canonical names that have no place in a classifier, such as mask tokens."""
    check: Callable[[ViTConfig], None]
    """Raises UsageFailure, with the option's name, if the format cannot express the architecture."""
    write: Callable[[Path, dict[str, Tensor], ModelDescription], None]
    """Writes canonical tensors and what belongs beside them into an empty folder, as the project itself
    would."""
    picture_notes: Callable[[Preprocessing], tuple[str, ...]] = lambda _: ()
    """What its library does to pictures, from the files that are written, that the model's own preprocessing
    does not: for the report."""
    reference: Callable[[Path, ModelDescription], Callable[[Tensor], Tensor]] | None = None
    """The model as its own library builds it from these files: normalised images (batch, channels, height,
    width) to logits, or to the pooled vector where there is no head. Raises UsageFailure where the library is
    not installed; None where there is none to install."""
    pictures: Callable[[Path], Callable[[Image.Image], Tensor]] | None = None
    """Its library's own preprocessing, from the files that are written: a picture to one normalised image
    (1, channels, height, width). None where they hold none."""
    loading: Callable[[Path, ModelDescription], tuple[str, ...]] | None = None
    """Lines of Python with which its library loads what was written to a folder, as `model`, in evaluation
    mode; None where no library that can be installed does."""
    architecture_key: str = ""
    """Under which its config names the architecture."""
    prefix: str = ""
    """How the names of its files begin, which are taken first where a folder holds others' too."""
    computes_positions: tuple[Positions, ...] = ()
    """Sine-cosine positions that are computed there too; others are stored, as if they were learned."""
    given: tuple[str, ...] = WEIGHTS_ALONE
    """Fields of `Given` that say what its files may not tell: it has no use for others."""
    silent: tuple[str, ...] = SILENT
    """Fields of `ViTConfig` that its files do not tell; a file of ours beside them does."""
