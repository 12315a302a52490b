"""The ceiling of a model's speed: its own matrix products at their own shapes, timed alone.

On GPUs, attention is the fastest fused one that there is.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
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
        return median_seconds(self.of_random_numbers(), self.left.device)

    def of_random_numbers(self) -> Callable[[], Tensor]:
        """Computes it, again and again in the same memory."""
        multiply = torch.bmm if len(self.left.shape) == 3 else torch.mm
        left, right = self.left.random(), self.right.random()
        out = multiply(left, right)
        return lambda: multiply(left, right, out=out)


Products = Counter[Product | FusedAttention]
Found = Iterator[Product | FusedAttention]


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
    """Notes every product that PyTorch dispatches."""

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
        products_of = _PRODUCTS_OF.get(_operator(function))
        if products_of is not None:
            self.products.update(products_of(arguments, result))
        return result


def _operator(function: Any) -> str:
    """Its name; PyTorch's fused attentions, of which each device has others, are one."""
    name: str = function.overloadpacket.__name__
    if name.startswith("_scaled_dot_product"):
        return "fused_attention_backward" if "backward" in name else "fused_attention"
    return name


def _of_matrices(left: Tensor, right: Tensor) -> Found:
    yield Product(_operand(left), _operand(right))


def _of_convolution(image: Tensor, kernels: Tensor, result: Tensor) -> Found:
    """A product of flat patches, which overlap where kernels exceed their stride, and flat kernels."""
    flat = kernels.detach().flatten(1)
    patches = image.new_empty(result.shape[0] * result.shape[2] * result.shape[3], flat.shape[1])
    yield from _of_matrices(patches, flat.t().to(patches.dtype))


def _of_convolution_backward(
    gradient: Tensor, image: Tensor, kernels: Tensor, wanted: Sequence[bool]
) -> Found:
    """Of the image and of the kernels, as wanted; the bias, the third, takes no product."""
    for _ in range(sum(wanted[:2])):
        yield from _of_convolution(image, kernels, gradient)


def _of_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Found:
    if fused := FusedAttention.of(queries, keys, is_backward=False):
        yield fused
        return
    queries, keys, values = (tensor.detach().flatten(0, 1) for tensor in (queries, keys, values))
    weights = queries.new_empty(*queries.shape[:2], keys.shape[1])
    yield from _of_matrices(queries, keys.transpose(1, 2))
    yield from _of_matrices(weights, values)


def _of_attention_backward(queries: Tensor, keys: Tensor, values: Tensor) -> Found:
    """Of values, weights, queries and keys; what a kernel computes anew is its own choice."""
    if fused := FusedAttention.of(queries, keys, is_backward=True):
        yield fused
        return
    yield from _of_attention(queries, keys, values)
    yield from _of_attention(queries, keys, values)


def _of_feed_forward(tokens: Tensor, input_weight: Tensor, output_weight: Tensor) -> Found:
    yield from _of_matrices(tokens, input_weight.t())
    yield from _of_matrices(tokens.new_empty(len(tokens), len(input_weight)), output_weight.t())


def _of_feed_forward_backward(
    gradient: Tensor, tokens: Tensor, hidden: Tensor, input_weight: Tensor, output_weight: Tensor
) -> Found:
    """Of what goes into each layer, and of its weight."""
    yield from _of_matrices(gradient, output_weight)
    yield from _of_matrices(gradient.t(), hidden)
    yield from _of_matrices(hidden, input_weight)
    yield from _of_matrices(hidden.t(), tokens)


def _of_linear(tokens: Tensor, weight: Tensor) -> Found:
    yield from _of_matrices(tokens, weight.t())


def _of_linear_backward(gradient: Tensor, tokens: Tensor, weight: Tensor) -> Found:
    yield from _of_matrices(gradient, weight)
    yield from _of_matrices(gradient.t(), tokens)


def _of_means(sequence: Tensor, vectors: Tensor) -> Found:
    weights = vectors.new_empty(*vectors.shape[:2], sequence.shape[1])
    yield from _of_matrices(vectors, sequence.transpose(1, 2))
    yield from _of_matrices(weights, sequence)


