"""CIFAR-10 and CIFAR-100: 50,000 colour pictures of 32 x 32 pixels."""

from dataclasses import replace

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.source import DataSource
from vision_transformers.model.presets import preset
from vision_transformers.training.recipe import Optimizer, Recipe, Schedule

PREPROCESSING = Preprocessing(
    size=(32, 32), channels=3, mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)
)


def cifar10() -> Recipe:
    """CIFAR-10 from scratch on a GPU, a plain ViT.

    vit train cifar10

    Eight layers of width 384 on patches of 4 x 4 with rotary positions, an attention pool, Muon for the
    matrices of the blocks; RandAugment, mixup and CutMix. It was not run to its end yet: 24 epochs, as a run
    of their own without these three, came to 84.7 % of 5,000 held-out training images, JPEG pixels
    (docs/log.md, 2026-11-26).
    Where the original pixels are missing and `cifar10-jpeg` is there (a folder or a tar.gz of JPEG files),
    it takes those and says so: JPEG is lossy, and figures on it are not to be set beside others.
    """
    return Recipe(
        name="cifar10",
        model=preset(
            "CIFAR",
            model_dimension=384,
            number_of_layers=8,
            number_of_heads=6,
            hidden_dimension=768,
            class_token=False,
            positions="rotary",
            pool="attention",
            stochastic_depth=0.1,
        ),
        data=DataSource(name="cifar10", validation_fraction=0.02),
        preprocessing=PREPROCESSING,
        augmentation=Augmentation(
            shift=4,
            flip=True,
            rand_augment=2,
            erasing=0.25,
            mixup=0.8,
            cutmix=1.0,
            mix_probability=0.5,
        ),
        optimizer=Optimizer(
            name="muon",
            learning_rate=3e-3,
            betas=(0.9, 0.95),
            muon_learning_rate=0.02,
            muon_momentum=0.95,
            muon_weight_decay=0.05,
        ),
        schedule=Schedule(shape="linear", warmup=0.1),
        epochs=400,
        evaluate_epochs=20,
        batch_size=512,
        label_smoothing=0.1,
        average_decay=0.999,
    )


def cifar10_minute() -> Recipe:
    """The recipe `cifar10` for a minute of one H200: a smaller model, which is not compiled.

    vit train cifar10-minute

    Not run to its end yet: the number of epochs is a guess.
    """
    recipe = cifar10()
    return replace(
        recipe,
        name="cifar10-minute",
        model=preset("CIFAR", class_token=False, positions="sine-cosine", pool="attention"),
        epochs=100,
        compile="off",
    )


def cifar10_fast() -> Recipe:
    """CIFAR-10 in half an hour without a GPU: 82.15 % of the test images, mean of three seeds.

    vit train cifar10-fast

    81.94 to 82.39 %, JPEG pixels, in 27 minutes on 2 cores of an AMD EPYC with avx512_bf16. Six layers of
    width 128 on patches of 4 x 4, an attention pool, and Muon: few images a second make every one count.
    """
    return Recipe(
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
        data=DataSource(name="cifar10", validation_fraction=0.02),
        preprocessing=PREPROCESSING,
        augmentation=Augmentation(shift=2, flip=True),
        optimizer=Optimizer(
            name="muon", learning_rate=6e-3, betas=(0.9, 0.95), muon_learning_rate=0.013, muon_momentum=0.9
        ),
        schedule=Schedule(shape="linear", warmup=0.1),
        epochs=30,
        evaluate_epochs=5,
        batch_size=128,
        label_smoothing=0.1,
        precision="bfloat16-where-native",
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
