"""Training steps a second of our MNIST model, beside the same sizes on `torch.nn.MultiheadAttention`.

The opponents take turns, step by step, so that a machine whose speed drifts favours nobody; each pair gives a
ratio, and the table gives medians. Run by `make bench`; writes benchmarks/results/<date>-training-step.json.
"""

import json
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from vision_transformers.model.vit import ViT
from vision_transformers.runtime.attention import attention_backend
from vision_transformers.runtime.device import describe_device

RESULTS = Path(__file__).parent / "results"
WARM_UP, ROUNDS = 3, 15


class TorchAttentionEncoder(nn.Module):
    """The same block, with PyTorch's own attention module."""

    def __init__(self, model_dimension: int, hidden_dimension: int, number_of_heads: int) -> None:
        super().__init__()
        self.normalization = nn.LayerNorm(model_dimension)
        self.attention = nn.MultiheadAttention(model_dimension, number_of_heads, batch_first=True)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(model_dimension),
            nn.Linear(model_dimension, hidden_dimension),
            nn.GELU(),
            nn.Linear(hidden_dimension, model_dimension),
        )

    def forward(self, sequence: Tensor, need_weights: bool, rotation: None) -> tuple[Tensor, None]:  # noqa: ARG002
        """Called as ours is."""
        normalized = self.normalization(sequence)
        sequence = sequence + self.attention(normalized, normalized, normalized, need_weights=False)[0]
        return sequence + self.feed_forward(sequence), None


def models() -> dict[str, nn.Module]:
    """Equal sizes: width 128, 4 layers, 8 heads, hidden width 64, patches of 4 x 4 of 28 x 28."""
    ours, torch_attention = (ViT((4, 4), 128, 4, 8, 64, 1, 10) for _ in range(2))
    torch_attention.transformer.layers = nn.ModuleList(TorchAttentionEncoder(128, 64, 8) for _ in range(4))
    return {"vision_transformers": ours, "torch.nn.MultiheadAttention": torch_attention}


def training_step(model: nn.Module, batch_size: int) -> Callable[[], None]:
    """One step of AdamW on a fixed random batch."""
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    images, labels = torch.randn(batch_size, 1, 28, 28), torch.randint(0, 10, (batch_size,))

    def step() -> None:
        with attention_backend(torch.device("cpu"), "float32", 50):
            F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(batch_size: int) -> dict[str, list[float]]:
    """Images a second of each, for each round of turns."""
    steps = {name: training_step(model, batch_size) for name, model in models().items()}
    speeds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(WARM_UP + ROUNDS):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if turn >= WARM_UP:
                speeds[name].append(batch_size / (time.perf_counter() - began))
    return speeds


def main() -> None:
    """Prints the table and writes it."""
    torch.manual_seed(0)
    machine = f"{describe_device(torch.device('cpu'))}, {torch.get_num_threads()} threads"
    table = Table("batch", "model", "images/s", "ours / it", title=f"Training, float32, eager: {machine}")
    results = []
    for batch_size in (64, 256):
        speeds = measure(batch_size)
        ours = speeds["vision_transformers"]
        for name, theirs in speeds.items():
            ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
            speed = statistics.median(theirs)
            table.add_row(str(batch_size), name, f"{speed:,.0f}", f"{ratio:.2f}")
            results.append({"batch": batch_size, "model": name, "images_per_second": speed, "ratio": ratio})
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    today = datetime.now(UTC).date().isoformat()
    content = {
        "date": today,
        "machine": machine,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    path = RESULTS / f"{today}-training-step.json"
    path.write_text(json.dumps({**content, "results": results}, indent=2) + "\n", encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
