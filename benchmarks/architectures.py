"""The models that everybody builds for the benchmark: equal sizes, by one description."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """A plain ViT with a class token, learned positions and biases everywhere."""

    name: str
    image: int
    patch: int
    width: int
    layers: int
    heads: int
    hidden: int
    channels: int = 3
    classes: int = 1000

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return (self.channels, self.image, self.image)


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("MNIST", 28, 4, 128, 4, 8, 64, channels=1, classes=10),
        Architecture("CIFAR", 32, 4, 192, 9, 12, 384, classes=10),
        Architecture("ViT-Ti/16", 224, 16, 192, 12, 3, 768),
        Architecture("ViT-S/16", 224, 16, 384, 12, 6, 1536),
        Architecture("ViT-B/16", 224, 16, 768, 12, 12, 3072),
        Architecture("ViT-L/16", 224, 16, 1024, 24, 16, 4096),
    )
}
