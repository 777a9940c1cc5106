"""Show what each augmentation does: one picture, a row for each, the same samples in every row, images beside their labels.

Takes the options of a training with baseline.py and makes its batches as that does; the rows are the kinds of augmentation
there are, the last one is what the options ask for together. --seed N shows the same again. For copy-paste, name classes with
--copypaste.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import options
from helpers.errors import InputError, exit_status
from helpers.image_sheets import pair_sheet
from helpers.parsing import Parser
from learning.data.datasets.statistics import dataset_statistics
from learning.run import build, setup

_PROGRAM = "python -m tools.samples"
_DRAWS = 8  # of a mixer, of which the one that changes the most pixels is shown: a box of CutMix may be empty

# Options of a row that only crops and scales.
PLAIN = {
    **{"augment": "tutorial", "hflip": False, "colorjitter_factor": 0.0, "rotation": 0.0, "class_crop": 0.0},
    **{"copypaste": None, "copyblob": False, "classmix": False, "cutmix": False},
}
_OF_THE_SET = {"hflip": True, "colorjitter_factor": None, "rotation": None, "scale_range": None}
# Row -> what it has in their place; where the options say something of their own, that counts.
ROWS = {
    "mirror images": {"hflip": True},
    "color": {"colorjitter_factor": 0.3},
    "rotation": {"rotation": 10.0},
    "class crop": {"class_crop": 1.0},
    **{
        f"set {name}": {"augment": name, **_OF_THE_SET} for name in options.AUGMENTS if name not in ("tutorial", "base")
    },
    "copypaste": {"copypaste": None},
    "copyblob": {"copyblob": True},
    "classmix": {"classmix": True},
    "cutmix": {"cutmix": True},
}
_TYPED = ("colorjitter_factor", "rotation", "copypaste")
# No training that augments begins with these.
_MODES = ("predict", "resume", "weights", "override", "replay", "dry_run", "overfit")
_MIXERS = ("copyblob", "classmix", "cutmix")


def main(argv=None):
    """Draw the sheet that the words of `argv` ask for.

    Raises:
        InputError: wrong options or data, or a file that cannot be written.
    """
    own, words = _parse(argv)
    args, _ = options.parse(words)
    if modes := [f"--{name}" for name in _MODES if getattr(args, name)]:
        raise InputError(f"{modes[0]} is not for this picture, which shows how a new training augments: leave it out")
    output = Path(own.output)
    _refuse_foreign(output, own.force)
    setup.normalize_paths(args)
    data = setup.open_data(args)
    rows = draw_rows(args, data, dataset_statistics(data, "train"), own.num)
    pair_sheet(rows, data.labels).savefig(output, metadata={"Software": _PROGRAM})
    left_out = [name for name in ROWS if name not in rows]
    print(f"{output} shows {', '.join(rows)} (seed {args.seed})")
    if left_out:
        print(f"not shown, because the options or the data set have nothing for it: {', '.join(left_out)}")


def _parse(argv):
    parser = Parser(
        prog=_PROGRAM,
        usage=f"{_PROGRAM} [options] [any options of baseline.py]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", default="samples.png", metavar="FILE", help="the picture (default: %(default)s)")
    parser.add_argument("--num", type=int, default=4, metavar="N", help="samples, 2 .. 8 (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace FILE even if it is no picture of this program")
    own, words = parser.parse_known_args(argv)
    if not 2 <= own.num <= 8:
        raise InputError(f"--num {own.num}: expected 2 .. 8 samples")
    return own, words


def _refuse_foreign(path, force):
    if path.is_dir() or not path.parent.is_dir() or path.suffix.lower() != ".png":
        raise InputError(f"--output {path}: name a .png file in a folder that exists")
    if path.exists() and not force and not _is_ours(path):
        raise InputError(f"--output {path} exists and is no picture of {_PROGRAM}; name another file, or add --force")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"--output {path} cannot be written; name another file")


def _is_ours(path):
    try:
        with Image.open(path) as picture:
            return picture.info.get("Software") == _PROGRAM
    except OSError:
        return False


def draw_rows(args, data, found, num):
    """What the rows show.

    Args:
        args: options of a training, settled; their batch size does not matter here.
        data: learning.data.datasets.base.Dataset.
        found: learning.data.datasets.statistics.DatasetStatistics of its training images.
        num: samples a row.

    Returns:
        dict of row name -> list of (uint8 (h, w, 3), uint8 (h, w) of train ids).
    """
    import torch

    from learning.data.cache import Files
    from learning.data.loaders import LoaderConfig
    from learning.rng import draw_order

    pixels = Files(data.split("train"), data.decode)
    feed = LoaderConfig(args.dataset_mean, args.dataset_std, torch.device("cpu"))
    args = argparse.Namespace(**(vars(args) | {"batch_size": num, "accumulate": 1}))
    paste = build.pasting(args, data, found, pixels)  # once: it reads many images

    def batch(row, draws=1):
        batches = build.train_batches(row, pixels, feed, paste if row.copypaste else None, found.pixels)
        images, labels = next(batches.epoch(0, step))
        mix = build.mixing(row, data)
        mixed = [mix(images, labels, 0, step + draw) for draw in range(draws)]
        images, labels = max(mixed, key=lambda pair: int((pair[1] != labels).sum()))
        images = ((images * std + mean) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return list(zip(images, labels.to(torch.uint8).numpy(), strict=True))

    mean, std = (torch.tensor(values)[:, None, None] for values in (args.dataset_mean, args.dataset_std))
    order = draw_order(args.seed, 0, len(pixels), num) % len(pixels)
    step = int(np.isin(order, list(paste.bank.canvases)).sum(1).argmax()) if paste else 0  # most images to paste on
    files = [(pixels.image(index).permute(1, 2, 0).numpy(), pixels.label(index).numpy()) for index in order[step]]
    rows = {"as in the files": files}
    plain = vars(args) | PLAIN
    rows["crop and scale"] = batch(argparse.Namespace(**plain))
    for name, options_of_row in ROWS.items():
        typed = {
            option: getattr(args, option)
            for option in _TYPED
            if option in options_of_row and not name.startswith("set")
        }
        row = options_of_row | {option: value for option, value in typed.items() if value}
        is_possible = {"copypaste": row.get("copypaste"), "copyblob": setup.blob_rules(args, data)}.get(name, True)
        if is_possible:
            rows[name] = batch(argparse.Namespace(**(plain | row)), _DRAWS if name in _MIXERS else 1)
    return rows | {"as the options say": batch(args)}


if __name__ == "__main__":
    sys.exit(exit_status(_PROGRAM, main, None))
