"""Compiles the models without a graph break and compares outputs and gradients with those of eager mode.

One model goes all the way to machine code. The others stop before (`aot_eager`), where graph breaks would
show as well: it is quicker, and it draws random numbers as eager mode does, so that dropout is the same.
"""

from typing import Any

import torch
from models import LOADED, images, model


def check_machine_code(**options: Any) -> None:
    """The same logits from compiled code, in evaluation."""
    plain, image = model(**options), images()
    compiled = torch.compile(plain, fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(image), plain(image), rtol=1e-4, atol=1e-5)


def check_weights(**options: Any) -> None:
    """The same logits and attention weights."""
    plain, image = model(**options), images()
    compiled = torch.compile(plain, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(
        compiled(image, need_weights=True), plain(image, need_weights=True), rtol=1e-4, atol=1e-5
    )


def check_training(**options: Any) -> None:
    """The same gradients, for the same random numbers."""
    plain, image = model(**options).train(), images()
    gradients = []
    for forward in (plain, torch.compile(plain, fullgraph=True, backend="aot_eager")):
        torch.manual_seed(1)
        gradients.append(torch.autograd.grad(forward(image).square().sum(), list(plain.parameters())))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)


def check_bfloat16() -> None:
    """The same gradients through what is computed in bfloat16, but for its rounding."""
    plain, image = model().train(), images()
    gradients = []
    for forward in (plain, torch.compile(plain, fullgraph=True, backend="aot_eager")):
        with torch.autocast("cpu", torch.bfloat16):
            loss = forward(image).float().square().sum()
        gradients.append(torch.autograd.grad(loss, list(plain.parameters())))
    for eager, compiled in zip(*gradients, strict=True):
        assert (compiled - eager).norm() <= 0.02 * eager.norm()


check_machine_code(**LOADED)
check_bfloat16()
for options in ({}, LOADED):
    check_weights(**options)
    check_training(**options)
