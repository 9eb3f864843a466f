"""A pool of unlabelled images, kept as latents: which of them are alike, and how a few labels spread over them."""

from .bank import LARGEST_BANK, LatentBank

__all__ = ["LARGEST_BANK", "LatentBank"]
