"""In which numbers a run computes."""

from typing import Literal, get_args

import torch

from vision_transformers.config import check_known
from vision_transformers.runtime.native import has_instructions

Precision = Literal["auto", "float32", "bfloat16", "bfloat16-where-native"]
ResolvedPrecision = Literal["float32", "bfloat16"]


def resolve_precision(asked: Precision, device: torch.device) -> ResolvedPrecision:
    """For `auto`: bfloat16 on GPUs that compute in it, float32 elsewhere; `bfloat16-where-native` is that on
    CPUs that compute in it, too.

    Raises:
        UsageFailure: the precision is not known; names the nearest.
    """
    check_known("precision", asked, get_args(Precision))
    if asked in ("float32", "bfloat16"):
        return asked
    may_be_bfloat16 = device.type == "cuda" or asked == "bfloat16-where-native"
    return "bfloat16" if may_be_bfloat16 and has_bfloat16(device) else "float32"


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16; a CPU that only seems to takes twenty times as long."""
    if device.type == "cuda":
        # Not by `is_bf16_supported`, which asks the current GPU.
        return torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= 8
    return device.type != "cpu" or has_instructions("avx512_bf16")


def autocast(precision: ResolvedPrecision, device: torch.device) -> torch.autocast:
    """The context of a forward pass: matrix products in `precision`, parameters in float32 throughout.

    Raises:
        UsageFailure: the precision is not known, or not resolved; names the nearest.
    """
    check_known("precision", precision, get_args(ResolvedPrecision))
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
