"""Finds mistakes in options, files and folders before torch is imported, which takes seconds.

`setup_run` returns the options with every default filled in, the data set and its statistics. Nothing changes them afterwards.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import options
from helpers.errors import InputError
from helpers.launch import is_launched, writes_for_all
from helpers.lock import refuse_other_writer
from helpers.output import claim, refuse_marked, refuse_unwritable
from helpers.parsing import Value
from helpers.run_folder import RunFolder, read_options_file
from learning.data import class_weights
from learning.data.datasets import add_training_images, dataset_without_files, open_dataset
from learning.data.datasets.base import Dataset
from learning.data.datasets.blobs import parse_rules, rule_ids
from learning.data.datasets.splits import select_train_and_val
from learning.data.datasets.statistics import DatasetStatistics, dataset_statistics, refuse_unlabeled
from learning.inference.inputs import InputImage
from learning.run import command_line, rules
from learning.run.prediction_files import claim_predictions, find_pictures
from options import AugmentationOptions, DataOptions, LossOptions, Options, PredictionOptions, RunOptions

# Default learning rate and weight decay of each optimizer.
OPTIMIZER_DEFAULTS = {"sgd": (1e-2, 1e-4), "adamw": (1e-3, 1e-2)}


@dataclass(frozen=True)
class Setup:
    """A checked command line.

    Args:
        options: with every value filled in; `options.run.weights` is the checkpoint to resume from or to predict with.
        typed: names of the options that were typed, now or in an earlier command of the run.
        dataset: the data set, divided into training and validation as the options say.
        statistics: split -> its statistics, of the splits that the command reads.
        folder: the run folder; it need not exist yet.
        pictures: the images of --input.
    """

    options: Options
    typed: frozenset[str]
    dataset: Dataset
    statistics: Mapping[str, DatasetStatistics]
    folder: RunFolder
    pictures: tuple[InputImage, ...] = ()


def setup_run(argv: Sequence[str] | None = None) -> Setup:
    """Parse a command line and check everything that it names; no file is changed.

    Raises:
        InputError: any mistake in options, data or folders.
    """
    parsed, typed = command_line.parse(argv)
    run = parsed.run
    if (run.dry_run or run.replay) and is_launched():
        raise InputError("--dry_run and --replay are for one process: run them without torchrun")
    folder = RunFolder(Path(run.save_path))
    source = run.replay or (folder.last if run.resume and folder.holds_run else run.weights)
    stored: Mapping[str, object] = {}
    earlier_typed: frozenset[str] = frozenset()
    if run.predict or source:
        about = read_options_file((Path(source).parent if source else folder.path) / folder.options.name)
        stored = about.get("options") or _checkpoint_options(source)
        earlier_typed = frozenset(name for name in options.OPTIONS if name in about.get("typed", ()))
        if run.predict:  # of all images, even if the run was trained with --overfit
            ignored = {"overfit", *options.option_names(options.PREDICTION)}
            stored = {name: value for name, value in stored.items() if name not in ignored}
        parsed, typed = command_line.parse(argv, stored)
        parsed = parsed.replaced(weights=str(source) if source and not run.replay else None)
    else:
        rules.check_combinations(parsed)  # not checked yet with --resume, which starts a run that does not exist
    parsed = parsed.replaced(**normalized_paths(parsed.run, parsed.data, parsed.loss))
    run = parsed.run
    if not run.predict:
        command_line.refuse_late(typed, parsed.stored(), stored)
    fixed = options.ARCHITECTURE if run.predict else set(options.OPTIONS) - set(options.RESUMABLE)
    if run.predict or not run.override:
        command_line.refuse_differences(typed & set(fixed), parsed.stored(), stored)
    check_run_folder(run, folder)
    dataset = open_data(parsed.data, parsed.prediction, run.predict, run.overfit)
    parsed = fill_defaults(parsed, dataset)
    check_classes(parsed.augmentation, dataset)
    split = parsed.prediction.split
    if split and split not in dataset.splits:
        raise InputError(f"--split {split}: there are no {split} images in {dataset.root}")
    splits = predicted_splits(dataset, split) if run.predict else ["train", "val"]
    statistics = {name: dataset_statistics(dataset, name) for name in splits}
    if not run.predict:
        for name, found in statistics.items():
            refuse_unlabeled(dataset, name, found)
    pictures = find_pictures(parsed.prediction) if run.predict else ()
    return Setup(parsed, typed | earlier_typed, dataset, statistics, folder, pictures)


@contextmanager
def claim_output(setup: Setup) -> Generator[None, None, None]:
    """Claim what a command writes: nothing with --dry_run and --replay.

    Raises:
        InputError: another process writes it, or it may not be replaced.
    """
    run = setup.options.run
    with ExitStack() as stack:
        if run.dry_run or run.replay or not writes_for_all():
            pass
        elif run.predict:
            splits = predicted_splits(setup.dataset, setup.options.prediction.split)
            stack.enter_context(claim_predictions(setup.options.prediction, setup.folder, splits, setup.pictures))
        else:
            stack.enter_context(claim(setup.folder.path, "--save_path", is_folder=True))
            check_run_folder(run, setup.folder)  # another run may have begun since the first check, and ended
        yield


def predicted_splits(dataset: Dataset, only: str | None) -> list[str]:
    """The splits that --predict predicts; `only` is --split."""
    return [split for split in options.SPLITS if split in dataset.splits and only in (None, split)]


def normalized_paths(run: RunOptions, data: DataOptions, loss: LossOptions) -> dict[str, Value]:
    """Options that a run stores in another form than typed: absolute paths, and the numbers in a file of class weights."""
    return {
        "pretrained": os.path.abspath(run.pretrained) if run.pretrained else None,
        "extra_data": tuple(map(os.path.abspath, data.extra_data)) if data.extra_data else None,
        "class_weights": class_weights.resolve_option(loss.class_weights),
    }


def open_data(data: DataOptions, prediction: PredictionOptions, predict: bool, overfit: int | None) -> Dataset:
    """The data set that the options describe.

    Raises:
        InputError: the data cannot be used, or something that an option names is missing in them.
    """
    root = data.dataset_path or f"./{data.dataset}"
    if prediction.input:
        dataset = dataset_without_files(data.dataset, root)
    else:
        dataset = select_train_and_val(open_dataset(data.dataset, root), data.train_on, data.holdout)
    if not predict:
        dataset = add_training_images(dataset, data.extra_data)
    if overfit:
        few = dataset.split("train")[:overfit]
        dataset = replace(dataset, splits={"train": few, "val": few})
    return dataset


def _checkpoint_options(path: str | Path | None) -> Mapping[str, object]:
    """The options that a checkpoint was saved with; empty without a checkpoint, or if it has none, as the tutorial's."""
    if not path or not Path(path).is_file():
        return {}
    # Imports torch: without options.json there is no faster way to read the options.
    from learning import checkpoint

    return checkpoint.stored_options(checkpoint.load(path))


