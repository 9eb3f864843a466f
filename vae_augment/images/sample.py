"""A sample of any data set: where its image is, or its images are."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import PIL.Image
from torch import Tensor
from torch.utils._pytree import KeyPath, tree_flatten, tree_flatten_with_path, tree_map, tree_unflatten

from .kinds import check_has_channels, is_image, is_pure_tensor, lead_shape, spatial_companions
from .label import LabelAt, labels_of
from .parts import describe_part, describe_sample, lacks_key, of_kind, place_of, plain_dict, plain_key

IMAGE_NAMES = ("image", "img")
# parts of names of pictures that are not the image
OTHER_NAMES = ("mask", "seg", "depth", "annotation", "label", "target")

ImageKey = str | int | None
"""Where a sample's image is: a key, the name of a field, a position; None: where `extract_image` finds one."""


def checked_key(image_key: Any) -> ImageKey:
    """Return what `image_key=` was given. Raises TypeError for what is no key or position."""
    if (key := plain_key(image_key)) is None or (isinstance(key, str | int) and not isinstance(key, bool)):
        return key
    raise TypeError(f"image_key must be the key (str) or position (int) of the image in a sample, got {image_key!r}")


def extract_image(sample: Any, key: ImageKey = None, name: str = "a sample") -> tuple[Any, Callable[[Any], Any]]:
    """Return the image of a sample, and the function that returns the sample with another image in its place.

    The image is, as in torchvision's v2 transforms, the first PIL image or tv_tensors image, else the first plain tensor. Of
    several under keys it is the one called "image" or "img", and none that is called a mask or the like.

    Args:
        key: where else it is, in a dict, tuple or list. An image alone needs none.
        name: of the sample, in messages.

    Raises:
        TypeError: the sample holds no image, or none there.

    Example:
        >>> import torch
        >>> image, put_back = extract_image({"image": torch.zeros(1, 28, 28), "label": 3})
        >>> image.shape, put_back("another image")
        (torch.Size([1, 28, 28]), {'image': 'another image', 'label': 3})
        >>> extract_image((3, "a name", image), key=2)[0] is image
        True
    """
    if key is not None and isinstance(sample, tuple | list | Mapping):
        part, put_back = _part_at(sample, key, name)
        if is_image(part) and not _is_small(part):
            return part, put_back
        raise TypeError(
            f"{name}, {describe_sample(plain_dict(sample))}, has no image under {key!r}, which image_key= names"
            f"{_odd_one(part)}. Images are PIL images or tensors (..., C, H, W), and a batch is one tensor or a list of images; "
            "convert ndarrays with v2.ToImage(), and give (H, W) a channel, image[None]"
        )
    if type(sample) is tuple and len(sample) == 2 and is_image(sample[0]) and isinstance(sample[1], int | str):
        label = sample[1]
        return sample[0], lambda image: (image, label)  # the usual sample, without the cost of walking a tree
    flat, spec = tree_flatten(sample)
    explicit = [i for i, item in enumerate(flat) if is_image(item) and not is_pure_tensor(item)]
    tensors = [i for i, item in enumerate(flat) if is_pure_tensor(item)]
    if not (explicit or tensors):
        kinds = ", ".join(type(item).__name__ for item in flat)
        where = "if there is an image, say where, image_key='key'"
        if key is not None:
            where = f"image_key={key!r} is looked for in dicts, tuples and lists: let a sample be one of these"
        raise TypeError(
            f"a sample holds no image, only: {kinds}. Images are PIL images or tensors; convert ndarrays with v2.ToImage(), and "
            f"{where}"
        )
    position = (explicit or tensors)[0]
    if len(explicit) > 1:
        names = [_name_of(path) for path, _ in tree_flatten_with_path(sample)[0]]
        position = min(explicit, key=lambda i: _rank(names[i]))
    return flat[position], lambda image: tree_unflatten([*flat[:position], image, *flat[position + 1 :]], spec)


