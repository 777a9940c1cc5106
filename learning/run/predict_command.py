"""Predict with a trained run: the images of its data set, or any pictures.

What can be wrong with pictures and folders is said before torch is imported, so the functions that need it import it themselves.
"""

import copy
import itertools
import math
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import options
from helpers import probabilities
from helpers.errors import InputError
from helpers.images import read_picture
from helpers.output import replacing_folders
from helpers.progress import progress_bar
from helpers.standalone import check_format
from learning.inference import inputs
from learning.inference.write import write_picture_predictions, write_predictions
from learning.run.setup import predicted_splits

LEAST_AGREEMENT = 0.99  # share of a picture's pixels with the checkpoint's class, for an exported network to be kept


def run_prediction(args, data, run):
    """Predict the validation and test images, or the pictures of --input, with the best weights of the run or --weights."""
    if args.export:
        check_export(Path(args.export), args.force)
    found, output = check_input(args, run) if args.input and not args.export else ((), None)
    from learning import checkpoint, distributed
    from learning.run.build import Parts

    parts = Parts(args, data, {})
    path = Path(args.weights) if args.weights else run.best
    if not distributed.is_main():
        return
    architecture = {name: getattr(args, name) for name in options.ARCHITECTURE}
    checkpoint.load_weights(parts.model, checkpoint.load_validated(path), path, architecture)
    if args.export:
        return export_network(args, data, parts)
    if args.input:
        predict_pictures(args, data, parts, found, output)
    else:
        splits = predicted_splits(args, data)
        sizes = [args.test_size for split in splits for _ in data.split(split)]
        check_disk(args, sizes, len(data.labels.classes), run.path)
        run.create()
        for split in splits:
            predict_split(args, data, split, parts, run)


def check_export(path, force):
    """Refuse a file that --export cannot write, or may not.

    Raises:
        InputError: no such folder, a file that is there, a folder, no known format, a package that is missing.
    """
    if not path.absolute().parent.is_dir():
        raise InputError(f"--export {path}: there is no folder {path.absolute().parent}")
    if path.is_dir():
        raise InputError(f"--export {path} is a folder; name a file")
    if path.exists() and not force:
        raise InputError(f"--export {path} exists; name another file, or add --force to replace it")
    check_format(path)


def export_network(args, data, parts):
    """Write the network as a file that stands alone, and say how well it agrees with the checkpoint on a picture.

    Raises:
        InputError: less than `LEAST_AGREEMENT`; no file is left then.
    """
    import torch

    from learning.data.augmentation import transforms
    from learning.inference.export import Standalone, export
    from learning.inference.predict import (
        image_scores,
        to_classes,
        upsample_logits,
    )

    path = Path(args.export)
    if args.input:
        picture = inputs.find_pictures(args.input)[0].path
    else:
        picture = (data.splits.get("val") or next(iter(data.splits.values())))[0].image
    pixels = read_picture(picture)
    model = copy.deepcopy(parts.model).cpu().to(memory_format=torch.contiguous_format).eval()
    standalone = Standalone(model, args.test_size, args.dataset_mean, args.dataset_std).eval()
    view = transforms.whole_view(pixels.shape[1:])
    seen, _ = transforms.view_sample(torch.tensor(pixels), None, view, args.test_size, args.dataset_mean)
    batch, _ = transforms.color_and_normalize(seen[None], None, [view], args.dataset_mean, args.dataset_std)
    with torch.inference_mode():
        scores = upsample_logits(image_scores(model, batch)[0], pixels.shape[1:])
    expected = to_classes(scores).numpy()
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        agree = float((export(standalone, partial)(pixels) == expected).mean())
        if agree < LEAST_AGREEMENT:
            raise InputError(
                f"--export {path} was not kept: on {picture} its class is the checkpoint's in only {100 * agree:.3f} % of the "
                f"pixels, and {100 * LEAST_AGREEMENT:g} % are wanted; name a file of the other format, or another picture "
                "with --input"
            )
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    height, width = args.test_size
    size = path.stat().st_size / 1e6
    print(
        f"{path} ({size:.1f} MB): uint8 (B, 3, H, W) RGB -> uint8 (B, H, W), any B, H and W, seen at {height}x{width}"
    )
    print("classes: " + ", ".join(f"{index} {name}" for index, name in enumerate(data.labels.names)))
    print(f"checked on {picture}: the class is the checkpoint's in {100 * agree:.3f} % of {expected.size} pixels")


def check_input(args, run):
    """Find the pictures of --input, and check that their results may be written.

    Returns:
        (list of learning.inference.inputs.Picture, Path)
    """
    found, output = inputs.find_pictures(args.input), Path(args.output or run.results("input"))
    files = result_files(args, found)
    inputs.claim(output, files, args.force)
    return found, output


def result_files(args, found):
    """dict: the path of each result below the output folder -> the picture it is of."""
    ends = [f"scores/{{}}{probabilities.SUFFIX}"] if args.save_scores else []
    return {
        name: picture.path
        for picture in found
        for name in [*inputs.result_files(picture.name), *(end.format(picture.name) for end in ends)]
    }


