"""What other projects call the options of `vit train`, for those who come from there."""

from collections.abc import Iterable

from vision_transformers.errors import UsageFailure

_CHOOSES_A_MODEL = "--preset NAME (`vit models` lists them), or --init SOURCE for trained weights"
_BEGINS_WITH_WEIGHTS = "--init SOURCE --init-format timm: a file, a folder, or hf:OWNER/NAME"
_COUNTED = "the data decides: as many classes as it has"
_IN_PARTS = "--schedule.warmup, a part of all steps, 0 to 1"
_IMAGE_SIZE = "--image-shape ROWS COLUMNS; with --init, --init-image-shape ROWS COLUMNS"
_SEVERAL_GPUS = "torchrun --nproc-per-node N --no-python vit train ..., for N GPUs"
_AVERAGE = "--average-decay, such as 0.999"
_RATE = "--optimizer.learning-rate"
_BATCH = "--batch-size, of all processes and parts together"

FAMILIAR = {
    # timm and torchvision
    "aa": "--augmentation.rand-augment and --augmentation.rand-augment-magnitude",
    "amp": "--precision bfloat16",
    "amp-dtype": "--precision bfloat16",
    "auto-augment": "--augmentation.rand-augment and --augmentation.rand-augment-magnitude",
    "clip-grad": "--optimizer.clip",
    "clip-grad-norm": "--optimizer.clip",
    "crop-pct": "--preprocessing.crop-fraction, with --preprocessing.crop center",
    "cutmix-alpha": "--augmentation.cutmix",
    "data-dir": "--data.path",
    "dataset": "the recipe: `vit train folder --data.path PATH`, `vit train cifar10`, ...",
    "decay-rate": "--schedule.shape and --schedule.final",
    "drop-path": "--model.stochastic-depth",
    "grad-accum-steps": "--accumulation, the parts that a batch is computed in",
    "grad-checkpointing": "--activation-checkpointing",
    "hflip": "--augmentation.flip",
    "img-size": _IMAGE_SIZE,
    "initial-checkpoint": _BEGINS_WITH_WEIGHTS,
    "input-size": _IMAGE_SIZE,
    "lr": _RATE,
    "lr-scheduler": "--schedule.shape",
    "lr-warmup-epochs": _IN_PARTS,
    "min-lr": "--schedule.final, a part of the peak",
    "mixup-alpha": "--augmentation.mixup",
    "model": _CHOOSES_A_MODEL,
    "model-ema": _AVERAGE,
    "model-ema-decay": _AVERAGE,
    "num-classes": _COUNTED,
    "output": "--run-folder",
    "pretrained": _BEGINS_WITH_WEIGHTS,
    "random-erase": "--augmentation.erasing",
    "reprob": "--augmentation.erasing",
    "torchcompile": "--compile on",
    "train-crop-size": _IMAGE_SIZE,
    "train-interpolation": "--preprocessing.interpolation",
    "warmup-epochs": _IN_PARTS,
    "wd": "--optimizer.weight-decay",
    # transformers
    "bf16": "--precision bfloat16",
    "dataloader-num-workers": "--data.workers",
    "gradient-accumulation-steps": "--accumulation, the parts that a batch is computed in",
    "gradient-checkpointing": "--activation-checkpointing",
    "lr-scheduler-type": "--schedule.shape",
    "max-grad-norm": "--optimizer.clip",
    "max-steps": "--steps",
    "model-name-or-path": _BEGINS_WITH_WEIGHTS,
    "num-train-epochs": "--epochs",
    "output-dir": "--run-folder",
    "per-device-train-batch-size": _BATCH,
    "resume-from-checkpoint": "--resume RUN, or --resume auto",
    "save-steps": "--checkpoint-steps",
    "torch-compile": "--compile on",
    "train-dir": "--data.path",
    "warmup-ratio": _IN_PARTS,
    # ultralytics and lightly-train
    "accelerator": "--device",
    "devices": _SEVERAL_GPUS,
    "gpus": _SEVERAL_GPUS,
    "imgsz": _IMAGE_SIZE,
    "lr0": _RATE,
    "num-workers": "--data.workers",
    "out": "--run-folder",
}
"""By the name without dashes, what to type here, where the name alone does not lead to it."""


def tell_familiar_options(typed: Iterable[str]) -> None:
    """Meets what others call an option.

    Args:
        typed: the options, without their dashes.

    Raises:
        UsageFailure: names the first, and what it is here.
    """
    for option in typed:
        if option in FAMILIAR:
            raise UsageFailure(f"--{option} is another project's word. Here it is {FAMILIAR[option]}")
