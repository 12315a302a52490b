"""CIFAR-10 and CIFAR-100: 50,000 colour pictures of 32 x 32 pixels."""

from dataclasses import replace

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.source import DataSource
from vision_transformers.model.presets import preset
from vision_transformers.training.recipe import Optimizer, Recipe, Schedule


def cifar10() -> Recipe:
    """CIFAR-10 from scratch, with the plain ViT of arXiv 2112.13492: 9 layers of width 192, patches of 4 x 4.

    vit train cifar10

    Made for a GPU, and not measured there yet. On one core of an AMD EPYC, beside other work, three epochs of
    JPEG pixels took 53 minutes and came to 50.45 % of the test images
    (`--epochs 3 --precision bfloat16 --augmentation.rand-augment 0 --threads 1`).
    Where the original pixels are missing and `cifar10-jpeg` is there (a folder or a tar.gz of JPEG files),
    it takes those and says so: JPEG is lossy, and figures on it are not to be set beside others.
    """
    return Recipe(
        name="cifar10",
        model=preset("CIFAR", stochastic_depth=0.1),
        data=DataSource(name="cifar10", validation_fraction=0.04),
        preprocessing=Preprocessing(
            size=(32, 32), channels=3, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)
        ),
        augmentation=Augmentation(
            shift=4, flip=True, rand_augment=2, erasing=0.25, mixup=1.0, cutmix=1.0, mix_probability=0.5
        ),
        optimizer=Optimizer(name="adamw", learning_rate=1e-3, weight_decay=0.05),
        schedule=Schedule(shape="cosine", warmup=0.1),
        epochs=200,
        batch_size=128,
        label_smoothing=0.1,
    )


def cifar10_fast() -> Recipe:
    """CIFAR-10 in half an hour without a GPU: 82.15 % of the test images, mean of three seeds.

    vit train cifar10-fast

    81.94 to 82.39 %, JPEG pixels, in 27 minutes on 2 cores of an AMD EPYC with avx512_bf16. Six layers of
    width 128 on patches of 4 x 4, an attention pool, and Muon: few images a second make every one count.
    """
    recipe = cifar10()
    return replace(
        recipe,
        name="cifar10-fast",
        model=preset(
            "CIFAR",
            model_dimension=128,
            number_of_layers=6,
            number_of_heads=4,
            hidden_dimension=256,
            class_token=False,
            positions="sine-cosine",
            pool="attention",
        ),
        data=replace(recipe.data, validation_fraction=0.02),
        augmentation=Augmentation(shift=2, flip=True),
        optimizer=Optimizer(
            name="muon", learning_rate=6e-3, betas=(0.9, 0.95), muon_learning_rate=0.013, muon_momentum=0.9
        ),
        schedule=Schedule(shape="linear", warmup=0.1),
        epochs=30,
        evaluate_epochs=5,
        precision="bfloat16",
    )


def cifar100() -> Recipe:
    """CIFAR-100 with the recipe of `cifar10`. Not measured: its files cannot be had where this was written.

    vit train cifar100
    """
    recipe = cifar10()
    return replace(
        recipe,
        name="cifar100",
        model=replace(recipe.model, number_of_classes=100),
        data=replace(recipe.data, name="cifar100"),
    )
