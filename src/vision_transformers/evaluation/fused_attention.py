"""Attention on a GPU whose weights never reach its memory, as a part of a model's ceiling."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from vision_transformers.evaluation.stopwatch import median_seconds
from vision_transformers.model.kernels.operators import is_triton_available
from vision_transformers.model.kernels.packed_attention import MOST_TOKENS, packed_attention

BACKENDS = (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)


@dataclass(frozen=True)
class FusedAttention:
    """Self-attention, forward or backward; queries, keys and values lie as one linear layer gives them."""

    images: int
    heads: int
    tokens: int
    width: int
    dtype: torch.dtype
    device: torch.device
    is_backward: bool

    @classmethod
    def of(cls, queries: Tensor, keys: Tensor, *, is_backward: bool) -> "FusedAttention | None":
        """For tensors of (images, heads, tokens, width); None on CPUs, and where keys are of other tokens."""
        if queries.device.type != "cuda" or queries.shape != keys.shape:
            return None
        images, heads, tokens, width = queries.shape
        return cls(images, heads, tokens, width, queries.dtype, queries.device, is_backward)

    @property
    def operations(self) -> int:
        """Multiplications and additions: of two products, or of the four that give their gradients."""
        of_one = 2 * self.images * self.heads * self.tokens**2 * self.width
        return of_one * (4 if self.is_backward else 2)

    def seconds(self) -> float:
        """By the fastest that PyTorch and this package have."""
        shape = (self.images, self.tokens, 3, self.heads, self.width)
        product = torch.randn(shape, dtype=self.dtype, device=self.device)
        parts = [part.transpose(1, 2).requires_grad_() for part in product.unbind(2)]
        found = [self._seconds_by(backend, parts) for backend in BACKENDS]
        fits = self.tokens <= MOST_TOKENS.get(self.width, 0) and self.dtype == torch.bfloat16
        if fits and is_triton_available(self.device):
            given = [product.requires_grad_(), product.new_zeros(3 * self.heads * self.width)]
            found.append(self._seconds_of(_by_this_package, given))
        there = [seconds for seconds in found if seconds is not None]
        return min(there) if there else self._seconds_of(F.scaled_dot_product_attention, parts)

    def _seconds_by(self, backend: SDPBackend, parts: list[Tensor]) -> float | None:
        """By one of PyTorch's; None where it does not take these sizes, of which PyTorch warns."""
        with sdpa_kernel(backend), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                return self._seconds_of(F.scaled_dot_product_attention, parts)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:
                return None

    def _seconds_of(self, attend: Callable[..., Tensor], given: list[Tensor]) -> float:
        if not self.is_backward:
            with torch.no_grad():
                return median_seconds(lambda: attend(*given), self.device)
        attended = attend(*given)
        learned = [tensor for tensor in given if tensor.requires_grad]
        gradient = torch.randn_like(attended)
        return median_seconds(
            lambda: torch.autograd.grad(attended, learned, gradient, retain_graph=True), self.device
        )


def _by_this_package(product: Tensor, bias: Tensor) -> Tensor:
    return packed_attention(product, bias)[0]
