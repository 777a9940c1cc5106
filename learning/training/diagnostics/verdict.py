"""The verdict at the end of --overfit: whether the network can learn the images that it was trained on."""

from helpers.history import History

LEARNED = 0.95  # accuracy on the training images from which they are learned
GAP = 0.1  # by which the validation on the same images may be worse
SHORT = 500  # steps; a shorter run is continued before anything else is changed
STILL_FALLING = 0.05  # share by which the loss fell in the last quarter of the run


def overfit_verdict(history: History, num_images: int, total_steps: int) -> str:
    """One sentence, with what was reached, what is expected, and what to check.

    Args:
        history: of the run; see `helpers.history.extend_history`.
    """
    last = {name: values[-1] for name, values in history.items()}
    images = "this image" if num_images == 1 else f"these {num_images} images"
    reached = f"training accuracy {last['train_acc']:.3f}, mIoU {last['train_miou']:.3f}, loss {last['train_loss']:.3g}"
    if last["train_acc"] >= LEARNED:
        if not last["val_acc"] < last["train_acc"] - GAP:  # also for NaN
            return f"the network can learn {images} ({reached})"
        return (
            f"the network learns {images} in training ({reached}), but their validation accuracy is {last['val_acc']:.3f}: "
            "--test_size or --crop_size may change the scale, or the running statistics of the norm need more steps"
        )
    losses = history["train_loss"]
    earlier = losses[3 * len(losses) // 4 - 1] if len(losses) >= 4 else losses[0]
    failed = (
        f"after {total_steps} steps the network has not learned {images} "
        f"({reached}; an accuracy above {LEARNED:g} is expected)"
    )
    if last["train_loss"] < (1 - STILL_FALLING) * earlier or total_steps < SHORT:
        return f"{failed}: the loss still falls, or the run is short; raise --epochs"
    return f"{failed}: look at images/train_batch.png whether the labels fit, and change --lr_init"
