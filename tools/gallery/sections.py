"""Parts of the page above the images, as HTML: scores, confusions, curves, options. Every text is escaped here."""

import json
import math
from html import escape
from urllib.parse import urlencode

import numpy as np

from helpers.scoring import scores
from tools.gallery import curves
from tools.run_reader import plain

OTHER = "void"  # column of what is predicted as a label that is no class
_MOST_PAIRS = 15


def score_section(total, labels):
    """HTML: the scores of all images and a bar a class."""
    found = scores.evaluate(total, None, labels)
    means = {
        "mean class IoU": found["mean_class_iou"],
        "labelled pixels right": found["labelled_accuracy"],
        "mean class accuracy": found["mean_class_accuracy"],
    }
    figures = "".join(f"<div><dt>{name}</dt><dd>{percent(value)}</dd></div>" for name, value in means.items())
    pixels = over_classes(total, labels).sum(1)
    rows = sorted(
        zip(labels.classes, pixels.tolist(), strict=True),
        key=lambda pair: (math.isnan(found["class_iou"][pair[0].name]), -found["class_iou"][pair[0].name]),
    )
    body = "".join(_bar_row(row, found["class_iou"][row.name], count / max(1, pixels.sum())) for row, count in rows)
    return (
        f'<dl class="figures">{figures}</dl><div class="panel wide narrow"><h3>IoU of the classes</h3>'
        '<table class="bars"><thead><tr><th scope="col">class</th><th scope="col" class="number">IoU</th><th></th>'
        f'<th scope="col" class="number soft">pixels</th></tr></thead><tbody>{body}</tbody></table></div>'
        '<p class="note">A class shows the images that contain it or where it is predicted, worst first.</p>'
    )


def _bar_row(row, iou, share):
    bar = "" if math.isnan(iou) else f'<span style="--value:{iou:.4f}"></span>'
    return (
        f'<tr><th scope="row">{swatch(row)}{link({"class": row.name}, row.name)}</th><td class="number">{percent(iou)}</td>'
        f'<td class="bar">{bar}</td><td class="number soft">{percent(share, 2)}</td></tr>'
    )


def confusion_section(total, confusions, labels):
    """HTML: the confusion matrix as a picture, and the pairs that cost most.

    Args:
        total: int64 (n, n) over label ids; confusions: those of each image.
    """
    matrix = over_classes(total, labels)
    columns = [*labels.names, OTHER][: None if matrix[:, -1].any() else -1]
    shares = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row">{swatch(row)}{escape(row.name)}</th>'
        + "".join(_cell(labels.names, columns, index, column, shares[index, column]) for column in range(len(columns)))
        + "</tr>"
        for index, row in enumerate(labels.classes)
    )
    return (
        '<p class="note">Rows are the truth, columns the prediction; numbers are percent of the row. A red cell shows the images '
        'with this mistake.</p><div class="row"><div class="panel wide"><table class="confusion"><thead><tr>'
        f'<th><span class="hidden">truth</span></th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f"{_pairs_table(matrix, confusions, labels)}</div>"
    )


def _cell(names, columns, truth, column, share):
    # The square root shows what is rare but not nothing.
    look = f'style="--share:{math.sqrt(share):.3f}"'
    kind = ("right " if truth == column else "") + ("strong" if share > 0.75 else "")
    text = f"{100 * share:.0f}" if share >= 0.005 else ""
    words = f"{names[truth]} predicted as {columns[column]}: {percent(share)}"
    if truth == column or share == 0:
        return f'<td class="{kind.strip()}" {look} title="{escape(words)}">{text}</td>'
    inside = link({"truth": names[truth], "predicted": columns[column]}, text, title=words, label=words)
    return f'<td class="{kind.strip()}" {look}>{inside}</td>'


def worst_pairs(matrix):
    """Pairs of classes by the share of the true class that is lost to the other, which is what the mean IoU feels.

    Args:
        matrix: int64 (C, C + 1) as `over_classes`.

    Returns:
        list of (truth, predicted, pixels, share), the largest share first, mistakes only.
    """
    rows = matrix.sum(1)
    pairs = [(int(truth), int(taken)) for truth, taken in zip(*np.nonzero(matrix), strict=True) if truth != taken]
    found = [
        (truth, taken, int(matrix[truth, taken]), float(matrix[truth, taken] / rows[truth])) for truth, taken in pairs
    ]
    return sorted(found, key=lambda pair: (-pair[3], pair[:2]))


