"""A run that begins with somebody's weights: what they decide, and how they enter the model."""

import logging
from dataclasses import replace

import torch

from vision_transformers.data.labelled import some_of
from vision_transformers.errors import UsageFailure
from vision_transformers.files import expanded
from vision_transformers.model.low_rank import is_low_rank
from vision_transformers.randomness import derive_seed
from vision_transformers.training.recipe import Recipe
from vision_transformers.training.run import Run
from vision_transformers.training.state import TrainingState
from vision_transformers.weights.adaptation import for_classes, for_images
from vision_transformers.weights.conversion import PortableModel
from vision_transformers.weights.formats.table import CONVERT_FIRST, read_as_it_is
from vision_transformers.weights.places import HUB, local_path
from vision_transformers.weights.report import Report

logger = logging.getLogger(__name__)


def settle_recipe(recipe: Recipe) -> Recipe:
    """The recipe with the architecture and the preprocessing of the weights that it begins with.

    Dropout and stochastic depth, which have no weights, stay the recipe's; the data decides the classes.

    Raises:
        UsageFailure: the weights are missing, or do not tell their architecture.
        Failure: they are damaged.
    """
    if recipe.init is None:
        return recipe
    report = Report()
    description = _read(recipe, report).description
    report.log_notes(recipe.init)
    model = replace(
        description.model,
        number_of_classes=0,
        pre_logits_dimension=None,
        dropout=recipe.model.dropout,
        stochastic_depth=recipe.model.stochastic_depth,
    )
    # A path that is relative would mean another place to a run that is resumed from elsewhere.
    init = recipe.init if recipe.init.startswith(HUB) else str(expanded(recipe.init).resolve())
    return replace(recipe, init=init, model=model, preprocessing=description.preprocessing)


def load_initial_weights(run: Run, state: TrainingState) -> None:
    """Puts the weights that the run begins with into the model, whose head is theirs where it fits, or new.

    Raises:
        UsageFailure: the weights are of another architecture than when the run was begun.
    """
    seed = derive_seed(run.recipe.seed, "head")
    report = Report()
    read = _read(run.recipe, Report())
    source = for_classes(read, run.data.classes, seed, report)
    logger.info("%s", _of_the_head(report, read.description.classes, run.data.classes))
    weights = {name: value.float() for name, value in source.weights.items()}
    state_dict = state.model.state_dict()
    weights |= {name: value for name, value in state_dict.items() if is_low_rank(name)}
    try:
        state.model.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageFailure(f"{run.recipe.init} is not what the run was begun with: {error}") from error
    if state.average is not None:
        with torch.no_grad():
            state.average.module.load_state_dict(state.model.state_dict())


def _of_the_head(report: Report, theirs: tuple[str, ...], ours: tuple[str, ...]) -> str:
    """What a person may not expect: whether accuracy begins at that of guessing."""
    if not report.newly_made:
        return f"the head is kept: the source knows all {len(ours)} classes by the same names"
    unknown = [name for name in ours if name not in theirs]
    but = f": the source does not know {some_of(unknown)}" if 0 < len(unknown) < len(ours) else ""
    return f"the head is new, for {len(ours)} classes{but}"


def _read(recipe: Recipe, report: Report) -> PortableModel:
    model = read_as_it_is(local_path(str(recipe.init)), recipe.init_format, report)
    report.check(("head",), CONVERT_FIRST)
    # Positions may be made for larger pictures than those that come, as DINOv2's are.
    image_shape = recipe.init_image_shape or model.description.preprocessing.size
    return for_images(model, report, image_shape, recipe.init_patch_shape, recipe.init_channels)
