"""MNIST and Fashion-MNIST: 60,000 grey pictures of 28 x 28 pixels."""

from dataclasses import replace

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.source import DataSource
from vision_transformers.model.config import ViTConfig
from vision_transformers.model.presets import preset
from vision_transformers.training.recipe import Optimizer, Recipe, Schedule

PREPROCESSING = Preprocessing(size=(28, 28), channels=1, mean=(0.1307,), std=(0.3081,))


def mnist() -> Recipe:
    """Handwritten digits, turned, scaled, slanted, bent and shifted: 99.63 % of the test images, three seeds.

    vit train mnist

    A moving average of the weights, as it ends (99.60 to 99.65 %), bfloat16 autocast; 9 minutes on two cores
    of an Intel Xeon with AMX, from typing the command to its end. In float32 where the CPU has no
    instructions for bfloat16. A hybrid (section 3.1): a stem of convolutions makes 16 tokens of 8 x 8 pixels,
    at 32 x 32, which know their surroundings from the start. Weight decay for Muon's matrices, too, and half
    of the rates of `mnist-plain`. Chosen by held-out training images (docs/log.md, 2026-11-26 and 28).
    """
    recipe = mnist_plain()
    return replace(
        recipe,
        name="mnist",
        model=replace(recipe.model, patch_extractor="stem", patch_shape=(8, 8), max_image_shape=(32, 32)),
        preprocessing=replace(PREPROCESSING, size=(32, 32)),
        optimizer=replace(
            recipe.optimizer, learning_rate=3e-3, muon_learning_rate=0.01, muon_weight_decay=0.1
        ),
        average_decay=0.999,
        epochs=20,
    )


def mnist_plain() -> Recipe:
    """Handwritten digits, from patches alone, without convolutions: 99.49 % of the test images, six seeds.

    vit train mnist-plain

    99.46 to 99.54 %; 8 minutes on two cores of an Intel Xeon with AMX, 13 of an AMD EPYC with avx512_bf16,
    under the name of `mnist` (docs/log.md, 2026-11-25 and 28). One linear layer from patches of 7 x 7 to
    tokens (Equation 1), sine-cosine positions, an attention pool, and Muon for the matrices of the blocks.
    """
    return Recipe(
        name="mnist-plain",
        model=preset("MNIST", class_token=False, pool="attention"),
        data=DataSource(name="mnist", validation_fraction=0.02),
        preprocessing=PREPROCESSING,
        augmentation=Augmentation(rotation=15.0, scaling=0.15, shear=15.0, elastic=1.0, shift=2),
        optimizer=Optimizer(name="muon", learning_rate=6e-3, betas=(0.9, 0.95), muon_momentum=0.9),
        schedule=Schedule(shape="linear", warmup=0.1),
        epochs=36,
        batch_size=256,
        label_smoothing=0.05,
        precision="bfloat16-where-native",
    )


def mnist_best() -> Recipe:
    """Handwritten digits, as well as they are read here: 99.65 % of the test images, three seeds.

    vit train mnist-best

    99.60 to 99.69 %; 49 minutes on one core of an AMD EPYC with avx512_bf16. The recipe `mnist`, twice as
    long.
    """
    return replace(mnist(), name="mnist-best", epochs=40, evaluate_epochs=4)


def mnist_fast() -> Recipe:
    """Handwritten digits, soon: 98.58 % of the test images, mean of five seeds.

    vit train mnist-fast

    98.46 to 98.75 %; 55 s on 2 cores of an AMD EPYC with avx512_bf16, start-up included, and 26 s on 2 cores
    with AMX (98.53 %). A layer less than `mnist-plain`, smaller batches and two epochs: chosen on held-out
    training images.
    """
    recipe = mnist_plain()
    return replace(
        recipe,
        name="mnist-fast",
        model=replace(recipe.model, number_of_layers=3),
        augmentation=Augmentation(shift=1),
        optimizer=replace(recipe.optimizer, learning_rate=9e-3),
        epochs=2,
        evaluate_epochs=2,
        batch_size=128,
    )


def fashion_mnist() -> Recipe:
    """Pictures of clothes, with the recipe of `mnist`, but mirrored and shifted only.

    Not measured: its files cannot be had where this was written.

    vit train fashion-mnist
    """
    recipe = mnist()
    return replace(
        recipe,
        name="fashion-mnist",
        data=replace(recipe.data, name="fashion-mnist"),
        preprocessing=replace(recipe.preprocessing, mean=(0.2860,), std=(0.3530,)),
        augmentation=Augmentation(shift=1, flip=True),
    )


def starting_mnist() -> Recipe:
    """The experiment that this project began from: 96.83 % last and best, one seed; published: 96.99 % last.

    vit train starting-mnist

    23 minutes on 2 cores of an AMD EPYC, most of it for drawing dropout's masks.

    Constant Adam, dropout 0.4, no augmentation, no validation; the test set is looked at after every epoch,
    as it was then.
    """
    return Recipe(
        name="starting-mnist",
        model=ViTConfig(
            patch_shape=(4, 4),
            model_dimension=128,
            number_of_layers=4,
            number_of_heads=8,
            hidden_dimension=64,
            number_of_channels=1,
            number_of_classes=10,
            dropout=0.4,
            patch_extractor="convolutional",
        ),
        data=DataSource(name="mnist", validation_fraction=0.0),
        preprocessing=PREPROCESSING,
        optimizer=Optimizer(name="adamw", learning_rate=1e-3, weight_decay=0.0, clip=0.0),
        schedule=Schedule(shape="constant", warmup=0.0),
        epochs=10,
        batch_size=64,
        test="validation",
    )
