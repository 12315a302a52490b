"""What the model looks at, on a sheet in `plots/` and TensorBoard, as training goes on."""

import numpy as np
import torch

from vision_transformers.data.batches import Batch, evaluation_batches
from vision_transformers.data.normalising import denormalise
from vision_transformers.explain.methods import DEFAULT, METHODS
from vision_transformers.model.evaluating import evaluating
from vision_transformers.report.overlay import overlaid
from vision_transformers.report.sheet import image_sheet, write_png
from vision_transformers.report.tensorboard import TensorBoard
from vision_transformers.training.run import Run
from vision_transformers.training.state import TrainingState

SHOWN = 16
LEGEND = "The guess (the truth, if it is another). Orange speaks for the guess, blue against."


def draw_explanations(run: Run, state: TrainingState, board: TensorBoard) -> None:
    """Explains the guesses for some held-out images into `plots/explanations.png` and TensorBoard.

    Raises:
        DataFailure: an image cannot be decoded.
    """
    images = run.data.validation or run.data.test
    if images is None:
        return
    model = state.judged
    count = min(SHOWN, len(images))
    chosen = images.select(torch.linspace(0, len(images) - 1, count).long())
    batch: Batch = next(iter(evaluation_batches(chosen, run.recipe.preprocessing, count, run.device, 0)))
    guesses, maps = [], []
    for part in batch.images.split(run.evaluation_batch_size(chosen)):
        with torch.no_grad(), evaluating(model):
            guessed = model(part).argmax(dim=1)
        guesses += guessed.tolist()
        maps += [*METHODS[DEFAULT].explain(model, part, guessed).cpu().numpy()]
    pixels = denormalise(batch.images, run.recipe.preprocessing).permute(0, 2, 3, 1).cpu().numpy()
    colored = np.repeat(pixels, 3 // pixels.shape[3], axis=3)
    shown = [
        overlaid(picture, values, (0.0, 0.0, 1.0, 1.0)) for picture, values in zip(colored, maps, strict=True)
    ]
    classes = run.data.classes
    captions = [
        classes[guess] if guess == label else f"{classes[guess]} ({classes[label]})"
        for guess, label in zip(guesses, batch.labels.tolist(), strict=True)
    ]
    sheet = image_sheet(np.stack(shown), captions, LEGEND)
    run.folder.plots.mkdir(exist_ok=True)
    write_png(run.folder.plots / "explanations.png", sheet)
    board.image("explanations", sheet, state.step)
