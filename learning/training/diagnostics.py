"""The training doctor: what looks sick after an epoch, in sentences that name the thing, the figure and what to do.

It only looks: weights, buffers, gradients, modes and torch's random state stay as they are. It costs one forward pass without
gradients and one look at every weight; what is compared with the initial weights is compared on the CPU.
"""

import math
import statistics
import textwrap
from functools import partial

import torch

from learning.losses import PIXELWISE

SICK_SHARE = 0.95  # of a layer's channels
EXPLODING = 1e4  # largest healthy value of an activation; 16-bit floats end at 65504
FLAT = 1e-5  # range of a channel / its largest absolute value, below which only rounding is left
FEWEST_VALUES = 64  # a smaller output is too little to judge a layer by
NEGLIGIBLE = (
    1e-3  # a gradient / the median of all, below which it may be rounding (a bias before a norm) and move nothing
)
DOMINANT, MINOR = 0.98, 0.9  # a class with more than this share of the predictions is too much, if it has less in truth
LARGE_CLASS = 0.1  # share of the pixels from which a class should be predicted within an epoch
HARDLY = 0.01  # hardly predicted is what is given to fewer pixels than this share of its own
MARGIN = 0.02  # how far, relatively, a loss should be below that of the best constant prediction
NAMED, LINES, WIDTH = 3, 6, 130


def examine(model, initial, images, confusion, names, losses, criterion, only_step=False):
    """What looks sick after an epoch of training, as a paragraph to print.

    To be called before the gradients of the last step are cleared, under the autocast of the run.

    Args:
        model: torch.nn.Module, neither wrapped nor compiled: images -> {"out": logits (B, C, h, w)}.
        initial: dict of CPU tensors, the `state_dict` that the training began with.
        images: float (B, 3, h, w), a batch as the network sees it, on the model's device.
        confusion: int64 (C, C) of the epoch's training predictions, rows are the truth; tensor or array.
        names: str (C,), the classes.
        losses: float (T,), the mean of each term of the epoch's training loss.
        criterion: `learning.losses.Criterion`.
        only_step: whether the epoch had a single step.

    Returns:
        str: at most `LINES` lines of `WIDTH` characters.
    """
    confusion = torch.as_tensor(confusion)
    findings = [
        *loss_does_not_fall(losses, confusion.sum(1).to(images.device), criterion),
        *sick_layers(model, images),
        *untrained(model, initial, only_step),
        *never_predicted(confusion, names),
    ]
    if not findings:
        findings = [f"every layer learns; {not_yet_predicted(confusion, names) or 'every class is predicted'}"]
    for kept in range(len(findings), 0, -1):
        left_out = len(findings) - kept
        lines = [line for finding in findings[:kept] for line in textwrap.wrap(finding, WIDTH - len("doctor: "))]
        lines += [f"(findings left out: {left_out})"] if left_out else []
        if len(lines) <= LINES:
            break
    return "doctor: " + "\n        ".join(lines[:LINES])


def untrained(model, initial, only_step=False):
    """Weights that the training does not reach: without a gradient, with one of exactly zero, or where they began.

    Gradients are those of the last step; where all are cleared or zero, only the movement is looked at. No findings are
    frozen weights, an auxiliary head (aux...) that is off as a whole, and what stands beside a `weight` that learns and has
    no effect, such as the bias before a norm. After the only step, exact zeros are none either where a weight has just left
    zero (as with --zero_init): what lies behind it learns from the next step on.

    Arguments are those of `examine`. Returns a list of str.
    """
    weights = {name: w for name, w in model.named_parameters() if w.requires_grad and w.numel()}
    gradients = _largest_gradients(weights)
    heads_on = {name.split(".")[0] for name in weights if gradients[name] or not name.startswith("aux")}
    weights = {name: w for name, w in weights.items() if name.split(".")[0] in heads_on}
    still = [name for name, w in weights.items() if name in initial and torch.equal(w.detach().cpu(), initial[name])]
    sizes = [size for name, size in gradients.items() if size and name in weights]
    if weights and len(still) == len(weights):
        why = "check --lr_init and what the optimizer was given" if sizes else "the loss does not reach the network"
        return [f"none of the {len(weights)} weight tensors moved in the epoch: {why}"]
    beside = {name: _weight_beside(name, weights) for name in weights}
    silent = [name for name in weights if sizes and not gradients[name] and not beside[name]]
    findings = []
    if unused := [name for name in silent if gradients[name] is None]:
        findings.append(f"no gradient at all for {_listed(unused)}: the loss does not depend on it; use or remove it")
    opened = only_step and any(
        name.endswith(".weight") and name in initial and not initial[name].any() and name not in still
        for name in weights
    )
    zero = [f"{n}{'' if weights[n].any() else ' (all 0)'}" for n in silent if gradients[n] is not None]
    if zero and not opened:
        zero.sort(key=lambda words: not words.endswith("(all 0)"))  # those are to blame
        advice = "start layers that stand at zero from random weights, and look for a dead one behind them"
        findings.append(f"the gradient is exactly 0 for {_listed(zero)}: {advice}")
    if sizes:
        least = NEGLIGIBLE * statistics.median(sizes)
        still = [name for name in still if (gradients[name] or 0) >= least and beside[name] not in still]
    if still := [name for name in still if sizes or not beside[name]]:
        advice = "was it given to the optimizer, with a learning rate above 0?"
        findings.append(f"not moved in the whole epoch: {_listed(still)}; {advice}")
    return findings


