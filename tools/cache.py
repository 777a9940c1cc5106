"""Show the cache of decoded images, or clear it: `python -m tools.cache [--clear all|stale]`."""

import sys
from collections.abc import Sequence

from helpers.errors import exit_status
from helpers.parsing import Parser


def main(argv: Sequence[str] | None = None) -> None:
    """List the files of the cache, or remove them."""
    parser = Parser(prog="tools.cache", description="Show the cache of decoded images, or clear it.")
    parser.add_argument("--cache_path", metavar="FOLDER", help="its folder (default: the user's cache folder)")
    parser.add_argument(
        "--clear", choices=("all", "stale"), help="remove all files, or those whose images changed or are gone"
    )
    args = parser.parse_args(argv)

    from tools import cache_files

    entries = cache_files.find(args.cache_path)
    if args.clear:
        cache_files.clear(entries, stale_only=args.clear == "stale")
    else:
        cache_files.show(entries)


if __name__ == "__main__":
    sys.exit(exit_status("tools.cache", main, None))
