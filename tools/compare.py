"""Runs side by side: `python -m tools.compare RUN RUN ...`: options that differ, curves, class IoU, and what may be chance.

Every run is compared with the first one by a paired bootstrap over the images: both are scored on the same drawn images, again
and again. It judges these weights on images of this kind; another seed of the same training is another run, and is not in it.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np

from helpers.errors import InputError, exit_status
from helpers.parsing import Parser
from helpers.run_folder import write_text
from helpers.scoring import bootstrap, scores
from learning.data.datasets import DATASETS
from learning.data.datasets.splits import recording, remarks
from learning.data.predictions import find_dataset
from options import PER_COMMAND
from tools import run_reader as viewing
from tools.runs import DEFAULTS

_PROGRAM = "python -m tools.compare"
_FILES = ("comparison.txt", "curves.png", "class_iou.png")


def main(argv=None):
    """Compare the runs that the words of `argv` name.

    Raises:
        InputError: wrong options; missing or damaged files; runs scored on different images; files of somebody else.
    """
    args = _parse(argv)
    runs = [viewing.open_run(path) for path in args.runs]
    names = label_runs([run.path for run in runs])
    output = Path(args.output) if args.output else None
    if output:
        _refuse_foreign(output, args.force)
    stored = [viewing.read_about(run)[0] for run in runs]
    histories = [viewing.read_history(run) for run in runs]

    def find(path):
        return find_dataset(args.dataset, args.dataset_path, path)

    counts = [viewing.read_counts(run, args.split, find) for run in runs]
    for name, found in zip(names[1:], counts[1:], strict=True):
        check_alike(names[0], counts[0], name, found)
    blocks = [recording(name) for name in counts[0].names] if args.blocks else None
    about = f"{len(counts[0].names)} {args.split} images of the {counts[0].dataset} data set"
    notes = remarks(dict(zip(names, stored, strict=True))) if args.split == "val" else []
    parts = [
        "\n".join([about, *(f"{name}: {run.path}" for name, run in zip(names, runs, strict=True))]),
        *notes,
        options_table(names, stored, DEFAULTS),
        class_table(names, counts),
        *judge(names, counts, args.resamples, args.seed, blocks),
    ]
    text = "\n\n".join(parts)
    print(text)
    if output:
        _write(output, text, names, histories, counts)


def _parse(argv):
    parser = Parser(prog=_PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("runs", metavar="RUN", nargs="+", help="run folders; the others are compared with the first")
    add("--split", choices=("val", "test", "train"), default="val", help="whose predictions (default: %(default)s)")
    add("--output", metavar="FOLDER", help=f"also write {', '.join(_FILES)} there")
    add("--resamples", type=int, default=2000, metavar="N", help="of the bootstrap (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the bootstrap (default: %(default)s)")
    add(
        "--blocks",
        action="store_true",
        help="draw whole recordings (by the beginnings of the file names), not single images",
    )
    add("--dataset", choices=tuple(DATASETS), help="data set format (default: the runs', else minicity)")
    add("--dataset_path", metavar="FOLDER", help="its folder (default: the runs', else ./ and its name)")
    add("--force", action="store_true", help="replace files of these names even if this program did not make them")
    args = parser.parse_args(argv)
    if len(args.runs) < 2:
        parser.error("one run is nothing to compare: name two or more")
    for name, lowest, highest in (("resamples", 100, 10**6), ("seed", 0, 2**63 - 1)):
        if not lowest <= getattr(args, name) <= highest:
            parser.error(f"--{name} {getattr(args, name)}: expected {lowest} .. {highest}")
    return args


def label_runs(paths):
    """list of str: names of the runs' folders, with as much of the path before them as tells them apart."""
    parts = [path.resolve().parts for path in paths]
    if len(set(parts)) < len(parts):
        twice = next(path for path, others in zip(paths, parts, strict=True) if parts.count(others) > 1)
        raise InputError(f"{twice} is named twice; name each run once")
    length = 1
    while len({part[-length:] for part in parts}) < len(parts):
        length += 1
    return ["/".join(part[-length:]) for part in parts]


def check_alike(first_name, first, name, counts):
    """Check that two runs were scored on the same images and classes.

    Raises:
        InputError: says what differs.
    """
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
    truth, other = first.tp + first.fn, counts.tp + counts.fn
    if (truth != other).any():
        image = first.names[int(np.flatnonzero((truth != other).any(1))[0])]
        raise InputError(f"{first_name} and {name} were scored against different labels of {image}; evaluate both anew")


