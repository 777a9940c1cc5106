"""From options to what a run is made of: checked data, network, batches, loss, optimizer; the first screen and options.json.

`prepare` finds whatever can be wrong with options, files and folders before torch is imported, which alone takes seconds; so the
functions that need torch import it, and what builds on it, themselves.
"""

import os
import secrets
import sys
import textwrap
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

import options
from helpers import runlog
from helpers.errors import InputError
from learning import class_weights
from learning.datasets import add_training_images, open_dataset, without_files
from learning.datasets.blobs import parse_rules, rule_ids
from learning.datasets.holdout import select
from learning.datasets.survey import survey


def prepare(argv):
    """Parse the command line and check everything it names.

    Returns:
        (Namespace, Dataset, dict of split -> Survey, RunFolder)

    Raises:
        InputError: any mistake in options, data or folders; no file has been touched.
    """
    args, _ = options.parse(argv)
    if (args.dry_run or args.replay) and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise InputError("--dry_run and --replay are for one process: run them without torchrun")
    run = runlog.RunFolder(Path(args.save_path))
    source = args.replay or (run.last if args.resume and run.holds_run else args.weights)
    if args.predict or source:
        folder = Path(source).parent if source else run.path
        stored = runlog.read_options(folder / run.options.name) or checkpoint_options(source)
        if args.predict:  # an overfitted run predicts the real splits, too
            stored = {name: value for name, value in stored.items() if name not in ("overfit", *options.PREDICTION)}
        args, typed = options.parse(argv, stored)
        args.pretrained = args.pretrained and os.path.abspath(args.pretrained)  # as it is stored
        args.class_weights = class_weights.written_out(args.class_weights)
        args.extra_data = args.extra_data and [os.path.abspath(folder) for folder in args.extra_data]
        fixed = options.ARCHITECTURE if args.predict else set(vars(args)) - set(options.RESUMABLE)
        if args.predict or not args.override:
            options.refuse_changes(args, typed & set(fixed), stored)
        args.weights = str(source) if source and not args.replay else None
    else:
        options.check(args)  # --resume of a run that is not there starts it
        args.class_weights = class_weights.written_out(args.class_weights)
    check_run_folder(args, run)

    root = args.dataset_path or f"./{args.dataset}"
    if args.input:
        data = without_files(args.dataset, root)
    else:
        data = select(open_dataset(args.dataset, root), args.train_on, args.holdout)
    settle(args, data)
    check_classes(args, data)
    if not args.predict:
        data = add_training_images(data, args.extra_data)
    if args.overfit:
        few = data.split("train")[: args.overfit]
        data = replace(data, splits={"train": few, "val": few})
    splits = [split for split in ("val", "test") if split in data.splits] if args.predict else ["train", "val"]
    return args, data, {split: survey(data, split) for split in splits}, run


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


def settle(args, data):
    """Fill in what nobody typed: the data set's sizes and colours, its absolute path, the optimizer's rates, a seed."""
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
    args.pretrained = args.pretrained and os.path.abspath(args.pretrained)
    args.output_stride = args.output_stride or options.OUTPUT_STRIDES.get(args.model)
    args.extra_data = args.extra_data and [os.path.abspath(folder) for folder in args.extra_data]
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