def _largest_gradients(weights):
    """dict of name -> largest absolute gradient, None where there is none; the device is waited for once."""
    names = [name for name, weight in weights.items() if weight.grad is not None]
    largest = [torch.linalg.vector_norm(weights[name].grad, math.inf).float() for name in names]
    values = torch.stack(largest).tolist() if largest else []
    return dict.fromkeys(weights) | dict(zip(names, values, strict=True))


def _weight_beside(name, weights):
    """Name of the `weight` of the module that a bias or the like belongs to, None for the weight itself."""
    weight = f"{name.rpartition('.')[0]}.weight".removeprefix(".")
    return weight if weight in weights and weight != name else None


def sick_layers(model, images):
    """Layers that make something sick of what is healthy: too large, dead, or the same everywhere.

    Looks at what goes into and comes out of every module without children, in one forward pass in training mode. Too large is
    a value above `EXPLODING` or not finite; dead are `SICK_SHARE` of the channels being 0 at every pixel of the batch; flat
    are as many having one value at every pixel.

    Arguments are those of `examine`. Returns a list of str.
    """
    layers = [(name, _diagnosis(old), _diagnosis(new), new) for name, old, new in _vital_signs(model, images)]
    causes = [(name, new, signs) for name, old, new, signs in layers if new and (not old or (old != new == "big"))]
    findings = []
    if big := [f"{name} (up to {signs[2]:.1e})" for name, kind, signs in causes if kind == "big"]:
        findings.append(f"values explode in {_listed(big)}: lower --lr_init, or look at how it is initialized")
    if dead := [f"{name} ({signs[0]:.0%} of its channels)" for name, kind, signs in causes if kind == "dead"]:
        findings.append(f"zero at every pixel: {_listed(dead)}; a dead layer: lower --lr_init and start again")
    if flat := [f"{name} ({signs[1]:.0%} of its channels)" for name, kind, signs in causes if kind == "flat"]:
        findings.append(f"the same value at every pixel: {_listed(flat)}; look at its weights, or lower --lr_init")
    words = {"big": "is too large or not finite", "dead": "is zero at every pixel"}
    received = [
        f"what goes into {name} {words[old]}: look at what comes before it" for name, old, *_ in layers if old in words
    ]
    return findings or received[:1]  # made between modules, or in the images


def _vital_signs(model, images):
    """[(name, 3 floats, 3 floats)]: the `_signs` before and after every module without children, in the order they run."""
    names, signs, handles = [], [], []

    def look_before(_, inputs):  # not afterwards: modules that work in place overwrite their input
        signs.append(_signs(inputs[0] if inputs else None, images.device, True))

    def look_after(name, _, __, output):
        names.append(name)
        signs.append(_signs(output, images.device, False))

    modes = [(module, module.training) for module in model.modules()]
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}  # running statistics: small
    try:
        for name, module in model.named_modules():
            if not list(module.children()):
                handles.append(module.register_forward_pre_hook(look_before))
                handles.append(module.register_forward_hook(partial(look_after, name)))
        model.train()
        with torch.no_grad(), torch.random.fork_rng([images.device] if images.is_cuda else []):
            torch.func.functional_call(model, buffers, (images,))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    values = torch.stack(signs).tolist() if signs else []
    return list(zip(names, values[::2], values[1::2], strict=True))


def _signs(x, device, pixel_is_flat):
    """float32 (3,): share of channels that are 0 everywhere, share with one value everywhere, largest absolute value.

    A map of one pixel is flat by nature: what goes in counts as flat and what comes out does not, so it is nobody's fault.
    """
    if not (isinstance(x, torch.Tensor) and x.is_floating_point() and x.dim() > 1 and x.numel() >= FEWEST_VALUES):
        return torch.zeros(3, device=device)
    others = [dim for dim in range(x.dim()) if dim != 1]
    low, high = x.amin(others).float(), x.amax(others).float()  # (C,)
    size = torch.maximum(-low, high)
    flat = (high - low <= FLAT * size).float().mean()
    if x[:1, :1].numel() == 1:
        flat = torch.full_like(flat, pixel_is_flat)
    return torch.stack([(size == 0).float().mean(), flat, size.max()])


