"""The gradient of a batch."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from vision_transformers.data.batches import Batch
from vision_transformers.data.mixing import mix
from vision_transformers.randomness import derive_seed, seed_everything
from vision_transformers.runtime.precision import autocast
from vision_transformers.runtime.recording import Recording
from vision_transformers.training.objective import Objective
from vision_transformers.training.run import Run


class Gradients:
    """Computes the gradient of a batch's mean loss, in parts of one process after another, and clips it.

    Args:
        run: its recipe says in how many parts, and how large the norm may be.
        parameters: those of the model.
        model: from images to logits, perhaps compiled.
        objective: what is minimised.
    """

    def __init__(
        self, run: Run, parameters: list[nn.Parameter], model: Callable[..., Tensor], objective: Objective
    ) -> None:
        self.run = run
        self.recipe = run.recipe
        self.parameters = parameters
        self.model = model
        self.objective = objective

    @property
    def stay_in_memory(self) -> bool:
        """Whether each gradient is written where the one before was."""
        return False

    def __call__(self, batch: Batch, step: int) -> Float[Tensor, "3"]:
        """Puts the gradient into the parameters.

        Args:
            batch: images and labels.
            step: the optimizer's, from which everything is drawn that is random.

        Returns:
            The sum of the losses, the number of right guesses, and the gradient's norm before it was clipped.
        """
        sums = self.run.processes.together(lambda: self._of_own_parts(batch, step))
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        self.run.processes.add_up([*gradients, sums])
        return torch.cat([sums, self._clip()])

    def _of_own_parts(self, batch: Batch, step: int) -> Float[Tensor, "2"]:
        """The gradient of this process's parts of the batch, numbered over all processes."""
        self._forget()
        sums = torch.zeros(2, device=self.run.device)
        own = self.recipe.accumulation
        parts = zip(batch.images.chunk(own), batch.labels.chunk(own), strict=True)
        for part, (images, labels) in enumerate(parts, start=self.run.processes.number * own):
            sums += self._add(*self._mixed(images, labels, step, part))
        return sums

    def _mixed(
        self,
        images: Float[Tensor, "batch channels height width"],
        labels: Int[Tensor, " batch"],
        step: int,
        part: int,
    ) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch classes"]]:
        """The images and targets of a part, and random numbers that begin anew."""
        seed_everything(derive_seed(self.recipe.seed, "step", step, part), self.run.device)
        targets = self.objective.targets(labels)
        return mix(images, targets, self.recipe.augmentation, self.recipe.seed, step, part)

    def _add(
        self,
        images: Float[Tensor, "batch channels height width"],
        targets: Float[Tensor, "batch classes"],
    ) -> Float[Tensor, "2"]:
        """Adds the gradient of a part; gives the sum of losses, and the hits: of mixed images, by what they
        show most of."""
        with autocast(self.run.environment.precision, self.run.device):
            logits = self.model(images)
        loss = self.objective(logits, targets, images)
        (loss / self.run.parts).backward()
        hits = (logits.detach().argmax(dim=1) == targets.argmax(dim=1)).sum()
        return torch.stack([loss.detach() * len(images), hits.float()])

    def _forget(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def _clip(self) -> Float[Tensor, "1"]:
        most = self.recipe.optimizer.clip or math.inf
        return nn.utils.clip_grad_norm_(self.parameters, most)[None]


class RecordedGradients(Gradients):
    """The same on a GPU, replayed: batches of one size, each in one part."""

    def __init__(
        self, run: Run, parameters: list[nn.Parameter], model: Callable[..., Tensor], objective: Objective
    ) -> None:
        super().__init__(run, parameters, model, objective)
        self.inputs: tuple[Tensor, Tensor] | None = None
        self.recording = Recording(run.device)

    @property
    def stay_in_memory(self) -> bool:
        """Since they are replayed."""
        return self.recording.is_made

    def __call__(self, batch: Batch, step: int) -> Float[Tensor, "3"]:
        """As `Gradients`."""
        images, targets = self._mixed(batch.images, batch.labels, step, 0)
        if self.inputs is None:
            self.inputs = (images.clone(), targets.clone())
        for place, value in zip(self.inputs, (images, targets), strict=True):
            place.copy_(value)
        result = self.recording(self._of_inputs)
        assert result is not None
        return result

    def _of_inputs(self) -> Float[Tensor, "3"]:
        assert self.inputs is not None
        self._forget()
        return torch.cat([self._add(*self.inputs), self._clip()])


def gradients_of(run: Run, model: nn.Module, objective: Objective) -> Gradients:
    """What computes them in this run."""
    kind = RecordedGradients if run.records else Gradients
    return kind(run, list(model.parameters()), model, objective)
