"""The whole description of a run, as plain values: what `vit train` reads and `recipe.json` stores."""

import math
from dataclasses import dataclass, field
from typing import Literal

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.source import DataSource
from vision_transformers.model.config import LowRankConfig, ViTConfig

CANNOT_CHANGE_THE_RESULT = frozenset(
    {
        "data.root",
        "data.path",  # what lies there is compared by its fingerprint
        "data.workers",
        "checkpoint_seconds",
        "checkpoint_steps",
        "log_steps",
        "explain_every",
    }
)
"""Fields that a resumed run may have otherwise, for they cannot change its weights; no other may differ.

`log_steps` changes which rows metrics.jsonl has from there on."""

RESOLVED_BY_THE_MACHINE = frozenset({"device", "precision", "compile", "threads"})
"""Fields of which a resumed run compares what they came to on the machine, not what was asked for; of
`threads` nothing, since it takes the recorded number."""

LEFT_TO_THE_MACHINE = ("auto", "bfloat16-where-native")
"""What is asked for in those fields where any answer will do."""


@dataclass(frozen=True)
class Optimizer:
    """What changes the parameters, and by how much."""

    name: Literal["adamw", "muon"] = "adamw"
    """`muon` for the matrices of the blocks (Jordan et al. 2024), AdamW for all else; or AdamW for all.

    `low_rank` freezes the matrices of the blocks, so that AdamW is left, whichever is named."""
    learning_rate: float = 1e-3
    """AdamW's peak learning rate."""
    weight_decay: float = 0.05
    """AdamW's decoupled weight decay; norms, biases, tokens, positions and low-rank matrices have none."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's averages of gradients and of their squares."""
    muon_learning_rate: float = 0.02
    """Muon's peak learning rate."""
    muon_weight_decay: float = 0.0
    """Muon's decoupled weight decay."""
    muon_momentum: float = 0.95
    """Muon's Nesterov momentum."""
    layer_decay: float = 1.0
    """Each encoder's learning rate as part of the next one's, the head having all (arXiv 2106.08254, A.6)."""
    clip: float = 1.0
    """Largest norm of all gradients together; 0 for no limit."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "muon_learning_rate"):
            if not 0 < getattr(self, name) < 100:
                raise ValueError(f"optimizer.{name} is {getattr(self, name)}: expected above 0 and below 100")
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"optimizer.layer_decay is {self.layer_decay}: expected above 0, at most 1")
        for name in ("weight_decay", "muon_weight_decay", "clip"):
            if not getattr(self, name) >= 0:  # so written, it refuses NaN too
                raise ValueError(f"optimizer.{name} is {getattr(self, name)}: expected 0 or more")
        for value in (*self.betas, self.muon_momentum):
            if not 0 <= value < 1:
                raise ValueError(f"optimizer betas and momentum: {value} is not at least 0 and less than 1")


@dataclass(frozen=True)
class Schedule:
    """How the learning rate goes: up in a line, then down."""

    shape: Literal["cosine", "linear", "constant"] = "cosine"
    """How it falls after the warm-up."""
    warmup: float = 0.05
    """Part of all steps in which it rises from 0 to its peak."""
    final: float = 0.0
    """Part of its peak that it ends with; `constant` stays at the peak."""

    def __post_init__(self) -> None:
        for name in ("warmup", "final"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"schedule.{name} is {getattr(self, name)}: expected 0 to 1")


@dataclass(frozen=True)
class Probe:
    """A beginning in which the head alone learns, so that its first guesses do not spoil trained weights."""

    fraction: float = 0.0
    """Part of all steps (arXiv 2202.10054); then the rest joins, and the schedule begins anew."""
    learning_rate: float = 1e-3
    """AdamW's peak learning rate in it."""

    def __post_init__(self) -> None:
        if not 0 <= self.fraction < 1:
            raise ValueError(f"probe.fraction is {self.fraction}: expected at least 0 and less than 1")
        if not 0 < self.learning_rate < 100:
            raise ValueError(f"probe.learning_rate is {self.learning_rate}: expected above 0 and below 100")