class Parts:
    """What a run is made of, built from its options.

    Args:
        args, data: the options and the data set.
        surveys: dict of split -> Survey; what training needs is built where it has "train".
    """

    def __init__(self, args, data, surveys):
        import torch

        from learning import cache, compute, distributed, keyed
        from learning.loaders import Feed
        from learning.models import build_from_options

        compute.set_determinism(args.deterministic)
        self.device = pick_device(args.device)
        distributed.start(self.device)
        args.seed = distributed.agree(args.seed)  # where nobody typed one, each process has drawn its own
        if args.batch_size % distributed.size():
            raise InputError(
                f"--batch_size {args.batch_size} is for all {distributed.size()} processes together, "
                "and must be a multiple of their number"
            )
        if self.device.type == "cuda" and self.device.index is not None:
            torch.cuda.set_device(self.device)
        if self.device.type == "cpu":
            compute.keep_freed_memory()
        self.precision = compute.Precision(compute.choose_precision(args.amp, self.device), self.device)
        self.num_classes = len(data.labels.classes)
        seed = keyed.torch_seed(args.seed, keyed.INITIAL_WEIGHTS)
        self.fresh_model = partial(
            build_from_options, vars(args), self.num_classes, seed, recompute=args.checkpoint_blocks
        )
        layout = torch.channels_last if args.channels_last else torch.contiguous_format
        self.model = self.fresh_model().to(self.device, memory_format=layout)
        self.network = self._over_gpus(self.model)
        self.data, self.test_size, self.batch_size = data, args.test_size, args.batch_size // distributed.size()
        self.fingerprint = runlog.fingerprint(data)
        self.feed = Feed(args.dataset_mean, args.dataset_std, self.device, args.num_workers, args.pin_memory)
        self.pixels = {split: cache.Files(samples, data.decode) for split, samples in data.splits.items()}
        if "train" in surveys:
            self._prepare_training(args, data, surveys)

    def _over_gpus(self, model):
        """The model, or a wrapper that spreads its batches over all GPUs of this process."""
        import torch

        several = self.device.type == "cuda" and self.device.index is None and torch.cuda.device_count() > 1
        return torch.nn.DataParallel(self.precision.inside(model)) if several else model

    def _prepare_training(self, args, data, surveys):
        import torch

        from learning import distributed, losses, optim
        from learning.averaging import Average
        from learning.guard import Guard
        from learning.learner import Training
        from learning.models import freeze

        if args.compile and self.network is not self.model:
            raise InputError("--compile is for one device: name it with --device cuda:0, or leave --compile out")
        self.cache, decoded = open_cache(args, data, surveys, self.device)
        self.pixels |= decoded
        self.step_size = args.batch_size * args.accumulate
        self.paste = pasting(args, data, surveys["train"], self.pixels["train"])
        self.train_batches = train_batches(args, self.pixels["train"], self.feed, self.paste, surveys["train"].pixels)
        self.val_batches = self.eval_batches("val")
        self.plan_steps(args)
        criterion = losses.Criterion(
            args.loss, loss_options(args, data, surveys["train"].pixels, self.device), aux_weight=args.aux
        )
        if args.freeze == "backbone":
            freeze(self.model.backbone)
        average = Average(self.model, args.ema) if args.ema else None
        self.scored = average.model if average else self.model
        self.scored_network = self._over_gpus(self.scored) if average else self.network
        model = distributed.spread(self.network, self.device)
        self.training = Training(
            model=torch.compile(model) if args.compile else model,
            mix=mixing(args, data),
            criterion=criterion,
            optimizer=optim.build_optimizer(
                self.model,
                args.lr_init,
                args.lr_momentum,
                args.lr_weight_decay,
                args.optimizer,
                args.nesterov,
                args.lr_backbone,
                args.decay_norms,
            ),
            rate_at=partial(self._rate, args.lr_init, args.warmup_epochs, args.schedule),
            precision=self.precision,
            guard=Guard(self.model, args.skip_nonfinite),
            seed=args.seed,
            accumulate=args.accumulate,
            average=average,
        )

    def plan_steps(self, args):
        """Fix how long the run is: `plan` is made of --steps, or of --epochs, which follow from it.

        Raises:
            InputError: there is nothing left after the warm-up.
        """
        from learning.plan import Plan

        steps = len(self.train_batches)
        self.plan = Plan(steps, args.steps or args.epochs * steps, args.validate_every)
        args.epochs = self.plan.epochs
        if args.warmup_epochs * steps >= self.plan.total_steps:
            raise InputError(
                f"--warmup_epochs {args.warmup_epochs} takes {args.warmup_epochs * steps} steps, and the whole run has "
                f"{self.plan.total_steps}: the learning rate would never fall"
            )

    def _rate(self, lr_init, warmup_epochs, schedule, epoch, step):
        """The learning rate of a step, as `learning.learner.Training` asks for it."""
        from learning.optim import scheduled_rate

        per_epoch, total = self.plan.steps_per_epoch, self.plan.total_steps
        return scheduled_rate(epoch * per_epoch + step, total, lr_init, warmup_epochs * per_epoch, schedule)

    def eval_batches(self, split):
        """learning.loaders.EvalBatches to validate on; several processes share them."""
        from learning.loaders import EvalBatches

        return EvalBatches(self.pixels[split], self.feed, self.batch_size, self.test_size)

    def step_files(self, epoch, step):
        """list of str: names of the images of a training step."""
        return [sample.image.name for sample in self.train_batches.samples(epoch, step)]

    def images(self, split):
        """learning.loaders.EvalBatches to predict: all, without labels."""
        from learning.loaders import EvalBatches

        size = self.test_size
        return EvalBatches(self.pixels[split], self.feed, self.batch_size, size, with_labels=False, shared=False)

    def metrics(self, stored=None):
        """Counts for an epoch, fresh ones or those that `EpochMetrics.state_dict` gave."""
        from learning import distributed
        from learning.metrics import EpochMetrics

        metrics = EpochMetrics(self.num_classes, self.device, len(self.training.criterion.names))
        if stored and distributed.is_main():
            metrics.load_state_dict(stored)
        return metrics


