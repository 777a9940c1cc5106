"""Batches from files: independent of the number of workers, complete, in order; bad files; the end of workers."""

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import make_camvid, save

import options
from helpers.errors import InputError
from helpers.images import read_image, read_label
from helpers.labels import VOID
from learning import distributed
from learning.data.augmentation.sampling import Augmentation, draw_view
from learning.data.augmentation.transforms import color_and_normalize, view_sample, whole_view
from learning.data.cache import FilePixels
from learning.data.datasets import open_dataset
from learning.data.loaders import EvalBatches, LoaderConfig, TrainBatches
from learning.rng import VIEW, draw_order, generator

SIZE = (24, 32)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
CPU = torch.device("cpu")
ROOT = Path(options.__file__).parent


@pytest.fixture
def data(tmp_path):
    """A data set of 5 train, 3 val and 2 unlabelled test images of 24x32 pixels."""
    return open_dataset("camvid", make_camvid(tmp_path / "data", size=SIZE))


def eval_batches(data, split, batch_size=2, size=SIZE, workers=0, with_labels=True):
    sizes = [size] * len(data.split(split))
    return EvalBatches(
        FilePixels(data.split(split), data.decode),
        LoaderConfig(MEAN, STD, CPU, workers),
        batch_size,
        sizes,
        with_labels,
    )


def train_batches(data, seed=0, batch_size=2, workers=0, **changes):
    augmentation = replace(Augmentation(SIZE, (16, 20)), **changes)
    return TrainBatches(
        FilePixels(data.split("train"), data.decode),
        LoaderConfig(MEAN, STD, CPU, workers),
        batch_size,
        augmentation,
        seed,
    )


def truncate(path):
    """Keep the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def error_message(batches):
    """The message of the `InputError` that reading all batches raises; the exception itself would refer to the loader."""
    try:
        list(batches)
    except InputError as error:
        return str(error)
    return pytest.fail("no error was raised")


def same(batches, others):
    pairs = list(zip(batches, others, strict=True))
    return all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)


# ---------------------------------------------------------------------------------------------- training


def test_batches_do_not_depend_on_the_number_of_workers(data):
    expected = train_batches(data, workers=0)
    found = train_batches(data, workers=2)
    for epoch in (0, 1, 0):
        assert same(expected.epoch(epoch), found.epoch(epoch))


def test_a_batch_follows_from_seed_epoch_and_step(data):
    samples, augmentation = data.split("train"), Augmentation(SIZE, (16, 20))
    found = list(train_batches(data, seed=7).epoch(3))
    order = draw_order(7, 3, 5, 2)
    assert len(found) == len(order) == 2
    for (images, labels), draws in zip(found, order.tolist(), strict=True):
        views = [draw_view(generator(7, VIEW, 3, draw), SIZE, augmentation) for draw in draws]
        items = [
            view_sample(
                torch.from_numpy(read_image(samples[draw].image).copy()),
                torch.from_numpy(data.decode[read_label(samples[draw].label)]),
                view,
                (16, 20),
                MEAN,
            )
            for draw, view in zip(draws, views, strict=True)
        ]
        expected = color_and_normalize(*(torch.stack(parts) for parts in zip(*items, strict=True)), views, MEAN, STD)
        assert torch.equal(images, expected[0])
        assert torch.equal(labels, expected[1])


def test_batches_have_the_crop_size_and_train_ids(data):
    batches = train_batches(data)
    found = list(batches.epoch(0))
    assert len(batches) == len(found) == 2
    for images, labels in found:
        assert images.shape == (2, 3, 16, 20)
        assert images.dtype == torch.float32
        assert labels.shape == (2, 16, 20)
        assert labels.dtype == torch.int64
        assert set(labels.unique().tolist()) <= {*range(11), VOID}


def test_epochs_and_seeds_differ_and_are_reproducible(data):
    batches = train_batches(data)
    first = list(batches.epoch(0))
    assert not same(first, batches.epoch(1))
    assert same(first, batches.epoch(0))
    assert same(first, train_batches(data, seed=0).epoch(0))
    assert not same(first, train_batches(data, seed=1).epoch(0))


@pytest.mark.parametrize("workers", [0, 2])
def test_repeated_samples_of_a_batch_get_different_views(data, workers):
    """One image four times a batch, in every worker and epoch."""
    single = replace(data, splits={"train": data.split("train")[:1]})
    batches = train_batches(single, batch_size=4, workers=workers)
    images = torch.cat([images for epoch in range(3) for images, _ in batches.epoch(epoch)])
    assert len(images) == 12
    assert all(not torch.equal(images[i], images[j]) for i in range(12) for j in range(i))


def test_a_small_set_is_repeated_to_fill_a_batch(data):
    ((images, labels),) = train_batches(data, batch_size=8).epoch(0)
    assert len(images) == len(labels) == 8


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["image", "label"])
def test_the_error_of_a_truncated_file_is_one_line(data, kind, workers):
    path = getattr(data.split("train")[2], kind)
    truncate(path)
    message = error_message(train_batches(data, batch_size=5, workers=workers).epoch(0))
    assert str(path) in message
    assert "\n" not in message


def test_a_bad_file_leaves_no_worker_behind(data):
    """The error must not be part of a reference cycle, which would keep the processes until the next garbage collection."""
    truncate(data.split("train")[2].image)
    before = set(multiprocessing.active_children())
    gc.disable()
    try:
        error_message(train_batches(data, batch_size=5, workers=2).epoch(0))
        assert set(multiprocessing.active_children()) <= before
    finally:
        gc.enable()


# ---------------------------------------------------------------------------------------------- the end of workers


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)


class SlowFiles(FilePixels):
    """Decoding takes longer than any test waits; the processes that are decoding leave a file."""

    def image(self, index):
        Path(self.folder, str(os.getpid())).touch()
        time.sleep(600)


def close_in_time(batches):
    """Close batches and check that it was quick and left no process."""
    workers = [worker.process for worker in batches.workers.workers]
    assert len(workers) == 8
    assert all(worker.daemon and worker.is_alive() for worker in workers)
    began = time.monotonic()
    batches.close()
    assert time.monotonic() - began < 2
    assert not any(worker.is_alive() for worker in workers)


def test_closing_ends_idle_workers_and_an_epoch_starts_new_ones(data, eight_cores):
    batches = train_batches(data, workers=8)
    first = list(batches.epoch(0))
    for _ in range(2):
        close_in_time(batches)
        batches.close()
        assert same(first, batches.epoch(0))
    close_in_time(batches)


@pytest.mark.parametrize("kind", ["train", "eval"])
def test_closing_ends_the_workers_of_a_suspended_epoch(data, eight_cores, kind):
    batches = train_batches(data, workers=8) if kind == "train" else eval_batches(data, "train", 1, workers=8)
    suspended = iter(batches.epoch(0) if kind == "train" else batches)
    next(suspended)
    close_in_time(batches)


def test_closing_kills_workers_that_are_busy(data, eight_cores, tmp_path):
    pixels = SlowFiles(data.split("train"), data.decode)
    pixels.folder = tmp_path / "busy"
    pixels.folder.mkdir()
    batches = TrainBatches(pixels, LoaderConfig(MEAN, STD, CPU, 8), 1, Augmentation(SIZE, (16, 20)), 0)
    batches.workers.start()
    for index in range(5):
        batches.workers.workers[index].ask([(0, index)])
    while len(list(pixels.folder.iterdir())) < 5:
        time.sleep(0.01)
    close_in_time(batches)


def test_closing_without_workers_does_nothing(data):
    for batches in (train_batches(data), train_batches(data, workers=2), eval_batches(data, "val")):
        batches.close()
        batches.close()
    assert len(list(batches)) == 2


def test_closing_leaves_the_workers_of_other_loaders(data):
    batches, others = train_batches(data, workers=2), train_batches(data, workers=2)
    expected = list(batches.epoch(0))
    suspended = others.epoch(0)
    images, labels = next(suspended)
    batches.close()
    assert same(expected, [(images, labels), *suspended])
    others.close()


EPOCH = """
import os, signal, sys
from learning.data.augmentation.sampling import Augmentation
from learning.data.pixels import FilePixels
from learning.data.datasets import open_dataset
from learning.data.loaders import LoaderConfig, TrainBatches
import torch

