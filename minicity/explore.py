"""Look at a data set before training: how often each class occurs, and what images and labels look like.

Prints a table for each labelled split and writes class_distribution.png, samples.png and classes.csv.
"""

import argparse
import csv
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from helpers.errors import InputError, exit_status
from helpers.images import colorize, overlay, read_image, read_instances, read_label
from helpers.parsing import Parser
from helpers.threads import map_in_threads
from learning.data.datasets import DATASETS, open_dataset
from learning.data.datasets.statistics import dataset_statistics

_NUM_SAMPLES = 6  # of each split on the sample sheet
_THUMBNAIL_WIDTH = 640  # pixels
_INK, _FAINT = "#222222", "#dddddd"


class Counts(NamedTuple):
    """What one split holds, by train id.

    Args:
        num_images, sizes: number of images, and the sizes (height, width) that occur, sorted.
        pixels: int64 (C,), labelled pixels; `void`: int, the others.
        images: int64 (C,), images that contain the class.
        instances: int64 (C,), instances, or -1 for a class without; None where the split has no instance maps.
    """

    num_images: int
    sizes: list
    pixels: np.ndarray
    void: int
    images: np.ndarray
    instances: np.ndarray | None

    @property
    def shares(self):
        """float64 (C,): percent of the labelled pixels."""
        return 100 * self.pixels / max(1, self.pixels.sum())


def main(argv=None):
    """Explore the data set that the words of `argv` name.

    Raises:
        InputError: no such data set, broken files, or an output folder that cannot be written to.
    """
    options = _parse(argv)
    dataset = open_dataset(options.dataset, options.dataset_path or f"./{options.dataset}")
    output = Path(options.output or dataset.root / "explore")
    splits = [name for name, samples in dataset.splits.items() if samples[0].label]
    if not splits:
        raise InputError(f"{dataset.root} has no labels to explore")
    _make_folder(output)
    counts = {split: count(dataset, split) for split in splits}
    for split in splits:
        print(table(dataset.labels, split, counts[split]), end="\n\n")
    try:
        write_csv(output / "classes.csv", dataset.labels, counts)
        distribution(dataset.labels, counts).savefig(output / "class_distribution.png")
        sample_sheet(dataset, splits).savefig(output / "samples.png")
    except OSError as error:
        raise InputError(f"cannot write to {output}: {error}; name another folder with --output") from None
    print(f"class_distribution.png, samples.png and classes.csv are in {output}")


