"""Images of data and predictions: contact sheets, the training batch, the validation images."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from helpers.errors import naming
from helpers.images import colorize, overlay, read_image, read_label, write_png
from helpers.labels import LabelTable


class LabeledSample(Protocol):
    """A `learning.data.datasets.base.Sample` with a label."""

    @property
    def name(self) -> str: ...

    @property
    def image(self) -> Path: ...

    @property
    def label(self) -> Path | None: ...


def save_grid(rows: Sequence[Sequence[np.ndarray]], path: Path, width: int = 1600) -> None:
    """Save images uint8 (h, w, 3) of one size as a grid about `width` pixels wide.

    The grid is shrunk, or magnified by an integer factor.
    """
    grid = np.concatenate([np.concatenate(row, 1) for row in rows], 0)
    scale = width / grid.shape[1]
    method = Image.Resampling.LANCZOS
    if scale >= 1:
        scale = int(scale)
        method = Image.Resampling.NEAREST
    size = (math.ceil(grid.shape[1] * scale), math.ceil(grid.shape[0] * scale))
    with naming(path):
        Image.fromarray(grid).resize(size, method).save(path)


def draw_pairs(rows: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]], labels: LabelTable) -> Figure:
    """Draw a titled row of images, each beside its label map, and a legend of the classes.

    Args:
        rows: title -> (image uint8 (h, w, 3), train ids uint8 (h, w)), of any sizes.
    """
    num_pairs = max(map(len, rows.values()))
    cell = 16 / (2 * num_pairs)  # inches
    heights = [cell * max(image.shape[0] / image.shape[1] for image, _ in row) for row in rows.values()]
    figure = Figure(figsize=(16, sum(heights) + 0.26 * len(rows) + 0.9), dpi=120)
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.04, wspace=0.005, hspace=0.005)
    grid = figure.subplots(len(rows), 2 * num_pairs, squeeze=False, gridspec_kw={"height_ratios": heights})
    for panels, (name, row) in zip(grid, rows.items(), strict=True):
        panels[0].set_title(name, fontsize=10, loc="left", pad=3)
        for axes in panels:
            axes.axis("off")
        for column, (image, label) in enumerate(row):
            colors = overlay(image, colorize(label, labels.palette), 0.75)
            panels[2 * column].imshow(image, interpolation="antialiased")
            panels[2 * column + 1].imshow(colors, interpolation="antialiased")
    handles = [Patch(facecolor="#{:02x}{:02x}{:02x}".format(*row.color), label=row.name) for row in labels.classes]
    handles.append(Patch(facecolor="black", label="void"))
    figure.legend(handles=handles, loc="outside lower center", ncols=10, fontsize=9, frameon=False, handlelength=1.4)
    return figure


def save_train_batch(
    images: np.ndarray,
    labels: np.ndarray,
    mean: Sequence[float],
    std: Sequence[float],
    palette: np.ndarray,
    path: Path,
) -> None:
    """Save the first 8 images of a training batch after augmentation, and their labels overlaid.

    Args:
        images: float32 (B, 3, h, w), normalized.
        labels: integer (B, h, w), train ids; VOID is black.
        mean, std: RGB, 0 .. 1.
        palette: uint8 (256, 3).
    """
    shift = np.asarray(mean, np.float32)[:, None, None]
    scale = np.asarray(std, np.float32)[:, None, None]
    pixels = [np.rint((image * scale + shift) * 255).astype(np.uint8).transpose(1, 2, 0) for image in images[:8]]
    colors = [colorize(label.astype(np.uint8), palette) for label in labels[:8]]
    save_grid([pixels, [overlay(*pair, 0.6) for pair in zip(pixels, colors, strict=True)]], path)


def save_validation(
    predictions: Iterable[tuple[LabeledSample, np.ndarray]],
    decode: np.ndarray,
    palette: np.ndarray,
    epoch: int,
    folder: Path,
) -> None:
    """Save validation images: NAME.png and NAME_gt.png once, NAME_epoch_E.png for each validated epoch.

    Args:
        predictions: train ids, uint8 (H, W), of samples.
        decode: uint8 (256,), train id of each value in label files.
        palette: uint8 (256, 3).
    """
    for sample, prediction in predictions:
        truth = folder / f"{sample.name}_gt.png"
        if not truth.exists():
            assert sample.label is not None
            write_png(folder / f"{sample.name}.png", read_image(sample.image).transpose(1, 2, 0))
            write_png(truth, colorize(decode[read_label(sample.label)], palette))
        write_png(folder / f"{sample.name}_epoch_{epoch}.png", colorize(prediction, palette))
