"""The errors of a run as one HTML file: `python -m tools.gallery RUN`, then open RUN/gallery_val.html in a browser.

Worst images first, each with a slider between input, truth, prediction and errors; class scores, confusions, curves, options.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from helpers.errors import exit_status
from helpers.images import read_label
from helpers.labels import LabelTable
from helpers.output import Record, Signature, claim_file, claim_folder, replacing_folders, writing
from helpers.parsing import Parser
from helpers.run_folder import RunFolder, read_options_file
from helpers.scoring import scores
from helpers.scoring.counting import count_all
from helpers.threads import map_in_threads
from learning.data.datasets import DATASETS
from learning.data.datasets.base import Dataset, Sample
from learning.data.datasets.splits import split_warnings
from learning.data.predictions import find_predictions, open_run_dataset
from tools.gallery import page, sections
from tools.gallery.thumbnails import Thumbnails, render
from tools.run_reader import open_run, read_history
from tools.runs import DEFAULTS

_PROGRAM = "python -m tools.gallery"
_SIGNATURE = Signature(_PROGRAM, f'<meta name="generator" content="{_PROGRAM}">'.encode())
_RECORD = Record(_PROGRAM, ".made_by_tools_gallery", unsigned=True)
_WIDTH = 640


class PredictedImage(NamedTuple):
    """A sample, the file of its prediction, and their confusion matrix over label ids, int64 (n, n); None without a label."""

    sample: Sample
    prediction: Path
    confusion: np.ndarray | None


def main(argv: Sequence[str] | None = None) -> None:
    """Write the gallery of a run."""
    args = _parse(argv)
    run = open_run(args.run)
    output = Path(args.output) if args.output else run.path
    target = output / f"gallery_{args.split}.html"
    folder = output / f"gallery_{args.split}_full"
    with (
        claim_file(target, "--output", _SIGNATURE, args.force, in_new_folder=True),
        claim_folder(folder, "--output", _RECORD, args.force),
    ):
        _make(args, run, target, folder)


def _make(args: argparse.Namespace, run: RunFolder, target: Path, folder: Path) -> None:
    environment = read_options_file(run.options)
    stored = environment.pop("options", {})
    history = read_history(run)
    dataset = open_run_dataset(args.dataset, args.dataset_path, run.path)
    samples = dataset.split(args.split)
    images = evaluate(dataset, samples, find_predictions(run.results(args.split), samples))
    shown = images[: args.max]
    notes = split_warnings({str(run.path): stored}) if args.split == "val" else []
    info = page.PageInfo(
        generator=_PROGRAM,
        title=f"{run.path.resolve().name}: {args.split} images",
        summary="; ".join([_summary(dataset, images, len(shown)), *notes]),
        folder=folder.name,
        num_images=len(images),
    )
    training_sections = {
        "Curves": sections.curve_section(history),
        "Options": sections.option_section(stored, environment, DEFAULTS),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folders(folder, record=_RECORD) as (fresh,), writing(target) as new_page:
        thumbnails = _render(dataset, shown, None if args.embed else args.width, fresh)
        text = _build_page(info, dataset.labels, images, thumbnails, training_sections)
        new_page.write_text(text, encoding="utf-8")
    if not any(folder.iterdir()):
        folder.rmdir()
    for line in notes:
        print(line)
    size = f"{target.stat().st_size / 2**20:.1f} MiB"
    full = f" (full size: {folder.name})" if any(found.has_full for found in thumbnails) else ""
    print(f"{len(shown)} of {len(images)} {args.split} images, {size}; open {target}{full}")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(prog=_PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("run", metavar="RUN", help="run folder, with predictions in results_SPLIT")
    add(
        "--split",
        choices=("val", "test", "train"),
        default="val",
        help="split of the predictions (default: %(default)s)",
    )
    add("--output", metavar="FOLDER", help="folder of gallery_SPLIT.html (default: the run folder)")
    add("--max", type=int, metavar="N", help="show the N worst images only; scores are still of all images")
    add("--width", type=int, default=_WIDTH, metavar="N", help="of the images in the page (default: %(default)s)")
    add("--embed", action="store_true", help="embed all images at full size: one file, no folder beside it")
    add("--dataset", choices=tuple(DATASETS), help="data set format (default: the run's, else minicity)")
    add("--dataset_path", metavar="FOLDER", help="its folder (default: the run's, else ./ and its name)")
    add("--force", action="store_true", help="replace files of these names even if this program did not make them")
    args = parser.parse_args(argv)
    for name, lowest in (("max", 1), ("width", 64)):
        value = getattr(args, name)
        if value is not None and value < lowest:
            parser.error(f"--{name} {value}: expected at least {lowest}")
    return args


def evaluate(dataset: Dataset, samples: Sequence[Sample], predictions: Sequence[Path]) -> list[PredictedImage]:
    """Compare predictions with the labels, worst images first; without labels for all samples, their own order."""
    if not all(sample.label for sample in samples):
        return [PredictedImage(*pair, None) for pair in zip(samples, predictions, strict=True)]
    confusions, _ = count_all(samples, predictions, dataset, with_instances=False)
    return [
        PredictedImage(samples[index], predictions[index], confusions[index])
        for index in worst_first(confusions, dataset.labels)
    ]


def worst_first(confusions: Iterable[np.ndarray], labels: LabelTable) -> np.ndarray:
    """Order of images by mean class IoU, lowest first, from their confusion matrices over label ids; NaN comes last."""
    scored = scores.scored_rows(labels)
    return np.argsort([scores.mean(scores.iou(confusion, scored)) for confusion in confusions], kind="stable")


def _render(dataset: Dataset, images: Sequence[PredictedImage], width: int | None, folder: Path) -> list[Thumbnails]:
    """`tools.gallery.thumbnails.render` of all images; files of full size go into `folder`."""
    rendered = map_in_threads(
        lambda image: render(dataset, image.sample, image.prediction, width, folder),
        images,
        description="thumbnails",
    )
    names = sorted(path.name for path in folder.iterdir())
    if names:
        _RECORD.write(folder, names)
    return rendered


def _build_page(
    info: page.PageInfo,
    labels: LabelTable,
    images: Sequence[PredictedImage],
    thumbnails: Sequence[Thumbnails],
    training_sections: Mapping[str, str],
) -> str:
    """The HTML of the page; `thumbnails` are of the first images, and empty sections are left out."""
    confusions = [image.confusion for image in images if image.confusion is not None]
    total = np.sum(confusions, axis=0) if confusions else None
    above: dict[str, str] = {}
    if total is not None:
        above["Scores"] = sections.score_section(total, labels)
        above["Confusions"] = sections.confusion_section(total, confusions, labels)
    above |= {title: html for title, html in training_sections.items() if html}
    entries = [_entry(labels, *pair, index) for index, pair in enumerate(zip(images, thumbnails, strict=False))]
    return page.build(info, entries, thumbnails, total, labels, list(above.items()))


def _entry(labels: LabelTable, image: PredictedImage, thumbnails: Thumbnails, index: int) -> dict[str, object]:
    if image.confusion is None:
        return page.unscored_entry(image.sample, _predicted_classes(labels, image.prediction), thumbnails, index)
    return page.scored_entry(image.sample, image.confusion, thumbnails, index, labels)


def _predicted_classes(labels: LabelTable, path: Path) -> list[int]:
    """Train ids of the classes that occur in a prediction."""
    values = np.unique(labels.decoder("ids", "train_ids")[0][read_label(path)])
    return values[values < len(labels.classes)].tolist()


def _summary(dataset: Dataset, images: Sequence[PredictedImage], num_shown: int) -> str:
    where = f"images of the {dataset.name} data set in {dataset.root}"
    if any(image.confusion is None for image in images):
        return f"{num_shown} {where}; they have no labels, so there are predictions but no scores"
    shown = f"the {num_shown} worst of {len(images)}" if num_shown < len(images) else f"{num_shown}"
    return f"{shown} {where}"


if __name__ == "__main__":
    sys.exit(exit_status(_PROGRAM, main, None))
