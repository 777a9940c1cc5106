"""Prediction: images a second at a single scale and with --mst, ours beside the tutorial's way, with the same weights."""

from statistics import median

from learning.inference.predict import MST_SCALES, InferenceSettings, predict_images
from learning.run import build, setup
from tools.benchmark import tutorial
from tools.benchmark.limits import peak_gib, reset_peak
from tools.benchmark.loading import synchronize
from tools.benchmark.material import baseline_words, open_data
from tools.benchmark.measure import Goal, at_full_size, interleave, progress, table
from tools.benchmark.variants import as_shipped

_BATCH = 4  # at a single scale, as in the tutorial's command; --mst takes one image at a time
_KINDS = {"single": ((1.0,), False, "single scale"), "mst": (MST_SCALES, True, "--mst, 8 scales and mirrors")}


def run(settings, folder, deadline):
    """Measure, print a table, and return (figures, goals).

    Args:
        settings: options of the benchmark.
        folder: working folder.
        deadline: Deadline.
    """
    data = open_data(settings, folder, 1, _BATCH)
    args, data, _, _ = setup.setup_run(baseline_words(settings, folder, data))
    parts = build.Parts(args, data, {})
    progress("reading the images")
    whole = next(iter(parts.images("val")))
    theirs = same_network(parts, args, len(data.labels.classes))
    figures, rows, result = {"device": str(parts.device)}, [], []
    for kind, (scales, mirror, words) in _KINDS.items():
        if kind == "mst" and deadline.passed:
            print(f"{words}: left out, no time left")
            continue
        number = min(_BATCH, len(whole.samples)) if kind == "single" else 1
        figures |= time_kind(kind, parts, theirs, first_of(whole, number), scales, mirror, settings.repeats, deadline)
        ours, other, ratio, same = (
            figures[f"{kind}_{name}"]
            for name in ("images_per_second", "tutorial_images_per_second", "over_tutorial", "same_pixels")
        )
        rows.append([words, ours, other, ratio, figures[f"{kind}_peak_gib"], 100 * same])
    size = "x".join(map(str, args.test_size))
    print(f"{settings.model}, {size}, on {parts.device}; from images on the device to classes in memory")
    print(table(["predict, images/s", "ours", "tutorial", "ratio", "peak GiB", "same pixels %"], rows))
    if parts.device.type == "cuda" and at_full_size(settings) and "mst_over_tutorial" in figures:
        result.append(Goal("--mst, ours over the tutorial's way", figures["mst_over_tutorial"], ">=", 5))
    return figures, result


def same_network(parts, args, num_classes):
    """The tutorial's network with the weights of ours, in evaluation mode."""
    network = tutorial.build_network(args.model, num_classes, parts.device)
    network.load_state_dict(parts.model.state_dict())
    return network.eval()


def first_of(batch, number):
    """The first images of an EvalBatch."""
    return batch._replace(images=batch.images[:number], sizes=batch.sizes[:number], samples=batch.samples[:number])


def time_kind(kind, parts, theirs, batch, scales, mirror, repeats, deadline):
    """Time one kind of prediction, ours and the tutorial's way in turn.

    Returns:
        dict: images/s of both, ratio, our peak memory in GiB on a CUDA GPU, share of pixels that agree; keys begin with `kind`.
    """
    number, found = len(batch.samples), {}
    alone = [batch.images[index : index + 1].contiguous() for index in range(number)]

    def ours():
        inference = InferenceSettings(scales, mirror, parts.precision.autocast)
        found["ours"] = [classes for _, classes in predict_images(parts.network, [batch], inference)]

    def tutorials():
        with as_shipped():
            found["tutorial"] = [tutorial.predict(theirs, image, scales, mirror) for image in alone]
        synchronize(parts.device)

    peak = None
    if parts.device.type == "cuda":
        occupied = reset_peak()
        ours()
        peak = peak_gib(parts.device, occupied)
    taken = interleave({f"{kind}, ours": ours, f"{kind}, tutorial": tutorials}, repeats, deadline)
    mine, others = taken.values()
    same = [
        (classes == other).mean()
        for classes, other in zip(found["ours"], found["tutorial"], strict=True)
        if classes.shape == other.shape
    ]
    return {
        f"{kind}_images_per_second": number / median(mine),
        f"{kind}_tutorial_images_per_second": number / median(others),
        f"{kind}_over_tutorial": median(b / a for a, b in zip(mine, others, strict=True)),
        f"{kind}_peak_gib": peak,
        f"{kind}_same_pixels": float(sum(same) / len(same)) if same else 0.0,
    }
