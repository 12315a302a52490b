# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A Vision Transformer that reads handwritten digits
#
# This notebook builds the model from its parts, trains it on MNIST, and looks at what it learned: its curves, its
# guesses, its mistakes, and where it attends. [The guide](../docs/guide.md) explains each part.
#
# MNIST is looked for where `$VISION_TRANSFORMERS_DATA` says, else it is downloaded. With the settings below, training
# takes some minutes on two CPU cores.

# %% tags=["parameters"]
epochs = 10
steps = None  # a number ends training early
run_folder = None  # a new one under runs/

# %% [markdown]
# ## The model, from its parts
#
# An image of 28 x 28 pixels is cut into 16 patches of 7 x 7; each becomes a token of 128 numbers. A class token is put
# in front, positions are added, four encoders follow, and a linear layer on the class token gives a number for each
# digit.

# %%
import torch
from torch import nn

from vision_transformers import (
    ClassificationHead,
    CLSToken,
    LearnablePositionalEncoding,
    LinearFeatureExtractor,
    Transformer,
    ViT,
    number_of_patches,
)


class VisionTransformer(nn.Module):
    """The model of the paper, in the sizes of this notebook."""

    def __init__(self):
        super().__init__()
        self.patches = LinearFeatureExtractor(model_dimension=128, patch_shape=(7, 7), number_of_channels=1)
        self.class_token = CLSToken(model_dimension=128)
        self.positions = LearnablePositionalEncoding(
            model_dimension=128, sequence_length_limit=number_of_patches((28, 28), (7, 7))
        )
        self.transformer = Transformer(
            model_dimension=128, hidden_dimension=256, number_of_layers=4, number_of_heads=4
        )
        self.head = ClassificationHead(model_dimension=128, number_of_classes=10)

    def forward(self, image, need_weights=False):
        sequence = self.positions(self.class_token(self.patches(image)))
        sequence, weights = self.transformer(sequence, need_weights)
        logits = self.head(sequence)
        return (logits, weights) if need_weights else logits


by_hand = VisionTransformer().eval()
print(f"{sum(parameter.numel() for parameter in by_hand.parameters()):,} parameters")
for name, part in by_hand.named_children():
    print(f"  {name:<12} {sum(parameter.numel() for parameter in part.parameters()):>8,}")

# %% [markdown]
# `ViT` is these parts, put together. With the same numbers in it, it gives the same answers.

# %%
model = ViT(
    patch_shape=(7, 7),
    model_dimension=128,
    number_of_layers=4,
    number_of_heads=4,
    hidden_dimension=256,
    number_of_channels=1,
    number_of_classes=10,
    max_image_shape=(28, 28),
).eval()
names = {
    "class_token.tokens": "prefix_tokens.class_token.tokens",
}
model.load_state_dict({names.get(name, name): value for name, value in by_hand.state_dict().items()})
images = torch.rand(8, 1, 28, 28)
with torch.no_grad():
    difference = (model(images) - by_hand(images)).abs().max().item()
assert difference < 1e-5
print(f"largest difference of logits: {difference:.1e}")

# %% [markdown]
# ## Training
#
# A recipe says everything about a training: the data, how images are varied, the optimizer, the schedule. `mnist` is
# one; here it gets the model above. `test="validation"` looks at the test images after every epoch, for the picture
# below only: nothing is chosen by them.

# %%
from dataclasses import replace

from vision_transformers import find_recipe, train

recipe = find_recipe("mnist")
recipe = replace(recipe, model=model.config, epochs=epochs, steps=steps, test="validation")
result = train(recipe, run_folder)
print(f"test accuracy {result.metrics['test_accuracy']:.2%}, loss {result.metrics['test_loss']:.4f}")

# %% [markdown]
# ## How it learned
#
# The training images are shifted at random and their labels smoothed, so that their loss stays above the others.

# %%
import matplotlib.pyplot as plt

