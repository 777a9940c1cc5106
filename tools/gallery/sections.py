"""Sections of the page above the images, as HTML: scores, confusions, curves, options. All texts are escaped here."""

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import urlencode

import numpy as np

from helpers.labels import Label, LabelTable
from helpers.scoring import scores
from tools.gallery import curves
from tools.run_reader import format_value

OTHER = "void"  # the column of predicted labels that are not classes
_MAX_PAIRS = 15


def score_section(total: np.ndarray, labels: LabelTable) -> str:
    """The scores of all images, from their confusion matrix over label ids, and a bar for each class."""
    scored = scores.scored_rows(labels)
    ious = class_iou(total, labels)
    means = {
        "mean class IoU": scores.mean(ious),
        "pixel accuracy": scores.pixel_accuracy(total, scored),
        "mean class accuracy": scores.mean(scores.class_accuracy(total, scored)),
    }
    figures = "".join(f"<div><dt>{name}</dt><dd>{percent(value)}</dd></div>" for name, value in means.items())
    pixels = over_classes(total, labels).sum(1)
    shares = pixels / max(1, pixels.sum())
    order = np.argsort(-np.nan_to_num(ious, nan=-1), kind="stable")  # the highest IoU first, NaN last
    body = "".join(_bar_row(labels.classes[index], float(ious[index]), float(shares[index])) for index in order)
    return (
        f'<dl class="figures">{figures}</dl><div class="panel wide narrow"><h3>Class IoU</h3>'
        '<table class="bars"><thead><tr><th scope="col">class</th><th scope="col" class="number">IoU</th><th></th>'
        f'<th scope="col" class="number soft">pixels</th></tr></thead><tbody>{body}</tbody></table></div>'
        '<p class="note">Click a class for the images that contain it or where it is predicted, worst first.</p>'
    )


def class_iou(confusion: np.ndarray, labels: LabelTable) -> np.ndarray:
    """IoU of each class, float64 (C,), from a confusion matrix over label ids."""
    return scores.iou(confusion, scores.scored_rows(labels))[[row.id for row in labels.classes]]


def _bar_row(row: Label, iou: float, share: float) -> str:
    bar = "" if math.isnan(iou) else f'<span style="--value:{iou:.4f}"></span>'
    return (
        f'<tr><th scope="row">{swatch(row)}{link({"class": row.name}, row.name)}</th><td class="number">{percent(iou)}</td>'
        f'<td class="bar">{bar}</td><td class="number soft">{percent(share, 2)}</td></tr>'
    )


def confusion_section(total: np.ndarray, confusions: Sequence[np.ndarray], labels: LabelTable) -> str:
    """The confusion matrix, and the most confused pairs.

    Args:
        total: int64 (n, n) over label ids.
        confusions: the same for each image.
    """
    matrix = over_classes(total, labels)
    columns = _columns(labels)[: None if matrix[:, -1].any() else -1]
    shares = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in columns)
    body = "".join(_matrix_row(row, columns, shares[index]) for index, row in enumerate(labels.classes))
    return (
        '<p class="note">Rows are the truth, columns the prediction; numbers are percent of the row. A red cell shows the images '
        'with this error.</p><div class="row"><div class="panel wide"><table class="confusion"><thead><tr>'
        f'<th><span class="hidden">truth</span></th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
        f"{_pairs_table(matrix, confusions, labels)}</div>"
    )


def _columns(labels: LabelTable) -> list[str]:
    """Names of the columns of `over_classes`."""
    return [*labels.names, OTHER]


def _matrix_row(row: Label, columns: Sequence[str], shares: np.ndarray) -> str:
    cells = "".join(_cell(row.name, name, float(share)) for name, share in zip(columns, shares, strict=False))
    return f'<tr><th scope="row">{swatch(row)}{escape(row.name)}</th>{cells}</tr>'


def _cell(truth: str, predicted: str, share: float) -> str:
    # The square root makes rare confusions visible.
    style = f'style="--share:{math.sqrt(share):.3f}"'
    kinds = ["right"] if truth == predicted else []
    kinds += ["strong"] if share > 0.75 else []
    text = f"{100 * share:.0f}" if share >= 0.005 else ""
    title = f"{truth} predicted as {predicted}: {percent(share)}"
    if truth == predicted or share == 0:
        return f'<td class="{" ".join(kinds)}" {style} title="{escape(title)}">{text}</td>'
    inside = link({"truth": truth, "predicted": predicted}, text, title=title, label=title)
    return f'<td class="{" ".join(kinds)}" {style}>{inside}</td>'


def worst_pairs(matrix: np.ndarray) -> list[tuple[int, int, int, float]]:
    """Confused pairs by the share of the true class, which determines their effect on the mean IoU.

    Args:
        matrix: int64 (C, C + 1) as `over_classes`.

    Returns:
        (truth, predicted, pixels, share) of each pair, the largest share first.
    """
    rows = matrix.sum(1)
    pairs = [(int(truth), int(other)) for truth, other in zip(*np.nonzero(matrix), strict=True) if truth != other]
    found = [(*pair, int(matrix[pair]), float(matrix[pair] / rows[pair[0]])) for pair in pairs]
    return sorted(found, key=lambda pair: (-pair[3], pair[:2]))


