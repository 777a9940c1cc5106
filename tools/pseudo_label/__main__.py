"""Label images with runs, to train on: `python -m tools.pseudo_label RUN [RUN ...] --input FOLDER --output FOLDER`.

Every image directly in the input folders is predicted (several runs vote as `tools.ensemble`'s soft vote does). A pixel whose
confidence, the probability of its class, is below --confidence becomes void. With --per_class P the threshold of a
class is the confidence of the most confident share P of its pixels, and at most --confidence, so that rare classes, of which
a network is seldom sure, are not lost (class-balanced self-training, Zou et al., ECCV 2018). Confidences are rounded to
1/50000. Images of which nothing is kept are left out.

The output has the data set's own format, so `baseline.py --extra_data FOLDER` trains on it; the images are hard links where the
file system has them. pseudo_labels.json says which weights made the labels, and in which round of self-training.
"""

import argparse
import json
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from helpers import run_folder
from helpers.errors import InputError, exit_status
from helpers.images import list_images, read_instances, read_label, write_png
from helpers.labels import VOID
from helpers.output import replacing_folders
from helpers.parsing import Parser
from helpers.progress import progress_bar
from learning.data.datasets.extra import PROVENANCE, read_provenance
from tools import runs
from tools.pseudo_label import confidence

PROGRAM = "tools.pseudo_label"


def main(argv=None):
    """Label the images of the folders named on the command line.

    Raises:
        InputError: wrong options, runs that do not fit together, missing or unreadable files, an output folder of others, or
            nothing that is sure enough.
    """
    args = parse(argv)
    weights = runs.vote_weights(args.mix, args.runs)
    sources = [runs.open_source(word) for word in args.runs]
    images = find_images(args.input)
    output = Path(args.output)
    refuse_foreign(output, args.force)
    refuse_inside(images, output)
    data = open_data(sources, args.dataset_path)
    began = time.monotonic()
    with replacing_folders(output) as (fresh,):
        counts = predict(args, sources, weights, data, images, fresh / "predictions")
        lowest = confidence.thresholds(counts, args.confidence, args.per_class)
        kept = write_labels(data, images, lowest, fresh)
        shutil.rmtree(fresh / "predictions")
        summary = confidence.summarize(counts, lowest, data.labels.names)
        if not kept:
            raise InputError(f"not one pixel of {len(images)} images is sure enough; lower --confidence")
        voters = [runs.describe(source) | {"weight": weight} for source, weight in zip(sources, weights, strict=True)]
        about = {
            "made by": PROGRAM,
            "round": next_round(sources),
            "dataset": data.name,
            "runs": voters,
            "input": [os.path.abspath(folder) for folder in args.input],
            "confidence": args.confidence,
            "per_class": args.per_class,
            "mst": args.mst,
            "images": kept,
            "images left out": len(images) - kept,
            "classes": summary,
            "files": sorted(path.relative_to(fresh).as_posix() for path in fresh.rglob("*") if path.is_file()),
        }
        run_folder.write_text(fresh / PROVENANCE, json.dumps(about, indent=2) + "\n")
    print(table(summary))
    print(
        f"{kept} of {len(images)} images labelled in round {about['round']} "
        f"({len(images) / (time.monotonic() - began):.1f} images/s): {output}"
    )
    print(f"train on them with: python baseline.py --extra_data {shlex.quote(str(output))} ...")
    print("note: a challenge may forbid pseudo labels and additional data: read its rules before you train on these")


def parse(argv):
    """Options of the command line.

    Raises:
        InputError: unknown options, or numbers that mean nothing.
    """
    parser = Parser(
        prog="python -m tools.pseudo_label", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="run folders (their best weights) or checkpoints in them")
    add("--input", nargs="+", required=True, metavar="FOLDER", help="folders of images, PNG or JPEG")
    add("--output", required=True, metavar="FOLDER", help="the new folder, in the data set's format")
    add("--confidence", type=float, default=0.9, metavar="C", help="what is kept at least (default: %(default)s)")
    add(
        "--per_class",
        type=float,
        nargs="?",
        const=0.2,
        metavar="P",
        help="a threshold for each class: its most confident share P is kept (default: off; 0.2 without a number)",
    )
    add("--mix", type=float, nargs="+", metavar="W", help="weight of each run, in any unit (default: all the same)")
    add("--mst", action="store_true", help="8 scales, each with its mirror image (default: single scale)")
    add("--dataset_path", metavar="FOLDER", help="the runs' data set, where it has moved")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    add("--force", action="store_true", help="replace a folder that holds files of others, which are lost")
    args = parser.parse_args(argv)
    for name in ("confidence", "per_class"):
        value = getattr(args, name)
        if value is not None and not 0 < value <= 1:
            raise InputError(f"--{name} {value}: expected a number above 0, up to 1")
    return args


