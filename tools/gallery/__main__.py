"""The mistakes of a run as one HTML file: `python -m tools.gallery RUN`, then open RUN/gallery_val.html in a browser.

Worst images first, each with a slider between input, truth, prediction and errors; classes, confusions, curves, options.
"""

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from helpers.errors import InputError, exit_status
from helpers.images import read_label
from helpers.output import replacing_folders
from helpers.parsing import Parser
from helpers.run_folder import write_text
from helpers.scoring import scores
from helpers.scoring.counting import count_all
from helpers.threads import map_in_threads
from learning.data.datasets import DATASETS
from learning.data.datasets.splits import remarks
from learning.data.predictions import find_dataset, find_predictions
from tools import run_reader as viewing
from tools.gallery import page, sections, thumbnails
from tools.runs import DEFAULTS

_PROGRAM = "python -m tools.gallery"
_MARK = ".made_by_tools_gallery"  # stands in the folders of pictures that this program makes
_WIDTH = 640


def main(argv=None):
    """Write the gallery of the run that the words of `argv` name.

    Raises:
        InputError: wrong options; missing, unreadable or mismatched files; files that are not this program's own.
    """
    args = _parse(argv)
    run = viewing.open_run(args.run)
    stored, circumstances = viewing.read_about(run)
    history = viewing.read_history(run)
    output = Path(args.output) if args.output else run.path
    target, folder = output / f"gallery_{args.split}.html", output / f"gallery_{args.split}_full"
    _refuse_foreign(target, folder, args.force)
    dataset = find_dataset(args, run.path)
    samples = dataset.split(args.split)
    predictions = find_predictions(run.results(args.split), samples)
    labelled = all(sample.label for sample in samples)
    confusions = count_all(samples, predictions, dataset, with_instances=False)[0] if labelled else None

    order = list(worst_first(confusions, dataset.labels) if labelled else range(len(samples)))[: args.max]
    rendered = _render(dataset, [(samples[i], predictions[i]) for i in order], args, folder)
    images = [
        page.image_data(samples[i], confusions[i], size, has_full, position, dataset.labels)
        if labelled
        else page.unlabelled_data(samples[i], _predicted(dataset, predictions[i]), size, has_full, position)
        for position, (i, (_, size, has_full)) in enumerate(zip(order, rendered, strict=True))
    ]
    notes = remarks({str(run.path): stored}) if args.split == "val" else []
    about = {
        "generator": _PROGRAM,
        "title": f"{run.path.resolve().name}: {args.split} images",
        "summary": "; ".join([_summary(dataset, samples, order, labelled), *notes]),
        "folder": folder.name,
        "num_images": len(samples),
    }
    total = sum(confusions) if labelled else None
    above = _sections(total, confusions, dataset.labels, history, stored, circumstances)
    write_text(target, page.build(about, images, [found for found, _, _ in rendered], total, dataset.labels, above))
    size = f"{target.stat().st_size / 2**20:.1f} MiB"
    beside = f" (full size: {folder.name})" if folder.is_dir() and any(has_full for *_, has_full in rendered) else ""
    for line in notes:
        print(line)
    print(f"{len(order)} of {len(samples)} {args.split} images, {size}; open {target}{beside}")


