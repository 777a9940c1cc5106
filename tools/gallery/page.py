"""One page of HTML from what is known about a run and its images. Loads nothing from anywhere."""

import json
import math
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from helpers.scoring import scores
from tools.gallery.sections import OTHER, css_color, link, over_classes, swatch
from tools.gallery.thumbnails import SUFFIX


def build(about, images, pictures, total, labels, sections):
    """The whole page.

    Args:
        about: dict: "generator" (the program, by which it recognizes its own pages), "title", "summary", "folder" (where pictures
            of full size are, beside the page), "num_images" (of the split, shown or not).
        images: list of the dicts of `image_data` or `unlabelled_data`, in the order of `pictures`.
        pictures: list of dict of kind -> data URI.
        total: int64 (n, n) confusion matrix over label ids of all images, those too that are not shown; None without labels.
        labels: helpers.labels.LabelTable.
        sections: list of (title, html) to stand above the images; the HTML is taken as it is.

    Returns:
        str
    """
    named = [(f"part-{index}", name, html) for index, (name, html) in enumerate(sections)]
    folder = Path(__file__).parent
    data = {
        "scored": total is not None,
        "classes": labels.names,
        "columns": [*labels.names, OTHER],
        "colors": [css_color(row.color) for row in labels.classes],
        "iou": None if total is None else _class_iou(total, labels),
        "folder": about["folder"],
        "suffixes": SUFFIX,
        "num_images": about["num_images"],
        "images": images,
    }
    return Template((folder / "page.html").read_text(encoding="utf-8")).substitute(
        generator=escape(about["generator"]),
        title=escape(about["title"]),
        summary=escape(about["summary"]),
        style=(folder / "page.css").read_text(encoding="utf-8"),
        script=(folder / "page.js").read_text(encoding="utf-8"),
        contents="".join(
            f'<a href="#{key}">{escape(name)}</a>'
            for key, name in [*((k, n) for k, n, _ in named), ("images", "Images")]
        ),
        sections="\n".join(
            f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">{escape(name)}</h2>{html}</section>'
            for key, name, html in named
        ),
        legend="".join(f"<li>{swatch(row)}{link({'class': row.name}, row.name)}</li>" for row in labels.classes)
        + '<li><span class="swatch" style="background:#000"></span>void</li>',
        data=_script_json(data),
        pictures=_script_json(pictures),
    )


def unlabelled_data(sample, predicted, size, has_full, index):
    """What the page knows of an image without a label.

    Args:
        sample: learning.data.datasets.base.Sample.
        predicted: train ids that occur in the prediction.
        size: (height, width).
        has_full: whether there are files of full size.
        index: position among the pictures.

    Returns:
        dict of plain values
    """
    present = sorted(int(value) for value in predicted)
    return {"name": sample.name, "index": index, "size": list(size), "full": has_full, "present": present, "pairs": []}


def image_data(sample, confusion, size, has_full, index, labels):
    """What the page knows of an image with a label.

    Args:
        confusion: int64 (n, n) over label ids; labels: helpers.labels.LabelTable; the others as for `unlabelled_data`.

    Returns:
        dict of plain values: counts of each class, mean IoU and accuracy of the image, classes that occur or are predicted, and
        [truth, predicted, pixels] of each confusion, most pixels first.
    """
    scored, ids = scores.scored_rows(labels), [row.id for row in labels.classes]
    tp, fp, fn = (part[ids].tolist() for part in scores.pixel_counts(confusion, scored))
    matrix = over_classes(confusion, labels)
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = sorted(zip(*np.nonzero(wrong), strict=True), key=lambda pair: -wrong[pair])
    present = [index for index, counts in enumerate(zip(tp, fp, fn, strict=True)) if any(counts)]
    return unlabelled_data(sample, present, size, has_full, index) | {
        "miou": _null_for_nan([scores.mean(scores.iou(confusion, scored))])[0],
        "accuracy": _null_for_nan([scores.pixel_accuracy(confusion, scored)])[0],
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "pairs": [[int(truth), int(taken), int(wrong[truth, taken])] for truth, taken in order],
    }


def _class_iou(confusion, labels):
    return _null_for_nan(scores.iou(confusion, scores.scored_rows(labels))[[row.id for row in labels.classes]])


def _null_for_nan(values):
    return [None if math.isnan(value) else float(value) for value in values]


def _script_json(value):
    """JSON that cannot end its script element: no "<", so neither </script> nor <!-- (HTML, 13.2.5.4)."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
