"""What other projects call the models that have a name here, for those who come from there."""

from vision_transformers.errors import UsageFailure
from vision_transformers.weights.preset_names import TIMM, TORCHVISION

_OWNERS = {
    **{name: ("timm", preset) for preset, name in TIMM.items()},
    **{name: ("torchvision", preset) for preset, name in TORCHVISION.items()},
}


def tell_familiar_preset(name: str) -> None:
    """Meets what others call a model; after a dot, timm names weights.

    Raises:
        UsageFailure: says what it is here.
    """
    found = _OWNERS.get(name.partition(".")[0])
    if found is not None:
        owner, preset = found
        raise UsageFailure(f"no preset is called {name!r}: that is {owner}'s name for {preset}")
