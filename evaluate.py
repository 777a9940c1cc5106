"""Score a folder of predictions as the Cityscapes benchmark does: class and category IoU and nIoU, and accuracies.

`python evaluate.py --results RUN/results_val` prints the table and writes RUN/results.txt and RUN/results.json.
Works on files alone and needs no torch.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np

import options
from helpers.errors import InputError, exit_status
from helpers.parsing import Parser, Switch
from helpers.run_folder import write_text
from helpers.scoring import scores
from helpers.scoring.boundary_iou import FRACTION
from helpers.scoring.counting import count_all
from learning.data.datasets import DATASETS, open_as_stored
from learning.data.datasets.splits import recording, sees_val
from learning.data.predictions import find_predictions, labelled_samples, read_stored

# Lines of results.txt: the first five are the VIPriors challenge's.
SUMMARY = {
    "IoU Class": "mean_class_iou",
    "iIoU Class": "mean_class_niou",
    "IoU Category": "mean_category_iou",
    "iIoU Category": "mean_category_niou",
    "Accuracy": "accuracy",
    "Accuracy Labelled Pixels": "labelled_accuracy",
    "Mean Class Accuracy": "mean_class_accuracy",
}


def main(argv=None):
    """Evaluate the predictions named on the command line.

    Args:
        argv: list of words; None for the process's own.

    Raises:
        InputError: wrong options, missing, unreadable or mismatched files, values that are no labels.
    """
    args = parse(argv)
    results = Path(args.results)
    results = results.resolve() if results.name in ("", "..") else results
    stored = read_stored(args.dataset, args.dataset_path, results.parent)
    dataset = open_as_stored(stored, results.parent / "options.json")
    split = {"results_test": "test", "results_train": "train"}.get(results.name, "val")
    samples = labelled_samples(dataset, split)
    predictions = find_predictions(results, samples)
    check_request(args, results, samples)
    if split == "val" and sees_val(stored):
        _note("these images were trained on, too: the score says nothing of new ones")

    with_instances = has_instances(samples, dataset.labels)
    confusions, matches = count_all(samples, predictions, dataset, with_instances)
    confusion = sum(confusions)
    found = scores.evaluate(confusion, matches, dataset.labels)
    print_scores(found, with_instances)
    further = on_request(args, results, dataset, samples, predictions, confusions)

    output = Path(args.output) if args.output else results.parent
    about = {"dataset": dataset.name, "dataset_path": str(dataset.root), "split": split, "results": str(results)}
    texts = {
        "results.txt": "".join(f"{name}: {found[key]!r}\n" for name, key in SUMMARY.items()),
        "results.json": report(about, found, further, confusion, samples, confusions, dataset.labels),
    }
    write(output, texts)
    print(f"{len(samples)} {split} images; wrote {' and '.join(str(output / name) for name in texts)}")


def parse(argv):
    """Options of the command line; those of baseline.py, which mean nothing here, pass with a line that says so.

    Raises:
        InputError: options that neither program knows.
    """
    parser = Parser(prog="evaluate.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--results", metavar="FOLDER", default="./baseline_run/results_val", help="predictions (default: %(default)s)")
    add("--dataset", choices=tuple(DATASETS), help="data set format (default: the run's, else minicity)")
    add("--dataset_path", "--minicity", metavar="FOLDER", help="its folder (default: the run's, else ./ and its name)")
    add(
        "--boundary",
        type=float,
        nargs="?",
        const=FRACTION,
        metavar="FRACTION",
        help="boundary IoU, too: of what is that near a contour (default: %(const)s of the diagonal)",
    )
    add(
        "--calibration",
        action=Switch,
        help="expected calibration error, too, where --save_scores has kept probabilities",
    )
    add(
        "--bootstrap",
        type=int,
        nargs="?",
        const=2000,
        metavar="N",
        help="a 95 %% interval of the mean IoU, too, by N draws of images (default: %(const)s)",
    )
    add("--blocks", action=Switch, help="with --bootstrap, draw whole recordings, not single images")
    add("--output", metavar="FOLDER", help="where results.txt and results.json go (default: the run folder)")
    args, rest = parser.parse_known_args(argv)
    _, unknown = options.build_parser().parse_known_args(rest)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if rest:
        flags = " ".join(word.split("=")[0] for word in rest if word.startswith("--"))
        _note(f"options of baseline.py without effect here: {flags}")
    if args.boundary is not None and not 0 < args.boundary <= 0.5:
        raise InputError(f"--boundary {args.boundary}: expected a share of the diagonal above 0, up to 0.5")
    if args.bootstrap is not None and not 100 <= args.bootstrap <= 10**6:
        raise InputError(f"--bootstrap {args.bootstrap}: expected 100 .. 1000000 draws")
    if args.blocks and args.bootstrap is None:
        raise InputError("--blocks says what --bootstrap draws: type that, too")
    return args


def has_instances(samples, table):
    """Whether nIoU can be scored; instance maps of some images only are said, and left alone."""
    if not any(row.has_instances for row in table.rows):
        return False
    missing = [sample for sample in samples if sample.instances is None]
    if 0 < len(missing) < len(samples):
        # The nIoU of some images beside the IoU of all would pass for a score of the split.
        _note(f"no nIoU: {len(missing)} of {len(samples)} images have no instance map, {missing[0].image} first")
    return not missing


def print_scores(found, with_instances):
    """Print `scores.evaluate`'s dict in the benchmark's layout; nIoU is n/a where instances are not known."""
    rule = "-" * 32
    for title, kind in (("classes", "class"), ("categories", "category")):
        iou, niou = found[f"{kind}_iou"], found[f"{kind}_niou"]
        means = {"Score Average": (found[f"mean_{kind}_iou"], found[f"mean_{kind}_niou"])}
        print(f"{title:<16} IoU      nIoU\n{rule}")
        for rows in ({name: (iou[name], niou[name]) for name in iou}, means):
            for name, (plain, weighted) in rows.items():
                print(f"{name:<14}: {plain:5.3f}    {f'{weighted:5.3f}' if with_instances else '  n/a'}")
            print(rule)
        print()
    print(f"accuracy of all pixels, void included: {found['accuracy']:.3f}")
    print(f"accuracy of labelled pixels:           {found['labelled_accuracy']:.3f}")
    print(f"mean accuracy of the classes:          {found['mean_class_accuracy']:.3f}")


def scores_folder(results):
    """Path: where the probabilities of the predictions in `results` are, if they were kept."""
    return results.with_name(results.name.replace("results", "scores", 1))


def check_request(args, results, samples):
    """Refuse further scores for which something is missing, before anything is counted.

    Raises:
        InputError: names what is missing.
    """
    folder = scores_folder(results)
    missing = [sample for sample in samples if args.calibration and not (folder / f"{sample.name}.npy").is_file()]
    if missing:
        raise InputError(
            f"--calibration: there are no probabilities {folder / missing[0].name}.npy; a run keeps them with "
            "baseline.py --predict --save_scores uint8"
        )
    if args.blocks and len({recording(sample.name) for sample in samples}) < 2:
        raise InputError("--blocks: the names of the images are all of one recording; draw single images, without it")


def on_request(args, results, dataset, samples, predictions, confusions):
    """Print the further scores that were asked for.

    Returns:
        dict: what results.json has of them, by the name of the option.
    """
    from helpers.scoring import extra_scores

    parts = {}
    if args.boundary is not None:
        parts["boundary"] = extra_scores.boundaries(samples, predictions, dataset, args.boundary)
    if args.calibration:
        parts["calibration"] = extra_scores.calibrated(samples, scores_folder(results), dataset)
    if args.bootstrap is not None:
        blocks = [recording(sample.name) for sample in samples] if args.blocks else None
        parts["bootstrap"] = extra_scores.interval(confusions, samples, dataset.labels, args.bootstrap, blocks)
    for _, lines in parts.values():
        print("", *lines, sep="\n")
    return {name: found for name, (found, _) in parts.items()}


def report(about, found, further, confusion, samples, confusions, table):
    """str: text of results.json, one line for each part; what is not a number is null.

    Per image and class it has the TP, FP and FN pixels, from which the class IoU of any choice of images follows.
    """
    scored, images = scores.scored_rows(table), {}
    for sample, counts in zip(samples, confusions, strict=True):
        pixels = np.transpose(scores.pixel_counts(counts, scored)).tolist()
        images[sample.name] = {
            row.name: dict(zip(("tp", "fp", "fn"), pixels[row.id], strict=True)) for row in table.classes
        }
    parts = {
        **about,
        "num_images": len(samples),
        "scores": _null_for_nan(found),
        **_null_for_nan(further),
        "confusion_matrix": {"labels": [row.name for row in table.rows], "rows_are_truth": confusion.tolist()},
        "images": images,
    }
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {json.dumps(part)}" for key, part in parts.items()) + "\n}\n"


def _null_for_nan(value):
    if isinstance(value, dict):
        return {key: _null_for_nan(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_null_for_nan(part) for part in value]
    if isinstance(value, str):
        return value
    return None if math.isnan(value) else value


def write(folder, texts):
    """Write small files, each as a whole or not at all, and make their folder.

    Args:
        folder: Path.
        texts: dict of file name -> text.

    Raises:
        InputError: they cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_text(folder / name, text)
    except OSError as error:
        raise InputError(f"cannot write into {folder}: {error}; choose another folder with --output") from None


def _note(text):
    print(f"evaluate.py: note: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(exit_status("evaluate.py", main, None))
