"""Score a folder of predictions as the Cityscapes benchmark does: class and category IoU and nIoU, and accuracies.

`python evaluate.py --results RUN/results_val` prints the table and writes RUN/results.txt and RUN/results.json.
Works on files alone and needs no torch.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import options
from helpers.errors import InputError, exit_status
from helpers.labels import LabelTable
from helpers.output import claim, write_text
from helpers.parsing import Parser, Switch
from helpers.scoring import optional_scores, report, scores
from helpers.scoring.boundary_iou import FRACTION
from helpers.scoring.counting import count_all
from helpers.scoring.plausibility import refuse_only_void
from learning.data.datasets import DATASETS, open_dataset_from_options
from learning.data.datasets.base import Dataset, Sample
from learning.data.datasets.splits import recording, sees_val
from learning.data.predictions import find_predictions, labeled_samples, read_run_options

SPLITS = {"results_test": "test", "results_train": "train"}  # of the results folder's name; any other name means val
RULE = "-" * 32


@dataclass(frozen=True)
class Request:
    """The options of the command line; None where the run or a default decides."""

    results: Path
    dataset: str | None
    dataset_path: str | None
    boundary: float | None  # share of the image diagonal
    calibration: bool
    bootstrap: int | None  # number of resamples
    blocks: bool
    output: str | None


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate the predictions named on the command line (None: the process's own).

    Raises:
        InputError: wrong options, missing, unreadable or mismatched files, values that are not labels.
    """
    request = parse(argv)
    output = Path(request.output) if request.output else request.results.parent
    if output.exists() and not output.is_dir():
        raise InputError(f"cannot write into {output}: it is a file; choose another folder with --output")
    with claim(output / "results.txt", "--output"):
        score(request, output)


def score(request: Request, output: Path) -> None:
    """Print the scores, and write results.txt and results.json."""
    results = request.results
    stored = read_run_options(request.dataset, request.dataset_path, results.parent)
    dataset = open_dataset_from_options(stored, results.parent / "options.json")
    split = SPLITS.get(results.name, "val")
    samples = labeled_samples(dataset, split)
    predictions = find_predictions(results, samples)
    check_request(request, samples)
    if split == "val" and sees_val(stored):
        print_note("these images were trained on, too: the score does not predict performance on new images")

    with_instances = has_instances(samples, dataset.labels)
    confusions, matches = count_all(samples, predictions, dataset, with_instances)
    confusion = np.sum(confusions, 0)
    refuse_only_void(confusion, [sample.label for sample in samples], dataset.labels)
    found = scores.evaluate(confusion, matches, dataset.labels)
    print_scores(found, with_instances)
    optional = optional_parts(request, dataset, samples, predictions, confusions)

    parts = {
        "dataset": dataset.name,
        "dataset_path": str(dataset.root),
        "split": split,
        "results": str(results),
        "num_images": len(samples),
        "scores": found,
        **optional,
        "confusion_matrix": {
            "labels": [row.name for row in dataset.labels.rows],
            "rows_are_truth": confusion.tolist(),
        },
        "images": report.image_counts(samples, confusions, dataset.labels),
    }
    texts = {"results.txt": report.summary_text(found), "results.json": report.json_text(parts)}
    write(output, texts)
    print(f"{len(samples)} {split} images; wrote {' and '.join(str(output / name) for name in texts)}")


def parse(argv: Sequence[str] | None) -> Request:
    """Parse the command line; options of baseline.py are accepted with a note that they have no effect.

    Raises:
        InputError: options that neither program knows, or values out of range.
    """
    parser = build_parser()
    args, rest = parser.parse_known_args(argv)
    _, unknown = options.parser().parse_known_args(rest)
    if unknown:
        parser.refuse_unknown(unknown)
    if rest:
        flags = " ".join(argument.split("=")[0] for argument in rest if argument.startswith("--"))
        print_note(f"options of baseline.py without effect here: {flags}")
    request = Request(**vars(args))
    if request.boundary is not None and not 0 < request.boundary <= 0.5:
        raise InputError(f"--boundary {request.boundary}: expected a share of the diagonal above 0, up to 0.5")
    if request.bootstrap is not None and not 100 <= request.bootstrap <= 10**6:
        raise InputError(f"--bootstrap {request.bootstrap}: expected 100 .. 1000000 draws")
    if request.blocks and request.bootstrap is None:
        raise InputError("--blocks says what --bootstrap draws: add --bootstrap too")
    return request


