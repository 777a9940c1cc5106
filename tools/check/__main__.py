"""Check a data set before training: open every file, list all errors and everything suspicious.

Prints a table of the splits, then a line for each finding. Exit status: 0 without errors (there may be warnings), 1 with
errors in the data, 2 if nothing can be checked.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from helpers.errors import exit_status
from helpers.output import Signature, claim_file
from helpers.parsing import Parser
from helpers.threads import map_in_threads
from learning.data.datasets import DATASETS
from learning.data.datasets.base import Dataset, Finding, search
from tools.check.checked_sample import CheckedSample, check_sample
from tools.check.comparison import compare
from tools.check.report import finding_lines, split_table, summarize, write_report

_LINES = 8  # of each kind, without --all
_PROGRAM = "python -m tools.check"
_SIGNATURE = Signature(_PROGRAM, f'"program": "{_PROGRAM}"'.encode())


def main(argv: Sequence[str] | None = None) -> int:
    """Check the data set named by `argv`; returns 1 if there are errors in the data, else 0."""
    args = _parse(argv)
    root = args.dataset_path or f"./{args.dataset}"
    dataset, findings = search(args.dataset, DATASETS[args.dataset], root)
    if not args.output:
        return _check(args, dataset, findings)
    with claim_file(Path(args.output), "--output", _SIGNATURE, args.force):
        return _check(args, dataset, findings)


def _check(args: argparse.Namespace, dataset: Dataset, findings: list[Finding]) -> int:
    findings += _missing_splits(dataset)
    start = time.perf_counter()
    samples = check_samples(dataset)
    seconds = time.perf_counter() - start
    findings += _unlabeled_splits(dataset, samples)
    findings += [finding for checked in samples for finding in checked.findings]
    findings += compare(dataset, samples)
    splits = {split: summarize(samples, split, dataset.labels) for split in dataset.splits}
    print(split_table(splits, dataset.labels), end="\n\n")
    for line in finding_lines(findings, sys.maxsize if args.all else _LINES):
        print(line)
    number = Counter(finding.severity for finding in findings)
    print(
        f"{dataset.root}: {_count(number['error'], 'error')}, {_count(number['warning'], 'warning')}; "
        f"{len(samples)} images in {seconds:.1f} s ({len(samples) / max(seconds, 1e-9):.0f} images/s)"
    )
    if args.output:
        write_report(Path(args.output), _PROGRAM, dataset, splits, findings)
    return int(number["error"] > 0)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog=_PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=tuple(DATASETS), default="minicity", help="format (default: %(default)s)")
    parser.add_argument("--dataset_path", help="folder of the data (default: ./ and the name)")
    parser.add_argument("--all", action="store_true", help=f"print all findings, not {_LINES} of each kind")
    parser.add_argument("--output", metavar="FILE", help="also write all findings and the table as JSON")
    parser.add_argument("--force", action="store_true", help="replace FILE even if it is not a report of this program")
    return parser.parse_args(argv)


def _missing_splits(dataset: Dataset) -> list[Finding]:
    """Training needs both train and val."""
    return [
        Finding("missing folder", split, dataset.root, f"has no {split} images", f"add them. {dataset.spec.HINT}")
        for split in ("train", "val")
        if split not in dataset.splits
    ]


def _unlabeled_splits(dataset: Dataset, samples: Sequence[CheckedSample]) -> list[Finding]:
    """Training and validation need labeled pixels; the samples' own findings name the label maps."""
    counts = {
        split: [checked.pixels for checked in samples if checked.split == split and checked.pixels is not None]
        for split in ("train", "val")
    }
    return [
        Finding(
            "unlabeled split", split, dataset.root, f"has no labeled pixel in its {split} split", "write class numbers"
        )
        for split, pixels in counts.items()
        if pixels and not np.any(pixels)
    ]


def check_samples(dataset: Dataset) -> list[CheckedSample]:
    """Check every sample, in the order of the splits, in threads: Pillow and NumPy release the GIL.

    Only as many images as threads are in memory.
    """
    samples = [(split, sample) for split in dataset.splits for sample in dataset.splits[split]]
    return map_in_threads(lambda one: check_sample(dataset, *one), samples, description="checking")


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(exit_status(_PROGRAM, main, None))
