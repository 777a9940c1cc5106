"""The data's way on one core: milliseconds a sample from the cache and from PNG, part by part, beside other ways."""

import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from statistics import median

import torch
from PIL import Image

from helpers.labels import VOID
from learning.data import cache
from learning.data.augmentation import mixing, transforms
from learning.data.augmentation.sampling import SETS, Augmentation, draw_view
from learning.data.datasets.blobs import rule_ids
from learning.data.datasets.statistics import dataset_statistics
from learning.data.loaders import LoaderConfig, TrainBatches
from learning.rng import CLASSMIX, COPYBLOB, CUTMIX, VIEW, generator
from tools.benchmark import tutorial
from tools.benchmark.material import NUM_SCENES, open_data
from tools.benchmark.measure import Goal, at_full_size, interleave, table

_CPU = torch.device("cpu")
_JITTER = 0.3


def run(settings, folder, deadline):
    """Measure on one core, print a table, and return (figures, goals).

    Args:
        settings: options of the benchmark.
        folder: working folder.
        deadline: Deadline.
    """
    data = open_data(settings, folder, min(NUM_SCENES, settings.num_images), 1)
    data = replace(data, splits=data.splits | {"train": data.split("train")[:NUM_SCENES]})
    sizes = dataset_statistics(data, "train").sizes
    cached = cache.open_disk(folder / "cache", data, "train", sizes)
    files = cache.Files(data.split("train"), data.decode)
    train_size, crop_size = settings.size or data.spec.SIZE, settings.crop_size or data.spec.CROP_SIZE
    augmentation = Augmentation(tuple(train_size), tuple(crop_size), **SETS[settings.augment])
    with one_thread():
        ways = build_ways(settings, data, cached, files, augmentation)
        taken = interleave({name: work for name, (work, _) in ways.items()}, settings.repeats, deadline)
        figures = {f"{name}_ms": 1000 * median(taken[name]) / number for name, (_, number) in ways.items()}
        parts = time_parts(cached, data, augmentation, settings.batch_size, settings.repeats)
        figures["parts_ms"] = parts
        figures |= time_mixing(cached, data, augmentation, settings)

    for above, below in (("png", "decode"), ("tutorial", "cached"), ("tutorial", "png")):
        if above in ways:
            ratio = median(a / b for a, b in zip(taken[above], taken[below], strict=True))
            figures[f"{above}_over_{below}"] = ratio * ways[below][1] / ways[above][1]
    print_figures(figures, settings)
    if not at_full_size(settings):
        return figures, []
    return figures, [
        Goal("a sample from the cache, one core", figures["cached_ms"], "<=", 6, "ms"),
        Goal("from PNG, over the decoding alone", figures["png_over_decode"], "<=", 1.2),
    ]


def print_figures(figures, settings):
    """Print the tables of what `run` measured."""
    rows = [[words, figures[f"{name}_ms"]] for name, words in WAYS.items() if f"{name}_ms" in figures]
    rows += [[words, figures[name]] for name, words in _RATIOS.items() if name in figures]
    print(table(["one core, a sample", "ms"], rows), end="\n\n")
    parts = figures["parts_ms"]
    rows = [*parts.items(), ["sum", sum(parts.values())]]
    print(table(["the cache's path in parts, a sample", "ms"], rows), end="\n\n")
    rows = [[name, figures[f"{name}_ms"]] for name in ("cutmix", "classmix", "copyblob") if f"{name}_ms" in figures]
    if rows:
        print(table([f"one core, mixing a batch of {settings.batch_size}", "ms"], rows))


WAYS = {
    "cached": "from the cache, in batches",
    "cached_single": "from the cache, in batches of 1",
    "png": "from PNG, in batches",
    "read": "from PNG to tensors alone, image and label",
    "decode": "PNG decoding alone, image and label",
    "tutorial": "the tutorial's way, from PNG, in batches",
    "albumentations": "albumentations, without decoding",
}
_RATIOS = {
    "png_over_decode": "PNG path over decoding alone",
    "tutorial_over_cached": "tutorial's way over the cache's path",
    "tutorial_over_png": "tutorial's way over the PNG path",
}


