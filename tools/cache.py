"""Show what the cache of decoded images holds, or clear it: `python -m tools.cache [--clear all|stale]`."""

import sys
import time
from contextlib import suppress
from pathlib import Path

from helpers.errors import InputError, exit_status
from helpers.parsing import Parser


def main(argv=None):
    """List the files of the cache, or remove them.

    Raises:
        InputError: wrong options, no such folder, a file that cannot be removed.
    """
    args = parse(argv)
    from learning.data import cache  # and torch

    folder = Path(args.cache_path) if args.cache_path else cache.default_folder()
    if args.cache_path and not folder.is_dir():
        raise InputError(f"--cache_path {folder}: there is no such folder")
    files = sorted(folder.glob(f"*{cache.SUFFIX}")) if folder.is_dir() else []
    entries = [(path, about, state_of(about, cache)) for path in files for about in [cache.read_header(path)]]
    if args.clear:
        chosen = [path for path, _, state in entries if args.clear == "all" or state != "valid"]
        clear(folder, chosen, cache)
    elif entries:
        show(folder, entries)
    else:
        print(f"the cache in {folder} is empty")


def show(folder, entries):
    """Print a line for each (Path, header or None, state)."""
    print(f"{'data set':<10} {'split':<6} {'images':>6} {'GiB':>7}  {'last used':<16}  {'state':<8}  folder")
    for path, about, state in entries:
        about = about or {"dataset": "?", "split": "?", "sizes": [], "root": path.name}
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))
        size = path.stat().st_size / 2**30
        row = f"{about['dataset']:<10} {about['split']:<6} {len(about['sizes']):>6} {size:>7.2f}"
        print(f"{row}  {used:<16}  {state:<8}  {about['root']}")
    total = sum(path.stat().st_size for path, _, _ in entries) / 2**30
    print(f"{total:.2f} GiB in {folder}; remove them with: python -m tools.cache --clear all (or: --clear stale)")


def clear(folder, chosen, cache):
    """Remove files, and what killed runs left half written; but nothing that a process is writing now.

    Raises:
        InputError: a file cannot be removed.
    """
    names = {path.name for path in chosen} | {
        path.name.removesuffix(".tmp") for path in folder.glob(f"*{cache.SUFFIX}.tmp")
    }
    freed, kept = 0, []
    for name in sorted(names):
        with cache.lock(folder / name, wait=False) as free:
            if not free:
                kept.append(name)
                continue
            for path in (folder / name, folder / f"{name}.tmp"):
                if path.exists() and (path in chosen or path.suffix == ".tmp"):
                    freed += remove(path)
    print(f"{len(chosen) - len(kept)} files removed from {folder}, {freed / 2**30:.2f} GiB freed")
    if kept:
        print(f"in use, and so still there: {', '.join(kept)}")


def parse(argv):
    """Options of the command line."""
    parser = Parser(prog="tools.cache", description=__doc__.splitlines()[0].split(":")[0] + ".")
    add = parser.add_argument
    add("--cache_path", metavar="FOLDER", help="its folder (default: the user's cache folder)")
    add("--clear", choices=("all", "stale"), help="remove all files, or those whose images changed or are gone")
    return parser.parse_args(argv)


def state_of(about, cache):
    """str: "valid", "changed" where a source has another size or time stamp than it had, "gone" where one is missing.

    Args:
        about: header of a cache file, as `learning.data.cache.describe` made it; None ("unknown") for one of another version.
        cache: the module `learning.data.cache`.
    """
    if about is None:
        return "unknown"
    with suppress(OSError):
        return "valid" if all(cache.source_state(source[0]) == source for source in about["sources"]) else "changed"
    return "gone"


def remove(path):
    """int: bytes that the removal of a file freed."""
    size = path.stat().st_size
    try:
        path.unlink()
    except OSError as error:
        raise InputError(f"cannot remove {path}: {error.strerror}") from None
    return size


if __name__ == "__main__":
    sys.exit(exit_status("tools.cache", main, None))
