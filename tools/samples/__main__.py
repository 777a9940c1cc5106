"""Show what each augmentation does: one image with a row for each, the same samples in every row beside their labels.

Takes the options of a training with baseline.py and makes batches as that training does. Each row shows one kind of augmentation
alone, the last row what the options ask for together. The same --seed draws the same samples. For copy-paste, name classes with
--copypaste.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import options
from helpers.errors import InputError, exit_status
from helpers.output import Signature, claim_file, writing
from helpers.parsing import Parser
from learning.data.datasets.statistics import dataset_statistics
from learning.run import command_line, setup

_PROGRAM = "python -m tools.samples"
_SIGNATURE = Signature(_PROGRAM, f"Software\0{_PROGRAM}".encode())  # a text of the PNG
# Options with which no training with augmentation begins.
_MODES = ("predict", "resume", "weights", "override", "replay", "dry_run", "overfit")


@dataclass(frozen=True)
class Options:
    """Options of the command line that are not those of a training."""

    output: str
    num: int
    force: bool


def main(argv: Sequence[str] | None = None) -> None:
    """Draw the samples that the command line asks for."""
    asked, training_argv = _parse(argv)
    training = _training_options(training_argv)
    output = Path(asked.output)
    if output.suffix.lower() != ".png":
        raise InputError(f"--output {output}: name a .png file")
    with claim_file(output, "--output", _SIGNATURE, asked.force):
        _draw(output, asked.num, training)


def _draw(output: Path, num: int, training: options.Options) -> None:
    data = setup.open_data(training.data, training.prediction, predict=False, overfit=None)
    training = setup.fill_defaults(training, data)
    setup.check_classes(training.augmentation, data)
    statistics = dataset_statistics(data, "train")

    from helpers.image_sheets import draw_pairs
    from tools.samples import rows

    seed = training.run.seed
    assert seed is not None, "filled in by fill_defaults"
    drawn = rows.draw_rows(rows.Sampler(training.data, training.augmentation, seed, data, statistics, num))
    with writing(output) as fresh:
        draw_pairs(drawn, data.labels).savefig(fresh, metadata={"Software": _PROGRAM})
    left_out = [name for name in rows.ROWS if name not in drawn]
    print(f"{output} shows {', '.join(drawn)} (seed {seed})")
    if left_out:
        print(f"not shown, because the options or the data set have nothing for it: {', '.join(left_out)}")


def _parse(argv: Sequence[str] | None) -> tuple[Options, list[str]]:
    """Options of this program, and the arguments that are options of baseline.py."""
    parser = Parser(
        prog=_PROGRAM,
        usage=f"{_PROGRAM} [options] [any options of baseline.py]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", default="samples.png", metavar="FILE", help="the image (default: %(default)s)")
    parser.add_argument("--num", type=int, default=4, metavar="N", help="samples, 2 .. 8 (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace FILE even if this program did not make it")
    args, training_argv = parser.parse_known_args(argv)
    if not 2 <= args.num <= 8:
        raise InputError(f"--num {args.num}: expected 2 .. 8 samples")
    return Options(**vars(args)), training_argv


def _training_options(argv: list[str]) -> options.Options:
    """Options of a new training that augments."""
    training, _ = command_line.parse(argv)
    modes = [f"--{name}" for name in _MODES if training.values()[name]]
    if modes:
        raise InputError(f"{modes[0]} is not for this image, which shows how a new training augments: leave it out")
    return training.replaced(**setup.normalized_paths(training.run, training.data, training.loss))


if __name__ == "__main__":
    sys.exit(exit_status(_PROGRAM, main, None))
