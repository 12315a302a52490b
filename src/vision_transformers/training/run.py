"""Everything about a run that its steps do not change."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch

from vision_transformers.data.batches import Batch, are_varied_together, evaluation_batches, on_device
from vision_transformers.data.images import DataSets, Images
from vision_transformers.data.order import Order
from vision_transformers.errors import DataFailure, UsageFailure
from vision_transformers.model.config import ViTConfig
from vision_transformers.runtime.processes import Processes
from vision_transformers.training.objective import CrossEntropy, Distillation, Objective, balanced_weights
from vision_transformers.training.recipe import Recipe
from vision_transformers.training.record import Environment
from vision_transformers.training.run_folder import RunFolder
from vision_transformers.training.schedule import rate_at
from vision_transformers.training.teacher import TrainedTeacher
from vision_transformers.weights.model_folder import ModelDescription


@dataclass(frozen=True)
class Run:
    """A recipe, on this machine, with these images, in this folder."""

    recipe: Recipe
    environment: Environment
    data: DataSets
    folder: RunFolder
    processes: Processes = field(default_factory=Processes)
    teacher: TrainedTeacher | None = None

    @cached_property
    def device(self) -> torch.device:
        """Where this process computes.

        Raises:
            UsageFailure: the machine has fewer GPUs than processes.
        """
        return self.processes.device(torch.device(self.environment.device))

    @property
    def parts(self) -> int:
        """In how many a batch is computed: so many in each process, one after another."""
        return self.recipe.accumulation * self.processes.count

    @property
    def records(self) -> bool:
        """Whether steps are recorded and replayed, which saves a CPU starting each kernel of a GPU.

        Steps must be alike for it, and their memory stays taken while the model is evaluated. A run that is
        to be repeated to the bit does the same in every step, also in the first ones of a resumed run, which
        here are not recorded yet. What computes activations again reads where its random numbers began, which
        cannot be recorded.
        """
        are_alike = self.parts == 1 and self.probe_steps == 0
        plain = not (self.recipe.deterministic or self.recipe.activation_checkpointing)
        return self.device.type == "cuda" and are_alike and plain

    @cached_property
    def model_config(self) -> ViTConfig:
        """The recipe's model, with as many classes as the data has.

        Raises:
            UsageFailure: the recipe asks for another number of classes.
        """
        asked, found = self.recipe.model.number_of_classes, len(self.data.classes)
        if asked not in (0, found):
            raise UsageFailure(
                f"model.number_of_classes is {asked}, but the data has {found} classes: "
                "give --model.number-of-classes 0, which takes as many as there are"
            )
        return replace(self.recipe.model, number_of_classes=found)

    @cached_property
    def order(self) -> Order:
        """The order of the training images; a batch is never larger than the data set."""
        number_of_images = len(self.data.train)
        batch_size = min(self.recipe.batch_size, number_of_images)
        if batch_size % self.recipe.accumulation:
            raise DataFailure(
                f"there are {number_of_images} training images, not a batch of {self.recipe.batch_size}, "
                f"and accumulation {self.recipe.accumulation} does not divide them: use --accumulation 1"
            )
        mixes_one = self.recipe.augmentation.mixes and self.parts == batch_size
        if self.processes.count > 1 and (batch_size % self.parts or mixes_one):
            raise UsageFailure(
                f"a batch of {batch_size} images cannot be shared by {self.processes.count} processes with "
                f"--accumulation {self.recipe.accumulation}: give a --batch-size that is a multiple of "
                f"{self.parts}, and at least {2 * self.parts}, or start fewer processes"
            )
        share, shares = self.processes.number, self.processes.count
        return Order(self.recipe.seed, number_of_images, batch_size, share, shares)

    def evaluation_batch_size(self, images: Images) -> int:
        """Images that are evaluated at once: no more than a step computes at once, for both need memory.

        In one part, fewer images fill up a batch: so earlier runs have it, which resume to the byte.
        """
        if self.parts == 1:
            return self.order.batch_size
        return min(self.order.batch_size // self.parts, len(images))

    def evaluation_batches(self, images: Images, among: Processes | None = None) -> Iterator[Batch]:
        """The images in order, `evaluation_batch_size` at once; among processes, this one's share."""
        share, shares = (0, 1) if among is None else (among.number, among.count)
        size, recipe = self.evaluation_batch_size(images), self.recipe
        return evaluation_batches(
            images, recipe.preprocessing, size, self.device, recipe.data.workers, share, shares
        )

    @property
    def resume_command(self) -> str:
        """What to type to go on, on one machine."""
        command = self.folder.resume_command
        if self.processes.count == 1:
            return command
        return f"torchrun --nproc-per-node {self.processes.count} --no-python {command}"

    @property
    def total_steps(self) -> int:
        """Optimizer steps from the beginning to the end."""
        if self.recipe.steps is not None:
            return self.recipe.steps
        return self.recipe.epochs * self.order.batches_per_epoch

    @property
    def probe_steps(self) -> int:
        """Steps from the beginning in which the head alone learns."""
        return round(self.recipe.probe.fraction * self.total_steps)

    def rate_at(self, step: int) -> float:
        """The part of the optimizer's peak learning rate for step number `step`, counted from 0."""
        schedule, probe = self.recipe.schedule, self.recipe.probe
        if step < self.probe_steps:
            part = probe.learning_rate / self.recipe.optimizer.learning_rate
            return part * rate_at(schedule, step, self.probe_steps)
        return rate_at(schedule, step - self.probe_steps, self.total_steps - self.probe_steps)

    def is_evaluated_at(self, step: int) -> bool:
        """Whether a validation follows this many steps."""
        return (
            step == self.total_steps
            or step % (self.recipe.evaluate_epochs * self.order.batches_per_epoch) == 0
        )

    def is_explained_at(self, step: int) -> bool:
        """Whether a sheet of explained images follows this many steps."""
        every = self.recipe.explain_every
        at_times = every is not None and step % (every * self.order.batches_per_epoch) == 0
        return at_times or step == self.total_steps

    def is_logged_at(self, step: int) -> bool:
        """Whether a row of metrics follows this many steps."""
        return self.is_evaluated_at(step) or step % self.recipe.log_steps == 0

    @cached_property
    def training_images(self) -> Images:
        """The training images; on the device if they are held in memory and varied in batches."""
        if are_varied_together(self.data.train, self.recipe.augmentation, self.device):
            return on_device(self.data.train, self.device)
        return self.data.train

    def objective(self) -> Objective:
        """What is minimised."""
        number_of_classes = len(self.data.classes)
        weights = None
        if self.recipe.class_weights == "balanced":
            weights = balanced_weights(self.data.train.labels, number_of_classes).to(self.device)
        labels = CrossEntropy(number_of_classes, self.recipe.label_smoothing, weights)
        if self.teacher is None:
            return labels
        teacher = partial(self.teacher.to(self.device), precision=self.environment.precision)
        return Distillation(labels, teacher, self.recipe.teacher.weight, self.recipe.teacher.temperature)

    def describe_model(self, temperature: float | None = None, **training: object) -> ModelDescription:
        """What a model folder says beside its weights."""
        summary = {"recipe": self.recipe.name, "seed": self.recipe.seed, "data": self.data.description}
        return ModelDescription(
            self.model_config,
            self.recipe.preprocessing,
            self.data.classes,
            {**summary, **training},
            temperature,
        )
