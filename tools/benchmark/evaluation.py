"""Scoring pairs of labels and predictions: evaluate.py beside cityscapesScripts, in the same run."""

import math
from contextlib import contextmanager
from importlib import import_module
from statistics import median

import numpy as np

from helpers.images import read_instances, read_label, write_png
from helpers.labels import CITYSCAPES
from helpers.output import replacing_folders
from helpers.scoring import counting, scores
from learning.data.datasets import open_dataset
from minicity.layout import IMAGES, LABELS, paths
from tools.benchmark.material import NUM_SCENES, PATTERN, drawn, link
from tools.benchmark.measure import Goal, interleave, progress, table

NUM_INSTANCES = 60
_PREDICTIONS = "results_val"
_OFFICIAL = "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling"
_KEYS = {
    "class_iou": "classScores",
    "class_niou": "classInstScores",
    "category_iou": "categoryScores",
    "category_niou": "categoryInstScores",
}


def run(settings, folder, deadline):
    """Measure, print a table, and return (figures, goals).

    Args:
        settings: options of the benchmark.
        folder: working folder.
        deadline: Deadline.
    """
    size = settings.size or (1024, 2048)
    root, predictions = make_pairs(folder, size, settings.num_pairs)
    dataset = open_dataset("minicity", root)
    samples, found = dataset.split("val"), {}

    def ours():
        confusions, matches = counting.count_all(samples, predictions, dataset, with_instances=True)
        confusion = sum(confusions)
        found["ours"] = scores.evaluate(confusion, matches, dataset.labels), confusion

    module = official_module()
    variants = {"ours": ours}
    if module:
        truths = [str(sample.label) for sample in samples]

        def official():
            found["official"] = module.evaluateImgLists(list(map(str, predictions)), truths, module.args)

        variants["official"] = official
    with in1d():
        taken = interleave(variants, settings.repeats, deadline)
    figures = {f"{name}_ms": 1000 * median(times) / len(samples) for name, times in taken.items()}
    figures |= {"pairs": len(samples), "instances": count_instances(samples)}
    goals = []
    if module:
        ratio = median(a / b for a, b in zip(taken["official"], taken["ours"], strict=True))
        difference = largest_difference(*found["ours"], found["official"])
        figures |= {"official_over_ours": ratio, "largest_difference": difference}
        figures["official_compiled"] = bool(module.CSUPPORT)
        goals = [Goal("largest difference of a score", difference, "<=", 1e-12)]
        if tuple(size) == (1024, 2048):
            goals.insert(0, Goal("evaluation, cityscapesScripts over ours", ratio, ">=", 5))
    print_figures(figures, size)
    return figures, goals


def print_figures(figures, size):
    """Print the table of what `run` measured on images of a size."""
    rows = [["evaluate.py", figures["ours_ms"]]]
    if "official_ms" in figures:
        helper = "its compiled helper" if figures["official_compiled"] else "without its compiled helper"
        rows += [[f"cityscapesScripts, {helper}", figures["official_ms"]], ["ratio", figures["official_over_ours"]]]
        rows += [["largest difference of a score", f"{figures['largest_difference']:.1e}"]]
    title = f"{figures['pairs']} pairs of {size[0]}x{size[1]}, {figures['instances']:.0f} instances, a pair"
    print(table([title, "ms"], rows))
    if len(rows) == 1:
        print("cityscapesScripts is not installed, so there is nothing to compare with (pip install cityscapesscripts)")


def make_pairs(folder, size, num_pairs):
    """Labels with `NUM_INSTANCES` instances each, and predictions that are wrong here and there.

    Returns:
        (Path of a MiniCity folder whose val split they are, list of Path of the predictions)
    """
    num_scenes = min(NUM_SCENES, num_pairs)
    root = folder / f"pairs-{size[0]}x{size[1]}-{num_pairs}"
    names = [PATTERN.format(index) for index in range(num_pairs)]
    if not root.is_dir():
        source = drawn(folder, size, num_scenes)
        progress(f"preparing {num_pairs} pairs")
        with replacing_folders(root) as (path,):
            for part in (path / IMAGES / "val", path / LABELS / "val", path / _PREDICTIONS):
                part.mkdir(parents=True)
            for index, name in enumerate(names):
                make_pair(source, path, names[index % num_scenes], name)
    return root, [prediction_path(root, name) for name in names]