def options_table(names, stored, defaults):
    """str: the options in which the runs differ, a column a run; what a run's options.json lacks is the default."""
    unknown = [name for name, options in zip(names, stored, strict=True) if not options]
    if unknown:
        return f"options: {', '.join(unknown)} has no options.json, so they cannot be compared"
    known = dict.fromkeys(name for options in stored for name in options)
    rows = []
    for name in known:
        values = [options.get(name, defaults.get(name)) for options in stored]
        if name not in PER_COMMAND and any(value != values[0] for value in values):
            rows.append([name, *map(viewing.plain, values)])
    if not rows:
        return "options: no difference"
    return align([["option", *names], *rows], right=False)


def align(rows, right=True):
    """str: rows of words as columns, the first one to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [
            word.rjust(width) if right else word.ljust(width) for word, width in zip(others, widths[1:], strict=True)
        ]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def class_iou(counts):
    """float64 (C,): IoU of each class over all images."""
    return scores.iou_of_counts(counts.tp.sum(0), counts.fp.sum(0), counts.fn.sum(0))


def class_table(names, counts):
    """str: IoU of each class and their mean in percent, a column a run."""
    ious = np.stack([class_iou(found) for found in counts])
    rows = [["IoU in %", *names]]
    rows += [[name, *map(_percent, column)] for name, column in zip(counts[0].classes, ious.T, strict=True)]
    return align([*rows, ["mean", *(_percent(scores.mean(iou)) for iou in ious)]])


def _percent(value):
    return "n/a" if math.isnan(value) else f"{100 * value:.1f}"


def judge(names, counts, num_resamples, seed, blocks):
    """What each run differs from the first by, and whether that could be chance.

    Yields:
        str: a paragraph a run, then what the intervals do not cover.
    """
    first = counts[0]
    for name, found in zip(names[1:], counts[1:], strict=True):
        mean, classes = bootstrap.paired_difference(
            (first.tp, first.fp, first.fn), (found.tp, found.fp, found.fn), num_resamples, seed, blocks
        )
        lines = [f"mean IoU, {name} - {names[0]} = {verdict(mean)}"]
        each = [
            (class_name, bootstrap.Interval(*values))
            for class_name, *values in zip(first.classes, *classes, strict=True)
            if not any(map(math.isnan, values)) and (values[1] > 0 or values[2] < 0)
        ]
        lines += [
            f"  {class_name}: {verdict(values)}" for class_name, values in sorted(each, key=lambda item: item[1].value)
        ]
        chance = (
            f"; of {len(first.classes)} such intervals about {len(first.classes) / 20:.0f} miss by chance"
            if each
            else ""
        )
        lines.append(f"  classes that differ by more than chance: {len(each)} of {len(first.classes)}{chance}")
        yield "\n".join(lines)
    drawn = "single images" if blocks is None else f"{len(set(blocks))} recordings"
    caveat = (
        "Images of one recording resemble each other, which makes the intervals too narrow: --blocks draws whole recordings."
        if blocks is None
        else "With few recordings the intervals are rough."
    )
    yield (
        f"95 % intervals from {num_resamples} resamples of {drawn}, the same for both runs. {caveat}\n"
        "They say how sure the difference is for these weights; to judge a setting, repeat both trainings with other seeds."
    )


def verdict(difference):
    """str: a difference of IoU with its interval in points, and in words what it means."""
    value, low, high = difference
    sure = low > 0 or high < 0
    words = "more than chance" if sure else "no difference" if value == low == high == 0 else "could be chance"
    return f"{100 * value:+.1f} points, 95 % interval [{100 * low:.1f}, {100 * high:.1f}]: {words}"


def _refuse_foreign(output, force):
    """Check that nothing of somebody else would be replaced: comparison.txt begins with this program's name.

    Raises:
        InputError: names the file.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {output} is a file; name a folder")
    there = [output / name for name in _FILES if (output / name).exists()]
    mark = output / _FILES[0]
    own = mark.is_file() and mark.read_text(encoding="utf-8", errors="replace").startswith(f"{_PROGRAM}\n")
    if there and not own and not force:
        raise InputError(f"{there[0]} was not made by {_PROGRAM}; name another --output, or add --force")


def _write(output, text, names, histories, counts):
    from helpers import plots  # matplotlib takes a second

    output.mkdir(parents=True, exist_ok=True)
    write_text(output / _FILES[0], f"{_PROGRAM}\n\n{text}\n")
    written = [_FILES[0]]
    known = {name: history for name, history in zip(names, histories, strict=True) if history}
    if known:
        plots.compared_curves(known, output / _FILES[1])
        written.append(_FILES[1])
    plots.compared_classes(counts[0].classes, dict(zip(names, map(class_iou, counts), strict=True)), output / _FILES[2])
    written.append(_FILES[2])
    print(f"\n{', '.join(written)} are in {output}")


if __name__ == "__main__":
    sys.exit(exit_status(_PROGRAM, main, None))
