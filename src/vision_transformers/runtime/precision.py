"""In which numbers a run computes."""

from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]
ResolvedPrecision = Literal["float32", "bfloat16"]


def resolve_precision(asked: Precision, device: torch.device) -> ResolvedPrecision:
    """For `auto`: bfloat16 on GPUs that compute in it, float32 elsewhere."""
    if asked != "auto":
        return asked
    return "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported(False) else "float32"


def autocast(precision: ResolvedPrecision, device: torch.device) -> torch.autocast:
    """The context of a forward pass: matrix products in `precision`, parameters in float32 throughout."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
