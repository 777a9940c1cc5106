"""From options to what a run is made of: checked data, network, batches, loss, optimizer; the first screen and options.json.

`prepare` finds whatever can be wrong with options, files and folders before torch is imported, which alone takes seconds; so the
functions that need torch import it, and what builds on it, themselves.
"""

import os
import secrets
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

import options
from helpers import runlog
from helpers.errors import InputError
from learning.datasets import open_dataset, without_files
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
        fixed = options.ARCHITECTURE if args.predict else set(vars(args)) - set(options.RESUMABLE)
        if args.predict or not args.override:
            options.refuse_changes(args, typed & set(fixed), stored)
        args.weights = str(source) if source and not args.replay else None
    else:
        options.check(args)  # --resume of a run that is not there starts it
    check_run_folder(args, run)

    root = args.dataset_path or f"./{args.dataset}"
    data = without_files(args.dataset, root) if args.input else open_dataset(args.dataset, root)
    settle(args, data)
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
    """Fill in what nobody typed: the data set's sizes and colours, its absolute path, a seed."""
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
    args.dataset_path = os.path.abspath(data.root)
    args.pretrained = args.pretrained and os.path.abspath(args.pretrained)
    args.deterministic = args.seed is not None if args.deterministic is None else args.deterministic
    args.seed = secrets.randbelow(2**31) if args.seed is None else args.seed


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
        from learning.models import build_model

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
            build_model, args.model, self.num_classes, args.norm, seed, recompute=args.checkpoint_blocks
        )
        layout = torch.channels_last if args.channels_last else torch.contiguous_format
        self.model = self.fresh_model().to(self.device, memory_format=layout)
        several = self.device.type == "cuda" and self.device.index is None and torch.cuda.device_count() > 1
        self.network = torch.nn.DataParallel(self.precision.inside(self.model)) if several else self.model
        self.data, self.test_size, self.batch_size = data, args.test_size, args.batch_size // distributed.size()
        self.fingerprint = runlog.fingerprint(data)
        self.feed = Feed(args.dataset_mean, args.dataset_std, self.device, args.num_workers, args.pin_memory)
        self.pixels = {split: cache.Files(samples, data.decode) for split, samples in data.splits.items()}
        if "train" in surveys:
            self._prepare_training(args, data, surveys)

    def _prepare_training(self, args, data, surveys):
        import torch

        from learning import distributed, losses, optim
        from learning.guard import Guard
        from learning.learner import Training
        from learning.loaders import TrainBatches
        from learning.models import freeze

        if args.compile and self.network is not self.model:
            raise InputError("--compile is for one device: name it with --device cuda:0, or leave --compile out")
        self.cache, decoded = open_cache(args, data, surveys, self.device)
        self.pixels |= decoded
        self.step_size = args.batch_size * args.accumulate
        self.train_batches = TrainBatches(
            self.pixels["train"], self.feed, self.step_size, augmentation(args), args.seed
        )
        self.val_batches = self.eval_batches("val")
        steps, weights = len(self.train_batches), None
        if args.loss == "weighted_ce":
            standard, pixels = data.spec.CLASS_WEIGHTS, surveys["train"].pixels.sum(0)
            weights = (torch.tensor(standard) if standard else losses.enet_weights(pixels)).to(self.device)
        if args.freeze == "backbone":
            freeze(self.model.backbone)
        model = distributed.spread(self.network, self.device)
        self.training = Training(
            model=torch.compile(model) if args.compile else model,
            mix=mixing(args, data),
            criterion=losses.Criterion(args.loss, weights, args.focal_gamma),
            optimizer=optim.build_optimizer(self.model, args.lr_init, args.lr_momentum, args.lr_weight_decay),
            rate_at=lambda epoch, step: optim.cosine_rate(
                epoch * steps + step, args.epochs * steps, args.lr_init, args.warmup_epochs * steps
            ),
            precision=self.precision,
            guard=Guard(self.model, args.skip_nonfinite),
            seed=args.seed,
            accumulate=args.accumulate,
        )

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

        metrics = EpochMetrics(self.num_classes, self.device)
        if stored and distributed.is_main():
            metrics.load_state_dict(stored)
        return metrics


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
    """learning.augment.Augmentation of the options; --overfit sees crops that are not augmented."""
    from learning.augment import Augmentation

    if args.overfit:
        return Augmentation(args.train_size, args.crop_size, scale_range=(1.0, 1.0), flip=False, jitter=0.0)
    return Augmentation(args.train_size, args.crop_size, flip=args.hflip, jitter=args.colorjitter_factor)


def mixing(args, data):
    """Function of (images, labels, epoch, step): --copyblob, then --cutmix, whichever is asked for."""
    from learning import distributed, keyed
    from learning.mixing import blob_rules, copyblob, cutmix

    rules = blob_rules(data.spec.BLOB_RULES, data.labels.names)

    def mix(images, labels, epoch, step):
        index = step * distributed.size() + distributed.rank()  # each process mixes its own share of the batch
        if args.copyblob:
            images, labels = copyblob(images, labels, rules, keyed.generator(args.seed, keyed.COPYBLOB, epoch, index))
        if args.cutmix:
            images, labels = cutmix(images, labels, keyed.generator(args.seed, keyed.CUTMIX, epoch, index))
        return images, labels

    return mix


def first_screen(args, data, surveys, run, parts):
    """str: device, data, sizes, model, training, and where results go."""
    import torch

    from learning import distributed
    from learning.augment import leaves_image

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
    extras = "".join(f" + {name}" for name in ("cutmix", "copyblob") if getattr(args, name))
    steps = len(parts.train_batches)
    shares = f" ({args.accumulate} parts of {args.batch_size})" if args.accumulate > 1 else ""
    statistics = f"          the statistics of {args.norm} norm are those of a part, not of the whole step"
    lines = [
        f"device    {parts.device} ({detail})",
        f"data      {data.name} in {data.root}: {counts}; {'; '.join(absent) or 'every class in train and val'}",
        f"sizes     train {sizes['train_size']}, crop {sizes['crop_size']}, test {sizes['test_size']}",
        *(["          small scales leave crops unfilled: padded with the mean colour, not scored"] if padded else []),
        f"model     {args.model}, {args.norm} norm, {len(names)} classes, {millions:.1f} M parameters, "
        + (f"weights from {args.pretrained}" if args.pretrained else "from scratch"),
        f"training  {args.loss}{extras}, SGD from {args.lr_init:g}, batch {parts.step_size}{shares} x {steps} steps x "
        f"{args.epochs} epochs = {steps * args.epochs} steps, seed {args.seed}",
        *([statistics] if shares and args.norm in ("batch", "evo_b0") else []),
        f"compute   {', '.join(compute_words(args, parts))}",
        f"cache     {parts.cache}",
        f"results   {run.path}",
    ]
    return "\n".join(lines)


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
