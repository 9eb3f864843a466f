"""The weights that come with the package."""

from pathlib import Path

BUNDLED = Path(__file__).parent.parent / "weights"


def bundled() -> list[str]:
    """Names of the weights that come with the package."""
    return sorted(path.parent.name for path in BUNDLED.glob("*/config.json"))
