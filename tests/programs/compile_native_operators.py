"""A compiled model on a CPU calls C without a graph break, forward and backward, and learns.

In bfloat16, in float32, and in bfloat16 by autocast; in which of them, and what of it, is the machine's
affair.
"""

from contextlib import nullcontext
from unittest.mock import patch

import torch

from vision_transformers import ViT
from vision_transformers.model.kernels import (
    layer_norm,
    narrow_encoder,
    narrow_feed_forward,
    short_attention,
    tiled_linear,
    token_means,
)
from vision_transformers.model.kernels.operators import Program

layer_norm.LEAST_NUMBERS = token_means.LEAST_NUMBERS = 0
tiled_linear.LEAST_TOKENS = tiled_linear.LEAST_MULTIPLICATIONS = 0


def in_c(dtype: torch.dtype, tokens: torch.dtype, is_whole: bool) -> set[str]:
    """The functions of C that this machine has for a model whose class token alone is in its last layer."""
    found = set()
    is_whole = is_whole and dtype == torch.bfloat16 and narrow_encoder.is_available(tokens)
    if is_whole:  # the last layer's feed-forward network has too few tokens
        found |= {"encode", "encode_backward"}
    elif short_attention.is_available(dtype):
        found |= {"attend", "attend_backward"}
    if dtype == torch.bfloat16 and narrow_feed_forward.is_available() and not is_whole:
        found |= {"feed_forward", "feed_forward_backward"}
    if dtype == torch.bfloat16 and layer_norm.is_available(tokens):
        found |= {"normalize", "normalize_backward"}
    if dtype == torch.bfloat16 and tiled_linear.is_available():
        found |= {"weight_gradient"}
    if dtype == torch.bfloat16 and token_means.is_available():
        found |= {"average", "average_backward"}
    return found


def train(model: torch.nn.Module, images: torch.Tensor, is_autocast: bool) -> tuple[torch.Tensor, ...]:
    with torch.autocast("cpu", torch.bfloat16) if is_autocast else nullcontext():
        loss = model(images).float().square().sum()
    return torch.autograd.grad(loss, list(model.parameters()))


for dtype, tokens, error, is_whole in (
    (torch.bfloat16, torch.bfloat16, 0.05, False),
    (torch.bfloat16, torch.float32, 0.05, False),
    (torch.bfloat16, torch.bfloat16, 0.05, True),
    (torch.bfloat16, torch.float32, 0.05, True),
    (torch.float32, torch.float32, 1e-4, False),
):
    expected_calls = in_c(dtype, tokens, is_whole)
    if not expected_calls:
        continue
    narrow_encoder.LEAST_TOKENS = 0 if is_whole else 1000
    torch._dynamo.reset()
    torch.manual_seed(0)
    is_autocast = dtype != tokens
    model = ViT((7, 7), 32, 2, 2, 64, 1, 10).to(tokens)
    images = torch.randn(4, 1, 28, 28).to(tokens)
    eager = train(model, images, is_autocast)
    with patch.object(Program, "call", autospec=True, side_effect=Program.call) as call:
        found = train(torch.compile(model, fullgraph=True), images, is_autocast)
    called = {arguments.args[1] for arguments in call.call_args_list}
    assert called == expected_calls, (dtype, is_whole, called ^ expected_calls)
    for gradient, expected in zip(found, eager, strict=True):
        assert (gradient - expected).norm() <= error * expected.norm()