def make_pair(source, root, scene, name):
    """One pair of `make_pairs` from a drawn scene; links to the first pair of the same scene where there is one."""
    drawn_paths, first, new = paths(source, "train", scene), paths(root, "val", scene), paths(root, "val", name)
    link(drawn_paths[0], new[0])
    link(drawn_paths[1], new[1])
    if name == scene:
        rng = np.random.default_rng(list(name.encode()))
        write_png(new[2], exactly(read_instances(drawn_paths[2]), NUM_INSTANCES))
        write_png(prediction_path(root, name), predicted(read_label(drawn_paths[1]), rng))
    else:
        link(first[2], new[2])
        link(prediction_path(root, scene), prediction_path(root, name))


def prediction_path(root, name):
    """Path of the prediction of an image."""
    return root / _PREDICTIONS / f"{name}_leftImg8bit.png"


def exactly(instances, count):
    """An instance map with exactly `count` scored instances: the smallest become regions, or the largest are cut in two.

    Args:
        instances: uint16 (H, W), label id * 1000 + number for an instance.
        count: number of instances wanted; fewer remain where there are not enough pixels.

    Returns:
        uint16 (H, W)
    """
    scored = [row.id for row in CITYSCAPES.rows if row.has_instances and not row.ignored]
    result = instances.copy()
    values, pixels = np.unique(result[result >= 1000], return_counts=True)
    sizes = {int(value): int(number) for value, number in zip(values, pixels, strict=True) if value // 1000 in scored}
    for value in sorted(sizes, key=sizes.get)[: max(0, len(sizes) - count)]:
        result[result == value] = value // 1000
        del sizes[value]
    while 0 < len(sizes) < count and max(sizes.values()) > 1:
        value = max(sizes, key=sizes.get)
        label = value // 1000
        new = next(number for number in range(label * 1000 + 1, label * 1000 + 1000) if number not in sizes)
        places = np.flatnonzero(result == value)
        result.flat[places[len(places) // 2 :]] = new
        sizes[value], sizes[new] = len(places) // 2, len(places) - len(places) // 2
    return result


def count_instances(samples):
    """float: mean number of scored instances of an image."""
    scored = [row.id for row in CITYSCAPES.rows if row.has_instances and not row.ignored]
    different = {sample.instances.stat().st_ino: sample.instances for sample in samples}.values()
    numbers = [np.unique(read_instances(path)) for path in different]
    return float(np.mean([np.isin(values[values >= 1000] // 1000, scored).sum() for values in numbers]))


def predicted(truth, rng, num_blocks=40):
    """What a network might say of a label map: smooth areas, edges a little off, and whole blocks of wrong classes.

    Args:
        truth: uint8 (H, W) of label ids.
        rng: numpy.random.Generator.

    Returns:
        uint8 (H, W) of label ids, classes only
    """
    height, width = truth.shape
    classes = [row.id for row in CITYSCAPES.classes]
    result = np.roll(truth, (height // 256, width // 256), (0, 1))
    result = np.where(np.isin(result, classes), result, classes[0]).astype(np.uint8)
    for _ in range(num_blocks):
        top, left = rng.integers(height), rng.integers(width)
        bottom, right = top + rng.integers(1, height // 8 + 1), left + rng.integers(1, width // 8 + 1)
        result[top:bottom, left:right] = rng.choice(classes)
    return result


def official_module():
    """The evaluation of cityscapesScripts, told to be quiet; None where it is not installed."""
    try:
        module = import_module(_OFFICIAL)
    except ImportError:
        return None
    module.args.quiet, module.args.JSONOutput = True, False
    return module


@contextmanager
def in1d():
    """The name of numpy's `isin` that cityscapesScripts calls and newer versions of numpy lack."""
    missing = not hasattr(np, "in1d")
    if missing:
        np.in1d = lambda first, second, **options: np.isin(first, second, **options)
    try:
        yield
    finally:
        if missing:
            del np.in1d


def largest_difference(ours, confusion, official):
    """float: the largest difference of any score, inf where one is a number and the other is not, or pixels differ.

    Args:
        ours: what `scores.evaluate` returns.
        confusion: int64 (n, n).
        official: the evaluation of cityscapesScripts.
    """
    if confusion.tolist() != official["confMatrix"]:
        return math.inf
    differences = [0.0]
    for name, key in _KEYS.items():
        for row, theirs in official[key].items():
            value = ours[name].get(row, math.nan)
            if math.isnan(value) != math.isnan(theirs):
                return math.inf
            differences += [] if math.isnan(theirs) else [abs(value - theirs)]
    return max(differences)