def _pairs_table(matrix, confusions, labels):
    columns = [*labels.names, OTHER]
    pairs = worst_pairs(matrix)[:_MOST_PAIRS]
    if not pairs:
        return "<p>No pixel is mistaken.</p>"
    each = np.stack([over_classes(confusion, labels) for confusion in confusions])
    body = ""
    for truth, taken, pixels, share in pairs:
        words = f"{labels.names[truth]} taken for {columns[taken]}"
        body += (
            f"<tr><td>{link({'truth': labels.names[truth], 'predicted': columns[taken]}, words)}</td>"
            f'<td class="number">{percent(share)}</td><td class="number">{pixels:,}</td>'
            f'<td class="number">{int((each[:, truth, taken] > 0).sum())}</td></tr>'
        )
    return (
        '<div class="panel wide"><h3>Most confused</h3><table><thead><tr><th scope="col">mistake</th>'
        '<th scope="col" class="number">of the true class</th><th scope="col" class="number">pixels</th>'
        f'<th scope="col" class="number">images</th></tr></thead><tbody>{body}</tbody></table></div>'
    )


def curve_section(history):
    """HTML: loss and mIoU over the epochs of a log; "" where there is nothing to draw."""
    panels = {"Loss": ("train loss", "val loss", None), "mIoU": ("train miou", "miou", 1.0)}
    drawn = []
    for title, (train, validation, top) in panels.items():
        series = {name: history[name] for name in (train, validation) if name in history}
        if len(series) == 2 and "epoch" in history:
            best = [value for value in history[validation] if math.isfinite(value)]
            word = "lowest" if top is None else "highest"
            value = (min if top is None else max)(best, default=math.nan)
            text = f"{title} of training and validation over {len(history['epoch'])} epochs; {word} in validation {value:.3f}"
            drawn.append(
                f'<div class="panel"><h3>{title} <span class="soft">{word} in validation {value:.3f}</span></h3>'
                f"{curves.svg(text, history['epoch'], series, top)}</div>"
            )
    if not drawn:
        return ""
    key = '<p class="soft"><span class="key training"></span>training<span class="key"></span>validation</p>'
    return f'<div class="side-by-side">{"".join(drawn)}</div>{key}'


def option_section(stored, circumstances, defaults):
    """HTML: the options that are not the defaults, then all of them and the circumstances; "" without options.

    Args:
        stored: dict of a run's options; circumstances: dict of plain values; defaults: dict of the options' defaults.
    """
    if not stored:
        return ""
    changed = {name: value for name, value in stored.items() if name not in defaults or defaults[name] != value}
    rest = {name: value for name, value in stored.items() if name not in changed}
    parts = [
        ("Not the default", changed, True),
        ("As by default", rest, False),
        ("Circumstances", circumstances, False),
    ]
    return "".join(
        f"<details{' open' if is_open else ''}><summary>{title} ({len(rows)})</summary>"
        f'<div class="panel wide">{_definition_table(rows)}</div></details>'
        for title, rows, is_open in parts
        if rows
    )


def _definition_table(rows):
    cells = "".join(
        f'<tr><th scope="row">{escape(str(name))}</th><td>{escape(_text(value))}</td></tr>'
        for name, value in rows.items()
    )
    return f'<table class="options"><tbody>{cells}</tbody></table>'


def _text(value):
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else plain(value)


def percent(share, digits=1):
    """str: a share as percent, n/a for nan."""
    return "n/a" if math.isnan(share) else f"{100 * share:.{digits}f}\u00a0%"


def over_classes(confusion, labels):
    """int64 (C, C + 1): rows are the true classes, columns the predicted ones; the last column is what is no class."""
    ids = [row.id for row in labels.classes]
    inside = confusion[np.ix_(ids, ids)]
    return np.concatenate([inside, confusion[ids].sum(1, keepdims=True) - inside.sum(1, keepdims=True)], 1)


def link(state, text, title=None, label=None):
    """HTML: a link that shows the images of a state of the page, such as {"class": "Car"}."""
    words = "".join(f' {key}="{escape(value)}"' for key, value in (("title", title), ("aria-label", label)) if value)
    return f'<a href="#{escape(urlencode(state))}"{words}>{escape(text)}</a>'


def swatch(row):
    """HTML: a patch of the color of a class."""
    return f'<span class="swatch" style="background:{css_color(row.color)}"></span>'


def css_color(color):
    """str: RGB, 0 .. 255, as in a style sheet."""
    return "#{:02x}{:02x}{:02x}".format(*color)
