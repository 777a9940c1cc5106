"""Which options exclude or need each other, in the order in which they are reported. No torch."""

from __future__ import annotations

from collections.abc import Iterator

from helpers.errors import InputError
from helpers.parsing import weighted_sum
from options import (
    LOSS_PARAMETERS,
    LOSSES,
    OPTIONS,
    OUTPUT_STRIDES,
    AugmentationOptions,
    DataOptions,
    LossOptions,
    ModelOptions,
    Options,
    PredictionOptions,
    RunOptions,
    TrainingOptions,
)


def check_combinations(options: Options) -> None:
    """Refuse options that cannot work together.

    Raises:
        InputError: the first such combination, and what to do.
    """
    run = options.run
    training = options.training
    messages: list[str] = []
    if not run.predict:  # a prediction ignores what only training uses
        messages += _loss_parameters(options.loss)
        messages += _mixing_needs_a_batch(options.augmentation, training.batch_size * options.compute.accumulate)
    messages += _losses(options.loss)
    if run.overfit:
        messages += _overfit(options.augmentation, options.data)
    messages += _augmentation(options.augmentation, run.predict)
    messages += _commands(run, options.prediction)
    messages += _prediction(options.prediction)
    messages += _model(options.model, run.pretrained)
    if options.compute.compile and options.compute.checkpoint_blocks:
        messages.append("--compile already decides which activations are stored: leave out --checkpoint_blocks")
    messages += _training(training, options.model, run.dry_run)
    if messages:
        raise InputError(messages[0])


def _loss_parameters(loss: LossOptions) -> Iterator[str]:
    for name, owner in LOSS_PARAMETERS.items():
        if getattr(loss, name) != OPTIONS[name].default and not _has_loss(loss, owner):
            yield f"--{name} is for the loss {owner}: add it to --loss, or leave --{name} out"


def _losses(loss: LossOptions) -> Iterator[str]:
    if list(weighted_sum(loss.loss)) == ["abl"]:
        yield "--loss abl moves boundaries that another loss has to find first: write a sum such as ce+lovasz+abl"
    if _has_loss(loss, "tversky") and loss.tversky_alpha == loss.tversky_beta == 0:
        yield "--tversky_alpha 0 --tversky_beta 0: the loss would always be 0; raise one of them"
    if loss.class_weights != "none" and not _has_loss(loss, "ce", "focal", "ohem"):
        yield (
            "--class_weights is for ce, focal and ohem (weighted_ce has the data set's own): change --loss, or leave it out"
        )
    if loss.label_smoothing and not _has_loss(loss, "ce", "weighted_ce"):
        yield "--label_smoothing is for ce and weighted_ce: change --loss, or leave it out"


def _mixing_needs_a_batch(augmentation: AugmentationOptions, step_size: int) -> Iterator[str]:
    if (augmentation.cutmix or augmentation.classmix or augmentation.copyblob) and step_size < 2:
        yield (
            "--cutmix, --classmix and --copyblob mix the images of a batch: raise --batch_size to 2 or more, or leave them out"
        )


def _overfit(augmentation: AugmentationOptions, data: DataOptions) -> Iterator[str]:
    if augmentation.cutmix or augmentation.classmix or augmentation.copyblob or augmentation.copypaste:
        yield "--overfit trains on unaugmented images: leave out --cutmix, --classmix, --copyblob and --copypaste"
    changes_the_set = augmentation.augment != "tutorial" or augmentation.scale_range or augmentation.rotation
    if changes_the_set or augmentation.class_crop:
        yield "--overfit trains on unaugmented images: leave out --augment, --scale_range, --rotation and --class_crop"
    if data.holdout:
        yield "--overfit validates on its training images: leave out --holdout"
    if data.extra_data:
        yield "--overfit trains on a few images of the data set: leave out --extra_data"


def _augmentation(augmentation: AugmentationOptions, predict: bool) -> Iterator[str]:
    if augmentation.scale_range and augmentation.scale_range[0] > augmentation.scale_range[1]:
        yield "--scale_range takes the lower scale first"
    if augmentation.blob_rules is not None and not (augmentation.copyblob or augmentation.copypaste):
        yield "--blob_rules says where --copyblob and --copypaste put things: add one of them, or leave it out"
    has_other_number = augmentation.copypaste_objects != OPTIONS["copypaste_objects"].default
    if has_other_number and not (augmentation.copypaste or predict):
        yield "--copypaste_objects says how many objects --copypaste pastes: add it, or leave --copypaste_objects out"
    if augmentation.blob_foot and not augmentation.copyblob:
        yield "--blob_foot says how --copyblob places blobs: add --copyblob"


