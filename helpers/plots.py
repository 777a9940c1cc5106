"""Charts: the learning curve of a run, and several runs compared."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.errors import naming

_TRAINING, _VALIDATION = "#8aa4c8", "#c0392b"
_BETTER, _WORSE, _UNDECIDED = "#2e7d4f", "#c0392b", "#6b7785"
# Okabe and Ito's colors, distinguishable for color-blind readers; where they repeat, the line style differs.
_RUN_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_RUN_STYLES = ("-", "--", ":", "-.")


def learning_curve(history: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw loss, accuracy and mIoU of training and validation over the epochs.

    Args:
        history: lists of equal length, at least 1, as in a checkpoint's metrics.
        path: PNG file.
    """
    epochs = np.arange(len(history["miou"]))
    validated = np.isfinite(history["val_loss"]) | np.isfinite(history["miou"])  # the line connects these epochs
    marker = "o" if len(epochs) < 30 else None
    figure = Figure(figsize=(12, 3.6))
    # Fixed margins: a constrained layout draws everything twice, after every epoch.
    figure.subplots_adjust(left=0.035, right=0.99, top=0.91, bottom=0.14, wspace=0.13)
    panels = {
        "loss": ("train_loss", "val_loss", "upper right"),
        "accuracy": ("train_acc", "val_acc", "lower right"),
        "mIoU": ("train_miou", "miou", "upper left"),
    }
    for axes, (title, (train, validation, legend)) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        axes.plot(epochs, history[train], color=_TRAINING, marker=marker, markersize=3, label="training")
        values = np.asarray(history[validation])[validated]
        axes.plot(epochs[validated], values, color=_VALIDATION, marker=marker, markersize=3, label="validation")
        axes.set(title=title, xlabel="epoch", xlim=(-0.5, max(len(epochs) - 0.5, 1)))
        if title != "loss":
            axes.set_ylim(0, 1)
        if title == "mIoU":
            _mark_best(axes, history["miou"])
        axes.legend(frameon=False, fontsize=8, loc=legend)
        _style(axes)
        axes.xaxis.get_major_locator().set_params(integer=True)
    _save(figure, path)


def differences(rows: Mapping[str, tuple[float, float, Sequence[float]]], path: Path) -> None:
    """Draw the differences of variants to a base: mean, 95 % interval, and a dot for each seed.

    Args:
        rows: name -> (mean, half the interval or NaN, the difference of each seed), in points of mIoU.
        path: PNG file.
    """
    figure = Figure(figsize=(9, 1.1 + 0.42 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (mean, half, seeds) in enumerate(rows.values()):
        color = _UNDECIDED
        if mean - half > 0:
            color = _BETTER
        elif mean + half < 0:
            color = _WORSE
        interval = None if math.isnan(half) else half
        axes.plot(seeds, [place] * len(seeds), "o", color=color, alpha=0.35, markersize=4)
        axes.errorbar(mean, place, xerr=interval, fmt="D", color=color, capsize=4, markersize=6)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("points of mIoU against the base (mean, 95 % interval; one dot per seed)")
    _style(axes, grid="x")
    _save(figure, path)


def compared_curves(histories: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """Draw validation loss and mIoU of several runs over the epochs.

    Args:
        histories: run name -> column of log_epoch.csv ("epoch", "val loss", "miou") -> values; a column may be missing.
        path: PNG file.
    """
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, (title, column) in zip(panels, {"validation loss": "val loss", "mIoU": "miou"}.items(), strict=True):
        for index, (name, history) in enumerate(histories.items()):
            if column in history:
                style = _RUN_STYLES[index // len(_RUN_COLORS) % len(_RUN_STYLES)]
                axes.plot(history["epoch"], history[column], style, color=_run_color(index), linewidth=1.6, label=name)
        axes.set(title=title, xlabel="epoch")
        axes.set_ylim(bottom=0)
        _style(axes)
        axes.xaxis.get_major_locator().set_params(integer=True)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    _save(figure, path)


def compared_classes(names: Sequence[str], ious: Mapping[str, np.ndarray], path: Path) -> None:
    """Draw the IoU of each class as a group of bars, one for each run, sorted by the IoU of the first run.

    Args:
        names: the C classes.
        ious: run name -> float64 (C,), 0 .. 1; NaN for absent classes.
        path: PNG file.
    """
    order = np.argsort(-np.nan_to_num(next(iter(ious.values())), nan=-1), kind="stable")
    thickness = 0.8 / len(ious)
    figure = Figure(figsize=(8, max(3, len(names) * (0.16 + 0.13 * len(ious)) + 1.2)), layout="constrained")
    axes = figure.subplots()
    for index, (name, values) in enumerate(ious.items()):
        rows = np.arange(len(names)) + (index - (len(ious) - 1) / 2) * thickness
        widths = np.nan_to_num(values[order])
        axes.barh(rows, widths, thickness * 0.9, color=_run_color(index), label=name, zorder=2)
    axes.set_yticks(np.arange(len(names)), [names[index] for index in order])
    axes.set(xlabel="IoU", xlim=(0, 1))
    axes.set_ylim(len(names) - 0.4, -0.6)
    _style(axes, grid="x")
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with naming(path):
        figure.savefig(path, dpi=120)


def _mark_best(axes: Axes, miou: Sequence[float]) -> None:
    if not np.isfinite(miou).any():
        return
    best = int(np.nanargmax(miou))
    point = (best, miou[best])
    axes.plot(*point, "*", color=_VALIDATION, markersize=11)
    axes.annotate(f"best {miou[best]:.3f}", point, (0, 7), textcoords="offset points", ha="center", fontsize=8)


def _style(axes: Axes, grid: Literal["both", "x", "y"] = "both") -> None:
    axes.grid(axis=grid, alpha=0.25, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)


def _run_color(index: int) -> str:
    return _RUN_COLORS[index % len(_RUN_COLORS)]