def _pairs_table(matrix: np.ndarray, confusions: Sequence[np.ndarray], labels: LabelTable) -> str:
    columns = _columns(labels)
    pairs = worst_pairs(matrix)[:_MAX_PAIRS]
    if not pairs:
        return "<p>All labelled pixels are predicted correctly.</p>"
    each = np.stack([over_classes(confusion, labels) for confusion in confusions])
    body = ""
    for truth, other, pixels, share in pairs:
        state = {"truth": labels.names[truth], "predicted": columns[other]}
        text = f"{labels.names[truth]} predicted as {columns[other]}"
        body += (
            f'<tr><td>{link(state, text)}</td><td class="number">{percent(share)}</td><td class="number">{pixels:,}</td>'
            f'<td class="number">{int((each[:, truth, other] > 0).sum())}</td></tr>'
        )
    return (
        '<div class="panel wide"><h3>Most confused</h3><table><thead><tr><th scope="col">error</th>'
        '<th scope="col" class="number">of the true class</th><th scope="col" class="number">pixels</th>'
        f'<th scope="col" class="number">images</th></tr></thead><tbody>{body}</tbody></table></div>'
    )


def curve_section(history: Mapping[str, Sequence[float]]) -> str:
    """Loss and mIoU over the epochs of a log; "" if the log has neither."""
    panels = [_loss_panel(history), _miou_panel(history)]
    if not any(panels):
        return ""
    key = '<p class="soft"><span class="key training"></span>training<span class="key"></span>validation</p>'
    return f'<div class="side-by-side">{"".join(panels)}</div>{key}'


def _loss_panel(history: Mapping[str, Sequence[float]]) -> str:
    best = min(filter(math.isfinite, history.get("val loss", ())), default=math.nan)
    return _curve_panel(history, "Loss", ("train loss", "val loss"), f"lowest in validation {best:.3f}", None)


def _miou_panel(history: Mapping[str, Sequence[float]]) -> str:
    best = max(filter(math.isfinite, history.get("miou", ())), default=math.nan)
    return _curve_panel(history, "mIoU", ("train miou", "miou"), f"highest in validation {best:.3f}", 1.0)


def _curve_panel(
    history: Mapping[str, Sequence[float]], title: str, names: tuple[str, str], best: str, top: float | None
) -> str:
    """A panel of two columns of the log, training and validation; "" if one is missing."""
    if not {"epoch", *names} <= history.keys():
        return ""
    epochs = history["epoch"]
    text = f"{title} of training and validation over {len(epochs)} epochs; {best}"
    chart = curves.line_chart(text, epochs, {name: history[name] for name in names}, top)
    return f'<div class="panel"><h3>{title} <span class="soft">{best}</span></h3>{chart}</div>'


def option_section(
    stored: Mapping[str, object], environment: Mapping[str, object], defaults: Mapping[str, object]
) -> str:
    """The options of a run that are not the defaults, then the others and the environment; "" without options."""
    if not stored:
        return ""
    changed = {name: value for name, value in stored.items() if name not in defaults or defaults[name] != value}
    unchanged = {name: value for name, value in stored.items() if name not in changed}
    return (
        _details("Changed options", changed, is_open=True)
        + _details("Default options", unchanged, is_open=False)
        + _details("Environment", environment, is_open=False)
    )


def _details(title: str, values: Mapping[str, object], is_open: bool) -> str:
    """A table that can be folded; "" without values."""
    if not values:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(_text(value))}</td></tr>' for name, value in values.items()
    )
    return (
        f"<details{' open' if is_open else ''}><summary>{title} ({len(values)})</summary>"
        f'<div class="panel wide"><table class="options"><tbody>{rows}</tbody></table></div></details>'
    )


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else format_value(value)


def percent(share: float, digits: int = 1) -> str:
    """A share, 0 .. 1, in percent; n/a for NaN."""
    return "n/a" if math.isnan(share) else f"{100 * share:.{digits}f}\u00a0%"


def over_classes(confusion: np.ndarray, labels: LabelTable) -> np.ndarray:
    """A confusion matrix over label ids as int64 (C, C + 1): true classes, and predicted classes or `OTHER` (last column)."""
    ids = [row.id for row in labels.classes]
    inside = confusion[np.ix_(ids, ids)]
    return np.concatenate([inside, confusion[ids].sum(1, keepdims=True) - inside.sum(1, keepdims=True)], 1)


def link(state: Mapping[str, str], text: str, title: str | None = None, label: str | None = None) -> str:
    """A link to the images for a state of the page, such as {"class": "Car"}."""
    named = {"title": title, "aria-label": label}
    attributes = "".join(f' {name}="{escape(value)}"' for name, value in named.items() if value)
    return f'<a href="#{escape(urlencode(state))}"{attributes}>{escape(text)}</a>'


def swatch(row: Label) -> str:
    """A patch of the color of a class."""
    return f'<span class="swatch" style="background:{css_color(row.color)}"></span>'


def css_color(color: Sequence[int]) -> str:
    """RGB, 0 .. 255, as in a style sheet."""
    return "#{:02x}{:02x}{:02x}".format(*color)
