"""Compare runs: `python -m tools.compare RUN RUN ...`: options that differ, curves, class IoU, and statistical significance.

Every run is compared with the first one by a paired bootstrap over the images: both are scored on the same resamples. The result
holds for these weights on images of this kind; it does not include the variation between seeds of the same training.
"""

import argparse
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from helpers.errors import InputError, exit_status
from helpers.output import Signature, claim_file, write_text, writing
from helpers.parsing import Parser
from helpers.run_folder import RunFolder, read_options
from helpers.scoring import bootstrap, scores
from learning.data.datasets import DATASETS
from learning.data.datasets.splits import recording, split_warnings
from learning.data.predictions import open_run_dataset
from options import PER_COMMAND
from tools.run_reader import Counts, format_value, open_run, read_counts, read_history
from tools.runs import DEFAULTS

_PROGRAM = "python -m tools.compare"
_FILES = ("comparison.txt", "curves.png", "class_iou.png")
_SIGNATURE = Signature(_PROGRAM, f"{_PROGRAM}\n\n".encode())  # in the first of these files, which stands for all


class Resampling(NamedTuple):
    """The draws of the bootstrap; `blocks` is the recording of each image, None to draw single images."""

    num_resamples: int
    seed: int
    blocks: list[str] | None


def main(argv: Sequence[str] | None = None) -> None:
    """Compare runs."""
    args = _parse(argv)
    runs = [open_run(path) for path in args.runs]
    names = label_runs([run.path for run in runs])
    output = Path(args.output) if args.output else None
    with ExitStack() as claims:
        if output:
            may_replace = args.force or _SIGNATURE.is_in(output / _FILES[0])
            for name in _FILES:
                claims.enter_context(claim_file(output / name, "--output", _SIGNATURE, may_replace, in_new_folder=True))
        _compare(args, dict(zip(names, runs, strict=True)), output)


def _compare(args: argparse.Namespace, runs: Mapping[str, RunFolder], output: Path | None) -> None:
    names = list(runs)
    stored = {name: read_options(run.options) for name, run in runs.items()}
    histories = {name: read_history(run) for name, run in runs.items()}
    counts = {
        name: read_counts(run, args.split, lambda folder: open_run_dataset(args.dataset, args.dataset_path, folder))
        for name, run in runs.items()
    }
    first = counts[names[0]]
    for name in names[1:]:
        check_same_images(names[0], first, name, counts[name])
    blocks = [recording(image) for image in first.names] if args.blocks else None
    resampling = Resampling(args.resamples, args.seed, blocks)
    paragraphs = [
        f"{len(first.names)} {args.split} images of the {first.dataset} data set\n"
        + "\n".join(f"{name}: {run.path}" for name, run in runs.items()),
        *(split_warnings(stored) if args.split == "val" else []),
        options_table(stored, DEFAULTS),
        class_table(counts),
        *(difference_paragraph(names[0], first, name, counts[name], resampling) for name in names[1:]),
        method_paragraph(resampling),
    ]
    text = "\n\n".join(paragraphs)
    print(text)
    if output:
        _write(output, text, histories, counts)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog=_PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("runs", metavar="RUN", nargs="+", help="run folders; the others are compared with the first")
    add(
        "--split",
        choices=("val", "test", "train"),
        default="val",
        help="split of the predictions (default: %(default)s)",
    )
    add("--output", metavar="FOLDER", help=f"also write {', '.join(_FILES)} there")
    add("--resamples", type=int, default=2000, metavar="N", help="of the bootstrap (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the bootstrap (default: %(default)s)")
    add("--blocks", action="store_true", help="resample whole recordings (by file name prefix), not single images")
    add("--dataset", choices=tuple(DATASETS), help="data set format (default: the runs', else minicity)")
    add("--dataset_path", metavar="FOLDER", help="its folder (default: the runs', else ./ and its name)")
    add("--force", action="store_true", help="replace files of these names even if this program did not make them")
    args = parser.parse_args(argv)
    if len(args.runs) < 2:
        parser.error("there is nothing to compare with one run: name two or more")
    for name, lowest, highest in (("resamples", 100, 10**6), ("seed", 0, 2**63 - 1)):
        if not lowest <= getattr(args, name) <= highest:
            parser.error(f"--{name} {getattr(args, name)}: expected {lowest} .. {highest}")
    return args


def label_runs(paths: Sequence[Path]) -> list[str]:
    """Names of the runs' folders, with as many parent folders as make them distinct."""
    parts = [path.resolve().parts for path in paths]
    if len(set(parts)) < len(parts):
        twice = next(path for path, others in zip(paths, parts, strict=True) if parts.count(others) > 1)
        raise InputError(f"{twice} is named twice; name each run once")
    length = 1
    while len({part[-length:] for part in parts}) < len(parts):
        length += 1
    return ["/".join(part[-length:]) for part in parts]


def check_same_images(first_name: str, first: Counts, name: str, counts: Counts) -> None:
    """Refuse two runs that were scored on different images, labels or classes."""
    if (first.dataset, first.classes) != (counts.dataset, counts.classes):
        raise InputError(
            f"{first_name} was scored on the {first.dataset} data set, {name} on {counts.dataset}; compare runs on the same data"
        )
    missing = sorted(set(first.names) ^ set(counts.names))
    if missing or first.names != counts.names:
        example = f", such as {missing[0]}" if missing else ""
        raise InputError(
            f"{first_name} and {name} were scored on different images ({len(first.names)} and {len(counts.names)}; "
            f"{len(missing)} in only one of them{example}); predict the same split with both"
        )
    differs = (first.tp + first.fn != counts.tp + counts.fn).any(1)
    if differs.any():
        image = first.names[int(np.flatnonzero(differs)[0])]
        raise InputError(f"{first_name} and {name} were scored against different labels of {image}; evaluate both anew")


