"""Decoded pixels of a split in one file, memory-mapped: decoding a picture takes longer than everything else done to it.

A file holds the images and labels of one split of one data set. It is written once, in parallel, under a lock and a temporary
name, and is valid as long as its sources have the sizes and time stamps they had then. Worker processes, ranks and later runs
share its pages; no process holds a copy. The same bytes can be held by a GPU as a whole.
"""

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from helpers.errors import InputError
from helpers.images import read_image, read_label
from helpers.threads import NUM_THREADS, map_ahead, show_progress

MAGIC = b"pixels01"  # 8 bytes; the number is the version of the layout
SUFFIX = ".pixels"
DEVICE_SHARE = 0.25  # of a GPU's free memory that auto gives to the data
SPARE = 1.02  # a file is written only where this many times its size is free


class CacheError(InputError):
    """A file of the cache that cannot be written; the data are not at fault."""


def default_folder():
    """Path: where caches go unless another folder is named: the user's cache folder, by the XDG specification."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minicity-segmentation"


class Files:
    """Pixels of a split, decoded from their files whenever they are asked for.

    Args:
        samples: sequence of `learning.data.datasets.base.Sample`.
        decode: uint8 (256,), the train id of each value in the label files.
    """

    device = torch.device("cpu")

    def __init__(self, samples, decode):
        self.samples, self.decode = samples, decode

    def __len__(self):
        return len(self.samples)

    def image(self, index):
        """uint8 tensor (3, H, W), a view of pixel-interleaved memory; raises `InputError` that names the file."""
        pixels = read_image(self.samples[index].image)
        return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy(order="K"))

    def label(self, index):
        """uint8 tensor (H, W) of train ids, VOID elsewhere; raises `InputError` that names the file."""
        label = read_label(self.samples[index].label)
        # bytearray.translate looks up five times as fast as numpy.
        train_ids = bytearray(label.tobytes()).translate(self.decode.tobytes())
        return torch.frombuffer(train_ids, dtype=torch.uint8).view(label.shape)


class Decoded:
    """Pixels of a split that lie decoded in one flat buffer: a memory-mapped file, or the memory of a device.

    Args:
        samples: sequence of `learning.data.datasets.base.Sample`.
        layout: `Layout` of the buffer.
        path: the file; it is mapped again, not copied, where this object is sent to another process.
        buffer: uint8 tensor (n,) that holds the same, in place of a file.
    """

    def __init__(self, samples, layout, path=None, buffer=None):
        self.samples, self.layout, self.path = samples, layout, path
        self.buffer = self._map() if buffer is None else buffer

    def _map(self):
        return torch.from_file(str(self.path), shared=False, size=self.path.stat().st_size, dtype=torch.uint8)

    def __getstate__(self):
        return self.__dict__ | {"buffer": None if self.path else self.buffer}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.buffer = self._map() if self.buffer is None else self.buffer

    @property
    def device(self):
        """torch.device: where the pixels are."""
        return self.buffer.device

    def to(self, device):
        """The same pixels in the memory of a device."""
        return Decoded(self.samples, self.layout, buffer=self.buffer.to(device))

    def __len__(self):
        return len(self.samples)

    def image(self, index):
        """uint8 tensor (3, H, W), a view of pixel-interleaved memory."""
        height, width = self.layout.sizes[index]
        start = self.layout.starts[index]
        return self.buffer[start : start + height * width * 3].view(height, width, 3).permute(2, 0, 1)

    def label(self, index):
        """uint8 tensor (H, W) of train ids, VOID elsewhere."""
        height, width = self.layout.sizes[index]
        start = self.layout.starts[index] + height * width * 3
        return self.buffer[start : start + height * width].view(height, width)


@dataclass(frozen=True)
class Layout:
    """Where each sample lies in a buffer: its image (H, W, 3), then its label (H, W); uint8.

    Args:
        sizes: list of (height, width).
        header: bytes before the first sample.
    """

    sizes: list
    header: int = 0

    @cached_property
    def starts(self):
        """list of int: first byte of each sample, and at its end the number of bytes of the whole."""
        pixels = np.prod(np.array(self.sizes, np.int64), 1)
        return (self.header + np.cumsum([0, *(4 * pixels)])).tolist()

    @property
    def total(self):
        """int: bytes of the whole."""
        return self.starts[-1]


def num_bytes(sizes):
    """int: bytes that the images and labels of these sizes, int (N, 2), take when decoded."""
    return Layout([tuple(size) for size in np.asarray(sizes).tolist()]).total


def choose(kind, device, needed, folder, missing):
    """Where the decoded pixels of a run go.

    Args:
        kind: "off", "disk", "device", or "auto" for the best of them that fits.
        device: torch.device of the training.
        needed: bytes, as `num_bytes` counts them.
        folder: Path where files would go.
        missing: bytes of those files that are not there yet.

    Returns:
        (str, str): the kind, and what it takes or why it is this one.

    Raises:
        InputError: "device" without a GPU, or one on which the data do not fit.
    """
    size = f"{needed / 2**30:.2f} GiB"
    if kind == "off":
        return "off", "every picture is decoded each time it is seen"
    if kind == "device" and device.type != "cuda":
        raise InputError(
            f"--cache device keeps the data on a GPU, but the device is {device}; use --cache disk or auto"
        )
    if device.type == "cuda" and kind != "disk":
        free = torch.cuda.mem_get_info(device)[0]
        if kind == "device" and needed > free:
            raise InputError(f"--cache device: the data are {size}, but {free / 2**30:.2f} GiB of the GPU are free")
        if kind == "device" or needed <= DEVICE_SHARE * free:
            return "device", f"{size} of the {free / 2**30:.1f} GiB that are free on the GPU"
    if kind == "auto":
        parent = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        free = shutil.disk_usage(parent).free if os.access(parent, os.W_OK | os.X_OK) else 0
        if missing and free < SPARE * missing:
            return "off", f"the data are {size}, but {free / 2**30:.2f} GiB can be written to {folder}"
    return "disk", f"{size} in {folder}"


def open_disk(folder, dataset, split, sizes):
    """The decoded pixels of a split, from a valid file in `folder`, which is written first where there is none.

    Args:
        folder: where caches are kept; made when missing.
        dataset: learning.data.datasets.base.Dataset.
        split: name of one of its splits, all of whose samples have labels.
        sizes: int (N, 2), height and width of each image.

    Returns:
        Decoded

    Raises:
        InputError: a source cannot be read or changed its size.
        CacheError: the folder cannot be written or its disk is full.
    """
    samples = dataset.split(split)
    about = describe(dataset, split, sizes)
    path, header = _path(folder, about), _header(about)
    layout = Layout([tuple(size) for size in about["sizes"]], len(header))
    try:
        if not _is_valid(path, header, layout):
            Path(folder).mkdir(parents=True, exist_ok=True)
            with lock(path):
                if not _is_valid(path, header, layout):  # another process may have written it in the meantime
                    _write(path, samples, dataset.decode, header, layout, f"caching {split}")
    except OSError as error:
        raise CacheError(
            f"cannot write the cache {path}: {error.strerror or error}; make room, name another --cache_path, "
            "or use --cache off"
        ) from None
    with contextlib.suppress(OSError):  # a folder that can only be read
        os.utime(path)  # when it was last used, which `tools.cache` shows
    return Decoded(samples, layout, path)


def is_cached(folder, dataset, split, sizes):
    """Whether there is a valid file for a split; arguments as for `open_disk`."""
    about = describe(dataset, split, sizes)
    header = _header(about)
    layout = Layout([tuple(size) for size in about["sizes"]], len(header))
    return _is_valid(_path(folder, about), header, layout)


def open_memory(dataset, split, sizes):
    """The decoded pixels of a split in memory, from its files; arguments and errors as for `open_disk`."""
    layout = Layout([tuple(size) for size in np.asarray(sizes).tolist()])
    buffer = np.empty(layout.total, np.uint8)

    def put(start, pixels):
        buffer[start : start + pixels.size] = pixels.reshape(-1)

    _decode(dataset.split(split), dataset.decode, layout, put, f"decoding {split}")
    return Decoded(dataset.split(split), layout, buffer=torch.from_numpy(buffer))


def describe(dataset, split, sizes):
    """dict: what a cache file holds and was made from, as its header says it."""
    samples = dataset.split(split)
    return {
        "dataset": dataset.name,
        "root": str(Path(dataset.root).absolute()),
        "split": split,
        "decode": hashlib.sha256(dataset.decode.tobytes()).hexdigest()[:16],
        "sizes": np.asarray(sizes).tolist(),
        "sources": [source_state(path) for sample in samples for path in (sample.image, sample.label)],
    }


def source_state(path):
    """list: a file's absolute path, size in bytes, and time of change in nanoseconds."""
    state = os.stat(path)
    return [os.path.abspath(path), state.st_size, state.st_mtime_ns]