def extract_images(sample: Any, key: ImageKey) -> tuple[Any, Callable[[Any], Any]]:
    """The same of a sample or a batch of them in columns, whose images are one tensor or a list.

    Example:
        >>> images, put_back = extract_images({"photo": [PIL.Image.new("L", (9, 9))] * 3, "cls": [0, 1, 0]}, "photo")
        >>> len(images), put_back("others")
        (3, {'photo': 'others', 'cls': [0, 1, 0]})
    """
    part, put_back = _part_at(sample, key)
    if isinstance(part, list) and part and all(is_image(item) and not _is_small(item) for item in part):
        return part, put_back
    return extract_image(sample, key)


def _odd_one(part: Any) -> str:
    """What a list holds that is no batch of images, or no image alone, for a message."""
    odd = [item for item in part if not is_image(item) or _is_small(item)] if isinstance(part, list) else []
    return f", but a list with {describe_part(odd[0])} in it" if odd else ""


def _part_at(sample: Any, key: ImageKey, name: str = "a sample") -> tuple[Any, Callable[[Any], Any]]:
    """Return what a sample has at a key, and the function that returns the sample with something else there.

    Raises:
        TypeError: it has nothing there.
    """
    sample = plain_dict(sample)
    place = place_of(sample, key)
    is_position = isinstance(place, int) and -len(sample) <= place < len(sample)
    if not (place in sample if isinstance(sample, dict) else is_position):
        raise TypeError(f"{lacks_key(name, sample, key)}: let image_key= be the key or position of its image")

    def put_back(other: Any) -> Any:
        if isinstance(sample, dict):
            new = copy.copy(sample)  # an OrderedDict stays one
            new[place] = other
            return new
        parts = list(sample)
        parts[place] = other
        return parts if isinstance(sample, list) else of_kind(sample, dict(enumerate(parts)))

    return sample[place], put_back


class _Hidden:
    """A PIL image that a transform does not see."""

    def __init__(self, image: PIL.Image.Image) -> None:
        self.image = image


def has_parts(sample: Any) -> bool:
    """Whether an object is a sample, or a list of samples: neither an image alone nor a list of PIL images, which is a batch.

    Example:
        >>> picture = PIL.Image.new("L", (9, 9))
        >>> has_parts((picture, 3)), has_parts([picture, 3]), has_parts([picture, picture]), has_parts(picture)
        (True, True, False, False)
    """
    if isinstance(sample, list):
        return not all(is_image(item) and not is_pure_tensor(item) for item in sample)
    return isinstance(sample, tuple | Mapping)


def holds_samples(sample: Any) -> bool:
    """Whether an object is a list of samples."""
    return isinstance(sample, list) and bool(sample) and all(isinstance(item, tuple | Mapping) for item in sample)