def options_table(stored: Mapping[str, Mapping[str, object]], defaults: Mapping[str, object]) -> str:
    """The options in which the runs differ, one column for each run; an option missing in options.json has its default.

    Args:
        stored: name of the run -> its options.
    """
    unknown = [name for name, options in stored.items() if not options]
    if unknown:
        return f"options: {', '.join(unknown)} has no options.json, so they cannot be compared"
    known = dict.fromkeys(option for options in stored.values() for option in options)
    rows = []
    for option in known:
        values = [options.get(option, defaults.get(option)) for options in stored.values()]
        if option not in PER_COMMAND and any(value != values[0] for value in values):
            rows.append([option, *map(format_value, values)])
    if not rows:
        return "options: no difference"
    return align([["option", *stored], *rows], right=False)


def align(rows: Iterable[Sequence[str]], right: bool = True) -> str:
    """Text in columns, the first one left-aligned."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) if right else cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def class_iou(counts: Counts) -> np.ndarray:
    """IoU of each class over all images, float64 (C,)."""
    return scores.iou_of_counts(counts.tp.sum(0), counts.fp.sum(0), counts.fn.sum(0))


def class_table(counts: Mapping[str, Counts]) -> str:
    """IoU of each class and their mean in percent, one column for each run."""
    ious = np.stack([class_iou(found) for found in counts.values()])
    classes = next(iter(counts.values())).classes
    rows = [["IoU in %", *counts]]
    rows += [[name, *map(_percent, column)] for name, column in zip(classes, ious.T, strict=True)]
    return align([*rows, ["mean", *(_percent(scores.mean(iou)) for iou in ious)]])


def _percent(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{100 * value:.1f}"


def difference_paragraph(first_name: str, first: Counts, name: str, counts: Counts, resampling: Resampling) -> str:
    """The difference of a run to the first one, and the classes in which it is significant."""
    mean, classes = bootstrap.paired_difference(
        (first.tp, first.fp, first.fn), (counts.tp, counts.fp, counts.fn), *resampling
    )
    intervals = [bootstrap.Interval(*values) for values in np.transpose(np.asarray(classes)).tolist()]
    significant = {
        class_name: interval
        for class_name, interval in zip(first.classes, intervals, strict=True)
        if is_significant(interval)
    }
    lines = [f"mean IoU, {name} - {first_name} = {verdict(mean)}"]
    for class_name in sorted(significant, key=lambda class_name: significant[class_name].value):
        lines.append(f"  {class_name}: {verdict(significant[class_name])}")
    num_classes = len(first.classes)
    by_chance = f"; of {num_classes} such intervals about {num_classes / 20:.0f} miss by chance" if significant else ""
    lines.append(f"  classes that differ by more than chance: {len(significant)} of {num_classes}{by_chance}")
    return "\n".join(lines)


def is_significant(difference: bootstrap.Interval) -> bool:
    """Whether the interval excludes 0; False for NaN."""
    return difference.low > 0 or difference.high < 0


def verdict(difference: bootstrap.Interval) -> str:
    """A difference of IoU with its interval in points, and whether it is significant."""
    value, low, high = difference
    conclusion = "could be chance"
    if is_significant(difference):
        conclusion = "more than chance"
    elif value == low == high == 0:
        conclusion = "no difference"
    return f"{100 * value:+.1f} points, 95 % interval [{100 * low:.1f}, {100 * high:.1f}]: {conclusion}"


def method_paragraph(resampling: Resampling) -> str:
    """How the intervals were computed, and what they do not cover."""
    drawn = "single images"
    caveat = (
        "Images of one recording are similar, which makes the intervals too narrow: --blocks draws whole recordings."
    )
    if resampling.blocks is not None:
        drawn = f"{len(set(resampling.blocks))} recordings"
        caveat = "With few recordings the intervals are rough."
    return (
        f"95 % intervals from {resampling.num_resamples} resamples of {drawn}, the same for both runs. {caveat}\n"
        "They hold for the difference of these weights; to compare settings, repeat both trainings with other seeds."
    )


def _write(
    output: Path, text: str, histories: Mapping[str, dict[str, list[float]]], counts: Mapping[str, Counts]
) -> None:
    from helpers import plots  # imports matplotlib, which takes a second and is needed with --output only

    output.mkdir(parents=True, exist_ok=True)
    write_text(output / _FILES[0], f"{_PROGRAM}\n\n{text}\n")
    written = [_FILES[0]]
    known = {name: history for name, history in histories.items() if history}
    if known:
        with writing(output / _FILES[1]) as fresh:
            plots.compared_curves(known, fresh)
        written.append(_FILES[1])
    classes = next(iter(counts.values())).classes
    with writing(output / _FILES[2]) as fresh:
        plots.compared_classes(classes, {name: class_iou(found) for name, found in counts.items()}, fresh)
    written.append(_FILES[2])
    print(f"\n{', '.join(written)} are in {output}")


if __name__ == "__main__":
    sys.exit(exit_status(_PROGRAM, main, None))
