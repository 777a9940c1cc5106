"""The figures of `minicity.explore`: class frequencies and a sheet of samples."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from helpers.images import colorize, overlay, read_image, read_label
from helpers.labels import LabelTable
from learning.data.datasets.base import Dataset, Sample
from minicity.class_counts import SplitCounts

_NUM_SAMPLES = 6  # per split
_THUMBNAIL_WIDTH = 640  # pixels
_CELL_WIDTH = 3.6  # inches
_INK = "#222222"
_GRID = "#dddddd"

_T = TypeVar("_T")


def hex_color(color: Sequence[int]) -> str:
    """RGB of 0 .. 255 as matplotlib reads it."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def class_distribution(labels: LabelTable, counts: Mapping[str, SplitCounts]) -> Figure:
    """Bar charts of the class shares on a logarithmic axis, one panel per split.

    Classes are sorted by their share in the first split.
    """
    first = next(iter(counts.values()))
    order = np.argsort(-first.shares, kind="stable")
    figure = Figure(figsize=(5.6 * len(counts) + 1.2, 0.32 * len(order) + 1.5), dpi=130, layout="constrained")
    shares = np.stack([found.shares for found in counts.values()])
    low = 10 ** np.floor(np.log10(shares[shares > 0].min(initial=1.0) / 2))
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    colors = np.array([row.color for row in labels.classes])[order] / 255
    for panel, (split, found) in zip(panels, counts.items(), strict=True):
        _draw_bars(panel, found, order, colors, low)
        panel.set_title(f"{split}: {found.num_images} images", fontsize=11, loc="left")
    panels[0].set_yticks(np.arange(len(order)), [labels.names[index] for index in order])
    panels[0].set_ylim(len(order) - 0.4, -0.6)
    return figure


def _draw_bars(panel: Axes, found: SplitCounts, order: np.ndarray, colors: np.ndarray, low: float) -> None:
    values = found.shares[order]
    panel.barh(np.arange(len(order)), values, color=colors, edgecolor=_INK, linewidth=0.5, height=0.74, zorder=2)
    for position, (value, images) in enumerate(zip(values, found.images[order], strict=True)):
        text = f"{value:.3g} %  in {images}" if images else "absent"
        panel.text(max(value, low) * 1.12, position, text, va="center", fontsize=8, color=_INK)
    panel.set_xscale("log")
    panel.set_xlim(low, 900)
    panel.set_xlabel("labeled pixels, % (log scale); number of images with the class", fontsize=9)
    panel.set_xticks([tick for tick in 10.0 ** np.arange(-5, 3) if tick >= low])
    panel.xaxis.set_major_formatter("{x:g}")
    panel.minorticks_off()
    panel.grid(axis="x", color=_GRID, zorder=0)
    panel.tick_params(labelsize=9, length=0)
    panel.spines[["top", "right", "left"]].set_visible(False)


def sample_sheet(dataset: Dataset, splits: Sequence[str]) -> Figure:
    """Images of each split, evenly spaced over its files, beside their labels in color, with a legend."""
    samples = {split: _evenly_spaced(dataset.split(split)) for split in splits}
    pairs = {split: [_thumbnails(dataset, sample) for sample in samples[split]] for split in splits}
    num_rows = max(len(column) for column in pairs.values())
    height, width = pairs[splits[0]][0][0].shape[:2]
    cell_height = _CELL_WIDTH * height / width
    figure = Figure(
        figsize=(_CELL_WIDTH * 2 * len(splits), (cell_height + 0.15) * num_rows + 1.1), dpi=130, layout="constrained"
    )
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    axes = figure.subplots(num_rows, 2 * len(splits), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for column, split in enumerate(splits):
        for row, (sample, pair) in enumerate(zip(samples[split], pairs[split], strict=True)):
            for side in (0, 1):
                axes[row, 2 * column + side].imshow(pair[side], interpolation="antialiased")
            axes[row, 2 * column].set_title(f"{split}: {sample.name}", fontsize=7, loc="left", color=_INK, pad=2)
    handles = [
        Patch(facecolor=hex_color(row.color), edgecolor=_INK, linewidth=0.4, label=row.name)
        for row in dataset.labels.classes
    ]
    handles.append(Patch(facecolor="black", label="void"))
    figure.legend(handles=handles, loc="outside lower center", ncols=10, fontsize=8, frameon=False, handlelength=1.4)
    return figure


def _evenly_spaced(samples: Sequence[_T]) -> list[_T]:
    """At most `_NUM_SAMPLES` of them."""
    number = min(_NUM_SAMPLES, len(samples))
    return [samples[index * len(samples) // number] for index in range(number)]


def _thumbnails(dataset: Dataset, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """The image, and the image under its colored labels, uint8 (h, w, 3) each."""
    assert sample.label is not None, sample.name
    image = Image.fromarray(np.ascontiguousarray(read_image(sample.image).transpose(1, 2, 0)))
    label = Image.fromarray(dataset.decode[read_label(sample.label)])
    width = min(_THUMBNAIL_WIDTH, image.width)
    size = (width, max(1, round(image.height * width / image.width)))
    small_image = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    small_label = np.asarray(label.resize(size, Image.Resampling.NEAREST))
    return small_image, overlay(small_image, colorize(small_label, dataset.labels.palette), 0.65)