from vision_transformers.report.metrics import read_metrics

rows = read_metrics(result.folder / "metrics.jsonl")
_, panels = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
for axes, measurement in zip(panels, ("loss", "accuracy"), strict=True):
    for part, color in (("train", "#0072B2"), ("validation", "#D55E00"), ("test", "#009E73")):
        points = [(row["epoch"], row[key]) for row in rows if (key := f"{part}_{measurement}") in row]
        marker = "" if part == "train" else "o"
        axes.plot(*zip(*points, strict=True), color=color, marker=marker, markersize=4, label=part)
    axes.set_title(measurement)
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
panels[1].set_ylim(0.9, 1.002)
panels[0].legend(frameon=False)
plt.show()

# %% [markdown]
# ## What it says
#
# `load` reads the model that the run ended with, its preprocessing and its class names. Its probabilities are at the
# temperature that the run fitted to its validation images.

# %%
import vision_transformers
from vision_transformers.data.loading import load_data

classifier = vision_transformers.load(result.folder)
test = load_data(recipe.data, recipe.preprocessing).test
predictions = classifier.predict(test.pixels)


def show(places, columns=8):
    """Digits with the model's guess: green if it is right, red with the truth if not."""
    rows = -(-len(places) // columns)
    _, panels = plt.subplots(rows, columns, figsize=(1.35 * columns, 1.75 * rows), layout="constrained")
    for axes in panels.flat:
        axes.axis("off")
    for axes, place in zip(panels.flat, places, strict=False):
        guess, truth = predictions[place], classifier.classes[test.labels[place]]
        right = guess.label == truth
        axes.imshow(test.pixels[place, 0], cmap="gray_r")
        axes.set_title(
            f"{guess.label}  {guess.probability:.1%}" + ("" if right else f"\nis {truth}"),
            color="#00734f" if right else "#b3470b",
            fontsize=9,
        )
    plt.show()


show(range(16))

# %% [markdown]
# ## Where it is wrong
#
# The mistakes, the surest first.

# %%
mistakes = [
    place
    for place, prediction in enumerate(predictions)
    if prediction.label != classifier.classes[test.labels[place]]
]
mistakes.sort(key=lambda place: -predictions[place].probability)
print(f"{len(mistakes)} of {len(test):,} test images")
show(mistakes[:24])

# %% [markdown]
# ## Where it attends
#
# Asked for, the model gives the weights of its attention: for every layer and head, how much each token takes from
# each other. Below, for the last layer, what the class token takes from the 16 patches, head by head and on average.
# It shows where information is mixed, not why a class is chosen.

# %%
from vision_transformers.data.batches import normalise

place = 0
with torch.no_grad():
    _, weights = classifier.model(
        normalise(test.pixels[place : place + 1], classifier.preprocessing), need_weights=True
    )
last = weights[-1][0]  # heads, queries, keys
rows_of_patches, columns_of_patches = classifier.model.config.grid
from_class_token = last[:, 0, 1:].unflatten(1, (rows_of_patches, columns_of_patches))

_, panels = plt.subplots(1, 6, figsize=(11, 2.3), layout="constrained")
panels[0].imshow(test.pixels[place, 0], cmap="gray_r")
panels[0].set_title(f"guess {predictions[place].label}", fontsize=10)
titles = [*(f"head {head + 1}" for head in range(len(last))), "mean of heads"]
for axes, title, attention in zip(
    panels[1:], titles, [*from_class_token, from_class_token.mean(dim=0)], strict=True
):
    axes.imshow(test.pixels[place, 0], cmap="gray_r", extent=(0, 28, 28, 0))
    axes.imshow(attention, cmap="magma", alpha=0.6, extent=(0, 28, 28, 0))
    axes.set_title(f"{title}\n{attention.sum():.0%} on patches", fontsize=9)
for axes in panels:
    axes.axis("off")
plt.show()
