"""Hashes of files and of decoded pixels, for comparison only; those that take long are kept in the user's cache folder."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from helpers.images import read_image
from helpers.output import write_text
from helpers.threads import map_in_threads

SUFFIX = ".hashes"
_BLOCK = 2**20


def default_folder() -> Path:
    """The user's cache folder, by the XDG specification; for a user without a home, a temporary one."""
    home = os.path.expanduser("~")
    cache = Path(home, ".cache") if os.path.isabs(home) else Path(tempfile.gettempdir(), f"cache-{os.getuid()}")
    return Path(os.environ.get("XDG_CACHE_HOME") or cache) / "minicity-segmentation"


def hash_pixels(pixels: np.ndarray) -> str:
    """A hash of the size and the values of an image or a label map."""
    digest = hashlib.sha1(f"{pixels.shape} {pixels.dtype}".encode(), usedforsecurity=False)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def hash_image(path: Path) -> str:
    """The hash of what an image shows; equal for files that store the same pixels in different ways."""
    return hash_pixels(read_image(path).transpose(1, 2, 0))


def hash_file(path: str | Path, algorithm: str = "sha1") -> str:
    """A hash of a file's bytes, in hexadecimal."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def source_state(path: str | Path) -> list[str | int]:
    """A file's absolute path, size in bytes, and time of change in nanoseconds; a list, as JSON reads it again."""
    state = os.stat(path)
    return [os.path.abspath(path), state.st_size, state.st_mtime_ns]


def kept_hashes(compute: Callable[[Path], str], paths: Sequence[Path], description: str) -> list[str]:
    """`compute(path)` of each file, in threads; not again while the file keeps its size and time stamp.

    Kept in one small file for all files of the same folders; nothing is kept where it cannot be written.
    """
    folders = sorted({str(path.absolute().parent) for path in paths})
    key = hashlib.sha256("\n".join([compute.__name__, *folders]).encode(errors="surrogateescape")).hexdigest()[:16]
    store = default_folder() / f"{compute.__name__}-{key}{SUFFIX}"
    known = _read(store)
    states = [json.dumps(source_state(path)) for path in paths]
    missing = [index for index, state in enumerate(states) if state not in known]
    found = map_in_threads(compute, [paths[index] for index in missing], description=description)
    known |= {states[index]: digest for index, digest in zip(missing, found, strict=True)}
    if missing:
        with suppress(OSError):
            store.parent.mkdir(parents=True, exist_ok=True)
            write_text(store, json.dumps({state: known[state] for state in states}))
    return [known[state] for state in states]


def _read(store: Path) -> dict[str, str]:
    """What a file of hashes holds; empty if there is none, or if it is damaged."""
    with suppress(OSError, ValueError, RecursionError):
        stored = json.loads(store.read_text(encoding="utf-8"))
        if isinstance(stored, dict) and all(isinstance(digest, str) for digest in stored.values()):
            return stored
    return {}
