"""A compiled model in bfloat16 on a GPU calls the kernels without a graph break, and learns as before."""

from unittest.mock import patch

import torch

from vision_transformers import ViT
from vision_transformers.model.kernels import (
    biased_gelu_kernels,
    packed_attention_backward_kernels,
    packed_attention_kernels,
)

KERNELS = (
    (packed_attention_kernels, "attend"),
    (packed_attention_backward_kernels, "attend_backward"),
    (biased_gelu_kernels, "gelu"),
    (biased_gelu_kernels, "gelu_backward"),
)

torch.manual_seed(0)
model = ViT((7, 7), 32, 2, 2, 64, 1, 10).cuda().bfloat16()
images = torch.randn(4, 1, 28, 28, device="cuda").bfloat16()
eager = torch.autograd.grad(model(images).square().sum(), list(model.parameters()))
compiled = torch.compile(model, fullgraph=True)
calls = [patch.object(module, name, wraps=getattr(module, name)) for module, name in KERNELS]
spies = [call.start() for call in calls]
found = torch.autograd.grad(compiled(images).square().sum(), list(model.parameters()))
assert all(spy.called for spy in spies), [
    name for (_, name), spy in zip(KERNELS, spies, strict=True) if not spy.called
]
for gradient, expected in zip(found, eager, strict=True):
    assert (gradient - expected).norm() <= 0.05 * expected.norm() + 1e-3
