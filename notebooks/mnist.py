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
# The model of the paper, [An Image is Worth 16x16 Words](https://arxiv.org/abs/2010.11929), built from its parts, trained on MNIST, and then looked at: its curves, its guesses, its mistakes, and where it attends. [The guide](../docs/guide.md) explains each part.
#
# MNIST is looked for where `$VISION_TRANSFORMERS_DATA` says; else it is downloaded. With these settings, training takes some minutes on two CPU cores.

# %% tags=["parameters"]
epochs = 10
steps = None  # optimizer steps, in place of epochs
precision = "bfloat16"  # "float32" where the CPU has no instructions for bfloat16
run_folder = None  # a new one under runs/

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from torch import nn

import vision_transformers
from vision_transformers import (
    ClassificationHead,
    CLSToken,
    ConvolutionalFeatureExtractor,
    LearnablePositionalEncoding,
    LinearFeatureExtractor,
    Transformer,
    ViT,
    find_recipe,
    number_of_patches,
    preset,
    train,
)
from vision_transformers.data.batches import normalise
from vision_transformers.data.loading import load_data
from vision_transformers.report.metrics import read_metrics

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6b6b6b"
plt.rcParams |= {
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.edgecolor": "#b0b0b0",
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "xtick.color": GREY,
    "ytick.color": GREY,
}

# %% [markdown]
# ## From a picture to a sequence
#
# A transformer reads a sequence of vectors. So a picture of 28 x 28 pixels is cut into 16 patches of 7 x 7, read in rows from the top left. Here is a digit of the test part, whole and cut.

# %%
recipe = find_recipe("mnist-plain")
data = load_data(recipe.data, recipe.preprocessing)
digits = normalise(data.test.pixels[:8], recipe.preprocessing)  # (8, 1, 28, 28)

extractor = LinearFeatureExtractor(model_dimension=128, patch_shape=(7, 7), number_of_channels=1)
patches = extractor.patches(digits)  # (8, 16, 49)
tokens = extractor(digits)  # (8, 16, 128)

figure = plt.figure(figsize=(9, 1.9))
left, right = figure.subfigures(1, 2, width_ratios=(1, 4.4))
whole, parts = left.subplots(), right.subplots(2, 8)
whole.imshow(digits[0, 0], cmap="gray_r")
for edge in (6.5, 13.5, 20.5):
    whole.axhline(edge, color=BLUE, linewidth=0.8)
    whole.axvline(edge, color=BLUE, linewidth=0.8)
for number, axes in enumerate(parts.flat):
    axes.imshow(patches[0, number].reshape(7, 7), cmap="gray_r", vmin=digits[0].min(), vmax=digits[0].max())
    axes.set_title(number + 1, fontsize=8, color=GREY, pad=2)
for axes in (whole, *parts.flat):
    axes.set_xticks([])
    axes.set_yticks([])
plt.show()

# %% [markdown]
# One linear layer, the same for all patches, makes each a token of 128 numbers. The same can be said as a convolution whose filters are as large as a patch, and step as far:

# %%
convolution = extractor.to_convolutional()
assert isinstance(convolution, ConvolutionalFeatureExtractor)
assert torch.allclose(convolution(digits), tokens, atol=1e-5)
print(convolution.projector)
print("tokens:", tuple(tokens.shape))

# %% [markdown]
# ## The model, from its parts
#
# A class token is put in front of the 16, so that there is one whose task it is to say the class. Positions are added, for attention does not know where a token stands. Four encoders follow, and a linear layer on what the class token has become: a number for each digit.


# %%
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

    def forward(self, image):
        sequence = self.class_token(self.patches(image))  # (batch, 17, 128)
        sequence, _ = self.transformer(self.positions(sequence))
        return self.head(sequence)  # (batch, 10)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


by_hand = VisionTransformer().eval()
for name, part in by_hand.named_children():
    print(f"{name:<12}{count(part):>9,}")
print(f"{'all':<12}{count(by_hand):>9,} parameters")

# %% [markdown]
# `ViT` is these parts, put together, and a preset is its sizes under a name. The preset `MNIST` differs from the paper in two choices, which here are the paper's again. With the same numbers in it, the model gives the same answers.

# %%
config = preset("MNIST", positions="learnable", pool="class")
model = ViT.from_config(config).eval()
assert count(model) == count(by_hand)

parameters = by_hand.state_dict()
parameters["prefix_tokens.class_token.tokens"] = parameters.pop("class_token.tokens")
model.load_state_dict(parameters)
with torch.no_grad():
    assert torch.allclose(model(digits), by_hand(digits), atol=1e-5)
print(f"{count(model):,} parameters, and the same logits")

# %% [markdown]
# ## Training
#
# A recipe says everything about a training: the images and how they are varied, the optimizer, the schedule. `mnist-plain` is one; here it gets the model above. It holds 1,200 training images out to validate. `test="validation"` looks at the test images after every epoch too: for the picture below, and nothing is chosen by it.

# %%
recipe = replace(recipe, model=config, epochs=epochs, steps=steps, precision=precision, test="validation")
result = train(recipe, run_folder)
print(f"test accuracy {result.metrics['test_accuracy']:.2%}, loss {result.metrics['test_loss']:.4f}")

# %% [markdown]
# ## How it learned
#
# The model learns from images that are turned, scaled, slanted, bent and shifted, and from labels that are smoothed: even a perfect guess then has a loss. So the loss on them stays above the others, and the gap says nothing about overfitting.