data = open_dataset("camvid", sys.argv[1])
pixels = FilePixels(data.split("train"), data.decode)
config = LoaderConfig((0.4, 0.5, 0.6), (0.2, 0.25, 0.3), torch.device("cpu"), 2)
batches = TrainBatches(pixels, config, 2, Augmentation((24, 32), (16, 20)), 0)
suspended = batches.epoch(0)
next(suspended)
print(*(worker.process.pid for worker in batches.workers.workers), flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "status"), [("raise ValueError", 1), ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL)]
)
def test_workers_end_with_their_parent_without_being_closed(data, end, status):
    """In the middle of an epoch; after SIGKILL they notice by themselves that their parent is gone."""
    line = [sys.executable, "-c", EPOCH + end, str(data.root)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    workers = [int(pid) for pid in done.stdout.split()]
    assert len(workers) == 2
    deadline = time.monotonic() + (20 if status == -signal.SIGKILL else 0.5)
    while time.monotonic() < deadline and any(map(is_running, workers)):
        time.sleep(0.05)
    assert not any(map(is_running, workers))


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text() if Path("/proc/self").exists() else True


# ---------------------------------------------------------------------------------------------- evaluation


@pytest.mark.parametrize("workers", [0, 2])
def test_every_sample_comes_once_in_order_and_the_last_batch_may_be_smaller(data, workers):
    samples = data.split("train")
    batches = eval_batches(data, "train", 2, (12, 16), workers)
    for _ in range(2):
        found = list(batches)
        assert [len(batch.images) for batch in found] == [2, 2, 1]
        assert [sample for batch in found for sample in batch.samples] == list(samples)
    assert len(batches) == 3


def test_images_are_resized_and_labels_are_not(data):
    (batch,) = eval_batches(data, "val", 8, (12, 16))
    assert batch.images.shape == (3, 3, 12, 16)
    assert batch.sizes == [SIZE] * 3
    for image, label, sample in zip(batch.images, batch.labels, batch.samples, strict=True):
        small, _ = view_sample(
            torch.from_numpy(read_image(sample.image).copy()), None, whole_view(SIZE), (12, 16), MEAN
        )
        expected = (small.numpy() / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
        assert image.numpy() == pytest.approx(expected, abs=1e-5)
        assert label.dtype == torch.uint8
        assert np.array_equal(label, data.decode[read_label(sample.label)])


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_a_batch_has_images_of_one_input_size_and_every_image_is_in_one(data, monkeypatch, world_size):
    wide, tall = (24, 32), (32, 24)
    sizes = [wide, tall, wide, (28, 28), wide, tall, wide]
    pixels = FilePixels([data.split("train")[0]] * len(sizes), data.decode)
    monkeypatch.setattr(distributed, "world_size", lambda: world_size)
    keys = []
    for rank in range(world_size):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        batches = EvalBatches(pixels, LoaderConfig(MEAN, STD, CPU), 2, sizes)
        own = list(batches.keys)
        assert [tuple(batch.images.shape[2:]) for batch in batches] == [sizes[key[0]] for key in own]
        assert len(batches) == len(own)
        keys += own
    assert all(len({sizes[index] for index in key}) == 1 for key in keys)
    assert sorted(index for key in keys for index in key) == list(range(len(sizes)))
    if world_size == 1:
        assert keys == [[0, 2], [4, 6], [1, 5], [3]]


def test_a_batch_takes_images_of_different_sizes(data):
    first, second, _ = data.split("val")
    for sample, size in ((first, (30, 44)), (second, (17, 9))):
        save(sample.image, np.full((*size, 3), 90, np.uint8))
        save(sample.label, np.ones(size, np.uint8))
    (batch,) = eval_batches(data, "val", 3)
    assert batch.images.shape == (3, 3, *SIZE)
    assert batch.sizes == [(30, 44), (17, 9), SIZE]
    assert [tuple(label.shape) for label in batch.labels] == batch.sizes


def test_gray_images_become_three_channels(data):
    path = data.split("val")[0].image
    Image.open(path).convert("L").save(path)
    (batch,) = eval_batches(replace(data, splits={"val": data.split("val")[:1]}), "val")
    assert batch.images.shape == (1, 3, *SIZE)


def test_images_without_labels(data):
    (batch,) = eval_batches(data, "test", with_labels=False)
    assert batch.labels is None
    assert [sample.name for sample in batch.samples] == ["0001TP_test000", "0001TP_test001"]


def test_without_labels_no_label_is_read(data):
    for sample in data.split("val"):
        sample.label.unlink()
    (batch,) = eval_batches(data, "val", 3, with_labels=False)
    assert batch.labels is None


@pytest.mark.parametrize("workers", [0, 2])
def test_the_error_of_a_truncated_file_in_evaluation_is_one_line(data, workers):
    path = data.split("val")[2].image
    truncate(path)
    message = error_message(eval_batches(data, "val", 2, workers=workers))
    assert str(path) in message
    assert "\n" not in message


# ---------------------------------------------------------------------------------------------- workers that do not answer


class Memory(FilePixels):
    """Kills the process that reads."""

    def image(self, index):
        os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS])
