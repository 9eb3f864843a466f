"""A PIL image as it is to be seen: upright, and over one flat colour where it is transparent."""

import PIL.Image
from PIL import ImageOps
from PIL.Image import Transpose

EXIF_ORIENTATION_TAG = 0x0112
UPRIGHT = 1  # the orientation of an image that is not turned
TURNS = {  # by orientation: what makes it upright
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")  # of PIL
FLAT_COLOUR = (255, 255, 255, 255)  # RGBA
PLAIN_MODES = {
    "1": "L",
    "P": "RGB",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
    "LAB": "RGB",
    "PA": "RGBA",
}  # of 8 bits


class TooManyBitsError(ValueError):
    """An image that a conversion to 8 bits would damage: which of its values is white, its file does not say."""


def check_bits(image: PIL.Image.Image, name: str = "") -> None:
    """Refuse an image of more than 8 bits a pixel.

    Args:
        name: what messages call it; default: its file.

    Raises:
        TooManyBitsError: it has more.

    Example:
        >>> check_bits(PIL.Image.new("L", (28, 28)))
    """
    if image.mode.startswith(("I", "F")):
        name = name or str(getattr(image, "filename", "")) or "an image"
        raise TooManyBitsError(
            f"{name} has more than 8 bits a pixel (PIL mode {image.mode}), and which value is white only you know: scale it, "
            "Image.fromarray((numpy.asarray(image) * (255 / WHITE)).astype('uint8')), with Image of PIL and WHITE=65535, or "
            "4095 of 12 bits"
        )


def exif_orientation(image: PIL.Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 to 8; 1, upright, where it has none or its metadata are damaged.

    Example:
        >>> exif_orientation(PIL.Image.new("L", (28, 28)))
        1
    """
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION_TAG, UPRIGHT)
    except Exception:  # PIL raises errors of many types for damaged metadata
        return UPRIGHT
    return orientation if orientation in TURNS else UPRIGHT


def upright(image: PIL.Image.Image) -> PIL.Image.Image:
    """Return an image turned as its EXIF orientation says; the image itself if it is upright.

    Example:
        >>> image = PIL.Image.new("L", (40, 30))
        >>> image.getexif()[EXIF_ORIENTATION_TAG] = 6
        >>> upright(image).size
        (30, 40)
    """
    image.load()  # a TIFF is turned by PIL as it is read
    turn = TURNS.get(exif_orientation(image))
    return image if turn is None else image.transpose(turn)


def as_seen(image: PIL.Image.Image) -> PIL.Image.Image:
    """Return an image upright and in a mode that `VAEAugment` takes.

    Raises:
        TooManyBitsError: it has more than 8 bits a pixel.

    Example:
        >>> as_seen(PIL.Image.new("P", (28, 28))).mode
        'RGB'
    """
    image.load()
    check_bits(image)
    if image.info and exif_orientation(image) != UPRIGHT:  # most images have none, and are many
        image = ImageOps.exif_transpose(image)  # and without the tag, lest it be turned again
    if image.mode not in PLAIN_MODES:
        return image
    return image.convert("RGBA" if has_transparency(image) else PLAIN_MODES[image.mode])


def has_transparency(image: PIL.Image.Image) -> bool:
    """Whether pixels of an image may be transparent: by an alpha channel, or by a colour or palette entry (tRNS).

    Example:
        >>> has_transparency(PIL.Image.new("LA", (28, 28))), has_transparency(PIL.Image.new("P", (28, 28)))
        (True, False)
    """
    return image.mode in ALPHA_MODES or "transparency" in image.info


def over_flat_colour(image: PIL.Image.Image) -> PIL.Image.Image:
    """Return a transparent image composed over white, as RGB; an image without transparency as it is.

    What lies hidden under transparent pixels is often noise, or the remains of an editor's work.

    Example:
        >>> over_flat_colour(PIL.Image.new("RGBA", (28, 28), (200, 0, 0, 0))).getpixel((0, 0))
        (255, 255, 255)
    """
    if not has_transparency(image):
        return image
    image = image.convert("RGBA")
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, FLAT_COLOUR), image).convert("RGB")
