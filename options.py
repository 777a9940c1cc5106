"""Every option of baseline.py, its choices and its cross-checks. Imports nothing heavier than argparse."""

import argparse
import math
import re

from helpers.errors import InputError
from helpers.parsing import Help, Parser, Size, Switch

MODELS = ("DeepLabv3_resnet50", "DeepLabv3_resnet101", "UNet")
NORMS = ("batch", "instance", "group", "evo", "evo_b0")
LOSSES = ("ce", "weighted_ce", "focal")
DATASETS = ("minicity", "camvid")
AMP = ("off", "bf16", "fp16")
CACHES = ("auto", "off", "disk", "device")
SCORE_TYPES = ("uint8", "float16")

# Options of one command, not of the run: neither read back from a run folder nor compared with it.
PER_COMMAND = (
    *("save_path", "weights", "resume", "override", "save_minutes", "predict", "replay", "dry_run"),
    *("device", "num_workers", "pin_memory", "cache", "cache_path"),
    *("input", "output", "force", "tile", "overlap", "save_scores"),
)
# How images are predicted: kept by a run that is resumed, because it ends with a prediction, but typed anew with --predict.
PREDICTION = ("mst", "scales", "flip")
# What a resumed run may change; every other option means a different run.
RESUMABLE = (*PER_COMMAND, *PREDICTION, "epochs", "dataset_path", "compile", "checkpoint_blocks", "skip_nonfinite")
# What decides the names and shapes of the weights.
ARCHITECTURE = ("model", "norm", "dataset")


def build_parser():
    """The parser of baseline.py's command line.

    Returns:
        argparse.ArgumentParser: raises `InputError` for what it cannot parse.
    """
    parser = Parser(
        prog="baseline.py",
        description="Train semantic segmentation from scratch on little data, validate, and predict.",
        epilog="Sizes are height and width in pixels; one number is a square. A switch takes --x, --no-x or --x True|False. "
        "@FILE stands for the words of an option file, such as @recipes/NAME.txt.",
        usage="baseline.py [options]",
        formatter_class=Help,
    )
    for title, add_options in _GROUPS.items():
        add_options(parser.add_argument_group(title).add_argument)
    return parser


def _add_run_options(add):
    """Where a run lives, how it goes on, and what else a command may do with it."""
    add("--save_path", default="./baseline_run", metavar="FOLDER", help="run folder (default: %(default)s)")
    add("--weights", metavar="FILE", help="checkpoint to resume from; with --predict, the weights to predict with")
    add("--resume", action=Switch, help="continue the run in --save_path if there is one, start it otherwise")
    add("--override", action=Switch, help="continue although options or data differ from the run's; it is logged")
    add(
        "--save_minutes",
        type=float,
        default=10.0,
        metavar="M",
        help="save within long epochs, too (default: %(default)s)",
    )
    add("--pretrained", metavar="FILE", help="start from these weights instead of from scratch")
    add("--predict", action=Switch, help="predict val and test with the best weights of --save_path, no training")
    add("--seed", type=int, help="seed of every random choice (default: drawn and logged)")
    add(
        "--deterministic",
        action=Switch,
        default=None,
        help="only algorithms that give the same result every time (default: on where --seed is given)",
    )
    add(
        "--skip_nonfinite",
        type=int,
        default=0,
        metavar="N",
        help="leave out up to N steps in a row whose loss or gradient is no number (default: stop at the first)",
    )
    add("--replay", metavar="FILE", help="repeat the step that stopped a run, layer by layer: its nonfinite.pth.tar")
    add("--dry_run", action=Switch, help="one step of everything at the real sizes: peak memory and expected duration")
    add(
        "--overfit",
        type=int,
        metavar="N",
        help="sanity check: train and validate on the same N images, cropped but not augmented",
    )


