"""Weights to start from, instead of random ones: `--from`."""

from vae_augment import VAE, VAEConfig, hub

from .recipes import Recipe


def config_of(name: str) -> VAEConfig:
    """Return the architecture of some weights; errors as of `vae_augment.load_weights`."""
    return hub.load(name).vae.config


def load(recipe: Recipe) -> VAE:
    """Return the network that a recipe starts from.

    Raises:
        FileNotFoundError, ConnectionError, WeightsError: as of `vae_augment.load_weights`.
        ValueError: its architecture is not the recipe's.
    """
    assert recipe.start is not None
    vae = hub.load(recipe.start).vae
    check(recipe, vae.config)
    return vae


def check(recipe: Recipe, config: VAEConfig) -> None:
    """Raise ValueError unless a recipe has the architecture of the weights that it starts from."""
    asked, has = recipe.vae.to_dict(), config.to_dict()
    if changed := [f"{key} {has[key]}, not {asked[key]}" for key in has if asked[key] != has[key]]:
        raise ValueError(
            f"the weights {recipe.start} have {', '.join(changed)}: a run that starts from them keeps their architecture. Leave "
            "these flags out, or leave --from out and begin with new weights"
        )
