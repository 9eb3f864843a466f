"""The trainer of vae_augment's VAEs: `python -m train mnist`."""
