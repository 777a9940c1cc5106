"""Write predictions as label ids, in color and over the image, while the next ones are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from helpers.images import colorize, overlay, read_image, write_png
from helpers.labels import LabelTable
from helpers.output import writing
from helpers.threads import map_ahead
from learning.data.datasets.base import Sample
from learning.inference.inputs import result_files

if TYPE_CHECKING:  # it imports torch
    from learning.inference.batches import DecodedImage

SampleT = TypeVar("SampleT")

# Limits of the predictions that wait to be written while the next ones are computed.
_MAX_PIXELS = 2**24
_MAX_PREDICTIONS = 8


def write_predictions(
    predictions: Iterable[tuple[Sample, np.ndarray]],
    labels: LabelTable,
    ids: Path,
    colors: Path,
    report: Callable[[], object],
) -> None:
    """Write predictions of a data set as they arrive.

    Args:
        predictions: train ids, uint8 (H, W), of samples.
        ids: folder for NAME.png, label ids.
        colors: folder for NAME_prediction.png and NAME_input.png.
        report: called after each prediction.
    """

    def write(item: tuple[Sample, np.ndarray]) -> None:
        sample, prediction = item
        write_png(ids / f"{sample.name}.png", labels.ids[prediction])
        write_png(colors / f"{sample.name}_prediction.png", colorize(prediction, labels.palette))
        write_png(colors / f"{sample.name}_input.png", read_image(sample.image).transpose(1, 2, 0), compress_level=1)

    _write_in_threads(write, _reported(predictions, report))


def write_input_predictions(
    predictions: Iterable[tuple[DecodedImage, np.ndarray]], labels: LabelTable, folder: Path
) -> None:
    """Write predictions of --input as they arrive, each file atomically: those of `result_files`.

    Args:
        predictions: train ids, uint8 (H, W), of images.
    """

    def write(item: tuple[DecodedImage, np.ndarray]) -> None:
        loaded, prediction = item
        ids, colored, over = (folder / name for name in result_files(loaded.picture.name))
        colors = colorize(prediction, labels.palette)
        _write_atomically(ids, labels.ids[prediction], 6)
        _write_atomically(colored, colors, 6)
        _write_atomically(over, overlay(loaded.pixels.transpose(1, 2, 0), colors), 1)

    _write_in_threads(write, predictions)


def _write_atomically(path: Path, pixels: np.ndarray, compress_level: int) -> None:
    with writing(path) as fresh:
        write_png(fresh, pixels, compress_level)


def _write_in_threads(
    write: Callable[[tuple[SampleT, np.ndarray]], None], predictions: Iterable[tuple[SampleT, np.ndarray]]
) -> None:
    def cost(item: tuple[SampleT, np.ndarray]) -> float:
        return max(item[1].size, _MAX_PIXELS / _MAX_PREDICTIONS)

    for _ in map_ahead(write, predictions, cost, _MAX_PIXELS, num_threads=2):
        pass


def _reported(
    predictions: Iterable[tuple[SampleT, np.ndarray]], report: Callable[[], object]
) -> Iterator[tuple[SampleT, np.ndarray]]:
    for prediction in predictions:
        yield prediction
        report()