def loss_options(args, data, pixels, device):
    """What the losses are called with: dict of a key of `learning.losses.LOSSES` -> keyword arguments.

    Args:
        pixels: int64 (N, C), labelled pixels of each class in each training image.
        device: where the class weights go.
    """
    import torch

    def on_device(weights):
        return None if weights is None else torch.from_numpy(weights).float().to(device)

    weights = on_device(class_weights.compute(args.class_weights, data.spec, pixels))
    standard = on_device(class_weights.standard(data.spec, pixels))
    return {
        "ce": {"class_weights": weights, "label_smoothing": args.label_smoothing},
        "weighted_ce": {"class_weights": standard, "label_smoothing": args.label_smoothing},
        "focal": {"class_weights": weights, "gamma": args.focal_gamma},
        "ohem": {"class_weights": weights, "threshold": args.ohem_threshold, "fraction": args.ohem_fraction},
        "tversky": {"alpha": args.tversky_alpha, "beta": args.tversky_beta},
    }


def weight_lines(criterion, names):
    """list of str: the class weights of a criterion, for the first screen; [] where there are none."""
    lines = []
    for name, keywords in criterion.options.items():
        if keywords.get("class_weights") is not None:
            numbers = keywords["class_weights"].tolist()
            words = ", ".join(f"{c} {number:.3g}" for c, number in zip(names, numbers, strict=True))
            lines += textwrap.wrap(f"{name} {words}", 120)
    return [f"{'' if i else 'weights':<9} {line}" for i, line in enumerate(lines)]


def open_cache(args, data, surveys, device):
    """The decoded pixels of training and validation, where --cache puts them.

    Returns:
        (str, dict): what was chosen and why, in words; split -> learning.cache.Decoded, empty for "off".
    """
    from learning import cache

    sizes = {split: survey.sizes for split, survey in surveys.items()}
    folder = Path(args.cache_path) if args.cache_path else cache.default_folder()
    needed = {split: cache.num_bytes(sizes[split]) for split in sizes}
    missing = sum(needed[split] for split in sizes if not cache.is_cached(folder, data, split, sizes[split]))
    kind, why = cache.choose(args.cache, device, sum(needed.values()), folder, missing)
    words = f"{kind}: {why}" + (" (chosen by --cache auto)" if args.cache == "auto" else "")
    if kind == "off":
        return words, {}
    try:
        decoded = {split: cache.open_disk(folder, data, split, sizes[split]) for split in sizes}
    except cache.CacheError as error:  # a disk that cannot be written is no reason to end a run that did not ask for it
        if args.cache == "disk":
            raise
        if kind == "disk":
            return f"off: {error}", {}
        decoded = {split: cache.open_memory(data, split, sizes[split]) for split in sizes}
    return words, {split: pixels.to(device) for split, pixels in decoded.items()} if kind == "device" else decoded


def pick_device(name):
    """torch.device: the one that was named; for "auto" CUDA, Apple's mps or the CPU, the first there is."""
    import torch

    from learning import distributed

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if distributed.is_launched() and name.startswith("cuda"):
        if name != "cuda":
            raise InputError(f"--device {name}: torchrun gives each process its GPU; leave --device out")
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        torch.zeros(1, device=name)
    except Exception as error:  # what an absent device raises differs between kinds and versions
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--device {name} cannot be used here ({reason}); use auto, cpu, cuda, cuda:N or mps"
        ) from None
    return torch.device(name)


