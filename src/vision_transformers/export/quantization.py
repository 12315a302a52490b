"""An ONNX file with weights of 8 bits: a quarter of the size."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

PRODUCTS = ["MatMul", "Gemm"]
"""What is computed in 8 bits where one factor is weights: linear layers, and no attention."""


def quantized(content: bytes) -> bytes:
    """The same program with products in 8 bits: weights once and for all, their inputs by each batch's range.

    Weights are unsigned: with signed ones, processors without instructions for 8 bits (AVX2 alone) cut off
    sums of two products at 16 bits, and compute something else without a word.
    """
    with TemporaryDirectory() as folder, _quiet():
        file = Path(folder) / "quantized.onnx"
        quantize_dynamic(
            onnx.load_from_string(content),
            file,
            op_types_to_quantize=PRODUCTS,
            weight_type=QuantType.QUInt8,
        )
        return file.read_bytes()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without its advice to infer shapes first, which is for graphs that were not made with them."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
