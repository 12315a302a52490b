"""What a run leaves when its steps are done."""

from torch import nn

from vision_transformers.evaluation.calibration import fit_temperature
from vision_transformers.evaluation.metrics import outputs
from vision_transformers.files import write_folder
from vision_transformers.model.low_rank import merged_weights
from vision_transformers.report.curves import draw_curves
from vision_transformers.report.metrics import of_kept_weights, read_metrics, write_csv
from vision_transformers.training.advice import FEWEST_TO_CALIBRATE
from vision_transformers.training.run import Run
from vision_transformers.training.state import TrainingState
from vision_transformers.weights.low_rank_folder import write_low_rank
from vision_transformers.weights.model_folder import write_model


def finish(run: Run, state: TrainingState) -> None:
    """Writes what a person looks at, then the model folder, which says that the run is finished."""
    rows = read_metrics(run.folder.metrics)
    write_csv(rows, run.folder.table)
    draw_curves(rows, run.folder.plots / "curves.png", f"{run.recipe.name}, seed {run.recipe.seed}")
    kept = state.kept()
    description = run.describe_model(_temperature(run, kept), metrics=of_kept_weights(rows))
    if run.recipe.low_rank.rank:
        source = str(run.recipe.init)
        write_folder(
            run.folder.low_rank,
            lambda path: write_low_rank(path, kept, run.recipe.low_rank, description, source),
        )
    write_folder(run.folder.model, lambda path: write_model(path, merged_weights(kept), description))


def _temperature(run: Run, kept: nn.Module) -> float | None:
    """The temperature of the kept weights by the validation images, where there are enough.

    In float32, as `vit evaluate` and `vit predict` compute.
    """
    images = run.data.validation
    if images is None or len(images) < FEWEST_TO_CALIBRATE:
        return None
    return fit_temperature(*outputs(kept, run.evaluation_batches(images)))
