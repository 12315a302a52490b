"""The ONNX file: a program, and in its metadata what must be done to a picture before."""

import json
import logging
from dataclasses import asdict
from typing import Any

import onnx
import torch
from torch.onnx import OnnxExporterError

from vision_transformers.errors import Failure
from vision_transformers.export.program import Program
from vision_transformers.export.quiet import only_errors_of
from vision_transformers.weights.model_folder import ModelDescription

OPSET = 18
"""The operators that PyTorch's own translations are written in, so that nothing is converted. What later sets
add, such as attention as one operator, many runtimes lack, and a Vision Transformer does not need."""
IR_VERSION = 8
"""The layout of files that came with those operators, where PyTorch writes a later one without using it: so
releases of runtimes that are some years old read the file, too."""
METADATA_VERSION = 1
MOST_BYTES = 2**31 - 2**24
"""Of parameters: one ONNX file is a protocol buffer, which ends at 2 GiB, and the graph is in it, too."""
_EXAMPLES = 2
"""In the batch that is traced: of one, PyTorch makes a constant."""


def check_size(program: Program) -> None:
    """Raises Failure where the parameters do not fit into one file."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in program.parameters())
    if size > MOST_BYTES:
        raise Failure(
            f"the model has {size / 2**30:.1f} GiB of parameters: one ONNX file holds less than 2, "
            "and files beside it are not written. Export a smaller model"
        )


def onnx_bytes(program: Program, description: ModelDescription) -> bytes:
    """What one file holds, after all of ONNX's own checks.

    Raises:
        Failure: PyTorch cannot export the model, or ONNX finds what it wrote to be wrong.
    """
    preprocessing = description.preprocessing
    shape = (_EXAMPLES, preprocessing.channels, *preprocessing.size)
    proto = _exported(program, torch.zeros(shape, dtype=torch.uint8))
    _forget_where_it_was_made(proto)
    proto.ir_version = IR_VERSION
    proto.doc_string = _INSTRUCTIONS
    for key, value in metadata(description).items():
        proto.metadata_props.add(key=key, value=json.dumps(value))
    content: bytes = proto.SerializeToString(deterministic=True)
    try:
        onnx.checker.check_model(content, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise Failure(f"PyTorch exported what ONNX finds wrong: {error}") from error
    return content


def metadata(description: ModelDescription) -> dict[str, Any]:
    """What the file says beside the graph: each entry is JSON.

    Of the preprocessing, normalisation is left out: it is in the graph, and nobody should do it twice.
    """
    preprocessing = asdict(description.preprocessing)
    del preprocessing["mean"], preprocessing["std"]
    return {
        "format_version": METADATA_VERSION,
        "classes": description.classes,
        "preprocessing": preprocessing,
    }


_INSTRUCTIONS = """\
Input: pixels of 8 bits, 0 to 255, as (picture, channel, row, column). Normalisation, temperature and softmax
are in the graph. To make the pixels of a picture, as its entry `preprocessing` says:
1. decode the first frame; scale 16 bits to 8; lay transparent pixels over the grey level `background`;
2. convert to grey (`channels` 1) or to red, green and blue (3), and set it upright by its EXIF orientation;
3. `crop` is "squash": resize to `size` (rows, columns) with Pillow's filter `interpolation`, antialiased;
   `crop` is "center": resize, with that filter, to the smallest size of the same aspect that covers
   round(size / crop_fraction), the longer side rounded down, and cut `size` out of the middle; where the
   margin is odd, the left and the top half are rounded to even or down, as `crop_rounding` says. (Of pictures
   so thin that this takes more than 2^25 pixels, the same middle is resized alone.)
`classes` has the class names in the order of the probabilities."""


def _exported(program: Program, pixels: torch.Tensor) -> onnx.ModelProto:
    # onnxscript remarks on what it does not simplify.
    with only_errors_of(logging.getLogger("onnxscript")), torch.no_grad():
        try:
            exported = torch.onnx.export(
                program,
                (pixels,),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=["pixels"],
                output_names=list(program.outputs),
                external_data=False,
                verbose=False,
            )
        except OnnxExporterError as error:
            cause = str(error).partition("\n")[0]  # advice to developers follows
            raise Failure(f"PyTorch cannot export this model: {cause}") from error
    assert exported is not None
    return exported.model_proto


def _forget_where_it_was_made(proto: onnx.ModelProto) -> None:
    """Without the lines of code, and their paths on this machine, that PyTorch notes at every node."""
    graph = proto.graph
    for part in (graph, *graph.node, *graph.value_info, *graph.initializer, *graph.input, *graph.output):
        part.ClearField("metadata_props")
