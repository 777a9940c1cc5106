"""What tools.check prints and writes: a table of the splits, the findings, a JSON report."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from helpers.labels import LabelTable
from helpers.output import write_text
from learning.data.datasets.base import Dataset, Finding
from tools.check.checked_sample import CheckedSample


@dataclass(frozen=True)
class ClassShare:
    """The images of a split that contain a class, and the class's percentage of the labelled pixels."""

    images: int
    percent: float


@dataclass(frozen=True)
class SplitSummary:
    """The content of a split.

    Args:
        sizes: "HxW" -> number of images, the most frequent size first.
        labelled_percent, void_percent: of the pixels of all label maps.
        classes: by class name.
    """

    images: int
    labelled_images: int
    sizes: dict[str, int]
    labelled_percent: float
    void_percent: float
    classes_present: int
    classes: dict[str, ClassShare]


def summarize(samples: Iterable[CheckedSample], split: str, labels: LabelTable) -> SplitSummary:
    """Count the images, sizes and pixels of a split."""
    members = [checked for checked in samples if checked.split == split]
    labelled = [checked for checked in members if checked.pixels is not None]
    pixels = np.array([checked.pixels for checked in labelled]).reshape(-1, len(labels.classes))
    totals = pixels.sum(0)
    num_labelled = int(totals.sum())
    num_void = sum(checked.void for checked in labelled)
    sizes = Counter("x".join(map(str, checked.size)) for checked in members if checked.size)
    return SplitSummary(
        images=len(members),
        labelled_images=len(labelled),
        sizes=dict(sizes.most_common()),
        labelled_percent=100 * num_labelled / max(1, num_labelled + num_void),
        void_percent=100 * num_void / max(1, num_labelled + num_void),
        classes_present=int((totals > 0).sum()),
        classes={
            name: ClassShare(int((pixels[:, index] > 0).sum()), 100 * int(totals[index]) / max(1, num_labelled))
            for index, name in enumerate(labels.names)
        },
    )


def split_table(splits: Mapping[str, SplitSummary], labels: LabelTable) -> str:
    """The splits side by side: images, sizes, pixels, then images and percentage of the labelled pixels for each class."""
    columns = [_column(split, summary) for split, summary in splits.items()]
    titles = ["", "images", "size", "labelled", "void", "classes present", "class", *labels.names]
    rows = zip(titles, *columns, strict=True)
    return "\n".join((f"{title:<16}" + "".join(f"{cell:>20}" for cell in cells)).rstrip() for title, *cells in rows)


def _column(split: str, summary: SplitSummary) -> list[str]:
    """The cells of a split in `split_table`, top to bottom."""
    size, *others = summary.sizes or ["-"]
    cells = [split, str(summary.images), f"{size} +{len(others)} more" if others else size]
    if not summary.labelled_images:
        return [*cells, "-", "-", "-", "", *("" for _ in summary.classes)]
    return [
        *cells,
        f"{summary.labelled_percent:.1f} %",
        f"{summary.void_percent:.1f} %",
        f"{summary.classes_present} of {len(summary.classes)}",
        "images  pixels %",
        *(f"{share.images:>6}{share.percent:>10.3f}" for share in summary.classes.values()),
    ]


def finding_lines(findings: Sequence[Finding], limit: int) -> Iterator[str]:
    """The findings as text, errors first, grouped by kind and split, at most `limit` lines a group."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in sorted(findings, key=lambda finding: finding.severity != "error"):
        groups.setdefault((finding.severity, finding.kind, finding.split), []).append(finding)
    for (severity, kind, split), members in groups.items():
        for finding in members[:limit]:
            yield f"{severity:<8} {split:<6} {finding.path}: {finding.what}; {finding.advice}"
        if len(members) > limit:
            yield f"{severity:<8} {split:<6} ... and {len(members) - limit} more: {kind} (--all shows them)"


def write_report(
    path: Path, program: str, dataset: Dataset, splits: Mapping[str, SplitSummary], findings: Iterable[Finding]
) -> None:
    """Write the table and all findings as JSON, atomically; `program` marks the file as this program's own."""
    listed = [
        {
            "severity": finding.severity,
            "kind": finding.kind,
            "split": finding.split,
            "path": str(finding.path),
            "what": finding.what,
            "advice": finding.advice,
        }
        for finding in findings
    ]
    report = {
        "program": program,
        "dataset": dataset.name,
        "root": str(dataset.root),
        "splits": {split: asdict(summary) for split, summary in splits.items()},
        "findings": listed,
    }
    write_text(path, json.dumps(report, indent=2) + "\n")
