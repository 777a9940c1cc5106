"""What a run says of itself when it starts: the first screen and options.json."""

import sys
import textwrap

import numpy as np

from helpers import run_folder
from learning.run import build
from learning.run.setup import sees_val


def first_screen(args, data, surveys, run, parts):
    """str: device, data, sizes, model, training, and where results go."""
    import torch

    from learning import distributed
    from learning.data.augmentation.sampling import describe, leaves_image

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
    padded = any(leaves_image(build.augmentation(args), size) for size in source_sizes)
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
        f"augment   {'none' if args.overfit else args.augment}: {describe(build.augmentation(args))}",
        *(["          some crops reach beyond the image: padded with the mean color, not scored"] if padded else []),
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


def weight_lines(criterion, names):
    """list of str: the class weights of a criterion, for the first screen; [] where there are none."""
    lines = []
    for name, keywords in criterion.keyword_arguments.items():
        if keywords.get("class_weights") is not None:
            numbers = keywords["class_weights"].tolist()
            words = ", ".join(f"{c} {number:.3g}" for c, number in zip(names, numbers, strict=True))
            lines += textwrap.wrap(f"{name} {words}", 120)
    return [f"{'' if i else 'weights':<9} {line}" for i, line in enumerate(lines)]


def extra_words(extra):
    """str: what a folder adds to the training images; `learning.data.datasets.extra.Extra`."""
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
        "commit": run_folder.source_commit(),
        "versions": versions | {"numpy": np.__version__},
        "device": str(parts.device),
        "threads": torch.get_num_threads(),
        "precision": parts.precision.name,
        "cache": parts.cache,
        "processes": distributed.size(),
        "overrides": state.overrides,
    }
    run_folder.write_options(run.options, vars(args), circumstances)