def _add_prediction_options(add):
    """What is predicted, and how."""
    add(
        "--input",
        nargs="+",
        metavar="PATH",
        help="with --predict: pictures, folders (with theirs) and quoted patterns instead of the data set's images; "
        "each is resized to as many pixels as --test_size has, and keeps its shape",
    )
    add("--output", metavar="FOLDER", help="where the results of --input go (default: results_input in --save_path)")
    add("--force", action=Switch, help="let the results of --input replace files that this program did not make")
    add("--mst", action=Switch, help="predict at 8 scales, each with its mirror image (default: single scale)")
    add("--scales", type=float, nargs="+", metavar="S", help="other scales for --mst (default: 0.5 to 2.2, 8 of them)")
    add("--flip", action=Switch, default=True, help="mirror images count in --mst, too (default: on)")
    add(
        "--tile",
        action=Size,
        help="with --predict: slide a window of this size over the image, in memory that depends on the window; pictures "
        "of --input keep their size (times --test_size over the data set's own size, usually 1)",
    )
    add(
        "--overlap",
        type=float,
        default=0.25,
        metavar="F",
        help="of windows: below 1 a share of --tile, otherwise pixels (default: %(default)s)",
    )
    add(
        "--save_scores",
        choices=SCORE_TYPES,
        help="with --predict: also keep class probabilities as the network sees the image, one .npy an image",
    )


def _add_data_options(add):
    """What is trained on, and how it is shown."""
    add("--dataset", choices=DATASETS, default="minicity", help="data set format (default: %(default)s)")
    add("--dataset_path", metavar="FOLDER", help="its folder (default: ./ and the data set's name)")
    add("--train_size", action=Size, help="image size before scaling (default: minicity 1024 2048, camvid 360 480)")
    add("--crop_size", action=Size, help="training crop (default: minicity 768 768, camvid 360 480)")
    add("--test_size", action=Size, help="network input in validation (default: minicity 1024 2048, camvid 360 480)")
    add("--dataset_mean", type=float, nargs=3, metavar="X", help="RGB mean, 0 .. 1 (default: the data set's)")
    add("--dataset_std", type=float, nargs=3, metavar="X", help="RGB standard deviation (default: the data set's)")
    add("--hflip", action=Switch, default=True, help="mirror half of the training images (default: on)")
    add(
        "--colorjitter_factor",
        type=float,
        default=0.3,
        metavar="F",
        help="colour jitter, 0 .. 1 (default: %(default)s)",
    )
    add("--cutmix", action=Switch, help="paste a box of another image of the batch")
    add("--copyblob", action=Switch, help="paste rare objects onto the ground they stand on")
    add(
        "--cache",
        choices=CACHES,
        default="auto",
        help="decoded images: one file a split on disk, or all on the GPU (default: %(default)s, what fits)",
    )
    add("--cache_path", metavar="FOLDER", help="where the files of the cache go (default: the user's cache folder)")
    add(
        "--num_workers",
        type=int,
        default=8,
        metavar="N",
        help="loader processes, at most one a core (default: %(default)s)",
    )
    add(
        "--pin_memory", action=Switch, default=True, help="page-locked batches for faster copies to a GPU (default: on)"
    )


def _add_model_options(add):
    """The network."""
    add("--model", choices=MODELS, default=MODELS[0], help="network, without external weights (default: %(default)s)")
    add(
        "--freeze",
        choices=("none", "backbone"),
        default="none",
        help="weights that stay as they are (default: %(default)s)",
    )
    add("--norm", choices=NORMS, default="batch", help="normalisation of the whole network (default: %(default)s)")


def _add_compute_options(add):
    """Where and how exactly it is computed."""
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    add(
        "--amp",
        choices=("auto", *AMP),
        default="auto",
        help="16-bit convolutions (default: %(default)s, bf16 on GPUs that have it)",
    )
    add("--channels_last", action=Switch, default=True, help="memory format that convolutions like (default: on)")
    add("--compile", action=Switch, help="compile the training network with torch.compile: minutes first, then faster")
    add(
        "--accumulate",
        type=int,
        default=1,
        metavar="N",
        help="a step takes N times --batch_size images, one part after another (default: %(default)s)",
    )
    add(
        "--checkpoint_blocks",
        action=Switch,
        help="compute activations twice instead of keeping them: less memory, a third slower",
    )


