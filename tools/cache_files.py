"""The files in a cache folder: whether they are up to date, and their removal."""

import time
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import InputError
from helpers.lock import locked
from learning.data import cache, hashes


@dataclass(frozen=True)
class Entry:
    """A cache file.

    Args:
        header: as `learning.data.cache.make_header` made it; None for a file of another version.
        state: "valid"; "changed" where a source has another size or time stamp; "gone" where one is missing; "damaged" where
            a checksum is wrong; "unknown".
    """

    path: Path
    header: cache.Header | None
    state: str


@dataclass(frozen=True)
class Entries:
    """The cache files of a folder."""

    folder: Path
    files: list[Entry]


def find(cache_path: str | None) -> Entries:
    """The files of a cache folder, which are read to compare their checksums; None for the user's, which need not exist."""
    folder = Path(cache_path) if cache_path else hashes.default_folder()
    if cache_path and not folder.is_dir():
        raise InputError(f"--cache_path {folder}: there is no such folder")
    paths = sorted(folder.glob(f"*{cache.SUFFIX}")) if folder.is_dir() else []
    headers = {path: cache.read_header(path) for path in paths}
    return Entries(folder, [Entry(path, header, _state(path, header)) for path, header in headers.items()])


def show(entries: Entries) -> None:
    """Print a line for each file."""
    if not entries.files:
        print(f"the cache in {entries.folder} is empty")
        return
    print(f"{'data set':<10} {'split':<6} {'images':>6} {'GiB':>7}  {'last used':<16}  {'state':<8}  folder")
    total = 0
    for entry in entries.files:
        header = entry.header or {"dataset": "?", "split": "?", "sizes": [], "root": entry.path.name}
        status = entry.path.stat()
        total += status.st_size
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(status.st_mtime))
        row = f"{header['dataset']:<10} {header['split']:<6} {len(header['sizes']):>6} {status.st_size / 2**30:>7.2f}"
        print(f"{row}  {used:<16}  {entry.state:<8}  {header['root']}")
    print(
        f"{total / 2**30:.2f} GiB in {entries.folder}; remove them with: "
        "python -m tools.cache --clear all (or: --clear stale)"
    )


def clear(entries: Entries, stale_only: bool) -> None:
    """Remove files, and half-written ones of killed runs; those that a process is writing now stay."""
    chosen = [entry.path.name for entry in entries.files if not stale_only or entry.state != "valid"]
    partial = [path.name.removesuffix(".tmp") for path in entries.folder.glob(f"*{cache.SUFFIX}.tmp")]
    freed = 0
    in_use = []
    for name in sorted({*chosen, *partial}):
        with locked(entries.folder / name) as writer:
            if writer:
                in_use.append(name)
                continue
            if name in chosen:
                freed += _remove(entries.folder / name)
            freed += _remove(entries.folder / f"{name}.tmp")
    for path in () if stale_only else entries.folder.glob(f"*{hashes.SUFFIX}"):
        freed += _remove(path)
    print(f"{len(chosen) - len(in_use)} files removed from {entries.folder}, {freed / 2**30:.2f} GiB freed")
    if in_use:
        print(f"in use, and so still there: {', '.join(in_use)}")


def _state(path: Path, header: cache.Header | None) -> str:
    if header is None:
        return "unknown"
    try:
        is_up_to_date = all(hashes.source_state(str(source[0])) == source for source in header["sources"])
    except OSError:
        return "gone"
    if not is_up_to_date:
        return "changed"
    return "valid" if cache.is_intact(path, header) else "damaged"


def _remove(path: Path) -> int:
    """Remove a file, if it is there; returns the number of bytes that this frees."""
    if not path.exists():
        return 0
    size = path.stat().st_size
    try:
        path.unlink()
    except OSError as error:
        raise InputError(f"cannot remove {path}: {error.strerror}") from None
    return size