def _of_means_backward(sequence: Tensor, vectors: Tensor) -> Found:
    """Of weights, of vectors, and twice of tokens."""
    weights = vectors.new_empty(len(vectors), sequence.shape[1], vectors.shape[1])
    yield from _of_means(sequence, vectors)
    yield from _of_matrices(weights, vectors)
    yield from _of_matrices(weights, vectors)


def _of_encoder(input: Tensor, weights: Sequence[Tensor], heads: int) -> Found:
    tokens = input.detach().flatten(0, 1).to(weights[0].dtype)
    query_key_value, projection, input_layer, output_layer = weights
    yield from _of_linear(tokens, query_key_value)
    yield from _of_attention(*_heads(_query_key_value(input, query_key_value, heads)))
    yield from _of_linear(tokens, projection)
    yield from _of_feed_forward(tokens, input_layer, output_layer)


def _of_encoder_backward(input: Tensor, weights: Sequence[Tensor], heads: int) -> Found:
    tokens = input.detach().flatten(0, 1).to(weights[0].dtype)
    query_key_value, projection, input_layer, output_layer = weights
    hidden = tokens.new_empty(len(tokens), len(input_layer))
    yield from _of_linear_backward(
        tokens.new_empty(len(tokens), len(query_key_value)), tokens, query_key_value
    )
    yield from _of_attention_backward(*_heads(_query_key_value(input, query_key_value, heads)))
    yield from _of_linear_backward(tokens, tokens, projection)
    yield from _of_feed_forward_backward(tokens, tokens, hidden, input_layer, output_layer)


def _query_key_value(input: Tensor, weight: Tensor, heads: int) -> Tensor:
    return weight.detach().new_empty(*input.shape[:2], 3, heads, input.shape[2] // heads)


def _heads(query_key_value: Tensor) -> list[Tensor]:
    """Queries, keys and values as (batch, heads, tokens, head_dimension)."""
    return [part.transpose(1, 2) for part in query_key_value.unbind(2)]


def _operand(tensor: Tensor) -> Operand:
    return Operand(tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device)


_PRODUCTS_OF: dict[str, Callable[[tuple[Any, ...], Any], Found]] = {
    "mm": lambda given, _: _of_matrices(given[0], given[1]),
    "bmm": lambda given, _: _of_matrices(given[0], given[1]),
    "addmm": lambda given, _: _of_matrices(given[1], given[2]),
    "baddbmm": lambda given, _: _of_matrices(given[1], given[2]),
    "convolution": lambda given, result: _of_convolution(given[0], given[1], result),
    "convolution_backward": lambda given, _: _of_convolution_backward(
        given[0], given[1], given[2], given[-1]
    ),
    "fused_attention": lambda given, _: _of_attention(*given[:3]),
    "fused_attention_backward": lambda given, _: _of_attention_backward(*given[1:4]),
    "short_attention": lambda given, _: _of_attention(*_heads(given[0])),
    "short_attention_backward": lambda given, _: _of_attention_backward(*_heads(given[1])),
    "packed_attention": lambda given, _: _of_attention(*_heads(given[0])),
    "packed_attention_backward": lambda given, _: _of_attention_backward(*_heads(given[1])),
    "narrow_feed_forward": lambda given, _: _of_feed_forward(given[0], given[1], given[3]),
    "narrow_feed_forward_backward": lambda given, _: _of_feed_forward_backward(*given),
    "narrow_encoder": lambda given, _: _of_encoder(given[0], given[5:13:2], given[13]),
    "narrow_encoder_backward": lambda given, _: _of_encoder_backward(given[6], given[11:19:2], given[19]),
    "token_means": lambda given, _: _of_means(*given),
    "token_means_backward": lambda given, _: _of_means_backward(*given[1:3]),
    "tiled_linear": lambda given, _: _of_linear(*given[:2]),
    "tiled_linear_backward": lambda given, _: _of_linear_backward(*given),
}
"""From an operator to the products in it, by its arguments and its result."""
