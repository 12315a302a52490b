"""What a person should hear before a run starts, though it may be meant."""

from vision_transformers.training.recipe import Recipe

FROM_SCRATCH = (1e-5, 1e-2)
FROM_WEIGHTS = (1e-6, 3e-3)
MUON = (1e-3, 0.1)
"""Usual peak learning rates, from and to: of AdamW by how the run begins, and of Muon."""


def learning_rate_warnings(recipe: Recipe) -> list[str]:
    """A sentence for each learning rate that is far from what is usual for its optimizer."""
    usual = FROM_SCRATCH if recipe.init is None else FROM_WEIGHTS
    rates = [("optimizer.learning-rate", recipe.optimizer.learning_rate, usual)]
    if recipe.optimizer.name == "muon":
        rates.append(("optimizer.muon-learning-rate", recipe.optimizer.muon_learning_rate, MUON))
    begins = "from scratch" if recipe.init is None else "from trained weights"
    return [
        f"--{option} is {rate:g}: for a run {begins}, {least:g} to {most:g} is usual"
        for option, rate, (least, most) in rates
        if not least <= rate <= most
    ]
