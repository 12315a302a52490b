"""Your own pictures, in a folder for each class."""

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.source import DataSource
from vision_transformers.model.presets import preset
from vision_transformers.training.recipe import Optimizer, Recipe, Schedule

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def folder() -> Recipe:
    """A ViT-Ti/16 from scratch on PATH/train/<class>/* (with val or test), or on PATH/<class>/*.

    vit train folder --data.path PATH

    From scratch a Vision Transformer wants many thousands of pictures, and a GPU.
    Not measured: it depends on the pictures.
    """
    return Recipe(
        name="folder",
        model=preset("ViT-Ti/16", number_of_classes=0, stochastic_depth=0.1),
        data=DataSource(name="folder"),
        preprocessing=Preprocessing(
            size=(224, 224),
            channels=3,
            crop="center",
            crop_fraction=0.875,
            interpolation="bicubic",
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
        ),
        augmentation=Augmentation(
            resized_crop=(0.2, 1.0), flip=True, rand_augment=2, erasing=0.25, mixup=0.2
        ),
        optimizer=Optimizer(name="adamw", learning_rate=1e-3, weight_decay=0.05),
        schedule=Schedule(shape="cosine", warmup=0.1),
        epochs=100,
        batch_size=128,
        label_smoothing=0.1,
        average_decay=0.999,
    )
