"""--predict: predicts the images of the data set or any other images, or exports the network."""

from __future__ import annotations

import math
import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from helpers import probabilities
from helpers.errors import InputError
from helpers.output import replacing_folders, set_aside
from helpers.progress import progress_bar
from helpers.run_folder import RunFolder
from learning import checkpoint, distributed
from learning.image_size import fitted_size, scaled_size
from learning.inference import inputs
from learning.inference.batches import InputBatches
from learning.inference.memory import MemoryLimits
from learning.inference.predict import MST_SCALES, InferenceSettings, WriteRows, predict_images
from learning.inference.write import write_input_predictions, write_predictions
from learning.run.build import Compute, RunModel, build_prediction
from learning.run.build_data import RunData
from learning.run.export_command import export_network
from learning.run.prediction_files import output_folder, result_files
from learning.run.setup import Setup, predicted_splits
from options import ARCHITECTURE, PredictionOptions


def run_prediction(setup: Setup) -> None:
    """Predict the splits or the images of --input, or export, with the best weights of the run or --weights."""
    options = setup.options.prediction
    compute, data, network = build_prediction(setup)
    path = Path(setup.options.run.weights or setup.folder.best)
    if not distributed.is_main():
        return
    architecture = {name: setup.options.values()[name] for name in ARCHITECTURE}
    checkpoint.load_weights(network.model, checkpoint.load_validated(path), path, architecture)
    if options.export:
        image = setup.pictures[0].path if setup.pictures else None
        export_network(Path(options.export), network.model, data, image)
    elif options.input:
        if line := inputs.skipped_line(options.input):
            print(line, flush=True)
        predict_inputs(options, compute, data, network, setup.pictures, output_folder(options, setup.folder))
    else:
        predict_splits(options, compute, data, network, setup.folder)


def check_disk(save_scores: str | None, sizes: Sequence[tuple[int, int]], num_classes: int, folder: Path) -> None:
    """Print how much --save_scores will write; raise `InputError` if the disk has too little room.

    Args:
        sizes: (height, width) of each network input.
        folder: where the files are written, directly or in a subfolder.
    """
    if not save_scores:
        return
    needed = sum(probabilities.num_bytes((num_classes, *size), save_scores) for size in sizes)
    parent = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(parent).free
    amount = f"{needed / 2**30:.2f} GiB"
    room = f"{free / 2**30:.2f} GiB"
    print(f"--save_scores {save_scores}: {len(sizes)} images take {amount} in {folder}; {room} are free", flush=True)
    if needed > 0.98 * free:
        raise InputError(
            f"--save_scores {save_scores} needs {amount}, but {room} are free in {parent}; make room, use uint8, "
            "or a smaller --test_size"
        )


def inference_settings(
    options: PredictionOptions, compute: Compute, batch_size: int
) -> tuple[InferenceSettings, MemoryLimits, str]:
    """How images are predicted, and a description for the user."""
    scales = tuple(options.scales or MST_SCALES) if options.mst else (1.0,)
    flip = options.mst and options.flip
    # On a CPU several windows at a time need more memory and save no time.
    windows = 1 if compute.device.type == "cpu" else batch_size
    description = "single scale"
    if options.mst:
        description = f"{len(scales)} scales{', each also flipped' if flip else ''}"
    if options.tile:
        description += f", windows of {'x'.join(map(str, options.tile))}"
    limits = MemoryLimits(options.tile, options.overlap, windows)
    return InferenceSettings(scales, flip, compute.precision.autocast), limits, description


class Named(Protocol):
    """An image with the name of its result files."""

    @property
    def name(self) -> str: ...


def score_writer(save_scores: str | None, folder: Path) -> Callable[[Named, tuple[int, int, int]], WriteRows] | None:
    """The `open_probabilities` of `predict_images` that writes files in a folder, which is made; None without --save_scores."""
    if not save_scores:
        return None
    folder.mkdir(parents=True, exist_ok=True)

    def open_file(sample: Named, shape: tuple[int, int, int]) -> WriteRows:
        path = folder / f"{sample.name}{probabilities.SUFFIX}"
        return probabilities.ProbabilityFile(path, shape, save_scores).write

    return open_file


