"""Which of PyTorch's implementations computes `scaled_dot_product_attention`."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from vision_transformers.runtime.precision import ResolvedPrecision


def attention_backend(
    device: torch.device, precision: ResolvedPrecision, number_of_tokens: int
) -> AbstractContextManager[None]:
    """The context to train in.

    On CPUs, PyTorch's fused attention loses to its plain products where sequences are short, most of all
    backward: `docs/log.md`, 2026-11-22, has the measurement. Elsewhere PyTorch chooses.
    """
    short = number_of_tokens <= 32 or (precision == "bfloat16" and number_of_tokens <= 64)
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" and short else nullcontext()
