"""Pictures of a run, or of several beside each other: curves, bars, and sheets of images."""

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from helpers.images import colorize, overlay, read_image, read_label, write_png


def learning_curve(history, path):
    """Draw loss, accuracy and mIoU of training and validation over the epochs.

    Args:
        history: dict of lists of equal length, at least 1, as in a checkpoint's metrics.
        path: PNG file.
    """
    epochs = np.arange(len(history["miou"]))
    validated = np.isfinite(history["val_loss"]) | np.isfinite(history["miou"])  # a line leads from one to the next
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = {"loss": ("train_loss", "val_loss"), "accuracy": ("train_acc", "val_acc"), "mIoU": ("train_miou", "miou")}
    for axes, (title, (train, validation)) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        marker = "o" if len(epochs) < 30 else None
        axes.plot(epochs, history[train], color="#8aa4c8", marker=marker, markersize=3, label="training")
        axes.plot(
            epochs[validated],
            np.asarray(history[validation])[validated],
            color="#c0392b",
            marker=marker,
            markersize=3,
            label="validation",
        )
        axes.set(title=title, xlabel="epoch", xlim=(-0.5, max(len(epochs) - 0.5, 1)))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        if title != "loss":
            axes.set_ylim(0, 1)
        if title == "mIoU" and np.isfinite(history["miou"]).any():
            best = int(np.nanargmax(history["miou"]))
            axes.plot(best, history["miou"][best], "*", color="#c0392b", markersize=11)
            axes.annotate(
                f"best {history['miou'][best]:.3f}",
                (best, history["miou"][best]),
                (0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8,
            )
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def differences(rows, path):
    """Draw the differences of variants to a base: mean, 95 % interval, and a dot a seed.

    Args:
        rows: dict of name -> (mean, half the interval or nan, list of the seeds' differences), in points of mIoU.
        path: PNG file.
    """
    figure = Figure(figsize=(9, 1.1 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (mean, half, seeds) in enumerate(rows.values()):
        color = "#2e7d4f" if mean - half > 0 else "#c0392b" if mean + half < 0 else "#6b7785"
        axes.plot(seeds, [place] * len(seeds), "o", color=color, alpha=0.35, markersize=4)
        axes.errorbar(
            mean, place, xerr=None if math.isnan(half) else half, fmt="D", color=color, capsize=4, markersize=6
        )
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), rows)
    axes.set(
        ylim=(len(rows) - 0.4, -0.6), xlabel="points of mIoU against the base (mean, 95 % interval; a dot is a seed)"
    )
    axes.grid(alpha=0.25, axis="x")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def compared_curves(histories, path):
    """Draw loss and mIoU of validation of several runs over the epochs.

    Args:
        histories: dict of run name -> dict of log column ("epoch", "val loss", "miou") -> list of float; a column may be missing.
        path: PNG file.
    """
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, (title, column) in zip(panels, {"validation loss": "val loss", "mIoU": "miou"}.items(), strict=True):
        for index, (name, history) in enumerate(histories.items()):
            if column in history:
                axes.plot(history["epoch"], history[column], **_run_line(index), linewidth=1.6, label=name)
        axes.set(title=title, xlabel="epoch")
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9
    )
    figure.savefig(path, dpi=120)


def compared_classes(names, ious, path):
    """Draw the IoU of each class of several runs, a group of bars a class, the highest of the first run at the top.

    Args:
        names: the C classes.
        ious: dict of run name -> float64 (C,), 0 .. 1, nan where there is none.
        path: PNG file.
    """
    order = np.argsort(-np.nan_to_num(next(iter(ious.values())), nan=-1), kind="stable")
    thick = 0.8 / len(ious)
    figure = Figure(figsize=(8, max(3, len(names) * (0.16 + 0.13 * len(ious)) + 1.2)), layout="constrained")
    axes = figure.subplots()
    for index, (name, values) in enumerate(ious.items()):
        rows = np.arange(len(names)) + (index - (len(ious) - 1) / 2) * thick
        axes.barh(
            rows, np.nan_to_num(values[order]), thick * 0.9, color=_run_line(index)["color"], label=name, zorder=2
        )
    axes.set_yticks(np.arange(len(names)), [names[index] for index in order])
    axes.set(xlabel="IoU", xlim=(0, 1))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", alpha=0.25, zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(path, dpi=120)


