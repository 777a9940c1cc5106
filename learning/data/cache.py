"""Decoded pixels of a split in one memory-mapped file, since decoding takes longer than the rest of loading an image.

A file holds the images and labels of one split of one data set, and their checksums. It is written once, in parallel, under a
lock and a temporary name, and is valid while its sources keep the sizes and time stamps they had then. Worker processes, ranks
and later runs share its pages; no process holds a copy. A GPU can hold all of these bytes.
"""

import contextlib
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch

from helpers.errors import InputError
from helpers.lock import locked
from helpers.output import writing
from helpers.threads import NUM_THREADS, map_ahead, map_in_threads, show_progress
from learning.data.datasets.base import Dataset
from learning.data.hashes import source_state
from learning.data.pixels import BufferPixels, FilePixels, Layout, sample_checksum

MAGIC = b"pixels02"  # 8 bytes; the number is the version of the format and of the rules by which images are read
SUFFIX = ".pixels"
DEVICE_SHARE = 0.25  # of the free memory of a GPU that "auto" uses at most
SPARE = 1.02  # a file is written only where this many times its size is free

Put = Callable[[int, np.ndarray, np.ndarray], None]  # (index, image (H, W, 3), label (H, W)): stores a sample


class CacheError(InputError):
    """A file of the cache cannot be written; the data set itself is fine."""


class Header(TypedDict):
    """What a cache file holds and what it was made from.

    `decode` is a hash of the label decoding; `sizes` are (height, width) of each image; `sources` are as `source_state`
    gives them, image and label of each sample in turn.
    """

    dataset: str
    root: str
    split: str
    decode: str
    sizes: list[list[int]]
    sources: list[list[str | int]]


def num_bytes(sizes: np.ndarray | Iterable[Sequence[int]]) -> int:
    """Bytes that images of these sizes, int (N, 2), and their labels take when decoded."""
    return Layout.of(sizes).num_bytes


def choose_location(kind: str, device: torch.device, needed: int, folder: Path, missing: int) -> tuple[str, str]:
    """Where the decoded pixels of a run are kept.

    Args:
        kind: "off", "disk", "device", or "auto" for the best of them that fits.
        device: of the training.
        needed: bytes of the decoded pixels.
        missing: bytes of those files that are not in `folder` yet.

    Returns:
        The kind that is used, and its size or the reason for it.

    Raises:
        InputError: "device" without a GPU, or with too little free memory on it.
    """
    size = _gib(needed)
    if kind == "off":
        return "off", "every image is decoded each time it is used"
    if kind == "device" and device.type != "cuda":
        raise InputError(
            f"--cache device keeps the data on a GPU, but the device is {device}; use --cache disk or auto"
        )
    if device.type == "cuda" and kind != "disk":
        free = torch.cuda.mem_get_info(device)[0]
        if kind == "device" and needed > free:
            raise InputError(f"--cache device: the data are {size}, but {_gib(free)} of the GPU are free")
        if kind == "device" or needed <= DEVICE_SHARE * free:
            return "device", f"{size} of the {free / 2**30:.1f} GiB that are free on the GPU"
    if kind == "auto" and missing:
        free = _writable_bytes(folder)
        if free < SPARE * missing:
            return "off", f"the data are {size}, but {_gib(free)} can be written to {folder}"
    return "disk", f"{size} in {folder}"


def _gib(number: int) -> str:
    return f"{number / 2**30:.2f} GiB"


def _writable_bytes(folder: Path) -> int:
    """Free bytes of the disk of a folder that may not exist yet; 0 where it cannot be made."""
    parent = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(parent).free if os.access(parent, os.W_OK | os.X_OK) else 0


def open_on_disk(folder: str | Path, dataset: Dataset, split: str, sizes: np.ndarray) -> BufferPixels:
    """The decoded pixels of a split from a file in `folder`, which is written first unless there is a valid one.

    Args:
        folder: is made if it is missing.
        split: with labels for all samples.
        sizes: int (N, 2), height and width of each image.

    Raises:
        InputError: a source cannot be read or has changed its size.
        CacheError: the folder cannot be written or its disk is full.
    """
    about = make_header(dataset, split, sizes)
    path = _path(folder, about)
    header = _encode(about)
    layout = Layout.of(sizes, len(header))
    try:
        if not _is_valid(path, header, layout):
            path.parent.mkdir(parents=True, exist_ok=True)
            with locked(path, wait=True):
                if not _is_valid(path, header, layout):  # another process may have written it in the meantime
                    _write(path, dataset, split, header, layout)
    except OSError as error:
        raise CacheError(
            f"cannot write the cache {path}: {error.strerror or error}; make room, name another --cache_path, "
            "or use --cache off"
        ) from None
    with contextlib.suppress(OSError):  # a read-only folder
        os.utime(path)  # time of the last use, which `tools.cache` shows
    return BufferPixels(FilePixels(dataset.split(split), dataset.decode), layout, path)


