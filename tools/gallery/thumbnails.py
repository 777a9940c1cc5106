"""The pictures of one image for a page: photograph, truth, prediction and mistakes, small enough to travel in it."""

import base64
import io

import numpy as np
from PIL import Image

from helpers.images import read_image, read_label
from helpers.labels import VOID

# By value of a map of mistakes: right is transparent, the photograph shines through; wrong; not scored.
RIGHT, WRONG, UNSCORED = 0, 1, 2
_MISTAKE_COLORS = np.array([(0, 0, 0), (255, 45, 85), (0, 0, 0)], np.uint8)
_MISTAKE_OPACITY = bytes([0, 190, 150])


def mistakes(truth, prediction):
    """Where a prediction is wrong.

    Args:
        truth, prediction: uint8 (H, W) of train ids or VOID.

    Returns:
        uint8 (H, W): RIGHT, WRONG, or UNSCORED where the truth is void.
    """
    return np.where(truth == VOID, UNSCORED, truth != prediction).astype(np.uint8)


def render(dataset, sample, prediction, width, folder):
    """Pictures of one sample, as files for the page to embed and, where it is larger than that, at full size in a folder.

    Args:
        dataset: learning.data.datasets.base.Dataset; sample: one of its Samples, with a label or without.
        prediction: Path of label ids.
        width: of the embedded pictures, at most, in pixels; None embeds all at full size.
        folder: Path, where NAME_input.jpg, NAME_truth.png, ... of larger images go.

    Returns:
        (dict, tuple, bool): kind of picture -> data URI, in the order input, truth, prediction, errors (no truth, no errors
        without a label); size (height, width) of the image; and whether there are files of full size.

    Raises:
        InputError: a file cannot be read.
    """
    table = dataset.labels
    photo = Image.fromarray(np.ascontiguousarray(read_image(sample.image).transpose(1, 2, 0)))
    maps = {"truth": dataset.decode[read_label(sample.label)]} if sample.label else {}
    maps["prediction"] = table.decoder("ids", "train_ids")[0][read_label(prediction)]
    height, full_width = maps["prediction"].shape
    is_larger = width is not None and full_width > width
    if is_larger:
        for kind, data in _encode(photo, maps, table, quality=92).items():
            (folder / f"{sample.name}_{kind}{SUFFIX[kind]}").write_bytes(data)
        size = width, max(1, round(height * width / full_width))
        photo = photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
        maps = {kind: np.asarray(Image.fromarray(pixels).resize(size, 0)) for kind, pixels in maps.items()}
    encoded = _encode(photo, maps, table, quality=85)
    return {kind: _data_uri(kind, data) for kind, data in encoded.items()}, (height, full_width), is_larger


SUFFIX = {"input": ".jpg", "truth": ".png", "prediction": ".png", "errors": ".png"}


def _encode(photo, maps, table, quality):
    """dict: kind -> bytes of a JPEG or palette PNG."""
    void = len(table.classes)
    colors = table.palette[: void + 1]  # the last is VOID's black; few colors make few bits a pixel
    found = {"input": _save(photo, "JPEG", quality=quality)}
    for kind, pixels in maps.items():
        found[kind] = _palette_png(np.minimum(pixels, void), colors)
    if "truth" in maps:
        wrong = mistakes(maps["truth"], maps["prediction"])
        found["errors"] = _palette_png(wrong, _MISTAKE_COLORS, transparency=_MISTAKE_OPACITY)
    return found


def _palette_png(indices, colors, **options):
    picture = Image.fromarray(indices)
    picture.putpalette(colors.tobytes())
    return _save(picture, "PNG", **options)


def _save(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _data_uri(kind, data):
    mime = "image/jpeg" if SUFFIX[kind] == ".jpg" else "image/png"
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
