"""Start-up: the command's help, and the time to a first training step beside everybody else's.

    python -m benchmarks.start [--rounds N]

Each is a new process; they take turns. A first step: import, build the MNIST model, one AdamW step on 64
random images, in float32, eager. Writes benchmarks/results/start.json.
"""

import argparse
import subprocess
import sys
from functools import partial
from pathlib import Path

import torch
from benchmarks import record
from benchmarks.opponents import OPPONENTS
from benchmarks.speed import title
from benchmarks.turns import Spread, number_of_rounds, take_turns

FIRST_STEP = """
import torch
import torch.nn.functional as F
{build}
images, labels = torch.randn(64, 1, 28, 28), torch.zeros(64, dtype=torch.long)
optimizer = torch.optim.AdamW(model.parameters())
logits = model(images)
F.cross_entropy(getattr(logits, "logits", logits), labels).backward()
optimizer.step()
"""
BUILDS = {
    "vision_transformers": """
from vision_transformers import ViT
model = ViT((4, 4), 128, 4, 8, 64, 1, 10)
""",
    "timm": """
from timm.models.vision_transformer import VisionTransformer
model = VisionTransformer(img_size=28, patch_size=4, in_chans=1, num_classes=10, embed_dim=128, depth=4,
                          num_heads=8, mlp_ratio=0.5)
""",
    "torchvision": """
from torchvision.models import VisionTransformer
model = VisionTransformer(28, 4, 4, 8, 128, 64, num_classes=10)
model.conv_proj = torch.nn.Conv2d(1, 128, 4, 4)
""",
    "transformers": """
from transformers import ViTConfig, ViTForImageClassification
model = ViTForImageClassification(ViTConfig(image_size=28, patch_size=4, num_channels=1, hidden_size=128,
    num_hidden_layers=4, num_attention_heads=8, intermediate_size=64, num_labels=10))
""",
    "vit-pytorch": """
from vit_pytorch import ViT
model = ViT(image_size=28, patch_size=4, num_classes=10, dim=128, depth=4, heads=8, mlp_dim=64, channels=1,
            dim_head=16)
""",
}
HELP = "vit --help"


def main() -> None:
    """Prints seconds and writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=number_of_rounds, default=7)
    rounds = parser.parse_args().rounds
    assert set(BUILDS) < set(OPPONENTS)
    vit = str(Path(sys.executable).with_name("vit"))
    commands = {HELP: [vit, "--help"]} | {
        name: [sys.executable, "-c", FIRST_STEP.format(build=build)] for name, build in BUILDS.items()
    }
    device = torch.device("cpu")
    print(heading := title(device))
    steps = {
        name: partial(subprocess.run, command, check=True, capture_output=True)
        for name, command in commands.items()
    }
    seconds = take_turns(steps, device, rounds, warm_up=1)
    for name, values in seconds.items():
        what = name if name == HELP else f"first training step, {name}"
        print(f"{what}: {Spread.of(values)} s")
    record.write(
        "start.json",
        record.read("start.json") | {record.machine(device): {"title": heading, "seconds": seconds}},
    )


if __name__ == "__main__":
    main()
