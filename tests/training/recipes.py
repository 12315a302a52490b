"""Tiny recipes on the digits inside scikit-learn, and runs of them without a loop around."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from vision_transformers.data.augmentation import Augmentation
from vision_transformers.data.loading import load_data
from vision_transformers.data.preprocessing import Preprocessing
from vision_transformers.data.source import DataSource
from vision_transformers.model.config import ViTConfig
from vision_transformers.training.environment import resolve_environment
from vision_transformers.training.recipe import Optimizer, Recipe, Schedule
from vision_transformers.training.run import Run
from vision_transformers.training.run_folder import RunFolder
from vision_transformers.training.teacher import load_teacher


def tiny(**changes: Any) -> Recipe:
    """Two steps of a small model; without dropout or augmentation."""
    recipe = Recipe(
        name="tiny",
        model=ViTConfig(
            patch_shape=(4, 4),
            model_dimension=16,
            number_of_layers=2,
            number_of_heads=2,
            hidden_dimension=24,
            number_of_channels=1,
            number_of_classes=10,
            max_image_shape=(8, 8),
        ),
        data=DataSource(name="digits", workers=0),
        preprocessing=Preprocessing(size=(8, 8), channels=1),
        augmentation=Augmentation(),
        optimizer=Optimizer(name="adamw", learning_rate=3e-3),
        schedule=Schedule(shape="linear", warmup=0.1),
        steps=2,
        batch_size=64,
        device="cpu",
        compile="off",
        threads=1,
        checkpoint_seconds=0.0,
    )
    return replace(recipe, **changes)


def everything(**changes: Any) -> Recipe:
    """With all that a checkpoint must hold."""
    recipe = tiny(
        augmentation=Augmentation(shift=1, erasing=0.5, mixup=0.8, cutmix=1.0),
        optimizer=Optimizer(name="muon"),
        accumulation=2,
        label_smoothing=0.1,
        class_weights="balanced",
        average_decay=0.9,
        keep="best",
        checkpoint_steps=2,
        log_steps=3,
        batch_size=128,
    )
    model = replace(recipe.model, dropout=0.1, stochastic_depth=0.2)
    return replace(recipe, model=model, **changes)


def run_of(recipe: Recipe, folder: Path) -> Run:
    """A run that no loop drives."""
    data = load_data(recipe.data, recipe.preprocessing)
    environment = resolve_environment(recipe, data.fingerprint)
    return Run(recipe, environment, data, RunFolder(folder), teacher=load_teacher(recipe, data.classes))
