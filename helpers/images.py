"""Read and write images and masks; colorize and overlay them. Sizes are (height, width)."""

import os
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from helpers.errors import InputError

Image.MAX_IMAGE_PIXELS = 2**29  # Pillow warns above it and refuses twice as many; these are the user's own pictures

SUFFIXES = (".png", ".jpg", ".jpeg")
_DAMAGE = (OSError, SyntaxError, ValueError, struct.error)  # what Pillow raises on damaged files
_END_MARKS = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}
_ONE_NUMBER_A_PIXEL = {"L": np.dtype(np.uint8), "P": np.dtype(np.uint8), "I;16": np.dtype("<u2")}  # by Pillow's mode


def list_images(folder):
    """Image files directly in `folder`, sorted by name; hidden files and other suffixes are no images.

    Returns:
        list of Path
    """
    return sorted(
        path for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def _open(path):
    try:
        return Image.open(path)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "not an image that Pillow knows" if isinstance(error, UnidentifiedImageError) else error
        raise InputError(f"cannot read {path}: {reason}; replace or remove it") from None


def _pixels(path, convert=None):
    with _open(path) as image:
        try:
            if convert in (None, image.mode):
                return _decoded(image) if image.mode in _ONE_NUMBER_A_PIXEL else np.asarray(image)
            return np.asarray(image.convert(convert))
        except _DAMAGE as error:
            raise InputError(f"cannot read {path}: {error}; replace or remove it") from None


def _decoded(image):
    """What np.asarray(image) holds, decoded into the array itself; asarray would copy twice, 16 bits pixel by pixel."""
    # Zeros, as Pillow's own memory: data that ends early leaves the rest as it is.
    pixels = np.zeros(image.size[::-1], _ONE_NUMBER_A_PIXEL[image.mode])
    memory = Image.frombuffer(image.mode, image.size, pixels, "raw", image.mode, 0, 1).im
    image.im = memory
    image.load()
    # A format that brings memory of its own has not written into this one.
    return pixels if image.im is memory else np.asarray(image)


def read_size(path):
    """(height, width) from the header of an image, after a look at the end of the file.

    Decodes nothing, so it takes about 0.1 ms. A PNG or JPEG that was cut off lacks its end mark and is named here already.

    Raises:
        InputError: the file is missing, is no image, or is cut off.
    """
    with _open(path) as image:
        width, height = image.size
        mark = _END_MARKS.get(image.format)
    if mark:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 65536))
            if mark not in file.read():
                raise InputError(f"cannot read {path}: the file is cut off; replace or remove it")
    return height, width


def read_image(path):
    """Color image as it lies in its file, uint8 (3, H, W), RGB; gray and palette images are converted.

    The array is a view of pixel-interleaved memory (channels last), which is what resampling wants.

    Gray images of 16 bits are divided by 257; of colors with 16 bits Pillow keeps the upper 8, which is at most 1 less.

    Raises:
        InputError: names the file that cannot be read.
    """
    with _open(path) as image:
        mode = image.mode
    if mode.startswith(("I", "F")):
        return _gray_to_rgb(_from_16_bits(path, mode, _pixels(path))).transpose(2, 0, 1)
    return _pixels(path, "RGB").transpose(2, 0, 1)


def _from_16_bits(path, mode, pixels):
    """uint8 (H, W): round(value / 257)."""
    _refuse_floats(path, mode)
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > 65535:
        raise InputError(f"{path} holds values from {low} to {high}; convert it to an image of 8 or 16 bits")
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _gray_to_rgb(gray):
    return np.repeat(gray[:, :, None], 3, 2)


def read_picture(path):
    """Any picture as a viewer shows it, uint8 (3, H, W), RGB: upright, as its EXIF orientation says, and opaque, on white.

    Gray, palette, CMYK and other pictures are converted, those of 16 bits as `read_image` does; of several frames or pages
    it is the first. Embedded color profiles are not applied. The array is a view of pixel-interleaved memory.

    Raises:
        InputError: names the file that cannot be read.
    """
    with _open(path) as image:
        try:
            ImageOps.exif_transpose(image, in_place=True)
            width, height = image.size
            pixels = np.empty((height, width, 3), np.uint8)
            for top in range(0, height, 256):  # what is converted needs several times its size
                bottom = min(top + 256, height)
                pixels[top:bottom] = _rgb(path, image.crop((0, top, width, bottom)))
        except InputError:
            raise
        except _DAMAGE as error:
            raise InputError(f"cannot read {path}: {error}; replace or remove it") from None
    return pixels.transpose(2, 0, 1)


