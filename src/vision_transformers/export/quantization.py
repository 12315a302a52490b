"""An ONNX file with weights of 8 bits: a quarter to a third of the size."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from vision_transformers.export.quiet import only_errors_of

PRODUCTS = ["MatMul", "Gemm"]
"""What is computed in 8 bits where one factor is weights: linear layers, and no attention."""


def quantized(content: bytes) -> bytes:
    """The same program with products in 8 bits: weights once and for all, their inputs by each batch's range.

    Weights are unsigned: with signed ones, processors without instructions for 8 bits (AVX2 alone) cut off
    sums of two products at 16 bits, and compute something else without a word.
    """
    # Through the root logger it advises to infer shapes first, which is for graphs that were made without.
    with TemporaryDirectory() as folder, only_errors_of(logging.getLogger()):
        file = Path(folder) / "quantized.onnx"
        quantize_dynamic(
            onnx.load_from_string(content),
            file,
            op_types_to_quantize=PRODUCTS,
            weight_type=QuantType.QUInt8,
        )
        return file.read_bytes()
