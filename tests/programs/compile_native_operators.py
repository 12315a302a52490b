"""A compiled model on a CPU calls C without a graph break, forward and backward, and learns.

In bfloat16 and in float32; in which of them, and what of it, is the machine's affair.
"""

from unittest.mock import patch

import torch

from vision_transformers import ViT
from vision_transformers.model.kernels import narrow_feed_forward, short_attention

for dtype, error in ((torch.bfloat16, 0.05), (torch.float32, 1e-4)):
    in_c = {
        short_attention: short_attention.is_available(dtype),
        narrow_feed_forward: dtype == torch.bfloat16 and narrow_feed_forward.is_available(),
    }
    if not any(in_c.values()):
        continue
    torch.manual_seed(0)
    model = ViT((7, 7), 32, 2, 2, 64, 1, 10).to(dtype)
    images = torch.randn(4, 1, 28, 28).to(dtype)
    eager = torch.autograd.grad(model(images).square().sum(), list(model.parameters()))
    compiled = torch.compile(model, fullgraph=True)
    for module, is_available in in_c.items():
        with patch.object(module, "_call", wraps=module._call) as call:
            loss = compiled(images).square().sum()
            found = torch.autograd.grad(loss, list(model.parameters()))
        called = {arguments.args[0] for arguments in call.call_args_list}
        assert len(called) == (2 if is_available else 0), (dtype, called)
    for gradient, expected in zip(found, eager, strict=True):
        assert (gradient - expected).norm() <= error * expected.norm()