def _parse(argv):
    parser = Parser(
        prog="python -m minicity.explore", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", choices=tuple(DATASETS), default="minicity", help="format (default: %(default)s)")
    parser.add_argument("--dataset_path", help="folder of the data (default: ./ and the name)")
    parser.add_argument("--output", help="folder for the results (default: the folder explore in --dataset_path)")
    return parser.parse_args(argv)


def _make_folder(output):
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {output}: {error}; name another one with --output") from None
    if not os.access(output, os.W_OK):
        raise InputError(f"{output} cannot be written to; name another folder with --output")


def count(dataset, split):
    """Check and count one split.

    Returns:
        Counts
    """
    found = dataset_statistics(dataset, split)
    return Counts(
        num_images=len(found.sizes),
        sizes=sorted({tuple(size) for size in found.sizes.tolist()}),
        pixels=found.pixels.sum(0),
        void=int(found.void.sum()),
        images=(found.pixels > 0).sum(0),
        instances=_count_instances(dataset, split),
    )


def _count_instances(dataset, split):
    paths = [sample.instances for sample in dataset.split(split) if sample.instances]
    if not paths:
        return None

    def look(path):
        numbers = np.flatnonzero(np.bincount(read_instances(path).ravel()))
        return np.bincount(numbers[numbers >= 1000] // 1000, minlength=256)

    by_id = sum(map_in_threads(look, paths, description=f"counting {split}"))
    return np.array([by_id[row.id] if row.has_instances else -1 for row in dataset.labels.classes], np.int64)


def table(labels, split, counts):
    """The counts of one split as text, a line a class.

    Returns:
        str
    """
    sizes = [f"{height}x{width}" for height, width in counts.sizes]
    sizes = sizes[0] if len(sizes) == 1 else f"{len(sizes)} sizes from {sizes[0]} to {sizes[-1]}"
    void = 100 * counts.void / max(1, counts.void + counts.pixels.sum())
    lines = [
        f"{split}: {counts.num_images} images, {sizes}, {void:.1f} % of the pixels void",
        f"{'class':<16}{'pixels %':>10}{'images':>9}" + (f"{'instances':>11}" if counts.instances is not None else ""),
    ]
    for index, name in enumerate(labels.names):
        line = f"{name:<16}{counts.shares[index]:>10.3f}{counts.images[index]:>9}"
        if counts.instances is not None:
            line += f"{counts.instances[index]:>11}" if counts.instances[index] >= 0 else f"{'-':>11}"
        lines.append(line)
    absent = [name for name, number in zip(labels.names, counts.images, strict=True) if number == 0]
    if absent:
        lines.append(f"no pixel of: {', '.join(absent)}")
    return "\n".join(lines)


def write_csv(path, labels, counts):
    """Write the counts of all splits: split, class, pixels, percent, images, instances (empty where there are none)."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("split", "class", "pixels", "percent", "images", "instances"))
        for split, found in counts.items():
            for index, name in enumerate(labels.names):
                number = -1 if found.instances is None else found.instances[index]
                row = (split, name, found.pixels[index], f"{found.shares[index]:.6f}", found.images[index])
                writer.writerow((*row, number if number >= 0 else ""))


def distribution(labels, counts):
    """Shares of the classes, most frequent of the first split first, on a logarithmic axis; a panel a split.

    Args:
        labels: LabelTable.
        counts: dict from split to Counts.

    Returns:
        matplotlib.figure.Figure
    """
    first = next(iter(counts.values()))
    order = np.argsort(-first.shares, kind="stable")
    figure = Figure(figsize=(5.6 * len(counts) + 1.2, 0.32 * len(order) + 1.5), dpi=130, layout="constrained")
    shares = np.stack([found.shares for found in counts.values()])
    low = 10 ** np.floor(np.log10(shares[shares > 0].min(initial=1.0) / 2))
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    colors = np.array([row.color for row in labels.classes])[order] / 255
    for panel, (split, found) in zip(panels, counts.items(), strict=True):
        values = found.shares[order]
        panel.barh(np.arange(len(order)), values, color=colors, edgecolor=_INK, linewidth=0.5, height=0.74, zorder=2)
        for position, (value, images) in enumerate(zip(values, found.images[order], strict=True)):
            text = f"{value:.3g} %  in {images}" if images else "absent"
            panel.text(max(value, low) * 1.12, position, text, va="center", fontsize=8, color=_INK)
        panel.set_xscale("log")
        panel.set_xlim(low, 900)
        panel.set_title(f"{split}: {found.num_images} images", fontsize=11, loc="left")
        panel.set_xlabel("labelled pixels, % (log scale); number of images with the class", fontsize=9)
        panel.set_xticks([tick for tick in 10.0 ** np.arange(-5, 3) if tick >= low])
        panel.xaxis.set_major_formatter("{x:g}")
        panel.minorticks_off()
        panel.grid(axis="x", color=_FAINT, zorder=0)
        panel.tick_params(labelsize=9, length=0)
        panel.spines[["top", "right", "left"]].set_visible(False)
    panels[0].set_yticks(np.arange(len(order)), [labels.names[index] for index in order])
    panels[0].set_ylim(len(order) - 0.4, -0.6)
    return figure


def sample_sheet(dataset, splits):
    """Images of each split, evenly spaced over its files, beside their labels in color, with a legend.

    Returns:
        matplotlib.figure.Figure
    """
    rows = {split: _evenly(dataset.split(split)) for split in splits}
    pairs = {split: [_thumbnails(dataset, sample) for sample in samples] for split, samples in rows.items()}
    num_rows = max(len(samples) for samples in pairs.values())
    height, width = next(iter(pairs.values()))[0][0].shape[:2]
    cell = 3.6, 3.6 * height / width
    figure = Figure(
        figsize=(cell[0] * 2 * len(splits), (cell[1] + 0.15) * num_rows + 1.1), dpi=130, layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    axes = figure.subplots(num_rows, 2 * len(splits), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for column, split in enumerate(splits):
        for row, (sample, pair) in enumerate(zip(rows[split], pairs[split], strict=True)):
            for side in (0, 1):
                axes[row, 2 * column + side].imshow(pair[side], interpolation="antialiased")
            axes[row, 2 * column].set_title(f"{split}: {sample.name}", fontsize=7, loc="left", color=_INK, pad=2)
    handles = [
        Patch(facecolor=np.divide(row.color, 255), edgecolor=_INK, linewidth=0.4, label=row.name)
        for row in dataset.labels.classes
    ]
    handles.append(Patch(facecolor="black", label="void"))
    figure.legend(handles=handles, loc="outside lower center", ncols=10, fontsize=8, frameon=False, handlelength=1.4)
    return figure


def _evenly(samples):
    number = min(_NUM_SAMPLES, len(samples))
    return [samples[index * len(samples) // number] for index in range(number)]


def _thumbnails(dataset, sample):
    """The image and the image under its colored labels, uint8 (h, w, 3) each, at most the thumbnails' width."""
    train_ids, _ = dataset.labels.decoder(dataset.encoding, "train_ids")
    image = Image.fromarray(np.ascontiguousarray(read_image(sample.image).transpose(1, 2, 0)))
    label = Image.fromarray(train_ids[read_label(sample.label)])
    width = min(_THUMBNAIL_WIDTH, image.width)
    size = width, max(1, round(image.height * width / image.width))
    image = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    label = np.asarray(label.resize(size, Image.Resampling.NEAREST))
    return image, overlay(image, colorize(label, dataset.labels.palette), 0.65)


if __name__ == "__main__":
    sys.exit(exit_status("python -m minicity.explore", main, None))
