"""VAEConfig: the architecture of the package's own VAE, and the limits of what a file may ask for."""

import dataclasses
from dataclasses import dataclass

# What a config may ask for: files come from elsewhere, so nothing is built before it is known to be small.
LARGEST = {
    "channels": 64,
    "size": 1024,
    "latent_dim": 4096,
    "patch": 64,
    "width": 2048,
    "neck": 1024,
}
MAX_PARAMETERS = 200_000_000
MAX_VALUES = 2**25  # of one image in any layer, index tables among them: 128 MB


@dataclass(frozen=True)
class VAEConfig:
    """The architecture, in JSON types.

    Args:
        channels, size: of the images, `(channels, size, size)`; size is a multiple of patch.
        latent_dim: L, length of the latent vector, or channels of a spatial latent.
        spatial: False: one vector per image, whose neighbours tend to share a class; True: a latent `(L, h, h)` with
            h = size / patch, which keeps more detail of larger colour images.
        patch: pixels per side of the patches that the network works on; the cost is set here.
        width: channels of the hidden layer; multiples of 16 are fast.
        neck: channels per patch between the hidden layers and a latent vector.

    Raises:
        TypeError, ValueError: naming the field that does not fit.
    """

    channels: int = 1
    size: int = 28
    latent_dim: int = 32
    spatial: bool = False
    patch: int = 4
    width: int = 64
    neck: int = 16

    def __post_init__(self) -> None:
        for name, most in LARGEST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"VAEConfig.{name} must be an int, got {value!r:.80}")
            if not 1 <= value <= most:
                raise ValueError(f"VAEConfig.{name} must be from 1 to {most}, got {value!r:.80}")
        if not isinstance(self.spatial, bool):
            raise TypeError(f"VAEConfig.spatial must be true or false, got {self.spatial!r:.80}")
        if self.size % self.patch:
            raise ValueError(f"VAEConfig.size must be a multiple of patch, got size={self.size}, patch={self.patch}")
        if (count := _parameter_estimate(self)) > MAX_PARAMETERS:
            raise ValueError(
                f"{self} has about {count:.2g} parameters, more than the {MAX_PARAMETERS:.2g} allowed here"
            )
        if (count := self.largest_layer) > MAX_VALUES:
            raise ValueError(
                f"{self} computes {count:.2g} values of one image in a layer, more than the {MAX_VALUES:.2g} allowed here: a "
                "larger patch has fewer"
            )

    @property
    def grid(self) -> int:
        """Patches per side."""
        return self.size // self.patch

    @property
    def overlap(self) -> int:
        """Pixels of its neighbours that the encoder sees on each side of a patch."""
        return self.patch // 4

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Of one image's latent: `(L,)` or `(L, h, h)`."""
        return (self.latent_dim, self.grid, self.grid) if self.spatial else (self.latent_dim,)

    @property
    def largest_layer(self) -> int:
        """Values of one image in the layer that has the most, between layers or gathered for the windows of a convolution."""
        gathered = [
            self.channels * (self.patch + 2 * self.overlap) ** 2,
            9 * (self.latent_dim if self.spatial else self.neck),
        ]
        inside = [self.width, 2 * self.latent_dim if self.spatial else self.neck, self.channels * self.patch**2]
        return self.grid**2 * max(*gathered, *inside)

    def to_dict(self) -> dict[str, int | bool]:
        return dataclasses.asdict(self)


def _parameter_estimate(c: VAEConfig) -> int:
    """Parameters of the convolutions and linears, biases left out, before anything is built."""
    pixels = c.channels * ((c.patch + 2 * c.overlap) ** 2 + c.patch**2)
    latent = 11 * c.latent_dim * c.width if c.spatial else c.neck * (10 * c.width + 3 * c.latent_dim * c.grid**2)
    return pixels * c.width + latent
