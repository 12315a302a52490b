"""Whether several processes are about to train one model."""

import json
from typing import Any

from vision_transformers.config import flat
from vision_transformers.errors import Failure
from vision_transformers.runtime.processes import Processes
from vision_transformers.training.recipe import CANNOT_CHANGE_THE_RESULT
from vision_transformers.training.run import Run
from vision_transformers.training.state import TrainingState
from vision_transformers.weights.digest import sha256_of

MAY_DIFFER = CANNOT_CHANGE_THE_RESULT - {"log_steps", "explain_every"} | {"teacher.source"}
"""Fields of a recipe; the environment has the fingerprints of images and of a teacher. By the two that may
not, processes would wait for each other at different steps."""


def check_asked_alike(run: Run) -> None:
    """Meets processes with other options, machines or images, before anything is written.

    Raises:
        Failure: names what differs, with each process's value.
    """
    recipe = {name: value for name, value in flat(run.recipe).items() if name not in MAY_DIFFER}
    _check_alike(run.processes, recipe | flat(run.environment))


def check_weights_alike(run: Run, state: TrainingState) -> None:
    """Meets processes that would begin with other weights, or at another step.

    Raises:
        Failure: names what differs, with each process's value.
    """
    if run.processes.count > 1:
        _check_alike(run.processes, {"step": state.step, "weights": sha256_of(state.model.state_dict())})


def _check_alike(processes: Processes, own: dict[str, Any]) -> None:
    said = [json.loads(word) for word in processes.hear_all(json.dumps(own, default=str))]
    for name in own:
        values = [each.get(name) for each in said]
        if any(value != values[0] for value in values):
            listed = "".join(f"\n  process {number}: {value}" for number, value in enumerate(values))
            failure = Failure(
                f"the processes do not begin alike, {name} differs:{listed}\n"
                "All need the same options, machines of one kind, and the same images and run folder"
            )
            failure.is_told = not processes.is_first  # all have heard the same
            raise failure
