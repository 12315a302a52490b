"""The first training images as the model sees them: a wrong augmentation shows here first."""

from vision_transformers.data.batches import training_batches
from vision_transformers.data.mixing import mix
from vision_transformers.data.normalising import denormalise
from vision_transformers.report.sheet import image_sheet, write_png
from vision_transformers.report.tensorboard import TensorBoard
from vision_transformers.training.run import Run


def draw_first_batch(run: Run, board: TensorBoard) -> None:
    """Draws the first part of the first batch into `plots/first_batch.png` and TensorBoard.

    Raises:
        DataFailure: an image cannot be decoded.
    """
    recipe = run.recipe
    batch = next(
        training_batches(
            run.training_images, recipe.preprocessing, recipe.augmentation, run.order, 0, 1, run.device, 0
        )
    )
    labels = batch.labels.chunk(recipe.accumulation)[0]
    targets = run.objective().targets(labels)
    images = batch.images.chunk(recipe.accumulation)[0]
    mixed, _ = mix(images, targets, recipe.augmentation, recipe.seed, 0, 0)
    pixels = denormalise(mixed, recipe.preprocessing).permute(0, 2, 3, 1).cpu().numpy()
    sheet = image_sheet(pixels, [run.data.classes[label] for label in labels.tolist()])
    run.folder.plots.mkdir(exist_ok=True)
    write_png(run.folder.plots / "first_batch.png", sheet)
    board.image("first_batch", sheet, 0)
