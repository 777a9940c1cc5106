"""One training step again, layer by layer: where do numbers stop being numbers?"""

import torch

from learning.losses import mean


def replay_step(model, training, images, labels, epoch, step):
    """Repeat the forward and backward passes of a step; no weight changes.

    Args:
        model: the network itself, neither wrapped nor compiled, with the weights as they were before the step.
        training: learning.training.engine.Training.
        images, labels: the batch, as `learning.data.loaders.TrainBatches` made it.
        epoch, step: which it is.

    Returns:
        (list of str, bool): what was found, in the order in which it happened; whether everything was finite.
    """
    found = []
    hooks = [module.register_forward_hook(_watch(name, found)) for name, module in model.named_modules() if name]
    model.train()
    model.zero_grad(set_to_none=True)
    found += [] if bool(images.isfinite().all()) else ["the images of the batch are not finite"]
    images, labels = training.mix(images, labels, epoch, step)
    whole, summed = training.criterion.weight(labels), 0.0
    for seen, target, _ in training.parts(images, labels, epoch, step):
        with training.precision.autocast():
            outputs = model(seen)
        totals, _ = training.criterion(outputs, target)
        mean(totals, whole).backward()
        summed += totals.detach()
    for hook in hooks:
        hook.remove()
    finite = bool(summed.isfinite().all()) and not found
    terms = [
        f"{name} {float(mean(*pair)):g}" for name, *pair in zip(training.criterion.names, summed, whole, strict=True)
    ]
    found.append(f"loss {float(mean(summed, whole)):g} of {len(images)} images ({' + '.join(terms)})")
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            found.append(f"the gradient of {name} is the first that is not finite")
            return found, False
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    found.append(f"norm of the gradient {float(norm):g}")
    return found, finite and bool(norm.isfinite())


def _watch(name, found):
    def hook(_, __, output):
        if (
            not isinstance(output, torch.Tensor)
            or bool(output.isfinite().all())
            or any("layer" in line for line in found)
        ):
            return
        broken = (~output.isfinite()).float().mean().item()
        found.append(f"layer {name} is the first whose output is not finite ({broken:.1%} of its values)")

    return hook
