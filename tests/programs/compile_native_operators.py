"""A compiled model in bfloat16 on a CPU calls C without a graph break, forward and backward, and learns."""

from unittest.mock import patch

import torch

from vision_transformers import ViT
from vision_transformers.model.kernels import narrow_feed_forward, short_attention

torch.manual_seed(0)
model = ViT((7, 7), 32, 2, 2, 64, 1, 10).bfloat16()
images = torch.randn(4, 1, 28, 28).bfloat16()
eager = torch.autograd.grad(model(images).square().sum(), list(model.parameters()))
compiled = torch.compile(model, fullgraph=True)
for module in (short_attention, narrow_feed_forward):
    with patch.object(module, "_call", wraps=module._call) as call:
        loss = compiled(images).square().sum()
        found = torch.autograd.grad(loss, list(model.parameters()))
    called = {arguments.args[0] for arguments in call.call_args_list}
    assert len(called) == (2 if module.is_available() else 0), called
for gradient, expected in zip(found, eager, strict=True):
    assert (gradient - expected).norm() <= 0.05 * expected.norm()
