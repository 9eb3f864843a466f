"""The model card, README.md of a weights folder, which the Hub shows a visitor. Text that its owner adds stays."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from .weights import Weights

BEGIN = "<!-- vae-augment: written by the program from here; what you write outside of these two lines is kept -->"
END = "<!-- vae-augment: end -->"
DEFAULT_LICENSE = "apache-2.0"
MAX_FRONT_BYTES = 100_000  # of a stranger's card that are read to know its licence

# name in config.json: title and format in the card, and metric of the Hub's model-index, None if it does not measure quality
METRICS = {
    "test_psnr_db": ("PSNR of the reconstruction, held-out images", "{:.2f} dB", "psnr"),
    "test_bits_per_dim": ("Bits per dimension (Gaussian bound), held-out images", "{:.2f}", "bits_per_dim"),
    "test_nats": ("Negative evidence lower bound, held-out images", "{:.0f} nats per image", "negative_elbo"),
    "test_kl_nats": ("KL to the prior", "{:.0f} nats per image", "kl_divergence"),
    "test_active_units": ("Active latent dimensions", "{:.0f}", "active_units"),
    "test_knn_purity": (
        "Neighbours of an image that share its label (k = 10, held-out images)",
        "{:.3f}",
        "knn_label_purity",
    ),
    "train_seconds": ("Training time, seconds (see the recipe)", "{:.0f}", None),
    "train_threads": ("Processor threads it ran on", "{:.0f}", None),
}
HUB_DATASETS = {
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
}


@dataclass(frozen=True)
class Card:
    """A model card in its parts.

    Args:
        front: the front matter, YAML between two lines of dashes.
        block: Markdown that the program writes, between two comments.
        before, after: Markdown of the card's owner.
    """

    front: Mapping[str, Any]
    before: str
    block: str
    after: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read any text without an error or a loss: what is no block or no YAML is text of the owner's."""
        front: Any = None
        if (match := re.match(r"---\s*\n(.*?\n)---[^\S\n]*(?:\n|$)", text, re.DOTALL)) is not None:
            front = _parse_yaml(match[1])
            text = text[match.end() :] if isinstance(front, dict) else text
        before, begin, rest = text.partition(BEGIN)
        block, end, after = rest.partition(END)
        if not (begin and end):  # half a block cannot be told from its owner's text
            before, block, after = "", "", text.replace(BEGIN, "").replace(END, "")
        return cls(front if isinstance(front, dict) else {}, before.strip("\n"), block.strip("\n"), after.strip("\n"))

    def keeping(self, old: "Card") -> "Card":
        """Keep what the owner of an old card had written into it, where this one has no text of an owner's."""
        own = {"tags": _as_list(old.front.get("tags")), "datasets": _as_list(old.front.get("datasets"))}
        own["datasets"] = [name for name in own["datasets"] if name != _data_of_recipe(old.block)]  # the program's
        lists = {key: list(dict.fromkeys([*_as_list(self.front.get(key)), *added])) for key, added in own.items()}
        # what was measured is the new card's; a licence, or a key that was added, is its owner's
        kept = {k: v for k, v in old.front.items() if k not in self.front and k not in {"model-index", "datasets"}}
        front = dict(self.front) | {key: names for key, names in lists.items() if names} | kept
        if front.get("license") == DEFAULT_LICENSE:
            front["license"] = old.front.get("license", DEFAULT_LICENSE)
        if self.before or self.after:
            return replace(self, front=front)
        return replace(self, front=front, before=old.before, after=old.after)

    def renamed(self, name: str) -> Self:
        """Name the same weights otherwise, in the code that loads them and in the model-index."""
        code = re.compile(r"(?<=VAEAugment\.from_pretrained\().*(?=\)$)", re.MULTILINE)
        front, index = dict(self.front), self.front.get("model-index")
        if isinstance(index, list) and all(isinstance(model, dict) for model in index):
            front["model-index"] = [model | {"name": _short_name(name)} for model in index]
        return replace(self, front=front, block=code.sub(lambda _: _python_string(name), self.block, count=1))

    def __str__(self) -> str:
        import yaml  # comes with huggingface-hub

        front = yaml.safe_dump(dict(self.front), sort_keys=False, allow_unicode=True)
        body = [self.before, f"{BEGIN}\n\n{self.block}\n\n{END}" if self.block else "", self.after]
        return f"---\n{front}---\n\n" + "\n\n".join(filter(None, body)) + "\n"


