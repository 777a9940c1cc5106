"""Image files before their pixels are read: opening them, the size that a header may claim, completeness, EXIF orientation."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from helpers.errors import InputError

# One line is printed about a damaged file, and it is ours. The limit of pixels is that of `_refuse_size`.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())
Image.MAX_IMAGE_PIXELS = None

ROTATED_BY_90 = (5, 6, 7, 8)  # EXIF orientations that swap height and width
_ORIENTATION = 0x0112  # EXIF tag
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_MOST_PIXELS = 2**30
_ALWAYS_ALLOWED = 2**26  # pixels: decoding takes half a gigabyte and a second
# The most pixels that a byte of a file can stand for, by Pillow's decoder. zlib writes at least one byte for 1032.
_PIXELS_PER_BYTE = {"raw": 1, "jpeg": 400}
_PIXELS_PER_COMPRESSED_BYTE = 1100
_BELOW_8_BITS = ("1", "L", "P")  # Pillow's modes of images with 1 to 8 bits per pixel


class ImageHeader(NamedTuple):
    """What the header of an image file says.

    Args:
        size: (height, width) of the upright image.
        orientation: EXIF orientation of the stored pixels, 1 .. 8; 1 is upright.
    """

    size: tuple[int, int]
    orientation: int

    @property
    def stored_size(self) -> tuple[int, int]:
        """(height, width) of the pixels as stored."""
        height, width = self.size
        return (width, height) if self.orientation in ROTATED_BY_90 else self.size


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """An image file, open and not decoded yet.

    Raises:
        InputError: the file cannot be read, also when it is decoded inside the `with` block; the message names it.
    """
    try:
        # By a path, Pillow 13 maps uncompressed TIFF files into memory with the height and width of the rotated image.
        with open(path, "rb") as file, Image.open(file) as image:
            _refuse_size(path, image)
            yield image
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except UnidentifiedImageError:
        raise unreadable(path, "not an image that Pillow knows") from None
    except MemoryError:
        raise InputError(f"cannot read {path}: there is too little memory to decode it") from None
    except Exception as error:  # for damaged files Pillow raises nearly any
        if isinstance(error, OSError) and error.strerror:
            raise InputError(f"cannot read {path}: {error.strerror}; check its permissions and the disk") from None
        reason = " ".join(str(error).split())
        expected = isinstance(error, (OSError, SyntaxError, ValueError)) and reason
        raise unreadable(path, reason if expected else f"{type(error).__name__} {reason}".strip()) from None


def unreadable(path: Path, reason: str) -> InputError:
    """The error for a damaged file."""
    return InputError(f"cannot read {path}: {reason}; replace or remove it")


def refuse_floats(path: Path, mode: str) -> None:
    """Raise `InputError` for images of floating-point numbers, whose range is unknown."""
    if mode.startswith("F"):
        raise InputError(f"{path} holds floating-point numbers; convert it to an image of 8 or 16 bits")


def read_image_header(path: Path) -> ImageHeader:
    """The header of an image; 0.2 ms. Only a file that does not end where its format ends is decoded, to see whether it can be.

    Raises:
        InputError: the file is missing, not an image, cut off, or of floating-point numbers.
    """
    with open_image(path) as image:
        refuse_floats(path, image.mode)
        with open(path, "rb", buffering=0) as file:
            is_complete, has_late_metadata = _look_at_end(file, image)
        # A PNG's own getexif decodes the pixels to reach metadata after them: 30 ms, not 0.3 ms (1024x2048 RGB).
        header_only = image.format == "PNG" and not has_late_metadata
        if has_late_metadata:
            image.load()
        orientation = _orientation(image, header_only)
        width, height = image.size
        if isinstance(image, TiffImagePlugin.TiffImageFile):  # image.size may be rotated already, the tags are not
            width, height = image.tag_v2[256], image.tag_v2[257]
        if not is_complete:
            _refuse_cut_off(path)
    size = (width, height) if orientation in ROTATED_BY_90 else (height, width)
    return ImageHeader(size, orientation)


def upright(image: Image.Image) -> Image.Image:
    """The decoded image, rotated and mirrored by its EXIF orientation."""
    image.load()
    transposition = _TRANSPOSITIONS.get(_orientation(image))
    return image if transposition is None else image.transpose(transposition)


def _refuse_size(path: Path, image: Image.Image) -> None:
    """Refuse more pixels than are read, and than the file can hold: decoding a false header takes seconds and gigabytes."""
    width, height = image.size
    if width * height > _MOST_PIXELS:
        raise InputError(f"{path} has {height}x{width} pixels, and at most 2**30 are read; divide it")
    codec = image.tile[0][0] if getattr(image, "tile", None) else ""
    per_byte = _PIXELS_PER_BYTE.get(codec, _PIXELS_PER_COMPRESSED_BYTE)
    if image.mode in _BELOW_8_BITS:
        per_byte *= 8
    num_bytes = os.path.getsize(path)
    if width * height > max(_ALWAYS_ALLOWED, per_byte * num_bytes):
        raise unreadable(path, f"its header claims {height}x{width} pixels, too many for a file of {num_bytes} bytes")


def _refuse_cut_off(path: Path) -> None:
    """Raise `InputError` if a file cannot be decoded."""
    try:
        with open_image(path) as image:
            image.load()
    except InputError:
        raise unreadable(path, "the file is cut off") from None


def _orientation(image: Image.Image, header_only: bool = False) -> int:
    """EXIF orientation, 1 .. 8; damaged EXIF counts as upright, as in viewers.

    Args:
        header_only: leave out the metadata after the pixels of a PNG.
    """
    try:
        exif = Image.Image.getexif(image) if header_only else image.getexif()
        value = exif.get(_ORIENTATION)
    except Exception:  # as in `open_image`
        return 1
    return int(value) if value in _TRANSPOSITIONS else 1


def _look_at_end(file: IO[bytes], image: Image.Image) -> tuple[bool, bool]:
    """Whether a file has an end, perhaps with bytes behind it, and whether a PNG has metadata after its pixels."""
    num_bytes = os.fstat(file.fileno()).st_size
    if image.format == "PNG":
        return _walk_png(file)
    if image.format in ("JPEG", "MPO"):
        file.seek(max(0, num_bytes - 64))
        return file.read(64).rstrip(b"\0\r\n ").endswith(b"\xff\xd9"), False
    end = 0
    if image.format == "WEBP":
        end = int.from_bytes(file.read(8)[4:], "little") + 8
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        for offsets, counts in ((273, 279), (324, 325)):  # of strips and of tiles
            parts = zip(image.tag_v2.get(offsets, ()), image.tag_v2.get(counts, ()), strict=False)
            end = max([end, *(offset + count for offset, count in parts)])
    elif image.format == "BMP":
        end = int.from_bytes(file.read(6)[2:], "little")
    return end <= num_bytes, False


def _walk_png(file: IO[bytes]) -> tuple[bool, bool]:
    """Whether a PNG has a last chunk (IEND), and whether there are others between its pixels (IDAT) and this one."""
    after_pixels = False
    is_late = False
    file.seek(8)
    while len(header := file.read(8)) == 8:  # length and type
        kind = header[4:]
        if kind == b"IEND":
            return True, is_late
        is_late = is_late or (after_pixels and kind != b"IDAT")
        after_pixels = after_pixels or kind == b"IDAT"
        file.seek(int.from_bytes(header[:4], "big") + 4, os.SEEK_CUR)
    return False, is_late