@dataclass(frozen=True)
class Teacher:
    """A trained model that is learned from, beside the labels: it sees the same varied and mixed pixels."""

    source: str | None = None
    """A run or a model folder; it knows all classes of the data, by their names."""
    weight: float = 0.5
    """Part of the loss that its probabilities have; the labels have the rest."""
    temperature: float = 1.0
    """What both models' logits are divided by for that part (arXiv 1503.02531); above 1, softer."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"teacher.weight is {self.weight}: expected 0 to 1")
        if not 0 < self.temperature < math.inf:
            raise ValueError(f"teacher.temperature is {self.temperature}: expected a number above 0")
        if self.source is None and (self.weight, self.temperature) != (Teacher.weight, Teacher.temperature):
            raise ValueError(
                "teacher.weight and teacher.temperature need a teacher: add --teacher.source RUN, "
                "or leave them out"
            )


@dataclass(frozen=True)
class Recipe:
    """A run: model, images, optimisation, and how it is judged."""

    name: str
    """What the run folder is called by."""
    model: ViTConfig
    data: DataSource
    preprocessing: Preprocessing
    augmentation: Augmentation = field(default_factory=Augmentation)
    optimizer: Optimizer = field(default_factory=Optimizer)
    schedule: Schedule = field(default_factory=Schedule)

    init: str | None = None
    """Weights to begin with: a run, a model folder, somebody's files, or hf:OWNER/NAME; they decide the
    model's shape."""
    init_format: str = "native"
    """Whose files `init` are: `native`, or as of `vit convert`."""
    init_image_shape: tuple[int, int] | None = None
    """Rows and columns of pixels to learn at, if not those of `init`: its positions are resized."""
    init_patch_shape: tuple[int, int] | None = None
    """Rows and columns of pixels in a patch, if not those of `init`: its kernels are resized."""
    init_channels: Literal[1, 3] | None = None
    """Grey or colour pictures, if not those of `init`: its kernels are summed or repeated."""

    frozen: Literal["nothing", "embeddings", "body"] = "nothing"
    """What stays as it begins: nothing; patches, tokens and positions; or all but the head."""
    frozen_layers: int = 0
    """So many encoders, from the first, stay as they begin, and the embeddings with them."""
    low_rank: LowRankConfig = field(default_factory=LowRankConfig)
    probe: Probe = field(default_factory=Probe)
    teacher: Teacher = field(default_factory=Teacher)

    seed: int = 0
    """All randomness is a function of it and of a position."""
    epochs: int = 10
    """Passes over the training images, unless `steps` is given."""
    steps: int | None = None
    """Optimizer steps, in place of `epochs`."""
    batch_size: int = 128
    """Images in an optimizer step."""
    accumulation: int = 1
    """Parts in which a batch is computed one after another, to need less memory; it divides batch_size."""
    activation_checkpointing: bool = False
    """Each layer keeps its input alone and computes the rest again for its gradient: less memory, more
    time."""
    label_smoothing: float = 0.0
    """Part of each target that is spread over all classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced` weighs each class by how rare it is."""
    average_decay: float = 0.0
    """Decay of a moving average of the weights, which is then what is judged and kept; 0 for none."""

    evaluate_epochs: int = 1
    """Epochs from one validation to the next; the last step is always validated."""
    explain_every: int | None = None
    """Epochs from one sheet of explained images to the next, in plots/ and TensorBoard; one at the end if not
    given."""
    test: Literal["end", "validation"] = "end"
    """Test once at the end, or with every validation, which a sound experiment does not do."""
    keep: Literal["last", "best"] = "last"
    """Weights that the run ends with: the last, or the best on the validation part."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps (untested)."""
    precision: Literal["auto", "float32", "bfloat16", "bfloat16-where-native"] = "auto"
    """auto is bfloat16 on GPUs that have it, else float32; bfloat16-where-native is bfloat16 on CPUs, too,
    that have it."""
    compile: Literal["auto", "on", "off"] = "auto"
    """torch.compile; auto is on for CUDA where there is a C++ compiler."""
    threads: int | None = None
    """CPU threads; PyTorch's choice if not given. A resumed run takes the recorded number."""
    deterministic: bool = False
    """On CUDA: deterministic algorithms only, so that exact resume is promised there too."""

    checkpoint_seconds: float = 60.0
    """A checkpoint after this many seconds; 0 for none by the clock."""
    checkpoint_steps: int = 0
    """A checkpoint after this many steps; 0 for none by steps."""
    log_steps: int = 50
    """A row of metrics after this many steps, besides those with a validation."""

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name or self.name.startswith("."):
            raise ValueError(
                f"name is {self.name!r}: run folders begin with it, so give a name without / and leading dot"
            )
        self._check_numbers()
        self._check_parts()

    def _check_numbers(self) -> None:
        positive = (
            "epochs",
            "steps",
            "batch_size",
            "accumulation",
            "evaluate_epochs",
            "explain_every",
            "log_steps",
            "threads",
        )
        for name in positive:
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected 1 or more")
        for name in ("seed", "frozen_layers", "checkpoint_seconds", "checkpoint_steps"):
            if not getattr(self, name) >= 0:  # so written, it refuses NaN too
                raise ValueError(f"{name} is {getattr(self, name)}: expected 0 or more")
        for name in ("label_smoothing", "average_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least 0 and less than 1")
        if self.batch_size % self.accumulation:
            raise ValueError(f"accumulation is {self.accumulation}, which does not divide {self.batch_size}")
        if self.augmentation.mixes and self.accumulation == self.batch_size > 1:
            raise ValueError(
                f"accumulation is {self.accumulation}, parts of one image each: mixup and CutMix need two"
            )

    def _check_parts(self) -> None:
        if self.low_rank.rank and (self.frozen != "nothing" or self.frozen_layers or self.probe.fraction):
            raise ValueError("low_rank freezes all but its matrices and the head: leave out frozen and probe")
        if self.low_rank.rank and self.init is None:
            raise ValueError("low_rank changes the weights that a run begins with: give --init")
        if self.init is None and any((self.init_image_shape, self.init_patch_shape, self.init_channels)):
            raise ValueError(
                "init_image_shape, init_patch_shape and init_channels change the weights of init"
            )
        if self.keep == "best" and self.data.validation_fraction == 0 and self.data.name != "folder":
            raise ValueError(
                "keep is 'best', but data.validation_fraction is 0, so there are no images to choose by: "
                "set --data.validation-fraction above 0, or --keep last"
            )
        if self.model.number_of_channels != self.preprocessing.channels:
            raise ValueError(
                f"model.number_of_channels is {self.model.number_of_channels}, "
                f"but preprocessing.channels is {self.preprocessing.channels}"
            )
        if self.model.max_image_shape != self.preprocessing.size:
            raise ValueError(
                f"model.max_image_shape is {self.model.max_image_shape}, but preprocessing.size is "
                f"{self.preprocessing.size}: they are the same, and --image-shape ROWS COLUMNS sets both"
            )
