"""timm and transformers, unchanged, use a model that `vit train` made.

    python examples/other_libraries.py [RUN]

Trains a small model on the digits inside scikit-learn if no run is given, writes it for both, and lets each
say what the test images show. Needs timm and transformers: pip install timm transformers
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import timm
import torch
from transformers import AutoModelForImageClassification

import vision_transformers
from vision_transformers import find_recipe, train
from vision_transformers.cli.main import main as vit
from vision_transformers.data.batches import normalise
from vision_transformers.data.images import ImagesInMemory
from vision_transformers.data.loading import load_data


def main() -> None:
    """Trains if need be, converts, and compares."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "run"
        if not run.exists():
            # The class token, since transformers' ViT has no other pool.
            recipe = find_recipe("digits")
            train(replace(recipe, model=replace(recipe.model, pool="class")), run)
        for library in ("timm", "huggingface"):
            target = str(Path(folder) / library)
            if vit(["convert", str(run), target, "--from", "native", "--to", library, "--verify"]):
                sys.exit(1)
        classifier = vision_transformers.load(run, device="cpu")
        recipe = vision_transformers.find_recipe("digits")
        test = load_data(recipe.data, classifier.preprocessing).test
        assert isinstance(test, ImagesInMemory)
        images = normalise(test.pixels, classifier.preprocessing)
        their_timm = timm.create_model(f"local-dir:{folder}/timm", pretrained=True).eval()
        their_vit = AutoModelForImageClassification.from_pretrained(f"{folder}/huggingface")
        with torch.no_grad():
            guesses = {
                "vision_transformers": classifier.model(images).argmax(dim=1),
                "timm": their_timm(images).argmax(dim=1),
                "transformers": their_vit(images).logits.argmax(dim=1),
            }
        for library, found in guesses.items():
            print(f"{library:<20} {(found == test.labels).float().mean():.2%} of {len(test)} test images")
        print(f"names in transformers: {their_vit.config.id2label}")


if __name__ == "__main__":
    main()
