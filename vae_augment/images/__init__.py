"""Images and samples of any kind, between their own form and what a network reads. This room imports no other."""

from . import decode, files, hugging_face
from .appearance import as_seen, exif_orientation, has_transparency, over_flat_colour, upright
from .convert import Restore, all_to_model, as_floats, to_model, unpack
from .kinds import (
    IMAGE_KINDS,
    check_has_channels,
    check_has_image,
    frames_of,
    geometry_among,
    has_exif_rotation,
    is_empty,
    is_image,
    is_model_bytes,
    is_pure_tensor,
    lead_shape,
    spatial_companions,
    tell_geometry,
    warn_exif_rotation,
)
from .label import LabelAt, label_of, labels_of, plain_label, with_label
from .labelled import Labels, lacks_label, pair_up, read_labelled
from .like import in_kind_of
from .look import Look, look_at, look_at_grey
from .memory import allocate, usable_memory
from .parts import describe_sample, plain_dict, plain_key
from .pil_bytes import PilBytes
from .pixels import as_pixels
from .sample import (
    ImageKey,
    checked_key,
    extract_image,
    extract_images,
    extract_labelled,
    extract_list,
    has_parts,
    hide_companions,
    holds_samples,
)
from .sources import source_of, warn_clipped
from .spread import spread_places
from .untransformed import Finish, Reader, is_as_it_is, untransformed_reader

__all__ = [
    "IMAGE_KINDS",
    "Finish",
    "ImageKey",
    "LabelAt",
    "Labels",
    "Look",
    "PilBytes",
    "Reader",
    "Restore",
    "all_to_model",
    "allocate",
    "as_floats",
    "as_pixels",
    "as_seen",
    "check_has_channels",
    "check_has_image",
    "checked_key",
    "decode",
    "describe_sample",
    "exif_orientation",
    "extract_image",
    "extract_images",
    "extract_labelled",
    "extract_list",
    "files",
    "frames_of",
    "geometry_among",
    "has_exif_rotation",
    "has_parts",
    "has_transparency",
    "hide_companions",
    "holds_samples",
    "hugging_face",
    "in_kind_of",
    "is_as_it_is",
    "is_empty",
    "is_image",
    "is_model_bytes",
    "is_pure_tensor",
    "label_of",
    "labels_of",
    "lacks_label",
    "lead_shape",
    "look_at",
    "look_at_grey",
    "over_flat_colour",
    "pair_up",
    "plain_dict",
    "plain_key",
    "plain_label",
    "read_labelled",
    "source_of",
    "spatial_companions",
    "spread_places",
    "tell_geometry",
    "to_model",
    "unpack",
    "untransformed_reader",
    "upright",
    "usable_memory",
    "warn_clipped",
    "warn_exif_rotation",
    "with_label",
]
