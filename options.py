"""Every option of baseline.py, once: type, default, range, help. One frozen dataclass per group; imports nothing heavy.

`learning.run.command_line` parses them, `learning.run.rules` refuses combinations that cannot work, and `learning.run.setup`
fills in the defaults that depend on data, model or optimizer (None here).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from helpers.parsing import Option, Parser, Range, Value, build_parser, option, options_of

MODELS = (
    *("DeepLabv3_resnet50", "DeepLabv3_resnet101", "DeepLabv3plus_resnet50", "DeepLabv3plus_resnet101"),
    *("UNet", "UNet_resnet34"),
)
# The models whose output stride can be chosen -> its default.
OUTPUT_STRIDES = {
    "DeepLabv3_resnet50": 8,
    "DeepLabv3_resnet101": 8,
    "DeepLabv3plus_resnet50": 16,
    "DeepLabv3plus_resnet101": 16,
}
NORMS = ("batch", "instance", "group", "evo", "evo_b0")
LOSSES = ("ce", "weighted_ce", "focal", "ohem", "dice", "log_dice", "tversky", "lovasz", "abl")
DATASETS = ("minicity", "camvid")
AMP = ("off", "bf16", "fp16")
AUGMENTS = ("tutorial", "base", "hard", "mask", "style_noise", "style_clahe", "style_crop")
OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("cosine", "poly")
CACHES = ("auto", "off", "disk", "device")
TRAIN_ON = ("train", "trainval")
SPLITS = ("val", "test")
SCORE_TYPES = ("uint8", "float16")
LENGTHS = ("epochs", "steps", "time_budget")  # three ways to set the length of a run

# Scopes of options. "run", the default of `Option`, is for options that define the run: a resumed run must keep their values.
COMMAND = "command"  # for one command only: neither read back from a run folder nor compared with it
PREDICTION = "prediction"  # how images are predicted: kept by a resumed run, but not by --predict
START = "start"  # as "run", for options that only decide how a run starts: nothing can change them later
CHANGEABLE = "changeable"  # kept by a resumed run, which may also be given another value

# Options that decide the names and shapes of the weights.
ARCHITECTURE = ("model", "norm", "aux", "dataset")

POSITIVE = Range("a number above 0", above=0)
NOT_NEGATIVE = Range("0 or more", at_least=0)
AT_LEAST_1 = Range("at least 1", at_least=1)
SHARE = Range("a number from 0 to 1", at_least=0, at_most=1)
BELOW_1 = Range("a number from 0 to below 1", at_least=0, below=1)
PIXELS = Range("64 .. 16384 pixels", at_least=64, at_most=16384)

Size = tuple[int, int]  # height, width in pixels


class Length(argparse.Action):
    """Stores one of `LENGTHS` and discards the others that were typed before it, so that the last one counts."""

    def __call__(self, parser, namespace, values, option_string=None):  # noqa: ANN001, ANN204 - argparse's own signature
        for name in LENGTHS:
            vars(namespace).pop(name, None)
        setattr(namespace, self.dest, values)


# Not formatted by ruff: each option has its attributes on the first line and its help on the next ones.
# fmt: off
@dataclass(frozen=True)
class RunOptions:
    """The run folder, how a run is resumed, and what else a command may do with it."""

    save_path: str = option("./baseline_run", "run folder", metavar="FOLDER", scope=COMMAND, not_empty=True)
    weights: str | None = option(None, metavar="FILE", scope=COMMAND, not_empty=True,
        help="checkpoint to resume from; with --predict, the weights to predict with")
    resume: bool = option(False, "continue the run in --save_path if there is one, start it otherwise", scope=COMMAND)
    override: bool = option(False, scope=COMMAND,
        help="continue although options or data differ from the run's; the change is recorded")
    save_minutes: float = option(2.0, metavar="M", allowed=POSITIVE, scope=COMMAND,
        help="save at least this often between validations; every validation ends with a save")
    pretrained: str | None = option(None, metavar="FILE", scope=START, not_empty=True,
        help="start from these weights instead of from scratch")
    predict: bool = option(False, scope=COMMAND,
        help="predict val and test with the best weights of --save_path, without training")
    seed: int | None = option(None, allowed=Range("0 .. 2**63 - 1", at_least=0, below=2**63),
        help="seed of every random choice (default: drawn and logged)")
    deterministic: bool | None = option(None,
        help="only algorithms that give the same result every time (default: on where --seed is given)")
    skip_nonfinite: int = option(0, metavar="N", allowed=NOT_NEGATIVE, scope=CHANGEABLE,
        help="skip up to N steps in a row whose loss or gradient is NaN or infinite (default: stop at the first)")
    replay: str | None = option(None, metavar="FILE", scope=COMMAND, not_empty=True,
        help="repeat the step that stopped a run, layer by layer: its nonfinite.pth.tar")
    dry_run: bool = option(False, scope=COMMAND,
        help="one step of everything at full size: peak memory and expected duration")
    overfit: int | None = option(None, metavar="N", allowed=Range("at least 1 image", at_least=1),
        help="sanity check: train and validate on the same N images, cropped but not augmented")


@dataclass(frozen=True)
class PredictionOptions:
    """What is predicted, and how."""

    split: str | None = option(None, choices=SPLITS, scope=COMMAND,
        help="with --predict: only these images (default: val and, if there are any, test)")
    input: tuple[str, ...] | None = option(None, metavar="PATH", scope=COMMAND,
        help="with --predict: images, folders (with their subfolders) and quoted patterns instead of the data set's "
             "images; each is resized to as many pixels as --test_size has, and keeps its shape")
    output: str | None = option(None, metavar="FOLDER", scope=COMMAND, not_empty=True,
        help="folder for the results of --input (default: results_input in --save_path)")
    force: bool = option(False, "let --input and --export replace files that this program did not make", scope=COMMAND)
    export: str | None = option(None, metavar="FILE", scope=COMMAND, not_empty=True,
        help="with --predict: write the network as FILE, .pt2 or .onnx, and try it on one image, instead of "
             "predicting")
    mst: bool = option(False, "predict at 8 scales, each also flipped (default: single scale)", scope=PREDICTION)
    scales: tuple[float, ...] | None = option(
        None, metavar="S", allowed=Range("numbers from 0.25 to 8", at_least=0.25, at_most=8), scope=PREDICTION,
        help="other scales for --mst (default: 0.5 to 2.2, 8 of them)")
    flip: bool = option(True, "--mst averages over the flipped images, too", scope=PREDICTION)
    tile: Size | None = option(None, allowed=PIXELS, scope=COMMAND,
        help="with --predict: slide a window of this size over the image, in memory that depends on the window; "
             "images of --input keep their size (times --test_size over the data set's own size, usually 1)")
    overlap: float = option(0.25, metavar="F", allowed=Range("a share below 1, or pixels", at_least=0), scope=COMMAND,
        help="overlap of windows: below 1 a share of --tile, otherwise pixels")
    save_scores: str | None = option(None, choices=SCORE_TYPES, scope=COMMAND,
        help="with --predict: also save class probabilities at the network's input size, one .npy file per image")


@dataclass(frozen=True)
class DataOptions:
    """The training data, and how it is read."""

    dataset: str = option("minicity", "data set format", choices=DATASETS)
    dataset_path: str | None = option(None, metavar="FOLDER", scope=CHANGEABLE, not_empty=True,
        help="folder of the data set (default: ./ and its name)")
    train_on: str = option(TRAIN_ON[0], choices=TRAIN_ON,
        help="trainval: train on the validation images, too, and keep the last weights")
    holdout: str | None = option(None, metavar="WHAT", not_empty=True,
        help="validate on a part of the training images instead: tail, the last fifth of every recording, or the "
             "name of a recording")
    extra_data: tuple[str, ...] | None = option(None, metavar="FOLDER", not_empty=True,
        help="folders of the same format whose training images are added, such as tools.pseudo_label makes")
    train_size: Size | None = option(None, allowed=PIXELS,
        help="image size before scaling (default: minicity 1024 2048, camvid 360 480); an image of another shape keeps "
             "its shape, at this area")
    crop_size: Size | None = option(None, "training crop (default: minicity 768 768, camvid 360 480)", allowed=PIXELS)
    test_size: Size | None = option(None, allowed=PIXELS,
        help="network input in validation and prediction (default: minicity 1024 2048, camvid 360 480); an image of "
             "another shape keeps its shape, at this area")
    dataset_mean: tuple[float, float, float] | None = option(
        None, metavar="X", allowed=Range("numbers from 0 to 1", at_least=0, at_most=1),
        help="RGB mean, 0 .. 1 (default: the data set's)")
    dataset_std: tuple[float, float, float] | None = option(
        None, metavar="X", allowed=Range("numbers above 0, up to 1", above=0, at_most=1),
        help="RGB standard deviation (default: the data set's)")
    cache: str = option("auto", choices=CACHES, scope=COMMAND,
        help="decoded images: one file per split on disk, or all on the GPU (default: auto, what fits)")
    cache_path: str | None = option(None, metavar="FOLDER", scope=COMMAND, not_empty=True,
        help="folder for the cache (default: the user's cache folder)")
    num_workers: int = option(8, metavar="N", allowed=NOT_NEGATIVE, scope=COMMAND,
        help="loader processes, at most one per core")
    pin_memory: bool = option(True, "page-locked batches for faster copies to a GPU", scope=COMMAND)


@dataclass(frozen=True)
class AugmentationOptions:
    """Augmentation of a training image, and what is mixed into its batch."""

    augment: str = option(AUGMENTS[0], "set of augmentations, of which the next options change parts", choices=AUGMENTS)
    hflip: bool = option(True, "flip training images horizontally, with the probability of the set, mostly 0.5")
    colorjitter_factor: float | None = option(None, metavar="F", allowed=SHARE,
        help="color jitter, 0 .. 1 (default: the set's; tutorial 0.3, others 0)")
    scale_range: tuple[float, float] | None = option(
        None, metavar=("LOW", "HIGH"), allowed=Range("numbers from 0.1 to 10", at_least=0.1, at_most=10),
        help="random scales (default: the set's; tutorial 0.75 2.0, others 1 1)")
    rotation: float | None = option(None, metavar="DEGREES", allowed=Range("0 .. 180 degrees", at_least=0, at_most=180),
        help="largest angle of random rotations (default: the set's; hard and mask 10, others 0)")
    class_crop: float = option(0.0, metavar="P", allowed=SHARE,
        help="share of the crops that are placed on a pixel of a class, rare classes more often")
    cutmix: bool = option(False, "paste a box of another image of the batch")
    classmix: bool = option(False, "paste half of the classes of another image of the batch, at their places")
    copyblob: bool = option(False, "paste rare objects onto the ground they stand on")
    blob_rules: str | None = option(None, metavar="RULES",
        help="what --copyblob and --copypaste put on which ground: \"road: bus, train; sidewalk: wall\" (default: the "
             "data set's)")
    blob_foot: bool = option(False, "--copyblob places the lowest point of a blob on its ground, not the top-left one")
    copypaste: tuple[str, ...] | None = option(None, metavar="CLASS",
        help="paste objects of these rare classes, scaled and rotated, onto images that show little of them")
    copypaste_objects: int = option(8, metavar="N", allowed=Range("1 .. 100", at_least=1, at_most=100),
        help="paste 1 to N objects on such an image")


@dataclass(frozen=True)
class ModelOptions:
    """The network."""

    model: str = option(MODELS[0], "network, without external weights", choices=MODELS)
    freeze: str = option("none", "weights that are not trained", choices=("none", "backbone"))
    norm: str = option("batch", "normalization of the whole network", choices=NORMS)
    output_stride: int | None = option(None, choices=(8, 16),
        help="of a DeepLab: image size / size of the last features (default: DeepLabv3 8, DeepLabv3plus 16)")
    aux: float = option(0.0, metavar="WEIGHT", allowed=NOT_NEGATIVE,
        help="weight of the loss of an auxiliary head on a DeepLab's third stage, in training (default: none; "
             "usual: 0.4)")
    zero_init: bool = option(False, "residual blocks start as the identity: gamma 0 in their last norms", scope=START)


@dataclass(frozen=True)
class ComputeOptions:
    """The device, precision and memory."""

    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps", scope=COMMAND)
    amp: str = option("auto", "mixed precision (default: auto, bf16 on GPUs that support it)", choices=("auto", *AMP))
    channels_last: bool = option(True, "memory format in which convolutions are faster")
    compile: bool = option(False, scope=CHANGEABLE,
        help="compile the training network with torch.compile: minutes first, then faster")
    accumulate: int = option(1, metavar="N", allowed=AT_LEAST_1,
        help="gradient accumulation: a step takes N batches of --batch_size")
    checkpoint_blocks: bool = option(False, scope=CHANGEABLE,
        help="recompute activations instead of storing them: less memory, a third slower")


@dataclass(frozen=True)
class TrainingOptions:
    """Batches, length, optimizer and learning rate."""

    batch_size: int = option(4, "images at a time, over all devices", metavar="N", allowed=AT_LEAST_1)
    epochs: int = option(200, metavar="N", allowed=AT_LEAST_1, action=Length, scope=CHANGEABLE,
        help="passes over the training images (default: 200); the last of --epochs, --steps and --time_budget "
             "counts")
    steps: int | None = option(None, metavar="N", allowed=AT_LEAST_1, action=Length, scope=CHANGEABLE,
        help="length of the run in steps instead of epochs; the last epoch may be cut")
    time_budget: float | None = option(
        None, metavar="MINUTES", allowed=Range("minutes above 0", above=0), action=Length, scope=CHANGEABLE,
        help="length of the run in minutes: measures first, then sets --steps so that the last validation ends in "
             "time")
    validate_every: int = option(1, metavar="N", allowed=AT_LEAST_1,
        help="epochs from one validation to the next; the last epoch is always validated (default: 1)")
    optimizer: str = option("sgd", "SGD with momentum, or AdamW", choices=OPTIMIZERS)
    nesterov: bool = option(False, "Nesterov momentum for SGD")
    schedule: str = option("cosine", "how the learning rate decays to 0", choices=SCHEDULES)
    lr_init: float | None = option(None, metavar="RATE", allowed=POSITIVE,
        help="initial learning rate (default: sgd 0.01, adamw 0.001)")
    lr_backbone: float | None = option(None, metavar="RATE", allowed=POSITIVE,
        help="initial learning rate of the backbone (default: --lr_init)")
    lr_momentum: float = option(0.9, "momentum; beta 1 of AdamW", metavar="M", allowed=BELOW_1)
    lr_weight_decay: float | None = option(None, metavar="W", allowed=NOT_NEGATIVE,
        help="weight decay (default: sgd 0.0001, adamw 0.01)")
    decay_norms: bool = option(True, "weight decay applies to norms and biases, too")
    warmup_epochs: int = option(0, "epochs of linear warm-up", metavar="N", allowed=NOT_NEGATIVE)
    ema: float | None = option(None, metavar="DECAY", allowed=Range("a number above 0 and below 1", above=0, below=1),
        help="validate and save the exponential moving average of the weights, such as 0.999 (default: off)")


@dataclass(frozen=True)
class LossOptions:
    """The loss."""

    loss: str = option("ce", f"{', '.join(LOSSES)}, or a sum such as ce+0.5*dice (default: ce)")
    class_weights: str = option("none", metavar="W", not_empty=True,
        help="for ce, focal and ohem: none, ocnet (Cityscapes), enet, median, or a file of one number per class")
    label_smoothing: float = option(0.0, metavar="S", allowed=BELOW_1,
        help="for ce and weighted_ce: share of the target that is spread over all classes")
    focal_gamma: float = option(2.0, "exponent of the focal loss", metavar="G", allowed=NOT_NEGATIVE)
    ohem_threshold: float = option(0.7, metavar="P", allowed=SHARE,
        help="hard pixels have a lower probability of their class than this")
    ohem_fraction: float = option(0.0625, metavar="F", allowed=Range("a number above 0, up to 1", above=0, at_most=1),
        help="at least this share of an image's pixels is hard")
    tversky_alpha: float = option(0.3, "cost of false positives", metavar="A", allowed=NOT_NEGATIVE)
    tversky_beta: float = option(0.7, "cost of false negatives", metavar="B", allowed=NOT_NEGATIVE)


# fmt: on
# Options of a single loss -> that loss.
LOSS_PARAMETERS = {
    "focal_gamma": "focal",
    "ohem_threshold": "ohem",
    "ohem_fraction": "ohem",
    "tversky_alpha": "tversky",
    "tversky_beta": "tversky",
}


@dataclass(frozen=True)
class Options:
    """All options, by group."""

    run: RunOptions = field(default_factory=RunOptions)
    prediction: PredictionOptions = field(default_factory=PredictionOptions)
    data: DataOptions = field(default_factory=DataOptions)
    augmentation: AugmentationOptions = field(default_factory=AugmentationOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    compute: ComputeOptions = field(default_factory=ComputeOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    loss: LossOptions = field(default_factory=LossOptions)

    def values(self) -> dict[str, Value]:
        """Option name -> value, of all groups."""
        return {name: value for group in fields(self) for name, value in vars(getattr(self, group.name)).items()}

    def stored(self) -> dict[str, object]:
        """The options as options.json and checkpoints hold them: flat, with lists for tuples."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in self.values().items()}

    def check_values(self) -> None:
        """Refuse values that are out of range or empty, each option alone; raises `InputError`."""
        for name, value in self.values().items():
            OPTIONS[name].check(value)

    def replaced(self, **changes: Value) -> Options:
        """A copy in which some options, named as on the command line, have other values."""
        groups = {}
        for title, group in GROUPS.items():
            values = {name: value for name, value in changes.items() if name in group.__dataclass_fields__}
            if values:
                groups[title] = replace(getattr(self, title), **values)
        return replace(self, **groups)


