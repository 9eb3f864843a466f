"""Recipes and command lines as they are published: paths of this machine are reduced to the names at their ends."""

import os
import re
import shlex

from .front_matter import parse_yaml
from .printable import printable

RECIPE_TITLE = "## Recipe\n\n"  # of the card's section
RECIPE_SECTION = re.compile(  # what follows the title; counts are bounded, so that any text is matched in linear time
    r"(?:(?P<tick>`{1,9})(?P<command>[^\n]*)(?P=tick)\n\n)?(?P<fence>`{3,9})yaml\n(?P<recipe>.*)\n(?P=fence)\s*",
    re.DOTALL,
)
HUB_DATASETS = {
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
}
START_FLAGS = ("--from", "--start")  # whose values are names of weights: a path, or an id of the Hub
PUBLIC_FLAGS = ("--push-to-hub", "--push_to_hub", "--endpoint")  # whose values have slashes, and are no paths


def recipe_section(recipe: str, command: str) -> str:
    """The recipe and the command of a run, as they are published."""
    recipe, command = recipe_without_paths(recipe).strip(), printable(command_without_paths(command))
    if not recipe:
        return ""
    fence, tick = ("`" * (1 + max(map(len, re.findall("`+", text)), default=0)) for text in (recipe, command))
    fence = max(fence, "```", key=len)
    ran = f"{tick}{command}{tick}\n\n" if command else ""
    return f"{RECIPE_TITLE}{ran}{fence}yaml\n{recipe}\n{fence}"


def data_of_recipe(text: str) -> str | None:
    """The data set that the recipe in a text names, in the form of a Hub id; it may be a path of this machine."""
    match = re.search(r"^data:.*(\n .*)*", text, re.MULTILINE)
    recipe = None if match is None else parse_yaml(match[0])
    data = recipe.get("data") if isinstance(recipe, dict) else None
    if isinstance(data, str) and data.startswith("hf:"):
        return re.split(r"[:@]", data.removeprefix("hf:"))[0]
    return HUB_DATASETS.get(str(data))


def recipe_without_paths(text: str) -> str:
    """Reduce the paths of the data, and of the weights to start from, in the text of training.yaml to their names."""
    import yaml  # comes with huggingface-hub

    recipe = parse_yaml(text)
    if not isinstance(recipe, dict):
        return text
    reduced = {
        key: reduce(recipe[key])
        for key, reduce in (("data", data_without_path), ("start", weights_without_path))
        if isinstance(recipe.get(key), str)
    }
    if all(recipe[key] == name for key, name in reduced.items()):
        return text
    return str(yaml.safe_dump(recipe | reduced, sort_keys=False, allow_unicode=True))


def data_without_path(name: str) -> str:
    """Reduce the path in the name of a data set to its last part.

    Example:
        >>> data_without_path("folder:/home/me/photos"), data_without_path("hf:you/birds")
        ('folder:photos', 'hf:you/birds')
    """
    kind, _, rest = name.partition(":")
    if kind in ("folder", "array"):
        return f"{kind}:{_last_part(rest)}"
    path, options = re.fullmatch(r"([^:@]*)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]  # it matches any text
    return f"hf:{_last_part(path)}{options}" if kind == "hf" and _is_local(path) else name


def weights_without_path(name: str) -> str:
    """Reduce the path of a weights folder to its last part; bundled names and ids of the Hub stay.

    Example:
        >>> weights_without_path("/home/me/runs/photos"), weights_without_path("you/birds"), weights_without_path("mnist")
        ('photos', 'you/birds', 'mnist')
    """
    return _last_part(name) if _is_local(name) else name


def _is_local(path: str) -> bool:
    return path.startswith(("/", "~", ".", "\\")) or path.count("/") > 1 or "\\" in path or os.path.exists(path)


def command_without_paths(text: str) -> str:
    """Reduce the paths in a command line to their last parts."""
    try:
        words = shlex.split(text)
    except ValueError:  # it was none
        return ""
    reduced: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        if (flag or "".join(reduced[-1:])) not in PUBLIC_FLAGS:
            if (flag or "".join(reduced[-1:])) in START_FLAGS:
                value = weights_without_path(value)
            else:
                value = (
                    data_without_path(value) if value.startswith(("folder:", "array:", "hf:")) else _last_part(value)
                )
        reduced.append(f"{flag}{equals}{value}")
    return shlex.join(reduced)


def _last_part(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]
