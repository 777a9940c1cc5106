"""Every option of baseline.py, its choices and its cross-checks. Imports nothing heavier than argparse."""

import argparse
import math
import re

from helpers.errors import InputError
from helpers.parsing import Help, Parser, Size, Switch, weighted_sum

MODELS = (
    *("DeepLabv3_resnet50", "DeepLabv3_resnet101", "DeepLabv3plus_resnet50", "DeepLabv3plus_resnet101"),
    *("UNet", "UNet_resnet34"),
)
# The models whose output stride can be chosen, and what it is where nobody does.
OUTPUT_STRIDES = {
    "DeepLabv3_resnet50": 8,
    "DeepLabv3_resnet101": 8,
    "DeepLabv3plus_resnet50": 16,
    "DeepLabv3plus_resnet101": 16,
}
NORMS = ("batch", "instance", "group", "evo", "evo_b0")
LOSSES = ("ce", "weighted_ce", "focal", "ohem", "dice", "log_dice", "tversky", "lovasz", "abl")
COPYPASTE_OBJECTS = 8  # the most on an image, where nobody says otherwise
# Options of a single loss: which, the default, what stands for it in the help, and its help.
OF_A_LOSS = {
    "focal_gamma": ("focal", 2.0, "G", "exponent of the focal loss"),
    "ohem_threshold": ("ohem", 0.7, "P", "hard pixels have less probability of their class"),
    "ohem_fraction": ("ohem", 0.0625, "F", "at least this share of an image's pixels is hard"),
    "tversky_alpha": ("tversky", 0.3, "A", "cost of false positives"),
    "tversky_beta": ("tversky", 0.7, "B", "cost of false negatives"),
}
DATASETS = ("minicity", "camvid")
AMP = ("off", "bf16", "fp16")
AUGMENTS = ("tutorial", "base", "hard", "mask", "style_noise", "style_clahe", "style_crop")
OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("cosine", "poly")
CACHES = ("auto", "off", "disk", "device")
TRAIN_ON = ("train", "trainval")
SPLITS = ("val", "test")
SCORE_TYPES = ("uint8", "float16")

# Options of one command, not of the run: neither read back from a run folder nor compared with it.
PER_COMMAND = (
    *("save_path", "weights", "resume", "override", "save_minutes", "predict", "replay", "dry_run"),
    *("device", "num_workers", "pin_memory", "cache", "cache_path"),
    *("split", "input", "output", "force", "tile", "overlap", "save_scores", "export"),
)
# How images are predicted: kept by a run that is resumed, because it ends with a prediction, but typed anew with --predict.
PREDICTION = ("mst", "scales", "flip")
# What a resumed run may change; every other option means a different run.
RESUMABLE = (
    *PER_COMMAND,
    *PREDICTION,
    *("epochs", "steps", "time_budget", "dataset_path", "compile", "checkpoint_blocks", "skip_nonfinite"),
)
# What decides the names and shapes of the weights.
ARCHITECTURE = ("model", "norm", "aux", "dataset")


LENGTHS = ("epochs", "steps", "time_budget")  # three ways to say how long a run is


class Length(argparse.Action):
    """One of `LENGTHS`: takes back the others that were typed before it, so that the last one counts, as with any option."""

    def __call__(self, parser, namespace, value, option_string=None):
        for name in LENGTHS:
            vars(namespace).pop(name, None)
        setattr(namespace, self.dest, value)


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
        default=2.0,
        metavar="M",
        help="every validation ends with a save; save this often in between, too (default: %(default)s)",
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
    add("--split", choices=SPLITS, help="with --predict: only these images (default: val and, if there are any, test)")
    add(
        "--input",
        nargs="+",
        metavar="PATH",
        help="with --predict: pictures, folders (with theirs) and quoted patterns instead of the data set's images; "
        "each is resized to as many pixels as --test_size has, and keeps its shape",
    )
    add("--output", metavar="FOLDER", help="where the results of --input go (default: results_input in --save_path)")
    add("--force", action=Switch, help="let --input and --export replace files that this program did not make")
    add(
        "--export",
        metavar="FILE",
        help="with --predict: write the network as FILE, .pt2 or .onnx, and try it on one picture, instead of predicting",
    )
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
    """What is trained on, and how it is read."""
    add("--dataset", choices=DATASETS, default="minicity", help="data set format (default: %(default)s)")
    add("--dataset_path", metavar="FOLDER", help="its folder (default: ./ and the data set's name)")
    add(
        "--train_on",
        choices=TRAIN_ON,
        default=TRAIN_ON[0],
        help="trainval: the validation images are trained on, too, and the last weights count (default: %(default)s)",
    )
    add(
        "--holdout",
        metavar="WHAT",
        help="validate on part of them instead: tail, the last fifth of every recording, or the name of a recording",
    )
    add(
        "--extra_data",
        nargs="+",
        metavar="FOLDER",
        help="folders of the same format whose training images join, such as tools.pseudo_label makes",
    )
    add("--train_size", action=Size, help="image size before scaling (default: minicity 1024 2048, camvid 360 480)")
    add("--crop_size", action=Size, help="training crop (default: minicity 768 768, camvid 360 480)")
    add("--test_size", action=Size, help="network input in validation (default: minicity 1024 2048, camvid 360 480)")
    add("--dataset_mean", type=float, nargs=3, metavar="X", help="RGB mean, 0 .. 1 (default: the data set's)")
    add("--dataset_std", type=float, nargs=3, metavar="X", help="RGB standard deviation (default: the data set's)")
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


