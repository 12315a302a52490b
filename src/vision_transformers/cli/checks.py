"""What several commands ask of their options."""

from vision_transformers.errors import UsageFailure


def check_least(options: object, **least: int) -> None:
    """Compares options with the least that each may be.

    Raises:
        UsageFailure: names the first that is less.
    """
    for name, bound in least.items():
        if getattr(options, name) < bound:
            value = getattr(options, name)
            raise UsageFailure(f"--{name.replace('_', '-')} is {value}: expected {bound} or more")