def model_card(
    weights: Weights, name: str, *, recipe: str = "", command: str = "", picture: str = "", old: str = ""
) -> str:
    """Write a model card: Markdown with the front matter that the Hub reads.

    Args:
        name: argument of `from_pretrained`: a Hub id, or the folder.
        recipe, command: text of training.yaml and the command that trained.
        picture: description of the rows of samples.png, if there is one.
        old: the card that this one replaces; what its owner wrote outside of the two marking comments, or added to the
            front matter, is kept.

    Example:
        >>> from vae_augment import VAE, VAEConfig, Weights
        >>> card = model_card(Weights(VAE(VAEConfig())), "you/name")
        >>> 'VAEAugment.from_pretrained("you/name")' in card
        True
    """
    parts = [
        _introduction(weights, name),
        f"![{picture}](samples.png)\n\nRows: {picture}." if picture else "",
        _quality(weights),
        _origin(weights),
        _recipe(recipe, command),
    ]
    front = _front_matter(weights, name, _hub_dataset(recipe))
    return str(Card(front, "", "\n\n".join(filter(None, parts)), "").keeping(Card.parse(old)))


def read_card(folder: Path) -> str:
    """Text of the folder's README.md; empty without one."""
    path = folder / "README.md"
    return path.read_text("utf-8", "replace") if path.is_file() else ""


def read_license(folder: Path) -> str | None:
    """Licence that the front matter of a folder's card states; None if it states none."""
    path = folder / "README.md"
    if not path.is_file():
        return None
    with path.open("rb") as file:
        text = file.read(MAX_FRONT_BYTES).decode("utf-8", "replace")
    stated = Card.parse(text).front.get("license")
    return stated if isinstance(stated, str) else None


def metric_text(name: str, value: float) -> tuple[str, str]:
    """Title of a metric and its value with its unit; a metric that the card does not know keeps its name.

    Example:
        >>> metric_text("test_psnr_db", 26.537)
        ('PSNR of the reconstruction, held-out images', '26.54 dB')
    """
    title, form, _ = METRICS.get(name, (name, "{:g}", None))
    return title, form.format(value)


def _parse_yaml(text: str) -> Any:
    """The value that a YAML text holds; None for a text that is none."""
    import yaml

    with suppress(Exception):  # a stranger's text may raise of many kinds: ValueError for a date, RecursionError, ...
        return yaml.safe_load(text)
    return None


def _as_list(value: Any) -> list[str]:
    """A list of the front matter, which may be one string, YAML's short form."""
    if isinstance(value, str):
        return [value]
    return [str(item) for item in value] if isinstance(value, list) else []


def _python_string(name: str) -> str:
    """Source code of a string."""
    return json.dumps(name, ensure_ascii=False)


def _short_name(name: str) -> str:
    """The name without the user, or the folders of this machine."""
    return name.rstrip("/").rpartition("/")[2]


def _front_matter(weights: Weights, name: str, dataset: str | None) -> dict[str, Any]:
    front: dict[str, Any] = {
        "library_name": "vae-augment",
        "license": DEFAULT_LICENSE,
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["vae", "data-augmentation", "synthetic-data", "torchvision"],
    }
    if dataset is not None:
        front["datasets"] = [dataset]
    return front | _model_index(weights, name, dataset)


