"""What the attention weights cost where nobody asks for them, and what relevance costs where somebody does.

    python -m benchmarks.explaining_costs [--threads N] [--rounds N]

Training steps of a model whose attention can give its weights, beside a copy whose attention cannot; and
explaining by relevance beside a training step, 16 images of a ViT-S/16 at 224 x 224. The two of a pair take
turns; each pair gives a ratio of seconds, and the median is printed with its quartiles.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from benchmarks import record
from benchmarks.turns import number_of_rounds, take_turns
from torch import Tensor, nn

from vision_transformers.evaluation.speed import prepare
from vision_transformers.explain.attention_lrp import attention_lrp
from vision_transformers.explain.relevance import relevance
from vision_transformers.model.presets import preset
from vision_transformers.model.vit import ViT

CPU = torch.device("cpu")


class FusedOnlyAttention(nn.Module):
    """Self-attention that knows no weights."""

    def __init__(self, model_dimension: int, number_of_heads: int) -> None:
        super().__init__()
        self.number_of_heads = number_of_heads
        self.query_key_value = nn.Linear(model_dimension, 3 * model_dimension)
        self.projection = nn.Linear(model_dimension, model_dimension)

    def forward(
        self,
        sequence: Tensor,
        need_weights: bool,  # noqa: ARG002
        rotation: None,  # noqa: ARG002
        number_of_queries: int | None,
    ) -> tuple[Tensor, None]:
        """Called as ours is."""
        parts = self.query_key_value(sequence).unflatten(2, (3, self.number_of_heads, -1))
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)
        attended = F.scaled_dot_product_attention(queries[:, :, :number_of_queries], keys, values)
        return self.projection(attended.transpose(1, 2).flatten(2)), None


def main() -> None:
    """Measures both pairs and prints them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=number_of_rounds, default=40)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    slow_rounds = max(options.rounds // 5, 3)
    results = {
        "training with the weights' code / without": ratios(*training_pair(), options.rounds),
        "relevance / training step, ViT-S/16, 16 images": ratios(*explaining_pair(relevance), slow_rounds),
        "attention_lrp / training step, ViT-S/16, 16 images": ratios(
            *explaining_pair(attention_lrp), slow_rounds
        ),
    }
    lines = []
    for name, values in results.items():
        low, middle, high = statistics.quantiles(values, n=4)
        lines.append(f"{name}: {middle:.3f} (quartiles {low:.3f} to {high:.3f}, {len(values)} pairs)")
        print(lines[-1], flush=True)
    record.write("explaining-costs.json", {"title": record.title(CPU), "ratios": results})


def training_pair() -> tuple[Callable[[], None], Callable[[], None]]:
    """A step of the MNIST recipe's model, and of its copy."""
    ours, other = ViT.from_config(preset("MNIST")), ViT.from_config(preset("MNIST"))
    for layer in other.transformer.layers:
        layer.attention = FusedOnlyAttention(ours.config.model_dimension, ours.config.number_of_heads)
    return training_step(ours, 256), training_step(other, 256)


def explaining_pair(explain: Callable[..., Tensor]) -> tuple[Callable[[], None], Callable[[], None]]:
    """An explanation, and a step, of as many images."""
    model = ViT.from_config(preset("ViT-S/16"))
    images, labels = torch.randn(16, 3, 224, 224), torch.randint(0, 1000, (16,))

    def explained() -> None:
        explain(model, images, labels)

    return explained, training_step(model, len(images))


def training_step(model: ViT, batch_size: int) -> Callable[[], None]:
    """One step of AdamW, of a copy."""
    shape = (model.config.number_of_channels, *model.config.max_image_shape)
    return prepare(model, shape, batch_size, "training", "float32", False, CPU)


def ratios(first: Callable[[], None], second: Callable[[], None], rounds: int) -> list[float]:
    """Seconds of the first over seconds of the second, in turns; the order of the two alternates."""
    seconds = take_turns({"first": first, "second": second}, CPU, rounds)
    return [one / other for one, other in zip(seconds["first"], seconds["second"], strict=True)]


if __name__ == "__main__":
    main()