def _add_training_options(add):
    """Batches, learning rate, loss."""
    add(
        "--batch_size",
        type=int,
        default=4,
        metavar="N",
        help="images at a time, over all devices (default: %(default)s)",
    )
    add("--epochs", type=int, default=200, metavar="N", help="passes over the training images (default: %(default)s)")
    add(
        "--lr_init",
        type=float,
        default=1e-2,
        metavar="RATE",
        help="first learning rate, falls as a cosine (default: %(default)s)",
    )
    add("--lr_momentum", type=float, default=0.9, metavar="M", help="momentum of SGD (default: %(default)s)")
    add("--lr_weight_decay", type=float, default=1e-4, metavar="W", help="weight decay of SGD (default: %(default)s)")
    add("--warmup_epochs", type=int, default=0, metavar="N", help="epochs of linear warm-up (default: %(default)s)")
    add("--loss", choices=LOSSES, default="ce", help="cross entropy, class-weighted, or focal (default: %(default)s)")
    add("--focal_gamma", type=float, default=2.0, metavar="G", help="exponent of the focal loss (default: %(default)s)")


_GROUPS = {
    "run": _add_run_options,
    "prediction": _add_prediction_options,
    "data": _add_data_options,
    "model": _add_model_options,
    "compute": _add_compute_options,
    "training": _add_training_options,
}


def parse(argv=None, stored=None):
    """Options of a command line, over those of a run where there are any.

    Args:
        argv: words of the command line; None for the process's own.
        stored: dict of a run's options, which stand wherever nothing was typed, but for `PER_COMMAND`.

    Returns:
        (argparse.Namespace, frozenset of str): all options, and the names of those that were typed.

    Raises:
        InputError: unknown or contradicting options, nonsense numbers.
    """
    parser = build_parser()
    actions = {action.dest: action for action in parser._actions if action.dest != "help"}
    untyped = object()
    parsed = vars(parser.parse_args(argv, argparse.Namespace(**dict.fromkeys(actions, untyped))))
    typed = {name: value for name, value in parsed.items() if value is not untyped}
    if "weights" in typed and "pretrained" in typed and not typed.get("predict"):
        raise InputError("--weights resumes a run, which brings its own weights: leave out --pretrained")
    kept = {name: value for name, value in (stored or {}).items() if name in actions and name not in PER_COMMAND}
    for name, value in kept.items():
        check_stored(actions[name], value)
    args = argparse.Namespace(**({name: action.default for name, action in actions.items()} | kept | typed))
    # What --predict, --weights and --resume leave open is known only with the run's own options.
    check(args, combinations=stored is not None or not (args.predict or args.weights or args.resume))
    return args, frozenset(typed)


def check_stored(action, value):
    """Refuse a stored option that its command line would never have given.

    Args:
        action: argparse.Action of the option.
        value: what options.json or a checkpoint holds for it.

    Raises:
        InputError: names the option and its value.
    """
    kind = bool if isinstance(action, Switch) else (int, float) if action.type is float else action.type or str
    several = action.nargs not in (None, "?")
    values = value if isinstance(value, list) else [value]
    fits = several == isinstance(value, list) and all(
        isinstance(item, kind) and (kind is bool or not isinstance(item, bool)) for item in values
    )
    if action.choices:
        fits = fits and value in action.choices
    if not fits and not (value is None and action.default is None):
        known = f", known are {', '.join(action.choices)}" if action.choices else ""
        raise InputError(f"the stored options of the run are damaged: {action.dest} is {value!r}{known}")


def changes(args, names, stored):
    """The options that differ from those a run was made with.

    Args:
        args: Namespace of the options now.
        names: the options to compare.
        stored: dict of the run's options; what it lacks is not compared.

    Returns:
        dict: name -> (value now, value then), as they are typed.
    """
    differ = [name for name in sorted(names) if name in stored and getattr(args, name, None) != stored[name]]
    return {name: tuple(map(_typed, (getattr(args, name, None), stored[name]))) for name in differ}


def _typed(value):
    return " ".join(map(str, value)) if isinstance(value, list) else value


def refuse_changes(args, names, stored):
    """Refuse options that differ from those a run was made with; arguments as for `changes`.

    Raises:
        InputError: names the first option that differs, and both values.
    """
    for name, (now, then) in changes(args, names, stored).items():
        raise InputError(
            f"--{name} {now} differs from the run's {then}: leave it out, start a new run, or continue with --override"
        )


