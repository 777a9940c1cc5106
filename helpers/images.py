"""Read and write images and label maps; colorize and overlay them. Sizes are (height, width)."""

import os
import struct
from contextlib import nullcontext
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from helpers.errors import InputError, naming

Image.MAX_IMAGE_PIXELS = 2**29  # Pillow warns above it and refuses twice as many; these are the user's own images

SUFFIXES = (".png", ".jpg", ".jpeg")
_DECODING_ERRORS = (OSError, SyntaxError, ValueError, struct.error)  # Pillow raises these for damaged files
_END_MARKERS = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}
_ORIENTATION = 0x0112  # EXIF tag
_ROTATED_BY_90 = (5, 6, 7, 8)  # its values that swap height and width
_ROWS = 256  # processed at a time, to bound the memory for intermediate results


def list_images(folder: Path) -> list[Path]:
    """Image files directly in `folder`, sorted by name; without hidden files and other suffixes."""
    return sorted(
        path for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header of an image; also checks the end of the file.

    Takes about 0.1 ms, because nothing is decoded. A truncated PNG or JPEG has no end marker.

    Raises:
        InputError: the file is missing, not an image, or truncated.
    """
    with _open(path) as image:
        width, height = image.size
        marker = _END_MARKERS.get(image.format or "")
    if marker:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 65536))
            if marker not in file.read():
                raise InputError(f"cannot read {path}: the file is cut off; replace or remove it")
    return height, width


def read_image(path: Path) -> np.ndarray:
    """Color image as stored, without rotation, uint8 (3, H, W), RGB; grayscale and palette images are converted.

    The array is a view of channels-last memory, which resampling prefers. 16-bit grayscale is divided by 257; of 16-bit colors
    Pillow keeps the upper 8 bits, which differs by at most 1.

    Raises:
        InputError: the file cannot be read; the message names it.
    """
    with _open(path) as image:
        mode = image.mode
    if mode.startswith(("I", "F")):
        return _gray_to_rgb(_from_16_bits(path, mode, _decode(path))).transpose(2, 0, 1)
    return _decode(path, "RGB").transpose(2, 0, 1)


def read_upright(path: Path) -> np.ndarray:
    """Any image as a viewer shows it, uint8 (3, H, W), RGB: rotated by its EXIF orientation, transparency on white.

    Grayscale, palette, CMYK and other modes are converted, 16 bits as in `read_image`; of several frames or pages only the
    first is read. Embedded color profiles are not applied. The array is a view of channels-last memory.

    Raises:
        InputError: the file cannot be read; the message names it.
    """
    with _open(path) as image:
        try:
            ImageOps.exif_transpose(image, in_place=True)
            width, height = image.size
            pixels = np.empty((height, width, 3), np.uint8)
            for top in range(0, height, _ROWS):
                bottom = min(top + _ROWS, height)
                pixels[top:bottom] = _to_rgb(path, image.crop((0, top, width, bottom)))
        except InputError:
            raise
        except _DECODING_ERRORS as error:
            raise _unreadable(path, error) from None
    return pixels.transpose(2, 0, 1)


def read_upright_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image as `read_upright` returns it, from its header.

    Decodes only a PNG with metadata after its pixels, because this may include the orientation.

    Raises:
        InputError: as for `read_size`, or the pixels are floating-point numbers.
    """
    height, width = read_size(path)
    with _open(path) as image:
        _refuse_floats(path, image.mode)
        try:
            # A PNG's own getexif decodes the pixels to reach metadata after them: 30 ms, not 0.3 ms (1024x2048 RGB).
            header_only = image.format == "PNG" and not _has_trailing_metadata(path)
            exif = Image.Image.getexif(image) if header_only else image.getexif()
        except _DECODING_ERRORS as error:
            raise _unreadable(path, error) from None
        if image.format == "TIFF":  # image.size may be rotated already, the tags are not
            width, height = image.tag_v2[256], image.tag_v2[257]
    return (width, height) if exif.get(_ORIENTATION) in _ROTATED_BY_90 else (height, width)


def read_label(path: Path) -> np.ndarray:
    """Label map as stored, uint8 (H, W): grayscale of 8 or 16 bits, or a palette image, whose indices are the labels.

    Raises:
        InputError: the file cannot be read, is a color image, or holds values above 255.
    """
    pixels = _decode(path)
    if pixels.ndim != 2:
        raise InputError(
            f"{path} is a color image of shape {pixels.shape}, but a label file holds one class number per pixel; "
            "convert the colors to class numbers"
        )
    if pixels.dtype == bool:
        return pixels * np.uint8(255)
    if pixels.dtype == np.uint8:
        return pixels
    low, high = pixels.min(), pixels.max()
    if low < 0 or high > 255:
        value = high if high > 255 else low
        count = np.count_nonzero(pixels == value)
        raise InputError(f"{path} holds the value {value} ({count} pixels), but class numbers are 0 .. 255")
    return pixels.astype(np.uint8)


def read_instances(path: Path) -> np.ndarray:
    """Instance map, (H, W): class id * 1000 + number for an instance, the class id alone for a region or group.

    uint16 if the file has 16 bits, else int32.
    """
    pixels = _decode(path)
    if pixels.ndim != 2:
        raise InputError(f"{path} is a color image, but an instance map holds one instance number per pixel")
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


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except UnidentifiedImageError:
        raise _unreadable(path, "not an image that Pillow knows") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, reason: object) -> InputError:
    return InputError(f"cannot read {path}: {reason}; replace or remove it")


def _decode(path: Path, mode: str | None = None) -> np.ndarray:
    """Pixels as stored, or converted to a Pillow mode."""
    with _open(path) as image:
        try:
            return np.asarray(image.convert(mode) if mode else image)
        except _DECODING_ERRORS as error:
            raise _unreadable(path, error) from None


def _from_16_bits(path: Path, mode: str, pixels: np.ndarray) -> np.ndarray:
    """uint8 (H, W): round(value / 257)."""
    _refuse_floats(path, mode)
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > 65535:
        raise InputError(f"{path} holds values from {low} to {high}; convert it to an image of 8 or 16 bits")
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _refuse_floats(path: Path, mode: str) -> None:
    if mode.startswith("F"):
        raise InputError(f"{path} holds floating-point numbers; convert it to an image of 8 or 16 bits")


def _gray_to_rgb(gray: np.ndarray) -> np.ndarray:
    return np.repeat(gray[:, :, None], 3, 2)


def _to_rgb(path: Path, image: Image.Image) -> np.ndarray:
    """uint8 (H, W, 3): the pixels of an image of any mode."""
    if image.mode.startswith(("I", "F")):
        return _gray_to_rgb(_from_16_bits(path, image.mode, np.asarray(image)))
    if image.has_transparency_data:
        background = Image.new("RGBA", image.size, "white")
        background.alpha_composite(image.convert("RGBA"))
        image = background
    return np.asarray(image.convert("RGB"))


def _has_trailing_metadata(path: Path) -> bool:
    """Whether a PNG has chunks between its pixels (IDAT) and its end (IEND)."""
    after_pixels = False
    with open(path, "rb") as file:
        file.seek(8)
        while True:
            header = file.read(8)  # length and type
            kind = header[4:]
            if len(header) < 8 or kind == b"IEND":
                return False
            if after_pixels and kind != b"IDAT":
                return True
            after_pixels = after_pixels or kind == b"IDAT"
            file.seek(int.from_bytes(header[:4], "big") + 4, os.SEEK_CUR)
