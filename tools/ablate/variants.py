"""The variants of an ablation: their command lines and options, checked before anything runs."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import InputError
from helpers.output import Record
from learning.run import command_line
from learning.run.setup import setup_run, trains_on_val

BASE = "base"
RECORD = Record("tools.ablate", "ablation.json", unsigned=True)  # in the folder of an ablation
_SET_HERE = ("save_path", "seed", "resume", "predict", "dry_run", "replay", "weights")
_DECIDES_IMAGES = (
    "dataset",
    "dataset_path",
    "holdout",
    "train_on",
)  # options that decide which images are trained on and scored


@dataclass(frozen=True)
class Variant:
    """A command line of baseline.py without what `run_all` adds.

    Args:
        name: also the name of its folder.
        options: the parsed options, including those of option files.
    """

    name: str
    argv: Sequence[str]
    options: Mapping[str, object]


def name_variants(base: str, vary: Iterable[str]) -> dict[str, list[str]]:
    """The arguments of each variant by its name, `BASE` first; `vary` are the arguments added to the base."""
    try:
        variants = {BASE: shlex.split(base)}
        for added in vary:
            name = re.sub(r"[^\w.+-]+", "_", added).strip("_-")
            if not name or name in variants:
                raise InputError(f"--vary {added!r}: there is a variant {name or '(without options)'} already")
            variants[name] = variants[BASE] + shlex.split(added)
    except ValueError as error:  # of shlex; InputError is one, too
        raise InputError(str(error)) from None
    return variants


def parse_variants(arguments: Mapping[str, Sequence[str]]) -> list[Variant]:
    """Parse the arguments of each variant and refuse those that cannot be compared with the base, the first one."""
    variants: list[Variant] = []
    for name, argv in arguments.items():
        parsed = parse_options(name, argv)
        for option in _DECIDES_IMAGES if variants else ():
            if parsed[option] != variants[0].options[option]:
                raise InputError(f"variant {name}: --{option} changes what is scored; make it part of the base")
        variants.append(Variant(name, argv, parsed))
    return variants


def parse_options(name: str, argv: Sequence[str]) -> dict[str, object]:
    """The options of baseline.py for a variant; refuses options that are set for every run, and scoring on training images."""
    try:
        found, typed = command_line.parse(argv)
    except InputError as error:
        raise InputError(f"variant {name}: {error}") from None
    if refused := typed & set(_SET_HERE):
        raise InputError(f"variant {name}: leave out --{min(refused)}, which is set for every run")
    if found.run.overfit or trains_on_val(found.data):
        raise InputError(f"variant {name} is scored on images that it trains on; hold some out with --holdout")
    return found.stored()


def check_data(folder: Path, variants: Iterable[Variant]) -> None:
    """Check the data and files that the runs need, as baseline.py does, before the first run."""
    for variant in variants:
        try:
            setup_run([*variant.argv, "--save_path", str(folder / variant.name / "seed_0"), "--resume"])
        except InputError as error:
            raise InputError(f"variant {variant.name}: {error}") from None


def refuse_changed_options(folder: Path, variant: Variant, stored: Mapping[str, object]) -> None:
    """Refuse a variant whose options differ from those of its earlier runs, because an option file has changed.

    Args:
        stored: the options of the earlier runs; an option missing in one of the two is not compared.
    """
    for option in sorted(variant.options.keys() & stored.keys()):
        if variant.options[option] != stored[option]:
            raise InputError(
                f"{folder} holds variant {variant.name} with --{option} {stored[option]}, which is "
                f"{variant.options[option]} now; name another --save_path"
            )
