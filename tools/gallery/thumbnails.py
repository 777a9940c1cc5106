"""The thumbnails of one image: input, truth, prediction and errors, small enough to embed in the page."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from helpers.images import read_image, read_label
from helpers.labels import VOID, LabelTable
from learning.data.datasets.base import Dataset, Sample

SUFFIX = {"input": ".jpg", "truth": ".png", "prediction": ".png", "errors": ".png"}
# Values of an error map.
CORRECT = 0
WRONG = 1
IGNORED = 2
# By value of an error map; correct pixels are transparent, so that the input shows through.
_ERROR_COLORS = np.array([(0, 0, 0), (255, 45, 85), (0, 0, 0)], np.uint8)
_ERROR_OPACITY = bytes([0, 190, 150])


class Thumbnails(NamedTuple):
    """The thumbnails of one image.

    Args:
        uris: kind of thumbnail -> data URI, in the order of `SUFFIX`; no truth and no errors without a label.
        size: (height, width) of the image.
        has_full: whether there are files of full size as well.
    """

    uris: dict[str, str]
    size: tuple[int, int]
    has_full: bool


def error_map(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Compare two uint8 (H, W) of train ids or VOID: CORRECT, WRONG, or IGNORED where the truth is void; uint8 (H, W)."""
    return np.where(truth == VOID, IGNORED, truth != prediction).astype(np.uint8)


def render(dataset: Dataset, sample: Sample, prediction: Path, width: int | None, folder: Path) -> Thumbnails:
    """Encode the thumbnails of a sample and, if it is wider than they may be, files of full size.

    Args:
        prediction: PNG of label ids.
        width: largest width of the thumbnails in pixels; None embeds the full size.
        folder: where NAME_input.jpg, NAME_truth.png, ... of larger images are written.
    """
    table = dataset.labels
    photo = Image.fromarray(np.ascontiguousarray(read_image(sample.image).transpose(1, 2, 0)))
    maps = {"truth": dataset.decode[read_label(sample.label)]} if sample.label else {}
    maps["prediction"] = table.decoder("ids", "train_ids")[0][read_label(prediction)]
    height, full_width = maps["prediction"].shape
    full_size = (height, full_width)
    if width is None or width >= full_width:
        return Thumbnails(_data_uris(photo, maps, table), full_size, has_full=False)
    for kind, data in _encode(photo, maps, table, quality=92).items():
        (folder / f"{sample.name}_{kind}{SUFFIX[kind]}").write_bytes(data)
    size = width, max(1, round(height * width / full_width))
    photo = photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
    maps = {kind: _resize_nearest(pixels, size) for kind, pixels in maps.items()}
    return Thumbnails(_data_uris(photo, maps, table), full_size, has_full=True)


def _data_uris(photo: Image.Image, maps: dict[str, np.ndarray], table: LabelTable) -> dict[str, str]:
    return {kind: _data_uri(kind, data) for kind, data in _encode(photo, maps, table, quality=85).items()}


def _resize_nearest(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize to (width, height)."""
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST))


def _encode(photo: Image.Image, maps: dict[str, np.ndarray], table: LabelTable, quality: int) -> dict[str, bytes]:
    """By kind: the input as JPEG, the maps as palette PNG."""
    void = len(table.classes)
    colors = table.palette[: void + 1]  # the last is VOID's black; few colors make few bits a pixel
    encoded = {"input": _file_bytes(photo, "JPEG", quality=quality)}
    for kind, pixels in maps.items():
        encoded[kind] = _palette_png(np.minimum(pixels, void), colors)
    if "truth" in maps:
        errors = error_map(maps["truth"], maps["prediction"])
        encoded["errors"] = _palette_png(errors, _ERROR_COLORS, transparency=_ERROR_OPACITY)
    return encoded


def _palette_png(indices: np.ndarray, colors: np.ndarray, **options: bytes) -> bytes:
    image = Image.fromarray(indices)
    image.putpalette(colors.tobytes())
    return _file_bytes(image, "PNG", **options)


def _file_bytes(image: Image.Image, file_format: str, **options: int | bytes) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def _data_uri(kind: str, data: bytes) -> str:
    mime = "image/jpeg" if SUFFIX[kind] == ".jpg" else "image/png"
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
