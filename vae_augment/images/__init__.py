"""Images and samples of any kind, between their own form and what a network reads. Knows nothing of VAEs."""

from .convert import Restore, all_to_model, as_floats, as_pixels, to_model, unpack
from .kinds import (
    check_has_image,
    frames_of,
    geometry_among,
    is_image,
    is_model_bytes,
    is_pure_tensor,
    is_turned,
    lead_shape,
    spatial_companions,
    warn_of_turned,
)
from .labelled import read_labelled
from .sample import kinds_of, label_of, labels_of, plain_label, split_image, with_label
from .untransformed import Reader, untransformed

__all__ = [
    "Reader",
    "Restore",
    "all_to_model",
    "as_floats",
    "as_pixels",
    "check_has_image",
    "frames_of",
    "geometry_among",
    "is_image",
    "is_model_bytes",
    "is_pure_tensor",
    "is_turned",
    "kinds_of",
    "label_of",
    "labels_of",
    "lead_shape",
    "plain_label",
    "read_labelled",
    "spatial_companions",
    "split_image",
    "to_model",
    "unpack",
    "untransformed",
    "warn_of_turned",
    "with_label",
]
