"""The HTML page of a run and its images. It loads nothing over the network."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from helpers.labels import LabelTable
from helpers.scoring import scores
from learning.data.datasets.base import Sample
from tools.gallery.sections import OTHER, class_iou, css_color, link, over_classes, swatch
from tools.gallery.thumbnails import SUFFIX, Thumbnails


@dataclass(frozen=True)
class PageInfo:
    """The texts of a page, and where its files are.

    Args:
        generator: the program, by which it recognizes its own pages.
        folder: name of the folder beside the page that holds the images of full size.
        num_images: number of images of the split, shown or not.
    """

    generator: str
    title: str
    summary: str
    folder: str
    num_images: int


def build(
    info: PageInfo,
    entries: Sequence[dict[str, object]],
    thumbnails: Sequence[Thumbnails],
    total: np.ndarray | None,
    labels: LabelTable,
    sections: Iterable[tuple[str, str]],
) -> str:
    """The HTML of the whole page.

    Args:
        entries: `scored_entry` or `unscored_entry` of each image, in the order of `thumbnails`.
        total: int64 (n, n) confusion matrix over label ids of all images, including those not shown; None without labels.
        sections: (title, HTML) of what precedes the images.
    """
    named = [(f"part-{index}", name, html) for index, (name, html) in enumerate(sections)]
    folder = Path(__file__).parent
    anchors = [*((key, name) for key, name, _ in named), ("images", "Images")]
    return Template((folder / "page.html").read_text(encoding="utf-8")).substitute(
        generator=escape(info.generator),
        title=escape(info.title),
        summary=escape(info.summary),
        style=(folder / "page.css").read_text(encoding="utf-8"),
        script=(folder / "page.js").read_text(encoding="utf-8"),
        contents="".join(f'<a href="#{key}">{escape(name)}</a>' for key, name in anchors),
        sections="\n".join(
            f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">{escape(name)}</h2>{html}</section>'
            for key, name, html in named
        ),
        legend="".join(f"<li>{swatch(row)}{link({'class': row.name}, row.name)}</li>" for row in labels.classes)
        + '<li><span class="swatch" style="background:#000"></span>void</li>',
        data=_script_json(_data(info, entries, total, labels)),
        thumbnails=_script_json([found.uris for found in thumbnails]),
    )


def _data(
    info: PageInfo, entries: Sequence[dict[str, object]], total: np.ndarray | None, labels: LabelTable
) -> dict[str, object]:
    """The data of the page's script."""
    return {
        "scored": total is not None,
        "classes": labels.names,
        "columns": [*labels.names, OTHER],
        "colors": [css_color(row.color) for row in labels.classes],
        "iou": None if total is None else _null_for_nan(class_iou(total, labels)),
        "folder": info.folder,
        "suffixes": SUFFIX,
        "num_images": info.num_images,
        "images": entries,
    }


def unscored_entry(sample: Sample, predicted: Iterable[int], thumbnails: Thumbnails, index: int) -> dict[str, object]:
    """The page's data about an image without a label.

    Args:
        predicted: train ids that occur in the prediction.
        index: position among the thumbnails.
    """
    return {
        "name": sample.name,
        "index": index,
        "size": list(thumbnails.size),
        "full": thumbnails.has_full,
        "present": sorted(predicted),
        "pairs": [],
    }


def scored_entry(
    sample: Sample, confusion: np.ndarray, thumbnails: Thumbnails, index: int, labels: LabelTable
) -> dict[str, object]:
    """The page's data about an image with a label: `unscored_entry`, its scores, and its confusions.

    Args:
        confusion: int64 (n, n) over label ids.
        index: position among the thumbnails.

    Returns:
        "present" has the classes that occur or are predicted; "pairs" has [truth, predicted, pixels] of each confusion, most
        pixels first.
    """
    scored = scores.scored_rows(labels)
    ids = [row.id for row in labels.classes]
    tp, fp, fn = (counts[ids].tolist() for counts in scores.pixel_counts(confusion, scored))
    errors = over_classes(confusion, labels)
    np.fill_diagonal(errors, 0)
    pairs = [
        [int(truth), int(other), int(errors[truth, other])] for truth, other in zip(*errors.nonzero(), strict=True)
    ]
    present = [index for index, counts in enumerate(zip(tp, fp, fn, strict=True)) if any(counts)]
    miou, accuracy = _null_for_nan(
        [scores.mean(scores.iou(confusion, scored)), scores.pixel_accuracy(confusion, scored)]
    )
    return unscored_entry(sample, present, thumbnails, index) | {
        "miou": miou,
        "accuracy": accuracy,
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "pairs": sorted(pairs, key=lambda pair: -pair[2]),
    }


def _null_for_nan(values: Iterable[float]) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]


def _script_json(value: object) -> str:
    """JSON that cannot end its script element: no "<", so neither </script> nor <!-- (HTML, 13.2.5.4)."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
