"""Measure the effect of options: run variants of a base with several seeds, and tabulate their differences.

    python -m tools.ablate --base @recipes/X.txt --vary "--ema 0.99" "--loss ce+dice" --seeds 3 --save_path ablation

Every run is a folder, SAVE_PATH/VARIANT/seed_K; runs of all variants with the same seed share weights, order and crops. Started
again, the program continues where it stopped, and adds new variants and seeds.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from helpers.errors import InputError, exit_status
from helpers.output import claim_folder
from helpers.parsing import Parser
from helpers.text_files import read_json
from tools.ablate.variants import BASE, RECORD, check_data, name_variants, parse_variants, refuse_changed_options

_OWN = ("--base", "--vary", "--seeds", "--jobs", "--save_path", "--help", "-h")


def main(argv: Sequence[str] | None = None) -> int:
    """Do the missing runs, and write ablation.md, ablation.json and ablation.png after each; returns 1 if one failed."""
    args = parse(argv)
    folder = Path(args.save_path)
    arguments = name_variants(args.base, args.vary)
    with claim_folder(folder, "--save_path", RECORD, None):
        return ablate(args, folder, arguments)


def ablate(args: argparse.Namespace, folder: Path, arguments: dict[str, list[str]]) -> int:
    """Check the variants against those that the folder holds, and do the missing runs."""
    stored = read_marker(folder, shlex.join(arguments[BASE]))
    stored_arguments = {name: shlex.split(variant["words"]) for name, variant in stored.items()}
    variants = parse_variants({BASE: arguments[BASE]} | stored_arguments | arguments)
    for variant in variants:
        if variant.name in stored:
            refuse_changed_options(folder, variant, stored[variant.name]["options"])
    check_data(folder, variants)
    folder.mkdir(parents=True, exist_ok=True)

    from tools.ablate.experiment import run_all  # imports matplotlib, after everything is checked

    succeeded = run_all(folder, variants, args.seeds, args.jobs)
    print(
        f"\n{(folder / 'ablation.md').read_text(encoding='utf-8')}\nwritten to {folder / 'ablation.md'}, .json and .png"
    )
    return 0 if succeeded else 1


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line; the arguments of --base and --vary are options of baseline.py."""
    parser = Parser(prog="tools.ablate", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--base", nargs="+", required=True, metavar="ARG", help="options of baseline.py, such as @recipes/NAME.txt")
    add("--vary", nargs="+", default=[], metavar="ARGS", help="options added to the base; quote those of each variant")
    add(
        "--seeds",
        type=int,
        default=3,
        metavar="N",
        help="runs of each variant, seeds 0 .. N - 1 (default: %(default)s)",
    )
    add("--jobs", type=int, default=1, metavar="N", help="runs at a time, sharing the cores (default: %(default)s)")
    add("--save_path", default="./ablation", metavar="FOLDER", help="of the runs and the table (default: %(default)s)")
    given = sys.argv[1:] if argv is None else argv
    # The options of baseline.py are values here: a leading space keeps argparse from parsing them.
    args = parser.parse_args([arg if arg.split("=")[0] in _OWN else f" {arg}" for arg in given])
    base = [arg.strip() for arg in args.base]
    args.base = base[0] if len(base) == 1 else shlex.join(base)
    args.vary = [variant.strip() for variant in args.vary]
    args.save_path = args.save_path.strip()
    if min(args.seeds, args.jobs) < 1:
        raise InputError(f"--seeds {args.seeds} --jobs {args.jobs}: expected at least 1 of each")
    return args


class StoredVariant(TypedDict):
    """A variant in ablation.json: its command line and the options of baseline.py."""

    words: str
    options: dict[str, Any]


class _Marker(TypedDict):
    base: str
    variants: dict[str, StoredVariant]


def read_marker(folder: Path, base: str) -> dict[str, StoredVariant]:
    """The variants of an earlier ablation in this folder: by name; {} if the folder is new.

    Args:
        base: the command line of the base; refuses a folder with another base.
    """
    marker = folder / RECORD.name
    if not marker.is_file():
        return {}
    stored = read_json(marker, _Marker, "restore it, or name another --save_path")
    typed = stored["base"]
    if typed != base:
        raise InputError(f"{folder} holds the variants of another base ({typed}); name another --save_path")
    return stored["variants"]


if __name__ == "__main__":
    sys.exit(exit_status("tools.ablate", main, None))
