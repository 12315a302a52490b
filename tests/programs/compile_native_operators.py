"""A compiled model in bfloat16 on a CPU computes what is computed in C without a graph break, and learns."""

import torch

from vision_transformers import ViT

torch.manual_seed(0)
model = ViT((7, 7), 32, 2, 2, 64, 1, 10).bfloat16()
images = torch.randn(4, 1, 28, 28).bfloat16()
eager = torch.autograd.grad(model(images).square().sum(), list(model.parameters()))
compiled = torch.compile(model, fullgraph=True)
for found, expected in zip(
    torch.autograd.grad(compiled(images).square().sum(), list(model.parameters())), eager, strict=True
):
    assert (found - expected).norm() <= 0.05 * expected.norm()