GROUPS: Mapping[str, type] = {
    "run": RunOptions,
    "prediction": PredictionOptions,
    "data": DataOptions,
    "augmentation": AugmentationOptions,
    "model": ModelOptions,
    "compute": ComputeOptions,
    "training": TrainingOptions,
    "loss": LossOptions,
}
OPTIONS: Mapping[str, Option] = {each.name: each for group in GROUPS.values() for each in options_of(group)}
PER_COMMAND = tuple(name for name, each in OPTIONS.items() if each.scope == COMMAND)
RESUMABLE = tuple(name for name, each in OPTIONS.items() if each.scope not in ("run", START))


def parser() -> Parser:
    """The parser of baseline.py's command line; raises `InputError` for what it cannot parse."""
    return build_parser(
        GROUPS,
        prog="baseline.py",
        usage="baseline.py [options]",
        description="Train semantic segmentation from scratch on little data, validate, and predict.",
        epilog="Sizes are height and width in pixels; one number is a square. A switch takes --x, --no-x or --x True|False. "
        "@FILE stands for the arguments in an option file, such as @recipes/NAME.txt.",
    )


def from_values(values: Mapping[str, Value]) -> Options:
    """All options: the given values, and defaults for the others."""
    return Options().replaced(**values)


def option_names(scope: str) -> Sequence[str]:
    """Names of the options of a scope."""
    return [name for name, each in OPTIONS.items() if each.scope == scope]