@contextmanager
def one_thread():
    """torch computes on one core inside the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def build_ways(settings, data, cached, files, augmentation):
    """dict of name -> (function that makes a number of samples, that number)"""
    mean, std, samples = data.spec.MEAN, data.spec.STD, data.split("train")

    def batches_of(pixels, batch_size):
        batches, epochs = TrainBatches(pixels, LoaderConfig(mean, std, _CPU), batch_size, augmentation, seed=0), count()
        return lambda: exhaust(batches.epoch(next(epochs))), len(batches) * batch_size

    def decode():
        for sample in samples:
            for path in (sample.image, sample.label):
                with Image.open(path) as image:
                    image.load()

    def read():
        for index in range(len(files)):
            files.image(index), files.label(index)

    ways = {
        "cached": batches_of(cached, settings.batch_size),
        "cached_single": batches_of(cached, 1),
        "png": batches_of(files, settings.batch_size),
        "read": (read, len(samples)),
        "decode": (decode, len(samples)),
    }
    if settings.as_tutorial:
        sizes = augmentation.train_size, augmentation.crop_size
        views = tutorial.Views(samples, data.decode, *sizes, mean, std, _JITTER)
        batch_size = min(settings.batch_size, len(samples))
        loader = tutorial.loader(views, batch_size, num_workers=0, pin_memory=False)
        ways["tutorial"] = (lambda: exhaust(loader), len(loader) * batch_size)
    transform = albumentations_transform(augmentation, mean, std)
    if transform:
        ways["albumentations"] = (lambda: transform_all(transform, cached), len(cached))
    return ways


def transform_all(transform, pixels):
    """Apply a transform of albumentations to every sample of `learning.data.cache.Decoded`."""
    for index in range(len(pixels)):
        transform(image=pixels.image(index).permute(1, 2, 0).numpy(), mask=pixels.label(index).numpy())


def exhaust(batches):
    """Go through an iterable."""
    for _ in batches:
        pass


def albumentations_transform(augmentation, mean, std):
    """The same augmentations by albumentations; None where it is not installed."""
    try:
        import albumentations
        import cv2
    except ImportError:
        return None
    cv2.setNumThreads(1)
    height, width = augmentation.crop_size
    low, high = augmentation.scale_range
    jitter = augmentation.jitter
    return albumentations.Compose(
        [
            albumentations.RandomScale((low - 1, high - 1), p=1),
            albumentations.PadIfNeeded(height, width, fill_mask=VOID),
            albumentations.RandomCrop(height, width),
            albumentations.HorizontalFlip(),
            albumentations.ColorJitter(jitter, jitter, jitter, jitter, p=1),
            albumentations.Normalize(mean, std),
        ]
    )


def time_parts(pixels, data, augmentation, batch_size, repeats):
    """Time the parts of a sample one by one.

    Returns:
        dict of part -> median ms a sample
    """
    number = min(batch_size, len(pixels))
    rounds = [time_batch(pixels, data, augmentation, number, turn) for turn in range(repeats + 1)]
    return {part: median(spent[part] for spent in rounds[1:]) for part in rounds[0]}  # the first warms up


def time_batch(pixels, data, augmentation, number, turn):
    """dict of part -> ms a sample of one batch of `number` samples; `turn` decides what is drawn."""
    mean, std, size = data.spec.MEAN, data.spec.STD, augmentation.crop_size
    spent = defaultdict(float)

    def timed(part, work, *arguments):
        began = time.perf_counter()
        result = work(*arguments)
        spent[part] += 1000 * (time.perf_counter() - began) / number
        return result

    def draw(index, source_size):
        return draw_view(generator(0, VIEW, turn, index), source_size, augmentation)

    def see_label(label, view):
        label = transforms.resample_label(transforms.cut_window(label, view, VOID), size)
        return label.flip(1) if view.flip else label

    images, labels, views = [], [], []
    for index in range(number):
        image, label = pixels.image(index), pixels.label(index)
        views.append(timed("draw the view", draw, index, label.shape))
        seen, _ = timed("image: cut, resample, mirror", transforms.view_sample, image, None, views[-1], size, mean)
        images.append(seen)
        labels.append(timed("label: cut, resample, mirror", see_label, label, views[-1]))
    batch = timed("stack", transforms.stack, images), timed("stack", torch.stack, labels)
    timed("color, normalize", transforms.color_and_normalize, *batch, views, mean, std)
    return spent


def time_mixing(pixels, data, augmentation, settings):
    """Time the mixers on a batch.

    Returns:
        dict of "cutmix_ms", "classmix_ms" and "copyblob_ms", median ms a batch; empty for batches of one, which cannot be mixed.
    """
    if settings.batch_size < 2:
        return {}
    feed = LoaderConfig(data.spec.MEAN, data.spec.STD, _CPU)
    batches = TrainBatches(pixels, feed, settings.batch_size, augmentation, seed=0)
    return mixing_ms(*next(batches.epoch(0)), data, settings.repeats)


def mixing_ms(images, labels, data, repeats):
    """dict of "cutmix_ms", "classmix_ms" and "copyblob_ms": median ms of a batch, which may lie on a GPU."""
    rules, num_classes = rule_ids(data.spec.BLOB_RULES, data.labels), len(data.labels.classes)
    works = {
        "cutmix": lambda turn: mixing.cutmix(images, labels, generator(0, CUTMIX, 0, turn)),
        "classmix": lambda turn: mixing.classmix(images, labels, num_classes, generator(0, CLASSMIX, 0, turn)),
        "copyblob": lambda turn: mixing.copyblob(images, labels, rules, generator(0, COPYBLOB, 0, turn)),
    }
    figures = {}
    for name, work in works.items():
        taken = []
        for turn in range(repeats + 1):
            synchronize(images.device)
            began = time.perf_counter()
            work(turn)
            synchronize(images.device)
            taken.append(1000 * (time.perf_counter() - began))
        figures[f"{name}_ms"] = median(taken[1:])
    return figures


def synchronize(device):
    """Wait until a device has done what it was told; the CPU always has."""
    if device.type != "cpu":
        torch.accelerator.synchronize()
