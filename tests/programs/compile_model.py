"""Compiles the models without a graph break and compares outputs and gradients with those of eager mode."""

import torch
from models import LOADED, images, model


def check_evaluation(**options: object) -> None:
    plain = model(**options)
    compiled = torch.compile(plain, fullgraph=True)
    image = images()
    with torch.no_grad():
        torch.testing.assert_close(compiled(image), plain(image), rtol=1e-4, atol=1e-5)


def check_weights() -> None:
    plain = model(**LOADED)
    compiled = torch.compile(plain, fullgraph=True, backend="aot_eager")
    image = images()
    logits, weights = compiled(image, need_weights=True)
    expected, expected_weights = plain(image, need_weights=True)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weights, expected_weights, rtol=1e-4, atol=1e-5)


def check_training(**options: object) -> None:
    """With `aot_eager`, random numbers are drawn in the order of eager mode: the branches kept are the same."""
    plain = model(**options).train()
    compiled = torch.compile(plain, fullgraph=True, backend="aot_eager")
    image = images()
    gradients = []
    for forward in (plain, compiled):
        torch.manual_seed(1)
        plain.zero_grad()
        forward(image).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in plain.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)


check_evaluation()
check_evaluation(**LOADED)
check_weights()
check_training(**LOADED)
check_training(dropout=0.5)