def find_images(folders):
    """list of Path: the images directly in the folders.

    Raises:
        InputError: no such folder, none of them has an image, two images of the same name.
    """
    found = {}
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise InputError(f"--input {folder}: there is no such folder")
        for path in list_images(folder):
            if path.stem in found:
                raise InputError(f"{found[path.stem]} and {path} have the same name; rename or remove one")
            found[path.stem] = path
    if not found:
        raise InputError(f"--input {' '.join(map(str, folders))}: no PNG or JPEG files directly in there")
    return list(found.values())


def refuse_foreign(output, force):
    """Refuse to replace a folder that holds files which this program did not write.

    Raises:
        InputError: there is one.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {output} is a file; name a folder")
    if force or not output.is_dir():
        return
    own = {PROVENANCE, *read_provenance(output).get("files", ())}
    there = (path for path in sorted(output.rglob("*")) if path.is_symlink() or not path.is_dir())
    foreign = [path for path in there if path.relative_to(output).as_posix() not in own]
    if foreign:
        raise InputError(
            f"--output {output} holds {len(foreign)} files that were not made by {PROGRAM}, such as {foreign[0]}; "
            "name another folder, or replace it with --force"
        )


def refuse_inside(images, output):
    """Refuse images that would be removed with the folder that is replaced, while links to them stay.

    Raises:
        InputError: names one.
    """
    for path in images:
        if path.resolve().is_relative_to(output.resolve()):
            raise InputError(f"--input {path} lies in --output {output}, which is replaced; name another folder")


def open_data(sources, path):
    """The data set of the runs, which must all have the same classes."""
    runs.refuse_differences(sources, ("dataset",))
    return runs.open_data(sources[0].options, sources[0].weights, path)


def next_round(sources):
    """int: 1 + the highest round of the pseudo labels that the runs were trained on."""
    extra = [entry for source in sources for entry in source.about.get("extra data", [])]
    return 1 + max((entry["round"] for entry in extra), default=0)


def predict(args, sources, weights, data, images, folder):
    """Predict all images, and keep classes and levels of confidence as files; memory holds one image and the counts.

    Returns:
        int64 (C, levels): `tools.pseudo_label.confidence.count_levels` of all images.
    """
    from learning.inference import ensemble  # and torch

    predictors = runs.load(sources, data, args.device)
    shares, scales = [weight / sum(weights) for weight in weights], runs.scales(args.mst)
    folder.mkdir()
    counts = 0
    bar, _ = progress_bar(len(images), "pseudo labels")
    with bar:
        found = ensemble.predict(predictors, images, shares, scales, flip=args.mst)
        for path, (classes, sure) in zip(images, found, strict=True):
            levels = confidence.to_levels(sure)
            counts = counts + confidence.count_levels(classes, levels, len(data.labels.classes))
            write_png(folder / f"{path.stem}.classes.png", classes, compress_level=1)
            write_png(folder / f"{path.stem}.levels.png", levels, compress_level=1)
            bar.update()
    return counts


def write_labels(data, images, lowest, root):
    """Write images and label maps in the data set's format, what is not sure enough as void.

    Args:
        lowest: int64 (C,), the lowest level of each class that is kept.
        root: folder, in which "predictions" holds what `predict` found.

    Returns:
        int: number of images of which anything is kept; the others are left out.
    """
    values = data.labels.ids if data.encoding == "ids" else np.arange(256, dtype=np.uint8)
    kept = 0
    for path in images:
        classes = read_label(root / "predictions" / f"{path.stem}.classes.png")
        sure = read_instances(root / "predictions" / f"{path.stem}.levels.png") >= lowest[classes]
        if not sure.any():
            continue
        image, label = (root / part for part in data.spec.sample_paths("train", path.stem, path.suffix, data.encoding))
        if label.exists():
            raise InputError(f"{path} and another image would both be called {image.name}; rename or remove one")
        for parent in (image.parent, label.parent):
            parent.mkdir(parents=True, exist_ok=True)
        write_png(label, values[np.where(sure, classes, VOID).astype(np.uint8)])
        place(path, image)
        kept += 1
    return kept


def place(source, target):
    """Give an image a second place: a hard link, else a symbolic link, else a copy."""
    source = source.resolve()
    for way in (os.link, os.symlink):
        try:
            return way(source, target)
        except OSError:  # another disk, or a system without such links
            continue
    shutil.copyfile(source, target)


def table(summary):
    """str: what was kept of each class, a line each."""
    lines = [f"{'class':<16}{'threshold':>10}{'predicted px':>14}{'kept px':>14}{'kept %':>8}{'confidence':>12}"]
    for name, row in summary.items():
        share = "-" if row["share"] is None else f"{100 * row['share']:.1f}"
        mean = "-" if row["confidence"] is None else f"{row['confidence']:.4f}"
        lines.append(f"{name:<16}{row['threshold']:>10.4f}{row['predicted']:>14}{row['kept']:>14}{share:>8}{mean:>12}")
    predicted, kept = (sum(row[key] for row in summary.values()) for key in ("predicted", "kept"))
    lines.append(f"{'all':<16}{'':>10}{predicted:>14}{kept:>14}{100 * kept / predicted:>8.1f}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(exit_status("tools.pseudo_label", main, None))