def check_run_folder(run: RunOptions, folder: RunFolder) -> None:
    """Refuse files that do not exist, and a run folder that cannot be written to or that holds another run."""
    for name in ("weights", "replay"):
        path = getattr(run, name)
        if path and not Path(path).is_file():
            raise InputError(f"--{name} {path}: there is no such file")
    if run.replay:
        return
    starts = not (run.weights or run.predict)
    if starts and run.pretrained and not Path(run.pretrained).is_file():
        raise InputError(f"--pretrained {run.pretrained}: there is no such file")
    if folder.path.exists() and not folder.path.is_dir():
        raise InputError(f"--save_path {folder.path} is a file; name a folder")
    if not run.dry_run:
        refuse_unwritable(folder.path, "--save_path", is_folder=True)
    if not (run.dry_run or run.predict) and writes_for_all():
        refuse_other_writer(folder.path, "--save_path")
    if run.predict and not run.weights and not folder.best.exists():
        raise InputError(
            f"there are no weights {folder.best} to predict with; train first, or name a file with --weights"
        )
    continues = run.weights is not None and Path(run.weights).resolve().parent == folder.path.resolve()
    if folder.holds_run and not (run.dry_run or continues or (run.predict and not run.weights)):
        advice = "name another --save_path"
        if not run.predict:
            advice = f"continue it with --resume, or {advice}"
        raise InputError(f"{folder.path} holds another run; {advice}")
    only_predicts = run.predict and (continues or not run.weights)
    if not (run.dry_run or only_predicts):
        refuse_marked(folder.path, read_options_file(folder.options).get("made by"), "--save_path")


def fill_defaults(parsed: Options, dataset: Dataset) -> Options:
    """The options with the defaults that depend on data set, model or optimizer, and with a seed.

    Raises:
        InputError: class weights for another number of classes.
    """
    spec = dataset.spec
    data = parsed.data
    training = parsed.training
    run = parsed.run
    class_weights.check_for_dataset(parsed.loss.class_weights, spec, len(dataset.labels.classes))
    lr, weight_decay = OPTIMIZER_DEFAULTS[training.optimizer]
    return parsed.replaced(
        train_size=data.train_size or tuple(spec.SIZE),
        crop_size=data.crop_size or tuple(spec.CROP_SIZE),
        test_size=data.test_size or tuple(spec.SIZE),
        dataset_mean=data.dataset_mean or tuple(spec.MEAN),
        dataset_std=data.dataset_std or tuple(spec.STD),
        dataset_path=os.path.abspath(dataset.root),
        lr_init=lr if training.lr_init is None else training.lr_init,
        lr_weight_decay=weight_decay if training.lr_weight_decay is None else training.lr_weight_decay,
        output_stride=parsed.model.output_stride or options.OUTPUT_STRIDES.get(parsed.model.model),
        deterministic=run.seed is not None if run.deterministic is None else run.deterministic,
        seed=secrets.randbelow(2**31) if run.seed is None else run.seed,
    )


def check_classes(augmentation: AugmentationOptions, dataset: Dataset) -> None:
    """Refuse class names that the data set does not have, and --copyblob without rules."""
    dataset.labels.train_ids(augmentation.copypaste or (), "--copypaste")
    if augmentation.copyblob and not blob_rules(augmentation.blob_rules, dataset):
        raise InputError(f"--copyblob: {dataset.name} has no rules of its own; give some with --blob_rules")


def blob_rules(typed: str | None, dataset: Dataset) -> list[tuple[int, int]]:
    """(class, ground) train ids: the ground that each class stands on, from --blob_rules or the data set."""
    rules_by_name = dataset.spec.BLOB_RULES if typed is None else parse_rules(typed)
    return rule_ids(rules_by_name, dataset.labels)


def trains_on_val(data: DataOptions) -> bool:
    """Whether the validation images are also training images, so that their score cannot select the best weights."""
    return data.train_on == "trainval" and not data.holdout