def _model_index(weights: Weights, name: str, dataset: str | None) -> dict[str, Any]:
    """Measured quality in the form that the Hub shows beside the card."""
    from huggingface_hub.repocard_data import EvalResult, eval_results_to_model_index

    results = [
        EvalResult(
            task_type="unconditional-image-generation",
            dataset_type=dataset or "imagefolder",  # the Hub's name for a user's own images
            dataset_name=str(weights.provenance.get("name", "unnamed")).removesuffix(" training images"),
            dataset_split="test",
            metric_type=metric,
            metric_name=title,
            metric_value=weights.metrics[key],
        )
        for key, (title, _, metric) in METRICS.items()
        if metric is not None and key in weights.metrics
    ]
    return {"model-index": eval_results_to_model_index(_short_name(name), results)} if results else {}


def _hub_dataset(recipe: str) -> str | None:
    """The Hub's id of the data set that a recipe names, if it has one; never a path of this machine."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    name = _data_of_recipe(recipe)
    if name is None or Path(name).exists():
        return None
    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return name


def _data_of_recipe(text: str) -> str | None:
    """The data set that the recipe in a text names, in the form of a Hub id; it may be a path of this machine."""
    match = re.search(r"^data:.*(\n .*)*", text, re.MULTILINE)
    recipe = None if match is None else _parse_yaml(match[0])
    data = recipe.get("data") if isinstance(recipe, dict) else None
    if isinstance(data, str) and data.startswith("hf:"):
        return re.split(r"[:@]", data.removeprefix("hf:"))[0]
    return HUB_DATASETS.get(str(data))


def _introduction(weights: Weights, name: str) -> str:
    config = weights.vae.config
    latent = "x".join(str(n) for n in config.latent_shape)
    parameters = sum(p.numel() for p in weights.vae.parameters())
    title = f": {weights.provenance['name']}" if "name" in weights.provenance else ""
    return f"""# VAE for augmentation{title}

A small variational autoencoder ({parameters:,} parameters, latent of {latent}) of
{config.channels}x{config.size}x{config.size} images, for
[vae-augment](https://pypi.org/project/vae-augment): it varies images in a torchvision pipeline.

```python
from vae_augment import VAEAugment

augment = VAEAugment.from_pretrained({_python_string(name)})
```

Loaded from the Hub, `repr(augment)` shows the commit; `revision=` with that commit loads the same weights for ever."""


def _quality(weights: Weights) -> str:
    known = {name: weights.metrics[name] for name in METRICS if name in weights.metrics}
    rows = [f"| {title} | {value} |" for title, value in (metric_text(name, value) for name, value in known.items())]
    return "\n".join(["| | |", "| --- | --- |", *rows]) if rows else "Its quality was not measured."


def _origin(weights: Weights) -> str:
    pool, bank = weights.provenance, weights.bank
    trained, held = "images that were not recorded.", "none."
    if bank is not None:
        of = pool.get("bank", "the pool")
        held = f"{len(bank):,} latents of {of}, with their nearest neighbours by "
        held += f"{' and by '.join(view.name for view in bank.views)}, without labels."
    if {"images", "name", "sha256"} <= set(pool) and isinstance(pool["images"], int):
        trained = f"{pool['images']:,} images without labels: {pool['name']} (sha256 of the pixels `{pool['sha256']}`)."
        # only of known data sets is it known which images are a test set
        known = re.fullmatch(r"[\w-]+ training images(, shipped sample)?", str(pool["name"]))
        nothing = "Nothing of a test set" if known else "Nothing of the images held out to measure it"
        held += f" {nothing} is in the weights" + ("." if "bank" in pool else " or the bank.")
    return f"""**Trained on** {trained}
**Bank:** {held}

**Limits.** It knows only images like those it was trained on. A decoded image is blurrier than a real one; the residual output
of `VAEAugment` adds the change to the image itself for that reason."""


def _recipe(recipe: str, command: str) -> str:
    if not recipe:
        return ""
    ran = f"`{command}`\n\n" if command else ""
    return f"## Recipe\n\n{ran}```yaml\n{recipe.strip()}\n```"
