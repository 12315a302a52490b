"""Exports the models with torch.export and compares outputs with those of the models."""

from typing import Any, get_args

import torch
from models import LOADED, images, model

from vision_transformers.model.config import PositionResize


def check_static(**options: Any) -> None:
    """The same logits, for one batch size."""
    plain, image = model(**options), images()
    program = torch.export.export(plain, (image,)).module()
    torch.testing.assert_close(program(image), plain(image))


def check_dynamic_batch(**options: Any) -> None:
    """The same logits, for any batch size."""
    plain = model(**options)
    dynamic = {"image": {0: torch.export.Dim("batch")}}
    program = torch.export.export(plain, (images(2),), dynamic_shapes=dynamic).module()
    for batch in (1, 2, 7):
        image = images(batch)
        torch.testing.assert_close(program(image), plain(image))


def check_dynamic_size(rule: PositionResize, *sizes: tuple[int, int]) -> None:
    """The same logits, for these sizes, though the example has as many patches as the model has positions."""
    plain, anything = model(position_resize=rule), torch.export.Dim.AUTO
    torch.nn.init.normal_(plain.positions.position_embeddings)
    shapes = {"image": {0: anything, 2: anything, 3: anything}}
    program = torch.export.export(plain, (images(2),), dynamic_shapes=shapes).module()
    for size in sizes:
        image = torch.randn(3, 3, *size)
        torch.testing.assert_close(program(image), plain(image))


def check_weights() -> None:
    """The same attention weights."""
    plain, image = model(), images()
    program = torch.export.export(plain, (image,), {"need_weights": True}).module()
    torch.testing.assert_close(program(image, need_weights=True), plain(image, need_weights=True))


for options in ({}, LOADED):
    check_static(**options)
    check_dynamic_batch(**options)
for rule in get_args(PositionResize):
    check_dynamic_size(rule, *([(8, 12)] if rule == "bicubic-offset" else [(8, 12), (16, 8), (20, 32)]))
check_weights()