def _run_line(index):
    # Okabe and Ito's colors, which color-blind people tell apart; where they repeat, the dashes differ.
    colors = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
    dashes = ("-", "--", ":", "-.")
    return {"color": colors[index % 7], "linestyle": dashes[index // 7 % 4]}


def sheet(rows, path, width=1600):
    """Save pictures of one size as a grid of about `width` pixels: shrunk, or magnified by a whole number.

    Args:
        rows: list of lists of uint8 (h, w, 3), all of the same size.
        path: PNG file.
    """
    grid = np.concatenate([np.concatenate(row, 1) for row in rows], 0)
    scale = width / grid.shape[1]
    scale, method = (int(scale), Image.Resampling.NEAREST) if scale >= 1 else (scale, Image.Resampling.LANCZOS)
    size = [math.ceil(length * scale) for length in (grid.shape[1], grid.shape[0])]
    Image.fromarray(grid).resize(size, method).save(path)


def pair_sheet(rows, labels):
    """Draw a row of images beside their labels for each name.

    Args:
        rows: dict of row name -> list of (uint8 (h, w, 3), uint8 (h, w) of train ids), of any sizes.
        labels: helpers.labels.LabelTable.

    Returns:
        matplotlib.figure.Figure
    """
    num = max(map(len, rows.values()))
    cell = 16 / (2 * num)  # inches
    heights = [cell * max(image.shape[0] / image.shape[1] for image, _ in row) for row in rows.values()]
    figure = Figure(figsize=(16, sum(heights) + 0.26 * len(rows) + 0.9), dpi=120, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.04, wspace=0.005, hspace=0.005)
    grid = figure.subplots(len(rows), 2 * num, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axes, (name, row) in zip(grid, rows.items(), strict=True):
        axes[0].set_title(name, fontsize=10, loc="left", pad=3)
        for axis in axes:
            axis.axis("off")
        for column, (image, label) in enumerate(row):
            colors = overlay(image, colorize(label, labels.palette), 0.75)
            for axis, picture in zip(axes[2 * column :], (image, colors), strict=False):
                axis.imshow(picture, interpolation="antialiased")
    handles = [Patch(facecolor=np.divide(row.color, 255), label=row.name) for row in labels.classes]
    handles.append(Patch(facecolor="black", label="void"))
    figure.legend(handles=handles, loc="outside lower center", ncols=10, fontsize=9, frameon=False, handlelength=1.4)
    return figure


def train_batch(images, labels, mean, std, palette, path, most=8):
    """Draw what the network really sees: a batch after every augmentation, and its labels over it.

    Args:
        images: float32 (B, 3, h, w), normalized.
        labels: integer (B, h, w), train ids or VOID, which stays black.
        mean, std: RGB mean and standard deviation, 0 .. 1.
        palette: uint8 (256, 3).
        path: PNG file.
        most: number of images that are shown.
    """
    mean, std = (np.asarray(values, np.float32)[:, None, None] for values in (mean, std))
    pictures = [np.rint((image * std + mean) * 255).astype(np.uint8).transpose(1, 2, 0) for image in images[:most]]
    colors = [colorize(label.astype(np.uint8), palette) for label in labels[:most]]
    sheet([pictures, [overlay(*pair, 0.6) for pair in zip(pictures, colors, strict=True)]], path)


def validation(predictions, decode, palette, epoch, folder):
    """Draw images of the validation set: NAME.png and NAME_gt.png once, NAME_epoch_E.png for every epoch that validates.

    Args:
        predictions: list of (Sample, uint8 (H, W) of train ids).
        decode: uint8 (256,), the train id of each value in the label files.
        palette: uint8 (256, 3).
    """
    for sample, prediction in predictions:
        truth = folder / f"{sample.name}_gt.png"
        if not truth.exists():
            write_png(folder / f"{sample.name}.png", read_image(sample.image).transpose(1, 2, 0))
            write_png(truth, colorize(decode[read_label(sample.label)], palette))
        write_png(folder / f"{sample.name}_epoch_{epoch}.png", colorize(prediction, palette))
