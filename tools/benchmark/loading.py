"""Loading and augmentation on one core: milliseconds per sample from the cache and from PNG, by stage, and of other loaders."""

import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

import torch
from PIL import Image

from helpers.labels import VOID
from learning.data import cache
from learning.data.augmentation import transforms
from learning.data.augmentation.sampling import SETS, Augmentation, draw_view
from learning.data.datasets.base import Dataset, Sample
from learning.data.datasets.statistics import dataset_statistics
from learning.data.loaders import LoaderConfig, TrainBatches
from learning.rng import VIEW, generator
from tools.benchmark import tutorial
from tools.benchmark.drawn_data import NUM_SCENES, open_workload_data
from tools.benchmark.measure import Deadline, Goal, JsonObject, format_table, interleave
from tools.benchmark.mixing_time import time_mixing
from tools.benchmark.settings import Settings, Workload

_CPU = torch.device("cpu")
_Result = TypeVar("_Result")

LOADERS = {
    "cached": "from the cache, in batches",
    "cached_single": "from the cache, in batches of 1",
    "png": "from PNG, in batches",
    "read": "from PNG to tensors only, image and label",
    "decode": "PNG decoding only, image and label",
    "tutorial": "the tutorial's loader, from PNG, in batches",
    "albumentations": "albumentations, without decoding",
}
_RATIOS = {
    "png_over_decode": "from PNG over decoding only",
    "tutorial_over_cached": "the tutorial's loader over the cache",
    "tutorial_over_png": "the tutorial's loader over PNG",
}


class LoaderRun(NamedTuple):
    """A function that loads a number of samples."""

    work: Callable[[], object]
    num_samples: int


def run(settings: Settings, folder: Path, deadline: Deadline) -> tuple[JsonObject, list[Goal]]:
    """Measure on one core and print tables."""
    workload = settings.workload
    data = open_workload_data(workload, folder, min(NUM_SCENES, workload.num_images), 1)
    data = replace(data, splits=data.splits | {"train": data.split("train")[:NUM_SCENES]})
    cached = cache.open_on_disk(folder / "cache", data, "train", dataset_statistics(data, "train").sizes)
    augmentation = build_augmentation(workload, data)
    with one_thread():
        runs = build_runs(data, cached, augmentation, workload.batch_size)
        if settings.as_tutorial:
            runs["tutorial"] = tutorial_run(data, augmentation, workload.batch_size)
        runs |= albumentations_run(data, cached, augmentation)
        taken = interleave({name: run.work for name, run in runs.items()}, settings.repeats, deadline)
        figures: JsonObject = {f"{name}_ms": 1000 * median(taken[name]) / run.num_samples for name, run in runs.items()}
        figures["parts_ms"] = time_stages(cached, data, augmentation, workload.batch_size, settings.repeats)
        if workload.batch_size > 1:
            batches = train_batches(data, cached, augmentation, workload.batch_size)
            figures |= time_mixing(*next(iter(batches.epoch(0))), data, settings.repeats)
    figures |= ratios(runs, taken)
    print_figures(figures, workload.batch_size)
    if not workload.is_full_size:
        return figures, []
    return figures, [
        Goal("a sample from the cache, one core", figures["cached_ms"], "<=", 6, "ms"),
        Goal("from PNG, over decoding only", figures["png_over_decode"], "<=", 1.2),
    ]


def build_augmentation(workload: Workload, data: Dataset) -> Augmentation:
    """The set of augmentations at the workload's sizes."""
    parameters: JsonObject = SETS[workload.augment]
    return Augmentation(workload.size or data.spec.SIZE, workload.crop_size or data.spec.CROP_SIZE, **parameters)


def ratios(runs: dict[str, LoaderRun], taken: dict[str, list[float]]) -> dict[str, float]:
    """Median ratios of the time per sample of two loaders in the same round."""
    found = {}
    for above, below in (("png", "decode"), ("tutorial", "cached"), ("tutorial", "png")):
        if above in runs:
            ratio = median(a / b for a, b in zip(taken[above], taken[below], strict=True))
            found[f"{above}_over_{below}"] = ratio * runs[below].num_samples / runs[above].num_samples
    return found


def print_figures(figures: JsonObject, batch_size: int) -> None:
    """Print the tables of the figures of `run`."""
    rows = [[title, figures[f"{name}_ms"]] for name, title in LOADERS.items() if f"{name}_ms" in figures]
    rows += [[title, figures[name]] for name, title in _RATIOS.items() if name in figures]
    print(format_table(["one core, per sample", "ms"], rows), end="\n\n")
    stages = figures["parts_ms"]
    rows = [*stages.items(), ["sum", sum(stages.values())]]
    print(format_table(["from the cache by stage, per sample", "ms"], rows), end="\n\n")
    rows = [[name, figures[f"{name}_ms"]] for name in ("cutmix", "classmix", "copyblob") if f"{name}_ms" in figures]
    if rows:
        print(format_table([f"one core, mixing a batch of {batch_size}", "ms"], rows))


