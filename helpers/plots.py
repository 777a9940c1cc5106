"""Pictures of a run: learning curves and sheets of images."""

import math

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from helpers.images import colourise, overlay, read_image, read_label, write_png


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


def train_batch(images, labels, mean, std, palette, path, most=8):
    """Draw what the network really sees: a batch after every augmentation, and its labels over it.

    Args:
        images: float32 (B, 3, h, w), normalised.
        labels: integer (B, h, w), train ids or VOID, which stays black.
        mean, std: RGB mean and standard deviation, 0 .. 1.
        palette: uint8 (256, 3).
        path: PNG file.
        most: number of images that are shown.
    """
    mean, std = (np.asarray(values, np.float32)[:, None, None] for values in (mean, std))
    pictures = [np.rint((image * std + mean) * 255).astype(np.uint8).transpose(1, 2, 0) for image in images[:most]]
    colours = [colourise(label.astype(np.uint8), palette) for label in labels[:most]]
    sheet([pictures, [overlay(*pair, 0.6) for pair in zip(pictures, colours, strict=True)]], path)


def validation(predictions, decode, palette, epoch, folder):
    """Draw images of the validation set: NAME.png and NAME_gt.png once, NAME_epoch_E.png for every epoch.

    Args:
        predictions: list of (Sample, uint8 (H, W) of train ids).
        decode: uint8 (256,), the train id of each value in the label files.
        palette: uint8 (256, 3).
    """
    for sample, prediction in predictions:
        truth = folder / f"{sample.name}_gt.png"
        if not truth.exists():
            write_png(folder / f"{sample.name}.png", read_image(sample.image).transpose(1, 2, 0))
            write_png(truth, colourise(decode[read_label(sample.label)], palette))
        write_png(folder / f"{sample.name}_epoch_{epoch}.png", colourise(prediction, palette))
