"""The model card, README.md of a weights folder: what the Hub shows a visitor."""

import yaml

from vae_augment import Weights

LABELS = {
    "test_psnr_db": ("PSNR of the reconstruction, held-out images", "{:.2f} dB"),
    "test_bits_per_dim": ("Bits per dimension (Gaussian bound), held-out images", "{:.2f}"),
    "test_nats": ("Negative evidence lower bound, held-out images", "{:.0f} nats per image"),
    "test_kl_nats": ("KL to the prior", "{:.0f} nats per image"),
    "test_active_units": ("Active latent dimensions", "{:.0f}"),
    "test_knn_purity": ("Neighbours of a latent that share its label (k = 10, held-out images)", "{:.3f}"),
    "train_seconds": ("Training time, seconds (see the recipe)", "{:.0f}"),
    "train_threads": ("Processor threads it ran on", "{:.0f}"),
}


def model_card(weights: Weights, name: str, recipe: str, command: str) -> str:
    """Markdown with the front matter that the Hub reads.

    `name` is what `from_pretrained` takes, `recipe` the text of training.yaml.
    """
    front = yaml.safe_dump(
        {
            "library_name": "vae-augment",
            "license": "apache-2.0",
            "pipeline_tag": "unconditional-image-generation",
            "tags": ["vae", "data-augmentation", "synthetic-data", "torchvision"],
        },
        sort_keys=False,
    )
    config, pool = weights.vae.config, weights.pool
    latent = "x".join(str(n) for n in config.latent_shape)
    rows = "originals, reconstructions, augmentations at strength 1" + (
        "" if config.spatial else ", samples of the prior"
    )
    parameters = sum(p.numel() for p in weights.vae.parameters())
    quality = "\n".join(
        f"| {title} | {form.format(weights.metrics[name])} |"
        for name, (title, form) in LABELS.items()
        if name in weights.metrics
    )
    bank = (
        f"{len(weights.bank)} latents of the pool and the graph of their nearest neighbours, without labels"
        if weights.bank is not None
        else "none"
    )
    return f"""---
{front}---

# VAE for augmentation: {pool["name"]}

A small variational autoencoder ({parameters:,} parameters, latent of {latent}) of
{config.channels}x{config.size}x{config.size} images, for
[vae-augment](https://pypi.org/project/vae-augment): it varies images in a torchvision pipeline.

```python
from vae_augment import VAEAugment

augment = VAEAugment.from_pretrained("{name}", strength=1.0)
```

![{rows}](samples.png)

Rows: held-out {rows}.

| | |
| --- | --- |
{quality}

**Trained on** {pool["images"]:,} images without labels: {pool["name"]} (sha256 of the pixels `{pool["sha256"]}`).
**Bank:** {bank}. Nothing of a test set is in the weights or the bank.

**Limits.** It knows only images like those it was trained on. A decoded image is blurrier than a real one; the residual output
of `VAEAugment` adds the change to the image itself for that reason.

## Recipe

`{command}`

```yaml
{recipe.strip()}
```
"""
