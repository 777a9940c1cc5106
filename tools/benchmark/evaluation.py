"""Scoring of label maps and predictions: evaluate.py and cityscapesScripts."""

import math
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import ModuleType

import numpy as np

from helpers.images import read_instances, read_label, write_png
from helpers.labels import CITYSCAPES
from helpers.output import replacing_folders
from helpers.scoring import counting, scores
from learning.data.datasets import open_dataset
from learning.data.datasets.base import Dataset, Sample
from minicity.layout import IMAGES, LABELS, paths
from tools.benchmark.drawn_data import NUM_SCENES, PATTERN, draw_scenes, link
from tools.benchmark.measure import Deadline, Goal, JsonObject, KeepResult, format_table, interleave, progress
from tools.benchmark.settings import FULL_SIZE, Settings

NUM_INSTANCES = 60
_PREDICTIONS = "results_val"
_OFFICIAL_KEYS = {
    "class_iou": "classScores",
    "class_niou": "classInstScores",
    "category_iou": "categoryScores",
    "category_niou": "categoryInstScores",
}
_SCORED_IDS = [row.id for row in CITYSCAPES.rows if row.has_instances and not row.ignored]  # classes with instances


def run(settings: Settings, folder: Path, deadline: Deadline) -> tuple[JsonObject, list[Goal]]:
    """Measure and print a table."""
    size = settings.workload.size or FULL_SIZE
    root, predictions = make_pairs(folder, size, settings.num_pairs)
    dataset = open_dataset("minicity", root)
    samples = dataset.split("val")
    ours = KeepResult(lambda: evaluate(samples, predictions, dataset))
    variants: dict[str, Callable[[], None]] = {"ours": ours}
    module = official_module()
    official: KeepResult[JsonObject] | None = None
    if module:
        truths = [str(sample.label) for sample in samples]
        official = KeepResult(lambda: module.evaluateImgLists(list(map(str, predictions)), truths, module.args))
        variants["official"] = official
    with numpy_in1d():
        taken = interleave(variants, settings.repeats, deadline)
    figures: JsonObject = {f"{name}_ms": 1000 * median(times) / len(samples) for name, times in taken.items()}
    figures |= {"pairs": len(samples), "instances": count_instances(samples)}
    goals = []
    if module and official:
        ratio = median(a / b for a, b in zip(taken["official"], taken["ours"], strict=True))
        difference = largest_difference(*ours.result, official.result)
        figures |= {"official_over_ours": ratio, "largest_difference": difference}
        figures["official_compiled"] = bool(module.CSUPPORT)
        if size == FULL_SIZE:
            goals.append(Goal("evaluation, cityscapesScripts over ours", ratio, ">=", 5))
        goals.append(Goal("largest difference of a score", difference, "<=", 1e-12))
    print_figures(figures, size)
    return figures, goals


def evaluate(samples: Sequence[Sample], predictions: Sequence[Path], dataset: Dataset) -> tuple[JsonObject, np.ndarray]:
    """Our scores, and the confusion matrix over label ids."""
    confusions, matches = counting.count_all(samples, predictions, dataset, with_instances=True)
    confusion = np.sum(confusions, axis=0)
    return dict(scores.evaluate(confusion, matches, dataset.labels)), confusion


def print_figures(figures: JsonObject, size: tuple[int, int]) -> None:
    """Print the table of the figures of `run`."""
    rows = [["evaluate.py", figures["ours_ms"]]]
    if "official_ms" in figures:
        helper = "its compiled helper" if figures["official_compiled"] else "without its compiled helper"
        rows += [[f"cityscapesScripts, {helper}", figures["official_ms"]], ["ratio", figures["official_over_ours"]]]
        rows += [["largest difference of a score", f"{figures['largest_difference']:.1e}"]]
    title = f"{figures['pairs']} pairs of {size[0]}x{size[1]}, {figures['instances']:.0f} instances, per pair"
    print(format_table([title, "ms"], rows))
    if len(rows) == 1:
        print("cityscapesScripts is not installed, so there is nothing to compare with (pip install cityscapesscripts)")


def make_pairs(folder: Path, size: tuple[int, int], num_pairs: int) -> tuple[Path, list[Path]]:
    """Labels with `NUM_INSTANCES` instances each, and predictions that are partly wrong.

    Returns:
        a MiniCity folder with the labels in its val split, and the files of the predictions.
    """
    num_scenes = min(NUM_SCENES, num_pairs)
    root = folder / f"pairs-{size[0]}x{size[1]}-{num_pairs}"
    names = [PATTERN.format(index) for index in range(num_pairs)]
    if not root.is_dir():
        source = draw_scenes(folder, size, num_scenes)
        progress(f"preparing {num_pairs} pairs")
        with replacing_folders(root) as (path,):
            for part in (path / IMAGES / "val", path / LABELS / "val", path / _PREDICTIONS):
                part.mkdir(parents=True)
            for index, name in enumerate(names):
                make_pair(source, path, names[index % num_scenes], name)
    return root, [prediction_path(root, name) for name in names]


