"""Compiles the Triton kernels for the GPUs that they are for, which takes no GPU; prints their shared memory.

In bytes, of the hungriest one.
"""

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from vision_transformers.model import biased_attention_kernels, biased_gelu_kernels
from vision_transformers.model.native_operators import MEASURED_CAPABILITY

TARGET = GPUTarget("cuda", 10 * MEASURED_CAPABILITY[0] + MEASURED_CAPABILITY[1], 32)
KINDS = [(64, 16), (128, 64)]
"""Columns, and width of a head."""
IN_BFLOAT16 = ("product", "gradient", "bias", "attended", "found", "result")
IN_FLOAT32 = ("statistics", "of_biases", "of_bias")
FLOATS = ("scale", "scale_of_exponents")


def main() -> None:
    found = []
    for columns, width in KINDS:
        for kernel, table in (
            (biased_attention_kernels._attend, biased_attention_kernels.FORWARD),
            (biased_attention_kernels._attend_backward, biased_attention_kernels.BACKWARD),
        ):
            tiles = table[columns, width]
            sizes = {"WIDTH": width, "ROWS": tiles.queries, "COLUMNS": columns}
            found.append(shared_memory(kernel, sizes, num_warps=tiles.warps, num_stages=tiles.stages))
    found.append(shared_memory(biased_gelu_kernels._gelu, {"HIDDEN": 3072, "NUMBERS": 2048}, num_warps=4))
    found.append(shared_memory(biased_gelu_kernels._gelu_backward, {"ROWS": 8, "COLUMNS": 512}, num_warps=4))
    print(max(found))


def shared_memory(kernel: Any, sizes: dict[str, int], **options: int) -> int:
    signature = {name: kind_of(name, sizes) for name in kernel.arg_names}
    # As PyTorch's memory and these models' sizes are; else loads would not be pipelined.
    aligned = [
        (place,) for place, name in enumerate(signature) if signature[name][0] == "*" or "stride" in name
    ]
    attributes = {place: [["tt.divisibility", 16]] for place in aligned}
    source = ASTSource(kernel, signature, constexprs=sizes, attrs=attributes)
    return int(triton.compile(source, target=TARGET, options=options).metadata.shared)


def kind_of(name: str, sizes: dict[str, int]) -> str:
    if name in sizes:
        return "constexpr"
    if name in IN_BFLOAT16 + IN_FLOAT32:
        return "*bf16" if name in IN_BFLOAT16 else "*fp32"
    return "fp32" if name in FLOATS else "i32"


if __name__ == "__main__":
    main()
