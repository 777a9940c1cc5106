"""Examine a data set before any training: open every file, list everything that is wrong or looks wrong.

Prints a table of the splits, then a line for each finding. Exit status: 0 without errors (warnings alone are none), 1 with
errors in the data, 2 if there is nothing to examine.
"""

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from helpers.errors import InputError, exit_status
from helpers.parsing import Parser
from helpers.run_folder import write_text
from helpers.threads import map_in_threads
from learning.data.datasets import DATASETS
from learning.data.datasets.base import Finding, search
from tools.check.comparison import compare
from tools.check.picture import examine

_LINES = 8  # of each kind, without --all
_PROGRAM = "python -m tools.check"


def main(argv=None):
    """Examine the data set that the words of `argv` name.

    Returns:
        int: 1 if there are errors in the data, else 0.

    Raises:
        InputError: wrong options, no such data set, or a report that cannot be written.
    """
    options = _parse(argv)
    dataset, findings = search(
        options.dataset, DATASETS[options.dataset], options.dataset_path or f"./{options.dataset}"
    )
    if options.output:
        _refuse_foreign(Path(options.output), options.force)
    findings += _missing_splits(dataset)
    start = time.perf_counter()
    pictures = examine_all(dataset)
    seconds = time.perf_counter() - start
    findings += [finding for picture in pictures for finding in picture.findings] + compare(dataset, pictures)
    splits = {split: summarize(pictures, split, dataset.labels) for split in dataset.splits}
    print(table(splits, dataset.labels), end="\n\n")
    for line in lines(findings, sys.maxsize if options.all else _LINES):
        print(line)
    number = Counter(finding.severity for finding in findings)
    print(
        f"{dataset.root}: {_count(number['error'], 'error')}, {_count(number['warning'], 'warning')}; "
        f"{len(pictures)} images in {seconds:.1f} s ({len(pictures) / max(seconds, 1e-9):.0f} images/s)"
    )
    if options.output:
        write_report(options.output, dataset, splits, findings)
    return int(number["error"] > 0)


def _parse(argv):
    parser = Parser(prog=_PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=tuple(DATASETS), default="minicity", help="format (default: %(default)s)")
    parser.add_argument("--dataset_path", help="folder of the data (default: ./ and the name)")
    parser.add_argument("--all", action="store_true", help=f"print every finding, not {_LINES} of each kind")
    parser.add_argument("--output", metavar="FILE", help="write all findings and the table as JSON, too")
    parser.add_argument("--force", action="store_true", help="replace FILE even if it is no report of this program")
    return parser.parse_args(argv)


def _missing_splits(dataset):
    """Findings: training needs both train and val."""
    return [
        Finding("missing folder", split, dataset.root, f"has no {split} images", f"add them. {dataset.spec.HINT}")
        for split in ("train", "val")
        if split not in dataset.splits
    ]


def examine_all(dataset):
    """Examine every sample, in threads: Pillow and NumPy let go of the interpreter's lock while they decode and count.

    Returns:
        list of tools.check.picture.Picture, in the order of the splits. Only as many pictures as threads are in memory.
    """
    samples = [(split, sample) for split in dataset.splits for sample in dataset.splits[split]]
    return map_in_threads(lambda one: examine(dataset, *one), samples, description="checking")


def summarize(pictures, split, labels):
    """What a split holds, as plain values.

    Returns:
        dict: number of images and of labelled images, sizes with their counts, percent of labelled and void pixels, number
        of classes present, and by class the images that contain it and the percent of the labelled pixels.
    """
    members = [picture for picture in pictures if picture.split == split]
    labelled = [picture for picture in members if picture.pixels is not None]
    pixels = np.array([picture.pixels for picture in labelled]).reshape(-1, len(labels.classes))
    total, void = pixels.sum(0), sum(picture.void for picture in labelled)
    sizes = Counter("x".join(map(str, picture.size)) for picture in members if picture.size)
    num_labelled = int(total.sum())
    return {
        "images": len(members),
        "labelled_images": len(labelled),
        "sizes": dict(sizes.most_common()),
        "labelled_percent": 100 * num_labelled / max(1, num_labelled + void),
        "void_percent": 100 * void / max(1, num_labelled + void),
        "classes_present": int((total > 0).sum()),
        "classes": {
            name: {
                "images": int((pixels[:, index] > 0).sum()),
                "percent": 100 * int(total[index]) / max(1, num_labelled),
            }
            for index, name in enumerate(labels.names)
        },
    }