def build_parser() -> Parser:
    """The options of this program; their names are the fields of `Request`."""
    parser = Parser(
        prog="evaluate.py",
        description="Score a folder of predictions as the Cityscapes benchmark does: IoU, nIoU and accuracies.",
    )
    add = parser.add_argument
    add(
        "--results",
        type=results_folder,
        metavar="FOLDER",
        default="./baseline_run/results_val",
        help="predictions (default: %(default)s)",
    )
    add("--dataset", choices=tuple(DATASETS), help="data set format (default: the run's, else minicity)")
    add("--dataset_path", "--minicity", metavar="FOLDER", help="its folder (default: the run's, else ./ and its name)")
    add(
        "--boundary",
        type=float,
        nargs="?",
        const=FRACTION,
        metavar="FRACTION",
        help="add boundary IoU: of the pixels near a contour (default: %(const)s of the diagonal)",
    )
    add(
        "--calibration",
        action=Switch,
        help="add the expected calibration error; needs the probabilities that --save_scores writes",
    )
    add(
        "--bootstrap",
        type=int,
        nargs="?",
        const=2000,
        metavar="N",
        help="add a 95 %% interval of the mean IoU from N resamples of the images (default: %(const)s)",
    )
    add("--blocks", action=Switch, help="with --bootstrap, draw whole recordings instead of single images")
    add("--output", metavar="FOLDER", help="folder of results.txt and results.json (default: the run folder)")
    return parser


def results_folder(text: str) -> Path:
    """The path as typed; resolved where it is "." or "..", because its name decides the split."""
    path = Path(text)
    return path.resolve() if path.name in ("", "..") else path


def check_request(request: Request, samples: Sequence[Sample]) -> None:
    """Check, before anything is counted, that the optional scores can be computed.

    Raises:
        InputError: names what is missing.
    """
    folder = probabilities_folder(request.results)
    if request.calibration:
        missing = [sample.name for sample in samples if not (folder / f"{sample.name}.npy").is_file()]
        if missing:
            raise InputError(
                f"--calibration: there are no probabilities {folder / missing[0]}.npy; a run keeps them with "
                "baseline.py --predict --save_scores uint8"
            )
    if request.blocks and len({recording(sample.name) for sample in samples}) < 2:
        raise InputError("--blocks: the images are all of one recording; draw single images, without --blocks")


def probabilities_folder(results: Path) -> Path:
    """Where --save_scores writes the probabilities of the predictions in `results`."""
    return results.with_name(results.name.replace("results", "scores", 1))


def has_instances(samples: Sequence[Sample], table: LabelTable) -> bool:
    """Whether nIoU can be computed; prints a note if only some images have an instance map."""
    if not any(row.has_instances for row in table.rows):
        return False
    missing = [sample for sample in samples if sample.instances is None]
    if 0 < len(missing) < len(samples):
        # The nIoU of some images beside the IoU of all would be mistaken for a score of the split.
        print_note(f"no nIoU: {len(missing)} of {len(samples)} images have no instance map, {missing[0].image} first")
    return not missing


def print_scores(found: scores.Scores, with_instances: bool) -> None:
    """Print the scores in the benchmark's layout; nIoU is n/a without instance maps."""
    print(f"{'classes':<16} IoU      nIoU\n{RULE}")
    print_rows(found["class_iou"], found["class_niou"], with_instances)
    print_rows({"Score Average": found["mean_class_iou"]}, {"Score Average": found["mean_class_niou"]}, with_instances)
    print(f"\n{'categories':<16} IoU      nIoU\n{RULE}")
    print_rows(found["category_iou"], found["category_niou"], with_instances)
    print_rows(
        {"Score Average": found["mean_category_iou"]}, {"Score Average": found["mean_category_niou"]}, with_instances
    )
    print()
    print(f"accuracy of all pixels, void included: {found['accuracy']:.3f}")
    print(f"accuracy of labelled pixels:           {found['labelled_accuracy']:.3f}")
    print(f"mean accuracy of the classes:          {found['mean_class_accuracy']:.3f}")


def print_rows(iou: dict[str, float], niou: dict[str, float], with_instances: bool) -> None:
    """Print a line for each name, and a rule."""
    for name, value in iou.items():
        weighted = f"{niou[name]:5.3f}" if with_instances else "  n/a"
        print(f"{name:<14}: {value:5.3f}    {weighted}")
    print(RULE)


def optional_parts(
    request: Request,
    dataset: Dataset,
    samples: Sequence[Sample],
    predictions: Sequence[Path],
    confusions: Sequence[np.ndarray],
) -> dict[str, object]:
    """Print the requested optional scores; returns their parts of results.json by the name of the option."""
    reports = {}
    if request.boundary is not None:
        reports["boundary"] = optional_scores.boundary_scores(samples, predictions, dataset, request.boundary)
    if request.calibration:
        folder = probabilities_folder(request.results)
        reports["calibration"] = optional_scores.calibration_error(samples, folder, dataset)
    if request.bootstrap is not None:
        blocks = [recording(sample.name) for sample in samples] if request.blocks else None
        reports["bootstrap"] = optional_scores.mean_iou_interval(confusions, dataset.labels, request.bootstrap, blocks)
    for _, lines in reports.values():
        print("", *lines, sep="\n")
    return {name: found for name, (found, _) in reports.items()}


def write(folder: Path, texts: Mapping[str, str]) -> None:
    """Make the folder and write small text files, by name, each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text(folder / name, text)


def print_note(text: str) -> None:
    """Print a note on standard error, under the program's name."""
    print(f"evaluate.py: note: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(exit_status("evaluate.py", main, None))
