"""One training step again, layer by layer: find the first layer or gradient that is NaN or infinite."""

from collections.abc import Callable

import torch

from learning.losses import mean
from learning.training.engine import Training


def replay_step(
    model: torch.nn.Module, training: Training, images: torch.Tensor, labels: torch.Tensor, epoch: int, step: int
) -> tuple[list[str], bool]:
    """Repeat the forward and backward passes of a step; no weight changes.

    Args:
        model: neither wrapped nor compiled, with the weights as they were before the step.
        images, labels: the batch, as `learning.data.loaders.TrainBatches` made it.

    Returns:
        findings in the order of the computation, and whether everything was finite.
    """
    findings = [] if bool(images.isfinite().all()) else ["the images of the batch are not finite"]
    hooks = [
        module.register_forward_hook(_nonfinite_hook(name, findings)) for name, module in model.named_modules() if name
    ]
    images, labels = training.mix(images, labels, epoch, step)
    weight = training.criterion.weight(labels)
    totals = torch.zeros_like(weight)
    model.train()
    model.zero_grad(set_to_none=True)
    for micro_images, micro_labels, _ in training.micro_batches(images, labels, epoch, step):
        with training.precision.autocast():
            outputs = model(micro_images)
        micro_totals, _ = training.criterion(outputs, micro_labels)
        mean(micro_totals, weight).backward()
        totals = totals + micro_totals.detach()
    for hook in hooks:
        hook.remove()
    finite = bool(totals.isfinite().all()) and not findings
    terms = [
        f"{name} {float(mean(term_total, term_weight)):g}"
        for name, term_total, term_weight in zip(training.criterion.names, totals, weight, strict=True)
    ]
    findings.append(f"loss {float(mean(totals, weight)):g} of {len(images)} images ({' + '.join(terms)})")
    finding, finite_gradients = _check_gradients(model)
    findings.append(finding)
    return findings, finite and finite_gradients


def _check_gradients(model: torch.nn.Module) -> tuple[str, bool]:
    """The first gradient that is not finite, or their norm; whether all are finite."""
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    for name, gradient in gradients.items():
        if not bool(gradient.isfinite().all()):
            return f"the gradient of {name} is the first that is not finite", False
    norm = torch.nn.utils.get_total_norm(list(gradients.values()))
    return f"norm of the gradient {float(norm):g}", bool(norm.isfinite())


def _nonfinite_hook(name: str, findings: list[str]) -> Callable[..., None]:
    """Forward hook of the layer `name`: adds a finding if its output is the first that is not finite."""

    def hook(module: torch.nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if not isinstance(output, torch.Tensor) or bool(output.isfinite().all()):
            return
        if not any(finding.startswith("layer ") for finding in findings):
            share = (~output.isfinite()).float().mean().item()
            findings.append(f"layer {name} is the first whose output is not finite ({share:.1%} of its values)")

    return hook
