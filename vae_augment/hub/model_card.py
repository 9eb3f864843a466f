"""Text of a new model card: all that the program says of some weights, in Markdown with the front matter of the Hub."""

import html
import os
import re
from typing import Any

from ..user_warning import warn
from .card import LIBRARY, Card, python_string, short_name
from .printable import printable
from .recipe_text import data_of_recipe, recipe_section
from .weights import Weights

MAX_NAME_LENGTH = 200  # characters of a text of config.json

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
    "bank_near_copies": (
        "Decoded latents of the bank that are near copies of training images (see Privacy)",
        "{:.0%}",
        None,
    ),
    "label_survival_strength": ("Strength at which labels survive, used where none is given", "{:.2f}", None),
    "label_survival_wanted": (
        "Part of labels that survive at it, as a probe of labelled images sees it",
        "{:.1%}",
        None,
    ),
    "train_seconds": ("Training time, seconds (see the recipe)", "{:.0f}", None),
    "train_threads": ("Processor threads it ran on", "{:.0f}", None),
}


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
        recipe_section(recipe, command),
    ]
    front = _front_matter(weights, name, _hub_dataset(recipe))
    block = "\n\n".join(filter(None, parts)).replace("<!-- vae-augment:", "<!- vae-augment:")  # no other begin and end
    before = Card.parse(old)
    if before.fault:
        warn(
            f"the front matter of the model card that is replaced cannot be read: {printable(before.fault)}. It is kept as text "
            "below the new one, which states no licence: mend it by hand",
        )
    return str(Card(front, "", block, "").keeping(before))


def metric_text(name: str, value: float) -> tuple[str, str]:
    """Title of a metric and its value with its unit; a metric that the card does not know keeps its name.

    Example:
        >>> metric_text("test_psnr_db", 26.537)
        ('PSNR of the reconstruction, held-out images', '26.54 dB')
    """
    title, form, _ = METRICS.get(name, (name, "{:g}", None))
    return title, form.format(value)


def _front_matter(weights: Weights, name: str, dataset: str | None) -> dict[str, Any]:
    front: dict[str, Any] = {
        "library_name": LIBRARY,
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
            dataset_name=_one_line(weights.provenance.get("name", "unnamed")).replace(" training images", ""),
            dataset_split="test",
            metric_type=metric,
            metric_name=title,
            metric_value=weights.metrics[key],
        )
        for key, (title, _, metric) in METRICS.items()
        if metric is not None and key in weights.metrics
    ]
    return {"model-index": eval_results_to_model_index(short_name(name), results)} if results else {}


def _hub_dataset(recipe: str) -> str | None:
    """The Hub's id of the data set that a recipe names, if it has one; never a path of this machine."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    name = data_of_recipe(recipe)
    if name is None or os.path.exists(name):
        return None
    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return name


def _introduction(weights: Weights, name: str) -> str:
    config = weights.vae.config
    latent = "x".join(str(n) for n in config.latent_shape)
    parameters = sum(p.numel() for p in weights.vae.parameters())
    title = f": {as_markdown(weights.provenance['name'])}" if "name" in weights.provenance else ""
    return f"""# VAE for augmentation{title}

A small variational autoencoder ({parameters:,} parameters, latent of {latent}) of
{config.channels}x{config.size}x{config.size} images, for
[vae-augment](https://pypi.org/project/vae-augment): it varies images in a torchvision pipeline.

```python
from vae_augment import VAEAugment

augment = VAEAugment.from_pretrained({python_string(name)})
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
        of = as_markdown(pool.get("bank", "the pool"))
        held = f"{len(bank):,} latents of {of}, with their nearest neighbours by "
        held += f"{' and by '.join(view.name for view in bank.views)}, without labels."
    if {"images", "name", "sha256"} <= set(pool) and isinstance(pool["images"], int):
        trained = f"{pool['images']:,} images without labels: {as_markdown(pool['name'])}"
        trained += f" (sha256 of the pixels `{pool['sha256']}`)." if _is_sha256(pool["sha256"]) else "."
        # only of known data sets is it known which images are a test set
        known = re.fullmatch(r"[\w-]+ training images(, shipped sample|, JPEG copies)?", str(pool["name"]))
        nothing = "Nothing of a test set" if known else "Nothing of the images held out to measure it"
        held += f" {nothing} is in the weights" + ("." if "bank" in pool else " or the bank.")
    if "started_from" in pool:
        trained += f" It started from the weights {as_markdown(pool['started_from'])}, whose own card says what those have seen."
    return f"""**Trained on** {trained}
**Bank:** {held}
{_privacy(weights)}
**Limits.** It knows only images like those it was trained on. A decoded image is blurrier than a real one; the residual output
of `VAEAugment` adds the change to the image itself for that reason."""


def _privacy(weights: Weights) -> str:
    """What these weights give away of single images; a paragraph."""
    if weights.bank is None:
        return ""
    part = weights.metrics.get("bank_near_copies")
    measured = (
        "" if part is None else f" {part:.0%} are nearer to a training image than half of what held-out images are."
    )
    return f"""
**Privacy.** Each latent of the bank decodes to a likeness of its image, for whoever has these weights.{measured}
Where images may not be shown, train with `--bank_size 0`, which stores a mixture of Gaussians in its place, or save
`VAEAugment(augment.vae)`. A smaller bank gives fewer images away.
"""


def _one_line(value: str | int) -> str:
    """A text of config.json, on one line, without what a terminal would obey."""
    return printable(" ".join(str(value).split()))[:MAX_NAME_LENGTH]


def as_markdown(value: str | int) -> str:
    """A stranger's text, as of config.json, as Markdown that shows it as it is: no HTML, no picture, no link, no mark of ours."""
    text = re.sub(r"([\\`*_\[\]!|~$#])", r"\\\1", html.escape(_one_line(value), quote=False))
    return text.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")


def _is_sha256(value: str | int) -> bool:
    return re.fullmatch("[0-9a-f]{64}", str(value)) is not None
