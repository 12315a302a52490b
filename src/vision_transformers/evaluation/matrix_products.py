"""The ceiling of a model's speed: its own matrix products at their own shapes, timed alone.

On GPUs, attention is the fastest fused one that there is.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vision_transformers.evaluation.fused_attention import FusedAttention
from vision_transformers.evaluation.stopwatch import median_seconds


@dataclass(frozen=True)
class Operand:
    """What a product is of."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def random(self) -> Tensor:
        """Numbers, laid out in memory as the operand was, also where it was one row, expanded."""
        last = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        memory = torch.randn(last + 1, dtype=self.dtype, device=self.device)
        return memory.as_strided(self.shape, self.strides)


@dataclass(frozen=True)
class Product:
    """Two matrices, or two equally long rows of matrices, that are multiplied."""

    left: Operand
    right: Operand

    @property
    def operations(self) -> int:
        """Multiplications and additions, each counted as one."""
        *batch, rows, inner = self.left.shape
        return 2 * rows * inner * self.right.shape[-1] * (batch[0] if batch else 1)

    def seconds(self) -> float:
        """The median over several runs."""
        multiply = torch.bmm if len(self.left.shape) == 3 else torch.mm
        left, right = self.left.random(), self.right.random()
        out = multiply(left, right)
        return median_seconds(lambda: multiply(left, right, out=out), left.device)


Products = Counter[Product | FusedAttention]


def matrix_products(run: Callable[[], Any]) -> Products:
    """Every matrix product that `run` computes, forward and backward, and how often.

    On CPUs fused attention counts as the products that it stands for; on GPUs, where products by themselves
    would write all weights into memory and take longer, as the fastest fused attention that there is.
    `torch.inference_mode` hides layers' products: use `torch.no_grad`.
    """
    with _Recorder() as recorder:
        run()
    return recorder.products


def seconds_of(products: Products) -> float:
    """How long all products take by themselves, one after another."""
    return sum((count * product.seconds() for product, count in products.items()), 0.0)


def operations_of(products: Products) -> int:
    """Multiplications and additions of all."""
    return sum(count * product.operations for product, count in products.items())


class _Recorder(TorchDispatchMode):
    """Notes the operands of every product that PyTorch dispatches."""

    def __init__(self) -> None:
        super().__init__()
        self.products: Products = Counter()

    def __torch_dispatch__(
        self,
        function: Any,
        types: Any,
        arguments: tuple[Any, ...] = (),
        options: dict[str, Any] | None = None,
    ) -> Any:
        result = function(*arguments, **(options or {}))
        name = function.overloadpacket.__name__
        if name in ("mm", "bmm"):
            self._note(arguments[0], arguments[1])
        elif name in ("addmm", "baddbmm"):
            self._note(arguments[1], arguments[2])
        elif name == "convolution":
            self._note_convolution(arguments[0], arguments[1], result)
        elif name == "convolution_backward":
            of_image, of_kernels, _ = arguments[-1]
            for _ in range(of_image + of_kernels):
                self._note_convolution(arguments[1], arguments[2], arguments[0])
        elif name.startswith("_scaled_dot_product") and "backward" not in name:
            self._note_attention(arguments[0], arguments[1], arguments[2])
        elif name.startswith("_scaled_dot_product"):
            self._note_attention_backward(arguments[1], arguments[2], arguments[3])
        elif name in ("short_attention", "packed_attention"):
            self._note_attention(*_heads(arguments[0]))
        elif name in ("short_attention_backward", "packed_attention_backward"):
            self._note_attention_backward(*_heads(arguments[1]))
        elif name == "narrow_feed_forward":
            tokens, input_weight, _, output_weight = arguments[:4]
            self._note(tokens, input_weight.t())
            self._note(tokens.new_empty(len(tokens), len(input_weight)), output_weight.t())
        elif name == "narrow_feed_forward_backward":
            self._note_feed_forward_backward(*arguments)
        return result

    def _note(self, left: Tensor, right: Tensor) -> None:
        self.products[Product(_operand(left), _operand(right))] += 1

    def _note_attention(self, queries: Tensor, keys: Tensor, values: Tensor) -> None:
        if fused := FusedAttention.of(queries, keys, is_backward=False):
            self.products[fused] += 1
            return
        queries, keys, values = (tensor.detach().flatten(0, 1) for tensor in (queries, keys, values))
        weights = queries.new_empty(*queries.shape[:2], keys.shape[1])
        self._note(queries, keys.transpose(1, 2))
        self._note(weights, values)

    def _note_attention_backward(self, queries: Tensor, keys: Tensor, values: Tensor) -> None:
        """Of values, weights, queries and keys; what a kernel computes anew is its own choice."""
        if fused := FusedAttention.of(queries, keys, is_backward=True):
            self.products[fused] += 1
            return
        self._note_attention(queries, keys, values)
        self._note_attention(queries, keys, values)

    def _note_feed_forward_backward(
        self, gradient: Tensor, tokens: Tensor, hidden: Tensor, input_weight: Tensor, output_weight: Tensor
    ) -> None:
        """Of what goes into each layer, and of its weight."""
        self._note(gradient, output_weight)
        self._note(gradient.t(), hidden)
        self._note(hidden, input_weight)
        self._note(hidden.t(), tokens)

    def _note_convolution(self, image: Tensor, kernels: Tensor, result: Tensor) -> None:
        """A product of flat patches, which overlap where kernels exceed their stride, and flat kernels."""
        flat = kernels.detach().flatten(1)
        patches = image.new_empty(result.shape[0] * result.shape[2] * result.shape[3], flat.shape[1])
        self._note(patches, flat.t().to(patches.dtype))


def _heads(query_key_value: Tensor) -> list[Tensor]:
    """Queries, keys and values as (batch, heads, tokens, head_dimension)."""
    return [part.transpose(1, 2) for part in query_key_value.unbind(2)]


def _operand(tensor: Tensor) -> Operand:
    return Operand(tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device)
