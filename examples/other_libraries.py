"""Use a model that `vit train` made in timm and transformers, both unchanged.

    python examples/other_libraries.py [RUN]

Converts RUN, a run on scikit-learn's digits with a class token, to the formats of both, and prints the
accuracy of each on the test images. Without RUN, trains such a model first. Needs:
pip install timm transformers
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
    """Trains a model if there is none, converts it, and compares the accuracies."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "run"
        if not run.exists():
            # With a class token, the only pool that transformers' ViT has.
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