def check(args, combinations=True):
    """Refuse values that mean nothing and, unless `combinations` is false, combinations that cannot work.

    Raises:
        InputError: names the option, its value and what is possible.
    """
    for name, value in vars(args).items():
        rule = _NUMBERS.get(name)
        if rule and value is not None:
            allowed, words = rule
            values = value if isinstance(value, list) else [value]
            if not all(math.isfinite(number) and allowed(number) for number in values):
                shown = " ".join(str(number) for number in values)
                raise InputError(f"--{name} {shown}: expected {words}")
    for name in ("save_path", "weights", "replay", "pretrained", "dataset_path", "cache_path", "output"):
        if getattr(args, name) == "":
            raise InputError(f"--{name} is empty: name a file or folder, or leave it out")
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", args.device):
        raise InputError(f"--device {args.device}: expected auto, cpu, cuda, cuda:N or mps")
    for applies, message in _REFUSED:
        if combinations and applies(args):
            raise InputError(message)


_SIZE = (lambda x: 64 <= x <= 16384, "64 .. 16384 pixels")
_NUMBERS = {
    "train_size": _SIZE,
    "crop_size": _SIZE,
    "test_size": _SIZE,
    "tile": _SIZE,
    "overlap": (lambda x: x >= 0, "a share below 1, or pixels"),
    "scales": (lambda x: 0.1 <= x <= 8, "numbers from 0.1 to 8"),
    "seed": (lambda x: 0 <= x < 2**63, "0 .. 2**63 - 1"),
    "overfit": (lambda x: x >= 1, "at least 1 image"),
    "dataset_mean": (lambda x: 0 <= x <= 1, "numbers from 0 to 1"),
    "dataset_std": (lambda x: 0 < x <= 1, "numbers above 0, up to 1"),
    "colorjitter_factor": (lambda x: 0 <= x <= 1, "a number from 0 to 1"),
    "num_workers": (lambda x: x >= 0, "0 or more"),
    "batch_size": (lambda x: x >= 1, "at least 1"),
    "accumulate": (lambda x: x >= 1, "at least 1"),
    "epochs": (lambda x: x >= 1, "at least 1"),
    "lr_init": (lambda x: x > 0, "a number above 0"),
    "lr_momentum": (lambda x: 0 <= x < 1, "a number from 0 to below 1"),
    "lr_weight_decay": (lambda x: x >= 0, "0 or more"),
    "warmup_epochs": (lambda x: x >= 0, "0 or more"),
    "focal_gamma": (lambda x: x >= 0, "0 or more"),
    "save_minutes": (lambda x: x > 0, "a number above 0"),
    "skip_nonfinite": (lambda x: x >= 0, "0 or more"),
}

_REFUSED = (
    (
        lambda a: (a.cutmix or a.copyblob) and a.batch_size * a.accumulate < 2 and not a.predict,
        "--cutmix and --copyblob mix the images of a batch: raise --batch_size to 2 or more, or leave them out",
    ),
    (
        lambda a: a.overfit and (a.cutmix or a.copyblob),
        "--overfit trains on unaugmented images: leave out --cutmix and --copyblob",
    ),
    (
        lambda a: a.replay and (a.predict or a.resume or a.dry_run),
        "--replay repeats one step: leave out --predict, --resume and --dry_run",
    ),
    (
        lambda a: (a.input or a.tile or a.save_scores) and not a.predict,
        "--input, --tile and --save_scores belong to --predict: add it, or leave them out",
    ),
    (lambda a: (a.output or a.force) and not a.input, "--output and --force belong to --input: name pictures with it"),
    (lambda a: (a.scales or not a.flip) and not a.mst, "--scales and --no-flip belong to --mst: add it"),
    (
        lambda a: a.tile and a.overlap >= min(a.tile),
        "--overlap must be smaller than --tile: windows would never get on",
    ),
    (lambda a: a.predict and a.resume, "--predict predicts with a run that is there: leave out --resume"),
    (
        lambda a: a.freeze != "none" and not a.pretrained,
        "--freeze keeps weights that --pretrained brings: name a file with it",
    ),
    (
        lambda a: a.freeze == "backbone" and a.model == "UNet",
        "--freeze backbone: the UNet has no backbone; choose a DeepLabv3",
    ),
    (
        lambda a: a.compile and a.checkpoint_blocks,
        "--compile already decides which activations are kept: leave out --checkpoint_blocks",
    ),
    (lambda a: a.predict and a.dry_run, "--dry_run already includes prediction: leave out --predict"),
    (
        lambda a: a.warmup_epochs >= a.epochs,
        "--warmup_epochs must be smaller than --epochs: the learning rate would never fall",
    ),
)