def table(splits, labels):
    """The splits side by side as text: what they hold, then images and percent of the labelled pixels for each class.

    Args:
        splits: dict of split -> `summarize`'s dict.
        labels: helpers.labels.LabelTable.

    Returns:
        str
    """

    def sizes(found):
        most, *others = found["sizes"] or ["-"]
        return f"{most} +{len(others)} more" if others else most

    def share(key):
        return lambda found: f"{found[key]:.1f} %" if found["labelled_images"] else "-"

    def present(found):
        return f"{found['classes_present']} of {len(labels.names)}" if found["labelled_images"] else "-"

    rows = [("", splits.keys()), ("images", [found["images"] for found in splits.values()])]
    for title, cell in (
        ("size", sizes),
        ("labelled", share("labelled_percent")),
        ("void", share("void_percent")),
        ("classes present", present),
    ):
        rows.append((title, [cell(found) for found in splits.values()]))
    counted = [bool(found["labelled_images"]) for found in splits.values()]
    rows.append(("class", ["images  pixels %" if has_labels else "" for has_labels in counted]))
    for name in labels.names:
        classes = [found["classes"][name] for found in splits.values()]
        cells = [f"{row['images']:>6}{row['percent']:>10.3f}" for row in classes]
        rows.append((name, [cell if has_labels else "" for cell, has_labels in zip(cells, counted, strict=True)]))
    return "\n".join((f"{title:<16}" + "".join(f"{cell:>20}" for cell in cells)).rstrip() for title, cells in rows)


def lines(findings, most):
    """The findings as text, errors first, each kind together, at most `most` lines of a kind and split.

    Yields:
        str
    """
    groups = {}
    for finding in sorted(findings, key=lambda finding: finding.severity != "error"):
        groups.setdefault((finding.severity, finding.kind, finding.split), []).append(finding)
    for (severity, kind, split), members in groups.items():
        for finding in members[:most]:
            yield f"{severity:<8} {split:<6} {finding.path}: {finding.what}; {finding.advice}"
        if len(members) > most:
            yield f"{severity:<8} {split:<6} ... and {len(members) - most} more: {kind} (--all shows them)"


def _count(number, thing):
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _refuse_foreign(path, force):
    """Check that `path` may be written: it is new, an earlier report, or `force` is given.

    Raises:
        InputError: it is a folder, its folder does not exist, or somebody else's file is there.
    """
    if path.is_dir() or not path.parent.is_dir():
        problem = "is a folder" if path.is_dir() else "cannot be written: there is no such folder"
        raise InputError(f"--output {path} {problem}; name a file in an existing folder")
    if path.exists() and not force and not _is_report(path):
        raise InputError(f"--output {path} exists and is no report of {_PROGRAM}; name another file, or add --force")


def _is_report(path):
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(stored, dict) and stored.get("program") == _PROGRAM


def write_report(path, dataset, splits, findings):
    """Write the table and all findings as JSON, atomically.

    Args:
        path: file to write.
        dataset: learning.data.datasets.base.Dataset.
        splits: dict of split -> `summarize`'s dict.
        findings: list of Finding.
    """
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
        "program": _PROGRAM,
        "dataset": dataset.name,
        "root": str(dataset.root),
        "splits": splits,
        "findings": listed,
    }
    write_text(path, json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(exit_status(_PROGRAM, main, None))
