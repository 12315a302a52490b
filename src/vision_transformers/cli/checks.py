"""What several commands ask of their options."""

from vision_transformers.errors import UsageFailure


def check_least(options: object, **least: int) -> None:
    """Compares options with the least that each may be.

    Raises:
        UsageFailure: names the first that is less, or no number.
    """
    for name, bound in least.items():
        value = getattr(options, name)
        if not value >= bound:  # NaN is not
            raise UsageFailure(f"--{name.replace('_', '-')} is {value}: expected {bound} or more")