def test_a_killed_worker_is_one_line_with_a_remedy_and_ends_the_others(data, number):
    pixels = Memory(data.split("train"), data.decode)
    pixels.number = number
    batches = TrainBatches(pixels, LoaderConfig(MEAN, STD, CPU, 2), 2, Augmentation(SIZE, (16, 20)), 0)
    before = set(multiprocessing.active_children())
    message = error_message(batches.epoch(0))
    assert signal.Signals(number).name in message
    assert "lower --num_workers" in message
    assert "\n" not in message
    assert set(multiprocessing.active_children()) <= before


def test_a_worker_that_dies_while_it_is_idle_is_noticed(data):
    batches = train_batches(data, workers=2)
    list(batches.epoch(0))
    batches.workers.workers[1].process.kill()
    assert "SIGKILL" in error_message(batches.epoch(1))


def test_workers_need_no_shared_memory(data, monkeypatch):
    """Every semaphore and every tensor in shared memory would be a file in /dev/shm."""

    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("multiprocessing.synchronize.SemLock.__init__", refuse)
    monkeypatch.setattr(torch.UntypedStorage, "_new_shared", refuse)
    monkeypatch.setattr(torch.UntypedStorage, "share_memory_", refuse)
    batches = train_batches(data, workers=2)
    assert same(batches.epoch(0), train_batches(data).epoch(0))
    batches.close()


def test_batches_keep_their_memory_format(data):
    """Convolutions of another memory format may round differently."""
    found, expected = (next(iter(train_batches(data, workers=workers)._loaded())) for workers in (2, 0))
    assert found.images.stride() == expected.images.stride()
    assert found.images.dtype == expected.images.dtype
    assert found.images.untyped_storage().nbytes() == found.images.nbytes
