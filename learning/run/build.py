"""From options and data to what a run is made of: network, batches, loss, optimizer.

Programs import this before they know that anything will be computed: torch, and what builds on it, is imported by the functions
that need it.
"""

from functools import partial
from pathlib import Path

from helpers.errors import InputError
from learning.data import class_weights
from learning.data.fingerprint import fingerprint
from learning.device import pick_device
from learning.run.setup import blob_rules


class Parts:
    """What a run is made of, built from its options.

    Args:
        args, data: the options and the data set.
        surveys: dict of split -> Survey; what training needs is built where it has "train".
    """

    def __init__(self, args, data, surveys):
        import torch

        from learning import distributed
        from learning.data import cache
        from learning.data.loaders import LoaderConfig
        from learning.device import Precision, choose_precision, keep_freed_memory, set_determinism
        from learning.models import build_from_options
        from learning.rng import INITIAL_WEIGHTS, torch_seed

        set_determinism(args.deterministic)
        self.device = pick_device(args.device)
        distributed.start(self.device)
        args.seed = distributed.all_reduce_max(args.seed)  # where nobody typed one, each process has drawn its own
        if args.batch_size % distributed.size():
            raise InputError(
                f"--batch_size {args.batch_size} is for all {distributed.size()} processes together, "
                "and must be a multiple of their number"
            )
        if self.device.type == "cuda" and self.device.index is not None:
            torch.cuda.set_device(self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.precision = Precision(choose_precision(args.amp, self.device), self.device)
        self.num_classes = len(data.labels.classes)
        seed = torch_seed(args.seed, INITIAL_WEIGHTS)
        self.fresh_model = partial(
            build_from_options, vars(args), self.num_classes, seed, recompute=args.checkpoint_blocks
        )
        layout = torch.channels_last if args.channels_last else torch.contiguous_format
        self.model = self.fresh_model().to(self.device, memory_format=layout)
        self.network = self._over_gpus(self.model)
        self.data, self.test_size, self.batch_size = data, args.test_size, args.batch_size // distributed.size()
        self.fingerprint = fingerprint(data)
        self.feed = LoaderConfig(args.dataset_mean, args.dataset_std, self.device, args.num_workers, args.pin_memory)
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

        from learning import distributed, losses
        from learning.models import freeze
        from learning.training import optim
        from learning.training.ema import EMA
        from learning.training.engine import Training
        from learning.training.nonfinite import NonFiniteGuard

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
        average = EMA(self.model, args.ema) if args.ema else None
        self.scored = average.model if average else self.model
        self.scored_network = self._over_gpus(self.scored) if average else self.network
        model = distributed.wrap_ddp(self.network, self.device)
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
            guard=NonFiniteGuard(self.model, args.skip_nonfinite),
            seed=args.seed,
            accumulate=args.accumulate,
            average=average,
        )

    def plan_steps(self, args):
        """Fix how long the run is: `plan` is made of --steps, or of --epochs, which follow from it.

        Raises:
            InputError: there is nothing left after the warm-up.
        """
        from learning.training.schedule import Plan

        steps = len(self.train_batches)
        self.plan = Plan(steps, args.steps or args.epochs * steps, args.validate_every)
        args.epochs = self.plan.epochs
        if args.warmup_epochs * steps >= self.plan.total_steps:
            raise InputError(
                f"--warmup_epochs {args.warmup_epochs} takes {args.warmup_epochs * steps} steps, and the whole run has "
                f"{self.plan.total_steps}: the learning rate would never fall"
            )

    def _rate(self, lr_init, warmup_epochs, schedule, epoch, step):
        """The learning rate of a step, as `learning.training.engine.Training` asks for it."""
        from learning.training.optim import scheduled_rate

        per_epoch, total = self.plan.steps_per_epoch, self.plan.total_steps
        return scheduled_rate(epoch * per_epoch + step, total, lr_init, warmup_epochs * per_epoch, schedule)

    def eval_batches(self, split):
        """learning.data.loaders.EvalBatches to validate on; several processes share them."""
        from learning.data.loaders import EvalBatches

        return EvalBatches(self.pixels[split], self.feed, self.batch_size, self.test_size)

    def step_files(self, epoch, step):
        """list of str: names of the images of a training step."""
        return [sample.image.name for sample in self.train_batches.samples(epoch, step)]

    def images(self, split):
        """learning.data.loaders.EvalBatches to predict: all, without labels."""
        from learning.data.loaders import EvalBatches

        size = self.test_size
        return EvalBatches(self.pixels[split], self.feed, self.batch_size, size, with_labels=False, shared=False)

    def metrics(self, stored=None):
        """Counts for an epoch, fresh ones or those that `EpochMetrics.state_dict` gave."""
        from learning import distributed
        from learning.training.metrics import EpochMetrics

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


def open_cache(args, data, surveys, device):
    """The decoded pixels of training and validation, where --cache puts them.

    Returns:
        (str, dict): what was chosen and why, in words; split -> learning.data.cache.Decoded, empty for "off".
    """
    from learning.data import cache

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


def augmentation(args):
    """learning.data.augmentation.sampling.Augmentation of the options; --overfit sees crops that are not augmented."""
    from learning.data.augmentation.sampling import SETS, Augmentation

    if args.overfit:
        return Augmentation(args.train_size, args.crop_size, scale_range=(1.0, 1.0), flip=0.0, jitter=0.0)
    typed = {"scale_range": args.scale_range, "rotation": args.rotation, "jitter": args.colorjitter_factor}
    typed = {name: value for name, value in typed.items() if value is not None}
    if not args.hflip:
        typed["flip"] = 0.0
    settings = SETS[args.augment] | typed
    return Augmentation(args.train_size, args.crop_size, class_crop=args.class_crop, **settings)


def train_batches(args, pixels, feed, paste, counts):
    """learning.data.loaders.TrainBatches of steps, as the options shape them.

    Args:
        pixels: of the training images.
        feed: learning.data.loaders.LoaderConfig.
        paste: what `pasting` returns.
        counts: int64 (N, C), labelled pixels of each class in each image.
    """
    from learning.data.loaders import TrainBatches

    step_size = args.batch_size * args.accumulate
    return TrainBatches(pixels, feed, step_size, augmentation(args), args.seed, paste, counts)


def pasting(args, data, survey, pixels):
    """learning.data.augmentation.copy_paste.CopyPaste of --copypaste, or None: what happens to a sample before anything else.

    Args:
        survey, pixels: of the training images.
    """
    from learning.data.augmentation.copy_paste import CopyPaste, grounds_of
    from learning.data.augmentation.object_bank import build_bank

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
    from learning import distributed
    from learning.data.augmentation.mixing import classmix, copyblob, cutmix
    from learning.rng import CLASSMIX, COPYBLOB, CUTMIX, generator

    rules = blob_rules(args, data)
    mixers = {
        "copyblob": (COPYBLOB, lambda *batch, rng: copyblob(*batch, rules, rng, args.blob_foot)),
        "classmix": (CLASSMIX, lambda *batch, rng: classmix(*batch, len(data.labels.classes), rng)),
        "cutmix": (CUTMIX, lambda *batch, rng: cutmix(*batch, rng)),
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
            images, labels = mixer(images, labels, rng=generator(args.seed, purpose, epoch, index))
        return images, labels

    return mix