def _rgb(path, image):
    """uint8 (H, W, 3): the pixels of any Pillow image."""
    if image.mode.startswith(("I", "F")):
        return _gray_to_rgb(_from_16_bits(path, image.mode, np.asarray(image)))
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        image = paper
    return np.asarray(image.convert("RGB"))


def read_picture_size(path):
    """(height, width) of a picture as `read_picture` returns it, from its header.

    Only a PNG with notes behind its pixels is decoded, for its orientation may be one of them.

    Raises:
        InputError: as for `read_size`, or the pixels are floating-point numbers.
    """
    height, width = read_size(path)
    with _open(path) as image:
        _refuse_floats(path, image.mode)
        try:
            # The PNG's own getexif decodes the pixels, in search of notes behind them.
            quick = image.format == "PNG" and not _notes_behind_pixels(path)
            exif = Image.Image.getexif(image) if quick else image.getexif()
            sideways = exif.get(0x0112, 1) in (5, 6, 7, 8)
        except _DAMAGE as error:
            raise InputError(f"cannot read {path}: {error}; replace or remove it") from None
        if image.format == "TIFF":  # its size may be upright already; the tags are as stored
            width, height = image.tag_v2[256], image.tag_v2[257]
    return (width, height) if sideways else (height, width)


def _refuse_floats(path, mode):
    if mode.startswith("F"):
        raise InputError(f"{path} holds floating-point numbers; convert it to an image of 8 or 16 bits")


def _notes_behind_pixels(path):
    """Whether a PNG has anything between its pixels and its end."""
    with open(path, "rb") as file:
        file.seek(8)
        behind = False
        while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
            if behind and head[4:] != b"IDAT":
                return True
            behind = behind or head[4:] == b"IDAT"
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    return False


def read_label(path):
    """Label map as it stands in the file, uint8 (H, W).

    Gray files of 8 or 16 bits, and palette files, whose indices are the values.

    Raises:
        InputError: the file cannot be read, is a color picture, or holds values above 255.
    """
    pixels = _pixels(path)
    if pixels.ndim != 2:
        raise InputError(
            f"{path} is a color picture of shape {pixels.shape}, but a label file holds one class number a pixel; "
            "convert the colors to class numbers"
        )
    if pixels.dtype == bool:
        pixels = pixels * np.uint8(255)
    if pixels.dtype != np.uint8:
        if pixels.min() < 0 or pixels.max() > 255:
            value = pixels.max() if pixels.max() > 255 else pixels.min()
            count = int((pixels == value).sum())
            raise InputError(f"{path} holds the value {value} ({count} pixels), but class numbers are 0 .. 255")
        pixels = pixels.astype(np.uint8)
    return pixels


def read_instances(path):
    """Instance map, (H, W): class id x 1000 + number for an instance, the class id alone for a region or group.

    uint16 as files of 16 bits hold it, int32 from all others.
    """
    pixels = _pixels(path)
    if pixels.ndim != 2:
        raise InputError(f"{path} is a color picture, but an instance map holds one instance number a pixel")
    return pixels if pixels.dtype == np.uint16 else pixels.astype(np.int32)


def write_png(path, pixels, compress_level=6):
    """Write uint8 (H, W) or (H, W, 3), or uint16 (H, W), as PNG."""
    Image.fromarray(pixels).save(path, format="PNG", compress_level=compress_level)


def colorize(label, palette):
    """Colors of a label map.

    Args:
        label: uint8 (H, W).
        palette: uint8 (256, 3), as `LabelTable.palette`.

    Returns:
        uint8 (H, W, 3)
    """
    return palette[label]


def overlay(image, colors, opacity=0.5):
    """Blend a colored label map over its image; the inputs are not changed.

    Args:
        image, colors: uint8 (H, W, 3).
        opacity: 0 shows the image, 1 the colors.

    Returns:
        uint8 (H, W, 3)
    """
    blended = np.empty(image.shape, np.uint8)
    for top in range(0, len(image), 256):  # the numbers between are 4 bytes each
        rows = slice(top, top + 256)
        blended[rows] = np.rint(image[rows] * np.float32(1 - opacity) + colors[rows] * np.float32(opacity))
    return blended