def augmentation(args):
    """learning.views.Augmentation of the options; --overfit sees crops that are not augmented."""
    from learning.views import SETS, Augmentation

    if args.overfit:
        return Augmentation(args.train_size, args.crop_size, scale_range=(1.0, 1.0), flip=0.0, jitter=0.0)
    typed = {"scale_range": args.scale_range, "rotation": args.rotation, "jitter": args.colorjitter_factor}
    typed = {name: value for name, value in typed.items() if value is not None}
    if not args.hflip:
        typed["flip"] = 0.0
    settings = SETS[args.augment] | typed
    return Augmentation(args.train_size, args.crop_size, class_crop=args.class_crop, **settings)


def train_batches(args, pixels, feed, paste, counts):
    """learning.loaders.TrainBatches of steps, as the options shape them.

    Args:
        pixels: of the training images.
        feed: learning.loaders.Feed.
        paste: what `pasting` returns.
        counts: int64 (N, C), labelled pixels of each class in each image.
    """
    from learning.loaders import TrainBatches

    step_size = args.batch_size * args.accumulate
    return TrainBatches(pixels, feed, step_size, augmentation(args), args.seed, paste, counts)


def pasting(args, data, survey, pixels):
    """learning.copypaste.CopyPaste of --copypaste, or None: what happens to a sample before anything else.

    Args:
        survey, pixels: of the training images.
    """
    from learning.copypaste import CopyPaste, grounds_of
    from learning.objects import build_bank

    if not args.copypaste:
        return None
    labels = data.labels
    classes = labels.train_ids(dict.fromkeys(args.copypaste), "--copypaste")
    return CopyPaste(
        bank=build_bank(pixels, survey, classes, labels, args.seed),
        grounds=grounds_of(classes, blob_rules(args, data)),
        most=args.copypaste_objects,
        seed=args.seed,
    )


def mixing(args, data):
    """Function of (images, labels, epoch, step): --copyblob, --classmix, --cutmix, in this order, those that are asked for.

    Objects come first, so that they are cut and shared as parts of their image; the box of CutMix comes last, as it stays a box.
    """
    from learning import distributed, keyed
    from learning.mixing import classmix, copyblob, cutmix

    rules = blob_rules(args, data)
    mixers = {
        "copyblob": (keyed.COPYBLOB, lambda *batch, rng: copyblob(*batch, rules, rng, args.blob_foot)),
        "classmix": (keyed.CLASSMIX, lambda *batch, rng: classmix(*batch, len(data.labels.classes), rng)),
        "cutmix": (keyed.CUTMIX, lambda *batch, rng: cutmix(*batch, rng)),
    }
    wanted = [mixer for name, mixer in mixers.items() if getattr(args, name)]
    if wanted and args.batch_size * args.accumulate < 2 * distributed.size():
        raise InputError(
            f"each of {distributed.size()} processes mixes its own share of a batch, which must be 2 images or more; "
            "raise --batch_size"
        )

    def mix(images, labels, epoch, step):
        index = step * distributed.size() + distributed.rank()  # each process mixes its own share of the batch
        for purpose, mixer in wanted:
            images, labels = mixer(images, labels, rng=keyed.generator(args.seed, purpose, epoch, index))
        return images, labels

    return mix


