"""Read and write images and label maps; colorize and overlay them. Sizes are (height, width).

Every image and label map is read here, in one way: upright, by its EXIF orientation.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image

from helpers.errors import InputError, naming
from helpers.image_file import open_image, read_image_header, refuse_floats, upright

SUFFIXES = (".png", ".jpg", ".jpeg")
# Files that a user may take for images of a data set or of --input, although not all of them are read.
PICTURE_SUFFIXES = (
    *(*SUFFIXES, ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif", ".jxl", ".jp2"),
    *(".ppm", ".pgm", ".pbm", ".tga", ".psd", ".exr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
)
_ROWS = 256  # processed at a time, to bound the memory for intermediate results


class LabelFile(NamedTuple):
    """A label map as stored.

    Args:
        values: uint8 (H, W).
        palette: uint8 (K, 3), the color of each value in a palette image; None for others.
    """

    values: np.ndarray
    palette: np.ndarray | None


def list_images(folder: Path) -> list[Path]:
    """Image files directly in `folder`, sorted by name; without hidden files and other suffixes."""
    return sorted(
        path for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image as `read_image` returns it, from its header; raises `InputError` as `read_image_header`."""
    return read_image_header(path).size


def read_image(path: Path) -> np.ndarray:
    """Any image as a viewer shows it, uint8 (3, H, W), RGB: rotated by its EXIF orientation, transparency on white.

    Grayscale, palette, CMYK and other modes are converted. 16-bit grayscale is divided by 257; of 16-bit colors Pillow keeps the
    upper 8 bits, which differs by at most 1. Of several frames or pages only the first is read. Embedded color profiles are not
    applied. The array is a writable view of channels-last memory, which resampling prefers.

    Raises:
        InputError: the file cannot be read; the message names it.
    """
    with open_image(path) as file:
        image = upright(file)
        width, height = image.size
        pixels = np.empty((height, width, 3), np.uint8)
        for top in range(0, height, _ROWS):
            bottom = min(top + _ROWS, height)
            pixels[top:bottom] = _to_rgb(path, image.crop((0, top, width, bottom)))
    return pixels.transpose(2, 0, 1)


def read_label(path: Path) -> np.ndarray:
    """The values of a label map, uint8 (H, W): grayscale of 8 or 16 bits, or a palette image, whose indices are the labels.

    Raises:
        InputError: the file cannot be read, is a color image, or holds values above 255.
    """
    return read_label_file(path).values


def read_label_file(path: Path) -> LabelFile:
    """A label map and the palette that it is stored with; raises `InputError` as `read_label`."""
    pixels, palette = _read_single_channel(
        path, "a label file holds one class number per pixel; convert the colors to class numbers"
    )
    if pixels.dtype == bool:
        pixels = pixels * np.uint8(255)
    if pixels.dtype == np.uint8:
        return LabelFile(pixels, palette)
    low, high = pixels.min(), pixels.max()
    if low < 0 or high > 255:
        value = high if high > 255 else low
        count = np.count_nonzero(pixels == value)
        raise InputError(f"{path} holds the value {value} ({count} pixels), but class numbers are 0 .. 255")
    return LabelFile(pixels.astype(np.uint8), palette)


def read_instances(path: Path) -> np.ndarray:
    """Instance map, (H, W): class id * 1000 + number for an instance, the class id alone for a region or group.

    uint16 if the file has 16 bits, else int32.
    """
    pixels, _ = _read_single_channel(path, "an instance map holds one instance number per pixel")
    return pixels if pixels.dtype == np.uint16 else pixels.astype(np.int32)


def write_png(path: Path | IO[bytes], pixels: np.ndarray, compress_level: int = 6) -> None:
    """Write uint8 (H, W) or (H, W, 3), or uint16 (H, W)."""
    with naming(path) if isinstance(path, Path) else nullcontext():
        Image.fromarray(pixels).save(path, format="PNG", compress_level=compress_level)


def colorize(label: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Colors uint8 (H, W, 3) of a label map uint8 (H, W), for a palette uint8 (256, 3)."""
    return palette[label]


def overlay(image: np.ndarray, colors: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Blend a colorized label map over its image, all uint8 (H, W, 3); opacity 0 shows the image, 1 the colors."""
    blended = np.empty(image.shape, np.uint8)
    for top in range(0, len(image), _ROWS):
        rows = slice(top, top + _ROWS)
        blended[rows] = np.rint(image[rows] * np.float32(1 - opacity) + colors[rows] * np.float32(opacity))
    return blended


def _read_single_channel(path: Path, expected: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The upright pixels of a label or instance map, (H, W), and its palette, uint8 (K, 3), if it has one.

    Args:
        expected: the end of the message about a color image.
    """
    with open_image(path) as file:
        image = upright(file)
        refuse_floats(path, image.mode)
        pixels = np.asarray(image)
        palette = image.getpalette("RGB") if image.mode == "P" else None
    if pixels.ndim != 2:
        raise InputError(f"{path} is a color image of shape {pixels.shape}, but {expected}")
    return pixels, None if palette is None else np.array(palette, np.uint8).reshape(-1, 3)


def _from_16_bits(path: Path, pixels: np.ndarray) -> np.ndarray:
    """uint8 (H, W): round(value / 257)."""
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > 65535:
        raise InputError(f"{path} holds values from {low} to {high}; convert it to an image of 8 or 16 bits")
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _to_rgb(path: Path, image: Image.Image) -> np.ndarray:
    """uint8 (H, W, 3): the pixels of an image of any mode."""
    if image.mode.startswith(("I", "F")):
        refuse_floats(path, image.mode)
        values = np.asarray(image)
        gray = _from_16_bits(path, values)
        gray[values == image.info.get("transparency", -1)] = 255
        return np.repeat(gray[:, :, None], 3, 2)
    if image.has_transparency_data:
        background = Image.new("RGBA", image.size, "white")
        background.alpha_composite(image.convert("RGBA"))
        image = background
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
