"""A compiled model may use operators of this package, an exported or traced one may not."""

import torch
from torch import Tensor, nn

from vision_transformers.model.kernels.operators import is_computed_here


class Asking(nn.Module):
    """Adds 1 where such operators may be used, and takes 1 off where not."""

    def forward(self, given: Tensor) -> Tensor:
        return given + 1 if is_computed_here(given) else given - 1


zero = torch.zeros(1)
assert Asking()(zero) == 1
assert torch.compile(Asking(), backend="eager", fullgraph=True)(zero) == 1
assert torch.jit.trace(Asking(), zero)(zero) == -1
for strict in (False, True):
    assert torch.export.export(Asking(), (zero,), strict=strict).module()(zero) == -1
