"""Compiles the Triton kernels for the GPUs that they are for, which takes no GPU; prints their shared memory.

In bytes, of the hungriest one.
"""

from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from vision_transformers.model.kernels import biased_gelu_kernels
from vision_transformers.model.kernels import packed_attention_backward_kernels as backward
from vision_transformers.model.kernels import packed_attention_kernels as forward
from vision_transformers.model.kernels.operators import MEASURED_CAPABILITY

TARGET = GPUTarget("cuda", 10 * MEASURED_CAPABILITY[0] + MEASURED_CAPABILITY[1], 32)
TOKENS_AND_WIDTHS = [(50, 16), (90, 64), (197, 64), (226, 64)]
GELU = forward.Tiles(0, biased_gelu_kernels.WARPS, 1)
IN_BFLOAT16 = ("product", "gradient", "bias", "attended", "found", "result")
IN_FLOAT32 = ("statistics", "sums", "of_bias")
FLOATS = ("scale", "scale_of_exponents")


def main() -> None:
    found = []
    for tokens, width in TOKENS_AND_WIDTHS:
        room = forward.room_for(tokens)
        tiles = forward.FORWARD[room, width]
        parts = dict(zip(("FIRST", "SECOND", "THIRD"), forward.columns_for(tokens), strict=True))
        found.append(shared_memory(forward._attend, {"WIDTH": width, "ROWS": tiles.tokens, **parts}, tiles))
        tiles = backward.BACKWARD[room, width]
        rest = tokens % tiles.tokens
        sizes = {"WIDTH": width, "ROWS": room, "COLUMNS": tiles.tokens, "REST": forward.room_for(rest)}
        found.append(shared_memory(backward._attend_backward, sizes, tiles))
    found.append(shared_memory(biased_gelu_kernels._gelu, {"HIDDEN": 3072, "NUMBERS": 2048}, GELU))
    found.append(shared_memory(biased_gelu_kernels._gelu_backward, {"ROWS": 4, "COLUMNS": 512}, GELU))
    print(max(found))


def shared_memory(kernel: Any, sizes: dict[str, int], tiles: forward.Tiles) -> int:
    signature = {name: kind_of(name, sizes) for name in kernel.arg_names}
    # As PyTorch's memory and these models' sizes are; else loads would not be pipelined.
    aligned = [
        (place,) for place, name in enumerate(signature) if signature[name][0] == "*" or "stride" in name
    ]
    attributes = {place: [["tt.divisibility", 16]] for place in aligned}
    source = ASTSource(kernel, signature, constexprs=sizes, attrs=attributes)
    options = {"num_warps": tiles.warps, "num_stages": tiles.stages}
    return int(triton.compile(source, target=TARGET, options=options).metadata.shared)


def kind_of(name: str, sizes: dict[str, int]) -> str:
    if name in sizes:
        return "constexpr"
    if name in IN_BFLOAT16 + IN_FLOAT32:
        return "*bf16" if name in IN_BFLOAT16 else "*fp32"
    return "fp32" if name in FLOATS else "i32"


if __name__ == "__main__":
    main()