def make_pair(source: Path, root: Path, scene: str, name: str) -> None:
    """One pair of `make_pairs` from a drawn scene; later pairs of the same scene are links to the first one."""
    image, label, instances = paths(source, "train", scene)
    first = paths(root, "val", scene)
    new = paths(root, "val", name)
    link(image, new[0])
    link(label, new[1])
    if name == scene:
        rng = np.random.default_rng(list(name.encode()))
        write_png(new[2], with_instances(read_instances(instances), NUM_INSTANCES))
        write_png(prediction_path(root, name), imperfect_prediction(read_label(label), rng))
    else:
        link(first[2], new[2])
        link(prediction_path(root, scene), prediction_path(root, name))


def prediction_path(root: Path, name: str) -> Path:
    """The prediction of an image."""
    return root / _PREDICTIONS / f"{name}_leftImg8bit.png"


def with_instances(instances: np.ndarray, count: int) -> np.ndarray:
    """An instance map with `count` scored instances: the smallest become regions, or the largest are cut in two.

    Args:
        instances: uint16 (H, W), label id * 1000 + number for an instance.
        count: fewer instances remain if there are not enough pixels.

    Returns:
        uint16 (H, W)
    """
    result = instances.copy()
    values, pixels = np.unique(result[result >= 1000], return_counts=True)
    sizes = {int(value): int(number) for value, number in zip(values, pixels, strict=True)}
    sizes = {value: number for value, number in sizes.items() if value // 1000 in _SCORED_IDS}
    for value in sorted(sizes, key=lambda value: sizes[value])[: max(0, len(sizes) - count)]:
        result[result == value] = value // 1000
        del sizes[value]
    while 0 < len(sizes) < count and max(sizes.values()) > 1:
        value = max(sizes, key=lambda value: sizes[value])
        base = value // 1000 * 1000
        new = next(number for number in range(base + 1, base + 1000) if number not in sizes)
        places = np.flatnonzero(result == value)
        half = len(places) // 2
        result.flat[places[half:]] = new
        sizes[value] = half
        sizes[new] = len(places) - half
    return result


def count_instances(samples: Iterable[Sample]) -> float:
    """Mean number of scored instances per image; links to the same file count once."""
    files = {sample.instances.stat().st_ino: sample.instances for sample in samples if sample.instances}
    values = [np.unique(read_instances(path)) for path in files.values()]
    return float(np.mean([np.isin(found[found >= 1000] // 1000, _SCORED_IDS).sum() for found in values]))


def imperfect_prediction(truth: np.ndarray, rng: np.random.Generator, num_blocks: int = 40) -> np.ndarray:
    """A realistic prediction: smooth areas, slightly shifted edges, and blocks of wrong classes.

    Args:
        truth: uint8 (H, W) of label ids.

    Returns:
        uint8 (H, W) of label ids of classes.
    """
    height, width = truth.shape
    classes = [row.id for row in CITYSCAPES.classes]
    result = np.roll(truth, (height // 256, width // 256), (0, 1))
    result = np.where(np.isin(result, classes), result, classes[0]).astype(np.uint8)
    for _ in range(num_blocks):
        top = rng.integers(height)
        left = rng.integers(width)
        bottom = top + rng.integers(1, height // 8 + 1)
        right = left + rng.integers(1, width // 8 + 1)
        result[top:bottom, left:right] = rng.choice(classes)
    return result


def official_module() -> ModuleType | None:
    """The evaluation of cityscapesScripts without its output; None if it is not installed."""
    try:
        from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as module
    except ImportError:
        return None
    vars(module.args).update(quiet=True, JSONOutput=False)
    return module


@contextmanager
def numpy_in1d() -> Generator[None, None, None]:
    """Inside the block numpy has its old function `in1d`, which cityscapesScripts calls."""
    names = vars(np)
    missing = "in1d" not in names
    if missing:
        names["in1d"] = lambda first, second, **options: np.isin(first, second, **options)
    try:
        yield
    finally:
        if missing:
            del names["in1d"]


def largest_difference(ours: JsonObject, confusion: np.ndarray, official: JsonObject) -> float:
    """The largest difference of any score; infinity if only one of them is NaN or the confusion matrices differ.

    Args:
        ours: the result of `scores.evaluate`.
        confusion: int64 (n, n).
        official: the result of cityscapesScripts.
    """
    if confusion.tolist() != official["confMatrix"]:
        return math.inf
    largest = 0.0
    for name, key in _OFFICIAL_KEYS.items():
        for row, theirs in official[key].items():
            value = ours[name].get(row, math.nan)
            if math.isnan(value) != math.isnan(theirs):
                return math.inf
            if not math.isnan(theirs):
                largest = max(largest, abs(value - theirs))
    return largest
