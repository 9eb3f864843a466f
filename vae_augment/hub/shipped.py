"""Weights that come with the package."""

from pathlib import Path

BUNDLED = Path(__file__).parent.parent / "weights"


def bundled() -> list[str]:
    """Names of the weights that come with the package, sorted.

    Example:
        >>> bundled()
        ['cifar10', 'fashion-mnist', 'flowers', 'mnist']
    """
    return sorted(path.parent.name for path in BUNDLED.glob("*/config.json"))