def _render(dataset, pairs, args, folder):
    """list of `pictures.render`'s answers for (sample, path of its prediction); files of full size go into `folder`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    width = None if args.embed else args.width
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".gallery_") as scratch:
        rendered = map_in_threads(
            lambda pair: thumbnails.render(dataset, *pair, width, Path(scratch)), pairs, description="images"
        )
        _place(folder, Path(scratch))
    return rendered


def _parse(argv):
    parser = Parser(prog=_PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("run", metavar="RUN", help="run folder, with predictions in results_SPLIT")
    add("--split", choices=("val", "test", "train"), default="val", help="whose predictions (default: %(default)s)")
    add("--output", metavar="FOLDER", help="where gallery_SPLIT.html goes (default: the run folder)")
    add("--max", type=int, metavar="N", help="show the N worst images only; scores are those of all")
    add("--width", type=int, default=_WIDTH, metavar="N", help="of the pictures in the page (default: %(default)s)")
    add(
        "--embed",
        action="store_true",
        help="put all pictures into the page at full size: one file, no folder beside it",
    )
    add("--dataset", choices=tuple(DATASETS), help="data set format (default: the run's, else minicity)")
    add("--dataset_path", metavar="FOLDER", help="its folder (default: the run's, else ./ and its name)")
    add("--force", action="store_true", help="replace files of these names even if this program did not make them")
    args = parser.parse_args(argv)
    for name, lowest in (("max", 1), ("width", 64)):
        if getattr(args, name) is not None and getattr(args, name) < lowest:
            parser.error(f"--{name} {getattr(args, name)}: expected at least {lowest}")
    return args


def worst_first(confusions, labels):
    """Positions of images by their mean class IoU, lowest first; those without a scored pixel come last.

    Args:
        confusions: list of int64 (n, n) over label ids, of each image.
        labels: helpers.labels.LabelTable.

    Returns:
        int64 (images,)
    """
    scored = scores.scored_rows(labels)
    return np.argsort([scores.mean(scores.iou(confusion, scored)) for confusion in confusions], kind="stable")


def _predicted(dataset, path):
    """Train ids that occur in a prediction."""
    values = np.unique(dataset.labels.decoder("ids", "train_ids")[0][read_label(path)])
    return values[values < len(dataset.labels.classes)]


def _summary(dataset, samples, order, labelled):
    shown = f"the {len(order)} worst of {len(samples)}" if labelled and len(order) < len(samples) else f"{len(order)}"
    about = "" if labelled else "; they have no labels, so there are predictions and no scores"
    return f"{shown} images of the {dataset.name} data set in {dataset.root}{about}"


def _sections(total, confusions, labels, history, stored, circumstances):
    found = {}
    if total is not None:
        found["Scores"] = sections.score_section(total, labels)
        found["Confusions"] = sections.confusion_section(total, confusions, labels)
    found["Curves"] = sections.curve_section(history)
    found["Options"] = sections.option_section(stored, circumstances, DEFAULTS)
    return [(title, html) for title, html in found.items() if html]


def _refuse_foreign(target, folder, force):
    """Check that nothing of somebody else would be replaced.

    Raises:
        InputError: names the file or folder.
    """
    if target.is_dir() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{target if target.is_dir() else folder} is in the way; move it, or name another --output")
    if force:
        return
    if target.exists() and not _is_own(target):
        raise InputError(f"{target} was not made by {_PROGRAM}; name another --output, or add --force")
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
        raise InputError(f"the folder {folder} was not made by {_PROGRAM}; name another --output, or add --force")


def _is_own(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return re.search(rf'<meta name="generator" content="{re.escape(_PROGRAM)}">', file.read(2000)) is not None


def _place(folder, made):
    """Let the pictures in `made`, if any, take the place of those of an earlier gallery; other files in `folder` stay."""
    for path in _own_pictures(folder):
        path.unlink()
    if any(made.iterdir()):
        with replacing_folders(folder) as (fresh,):
            for path in made.iterdir():
                shutil.move(path, fresh / path.name)
            (fresh / _MARK).write_text("\n".join(sorted(path.name for path in fresh.iterdir())), encoding="utf-8")
    elif folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _own_pictures(folder):
    """Files that an earlier gallery wrote into `folder`, its list of them included."""
    mark = folder / _MARK
    names = [*mark.read_text(encoding="utf-8").splitlines(), _MARK] if mark.is_file() else []
    return [folder / Path(name).name for name in names if (folder / Path(name).name).is_file()]


if __name__ == "__main__":
    sys.exit(exit_status(_PROGRAM, main, None))