def predict_missing(setup: Setup) -> None:
    """Predict the validation images of a run that is finished, unless that has been done since its best weights were saved."""
    if setup.options.run.overfit:
        return
    folder = setup.folder
    files = [folder.results("val") / f"{sample.name}.png" for sample in setup.dataset.split("val")]
    saved = folder.best.stat().st_mtime_ns
    if not all(file.exists() and file.stat().st_mtime_ns >= saved for file in files):
        predict_best(*build_prediction(setup), setup.options.prediction, folder)


def predict_best(
    compute: Compute, data: RunData, network: RunModel, options: PredictionOptions, folder: RunFolder
) -> None:
    """After training: predict the validation images with the best weights of the run."""
    if not distributed.is_main():
        return
    checkpoint.load_weights(network.model, checkpoint.load(folder.best), folder.best, {})
    predict_split("val", options, compute, data, network, folder)
    print(f"score them with: python evaluate.py --results {shlex.quote(str(folder.results('val')))}")


def predict_splits(
    options: PredictionOptions, compute: Compute, data: RunData, network: RunModel, folder: RunFolder
) -> None:
    """Predict the splits that --split selects."""
    splits = predicted_splits(data.dataset, options.split)
    sizes = [size for split in splits for size in data.input_sizes(split)]
    check_disk(options.save_scores, sizes, len(data.dataset.labels.classes), folder.path)
    folder.create()
    for split in splits:
        predict_split(split, options, compute, data, network, folder)


def predict_split(
    split: str, options: PredictionOptions, compute: Compute, data: RunData, network: RunModel, folder: RunFolder
) -> None:
    """Replace results_SPLIT (label ids), results_color_SPLIT and, with --save_scores, scores_SPLIT."""
    settings, limits, description = inference_settings(options, compute, data.batch_size)
    folders = [folder.results(split), folder.results(split, color=True)]
    if options.save_scores:
        folders.append(folder.scores(split))
    number = len(data.dataset.split(split))
    began = time.monotonic()
    bar, _ = progress_bar(number, f"predict {split}")
    with bar, replacing_folders(*folders) as (ids, colors, *scores), closing(data.unlabeled_batches(split)) as batches:
        open_probabilities = score_writer(options.save_scores, scores[0]) if scores else None
        found = predict_images(network.parallel, batches, settings, limits, open_probabilities)
        write_predictions(found, data.dataset.labels, ids, colors, bar.update)
    if not options.save_scores:
        set_scores_aside(folder.scores(split))
    speed = number / (time.monotonic() - began)
    print(
        f"{number} {split} images predicted ({description}; {speed:.2f} images/s): {folders[0]}, in color: {folders[1]}"
        + (f", probabilities: {folders[2]}" if options.save_scores else "")
    )


def set_scores_aside(folder: Path) -> None:
    """Rename probabilities of an earlier prediction, which do not belong to the new results."""
    if folder.is_dir():
        print(f"{folder} holds probabilities of an earlier prediction: it is {set_aside(folder)} now")


def predict_inputs(
    options: PredictionOptions,
    compute: Compute,
    data: RunData,
    network: RunModel,
    pictures: Sequence[inputs.InputImage],
    output: Path,
) -> None:
    """Write label ids, colors and overlays of images, and with --save_scores their probabilities, image by image."""
    dataset = data.dataset
    sizes = [fitted_size(picture.size, data.test_size) for picture in pictures]
    if options.tile:  # images are scaled as those of the data set are in validation
        factor = math.sqrt(math.prod(data.test_size) / math.prod(dataset.spec.SIZE))
        sizes = [scaled_size(picture.size, factor) for picture in pictures]
    check_disk(options.save_scores, sizes, len(dataset.labels.classes), output)
    inputs.record_results(output, result_files(pictures, options.save_scores))
    batches = InputBatches(pictures, sizes, 1 if options.tile else data.batch_size, data.loader)
    settings, limits, description = inference_settings(options, compute, data.batch_size)
    settings = replace(settings, preprocess=batches.normalize)
    began = time.monotonic()
    bar, _ = progress_bar(sum(math.prod(picture.size) for picture in pictures), "predict", unit="px")
    with bar:
        open_probabilities = score_writer(options.save_scores, output / "scores")
        predictions = predict_images(network.parallel, batches, settings, limits, open_probabilities, bar.update)
        write_input_predictions(predictions, dataset.labels, output)
    speed = len(pictures) / (time.monotonic() - began)
    print(f"{len(pictures)} images predicted ({description}; {speed:.2f} images/s): {output}")