# %%
rows = read_metrics(result.folder / "metrics.jsonl")
_, panels = plt.subplots(1, 2, figsize=(9, 3.3))
for axes, measurement, number in zip(panels, ("loss", "accuracy"), ("{:.3f}", "{:.2%}"), strict=True):
    for part, color, line in (("train", BLUE, "-"), ("validation", ORANGE, "o-"), ("test", GREEN, "s-")):
        key = f"{part}_{measurement}"
        points = [(row["epoch"], row[key]) for row in rows if key in row]
        label = f"{part} {number.format(points[-1][1])}"
        axes.plot(*zip(*points, strict=True), line, color=color, markersize=4, linewidth=1.4, label=label)
    axes.set_title(measurement.capitalize(), loc="left", fontsize=11, fontweight="bold")
    axes.set_xlabel("epoch", color=GREY)
    axes.set_xlim(left=0)
    axes.grid()
    axes.tick_params(length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
loss, accuracy = panels
loss.set_yscale("log")
loss.set_yticks([0.05, 0.1, 0.2, 0.5, 1, 2], ["0.05", "0.1", "0.2", "0.5", "1", "2"])
loss.minorticks_off()
accuracy.set_ylim(0.9, 1)
accuracy.yaxis.set_major_formatter("{x:.0%}")
plt.show()

# %% [markdown]
# ## What it says
#
# `load` reads what the run left: the model, its preprocessing and the names of the classes. A probability is what the model says at the temperature that was fitted to the validation images: of a hundred guesses at 90 %, about ninety should be right.

# %%
classifier = vision_transformers.load(result.folder)
test = data.test
predictions = classifier.predict(test.pixels)
truths = [classifier.classes[label] for label in test.labels]


def show(places):
    """Test digits with the model's guess and its probability; where it is wrong, in orange with the truth."""
    lines = -(-len(places) // 8)
    _, panels = plt.subplots(lines, 8, figsize=(9, 1.55 * lines), squeeze=False)
    for axes in panels.flat:
        axes.axis("off")
    for axes, place in zip(panels.flat, places, strict=False):
        guess, truth = predictions[place], truths[place]
        axes.imshow(test.pixels[place, 0], cmap="gray_r")
        is_right = guess.label == truth
        title = f"{guess.label}   {guess.probability:.1%}" + ("" if is_right else f"\nit is {truth}")
        axes.set_title(title, fontsize=9, color="#222222" if is_right else "#b3470b")
    plt.show()


show(range(16))

# %% [markdown]
# ## Where it is wrong
#
# Its mistakes on the test images, the surest first. Some are digits that people would not agree about either.

# %%
pairs = enumerate(zip(predictions, truths, strict=True))
mistakes = [place for place, (guess, truth) in pairs if guess.label != truth]
mistakes.sort(key=lambda place: predictions[place].probability, reverse=True)
print(f"{len(mistakes)} of {len(test):,} test images; the first {len(mistakes[:24])}:")
show(mistakes[:24])

# %% [markdown]
# ## Where it attends
#
# Asked with `need_weights=True`, the model also gives the weights of its attention: for every layer and head, how much each token takes from each other. Below is the last layer, and what the class token takes there from the 16 patches: head by head, and the mean of the heads. What is left to 100 % it takes from itself.
#
# It shows where information is mixed, not why a class is chosen: by the last layer, the token of a patch has heard all others, and is no longer about its own pixels alone.

# %%
places = [0, 4, mistakes[0]]
with torch.no_grad():
    images = normalise(test.pixels[places], classifier.preprocessing).to(classifier.device)
    _, weights = classifier.model(images, need_weights=True)
assert len(weights) == 4  # layers
from_class_token = weights[-1][:, :, 0].cpu()  # (3, 4, 17): images, heads, keys
to_patches = from_class_token[:, :, 1:].unflatten(2, classifier.model.config.grid)  # (3, 4, 4, 4)
maps = torch.cat([to_patches, to_patches.mean(dim=1, keepdim=True)], dim=1)

colors = LinearSegmentedColormap.from_list("paper to orange", ["white", "#F0A15B", ORANGE])
scale = Normalize(0, maps.max().item())
figure, panels = plt.subplots(3, 6, figsize=(9, 5.1))
for place, line, attention in zip(places, panels, maps, strict=True):
    paper = 1 - test.pixels[place, 0, :, :, None] / 255  # 0 where there is ink
    line[0].imshow(paper, cmap="gray")
    line[0].set_title(f"it is {truths[place]}\nguess {predictions[place].label}", fontsize=9)
    names = ("head 1", "head 2", "head 3", "head 4", "mean of heads")
    for axes, name, part in zip(line[1:], names, attention, strict=True):
        squares = colors(scale(part.numpy()))[..., :3].repeat(7, axis=0).repeat(7, axis=1)
        axes.imshow(squares * paper.numpy())
        axes.set_title(f"{name}\nitself {1 - part.sum().item():.0%}", fontsize=9, color=GREY)
for axes in panels.flat:
    axes.set_xticks([])
    axes.set_yticks([])
bar = figure.colorbar(ScalarMappable(scale, colors), ax=panels, shrink=0.5, format="{x:.0%}")
bar.outline.set_visible(False)
bar.ax.tick_params(length=0)
plt.show()