@contextmanager
def one_thread() -> Generator[None, None, None]:
    """torch computes on one core inside the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train_batches(
    data: Dataset, pixels: cache.FilePixels | cache.BufferPixels, augmentation: Augmentation, batch_size: int
) -> TrainBatches:
    """Training batches on the CPU, loaded in this process."""
    return TrainBatches(pixels, LoaderConfig(data.spec.MEAN, data.spec.STD, _CPU), batch_size, augmentation, seed=0)


def build_runs(
    data: Dataset, cached: cache.BufferPixels, augmentation: Augmentation, batch_size: int
) -> dict[str, LoaderRun]:
    """Our loaders, and decoding only."""
    samples = data.split("train")
    files = cache.FilePixels(samples, data.decode)

    def in_batches(pixels: cache.FilePixels | cache.BufferPixels, size: int) -> LoaderRun:
        batches = train_batches(data, pixels, augmentation, size)
        epochs = count()
        return LoaderRun(lambda: exhaust(batches.epoch(next(epochs))), len(batches) * size)

    return {
        "cached": in_batches(cached, batch_size),
        "cached_single": in_batches(cached, 1),
        "png": in_batches(files, batch_size),
        "read": LoaderRun(lambda: read_all(files), len(samples)),
        "decode": LoaderRun(lambda: decode_all(samples), len(samples)),
    }


def read_all(files: cache.FilePixels) -> None:
    """Read every image and label."""
    for index in range(len(files)):
        files.image(index)
        files.label(index)


def decode_all(samples: Iterable[Sample]) -> None:
    """Decode every image and label with Pillow."""
    for sample in samples:
        for path in (sample.image, sample.label):
            assert path
            with Image.open(path) as image:
                image.load()


def exhaust(iterable: Iterable[object]) -> None:
    """Iterate to the end."""
    for _ in iterable:
        pass


def tutorial_run(data: Dataset, augmentation: Augmentation, batch_size: int) -> LoaderRun:
    """The tutorial's loader, in this process."""
    samples = data.split("train")
    views = tutorial.Views(
        samples, data.decode, augmentation.train_size, augmentation.crop_size, data.spec.MEAN, data.spec.STD
    )
    batch_size = min(batch_size, len(samples))
    loader = tutorial.loader(views, batch_size, num_workers=0, pin_memory=False)
    return LoaderRun(lambda: exhaust(loader), len(loader) * batch_size)


def albumentations_run(data: Dataset, cached: cache.BufferPixels, augmentation: Augmentation) -> dict[str, LoaderRun]:
    """The same augmentations by albumentations on decoded pixels; {} if it is not installed."""
    try:
        # pyrefly: ignore[missing-import]  # optional, not among the requirements
        import albumentations

        # pyrefly: ignore[missing-import]  # installed with albumentations
        import cv2
    except ImportError:
        return {}
    cv2.setNumThreads(1)
    height, width = augmentation.crop_size
    low, high = augmentation.scale_range
    jitter = augmentation.jitter
    transform = albumentations.Compose(
        [
            albumentations.RandomScale((low - 1, high - 1), p=1),
            albumentations.PadIfNeeded(height, width, fill_mask=VOID),
            albumentations.RandomCrop(height, width),
            albumentations.HorizontalFlip(),
            albumentations.ColorJitter(jitter, jitter, jitter, jitter, p=1),
            albumentations.Normalize(data.spec.MEAN, data.spec.STD),
        ]
    )

    def transform_all() -> None:
        for index in range(len(cached)):
            transform(image=cached.image(index).permute(1, 2, 0).numpy(), mask=cached.label(index).numpy())

    return {"albumentations": LoaderRun(transform_all, len(cached))}


def time_stages(
    pixels: cache.BufferPixels, data: Dataset, augmentation: Augmentation, batch_size: int, repeats: int
) -> dict[str, float]:
    """Median milliseconds per sample of each stage from the cache to a batch."""
    number = min(batch_size, len(pixels))
    rounds = [time_batch(pixels, data, augmentation, number, turn) for turn in range(repeats + 1)]
    return {stage: median(spent[stage] for spent in rounds[1:]) for stage in rounds[0]}  # the first is a warm-up


class StageClock:
    """Sums up the milliseconds per sample of each stage."""

    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples
        self.spent: dict[str, float] = defaultdict(float)

    def time(self, stage: str, work: Callable[..., _Result], *arguments: object) -> _Result:
        """Call `work` and add its duration to a stage."""
        start = time.perf_counter()
        result = work(*arguments)
        self.spent[stage] += 1000 * (time.perf_counter() - start) / self.num_samples
        return result


def time_batch(
    pixels: cache.BufferPixels, data: Dataset, augmentation: Augmentation, number: int, turn: int
) -> dict[str, float]:
    """Milliseconds per sample of each stage for one batch of `number` samples; `turn` is the epoch of the views."""
    mean = data.spec.MEAN
    size = augmentation.crop_size
    clock = StageClock(number)

    def draw(index: int, source_size: tuple[int, int]) -> transforms.View:
        return draw_view(generator(0, VIEW, turn, index), source_size, augmentation)

    def view_label(label: torch.Tensor, view: transforms.View) -> torch.Tensor:
        label = transforms.resample_label(transforms.cut_window(label, view, VOID), size)
        return label.flip(1) if view.flip else label

    images = []
    labels = []
    views = []
    for index in range(number):
        image = pixels.image(index)
        label = pixels.label(index)
        view = clock.time("draw the view", draw, index, label.shape)
        seen, _ = clock.time("image: crop, resample, flip", transforms.view_sample, image, None, view, size, mean)
        images.append(seen)
        labels.append(clock.time("label: crop, resample, flip", view_label, label, view))
        views.append(view)
    batch = clock.time("stack", transforms.stack, images), clock.time("stack", torch.stack, labels)
    clock.time("color, normalize", transforms.color_and_normalize, *batch, views, mean, data.spec.STD)
    return clock.spent