def _add_augmentation_options(add):
    """What happens to a training image, and what its batch mixes into it."""
    add(
        "--augment",
        choices=AUGMENTS,
        default=AUGMENTS[0],
        help="set of augmentations, of which the next options change parts (default: %(default)s)",
    )
    add(
        "--hflip", action=Switch, default=True, help="mirror training images as the set does, mostly half (default: on)"
    )
    add(
        "--colorjitter_factor",
        type=float,
        metavar="F",
        help="color jitter, 0 .. 1 (default: the set's; tutorial 0.3, others 0)",
    )
    add(
        "--scale_range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="random scales (default: the set's; tutorial 0.75 2.0, others 1 1)",
    )
    add(
        "--rotation",
        type=float,
        metavar="DEGREES",
        help="largest angle of random rotations (default: the set's; hard and mask 10, others 0)",
    )
    add(
        "--class_crop",
        type=float,
        default=0.0,
        metavar="P",
        help="share of the crops that are placed on a pixel of a class, rare ones first (default: %(default)s)",
    )
    add("--cutmix", action=Switch, help="paste a box of another image of the batch")
    add("--classmix", action=Switch, help="paste half of the classes of another image of the batch, where they are")
    add("--copyblob", action=Switch, help="paste rare objects onto the ground they stand on")
    add(
        "--blob_rules",
        metavar="RULES",
        help='what --copyblob and --copypaste put on which ground: "road: bus, train; sidewalk: wall" (default: the data set\'s)',
    )
    add("--blob_foot", action=Switch, help="--copyblob puts the foot of a blob on its ground, not its upper left")
    add(
        "--copypaste",
        nargs="+",
        metavar="CLASS",
        help="paste objects of these rare classes, scaled and turned, onto images that show little of them",
    )
    add(
        "--copypaste_objects",
        type=int,
        default=COPYPASTE_OBJECTS,
        metavar="N",
        help="paste 1 to N objects on such an image (default: %(default)s)",
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
    add("--norm", choices=NORMS, default="batch", help="normalization of the whole network (default: %(default)s)")
    add(
        "--output_stride",
        type=int,
        choices=(8, 16),
        help="of a DeepLab: image size / size of the last features (default: DeepLabv3 8, DeepLabv3plus 16)",
    )
    add(
        "--aux",
        type=float,
        default=0.0,
        metavar="WEIGHT",
        help="weight of the loss of a second head on a DeepLab's third stage, in training (default: none; usual: 0.4)",
    )
    add("--zero_init", action=Switch, help="residual blocks begin as their shortcuts: gamma 0 in their last norms")


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
    """Batches, length, learning rate."""
    add(
        "--batch_size",
        type=int,
        default=4,
        metavar="N",
        help="images at a time, over all devices (default: %(default)s)",
    )
    add(
        "--epochs",
        action=Length,
        type=int,
        default=200,
        metavar="N",
        help="passes over the training images (default: %(default)s); the last of --epochs, --steps and --time_budget counts",
    )
    add(
        "--steps",
        action=Length,
        type=int,
        metavar="N",
        help="length of the run in steps instead of epochs; the last epoch may be cut",
    )
    add(
        "--time_budget",
        action=Length,
        type=float,
        metavar="MINUTES",
        help="length of the run in minutes: measures first, then fixes --steps so that the last validation ends in time",
    )
    add(
        "--validate_every",
        type=int,
        default=1,
        metavar="N",
        help="epochs from one validation to the next; the last epoch has one (default: %(default)s)",
    )
    add("--optimizer", choices=OPTIMIZERS, default="sgd", help="SGD with momentum, or AdamW (default: %(default)s)")
    add("--nesterov", action=Switch, help="Nesterov's momentum for SGD")
    add("--schedule", choices=SCHEDULES, default="cosine", help="how the rate falls to 0 (default: %(default)s)")
    add("--lr_init", type=float, metavar="RATE", help="first learning rate (default: sgd 0.01, adamw 0.001)")
    add("--lr_backbone", type=float, metavar="RATE", help="the backbone's first learning rate (default: --lr_init)")
    add("--lr_momentum", type=float, default=0.9, metavar="M", help="momentum; AdamW's beta 1 (default: %(default)s)")
    add("--lr_weight_decay", type=float, metavar="W", help="weight decay (default: sgd 0.0001, adamw 0.01)")
    add("--decay_norms", action=Switch, default=True, help="norms and biases decay, too (default: on)")
    add("--warmup_epochs", type=int, default=0, metavar="N", help="epochs of linear warm-up (default: %(default)s)")
    add(
        "--ema",
        type=float,
        metavar="DECAY",
        help="validate and keep the exponential moving average of the weights, such as 0.999 (default: off)",
    )


def _add_loss_options(add):
    """What is minimized."""
    add("--loss", default="ce", help=f"{', '.join(LOSSES)}, or a sum such as ce+0.5*dice (default: %(default)s)")
    add(
        "--class_weights",
        default="none",
        metavar="W",
        help="for ce, focal and ohem: none, ocnet (Cityscapes), enet, median, or a file of one number a class (default: none)",
    )
    add(
        "--label_smoothing",
        type=float,
        default=0.0,
        metavar="S",
        help="for ce and weighted_ce: share of the target spread over all classes (default: %(default)s)",
    )
    for name, (_, default, metavar, meaning) in OF_A_LOSS.items():
        add(f"--{name}", type=float, default=default, metavar=metavar, help=f"{meaning} (default: %(default)s)")


_GROUPS = {
    "run": _add_run_options,
    "prediction": _add_prediction_options,
    "data": _add_data_options,
    "augmentation": _add_augmentation_options,
    "model": _add_model_options,
    "compute": _add_compute_options,
    "training": _add_training_options,
    "loss": _add_loss_options,
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
    if typed.get("optimizer", kept.get("optimizer")) != kept.get("optimizer"):  # settled for the other one
        kept = {name: value for name, value in kept.items() if name not in ("lr_init", "lr_weight_decay")}
    args = argparse.Namespace(**({name: action.default for name, action in actions.items()} | kept | typed))
    check_length(args, typed, kept)
    if "steps" in typed:
        args.time_budget = None  # it had fixed another number
    # What --predict, --weights and --resume leave open is known only with the run's own options.
    check(args, combinations=stored is not None or not (args.predict or args.weights or args.resume))
    return args, frozenset(typed)


def check_length(args, typed, kept):
    """Refuse another kind of length than a run has had so far.

    Args:
        args: Namespace of all options.
        typed, kept: dicts of the options that were typed, and of those that the run has.

    Raises:
        InputError: names the option and what to change instead.
    """
    if args.predict:
        return
    if "epochs" in typed and kept.get("steps"):
        raise InputError(f"--epochs {args.epochs}: the run's length is --steps {kept['steps']}; change that instead")
    if kept and "time_budget" in typed and args.time_budget != kept.get("time_budget"):
        raise InputError("--time_budget is for the start of a run, and this one has begun: change --steps or --epochs")


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
        known = f", known are {', '.join(map(str, action.choices))}" if action.choices else ""
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
    for name in _NAMES:
        if getattr(args, name) == "":
            raise InputError(f"--{name} is empty: name something, or leave it out")
    if "" in (args.extra_data or []):
        raise InputError("--extra_data has an empty name: name folders, or leave it out")
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", args.device):
        raise InputError(f"--device {args.device}: expected auto, cpu, cuda, cuda:N or mps")
    check_loss(args.loss)
    for applies, message in _REFUSED:
        if combinations and applies(args):
            raise InputError(message)


def check_loss(text):
    """Refuse a --loss that is no sum of losses; raises `InputError`."""
    try:
        unknown = [name for name in weighted_sum(text) if name not in LOSSES]
    except ValueError as error:
        raise InputError(f"--loss {text}: {error}; write a sum such as ce+dice or 10*focal+log_dice") from None
    if unknown:
        raise InputError(
            f"--loss {text}: there is no {unknown[0]}; known are {', '.join(LOSSES)}, and sums such as ce+0.5*dice"
        )


def _has_loss(args, *names):
    return any(name in names for name in weighted_sum(args.loss))


# What names a file, a folder or a recording.
_NAMES = (
    *("save_path", "weights", "replay", "pretrained", "dataset_path", "cache_path"),
    *("holdout", "class_weights", "output", "export"),
)

_SIZE = (lambda x: 64 <= x <= 16384, "64 .. 16384 pixels")
_NUMBERS = {
    "train_size": _SIZE,
    "crop_size": _SIZE,
    "test_size": _SIZE,
    "tile": _SIZE,
    "overlap": (lambda x: x >= 0, "a share below 1, or pixels"),
    "scales": (lambda x: 0.25 <= x <= 8, "numbers from 0.25 to 8"),
    "seed": (lambda x: 0 <= x < 2**63, "0 .. 2**63 - 1"),
    "overfit": (lambda x: x >= 1, "at least 1 image"),
    "copypaste_objects": (lambda x: 1 <= x <= 100, "1 .. 100"),
    "dataset_mean": (lambda x: 0 <= x <= 1, "numbers from 0 to 1"),
    "dataset_std": (lambda x: 0 < x <= 1, "numbers above 0, up to 1"),
    "colorjitter_factor": (lambda x: 0 <= x <= 1, "a number from 0 to 1"),
    "scale_range": (lambda x: 0.1 <= x <= 10, "numbers from 0.1 to 10"),
    "rotation": (lambda x: 0 <= x <= 180, "0 .. 180 degrees"),
    "class_crop": (lambda x: 0 <= x <= 1, "a number from 0 to 1"),
    "num_workers": (lambda x: x >= 0, "0 or more"),
    "batch_size": (lambda x: x >= 1, "at least 1"),
    "accumulate": (lambda x: x >= 1, "at least 1"),
    "epochs": (lambda x: x >= 1, "at least 1"),
    "steps": (lambda x: x >= 1, "at least 1"),
    "time_budget": (lambda x: x > 0, "minutes above 0"),
    "validate_every": (lambda x: x >= 1, "at least 1"),
    "ema": (lambda x: 0 < x < 1, "a number above 0 and below 1"),
    "lr_backbone": (lambda x: x > 0, "a number above 0"),
    "lr_init": (lambda x: x > 0, "a number above 0"),
    "lr_momentum": (lambda x: 0 <= x < 1, "a number from 0 to below 1"),
    "lr_weight_decay": (lambda x: x >= 0, "0 or more"),
    "warmup_epochs": (lambda x: x >= 0, "0 or more"),
    "focal_gamma": (lambda x: x >= 0, "0 or more"),
    "aux": (lambda x: x >= 0, "0 or more"),
    "label_smoothing": (lambda x: 0 <= x < 1, "a number from 0 to below 1"),
    "ohem_threshold": (lambda x: 0 <= x <= 1, "a number from 0 to 1"),
    "ohem_fraction": (lambda x: 0 < x <= 1, "a number above 0, up to 1"),
    "tversky_alpha": (lambda x: x >= 0, "0 or more"),
    "tversky_beta": (lambda x: x >= 0, "0 or more"),
    "save_minutes": (lambda x: x > 0, "a number above 0"),
    "skip_nonfinite": (lambda x: x >= 0, "0 or more"),
}


def _without_its_loss(name, loss, default):
    """An entry of `_REFUSED`: an option that nothing looks at."""
    return (
        lambda a: getattr(a, name) != default and not _has_loss(a, loss) and not a.predict,
        f"--{name} is for the loss {loss}: add it to --loss, or leave --{name} out",
    )


_REFUSED = (
    *(_without_its_loss(name, loss, default) for name, (loss, default, *_) in OF_A_LOSS.items()),
    (
        lambda a: list(weighted_sum(a.loss)) == ["abl"],
        "--loss abl moves boundaries that another loss has to make first: write a sum such as ce+lovasz+abl",
    ),
    (
        lambda a: _has_loss(a, "tversky") and a.tversky_alpha == a.tversky_beta == 0,
        "--tversky_alpha 0 --tversky_beta 0: the loss would always be 0; raise one of them",
    ),
    (
        lambda a: (a.cutmix or a.classmix or a.copyblob) and a.batch_size * a.accumulate < 2 and not a.predict,
        "--cutmix, --classmix and --copyblob mix the images of a batch: raise --batch_size to 2 or more, or leave them out",
    ),
    (
        lambda a: a.overfit and (a.cutmix or a.classmix or a.copyblob or a.copypaste),
        "--overfit trains on unaugmented images: leave out --cutmix, --classmix, --copyblob and --copypaste",
    ),
    (
        lambda a: a.overfit and a.holdout,
        "--overfit validates on the images it is trained on: leave out --holdout",
    ),
    (
        lambda a: a.overfit and a.extra_data,
        "--overfit trains on a few images of the data set: leave out --extra_data",
    ),
    (
        lambda a: a.overfit and (a.augment != "tutorial" or a.scale_range or a.rotation or a.class_crop),
        "--overfit trains on unaugmented images: leave out --augment, --scale_range, --rotation and --class_crop",
    ),
    (
        lambda a: a.scale_range and a.scale_range[0] > a.scale_range[1],
        "--scale_range takes the lower scale first",
    ),
    (
        lambda a: a.blob_rules is not None and not (a.copyblob or a.copypaste),
        "--blob_rules says where --copyblob and --copypaste put things: add one of them, or leave it out",
    ),
    (
        lambda a: a.copypaste_objects != COPYPASTE_OBJECTS and not (a.copypaste or a.predict),
        "--copypaste_objects says how many objects --copypaste pastes: add it, or leave --copypaste_objects out",
    ),
    (lambda a: a.blob_foot and not a.copyblob, "--blob_foot says how --copyblob places blobs: add --copyblob"),
    (
        lambda a: a.replay and (a.predict or a.resume or a.dry_run),
        "--replay repeats one step: leave out --predict, --resume and --dry_run",
    ),
    (
        lambda a: (a.split or a.input or a.tile or a.save_scores or a.export) and not a.predict,
        "--split, --input, --tile, --save_scores and --export belong to --predict: add it, or leave them out",
    ),
    (
        lambda a: a.split and (a.input or a.export),
        "--split chooses images of the data set: leave out --input and --export, or --split",
    ),
    (lambda a: a.output and not a.input, "--output belongs to --input: name pictures with it"),
    (lambda a: a.force and not (a.input or a.export), "--force belongs to --input and --export: add one of them"),
    (
        lambda a: a.export and (a.mst or a.tile or a.save_scores or a.output),
        "--export writes the network, at a single scale: leave out --mst, --tile, --save_scores and --output",
    ),
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
        "--freeze backbone: the UNet has no backbone; choose another --model",
    ),
    (
        lambda a: a.output_stride and a.model not in OUTPUT_STRIDES,
        "--output_stride is for the DeepLabs, and --model is a UNet: leave one of them out",
    ),
    (
        lambda a: a.aux and a.model not in OUTPUT_STRIDES,
        "--aux is for the DeepLabs, and --model is a UNet: leave one of them out",
    ),
    (
        lambda a: a.aux and a.freeze == "backbone",
        "--aux is there to train the backbone, which --freeze backbone keeps: leave one of them out",
    ),
    (
        lambda a: a.zero_init and a.model == "UNet",
        "--zero_init is for residual blocks, and --model UNet has none: leave one of them out",
    ),
    (
        lambda a: a.compile and a.checkpoint_blocks,
        "--compile already decides which activations are kept: leave out --checkpoint_blocks",
    ),
    (lambda a: a.predict and a.dry_run, "--dry_run already includes prediction: leave out --predict"),
    (
        lambda a: not (a.steps or a.time_budget) and a.warmup_epochs >= a.epochs,
        "--warmup_epochs must be smaller than --epochs: the learning rate would never fall",
    ),
    (
        lambda a: a.class_weights != "none" and not _has_loss(a, "ce", "focal", "ohem"),
        "--class_weights is for ce, focal and ohem (weighted_ce has the data set's own): change --loss, or leave it out",
    ),
    (
        lambda a: a.label_smoothing and not _has_loss(a, "ce", "weighted_ce"),
        "--label_smoothing is for ce and weighted_ce: change --loss, or leave it out",
    ),
    (
        lambda a: a.nesterov and (a.optimizer != "sgd" or a.lr_momentum == 0),
        "--nesterov is a momentum of SGD: leave it out, or choose --optimizer sgd with --lr_momentum above 0",
    ),
    (
        lambda a: a.lr_backbone and a.model == "UNet",
        "--lr_backbone: the UNet has no backbone; choose another --model, or leave it out",
    ),
    (
        lambda a: a.lr_backbone and a.freeze == "backbone",
        "--lr_backbone: --freeze backbone keeps the backbone as it is; leave one of them out",
    ),
    (
        lambda a: a.time_budget and not a.steps and a.dry_run,
        "--dry_run says how long a number of epochs or steps takes: leave out --time_budget",
    ),
)