def _commands(run: RunOptions, prediction: PredictionOptions) -> Iterator[str]:
    if run.replay and (run.predict or run.resume or run.dry_run):
        yield "--replay repeats one step: leave out --predict, --resume and --dry_run"
    only_predict = (
        prediction.split or prediction.input or prediction.tile or prediction.save_scores or prediction.export
    )
    if only_predict and not run.predict:
        yield "--split, --input, --tile, --save_scores and --export belong to --predict: add it, or leave them out"
    if run.predict and run.resume:
        yield "--predict predicts with a run that exists: leave out --resume"
    if run.predict and run.dry_run:
        yield "--dry_run already includes prediction: leave out --predict"


def _prediction(prediction: PredictionOptions) -> Iterator[str]:
    if prediction.split and (prediction.input or prediction.export):
        yield "--split chooses images of the data set: leave out --input and --export, or --split"
    if prediction.output and not prediction.input:
        yield "--output belongs to --input: name images with it"
    if prediction.force and not (prediction.input or prediction.export):
        yield "--force belongs to --input and --export: add one of them"
    if prediction.export and (prediction.mst or prediction.tile or prediction.save_scores or prediction.output):
        yield "--export writes the network, at a single scale: leave out --mst, --tile, --save_scores and --output"
    if (prediction.scales or not prediction.flip) and not prediction.mst:
        yield "--scales and --no-flip belong to --mst: add it"
    if prediction.tile and prediction.overlap >= min(prediction.tile):
        yield "--overlap must be smaller than --tile: the window would not advance"


def _model(model: ModelOptions, pretrained: str | None) -> Iterator[str]:
    if model.freeze != "none" and not pretrained:
        yield "--freeze keeps weights that --pretrained loads: name a file with it"
    if model.freeze == "backbone" and model.model == "UNet":
        yield "--freeze backbone: the UNet has no backbone; choose another --model"
    is_deeplab = model.model in OUTPUT_STRIDES
    if model.output_stride and not is_deeplab:
        yield "--output_stride is for the DeepLabs, and --model is a UNet: leave one of them out"
    if model.aux and not is_deeplab:
        yield "--aux is for the DeepLabs, and --model is a UNet: leave one of them out"
    if model.aux and model.freeze == "backbone":
        yield "--aux trains the backbone, which --freeze backbone freezes: leave one of them out"
    if model.zero_init and model.model == "UNet":
        yield "--zero_init is for residual blocks, and --model UNet has none: leave one of them out"


def _training(training: TrainingOptions, model: ModelOptions, dry_run: bool) -> Iterator[str]:
    has_other_length = training.steps or training.time_budget
    if not has_other_length and training.warmup_epochs >= training.epochs:
        yield "--warmup_epochs must be smaller than --epochs: the learning rate would never decay"
    if training.nesterov and (training.optimizer != "sgd" or training.lr_momentum == 0):
        yield "--nesterov is a momentum of SGD: leave it out, or choose --optimizer sgd with --lr_momentum above 0"
    if training.lr_backbone and model.model == "UNet":
        yield "--lr_backbone: the UNet has no backbone; choose another --model, or leave it out"
    if training.lr_backbone and model.freeze == "backbone":
        yield "--lr_backbone: --freeze backbone does not train the backbone; leave one of them out"
    if training.time_budget and not training.steps and dry_run:
        yield "--dry_run says how long a number of epochs or steps takes: leave out --time_budget"


def check_loss(text: str) -> None:
    """Refuse a --loss that is no sum of known losses; raises `InputError`."""
    try:
        unknown = [name for name in weighted_sum(text) if name not in LOSSES]
    except ValueError as error:
        raise InputError(f"--loss {text}: {error}; write a sum such as ce+dice or 10*focal+log_dice") from None
    if unknown:
        raise InputError(
            f"--loss {text}: there is no {unknown[0]}; known are {', '.join(LOSSES)}, and sums such as ce+0.5*dice"
        )


def _has_loss(loss: LossOptions, *names: str) -> bool:
    return any(name in names for name in weighted_sum(loss.loss))
