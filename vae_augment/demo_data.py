"""Demo data: 500 Fashion-MNIST training images, for examples, tests and a first training run without a download.

Fashion-MNIST is by Zalando SE, MIT licence (`fashion_sample.LICENSE.txt` beside this file).
"""

from pathlib import Path

import safetensors.torch
from torch import Tensor

FASHION_CLASSES = (
    "T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def fashion_sample() -> tuple[Tensor, Tensor]:
    """Load the images, uint8 `(500, 1, 28, 28)`, and their labels, int64 `(500,)`: 50 of each class, classes interleaved.

    Example:
        >>> images, labels = fashion_sample()
        >>> FASHION_CLASSES[labels[9]], images[9].shape
        ('Ankle boot', torch.Size([1, 28, 28]))
    """
    tensors = safetensors.torch.load_file(Path(__file__).parent / "fashion_sample.safetensors")
    return tensors["images"], tensors["labels"].long()
