"""From a command line to options and data that have been checked, before anything is computed.

`prepare` finds whatever can be wrong with options, files and folders before torch is imported, which alone takes seconds; so the
functions that need torch import it, and what builds on it, themselves.
"""

import os
import secrets
from dataclasses import replace
from pathlib import Path

import options
from helpers import run_folder
from helpers.errors import InputError
from learning.data import class_weights
from learning.data.datasets import add_training_images, open_dataset, without_files
from learning.data.datasets import splits as holdout
from learning.data.datasets.blobs import parse_rules, rule_ids
from learning.data.datasets.splits import select
from learning.data.datasets.statistics import dataset_statistics


def setup_run(argv):
    """Parse the command line and check everything it names.

    Returns:
        (Namespace, Dataset, dict of split -> Survey, RunFolder)

    Raises:
        InputError: any mistake in options, data or folders; no file has been touched.
    """
    args, _ = options.parse(argv)
    if (args.dry_run or args.replay) and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise InputError("--dry_run and --replay are for one process: run them without torchrun")
    run = run_folder.RunFolder(Path(args.save_path))
    source = args.replay or (run.last if args.resume and run.holds_run else args.weights)
    typed, stored = (), {}
    if args.predict or source:
        folder = Path(source).parent if source else run.path
        stored = run_folder.read_options(folder / run.options.name) or checkpoint_options(source)
        if args.predict:  # an overfitted run predicts the real splits, too
            stored = {name: value for name, value in stored.items() if name not in ("overfit", *options.PREDICTION)}
        args, typed = options.parse(argv, stored)
        args.weights = str(source) if source and not args.replay else None
    else:
        options.check(args)  # --resume of a run that is not there starts it
    normalize_paths(args)
    fixed = options.ARCHITECTURE if args.predict else set(vars(args)) - set(options.RESUMABLE)
    if args.predict or not args.override:
        options.refuse_changes(args, set(typed) & set(fixed), stored)
    check_run_folder(args, run)
    data = open_data(args)
    if args.split and args.split not in data.splits:
        raise InputError(f"--split {args.split}: there are no {args.split} images in {data.root}")
    splits = predicted_splits(args, data) if args.predict else ["train", "val"]
    return args, data, {split: dataset_statistics(data, split) for split in splits}, run


def predicted_splits(args, data):
    """list of str: the splits whose images --predict is for."""
    return [split for split in options.SPLITS if split in data.splits and args.split in (None, split)]


def normalize_paths(args):
    """Write options as a run stores them: whole paths, and the numbers of a file of class weights."""
    args.pretrained = args.pretrained and os.path.abspath(args.pretrained)
    args.extra_data = args.extra_data and [os.path.abspath(folder) for folder in args.extra_data]
    args.class_weights = class_weights.written_out(args.class_weights)


def open_data(args):
    """The data set as the options, spelled out, want it; what they leave open is filled in by `settle`.

    Returns:
        Dataset

    Raises:
        InputError: data that cannot be used, or that lack what an option names.
    """
    root = args.dataset_path or f"./{args.dataset}"
    if args.input:
        data = without_files(args.dataset, root)
    else:
        data = select(open_dataset(args.dataset, root), args.train_on, args.holdout)
    fill_defaults(args, data)
    check_classes(args, data)
    if not args.predict:
        data = add_training_images(data, args.extra_data)
    if args.overfit:
        few = data.split("train")[: args.overfit]
        data = replace(data, splits={"train": few, "val": few})
    return data


def checkpoint_options(path):
    """The options that a checkpoint was saved with: {} without a path, or where it holds none, as the tutorial's."""
    if not path or not Path(path).is_file():
        return {}
    from learning import checkpoint  # and torch: where options.json is missing there is no quicker way to know

    return checkpoint.load(path).get("options") or {}


def check_run_folder(args, run):
    """Refuse files that are not there, and a run folder that cannot be used, or whose run would be overwritten."""
    for name in ("weights", "replay"):
        if getattr(args, name) and not Path(getattr(args, name)).is_file():
            raise InputError(f"--{name} {getattr(args, name)}: there is no such file")
    if args.replay:
        return
    starts = not (args.weights or args.predict)
    if starts and args.pretrained and not Path(args.pretrained).is_file():
        raise InputError(f"--pretrained {args.pretrained}: there is no such file")
    if run.path.exists() and not run.path.is_dir():
        raise InputError(f"--save_path {run.path} is a file; name a folder")
    parent = next(folder for folder in (run.path, *run.path.absolute().parents) if folder.exists())
    if not (parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)) and not args.dry_run:
        raise InputError(f"--save_path {run.path}: {parent} cannot be written to; name another folder")
    if args.predict and not args.weights and not run.best.exists():
        raise InputError(f"there are no weights {run.best} to predict with; train first, or name a file with --weights")
    continues = args.weights and Path(args.weights).resolve().parent == run.path.resolve()
    if run.holds_run and not (args.dry_run or continues or (args.predict and not args.weights)):
        advice = "name another --save_path"
        if not args.predict:
            advice = f"continue it with --resume, or {advice}"
        raise InputError(f"{run.path} holds another run; {advice}")
    only_predicts = args.predict and (continues or not args.weights)
    tool = None if args.dry_run or only_predicts else run_folder.read_options_file(run.options).get("made by")
    if tool:
        raise InputError(f"{run.path} was made by {tool}, whose files would be replaced; name another --save_path")


def fill_defaults(args, data):
    """Fill in what nobody typed: the data set's sizes and colors, its absolute path, the optimizer's rates, a seed."""
    spec = data.spec
    defaults = {
        "train_size": spec.SIZE,
        "crop_size": spec.CROP_SIZE,
        "test_size": spec.SIZE,
        "dataset_mean": spec.MEAN,
        "dataset_std": spec.STD,
    }
    for name, value in defaults.items():
        setattr(args, name, list(getattr(args, name) or value))
    class_weights.check(args.class_weights, spec, len(data.labels.classes))
    lr, decay = {"sgd": (1e-2, 1e-4), "adamw": (1e-3, 1e-2)}[args.optimizer]
    args.lr_init = lr if args.lr_init is None else args.lr_init
    args.lr_weight_decay = decay if args.lr_weight_decay is None else args.lr_weight_decay
    args.dataset_path = os.path.abspath(data.root)
    args.output_stride = args.output_stride or options.OUTPUT_STRIDES.get(args.model)
    args.deterministic = args.seed is not None if args.deterministic is None else args.deterministic
    args.seed = secrets.randbelow(2**31) if args.seed is None else args.seed


def check_classes(args, data):
    """Refuse class names that the data set does not have, and --copyblob without rules."""
    data.labels.train_ids(args.copypaste or (), "--copypaste")
    if args.copyblob and not blob_rules(args, data):
        raise InputError(f"--copyblob: {data.name} has no rules of its own; give some with --blob_rules")


def blob_rules(args, data):
    """list of (class, ground), train ids: what stands on what, by --blob_rules or the data set."""
    rules = data.spec.BLOB_RULES if args.blob_rules is None else parse_rules(args.blob_rules)
    return rule_ids(rules, data.labels)


def sees_val(args):
    """Whether the validation images are among those that are trained on, so that their score cannot choose weights."""
    return holdout.sees_val(vars(args))