def is_cached(folder: str | Path, dataset: Dataset, split: str, sizes: np.ndarray) -> bool:
    """Whether `open_on_disk` with the same arguments finds a valid file."""
    about = make_header(dataset, split, sizes)
    header = _encode(about)
    return _is_valid(_path(folder, about), header, Layout.of(sizes, len(header)))


def open_in_memory(dataset: Dataset, split: str, sizes: np.ndarray) -> BufferPixels:
    """The pixels of a split decoded into memory; arguments and errors as for `open_on_disk`."""
    layout = Layout.of(sizes)
    buffer = np.empty(layout.num_bytes, np.uint8)

    def put(index: int, image: np.ndarray, label: np.ndarray) -> None:
        start = layout.starts[index]
        buffer[start : start + image.size] = image.reshape(-1)
        buffer[start + image.size : start + image.size + label.size] = label.reshape(-1)

    files = FilePixels(dataset.split(split), dataset.decode)
    _decode(files, layout, put, f"decoding {split}")
    return BufferPixels(files, layout, buffer=torch.from_numpy(buffer))


def make_header(dataset: Dataset, split: str, sizes: np.ndarray) -> Header:
    """The header of a cache file of a split in its present state."""
    files = [path for sample in dataset.split(split) for path in (sample.image, sample.label) if path]
    return {
        "dataset": dataset.name,
        "root": str(Path(dataset.root).absolute()),
        "split": split,
        "decode": hashlib.sha256(dataset.decode.tobytes()).hexdigest()[:16],
        "sizes": np.asarray(sizes).tolist(),
        "sources": [source_state(path) for path in files],
    }


def read_header(path: Path) -> Header | None:
    """The header of a cache file; None for other files, including cache files that are damaged or of other versions."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        start = file.read(16)
        text = file.read(int.from_bytes(start[8:12], "little"))
        if start == _start(text):
            return json.loads(text)
    return None


def is_intact(path: Path, header: Header) -> bool:
    """Whether all pixels of a cache file have their checksums."""
    layout = Layout.of(header["sizes"], len(_encode(header)))
    if path.stat().st_size != _file_size(layout):
        return False
    content = np.memmap(path, np.uint8, "r")
    expected = content[layout.num_bytes :].view("<u4")

    def matches(index: int) -> bool:
        return zlib.crc32(content[layout.starts[index] : layout.starts[index + 1]].data) == expected[index]

    return all(map_in_threads(matches, range(len(layout.sizes)), description=f"verifying {header['split']}"))


def _path(folder: str | Path, about: Header) -> Path:
    """Files of the same samples have the same name; their headers say whether they are up to date."""
    fixed = [about["root"], about["decode"], [source[0] for source in about["sources"]]]
    key = hashlib.sha256(json.dumps(fixed).encode()).hexdigest()[:16]
    return Path(folder) / f"{about['dataset']}-{about['split']}-{key}{SUFFIX}"


def _encode(about: Header) -> bytes:
    text = json.dumps(about).encode()
    text += b" " * (-(16 + len(text)) % 4096)  # samples begin on a page
    return _start(text) + text


def _start(text: bytes) -> bytes:
    """What stands before the text of a header: version, length and checksum."""
    return MAGIC + len(text).to_bytes(4, "little") + zlib.crc32(text).to_bytes(4, "little")


def _file_size(layout: Layout) -> int:
    return layout.num_bytes + 4 * len(layout.sizes)


def _is_valid(path: Path, header: bytes, layout: Layout) -> bool:
    if not path.is_file() or path.stat().st_size != _file_size(layout):
        return False
    with open(path, "rb") as file:
        return file.read(len(header)) == header


def _write(path: Path, dataset: Dataset, split: str, header: bytes, layout: Layout) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < SPARE * layout.num_bytes:
        raise OSError(f"{layout.num_bytes / 2**30:.1f} GiB are needed and {free / 2**30:.1f} GiB are free")
    with writing(path) as fresh, open(fresh, "wb") as file:
        file.write(header)
        checksums = []

        def put(index: int, image: np.ndarray, label: np.ndarray) -> None:
            file.seek(layout.starts[index])
            file.write(image.data)
            file.write(label.data)
            checksums.append(sample_checksum(image, label))

        _decode(FilePixels(dataset.split(split), dataset.decode), layout, put, f"caching {split}")
        file.write(np.array(checksums, "<u4").data)
        file.flush()
        os.fsync(file.fileno())  # or a power cut could leave zeros under a valid header


def _decode(files: FilePixels, layout: Layout, put: Put, title: str) -> None:
    """Decode every sample in threads (Pillow releases the interpreter lock) and `put` them in order."""

    def read(index: int) -> tuple[np.ndarray, np.ndarray]:
        return files.image(index).permute(1, 2, 0).contiguous().numpy(), files.label(index).numpy()

    # At most a few samples per thread are in memory.
    decoded = map_ahead(read, range(len(files)), cost=lambda _: 1, budget=4 * NUM_THREADS)
    for index, (image, label) in enumerate(show_progress(decoded, len(files), title)):
        if not image.shape[:2] == label.shape == layout.sizes[index]:
            raise InputError(f"{files.samples[index].image} or its label changed while it was read; start again")
        put(index, image, label)