def check_disk(args, sizes, num_classes, folder):
    """Say what --save_scores takes, and refuse what the disk has no room for.

    Args:
        sizes: list of (h, w) at which the network sees the images.
        num_classes: C.
        folder: Path that the files go below.
    """
    if not args.save_scores:
        return
    needed = sum(probabilities.num_bytes((num_classes, *size), args.save_scores) for size in sizes)
    parent = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(parent).free
    amount, room = f"{needed / 2**30:.2f} GiB", f"{free / 2**30:.2f} GiB"
    print(
        f"--save_scores {args.save_scores}: {len(sizes)} images take {amount} in {folder}; {room} are free", flush=True
    )
    if needed > 0.98 * free:
        raise InputError(
            f"--save_scores {args.save_scores} needs {amount}, but {room} are free in {parent}; make room, use uint8, "
            "or a smaller --test_size"
        )


def way(args, parts):
    """How images are predicted: `InferenceSettings`, `MemoryLimits`, and a description of both."""
    from learning.inference.memory import MemoryLimits
    from learning.inference.predict import MST_SCALES, InferenceSettings

    scales = tuple(args.scales or MST_SCALES) if args.mst else (1.0,)
    flip = args.mst and args.flip
    # On a CPU several windows at a time take memory and no less time.
    windows = 1 if parts.device.type == "cpu" else args.batch_size
    limits = MemoryLimits(args.tile, args.overlap, windows)
    words = f"{len(scales)} scales{', each mirrored too' if flip else ''}" if args.mst else "single scale"
    words += f", windows of {'x'.join(map(str, args.tile))}" if args.tile else ""
    return InferenceSettings(scales, flip, parts.precision.autocast), limits, words


def keeper(args, folder):
    """What `learning.inference.predict.predict_images` gives probabilities to: files in a folder, which is made; None where none are kept."""
    if not args.save_scores:
        return None
    folder.mkdir(parents=True, exist_ok=True)

    def keep(sample, shape):
        file = probabilities.create(folder / f"{sample.name}{probabilities.SUFFIX}", shape, args.save_scores)

        def write(top, rows):
            file[:, top : top + rows.shape[1]] = probabilities.encode(rows, args.save_scores)

        return write

    return keep


def predict_split(args, data, split, parts, run):
    """Write results_SPLIT (label ids), results_color_SPLIT and maybe scores_SPLIT, in place of those of before."""
    from learning.inference.predict import (
        predict_images,
    )

    settings, limits, words = way(args, parts)
    folders = [run.results(split), run.results(split, color=True), *([run.scores(split)] if args.save_scores else [])]
    number, began = len(data.split(split)), time.monotonic()
    bar, _ = progress_bar(number, f"predict {split}")
    with bar, replacing_folders(*folders) as (ids, colors, *scores):
        keep = keeper(args, scores[0]) if scores else None
        found = predict_images(parts.network, parts.images(split), settings, limits, keep)
        write_predictions(found, data.labels, ids, colors, bar.update)
    if not scores:
        set_scores_aside(run.scores(split))
    speed = number / (time.monotonic() - began)
    print(
        f"{number} {split} images predicted ({words}; {speed:.2f} images/s): {folders[0]}, in color: {folders[1]}"
        + (f", probabilities: {folders[2]}" if scores else "")
    )


def set_scores_aside(folder):
    """Give probabilities of an earlier prediction another name: beside new results they would pass for theirs."""
    if folder.is_dir():
        names = (folder.with_name(f"earlier_{number}_{folder.name}") for number in itertools.count(1))
        name = next(path for path in names if not path.exists())
        os.replace(folder, name)
        print(f"{folder} holds probabilities of an earlier prediction: it is {name} now")


def predict_pictures(args, data, parts, found, output):
    """Write label ids, colors and overlays of pictures, and maybe their probabilities, picture by picture.

    Args:
        found: list of learning.inference.inputs.Picture.
        output: Path of the folder.
    """
    from learning.inference.batches import PictureBatches, seen_size
    from learning.inference.predict import (
        predict_images,
    )

    # Windows see pictures as large as the images of the data set were seen in validation.
    factor = math.sqrt(math.prod(args.test_size) / math.prod(data.spec.SIZE)) if args.tile else None
    seen = [seen_size(picture.size, args.test_size, factor) for picture in found]
    check_disk(args, seen, len(data.labels.classes), output)
    inputs.write_record(output, result_files(args, found))
    batches = PictureBatches(found, seen, 1 if args.tile else args.batch_size, parts.feed)
    settings, limits, words = way(args, parts)
    settings = replace(settings, preprocess=batches.finish)
    began = time.monotonic()
    bar, _ = progress_bar(sum(math.prod(picture.size) for picture in found), "predict", unit="px")
    with bar:
        keep = keeper(args, output / "scores")
        predictions = predict_images(parts.network, batches, settings, limits, keep, bar.update)
        write_picture_predictions(predictions, data.labels, output)
    speed = len(found) / (time.monotonic() - began)
    print(f"{len(found)} pictures predicted ({words}; {speed:.2f} images/s): {output}")
