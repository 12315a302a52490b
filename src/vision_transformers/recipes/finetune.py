"""Your own pictures, from weights that have seen others."""

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.source import DataSource
from vision_transformers.recipes.folder import folder
from vision_transformers.training.recipe import Optimizer, Recipe, Schedule


def finetune() -> Recipe:
    """All weights of a trained model, with a new head, on PATH/train/<class>/* or PATH/<class>/*.

    vit train finetune --data.path PATH --init SOURCE [--init-format timm]

    SOURCE is a run or a model folder, or somebody's files (`vit convert --help` has the formats); it decides
    the architecture, the size of the images and their preprocessing. Each encoder learns at three quarters of
    the next one's rate; `--frozen body` trains the head alone. Not measured: it depends on the pictures.
    """
    base = folder()
    return Recipe(
        name="finetune",
        model=base.model,
        data=DataSource(name="folder"),
        preprocessing=base.preprocessing,
        augmentation=Augmentation(resized_crop=(0.5, 1.0), flip=True),
        optimizer=Optimizer(name="adamw", learning_rate=1e-4, weight_decay=0.05, layer_decay=0.75),
        schedule=Schedule(shape="cosine", warmup=0.1),
        epochs=10,
        batch_size=64,
        label_smoothing=0.1,
    )