def _diagnosis(signs):
    dead, flat, largest = signs
    if not largest <= EXPLODING:  # nan is not, either
        return "big"
    return "dead" if dead >= SICK_SHARE else "flat" if flat >= SICK_SHARE else ""


def never_predicted(confusion, names):
    """Whether the predictions are one class nearly everywhere, or leave out a large class; rare ones are no finding.

    Arguments are those of `examine`. Returns a list of str.
    """
    truth, predicted = _shares(confusion)
    most = predicted.index(max(predicted))
    if predicted[most] > DOMINANT and truth[most] < MINOR:
        figures = f"{predicted[most]:.1%} of the pixels are predicted as {names[most]}, which {truth[most]:.1%} are"
        return [f"{figures}: lower --lr_init, and look at images/train_batch.png whether the labels fit"]
    missed = not_yet_predicted(confusion, names, LARGE_CLASS)
    return (
        [f"{missed}: too large to be missed, look at images/train_batch.png whether the labels fit"] if missed else []
    )


def not_yet_predicted(confusion, names, smallest=0.0):
    """str: the classes of at least a share of the pixels that are hardly or never predicted, the largest first; "" for none."""
    truth, predicted = _shares(confusion)
    missed = [c for c, share in enumerate(truth) if share and share >= smallest and predicted[c] < HARDLY * share]
    if not missed:
        return ""
    shares = [f"{names[c]} ({truth[c]:.1%} of the pixels)" for c in sorted(missed, key=lambda c: -truth[c])]
    return f"{'hardly' if any(predicted[c] for c in missed) else 'never'} predicted so far: {_listed(shares)}"


def _shares(confusion):
    """(C floats, C floats): the classes' shares of the labels and of the predictions."""
    confusion = torch.as_tensor(confusion).cpu().double()
    total = confusion.sum().clamp(min=1)
    return (confusion.sum(1) / total).tolist(), (confusion.sum(0) / total).tolist()


def loss_does_not_fall(losses, pixels, criterion):
    """Whether a training loss is hardly better than that of the best scores that are the same at every pixel.

    Judged are the terms that are means over pixels; what the others would be depends on where the classes are.

    Args:
        losses: float (T,), the mean of each term of the training loss of an epoch, of the "out" of a model.
        pixels: int64 (C,), how often each class occurred; on the device of the criterion's class weights.
        criterion: `learning.losses.Criterion` of T terms.

    Returns:
        list of str
    """
    if not math.isfinite(sum(losses)):
        return [f"the training loss is {sum(losses)}: lower --lr_init and start again"]
    judged = [name for name in criterion.names if name in PIXELWISE]
    loss = sum(loss for name, loss in zip(criterion.names, losses, strict=True) if name in judged)
    constant = constant_loss(pixels, criterion)
    if loss < (1 - MARGIN) * constant or constant == 0:
        return []
    part = "" if len(judged) == len(losses) else f" of {' + '.join(judged)}"
    what = f"the training loss{part} {loss:.3f} is not clearly below {constant:.3f}, that of not looking at the images"
    return [f"{what}: if that lasts, change --lr_init and look at images/train_batch.png"]


def constant_loss(pixels, criterion):
    """float: mean loss of the best prediction that is the same at every pixel; 0 where at most one class occurs.

    Of the terms that are means over pixels. Exact for cross entropy, whose best scores are the logarithms of the (weighted)
    shares. The focal loss wants flatter ones: the best of some powers of the shares, within 2 % for gamma up to 5. For sums of
    them and for smoothed weighted labels it is a little too high. Arguments as for `loss_does_not_fall`.
    """
    pixels = torch.as_tensor(pixels)
    classes = pixels.nonzero().flatten()  # (K,)
    judged = torch.tensor([name in PIXELWISE for name in criterion.names])
    if len(classes) < 2 or not judged.any():
        return 0.0
    count = pixels[classes].cpu().double()

    def of_each_class(logits):
        scores = logits[None, :, None, None]
        # The training loss is that of both heads, where there are two.
        results = [criterion({"out": scores, "aux": scores}, target) for target in classes[:, None, None, None]]
        return [torch.stack(values).cpu().double()[:, judged] for values in zip(*results, strict=True)]  # (K, T) each

    totals = count[:, None] * of_each_class(torch.zeros(len(pixels), device=pixels.device))[1]
    shares = torch.zeros(len(pixels), dtype=torch.float64)
    shares[classes.cpu()] = (totals / totals.sum(0)).mean(1)
    smoothing = max(options.get("label_smoothing", 0.0) for options in criterion.options.values())
    scores = (
        ((1 - smoothing) * shares + smoothing / len(shares)).log().clamp(min=-100).float()
    )  # what never occurs gets 0
    sums = [of_each_class((power * scores).to(pixels.device))[0] for power in (1.0, 0.9, 0.8, 0.7)]
    return min(float((count @ of_each / totals.sum(0)).sum()) for of_each in sums)


def _listed(names):
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