def read_header(path):
    """dict: what `describe` said when a cache file was written; None where it is no such file."""
    with contextlib.suppress(OSError, ValueError), open(path, "rb") as file:
        if file.read(8) == MAGIC:
            return json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return None


def _path(folder, about):
    """Files of the same name are of the same samples; whether they are up to date is a question of their headers."""
    fixed = [about["root"], about["decode"], [source[0] for source in about["sources"]]]
    key = hashlib.sha256(json.dumps(fixed).encode()).hexdigest()[:16]
    return Path(folder) / f"{about['dataset']}-{about['split']}-{key}{SUFFIX}"


def _header(about):
    text = json.dumps(about).encode()
    text += b" " * (-(16 + len(text)) % 4096)  # samples begin on a page
    return MAGIC + len(text).to_bytes(8, "little") + text


def _is_valid(path, header, layout):
    if not path.is_file() or path.stat().st_size != layout.total:
        return False
    with open(path, "rb") as file:
        return file.read(len(header)) == header


def _write(path, samples, decode, header, layout, words):
    free = shutil.disk_usage(path.parent).free
    if free < SPARE * layout.total:
        raise OSError(f"{layout.total / 2**30:.1f} GiB are needed and {free / 2**30:.1f} GiB are free")
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(header)

            def put(start, pixels):
                file.seek(start)
                file.write(pixels.data)

            _decode(samples, decode, layout, put, words)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave zeros under a good header
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _decode(samples, decode, layout, put, words):
    """Decode every sample in threads (Pillow lets them run) and `put(start, uint8 array)` the parts, one at a time."""
    files = Files(samples, decode)

    def read(index):
        return files.image(index).permute(1, 2, 0).contiguous().numpy(), files.label(index).numpy()

    decoded = map_ahead(read, range(len(samples)), cost=lambda _: 1, budget=4 * NUM_THREADS)
    for index, (image, label) in enumerate(show_progress(decoded, len(samples), words)):
        if not image.shape[:2] == label.shape == layout.sizes[index]:
            raise InputError(f"{samples[index].image} or its label changed while it was read; start again")
        put(layout.starts[index], image)
        put(layout.starts[index] + image.size, label)


@contextlib.contextmanager
def lock(path, wait=True):
    """Context in which one process alone deals with a file of the cache; whoever waits for it finds the file written.

    The lock is on a file of its own, which stays. Where there are no such locks, the last one to write wins.

    Yields:
        bool: whether it is this process's turn; always, with `wait`.
    """
    with open(path.with_name(path.name + ".lock"), "wb") as file:
        try:
            import fcntl  # not on every system

            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except (ImportError, OSError):
            pass
        yield True