def first_screen(args, data, surveys, run, parts):
    """str: device, data, sizes, model, training, and where results go."""
    import torch

    from learning import distributed
    from learning.views import describe, leaves_image

    names = data.labels.names
    counts = ", ".join(f"{len(samples)} {split}" for split, samples in data.splits.items())
    absent = [f"no {', '.join(s.absent(names))} in {split}" for split, s in surveys.items() if s.absent(names)]
    detail = f"{torch.get_num_threads()} threads"
    if parts.device.type == "cuda":
        detail = torch.cuda.get_device_name(parts.device)
        detail += f" x {torch.cuda.device_count()}, DataParallel" if parts.network is not parts.model else ""
    detail += f", {distributed.size()} processes" if distributed.size() > 1 else ""
    millions = sum(parameter.numel() for parameter in parts.model.parameters()) / 1e6
    sizes = {name: "x".join(map(str, getattr(args, name))) for name in ("train_size", "crop_size", "test_size")}
    source_sizes = np.unique(surveys["train"].sizes, axis=0).tolist()
    padded = any(leaves_image(augmentation(args), size) for size in source_sizes)
    mixers = ("copypaste", "copyblob", "classmix", "cutmix")
    extras = "".join(f" + {name}" for name in mixers if getattr(args, name))
    shares = f" ({args.accumulate} parts of {args.batch_size})" if args.accumulate > 1 else ""
    details = f", output stride {args.output_stride}" if args.output_stride else ""
    details += f", a second head with {args.aux:g} of its loss" if args.aux else ""
    statistics = f"          the statistics of {args.norm} norm are those of a part, not of the whole step"
    lines = [
        f"device    {parts.device} ({detail})",
        f"data      {data.name} in {data.root}: {counts}; {'; '.join(absent) or 'every class in train and val'}",
        *(["          the val images are trained on, too: their score says nothing"] if sees_val(args) else []),
        *(f"extra     {extra_words(extra)}" for extra in data.extra),
        f"sizes     train {sizes['train_size']}, crop {sizes['crop_size']}, test {sizes['test_size']}",
        f"augment   {'none' if args.overfit else args.augment}: {describe(augmentation(args))}",
        *(["          some crops reach beyond the image: padded with the mean colour, not scored"] if padded else []),
        f"model     {args.model}{details}, {args.norm} norm, {len(names)} classes, {millions:.1f} M parameters, "
        + (f"weights from {args.pretrained}" if args.pretrained else "from scratch"),
        f"training  {args.loss}{extras}, {optimizer_words(args)}, batch {parts.step_size}{shares} x "
        f"{length_words(parts.plan)}, seed {args.seed}",
        *weight_lines(parts.training.criterion, names),
        *([statistics] if shares and args.norm in ("batch", "evo_b0") else []),
        *([f"objects   {parts.paste.bank.summary(names)}"] if parts.paste else []),
        f"compute   {', '.join(compute_words(args, parts))}",
        f"cache     {parts.cache}",
        f"results   {run.path}",
    ]
    return "\n".join(lines)


def sees_val(args):
    """Whether the validation images are among those that are trained on, so that their score cannot choose weights."""
    return args.train_on == "trainval" and not args.holdout


def extra_words(extra):
    """str: what a folder adds to the training images; `learning.datasets.extra.Extra`."""
    made = f", with pseudo labels of round {extra.round}" if extra.round else ""
    return f"{extra.num_images} of the training images are from {extra.folder}{made}; a challenge may forbid them"


def optimizer_words(args):
    """str: optimizer, learning rates and averaging of the first screen."""
    words = "AdamW" if args.optimizer == "adamw" else "SGD with Nesterov's momentum" if args.nesterov else "SGD"
    words += f" from {args.lr_init:g}"
    words += f" (backbone {args.lr_backbone:g})" if args.lr_backbone else ""
    return words + (f", averaged with {args.ema:g}" if args.ema else "")


def length_words(plan):
    """str: steps and epochs of the first screen."""
    if plan.total_steps == plan.epochs * plan.steps_per_epoch:
        return f"{plan.steps_per_epoch} steps x {plan.epochs} epochs = {plan.total_steps} steps"
    return f"{plan.total_steps} steps ({plan.total_steps / plan.steps_per_epoch:.1f} epochs of {plan.steps_per_epoch})"


def compute_words(args, parts):
    """list of str: precision and whatever else decides how fast and how exactly a run computes."""
    precision = {"off": "float32", "bf16": "bf16 mixed precision", "fp16": "fp16 mixed precision, scaled gradients"}
    words = [precision[parts.precision.name], "channels last" if args.channels_last else "channels first"]
    words += ["compiled"] if args.compile else []
    words += ["activations computed twice"] if args.checkpoint_blocks else []
    return [*words, "deterministic" if args.deterministic else "not deterministic on a GPU"]


def write_options(args, run, parts, state):
    """Write options.json: every option, and what else it takes to understand the run."""
    import torch
    import torchvision

    from learning import distributed

    versions = {"python": sys.version.split()[0], "torch": torch.__version__, "torchvision": torchvision.__version__}
    circumstances = {
        "external weights": state.external_weights,
        "data fingerprint": parts.fingerprint,
        "extra data": [vars(extra) | {"folder": str(extra.folder)} for extra in parts.data.extra],
        "commit": runlog.source_commit(),
        "versions": versions | {"numpy": np.__version__},
        "device": str(parts.device),
        "threads": torch.get_num_threads(),
        "precision": parts.precision.name,
        "cache": parts.cache,
        "processes": distributed.size(),
        "overrides": state.overrides,
    }
    runlog.write_options(run.options, vars(args), circumstances)