def hide_companions(sample: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Hide all PIL images of a sample but its image: masks, depth maps and the like. Return the function that shows them.

    It is the first one, or of several under keys the one called "image" or "img", and none that is called a mask or the like. A
    list of images is a batch, as one image is; a list of tuples or dicts holds a sample in each.

    Example:
        >>> picture, mask = PIL.Image.new("RGB", (9, 9)), PIL.Image.new("P", (9, 9))
        >>> hidden, show = hide_companions((picture, mask))
        >>> hidden[0] is picture, hidden[1] is mask, show(hidden)[1] is mask
        (True, False, True)
    """
    if holds_samples(sample):
        pairs = [hide_companions(item) for item in sample]
        return [hidden for hidden, _ in pairs], lambda varied: [
            show(item) for (_, show), item in zip(pairs, varied, strict=True)
        ]
    flat, spec = tree_flatten(sample)
    pictures = [i for i, item in enumerate(flat) if isinstance(item, PIL.Image.Image)]
    if len(pictures) < 2:
        return sample, lambda varied: varied
    paths = [path for path, _ in tree_flatten_with_path(sample)[0]]
    columns = {i: _column(sample, paths[i]) for i in pictures}
    image = columns[min(pictures, key=lambda i: _rank(_name_of(paths[i])))]
    hidden = [_Hidden(item) if columns.get(i, image) != image else item for i, item in enumerate(flat)]

    def show(varied: Any) -> Any:
        return tree_map(lambda item: item.image if isinstance(item, _Hidden) else item, varied)

    return tree_unflatten(hidden, spec), show


def _column(sample: Any, path: KeyPath) -> KeyPath:
    """Where an image is, or the list that it is one of."""
    parent = sample
    for key in path[:-1]:
        parent = key.get(parent)
    return path[:-1] if isinstance(parent, list) else path


def _name_of(path: KeyPath) -> str:
    """The last key or field on the way to a part of a sample; "" if there is none."""
    names = (getattr(key, "key", getattr(key, "name", None)) for key in reversed(path))
    return next((name for name in names if isinstance(name, str)), "")


def _rank(name: str) -> int:
    """How little a name is that of the image: 0 to 2."""
    if name in IMAGE_NAMES:
        return 0
    return 2 if any(word in name.lower() for word in OTHER_NAMES) else 1


def extract_labelled(
    sample: Any, leaves: list[Any], at: LabelAt = None, key: ImageKey = None
) -> tuple[Any, list[int | str], Callable[[Any], Any]]:
    """Split a sample, or a batch of them, into image, its labels, and the function that puts another image in its place.

    A batch is one tensor, or a list of images.

    Args:
        leaves: all that the sample holds.
        at: where the labels are, see `label_of`.
        key: where the image is, see `extract_image`.

    Raises:
        TypeError: there is no label for each image.
        ValueError: the image has no channels, as a label before it, or beside it lies what would not fit another image.
    """
    if key is not None and has_parts(sample):
        image, join = extract_images(sample, key)
    else:
        image, join = extract_list(sample) or extract_image(sample)
    if isinstance(image, Tensor):
        check_has_channels(image)
    if (labels := labels_of(sample, (len(image),) if isinstance(image, list) else lead_shape(image), at)) is None:
        raise TypeError(
            f"after fit, an image is replaced by a new one of its label, and {describe_sample(sample)} has none: it takes "
            "(image, label, ...) or {'image': ..., 'label': ...}, integers or strings, for a batch one for each image, and "
            "comes before MixUp and CutMix; labels elsewhere: fit(..., labels='key'). For an image alone, augment(image), the "
            "nearest labelled image's class is taken"
        )
    is_list = isinstance(image, list)
    others = [item for item in leaves if not any(item is one for one in image)] if is_list else leaves
    if kinds := spatial_companions(image[0] if is_list else image, others):
        raise ValueError(
            f"after fit, an image is replaced by a new one of its label, which {', '.join(kinds)} would not fit: use a "
            "transform that was not fitted"
        )
    return image, labels, join


def _is_small(item: Any) -> bool:
    """Whether it is a tensor without channels, as a label is."""
    return isinstance(item, Tensor) and item.ndim < 3


def extract_list(sample: Any) -> tuple[list[Any], Callable[[Any], Any]] | None:
    """The images of a batch that has them as a list, as data sets of the Hugging Face Hub give it; None for others.

    A list of plain tensors is a batch under a key or in a tuple alone: torchvision takes the first of others for the image.
    """
    if isinstance(sample, list):
        is_batch = bool(sample) and all(is_image(item) and not is_pure_tensor(item) for item in sample)
        return (list(sample), lambda images: images) if is_batch else None
    parts = sample.items() if isinstance(sample, dict) else enumerate(sample) if isinstance(sample, tuple) else ()
    for key, part in parts:
        if isinstance(part, list | tuple) and part and all(is_image(item) and not _is_small(item) for item in part):
            if isinstance(sample, dict):
                return list(part), lambda images, key=key: {**sample, key: images}
            return list(part), lambda images, key=key: (*sample[:key], images, *sample[key + 1 :])
    return None
